"""Answers of resources: each function is one unit of work on a pool thread, from the request to the bytes of the answer."""

from __future__ import annotations

import csv
import datetime
import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import quote

import sqlalchemy as sa

from ngcpd.provisioning import query, units
from ngcpd.provisioning.caller import READING, Caller
from ngcpd.provisioning.env import Env
from ngcpd.provisioning.errors import Invalid
from ngcpd.provisioning.fields import Bad, Int
from ngcpd.provisioning.resource import Doc, Resource, Work
from ngcpd.provisioning.uploads import Download
from ngcpd.store.db import now
from ngcpd.store.tables.tenancy import admin, idempotency, journal
from ngcpd.web.rest import bodies, hal, patching
from ngcpd.web.rest.errors import HttpError
from ngcpd.web.rest.message import HAL, JSON, PATCH, PROFILE, Answer, Message, dump

CSV = "text/csv"
SHOWN_LINES = 200
"""How many numbers of bad lines an answer tells."""
KEEP = datetime.timedelta(days=1)
"""How long an Idempotency-Key is remembered."""
JOURNAL_ORDER = ("id", "operation", "resource_name", "resource_id", "at", "username")


@dataclass(frozen=True)
class Served:
    """What every answer needs."""

    env: Env
    resources: Mapping[str, Resource]


def _work(conn: sa.Connection, served: Served, caller: Caller, resource: Resource, message: Message) -> Work:
    work = Work(conn, served.env, caller, served.resources, asked=message.query, memory={} if resource.narrow is not None else None)
    text = message.query.get("location_id") if resource.location else None
    if text is None:
        return work
    try:
        key = int(Int(1).parse(text, served.env.zone))
    except Bad as error:
        raise Invalid([("location_id", text, str(error))]) from None
    return replace(work, location_id=key)


def parse_id(text: str) -> int:
    """An id out of a path. HttpError 400."""
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise HttpError(400, "Invalid id in request URI")
    return int(text)


# ------------------------------------------------------------------------------------------------------------------- collection
def get_collection(conn: sa.Connection, served: Served, caller: Caller, resource: Resource, message: Message, parent: str = "") -> Answer:
    """A page; `parent` is an id for the objects of one parent."""
    work = _work(conn, served, caller, resource, message)
    query.authorise(work, resource, "GET")
    if resource.single is not None:
        return Answer(200, dump(resource.single(work)), HAL)
    asked = message.query
    owner = parse_id(parent) if parent else None
    page = query.list_page(work, resource, asked, owner)
    if message.headers.get("accept", "").split(",")[0].split(";")[0].strip().lower() == CSV:
        return _csv(resource, page.items)
    items = [hal.item(resource, doc, served.resources, caller) for doc in page.items]
    as_object = served.env.rules.single_as_object and not resource.always_array
    path = resource.name if owner is None else f"{resource.name}/{owner}"
    return Answer(200, dump(hal.collection(path, resource.name, page, asked, items, as_object=as_object)), HAL)


def _csv(resource: Resource, docs: list[Doc]) -> Answer:
    """The items of a page as lines: a header of names, then values; lists and objects as JSON, null as nothing."""
    names = [f.name for f in resource.fields if not f.write_only and (not docs or f.name in docs[0])]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(names)
    for doc in docs:
        writer.writerow([_cell(doc.get(name)) for name in names])
    return Answer(200, text.getvalue().encode(), f"{CSV}; charset=utf-8; header=present")


def _cell(value: object) -> object:
    if isinstance(value, list | dict | bool):
        return json.dumps(value, ensure_ascii=False)
    return value


def post(conn: sa.Connection, served: Served, caller: Caller, resource: Resource, message: Message) -> Answer:
    work = _work(conn, served, caller, resource, message)
    query.authorise(work, resource, "POST")
    message.forbid_link()
    if resource.bulk is not None and message.media_type() == CSV:
        try:
            text = message.body.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise HttpError(400, "The message body is not UTF-8.") from None
        if not text.strip():
            raise HttpError(400, "The request is missing a message body.")
        skipped = resource.bulk(work, message.query, text)
        if not skipped:
            return Answer(201)
        named = ", ".join(str(n) for n in skipped[:SHOWN_LINES]) + (" ..." if len(skipped) > SHOWN_LINES else "")
        return Answer(201, headers=(("Warning", f'199 - "skipped the following line numbers: {named}"'),))
    body = bodies.document(message, resource)
    key = message.headers.get("idempotency-key", "")
    if not key or resource.harmless:
        return _made(work, resource, body)
    return _once(work, resource, message, key, body)


