"""A running interface on each engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def web(store_url: str, tmp_path: Path) -> Iterator[Any]:
    from tests.web.harness import serve

    yield from serve(store_url, tmp_path)
