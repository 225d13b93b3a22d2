"""Hostile messages by recipe: one element of a valid message at a time is replaced by each anomaly of a catalogue.

    for recipe in recipes(message):             # thousands, in a fixed order
        data = apply(recipe, message)

An element is the first line, a header line, its name, its value, one part of its value (a word, a number, a separator), a line of the body or
one part of it. A recipe names its element by place, so that it can be applied to each message of the same make, whatever its tags and ports
are. What is not the element stays valid: Content-Length is right unless it is the element itself.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

LENGTHS = (0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 255, 256, 511, 1023, 1024, 2047, 4095, 4096, 8191, 16_384, 16_385, 32_767, 60_000)
NUMBERS = tuple(
    str(n).encode()
    for n in (
        -1,
        0,
        1,
        9,
        99,
        127,
        128,
        255,
        256,
        32767,
        32768,
        65535,
        65536,
        2**31 - 1,
        2**31,
        2**32 - 1,
        2**32,
        2**32 + 1,
        2**63,
        2**64,
        2**64 + 1,
        10**20,
    )
) + (
    b"-0",
    b"+1",
    b"00000000000000000001",
    b"1e9",
    b"0x10",
    b"1.5",
    b"1,5",
    b"1 1",
    b"NaN",
    b"inf",
    b"1_000",
    b"\xb2",
    "\uff11".encode(),
    "\u0663".encode(),
    b"9" * 1_000,
    b"9" * 10_000,
    b"0" * 10_000 + b"1",
    b"-" + b"9" * 5_000,
    b"",
)
OCTETS = (
    b"\0",
    b"\1",
    b"\t",
    b"\r",
    b"\n",
    b"\r\n",
    b"\r\n ",
    b"\r\n\t",
    b"\r\n\r\n",
    b"\n\n",
    b"\x0b",
    b"\x0c",
    b"\x1b[2J",
    b"\x7f",
    b"\x80",
    b"\x85",
    b"\xa0",
    b"\xff",
    b"\xc3\xa9",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b"\xf4\x90\x80\x80",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xa8",
    b"\0" * 300,
    b"\xff" * 3_000,
)
FORMATS = (
    b"%s%n%x",
    b"%s" * 500,
    b"%00",
    b"%",
    b"%4",
    b"%zz",
    b"%25%25",
    b"%0d%0aVia:%20x",
    b"{}",
    b"{0.__class__}",
    b"${jndi:x}",
    b"$(id)",
    b"`id`",
    b"' OR '1'='1",
    b"'; DROP TABLE acc; --",
    b"../../../etc/passwd",
    b"<script>",
    b"\\",
    b"\\\\",
    b"%ff%fe",
    b"%C3%28",
)
QUOTES = (
    b'"',
    b"'",
    b"<",
    b">",
    b"<>",
    b"><",
    b"<<",
    b'"\\',
    b'"\\"',
    b'""',
    b"(",
    b")",
    b"((",
    b"[",
    b"]",
    b"[]",
    b"[::",
    b"[::1",
    b"[1.2.3.4]",
    b"{",
    b"}",
    b'"' * 2_001,
    b"<" * 2_000,
    b"(" * 2_000,
    b"[" * 2_000,
    b"\\" * 2_001,
    b'"a',
    b"<a",
    b"a>",
    b"[::1]",
    b"[fe80::1%25eth0]",
)
SEPARATORS = (
    b"",
    b" ",
    b"  ",
    b"\t",
    b";",
    b";;",
    b",",
    b",,",
    b", ,",
    b":",
    b"::",
    b"=",
    b"==",
    b"@",
    b"@@",
    b"/",
    b"//",
    b"?",
    b"&",
    b"*",
    b"#",
    b"!",
    b"~",
    b"|",
    b".",
    b"-",
    b" " * 5_000,
    b";" * 5_000,
    b"," * 5_000,
    b":" * 5_000,
    b"=" * 1_000,
    b"@" * 1_000,
    b"/" * 1_000,
    b";a" * 3_000,
    b",a" * 3_000,
    b";=" * 1_000,
    b"?a=b&" * 1_000,
)
WORDS = (
    b"SIP/2.0",
    b"sip:",
    b"sips:a@b",
    b"tel:+1",
    b"tel:",
    b"mailto:a@b",
    b"INVITE",
    b"invite",
    b"CANCEL",
    b"ACK",
    b"udp",
    b"TLS",
    b"z9hG4bK",
    b"tag",
    b"lr",
    b"localhost",
    b"127.0.0.1",
    b"255.255.255.255",
    b"0.0.0.0",
    b"224.0.0.1",
    b"::",
    b"::1",
    b"nobody.invalid",
    b"anonymous",
    b"Digest",
    b"Basic",
    b"auth-int",
    b"SHA-512",
    b"IN",
    b"IP6",
    b"RTP/AVP",
    b"audio",
    b"inactive",
    b"multipart/mixed",
    b"message/sipfrag",
    b"_b2b-1" * 2_500,
)
ANYWHERE = (*OCTETS, *FORMATS, *QUOTES)
_PART = re.compile(rb"[A-Za-z0-9._\-+]+|[ \t]+|.", re.DOTALL)
_NUMBER = re.compile(rb"[0-9]+\Z")


class Message(NamedTuple):
    """A valid message in lines without their ends; Content-Length is written by `whole`."""

    lines: tuple[bytes, ...]
    body: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, text: str, body: bytes = b"") -> Message:
        lines = tuple(line.encode("latin-1") for line in text.strip("\n").split("\n"))
        return cls(lines, tuple(body.split(b"\r\n")) if body else ())

    def whole(self) -> bytes:
        return assemble(self.lines, b"\r\n".join(self.body))


class Recipe(NamedTuple):
    """`line` is the place of the line in header or body, `part` that of the part in it (-1: the line as a whole); `how` is what becomes of it."""

    name: str
    where: str
    line: int
    part: int
    how: str
    value: bytes


def assemble(lines: Iterable[bytes], body: bytes, length: bytes | None = None) -> bytes:
    """Header lines, Content-Length (that of the body unless given), body."""
    field = b"Content-Length: " + (str(len(body)).encode() if length is None else length)
    return b"\r\n".join([*lines, field, b"", body])


def parts(line: bytes) -> list[bytes]:
    """Words, numbers, blanks and single separators; joined they are the line."""
    return _PART.findall(line)


def _anomalies(part: bytes) -> Iterator[tuple[str, bytes]]:
    """(how, value) for one part: its kind decides what it is replaced by."""
    yield from (("set", v) for v in ANYWHERE)
    yield from (("before", v) for v in (b"\0", b"\xff", b'"', b"<", b"%", b"\r\n", b"\\"))
    yield from (("after", v) for v in (b"\0", b"\xff", b'"', b">", b"%", b"\r\n", b"\\", b";a=b"))
    yield ("repeat", b"2")
    yield ("repeat", b"1000")
    if _NUMBER.match(part):
        yield from (("set", v) for v in NUMBERS)
    elif part[:1].isalnum():
        yield from (("length", str(n).encode()) for n in LENGTHS)
        yield from (("set", v) for v in WORDS)
        yield from (("set", v) for v in NUMBERS[:8])
    else:
        yield from (("set", v) for v in SEPARATORS)


_LINE_ANOMALIES = (
    ("drop", b""),
    ("repeat", b"2"),
    ("repeat", b"100"),
    ("repeat", b"600"),
    ("case", b"upper"),
    ("case", b"lower"),
    ("fold", b""),
    ("end", b"\n"),
    ("end", b"\r"),
    ("end", b""),
    ("space", b" "),
    ("space", b"\t"),
    ("space", b"\0"),
    ("value", b""),
    ("value", b" "),
    ("value", b"*"),
    ("value", b","),
    ("value", b"A" * 16_384),
    ("value", b"A" * 16_385),
    ("value", b"A" * 60_000),
    ("value", b"\0"),
    ("value", b"\xff" * 100),
    ("value", b"<sip:a>" * 2_000),
    ("value", b"<sip:a>," * 2_000),
    ("value", b'"' * 999),
    ("name", b""),
    ("name", b"A" * 60_000),
    ("name", b"X-\xff"),
    ("name", b"X\0Y"),
    ("name", b"X Y"),
    ("name", b'"X"'),
    ("cut", b""),
)


def recipes(message: Message, kind: str) -> Iterator[Recipe]:
    """Every recipe for a message of this make, in order."""
    for where, lines in (("head", message.lines), ("body", message.body)):
        for i, line in enumerate(lines):
            label = line[:12].split(b":")[0].split(b"=")[0].decode("latin-1") if where == "head" and i else f"{where}{i}"
            for how, value in _LINE_ANOMALIES:
                yield Recipe(f"{kind} {label} line {how} {value[:12]!r}", where, i, -1, how, value)
            for k, part in enumerate(parts(line)):
                for how, value in _anomalies(part):
                    yield Recipe(f"{kind} {label} {k}:{part[:12]!r} {how} {value[:12]!r}", where, i, k, how, value)
    for value in (*NUMBERS, *FORMATS, *SEPARATORS[:12]):
        yield Recipe(f"{kind} Content-Length {value[:12]!r}", "length", 0, -1, "set", value)


def _changed(part: bytes, how: str, value: bytes) -> bytes:
    if how == "set":
        return value
    if how == "before":
        return value + part
    if how == "after":
        return part + value
    if how == "repeat":
        return part * int(value)
    return b"A" * int(value)  # length


def _changed_line(line: bytes, how: str, value: bytes) -> list[bytes]:
    """A line as a whole; a result that holds line ends of its own is one element all the same."""
    name, colon, rest = line.partition(b":")
    if how == "drop":
        return []
    if how == "repeat":
        return [line] * int(value)
    if how == "case":
        return [(name.upper() if value == b"upper" else name.lower()) + colon + rest]
    if how == "fold":
        return [line.replace(b" ", b"\r\n ")]
    if how == "space":
        return [name + value + colon + rest]
    if how == "value":
        return [name + colon + b" " + value]
    if how == "name":
        return [value + colon + rest]
    return [line[: len(line) // 2]]  # cut


def apply(recipe: Recipe, message: Message) -> bytes:
    """The message with its one anomaly. A place that this message does not have is the last one it has."""
    _, where, at, part, how, value = recipe
    if where == "length":
        return assemble(message.lines, b"\r\n".join(message.body), value)
    lines = list(message.lines if where == "head" else message.body)
    at = min(at, len(lines) - 1)
    if how == "end":  # another line end than CRLF
        merged = lines[at] + value + (lines[at + 1] if at + 1 < len(lines) else b"")
        lines[at : at + 2] = [merged]
    elif part < 0:
        lines[at : at + 1] = _changed_line(lines[at], how, value)
    else:
        pieces = parts(lines[at])
        k = min(part, len(pieces) - 1)
        if pieces:
            pieces[k] = _changed(pieces[k], how, value)
        lines[at] = b"".join(pieces)
    if where == "head":
        return assemble(lines, b"\r\n".join(message.body))
    return assemble(message.lines, b"\r\n".join(lines))


def sample(everything: list[Recipe], count: int, seed: int) -> list[Recipe]:
    """`count` of them: spread over all elements, the same for the same seed, in their order."""
    if count >= len(everything):
        return everything
    chosen = random.Random(seed).sample(range(len(everything)), count)
    return [everything[i] for i in sorted(chosen)]
