"""What the rooms above say to the media engine and hear from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Address = tuple[str, int]
Family = Literal["auto", "4", "6"]


class MediaError(Exception):
    """The media engine could not do what was asked; the text says why."""


class NoPorts(MediaError):
    """No port pair of the wanted interface and family is left, or the limit of sessions is reached. Answered 503."""


class SessionClosed(NoPorts):
    """`rewrite` on a session that was closed before."""


@dataclass(frozen=True, slots=True)
class Interface:
    """One address of the relay. Several with the same `name` are one logical interface (usually one IPv4 and one IPv6 address).

    `address`: numeric, bound. `advertised`: numeric, written into SDP instead of it (the outside of a 1:1 NAT); None: the same.
    """

    name: str
    address: str
    advertised: str | None = None

    @property
    def family(self) -> int:
        return 6 if ":" in self.address else 4

    @property
    def public(self) -> str:
        return self.advertised or self.address


@dataclass(frozen=True, slots=True)
class Settings:
    """The relay's settings (configuration C.1.27). All times in seconds.

    `min_port`, `max_port`: range of UDP ports on each address; RTP on even ports, RTCP on the odd one above. `rtp_timeout`,
    `rtp_timeout_onhold`: silence until a session is reported; 0: never. `final_timeout`: longest life of a session, 0: no limit.
    `max_sessions`: sessions with ports at the same time, -1: no limit. `quarantine`: a freed pair is not used again before.
    `window`: how long after the first packet a better source may still replace the learned one. `probation`: how long a source from
    an unexpected host has to send before it is believed. `batch`: calls the relay holds ports ready for. `ping`, `wedged`: the relay
    process is asked for a sign of life every `ping` and replaced after `wedged` without one. `gather`: commands to the relay process wait
    so long for further ones, because each waking of it costs more than the command; 0: none waits.
    """

    min_port: int = 30_000
    max_port: int = 40_000
    rtp_timeout: float = 60.0
    rtp_timeout_onhold: float = 3600.0
    final_timeout: float = 0.0
    max_sessions: int = -1
    quarantine: float = 1.0
    window: float = 3.0
    probation: float = 0.25
    batch: int = 64
    ping: float = 1.0
    wedged: float = 5.0
    gather: float = 0.0


@dataclass(frozen=True, slots=True)
class Policy:
    """What governs the SDP sent to one side (call processing 3.18).

    `family`: address family towards it; "auto": the family it uses itself, else `dst_family` (4, 6 or None: not known), else that of
    the other side. `interface`: logical interface. `strip_ice`: remove ICE attributes.
    """

    family: Family = "auto"
    interface: str = "default"
    strip_ice: bool = True
    dst_family: int | None = None


@dataclass(frozen=True, slots=True)
class StreamCounters:
    """What one side sent in one media stream, as far as the relay has reported it.

    `packets`, `octets`: accepted RTP (UDP payload bytes); `rtcp_packets`, `rtcp_octets` likewise. `undelivered`: accepted, but there was
    nowhere to send them. `strangers`: dropped because they came from a source that is not the side's. `source`: where its RTP comes
    from (None: none heard). `last_packet`: seconds since the epoch of the last accepted packet, None: none.
    """

    side: str
    line: int
    kind: str
    local: Address
    packets: int = 0
    octets: int = 0
    rtcp_packets: int = 0
    rtcp_octets: int = 0
    undelivered: int = 0
    strangers: int = 0
    source: Address | None = None
    last_packet: float | None = None


@dataclass(frozen=True, slots=True)
class EngineCounters:
    """Port pairs of all addresses together: `used` by sessions, `free` (ready or bindable), `quarantined` (freed a moment ago)."""

    sessions: int
    used: int
    free: int
    quarantined: int
    restarts: int
