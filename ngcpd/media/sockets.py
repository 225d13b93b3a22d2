"""The relay's real sockets, watched by one epoll set."""

from __future__ import annotations

import resource
import select
import socket
from typing import Any, Final

from ngcpd.media.relay import MediaSocket

EVENTS: Final = 512  # ends served in one turn of the loop
DSCP_EF: Final = 0xB8  # expedited forwarding (RFC 3246) as a TOS byte


class UdpSockets:
    """Makes and watches the UDP sockets of a relay. `epoll` is level triggered: an end with more input simply comes up again."""

    def __init__(self) -> None:
        self.epoll = select.epoll()

    def bind(self, host: str, port: int) -> MediaSocket:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, DSCP_EF)
            else:
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, DSCP_EF)
            sock.bind((host, port))
        except OSError:
            sock.close()
            raise
        return sock

    def address(self, host: str, port: int) -> tuple[Any, ...]:
        return (host, port, 0, 0) if ":" in host else (host, port)

    def watch(self, sock: MediaSocket) -> None:
        self.epoll.register(sock.fileno(), select.EPOLLIN)

    def unwatch(self, sock: MediaSocket) -> None:
        self.epoll.unregister(sock.fileno())


def raise_file_limit() -> int:
    """Let this process open as many files as it may; the limit that is now in force."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
