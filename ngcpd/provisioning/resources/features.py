"""What a subscriber has: trusted sources, speed dials, reminders, voice box, auto attendant, calling-card numbers (data model 4, 9, 11)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa

from ngcpd.provisioning import forwards, units
from ngcpd.provisioning.errors import Invalid
from ngcpd.provisioning.fields import Address, Array, Bool, Email, Enum, Field, Int, Object, Ref, Regex, Text, TimeOfDay
from ngcpd.provisioning.query import CHUNK
from ngcpd.provisioning.resource import CHANGE, FULL_PATCH, ID, ITEM, READ_ONLY, Doc, Filter, Link, Resource, Row, Values, Work
from ngcpd.provisioning.resources.subscribers import SUBSCRIBERS, of_reseller
from ngcpd.store.db import insert, now
from ngcpd.store.tables.features import (
    RECURRENCES,
    auto_attendant_choice,
    calling_card_map,
    reminder,
    speed_dial,
    voicemail_box,
)
from ngcpd.store.tables.identity import TRUSTED_PROTOCOLS, subscriber, trusted_source

SUBSCRIBER_ID = Field("subscriber_id", Ref("subscribers"), required=True, help="Subscriber")
LINK = (Link("subscribers", field="subscriber_id"),)


def below(name: str, entity: str, table: sa.Table, fields: tuple[Field, ...], *, links_more: tuple[Link, ...] = (), **more: Any) -> Resource:
    """Objects of a subscriber in a table of their own."""
    return Resource(
        name=name,
        entity=entity,
        table=table,
        source=table.join(subscriber, subscriber.c.id == table.c.subscriber_id),
        where=SUBSCRIBERS.where,
        scope=of_reseller,
        fields=(ID, SUBSCRIBER_ID, *fields),
        links=(*LINK, *links_more),
        **{"filters": (Filter("subscriber_id"),), **more},
    )


def view(name: str, entity: str, fields: tuple[Field, ...], **more: Any) -> Resource:
    """One document per subscriber, under the subscriber's id."""
    return Resource(
        name=name,
        entity=entity,
        table=subscriber,
        where=SUBSCRIBERS.where,
        scope=of_reseller,
        extra=SUBSCRIBERS.extra,
        fields=(ID, Field("subscriber_id", Int(1), read_only=True, column="id", help="Subscriber"), *fields),
        links=LINK,
        **{"collection": READ_ONLY, "item": CHANGE, "patch": FULL_PATCH, "notices": (("subscriber", "id"),), **more},
    )


def listed(table: sa.Table, name: str, make: Callable[[Any], Doc]) -> Callable[[Work, list[Doc], list[Row]], None]:
    """Fills an array field with the rows of a table."""

    def show(work: Work, docs: list[Doc], rows: list[Row]) -> None:
        keys = [row["id"] for row in rows]
        found: dict[int, list[Doc]] = {key: [] for key in keys}
        for at in range(0, len(keys), CHUNK):
            query = sa.select(table).where(table.c.subscriber_id.in_(keys[at : at + CHUNK])).order_by(table.c.id)
            for entry in work.conn.execute(query):
                found[entry.subscriber_id].append(make(entry))
        for doc, row in zip(docs, rows, strict=True):
            doc[name] = found[row["id"]]

    return show


def replaced(table: sa.Table, name: str, make: Callable[[Work, Row, Doc], Doc]) -> Callable[[Work, Row, Values], None]:
    """Replaces the rows of a table by those of an array field."""

    def update(work: Work, row: Row, values: Values) -> None:
        work.conn.execute(sa.delete(table).where(table.c.subscriber_id == row["id"]))
        rows = [{"subscriber_id": row["id"], **make(work, row, entry)} for entry in values.get(name) or ()]
        if rows:
            work.conn.execute(sa.insert(table), rows)

    return update


def once(name: str, key: str) -> Callable[[Work, Values, Row | None], None]:
    """No two entries of an array with the same key."""

    def check(work: Work, values: Values, row: Row | None) -> None:
        seen = set()
        for entry in values.get(name) or ():
            if entry[key] in seen:
                raise Invalid([(f"{name}_{key}", entry[key], f"{key} is given twice")])
            seen.add(entry[key])

    return check


# -------------------------------------------------------------------------------------------------------------- trusted sources
TRUSTED = below(
    "trustedsources",
    "trustedsource",
    trusted_source,
    (
        Field("src_ip", Address(), required=True, help="Address whose requests are taken as the subscriber's"),
        Field("protocol", Enum(TRUSTED_PROTOCOLS), required=True, help="Transport"),
        Field("from_pattern", Regex(64), nullable=True, help="Regular expression on the From URI"),
    ),
    help="An address from which a subscriber calls without a password.",
    journal=True,
    notices=(("trusted_source", "id"),),
    example={"subscriber_id": 4, "src_ip": "192.0.2.9", "protocol": "UDP"},
)

# --------------------------------------------------------------------------------------------------------------------- reminder
REMINDERS = below(
    "reminders",
    "reminder",
    reminder,
    (
        Field("time", TimeOfDay(), required=True, help="Time of day of the call"),
        Field("recur", Enum(RECURRENCES), required=True, help="never = once"),
    ),
    help="A call that reminds a subscriber; one per subscriber.",
    journal=True,
    priority="P2",
    unique=(("subscriber_id",),),
    notices=(("subscriber", "subscriber_id"),),
    example={"subscriber_id": 4, "time": "07:30:00", "recur": "weekdays"},
)


