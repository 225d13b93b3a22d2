"""Media: SDP rewriting, port pairs and the RTP relay in its own process. The door is `Engine`, `Session`, `Policy` and their errors.

Names are loaded on first use: the relay process imports this package too and must not load the reactor's half.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ngcpd.media.child import ChildSpawner
    from ngcpd.media.sdp import BadSdp
    from ngcpd.media.session import Engine, Session
    from ngcpd.media.types import EngineCounters, Interface, MediaError, NoPorts, Policy, SessionClosed, Settings, StreamCounters

__all__ = [
    "BadSdp",
    "ChildSpawner",
    "Engine",
    "EngineCounters",
    "Interface",
    "MediaError",
    "NoPorts",
    "Policy",
    "Session",
    "SessionClosed",
    "Settings",
    "StreamCounters",
]

_HOME = {"BadSdp": "sdp", "ChildSpawner": "child", "Engine": "session", "Session": "session"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME.get(name, 'types')}"), name)