def _made(work: Work, resource: Resource, body: Doc) -> Answer:
    """Do what a POST asks for."""
    if resource.act is None:
        key = units.create(work, resource, body)
        return Answer(201) if resource.nameless else Answer(201, headers=(("Location", hal.uri(resource, key)),))
    result = units.act(work, resource, body)
    return Answer(204) if result is None else Answer(200, dump(result), JSON)


def refused(conn: sa.Connection, served: Served, caller: Caller, resource: Resource, message: Message, why: str) -> None:
    """After a POST that failed: what the resource keeps of it."""
    assert resource.failed is not None
    resource.failed(_work(conn, served, caller, resource, message), bodies.document(message, resource), why)


def _once(work: Work, resource: Resource, message: Message, key: str, body: Doc) -> Answer:
    """A request with an Idempotency-Key: the same again gets the same answer and makes nothing."""
    if len(key) > 255:
        raise HttpError(400, "Header 'Idempotency-Key' is too long.")
    key_hash = hashlib.sha256("\0".join((work.caller.login, resource.name, key)).encode()).hexdigest()
    body_hash = hashlib.sha256(message.body).hexdigest()
    conn = work.conn
    known = sa.select(idempotency.c.body_hash, idempotency.c.status, idempotency.c.location).where(idempotency.c.key_hash == key_hash)
    before = conn.execute(known).one_or_none()
    if before is None:
        conn.execute(sa.delete(idempotency).where(idempotency.c.at < now(conn) - KEEP))
        values = {"key_hash": key_hash, "body_hash": body_hash, "status": 201, "location": "", "at": now(conn)}
        try:
            conn.execute(sa.insert(idempotency).values(**values))
        except sa.exc.IntegrityError:
            before = conn.execute(known.with_for_update()).one()  # the same request came twice at a time
    if before is not None:
        if before.body_hash != body_hash:
            raise HttpError(422, "Validation failed. field='Idempotency-Key', input='', errors='the key was used for another request'")
        return Answer(before.status, headers=(("Location", before.location),) if before.location else ())
    answer = _made(work, resource, body)
    location = dict(answer.headers).get("Location", "")
    conn.execute(sa.update(idempotency).where(idempotency.c.key_hash == key_hash).values(status=answer.status, location=location))
    return answer


# ------------------------------------------------------------------------------------------------------------------------- item
def get_item(conn: sa.Connection, served: Served, caller: Caller, resource: Resource, message: Message, key: str, parent: str = "") -> Answer:
    work = _work(conn, served, caller, resource, message)
    if resource.download is not None:
        query.authorise(work, resource, "GET")
        return _file(resource.download(work, query.find(work, resource, parse_id(key)), message.query))
    doc = query.read(work, resource, parse_id(key), parse_id(parent) if parent else None)
    document = hal.item(resource, doc, served.resources, caller)
    return Answer(200, dump(document), HAL, hal.link_headers(resource, document))


def _file(found: Download) -> Answer:
    headers: tuple[tuple[str, str], ...] = ()
    if found.name:
        plain = "".join(c if c.isascii() and (c.isalnum() or c in "._- ") else "_" for c in found.name)
        more = f"; filename*=UTF-8''{quote(found.name, safe='')}" if plain != found.name else ""
        headers = (("Content-Disposition", f'attachment; filename="{plain}"{more}'),)
    return Answer(200, found.data, found.kind, headers)


def put(conn: sa.Connection, served: Served, caller: Caller, resource: Resource, message: Message, key: str) -> Answer:
    work = _work(conn, served, caller, resource, message)
    query.authorise(work, resource, "PUT")
    prefer = message.prefer()
    number = parse_id(key)
    query.find(work, resource, number, lock=True)
    message.forbid_link()
    doc = units.replace(work, resource, number, bodies.document(message, resource))
    return _changed(served, caller, resource, doc, prefer)


def patch(conn: sa.Connection, served: Served, caller: Caller, resource: Resource, message: Message, key: str) -> Answer:
    work = _work(conn, served, caller, resource, message)
    query.authorise(work, resource, "PATCH")
    prefer = message.prefer()
    number = parse_id(key)
    query.find(work, resource, number, lock=True)
    message.forbid_link()
    operations = patching.check(message.json(PATCH), resource.patch)
    doc = units.patch(work, resource, number, patching.applier(operations))
    return _changed(served, caller, resource, doc, prefer)


def _changed(served: Served, caller: Caller, resource: Resource, doc: Doc, prefer: str) -> Answer:
    applied = (("Preference-Applied", f"return={prefer}"),)
    if prefer == "minimal":
        return Answer(204, headers=applied)
    if not doc:
        return Answer(200, dump({}), HAL, applied)  # it ended and is hidden now
    document = hal.item(resource, doc, served.resources, caller)
    return Answer(200, dump(document), HAL, (*applied, *hal.link_headers(resource, document)))


