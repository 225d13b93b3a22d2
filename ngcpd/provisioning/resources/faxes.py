"""Faxes that were received or sent or wait to be sent, and mail to fax (data model 9; applications 12)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from ngcpd.directory.rewrite import CALLEE, IN
from ngcpd.provisioning import units
from ngcpd.provisioning.errors import Absent, Invalid, Plain
from ngcpd.provisioning.fields import Array, Bad, Bool, Email, Enum, Field, Int, Object, Regex, Text
from ngcpd.provisioning.query import CHUNK
from ngcpd.provisioning.resource import READ_ONLY, Doc, Filter, Link, Resource, Row, Values, Work
from ngcpd.provisioning.resources.calls import Epoch
from ngcpd.provisioning.resources.features import below, listed, once, replaced, view
from ngcpd.provisioning.resources.subscribers import SUBSCRIBERS, of_reseller
from ngcpd.provisioning.rewriting import OwnRules
from ngcpd.provisioning.uploads import Blob, Download, File, Multipart
from ngcpd.store import blobs
from ngcpd.store.credentials import VaultError
from ngcpd.store.db import insert, now
from ngcpd.store.tables.features import fax_settings
from ngcpd.store.tables.identity import number, subscriber
from ngcpd.store.tables.media import (
    FAX_DIRECTIONS,
    RENEWALS,
    fax_job,
    fax_journal,
    fax_journal_piece,
    mail2fax_acl,
    mail2fax_notify,
    mail2fax_settings,
)

TEXT_MOST, FILE_MOST = 1_000_000, 64 << 20
DOCUMENTS = {"application/pdf": "pdf", "application/postscript": "ps", "image/tiff": "tif", "text/plain": "txt"}
"""Media types of stored documents and the ending of their names."""
FORMATS = {"pdf": "application/pdf", "ps": "application/postscript", "tiff": "image/tiff", "txt": "text/plain"}
STARTS = {b"%PDF-": "application/pdf", b"%!PS": "application/postscript", b"II*\0": "image/tiff", b"MM\0*": "image/tiff"}


# ------------------------------------------------------------------------------------------------------------------------- faxes
def kind_of(data: bytes) -> str | None:
    """The media type of a document by how it begins; text must be UTF-8 without control characters. None for anything else."""
    for start, kind in STARTS.items():
        if data.startswith(start):
            return kind
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    return "text/plain" if all(c in "\t\n\r\f" or ord(c) >= 32 for c in text) else None


def prepare_fax(given: Doc) -> Doc:
    """The document with what it is instead of what the sender says it is."""
    sent = given.get("faxfile")
    if sent is None:
        return given
    kind = kind_of(sent.data) if sent.data else None
    if kind is None:
        raise Invalid([("faxfile", None, "Invalid file type, use TXT, PDF, PS or TIFF")])
    return {**given, "faxfile": File(sent.data, kind, sent.name)}


def check_fax(work: Work, values: Values, row: Row | None) -> None:
    """Faxes must be on, here and for the subscriber, and there must be something to send."""
    if not work.env.rules.faxserver:
        raise Plain("subscriber_id", "Faxserver feature is not active.")
    mine = sa.select(fax_settings.c.active, fax_settings.c.password_enc).where(fax_settings.c.subscriber_id == values["subscriber_id"])
    settings = work.conn.execute(mine).one_or_none()
    if settings is None or not settings.active or settings.password_enc is None:
        raise Plain("subscriber_id", "Invalid subscriber fax preferences")
    if values.get("data") is None and values.get("faxfile") is None:
        raise Invalid([("data", None, "data field is required without a faxfile")])


def create_fax(work: Work, values: Values) -> int:
    """A journal row with the document, and the job that sends it."""
    conn, who = work.conn, values["subscriber_id"]
    text, sent = values.get("data"), values.get("faxfile")
    document = sent if sent is not None else File((text or "").encode(), "text/plain")
    own = conn.scalar(sa.select(number.c.e164).where(number.c.subscriber_id == who, number.c.is_primary.is_(True)))
    sid = work.env.rng.uuid()
    quality = values.get("quality")
    key = insert(
        conn,
        fax_journal,
        subscriber_id=who,
        time=work.env.clock.time(),
        direction="out",
        caller=own or "webfax",
        callee=OwnRules(conn, who).rewrite(IN, CALLEE, values["destination"]),
        status="queued",
        quality="normal" if quality in (None, "low") else quality,
        filename=f"fax-{sid}.{DOCUMENTS[document.kind]}",
        content_type=document.kind,
        sid=sid,
    )
    blobs.put(conn, fax_journal_piece, key, document.data)
    job = {name: values.get(name) for name in ("pageheader", "notify", "coverpage")}
    insert(conn, fax_job, journal_id=key, text=text if sent is not None else None, **job, next_at=now(conn))
    return key


def document_of(work: Work, row: Row, asked: Mapping[str, str]) -> Download:
    """The stored document, in the form it is stored in."""
    wanted = asked.get("format")
    if wanted is not None and FORMATS.get(wanted.lower()) != row["content_type"]:
        raise Invalid([("format", wanted, f"The fax is stored as {row['content_type'] or 'nothing'} only")])
    data = blobs.get(work.conn, fax_journal_piece, row["id"])
    if not data:
        raise Absent("faxrecording")
    return Download(data, row["content_type"], row["filename"])


def _seen(name: str, kind: Any, help: str) -> Field:
    return Field(name, kind, read_only=True, help=help)


def _given(name: str, kind: Any, help: str, **more: Any) -> Field:
    return Field(name, kind, write_only=True, column=None, help=help, **{"nullable": True, **more})


FAXES = below(
    "faxes",
    "fax",
    fax_journal,
    (
        _seen("time", Epoch(), "When it began"),
        _seen("direction", Enum(FAX_DIRECTIONS), "mtf = by mail"),
        _seen("duration", Int(), "Seconds"),
        _seen("caller", Text(255), "Number of the sender"),
        _seen("callee", Text(255), "Number of the receiver"),
        _seen("pages", Int(), "How many"),
        _seen("reason", Text(255), "Why it failed"),
        _seen("status", Text(255), "How far it is"),
        _seen("signal_rate", Int(), "Bits per second"),
        _seen("filename", Text(255), "Stored document"),
        Field("quality", Enum(("low", "normal", "fine", "super")), nullable=True, help="low is the same as normal, the default"),
        _given("destination", Text(64, pattern=r"[+*#0-9A-Za-z._-]+", wrong="Invalid number"), "Number", required=True, nullable=False),
        _given("pageheader", Text(255), "Line on each page"),
        _given("coverpage", Bool(), "With a cover page", default=False, nullable=False),
        _given("notify", Email(), "Who gets the report"),
        _given("data", Text(TEXT_MOST, lines=True), "Text; the document, or printed before it"),
        _given("faxfile", Blob(FILE_MOST), "Document: TXT, PDF, PS, TIFF"),
    ),
    help="A fax that was received or sent, or waits to be sent. POST takes part json and, for a document, part faxfile.",
    priority="P2",
    filters=(Filter("subscriber_id"), Filter("direction", "string"), Filter("status", "string")),
    links_more=(Link("faxrecordings", field="id"),),
    collection=("GET", "HEAD", "OPTIONS", "POST"),
    item=READ_ONLY,
    patch=(),
    upload=Multipart(("faxfile",), FILE_MOST + (4 << 20)),
    prepare=prepare_fax,
    nameless=True,
    notices=(("fax", "subscriber_id"),),
    check=check_fax,
    create=create_fax,
    example={"subscriber_id": 4, "destination": "4315551234", "quality": "fine", "data": "Good morning"},
)

RECORDINGS = Resource(
    name="faxrecordings",
    entity="faxrecording",
    help="The document of a fax.",
    table=fax_journal,
    source=FAXES.source,
    where=SUBSCRIBERS.where,
    scope=of_reseller,
    fields=(),
    collection=("OPTIONS",),
    item=READ_ONLY,
    patch=(),
    priority="P2",
    parameters=(("format", "string", f"{', '.join(FORMATS)}: refused unless the fax is stored as that"),),
    download=document_of,
    downloads=tuple(DOCUMENTS),
)


# ------------------------------------------------------------------------------------------------------------------- mail to fax
NOTIFY = Object((Field("destination", Email(), required=True, help="Mail address"),))
ACL = Object(
    (
        Field("from_email", Text(255), nullable=True, help="Address of the sender, null = any"),
        Field("received_from", Text(255), nullable=True, help="Host or address in a Received header, null = any"),
        Field("destination", Text(255), nullable=True, help="Number, null = any"),
        Field("use_regex", Bool(), default=False, help="destination is a regular expression"),
    )
)
ACL_NAMES = ("from_email", "received_from", "destination", "use_regex")


def _about(row: Row) -> str:
    return f"mail2fax:{row['uuid']}"


def check_mail(work: Work, values: Values, row: Row | None) -> None:
    once("secret_renew_notify", "destination")(work, values, row)
    for entry in values.get("acl") or ():
        if entry["use_regex"] and entry["destination"] is not None:
            try:
                Regex(255).parse(entry["destination"], work.env.zone)
            except Bad as error:
                raise Invalid([("acl_destination", entry["destination"], str(error))]) from None


def show_mail(work: Work, docs: list[Doc], rows: list[Row]) -> None:
    listed(mail2fax_notify, "secret_renew_notify", lambda row: {"destination": row.destination})(work, docs, rows)
    listed(mail2fax_acl, "acl", lambda row: ACL.show({name: getattr(row, name) for name in ACL_NAMES}, work.env.zone))(work, docs, rows)
    keys = [row["id"] for row in rows]
    found: dict[int, Any] = {}
    for at in range(0, len(keys), CHUNK):
        query = sa.select(mail2fax_settings).where(mail2fax_settings.c.subscriber_id.in_(keys[at : at + CHUNK]))
        found |= {one.subscriber_id: one for one in work.conn.execute(query)}
    for doc, row in zip(docs, rows, strict=True):
        mine = found.get(row["id"])
        doc |= {"active": bool(mine.active) if mine else False, "secret_key_renew": mine.secret_key_renew if mine else "never"}
        doc["secret_key"] = _secret(work, mine, row) if mine is not None and work.caller.show_passwords else None


def _secret(work: Work, mine: Any, row: Row) -> str | None:
    try:
        return None if mine.secret_key_enc is None else work.env.vault.open(mine.secret_key_enc, _about(row))
    except VaultError:
        return None  # sealed with another key: there is nothing to show


def update_mail(work: Work, row: Row, values: Values) -> None:
    replaced(mail2fax_notify, "secret_renew_notify", lambda work, row, entry: entry)(work, row, values)
    replaced(mail2fax_acl, "acl", lambda work, row, entry: entry)(work, row, values)
    before = work.conn.execute(sa.select(mail2fax_settings).where(mail2fax_settings.c.subscriber_id == row["id"])).one_or_none()
    columns: Doc = {"active": values["active"], "secret_key_renew": values["secret_key_renew"]}
    if "secret_key" in values and (before is None or values["secret_key"] != _secret(work, before, row)):
        given = values["secret_key"]
        columns["secret_key_enc"] = None if given is None else work.env.vault.seal(given, _about(row))
        columns["secret_key_modified_at"] = now(work.conn)
    if before is not None:
        units.update_row(work, mail2fax_settings, before.id, columns)
    else:
        at = now(work.conn)
        insert(work.conn, mail2fax_settings, subscriber_id=row["id"], **columns, created_at=at, modified_at=at)


def _active(work: Work, text: str) -> sa.ColumnElement[bool]:
    active = sa.select(mail2fax_settings.c.subscriber_id).where(mail2fax_settings.c.active.is_(True))
    return subscriber.c.id.in_(active) if Bool().parse(text, work.env.zone) else subscriber.c.id.not_in(active)


def _renew(work: Work, text: str) -> sa.ColumnElement[bool]:
    """Subscribers without settings count as `never`."""
    others = sa.select(mail2fax_settings.c.subscriber_id).where(mail2fax_settings.c.secret_key_renew != "never")
    if text == "never":
        return subscriber.c.id.not_in(others)
    return subscriber.c.id.in_(sa.select(mail2fax_settings.c.subscriber_id).where(mail2fax_settings.c.secret_key_renew == text))


MAIL_TO_FAX: Resource = view(
    "mailtofaxsettings",
    "mailtofaxsettings",
    (
        Field("active", Bool(), default=False, column=None, help="Mails are sent as faxes"),
        Field("secret_key", Text(255), nullable=True, keep=True, see="show_passwords", secret=True, column=None, help="First line of a mail"),
        Field("secret_key_renew", Enum(RENEWALS), required=True, column=None, help="How often the key is made new"),
        Field("secret_renew_notify", Array(NOTIFY, 100), column=None, help="Who is told the new key"),
        Field("acl", Array(ACL, 1000), column=None, help="One entry must match the mail"),
    ),
    help="Who may send faxes of a subscriber by mail.",
    priority="P3",
    filters=(Filter("active", "custom", where=_active), Filter("secret_key_renew", "custom", where=_renew)),
    check=check_mail,
    show=show_mail,
    update=update_mail,
)

RESOURCES = [FAXES, RECORDINGS, MAIL_TO_FAX]
