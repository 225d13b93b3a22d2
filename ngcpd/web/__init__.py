"""What is served by HTTP: sites on klein. Importing this package's sites takes the process's reactor (klein does): after it was installed."""
