"""Phones of the integration tests, and the check that no process is left."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.sipp import Phones
from tests.servers.daemon import DaemonProcess


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(str(item.fspath)).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.peer)


@pytest.fixture(scope="session", autouse=True)
def sipp_is_there() -> None:
    if shutil.which("sipp") is None:
        pytest.skip("sipp is not installed")


@pytest.fixture
def phones(daemon: DaemonProcess, tmp_path: Path) -> Iterator[Phones]:
    """Phones of the module's daemon."""
    made = Phones(daemon, tmp_path / "sipp")
    yield made
    made.close()


@pytest.fixture(scope="session", autouse=True)
def nothing_left() -> Iterator[None]:
    """At the end no process of these tests lives: no sipp, no daemon, no relay."""
    yield
    left = [line for line in descendants(os.getpid()) if any(word in line for word in ("sipp ", "ngcpd.cli", "ngcpd.media.process"))]
    assert not left, left


def descendants(pid: int) -> list[str]:
    """Command lines of all processes below."""
    found = []
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        try:
            line = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            found += [line, *descendants(int(child))] if line else []
        except FileNotFoundError:
            continue
    return found
