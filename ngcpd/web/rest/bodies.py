"""The document of a POST or PUT out of its body: JSON, a content with its properties in the query, or multipart/form-data."""

from __future__ import annotations

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Field, MultipartDecoder, NeedData
from werkzeug.sansio.multipart import File as FilePart

from ngcpd.provisioning.errors import ProvisioningError
from ngcpd.provisioning.resource import Doc, Resource
from ngcpd.provisioning.uploads import OCTETS, File, Multipart, Raw
from ngcpd.web.rest.errors import HttpError
from ngcpd.web.rest.message import Message, Prepared, parse_json

PARTS = 20
JSON_MOST = 2 << 20
"""Bytes of part `json`."""


def document(message: Message, resource: Resource) -> Doc:
    """What was sent, contents as `File`. HttpError 400, 413, 415, ProvisioningError."""
    if message.prepared is None:
        return _read(message, resource)
    if message.prepared.error is not None:
        raise message.prepared.error
    return message.prepared.document


def prepare(message: Message, resource: Resource) -> Prepared:
    """The document of an upload, with the work on it that needs no database. For a thread."""
    try:
        found = _read(message, resource)
        return Prepared(found if resource.prepare is None else resource.prepare(found))
    except (HttpError, ProvisioningError) as error:
        return Prepared(error=error)


# ---------------------------------------------------------------------------------------------------------------------- inside
def _read(message: Message, resource: Resource) -> Doc:
    upload = resource.upload
    if upload is None:
        return message.document()
    kind = message.media_type()
    if kind not in upload.types:
        raise HttpError(415, f"Unsupported media type '{kind[:100] or 'undefined'}', accepting {', '.join(upload.types)} only.")
    if not message.body:
        raise HttpError(400, "The request is missing a message body.")
    if len(message.body) > upload.limit:
        raise HttpError(413, "The message body is too big.")
    return _raw(message, resource, upload, kind) if isinstance(upload, Raw) else _multipart(message, upload)


def _raw(message: Message, resource: Resource, upload: Raw, kind: str) -> Doc:
    names = {f.name for f in resource.fields if f.name != upload.field}
    found: Doc = {name: value for name, value in message.query.items() if name in names}
    if upload.kind_field and not found.get(upload.kind_field):
        found[upload.kind_field] = kind
    found[upload.field] = File(message.body, kind)
    return found


def _multipart(message: Message, upload: Multipart) -> Doc:
    try:
        parts = _parts(message, upload)
    except RequestEntityTooLarge:
        raise HttpError(413, f"The message has more than {PARTS} parts.") from None
    except ValueError as error:
        reason = "".join(c if c.isprintable() else " " for c in str(error))[:200]
        raise HttpError(400, f"The entity is not well-formed multipart/form-data. {reason}") from None
    if "json" not in parts:
        raise HttpError(400, "The request is missing part 'json'.")
    body = parts.pop("json").data
    if len(body) > JSON_MOST:
        raise HttpError(413, "Part 'json' is too big.")
    found = parse_json(body)
    if not isinstance(found, dict):
        raise HttpError(400, "Part 'json' is not a JSON object.")
    found = {name: value for name, value in found.items() if name not in upload.parts}
    return {**found, **parts}


def _parts(message: Message, upload: Multipart) -> dict[str, File]:
    """The parts that are known, by name; others are dropped. ValueError for a broken or repeated one."""
    boundary = parse_options_header(message.headers.get("content-type", ""))[1].get("boundary", "")
    if not boundary or len(boundary) > 200 or not boundary.isascii():
        raise ValueError("There is no boundary.")
    decoder = MultipartDecoder(boundary.encode(), max_parts=PARTS)
    decoder.receive_data(message.body)
    decoder.receive_data(None)
    found: dict[str, File] = {}
    wanted = {"json", *upload.parts}
    name, kind, filename, pieces = "", OCTETS, "", list[bytes]()
    while not isinstance(event := decoder.next_event(), Epilogue):
        if isinstance(event, NeedData):
            raise ValueError("It ends too early.")
        if isinstance(event, Field | FilePart):
            name, pieces = event.name, []
            kind = parse_options_header(event.headers.get("content-type", OCTETS))[0].strip().lower()
            filename = event.filename if isinstance(event, FilePart) else ""
        elif isinstance(event, Data):
            pieces.append(event.data)
            if not event.more_data and name in wanted:
                if name in found:
                    raise ValueError(f"Part '{name}' is given twice.")
                found[name] = File(b"".join(pieces), kind, filename or "")
    return {name: part for name, part in found.items() if part.data or part.name or name == "json"}
