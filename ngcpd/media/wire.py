"""What the signalling process and the relay process say to each other: numbered msgspec messages behind a four byte length.

A port pair has one number, its *pid*: index of its address << 16 | even port. A session is described whole in one `Update`, so that the
same message changes, repeats and (after the relay process was replaced) restores it.
"""

from __future__ import annotations

from typing import Final

import msgspec

Addr = tuple[str, int]
MAX_FRAME: Final = 16 * 1024 * 1024
HEAD: Final = 4


def pid_of(index: int, port: int) -> int:
    return index << 16 | port


def index_of(pid: int) -> int:
    return pid >> 16


def port_of(pid: int) -> int:
    return pid & 0xFFFF


class Remote(msgspec.Struct, array_like=True, frozen=True):
    """A side in one m-line: its signalled addresses (None: unknown), the hosts its media may be expected from, and its ways."""

    rtp: Addr | None
    rtcp: Addr | None
    hosts: tuple[str, ...]
    muted: bool = False
    rtp_format: bool = True
    dtls: bool = False


class Leg(msgspec.Struct, array_like=True, frozen=True):
    """One port pair in use. What comes from `remote` leaves from pair `to` (0: nowhere). `epoch` grows when the side signalled something
    new and its source may change. `remote` None: the side has not spoken yet, nothing is accepted. `learned`: sources known from before."""

    pid: int
    to: int
    epoch: int
    remote: Remote | None
    learned: tuple[Addr | None, Addr | None] = (None, None)


# ----------------------------------------------------------------------------------------------------- commands to the relay
class Configure(msgspec.Struct, tag="configure", array_like=True, frozen=True):
    """First command. `addresses`: (host, first port, last port) by index. `held`: pairs that are in use or were granted before."""

    addresses: list[tuple[str, int, int]]
    held: list[int]
    quarantine: float
    window: float
    probation: float


class Grant(msgspec.Struct, tag="grant", array_like=True, frozen=True):
    """Bind and grant `count` more pairs on an address, as soon as there are any."""

    index: int
    count: int


class Update(msgspec.Struct, tag="update", array_like=True, frozen=True):
    """The whole of a session. Pairs that it had before and has no longer are freed. `silence`, `life`: seconds until it is reported for
    lack of media or for its age, 0: never. `armed`: the silence counts anew when this changes."""

    sid: int
    legs: list[Leg]
    silence: float
    life: float
    armed: int


class Close(msgspec.Struct, tag="close", array_like=True, frozen=True):
    """Free all of a session; answered by `Closed`."""

    sid: int


class Free(msgspec.Struct, tag="free", array_like=True, frozen=True):
    """Granted pairs that are given back unused."""

    pids: list[int]


class Ping(msgspec.Struct, tag="ping", array_like=True, frozen=True):
    """Answered by `Pong`."""


Command = Configure | Grant | Update | Close | Free | Ping


class CommandFrame(msgspec.Struct, array_like=True, frozen=True):
    number: int
    body: Command


# ------------------------------------------------------------------------------------------------------ events of the relay
class Ready(msgspec.Struct, tag="ready", array_like=True, frozen=True):
    """Answer to `Configure`. `refused`: reason by index for addresses that cannot be bound. `lost`: held pairs that somebody else took."""

    refused: dict[int, str]
    lost: list[int]


class Granted(msgspec.Struct, tag="granted", array_like=True, frozen=True):
    index: int
    ports: list[int]


class LegReport(msgspec.Struct, array_like=True, frozen=True):
    """Counters of one pair since it was put to use; `age`: seconds since the last accepted packet, negative: none yet."""

    pid: int
    packets: int
    octets: int
    rtcp_packets: int
    rtcp_octets: int
    undelivered: int
    strangers: int
    rtp_source: Addr | None
    rtcp_source: Addr | None
    age: float


class Report(msgspec.Struct, tag="report", array_like=True, frozen=True):
    sessions: list[tuple[int, list[LegReport]]]


class Closed(msgspec.Struct, tag="closed", array_like=True, frozen=True):
    sid: int
    legs: list[LegReport]


class TimedOut(msgspec.Struct, tag="timeout", array_like=True, frozen=True):
    """`kind`: "media" (silence) or "life"."""

    sid: int
    kind: str


class Failed(msgspec.Struct, tag="failed", array_like=True, frozen=True):
    """Pairs of an `Update` that could not be bound."""

    sid: int
    pids: list[int]
    reason: str


class Pong(msgspec.Struct, tag="pong", array_like=True, frozen=True):
    """`taken`: pairs by address index that other programs hold."""

    taken: list[int]


class Note(msgspec.Struct, tag="note", array_like=True, frozen=True):
    """A line for the log."""

    event: str
    fields: dict[str, str]


Event = Ready | Granted | Report | Closed | TimedOut | Failed | Pong | Note


class EventFrame(msgspec.Struct, array_like=True, frozen=True):
    """`number`: of the command that this answers, 0: none."""

    number: int
    body: Event


_encoder = msgspec.msgpack.Encoder()
decode_command = msgspec.msgpack.Decoder(CommandFrame).decode
decode_event = msgspec.msgpack.Decoder(EventFrame).decode


class WireError(Exception):
    """The other process sent what cannot be understood; the connection is of no use any more."""


def pack(frame: CommandFrame | EventFrame) -> bytes:
    body = _encoder.encode(frame)
    return len(body).to_bytes(HEAD, "big") + body


class Unpacker:
    """Cuts a byte stream into frames."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that are complete now. Raises WireError for an impossible length."""
        buffer = self._buffer
        buffer += data
        frames = []
        at = 0
        while len(buffer) - at >= HEAD:
            size = int.from_bytes(buffer[at : at + HEAD], "big")
            if size > MAX_FRAME:
                raise WireError(f"frame of {size} bytes")
            if len(buffer) - at - HEAD < size:
                break
            frames.append(bytes(buffer[at + HEAD : at + HEAD + size]))
            at += HEAD + size
        del buffer[:at]
        return frames
