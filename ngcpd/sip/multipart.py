"""Bodies of several parts: RFC 2046 5.1, RFC 5621. A part is found and replaced; every other byte stays as it was sent."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

from ngcpd.sip.errors import ParseError

MAX_PARTS = 64
MAX_DEPTH = 4
_BOUNDARY = re.compile(r""";\s*boundary\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))""", re.IGNORECASE)
_PLAIN = ("", "7bit", "8bit", "binary")


def _bad(why: str) -> NoReturn:
    raise ParseError(f"Bad Multipart Body: {why}")


@dataclass(frozen=True, slots=True)
class Part:
    """One part that is not itself of several parts: its type in lower case, its disposition ("session", "render" ...), where its content is."""

    kind: str
    disposition: str
    encoding: str
    start: int
    end: int
    whole: bytes

    @property
    def body(self) -> bytes:
        return self.whole[self.start : self.end]


class Multipart:
    """The parts of a body in their order, those of nested multiparts among them."""

    def __init__(self, body: bytes, parts: list[Part]) -> None:
        self.body = body
        self.parts = parts

    @classmethod
    def parse(cls, content_type: str, body: bytes) -> Multipart:
        """ParseError for a missing boundary, a missing end, too many or too deeply nested parts."""
        parts: list[Part] = []
        _split(content_type, body, 0, len(body), parts, 0)
        return cls(body, parts)

    def find(self, kind: str) -> Part | None:
        """The part of this type that describes the session: parts of another disposition (`early-session`, RFC 3959) do not count. ParseError
        when there are two, or it is encoded."""
        found = [p for p in self.parts if p.kind == kind and p.disposition in ("", "session")]
        if len(found) > 1:
            _bad(f"two parts of type {kind}")
        if found and found[0].encoding not in _PLAIN:
            _bad(f"the part of type {kind} is encoded")
        return found[0] if found else None

    def replaced(self, part: Part, content: bytes) -> bytes:
        """The whole body with other content in the place of a part's."""
        return self.body[: part.start] + content + self.body[part.end :]


def boundary_of(content_type: str) -> bytes:
    """The delimiter line, `--boundary`. ParseError."""
    found = _BOUNDARY.search(content_type)
    text = "" if found is None else re.sub(r"\\(.)", r"\1", found[1]) if found[1] is not None else found[2]
    if not 0 < len(text) <= 70 or text != text.rstrip():
        _bad("no boundary")
    return b"--" + text.encode("latin-1", "replace")


def _split(content_type: str, body: bytes, start: int, end: int, out: list[Part], depth: int) -> None:
    if depth >= MAX_DEPTH:
        _bad("nested too deeply")
    delimiter = boundary_of(content_type)
    line = re.compile(rb"(?:\A|\r?\n)" + re.escape(delimiter) + rb"(--)?[ \t]*(?=\r?\n|\Z)")
    inside: int | None = None
    at, region = 0, body[start:end]
    for found in line.finditer(region):
        if inside is not None:
            _part(body, start + inside, start + found.start(), out, depth)
        at = found.end()
        if found[1]:
            return
        newline = re.compile(rb"\r?\n").match(region, at)
        if newline is None:
            break
        inside = newline.end()
    _bad("no end" if at else "no part")


def _part(body: bytes, start: int, end: int, out: list[Part], depth: int) -> None:
    if len(out) >= MAX_PARTS:
        _bad("too many parts")
    if end < start:  # the delimiter follows at once: an empty part without header fields
        start = end
    blank = re.compile(rb"(?:\A|\r?\n)\r?\n").search(body[start:end])
    head = body[start : start + blank.start()] if blank is not None else body[start:end]
    begin = start + blank.end() if blank is not None else end
    fields: dict[str, str] = {}
    for text in re.sub(rb"\r?\n[ \t]+", b" ", head).decode("latin-1").splitlines():
        name, colon, value = text.partition(":")
        if colon:
            fields.setdefault(name.strip().lower(), value.strip())
    content_type = fields.get("content-type", fields.get("c", "text/plain"))
    kind = content_type.partition(";")[0].strip().lower()
    if kind.startswith("multipart/"):
        _split(content_type, body, begin, end, out, depth + 1)
        return
    disposition = fields.get("content-disposition", "").partition(";")[0].strip().lower()
    out.append(Part(kind, disposition, fields.get("content-transfer-encoding", "").lower(), begin, end, body))
