"""Messages in voice boxes (data model 9; applications 3.3, 3.4, 3.10)."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa

from ngcpd.provisioning.errors import Invalid
from ngcpd.provisioning.fields import Enum, Field, Int, Moment, Ref, Text
from ngcpd.provisioning.resource import CHANGE, ID, READ_ONLY, Filter, Link, Resource, Row, Values, Work
from ngcpd.provisioning.resources.subscribers import SUBSCRIBERS, of_reseller
from ngcpd.provisioning.uploads import Download
from ngcpd.store.tables.features import voicemail_box
from ngcpd.store.tables.identity import subscriber
from ngcpd.store.tables.media import FOLDERS, voicemail_message

WAV = "audio/x-wav"
MOST = 100
"""Messages in a folder (applications 3.11)."""

SOURCE = voicemail_message.join(voicemail_box, voicemail_box.c.id == voicemail_message.c.box_id).join(
    subscriber, subscriber.c.id == voicemail_box.c.subscriber_id
)
MESSAGES = (*SUBSCRIBERS.where, voicemail_message.c.greeting_type.is_(None))
EXTRA = {"subscriber_id": voicemail_box.c.subscriber_id}


def check_move(work: Work, values: Values, row: Row | None) -> None:
    """A full folder takes nothing."""
    assert row is not None
    # The box is locked, so that two moves cannot make the same message number.
    work.conn.execute(sa.select(voicemail_box.c.id).where(voicemail_box.c.id == row["box_id"]).with_for_update())
    if values["folder"] != row["folder"] and len(_ids(work, row["box_id"], values["folder"])) >= MOST:
        raise Invalid([("folder", values["folder"], "The folder is full")])


def _ids(work: Work, box_id: int, folder: str) -> list[int]:
    """Messages of a folder in their order."""
    here = (voicemail_message.c.box_id == box_id, voicemail_message.c.folder == folder, voicemail_message.c.greeting_type.is_(None))
    query = sa.select(voicemail_message.c.id).where(*here).order_by(voicemail_message.c.msgnum, voicemail_message.c.id)
    return list(work.conn.scalars(query))


def _number(work: Work, ids: list[int]) -> None:
    """Count them from 0 without gaps."""
    for number, key in enumerate(ids):
        wrong = (voicemail_message.c.id == key, voicemail_message.c.msgnum != number)
        work.conn.execute(sa.update(voicemail_message).where(*wrong).values(msgnum=number))


def move(work: Work, row: Row, values: Values) -> None:
    """To another folder, as its last message."""
    folder = values["folder"]
    if folder == row["folder"]:
        return
    count = len(_ids(work, row["box_id"], folder))
    work.conn.execute(sa.update(voicemail_message).where(voicemail_message.c.id == row["id"]).values(folder=folder, msgnum=count))
    _number(work, _ids(work, row["box_id"], row["folder"]))


def delete_message(work: Work, row: Row) -> None:
    work.conn.execute(sa.select(voicemail_box.c.id).where(voicemail_box.c.id == row["box_id"]).with_for_update())
    work.conn.execute(sa.delete(voicemail_message).where(voicemail_message.c.id == row["id"]))
    _number(work, _ids(work, row["box_id"], row["folder"]))


def recording(work: Work, row: Row, asked: Mapping[str, str]) -> Download:
    audio = work.conn.scalar(sa.select(voicemail_message.c.audio).where(voicemail_message.c.id == row["id"]))
    return Download(audio or b"", WAV, f"voicemailrecordings-{row['id']}.wav")


VOICEMAILS = Resource(
    name="voicemails",
    entity="voicemail",
    help="A message in a voice box; it can be moved to another folder and deleted.",
    table=voicemail_message,
    source=SOURCE,
    where=MESSAGES,
    scope=of_reseller,
    extra=EXTRA,
    fields=(
        ID,
        Field("subscriber_id", Ref("subscribers"), read_only=True, help="Whose it is"),
        Field("folder", Enum(FOLDERS), required=True, help="INBOX holds the new ones"),
        Field("duration", Int(), read_only=True, help="Seconds"),
        Field("time", Moment(), read_only=True, column="received_at", help="When it was left"),
        Field("caller", Text(255), read_only=True, help="Who left it"),
    ),
    filters=(Filter("subscriber_id", "int", voicemail_box.c.subscriber_id), Filter("folder", "string")),
    links=(Link("subscribers", field="subscriber_id"), Link("voicemailrecordings", field="id")),
    collection=READ_ONLY,
    item=(*CHANGE, "DELETE"),
    notices=(("voicemail", "subscriber_id"),),
    check=check_move,
    update=move,
    delete=delete_message,
)

RECORDINGS = Resource(
    name="voicemailrecordings",
    entity="voicemailrecording",
    help="The audio of a message.",
    table=voicemail_message,
    source=SOURCE,
    where=MESSAGES,
    scope=of_reseller,
    extra=EXTRA,
    fields=(ID,),
    collection=("OPTIONS",),
    item=READ_ONLY,
    patch=(),
    download=recording,
    downloads=(WAV,),
)

RESOURCES = [VOICEMAILS, RECORDINGS]
