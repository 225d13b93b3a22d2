"""A simulated world with an engine whose relay runs in it, and parties that speak RTP as bytes. Shares no code with the product's SDP."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from ngcpd.media import Engine, Interface, Policy, Settings
from ngcpd.media.local import LocalSpawner
from ngcpd.runtime.fake import SeededRng, SimClock
from ngcpd.runtime.ports import Address
from ngcpd.runtime.simnet import SimNet

RELAY4, RELAY6 = "192.0.2.1", "2001:db8::1"
ALICE, BOB, CAROL, EVE = "198.51.100.10", "198.51.100.20", "198.51.100.30", "203.0.113.66"
INTERFACES = [Interface("default", RELAY4), Interface("default", RELAY6)]


def rtp(n: int, ssrc: int = 7, payload: bytes = b"x" * 20) -> bytes:
    """A PCMU packet."""
    return bytes((0x80, 0)) + n.to_bytes(2, "big") + (160 * n).to_bytes(4, "big") + ssrc.to_bytes(4, "big") + payload


def rtcp(ssrc: int = 7) -> bytes:
    """An empty receiver report."""
    return bytes((0x80, 201, 0, 1)) + ssrc.to_bytes(4, "big")


def sdp(host: str, port: int, *extra: str, version: int = 1, session: str = "100", media: list[str] | None = None) -> bytes:
    """A body with one audio line, or the given media lines."""
    family = "IP6" if ":" in host else "IP4"
    lines = ["v=0", f"o=- {session} {version} IN {family} {host}", "s=-", f"c=IN {family} {host}", "t=0 0"]
    lines += media if media is not None else [f"m=audio {port} RTP/AVP 0", "a=rtpmap:0 PCMU/8000"]
    return "\r\n".join([*lines, *extra, ""]).encode()


def where(body: bytes, line: int = 0) -> Address:
    """Address and port that a body names for an m-line."""
    text = body.decode()
    parts = re.split(r"(?m)^m=", text)
    port = int(parts[line + 1].split()[1])
    found = re.findall(r"(?m)^c=IN IP[46] (\S+)", parts[line + 1]) or re.findall(r"(?m)^c=IN IP[46] (\S+)", parts[0])
    return found[0], port


class Party:
    """A host with one RTP and one RTCP socket."""

    def __init__(self, world: World, host: str, port: int) -> None:
        self.host, self.port = host, port
        self.heard: list[tuple[bytes, Address]] = []
        self.heard_rtcp: list[tuple[bytes, Address]] = []
        self._rtp = world.net.udp((host, port), lambda data, source: self.heard.append((data, source)))
        self._rtcp = world.net.udp((host, port + 1), lambda data, source: self.heard_rtcp.append((data, source)))
        self.world = world

    def sdp(self, *extra: str, **more: Any) -> bytes:
        return sdp(self.host, self.port, *extra, **more)

    def send(self, to: Address, data: bytes) -> None:
        self._rtp.send(data, to)
        self.world.step()

    def send_rtcp(self, to: Address, data: bytes) -> None:
        self._rtcp.send(data, to)
        self.world.step()

    def take(self) -> list[bytes]:
        found = [data for data, _source in self.heard]
        self.heard.clear()
        return found

    def take_rtcp(self) -> list[bytes]:
        found = [data for data, _source in self.heard_rtcp]
        self.heard_rtcp.clear()
        return found


class World:
    """Clock, network, engine. `step` lets everything that is due happen."""

    def __init__(self, settings: Settings | None = None, interfaces: list[Interface] | None = None, net: SimNet | None = None) -> None:
        self.net = net or SimNet(SimClock(), SeededRng())
        self.clock = self.net.clock
        self.spawner = LocalSpawner(self.clock, self.net)
        self.settings = settings or Settings(min_port=30000, max_port=30999, batch=8)
        self.engine = Engine(self.clock, self.spawner, interfaces or INTERFACES, self.settings)
        self.started = False
        self.failure: Any = None
        self.engine.start().addCallbacks(lambda _: setattr(self, "started", True), lambda f: setattr(self, "failure", f.value))
        self.step()

    def step(self, seconds: float = 0.001) -> None:
        self.clock.advance(seconds)

    def party(self, host: str, port: int = 4000) -> Party:
        return Party(self, host, port)

    def end(self) -> None:
        """Stop and check for leaks."""
        for session in list(self.engine._sessions.values()):
            session.close()
        self.step(2.0)
        counters = self.engine.counters()
        assert (counters.sessions, counters.used, counters.quarantined) == (0, 0, 0)
        stopped: list[object] = []
        self.engine.stop().addCallback(stopped.append)
        self.step()
        assert stopped == [None]
        assert not [a for a in self.net.sockets if a[0] in (RELAY4, RELAY6)]
        self.step(5.0)
        assert self.clock.pending() == 0


def world(settings: Settings | None = None) -> Iterator[World]:
    made = World(settings)
    assert made.started
    yield made
    made.end()


def talk(made: World, a: Party, b: Party, side: str = "b0") -> tuple[Any, Address, Address]:
    """Set a call up: session, the relay's address as `a` sees it, and as `b` sees it."""
    session = made.engine.session("call@test")
    offer = session.rewrite(a.sdp(), "a", side, Policy(), source=(a.host, 5060))
    answer = session.rewrite(b.sdp(), side, "a", Policy(), source=(b.host, 5060))
    session.select(side)
    made.step()
    return session, where(answer), where(offer)


def odd(address: Address) -> Address:
    return address[0], address[1] + 1


def flood(w: World, eve_sends: list[bytes], *targets: Address, host: str = EVE, port: int = 6666) -> None:
    sock = w.net.udp((host, port), lambda data, source: leaked.append(data))
    leaked: list[bytes] = []
    for data in eve_sends:
        for target in targets:
            sock.send(data, target)
            sock.send(data, odd(target))
        w.step(0.0005)
    sock.close()
    assert leaked == []
