"""DNS through twisted.names: the servers of resolv.conf, and the hosts file for addresses."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.names import client, dns, error
from twisted.python.failure import Failure

from ngcpd.runtime.ports import Address, DnsRecord

TIMEOUTS = (1, 2, 4)  # seconds for each round over all servers
_CODES = {"A": dns.A, "AAAA": dns.AAAA, "SRV": dns.SRV, "NAPTR": dns.NAPTR}


class _Watched:
    """The lines of a file, read again when it changed. A file that is missing is empty."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._lines: list[list[str]] = []

    def changed(self) -> bool:
        """Look at the file; True when there are new lines."""
        try:
            status = os.stat(self._path)
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if stamp == self._stamp:
                return False
            with open(self._path, encoding="utf-8", errors="replace") as file:
                self._lines = [words for line in file if (words := line.partition("#")[0].split())]
            self._stamp = stamp
        except OSError:
            if self._stamp == (0, 0, 0):
                return False
            self._lines = []
            self._stamp = (0, 0, 0)
        return True

    @property
    def lines(self) -> list[list[str]]:
        return self._lines


class ReactorDns:
    """Look-ups. `servers` overrides resolv.conf."""

    def __init__(
        self, reactor: Any, resolv_conf: str = "/etc/resolv.conf", hosts: str = "/etc/hosts", servers: Sequence[Address] | None = None
    ) -> None:
        self._reactor = reactor
        self._conf = _Watched(resolv_conf)
        self._hosts_file = _Watched(hosts)
        self._hosts: dict[str, list[str]] = {}
        self._servers = list(servers) if servers is not None else None
        self._resolver: Any = None

    def lookup(self, name: str, rtype: str) -> Deferred[Sequence[DnsRecord]]:
        """Records of one type; an empty list for "no such name" and "no such record"; errbacks on server failure and time-out. ValueError for a
        name that can not be written in DNS."""
        if rtype in ("A", "AAAA"):
            known = self._from_hosts(name, 4 if rtype == "A" else 6)
            if known:
                return succeed(known)
        query = dns.Query(_encoded(name), _CODES[rtype], dns.IN)
        found: Deferred[Any] = self._get().query(query, TIMEOUTS)
        return found.addCallbacks(self._records, self._nothing, callbackArgs=(rtype,))

    def _from_hosts(self, name: str, version: int) -> list[DnsRecord]:
        if self._hosts_file.changed():
            self._hosts = {}
            for words in self._hosts_file.lines:
                for host in words[1:]:
                    self._hosts.setdefault(host.lower(), []).append(words[0])
        out = []
        for address in self._hosts.get(name.lower().rstrip("."), ()):
            try:
                if ipaddress.ip_address(address).version == version:
                    out.append(DnsRecord("A" if version == 4 else "AAAA", address))
            except ValueError:
                continue
        return list(dict.fromkeys(out))

    def _get(self) -> Any:
        if self._servers is not None:
            if self._resolver is None:
                self._resolver = self._make(self._servers)
        elif self._conf.changed() or self._resolver is None:
            servers = [(words[1], 53) for words in self._conf.lines if words[0] == "nameserver" and len(words) > 1]
            self._resolver = self._make(servers or [("127.0.0.1", 53)])
        return self._resolver

    def _make(self, servers: list[Address]) -> Any:
        make: Any = client.Resolver  # untyped
        return make(servers=servers, timeout=TIMEOUTS, reactor=self._reactor)

    @staticmethod
    def _nothing(failure: Failure) -> list[DnsRecord]:
        if isinstance(failure.value, (error.DNSNameError, error.AuthoritativeDomainError)):
            return []
        problem: Any = failure.value
        raise problem

    @staticmethod
    def _records(answer: tuple[Sequence[Any], Sequence[Any], Sequence[Any]], rtype: str) -> list[DnsRecord]:
        return [_record(header, rtype) for header in answer[0] if header.type == _CODES[rtype] and header.payload is not None]


def _record(header: Any, rtype: str) -> DnsRecord:
    payload = header.payload
    ttl = int(header.ttl)
    if rtype in ("A", "AAAA"):
        packed = payload.address
        return DnsRecord(rtype, str(ipaddress.ip_address(packed)), ttl)
    if rtype == "SRV":
        return DnsRecord(rtype, _text(payload.target.name), ttl, payload.priority, payload.weight, payload.port)
    return DnsRecord(
        rtype, _text(payload.replacement.name), ttl, payload.order, payload.preference, 0, _text(payload.service.string), _text(payload.flags.string)
    )


def _encoded(name: str) -> bytes:
    encoded = name.rstrip(".").encode("ascii" if name.isascii() else "idna")
    labels = encoded.split(b".")
    if len(encoded) > 253 or not all(0 < len(label) < 64 for label in labels):
        raise ValueError("not a name for DNS")
    return encoded


def _text(name: bytes) -> str:
    return name.decode("ascii", "replace")
