"""Fixtures of all rooms: private servers and stores; the log as it was before each test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from ngcpd.runtime import log
from tests.compiled import COMPILED

pytest_plugins = ["tests.servers.mariadb", "tests.servers.stores", "tests.servers.redis", "tests.servers.daemon"]


def pytest_report_header() -> str:
    """Whether this run is on the compiled rooms (NGCPD_COMPILED)."""
    return f"ngcpd: {'compiled' if COMPILED else 'Python'}"


# The suite runs the same examples everywhere; new ones are for `make soak` and `make fuzz`, or HYPOTHESIS_PROFILE=default.
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True)
def log_as_it_was() -> Iterator[None]:
    """Where the log goes and the level of each room are the process's: what a test changes must not meet the next one."""
    sink = log.sink
    state = (sink.write, sink.clock, sink.node)
    levels = {name: logger.level for name, logger in log._loggers.items()}
    yield
    sink.write, sink.clock, sink.node = state
    for name, logger in log._loggers.items():
        logger.level = levels.get(name, log.LEVELS["info"])
