"""Fixtures of all rooms: private servers and stores."""

import importlib.util

pytest_plugins = [name for name in ("tests.servers.mariadb", "tests.servers.stores", "tests.servers.redis", "tests.servers.daemon") if importlib.util.find_spec(name)]
