"""Where a request came from, as the edge saw it."""

from __future__ import annotations

from typing import NamedTuple

from ngcpd.sip.flow import Flow


class Source(NamedTuple):
    """The sender of one request (call processing 1.5: source address, port, protocol, family, NAT mark, receiving socket)."""

    ip: str
    """Numeric address without brackets."""
    port: int
    transport: str
    """`udp`, `tcp`, `tls`, `ws` or `wss`."""
    socket: str
    """Name of the receiving socket, e.g. `udp:127.0.0.1:5060`."""
    family: int
    """4 or 6."""
    nat: bool
    """The NAT test of call processing 1.6 said yes."""
    flow: Flow
