"""Composition: settings and this node's roles become services. The only room that knows all others.

`make_service` is what the twistd plugin calls; `Daemon` is the whole daemon on any `World`, also a simulated one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ngcpd.app.daemon import Daemon
    from ngcpd.app.service import make_service
    from ngcpd.app.world import World

__all__ = ["Daemon", "World", "make_service"]

_HOME = {"Daemon": "daemon", "World": "world", "make_service": "service"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
