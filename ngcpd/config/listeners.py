"""Where SIP listens on this node: standard sockets, extra sockets, override. Configuration framework 9.4 and 10.1."""

from __future__ import annotations

from dataclasses import dataclass

from ngcpd.config.node import Node
from ngcpd.config.settings import Settings


@dataclass(frozen=True, slots=True)
class SipListener:
    """One socket of the SIP edge. `label` names extra sockets (values of preference outbound_socket).

    `incoming` sockets serve requests that arrive there and are not used for requests of the platform unless chosen.
    """

    transport: str
    address: str
    port: int
    advertised: str | None = None
    label: str | None = None
    incoming: bool = False

    def __str__(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        return f"{self.transport}:{host}:{self.port}"


def sip_listeners(settings: Settings, node: Node) -> list[SipListener]:
    """All SIP sockets of this node in the order they are to be bound. Empty without role lb."""
    lb = settings.kamailio.lb
    if not node.has_role("lb") or not lb.start:
        return []
    advertised = {b.address: b.advertised for t in ("sip_ext", "sip_ext_incoming") for b in node.addresses(t)}
    result: list[SipListener] = []
    ports = [("udp", lb.port), ("tcp", lb.port)]
    if lb.tls.enable:
        ports.append(("tls", lb.tls.port))
    override = settings.ngcpd.sip.listen
    if override and node.listen is None:
        result += [SipListener(s.transport, s.host, s.port, advertised.get(s.host)) for s in override]
    else:
        result += [SipListener(t, b.address, p, b.advertised) for b in node.addresses("sip_ext") for t, p in ports]
        seen = {r.address for r in result}
        incoming = [b for b in node.addresses("sip_ext_incoming") if b.address not in seen]
        result += [SipListener(t, b.address, p, b.advertised, incoming=True) for b in incoming for t, p in ports]
    result += [SipListener(s.transport, s.host, s.port, advertised.get(s.host), label) for label, s in lb.extra_sockets.items()]
    return result
