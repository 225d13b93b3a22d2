"""The NAT test (call processing 1.6)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache

from ngcpd.sip.flow import DEFAULT_PORT, Flow
from ngcpd.sip.message import STAR, Request

_PRIVATE = tuple(ipaddress.ip_network(n) for n in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@lru_cache(maxsize=4096)
def _numeric(host: str) -> _Address | None:
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None


class NatTest:
    """`exceptions`: addresses and networks that are never behind NAT; ValueError when one of them is neither."""

    def __init__(self, exceptions: Iterable[str] = ()) -> None:
        self._exceptions = tuple(ipaddress.ip_network(text, strict=False) for text in exceptions)

    def marks(self, request: Request, flow: Flow) -> bool:
        """True when the sender seems to be behind NAT. Raises ParseError for an unreadable Via or Contact.

        The Via's address or port differs from the source (the port of a connection says nothing: it is chosen anew for each one), or the Contact
        has a private address that is not the source.
        """
        ip, port = flow.remote
        if not (flow.transport in ("ws", "wss") or self._via_differs(request, flow, ip, port) or self._private_contact(request, ip)):
            return False
        return not self._excepted(ip)

    def _via_differs(self, request: Request, flow: Flow, ip: str, port: int) -> bool:
        via = request.via
        host = via.host
        if host != ip and _numeric(host) != _numeric(ip):
            return True
        return not flow.reliable and (via.port or DEFAULT_PORT["udp"]) != port

    def _private_contact(self, request: Request, ip: str) -> bool:
        contacts = request.contacts
        if contacts is STAR:
            return False
        for contact in contacts:
            host = contact.uri.host
            if host == ip or not host[:1].isdigit():
                continue
            address = _numeric(host)
            if address is not None and address != _numeric(ip) and any(address.version == n.version and address in n for n in _PRIVATE):
                return True
        return False

    def _excepted(self, ip: str) -> bool:
        address = _numeric(ip)
        return address is not None and any(address.version == n.version and address in n for n in self._exceptions)
