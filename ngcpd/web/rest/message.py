"""A request as the interface sees it, and the answer to it. Everything here runs on pool threads and touches no reactor."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from ngcpd.web.rest.errors import HttpError

PROFILE = "http://purl.org/sipwise/ngcp-api/"
HAL = f'application/hal+json; profile="{PROFILE}"'
JSON = "application/json"
PATCH = "application/json-patch+json"
DEPTH = 64
PARAMETERS = 200
_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, body, headers. `kind` is the Content-Type."""

    status: int
    body: bytes = b""
    kind: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Prepared:
    """What was made of an uploaded body before the transaction: the document, or why there is none."""

    document: dict[str, Any] = field(default_factory=dict)
    error: Exception | None = None


@dataclass(frozen=True)
class Message:
    """What was asked. Header names are in lower case."""

    method: str
    path: str
    raw_query: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    source: str = ""
    prepared: Prepared | None = None

    @property
    def query(self) -> dict[str, str]:
        """Query parameters; of repeated ones the first counts. HttpError 400 when there are too many."""
        found: dict[str, str] = {}
        try:
            pairs = parse_qsl(self.raw_query, keep_blank_values=True, errors="replace", max_num_fields=PARAMETERS)
        except ValueError:
            raise HttpError(400, f"There are more than {PARAMETERS} query parameters.") from None
        for name, value in pairs:
            found.setdefault(name, value)
        return found

    def prefer(self) -> str:
        """`minimal` or `representation`. HttpError 400 for any other preference."""
        text = self.headers.get("prefer")
        if text is None:
            return "minimal"
        match = re.fullmatch(r'return\s*=\s*"?(minimal|representation)"?', text.strip())
        if match is None:
            raise HttpError(400, "Header 'Prefer' must be either 'return=minimal' or 'return=representation'.")
        return match[1]

    def forbid_link(self) -> None:
        if "link" in self.headers:
            raise HttpError(400, "The request must not contain 'Link' headers. Instead assert relationships in the entity body.")

    def media_type(self) -> str:
        return self.headers.get("content-type", "").split(";")[0].strip().lower()

    def json(self, accepted: str = JSON) -> Any:
        """The body as JSON. HttpError 415 for another type, 400 for none or a broken one."""
        if self.media_type() != accepted:
            raise HttpError(415, f"Unsupported media type '{self.media_type()[:100] or 'undefined'}', accepting {accepted} only.")
        return parse_json(self.body)

    def document(self) -> dict[str, Any]:
        """The body as a JSON object."""
        found = self.json()
        if not isinstance(found, dict):
            raise HttpError(400, "The entity is not a JSON object.")
        return found


def parse_json(body: bytes) -> Any:
    """JSON of at most DEPTH levels without duplicate keys. HttpError 400."""
    if not body.strip():
        raise HttpError(400, "The request is missing a message body.")
    level = 0
    for character in _STRINGS.sub(b"", body):
        if character in b"[{":
            level += 1
            if level > DEPTH:
                raise HttpError(400, f"The entity is nested deeper than {DEPTH} levels.")
        elif character in b"]}":
            level -= 1
    try:
        found = json.loads(body.decode("utf-8"), object_pairs_hook=_pairs, parse_constant=_constant)
        json.dumps(found, ensure_ascii=False).encode()  # a lone surrogate could not be stored
    except (ValueError, RecursionError) as error:
        raise HttpError(400, f"The entity is not a well-formed JSON document. {_reason(error)}") from None
    return found


def _reason(error: Exception) -> str:
    text = str(error) if isinstance(error, json.JSONDecodeError | _Duplicate) else "It cannot be read."
    return "".join(c if c.isprintable() else " " for c in text)[:200]


class _Duplicate(ValueError):
    pass


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise _Duplicate(f"Key '{name[:60]}' is given twice.")
        found[name] = value
    return found


def _constant(name: str) -> Any:
    raise _Duplicate(f"{name} is no JSON number.")


def dump(document: Any) -> bytes:
    """JSON as it is sent."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def fault(status: int, message: str, headers: Mapping[str, str] | None = None) -> Answer:
    """An error answer: `{"code":N,"message":"..."}` and a newline."""
    return Answer(status, dump({"code": status, "message": message}) + b"\n", JSON, tuple((headers or {}).items()))
