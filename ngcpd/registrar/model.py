"""What the registrar keeps: one `Binding` per registered contact."""

from __future__ import annotations

from dataclasses import dataclass

from ngcpd.runtime.ports import Address

NEVER = 4294967295.0
"""`expires_at` of a permanent registration (call processing 2.3)."""


@dataclass(slots=True, eq=False)
class Binding:
    """A contact under which a subscriber can be reached (RFC 3261 10, call processing 2.2). Never changed in place: a refresh makes a new one.

    Times are seconds since the epoch (UTC). `instance` and `reg_id` are those of RFC 5626, `path` that of RFC 3327.
    """

    ruid: str
    """Unique key of the binding; stays the same over refreshes."""
    subscriber_id: int
    contact: str
    """Contact URI as sent, without display name and header parameters."""
    received: Address | None
    """Source address, set when the contact is behind NAT or bound to a connection: the next hop."""
    path: tuple[str, ...]
    """Path values in the order received: the route set toward the contact."""
    expires_at: float
    q: float
    """0..1, or -1 when the device sent none."""
    call_id: str
    cseq: int
    user_agent: str
    instance: str
    """Value of `+sip.instance` without quotes, "" when absent."""
    reg_id: int
    """0 when absent."""
    socket: str
    """Name of the socket it came in by, e.g. `udp:127.0.0.1:5060`."""
    transport: str
    flow_id: int
    """`Flow.id` of the connection it is bound to; 0 when it is not (UDP, permanent, or kept by another node)."""
    nat: bool
    permanent: bool
    node: str
    """Name of the node that accepted it."""

    def live(self, now: float) -> bool:
        """True while it has not expired."""
        return self.permanent or self.expires_at > now
