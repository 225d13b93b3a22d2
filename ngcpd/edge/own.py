"""Which URIs name this platform: its sockets, their advertised hosts, its domains."""

from __future__ import annotations

from collections.abc import Callable

from ngcpd.sip.flow import DEFAULT_PORT
from ngcpd.sip.transport import Transports
from ngcpd.sip.uri import Uri


class Own:
    """`local(name)`: is this a domain of ours? `names`: further host names of the platform (lower case); they may be replaced."""

    def __init__(self, transports: Transports, local: Callable[[str], bool], names: frozenset[str] = frozenset()) -> None:
        self._transports = transports
        self._local = local
        self.names = names
        self._known: tuple[int, frozenset[tuple[str, int]], frozenset[int]] = (0, frozenset(), frozenset())

    def _sockets(self) -> tuple[int, frozenset[tuple[str, int]], frozenset[int]]:
        sockets = self._transports.sockets
        if self._known[0] != len(sockets):
            places = {(s.address[0].lower(), s.address[1]) for s in sockets} | {s.sent_by for s in sockets}
            self._known = (len(sockets), frozenset(places), frozenset(port for _, port in places))
        return self._known

    def address(self, uri: Uri) -> bool:
        """Is it the address of one of our sockets?"""
        if uri.scheme not in ("sip", "sips"):
            return False
        port = uri.port or (DEFAULT_PORT["tls"] if uri.scheme == "sips" or uri.transport == "tls" else DEFAULT_PORT["udp"])
        return (uri.host.lower().strip("[]"), port) in self._sockets()[1]

    def platform(self, uri: Uri) -> bool:
        """Is it one of our sockets, or one of our domains or names (at no port or one of ours)?"""
        if self.address(uri):
            return True
        if uri.scheme not in ("sip", "sips") or not (uri.port is None or uri.port in self._sockets()[2]):
            return False
        return uri.host.lower() in self.names or self._local(uri.host)
