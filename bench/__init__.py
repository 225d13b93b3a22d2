"""Benches: ngcpd and its peers measured in one run on one machine. `make bench`, `make bench-quick`, `make profile`; docs/performance.md."""