def delete(conn: sa.Connection, served: Served, caller: Caller, resource: Resource, message: Message, key: str) -> Answer:
    work = _work(conn, served, caller, resource, message)
    query.authorise(work, resource, "DELETE")
    units.remove(work, resource, parse_id(key))
    return Answer(204)


# ---------------------------------------------------------------------------------------------------------------------- options
def options(caller: Caller, resource: Resource, *, on_item: bool) -> Answer:
    """Which methods there are."""
    methods = [m for m in (resource.item if on_item else resource.collection) if not caller.read_only or m in READING]
    headers = [("Allow", ", ".join(methods))]
    if not on_item and "POST" in methods:
        taken = f"application/hal+json; profile=http://purl.org/sipwise/ngcp-api/#rel-{resource.name}"
        headers.append(("Accept-Post", taken if resource.upload is None else ", ".join(resource.upload.types)))
    if on_item and "PATCH" in methods:
        headers.append(("Accept-Patch", PATCH))
    return Answer(200, dump({"methods": methods}), JSON, tuple(headers))


# ---------------------------------------------------------------------------------------------------------------------- journal
def get_journal(conn: sa.Connection, served: Served, caller: Caller, resource: Resource, message: Message, key: str, entry: str) -> Answer:
    """The journal of an item: `entry` empty = the collection, an id, or `recent`."""
    work = _work(conn, served, caller, resource, message)
    query.authorise(work, resource, "GET")
    number = parse_id(key)
    where = [journal.c.resource_name == resource.name, journal.c.resource_id == number]
    if caller.scope is not None and number not in query.visible(work, resource.name, [number]):
        if caller.is_person:
            raise HttpError(404, f"Entity '{resource.entity}' not found.")
        # It is gone or another's: only what the reseller's own people did.
        where.append(journal.c.username.in_(sa.select(admin.c.login).where(admin.c.reseller_id == caller.scope)))
    if entry:
        return _journal_entry(conn, served, resource, number, where, entry)
    asked = message.query
    if "operation" in asked:
        where.append(journal.c.operation == asked["operation"])
    numbers = replace(page_of(asked, served.env), total=conn.scalar(sa.select(sa.func.count()).select_from(journal).where(*where)) or 0)
    name = {"timestamp": "at"}.get(asked.get("order_by", ""), asked.get("order_by", "id"))
    column = journal.c[name if name in JOURNAL_ORDER else "id"]
    order = column.desc() if asked.get("order_by_direction") == "desc" else column.asc()
    rows = conn.execute(
        sa.select(*(c for c in journal.c if c.name != "content"))
        .where(*where)
        .order_by(order, journal.c.id)
        .limit(numbers.rows)
        .offset((numbers.page - 1) * numbers.rows)
    ).mappings()
    items = [_journal_doc(served, resource, number, row) for row in rows]
    if not numbers.total and number not in query.visible(work, resource.name, [number]):
        raise HttpError(404, f"Entity '{resource.entity}' not found.")
    return Answer(200, dump(hal.collection(f"{resource.name}/{number}/journal", "journal", numbers, asked, items, as_object=False)), HAL)


def page_of(asked: Mapping[str, str], env: Env) -> query.Page:
    """Page and rows of a query, nothing else."""
    return query.Page(query.number(asked, "page", 1), query.length(asked, env.rules), 0, [])


def _journal_entry(
    conn: sa.Connection, served: Served, resource: Resource, number: int, where: list[sa.ColumnElement[bool]], entry: str
) -> Answer:
    if entry != "recent":
        where.append(journal.c.id == parse_id(entry))
    row = conn.execute(sa.select(journal).where(*where).order_by(journal.c.id.desc()).limit(1)).mappings().one_or_none()
    if row is None:
        raise HttpError(404, "Entity 'journal' not found.")
    return Answer(200, dump(_journal_doc(served, resource, number, row)), HAL)


def _journal_doc(served: Served, resource: Resource, number: int, row: sa.RowMapping) -> Doc:
    stamp = datetime.datetime.fromtimestamp(float(row["at"]), served.env.zone).strftime("%Y-%m-%d %H:%M:%S")
    doc: Doc = {"id": row["id"], "operation": row["operation"], "timestamp": stamp, "username": row["username"]}
    if "content" in row:
        doc["content"] = units.journal_content(row["content"])
    path = f"{hal.uri(resource, number)}/journal/"
    doc["_links"] = {
        "curies": hal.CURIES,
        "collection": {"href": path},
        "profile": {"href": PROFILE},
        "self": {"href": f"{path}{row['id']}"},
        f"ngcp:{resource.name}": {"href": hal.uri(resource, number)},
    }
    return doc
