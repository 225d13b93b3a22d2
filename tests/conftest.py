"""Fixtures of all rooms: private servers and stores."""

pytest_plugins = ["tests.servers.mariadb", "tests.servers.stores", "tests.servers.redis", "tests.servers.daemon"]
