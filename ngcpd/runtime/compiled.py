"""Compiled rooms: extension modules that `make compiled` made of the sources, in a directory of their own, in place of those sources.

The environment variable NGCPD_COMPILED names that directory; without it everything is Python. Modules that are not in it are Python too.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ExtensionFileLoader, ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

SHARED = "ngcpd_hot__mypyc"  # the library in which the code of all of them is


class CompiledFinder:
    """An entry of `sys.meta_path` before the usual ones."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != SHARED and not name.startswith("ngcpd."):
            return None
        found = PathFinder.find_spec(name, [str(self.directory.joinpath(*name.split(".")[:-1]))])
        return found if found is not None and isinstance(found.loader, ExtensionFileLoader) else None


def use(directory: str) -> None:
    """From now on modules are taken from there when it has them. ImportError when nothing was compiled there: it must not be Python unnoticed."""
    place = Path(directory).resolve()
    if PathFinder.find_spec(SHARED, [str(place)]) is None:
        raise ImportError(f"NGCPD_COMPILED: no compiled modules for this interpreter in {place} (make compiled)")
    sys.meta_path.insert(0, CompiledFinder(place))
