"""Contents that are not JSON: how a resource takes them (REST API 1.6) and how its items are downloaded.

A resource with `upload` declares a `Blob` field for each content; its POST and PUT get the document and the contents by one of two forms. `Raw`:
the body is the content and the other fields are query parameters. `Multipart`: part `json` is the document, further parts are contents.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

from ngcpd.provisioning.fields import Bad, Type

OCTETS = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class File:
    """One content as it came. `kind` is its media type in lower case without parameters, `name` what the sender calls it, "" when not said."""

    data: bytes
    kind: str = OCTETS
    name: str = ""

    def __repr__(self) -> str:
        return f"File({len(self.data)} bytes of {self.kind})"


@dataclass(frozen=True)
class Blob(Type):
    """A content of at most `limit` bytes and, if said, one of some media `types`. It is kept by the resource and never part of a document."""

    limit: int
    types: tuple[str, ...] = ()
    kind = "binary"

    def parse(self, value: Any, zone: datetime.tzinfo) -> File:
        if not isinstance(value, File):
            raise Bad("Value must be uploaded as a file")
        if len(value.data) > self.limit:
            raise Bad(f"The file must not exceed {self.limit} bytes")
        if self.types and value.kind not in self.types:
            raise Bad(f"Invalid file type, use one of {', '.join(self.types)}")
        return value

    def show(self, value: Any, zone: datetime.tzinfo) -> Any:
        return None

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "format": "binary"}


@dataclass(frozen=True)
class Raw:
    """The body is field `field`, of one of the media types `types` and at most `limit` bytes. `kind_field` gets the media type when the query does
    not name it."""

    field: str
    types: tuple[str, ...]
    limit: int
    kind_field: str = ""


@dataclass(frozen=True)
class Multipart:
    """`multipart/form-data`: part `json`, and contents named as their fields. `limit`: bytes of the whole body."""

    parts: tuple[str, ...]
    limit: int
    types: tuple[str, ...] = ("multipart/form-data",)


Upload = Raw | Multipart


@dataclass(frozen=True, slots=True)
class Download:
    """What an item's GET answers instead of a document. `name`: the file name that a browser is told, "" = shown and not saved."""

    data: bytes
    kind: str
    name: str = ""
