"""A write is honoured by signalling within a second, without restart: one daemon on the embedded store, with whoever writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.honoured import ByControl, ByRest, ByStore, honours
from tests.servers.daemon import DaemonProcess


@pytest.mark.parametrize("by", [ByRest, ByControl, ByStore])
def test_embedded_store(daemon: DaemonProcess, by: type[ByRest | ByControl | ByStore], tmp_path: Path) -> None:
    """By REST, by ngcpctl over the control socket, and by another process on the file, which the daemon finds by itself."""
    honours(by(daemon), daemon)