# ------------------------------------------------------------------------------------------------------------------ speed dials
def _nonempty(work: Work, text: str) -> sa.ColumnElement[bool]:
    owners = sa.select(speed_dial.c.subscriber_id)
    return subscriber.c.id.in_(owners) if Bool().parse(text, work.env.zone) else subscriber.c.id.not_in(owners)


SPEED_DIALS = view(
    "speeddials",
    "speeddial",
    (
        Field(
            "speeddials",
            Array(
                Object(
                    (
                        Field("slot", Text(64, pattern=r"\*[0-9]", wrong="Invalid slot"), required=True, help="*0 to *9"),
                        Field("destination", Text(192), required=True, help="Number, user name or SIP URI"),
                    )
                ),
                100,
            ),
            required=True,
            column=None,
            help="Slots and their destinations",
        ),
    ),
    help="The speed dial slots of a subscriber.",
    journal=True,
    priority="P2",
    filters=(
        Filter(
            "nonempty",
            "custom",
            where=_nonempty,
            help="Only subscribers that have one",
        ),
    ),
    check=once("speeddials", "slot"),
    show=listed(speed_dial, "speeddials", lambda row: {"slot": row.slot, "destination": row.destination}),
    update=replaced(
        speed_dial,
        "speeddials",
        lambda work, row, entry: {**entry, "destination": forwards.sip_uri("speeddials_destination", entry["destination"], row["domain"])},
    ),
)


# --------------------------------------------------------------------------------------------------------------- auto attendant
AUTO_ATTENDANTS = view(
    "autoattendants",
    "autoattendant",
    (
        Field(
            "slots",
            Array(
                Object(
                    (
                        Field("slot", Int(0, 9), required=True, help="Digit"),
                        Field("destination", Text(255), required=True, help="Number, user name or SIP URI"),
                    )
                ),
                10,
            ),
            column=None,
            help="Digits and their destinations",
        ),
    ),
    help="The auto attendant of a subscriber.",
    journal=True,
    priority="P2",
    check=once("slots", "slot"),
    show=listed(auto_attendant_choice, "slots", lambda row: {"slot": row.choice, "destination": row.destination}),
    update=replaced(
        auto_attendant_choice,
        "slots",
        lambda work, row, entry: {"choice": entry["slot"], "destination": forwards.sip_uri("slots_destination", entry["destination"], row["domain"])},
    ),
)


# ----------------------------------------------------------------------------------------------------------------- calling card
def clear_cards(work: Work, row: Row) -> None:
    work.conn.execute(sa.delete(calling_card_map).where(calling_card_map.c.subscriber_id == row["id"]))


CALLING_CARDS = view(
    "ccmapentries",
    "ccmapentry",
    (
        Field(
            "mappings",
            Array(Object((Field("auth_key", Text(255), required=True, help="Number that is recognised"),)), 1000),
            required=True,
            column=None,
            help="Callers' numbers",
        ),
    ),
    help="Numbers that the calling-card application recognises as a subscriber's.",
    journal=True,
    priority="P3",
    item=ITEM,
    check=once("mappings", "auth_key"),
    show=listed(calling_card_map, "mappings", lambda row: {"auth_key": row.auth_key}),
    update=replaced(calling_card_map, "mappings", lambda work, row, entry: {**entry, "source_subscriber_id": row["id"]}),
    delete=clear_cards,
)


# -------------------------------------------------------------------------------------------------------------------- voice box
def show_box(work: Work, docs: list[Doc], rows: list[Row]) -> None:
    def box_of(row: Any) -> Doc:
        return {"pin": row.pin, "email": row.email, "delete": bool(row.delete_after_mail), "attach": bool(row.attach)}

    listed(voicemail_box, "_box", box_of)(work, docs, rows)
    for doc in docs:
        box = doc.pop("_box")
        doc |= box[0] if box else {"pin": None, "email": None, "delete": False, "attach": True}


def check_box(work: Work, values: Values, row: Row | None) -> None:
    if values["delete"] and not values["attach"]:
        raise Invalid([("attach", values["attach"], "must be set when messages are deleted after they were mailed")])


def update_box(work: Work, row: Row, values: Values) -> None:
    columns = {"pin": values["pin"], "email": values.get("email"), "delete_after_mail": values["delete"], "attach": values["attach"]}
    key = work.conn.scalar(sa.select(voicemail_box.c.id).where(voicemail_box.c.subscriber_id == row["id"]))
    if key is not None:
        units.update_row(work, voicemail_box, key, columns)
    else:
        at = now(work.conn)
        insert(work.conn, voicemail_box, subscriber_id=row["id"], **columns, created_at=at, modified_at=at)


PIN = Text(31, 4, pattern="[0-9]+", wrong="Value must be digits")
VOICE_BOXES = view(
    "voicemailsettings",
    "voicemailsettings",
    (
        Field("pin", PIN, required=True, secret=True, column=None, help="PIN, 4 to 31 digits"),
        Field("email", Email(), nullable=True, column=None, help="Where messages are announced"),
        Field("delete", Bool(), default=False, column=None, help="Deletes a message after it was mailed; needs attach"),
        Field("attach", Bool(), default=True, column=None, help="Mails the recording"),
    ),
    help="The voice box of a subscriber.",
    journal=True,
    patch=("replace", "copy"),
    filters=(Filter("subscriber_id", "int", subscriber.c.id),),
    check=check_box,
    show=show_box,
    update=update_box,
)

RESOURCES = [TRUSTED, REMINDERS, SPEED_DIALS, AUTO_ATTENDANTS, CALLING_CARDS, VOICE_BOXES]
