"""Subscriber profile sets and profiles (data model 5)."""

from __future__ import annotations

import sqlalchemy as sa

from ngcpd.provisioning import profiles, units
from ngcpd.provisioning.caller import RESELLER
from ngcpd.provisioning.errors import Forbidden, Invalid
from ngcpd.provisioning.fields import Array, Bool, Field, Ref, Text
from ngcpd.provisioning.query import CHUNK
from ngcpd.provisioning.resource import FULL_PATCH, ID, Doc, Filter, Link, Resource, Row, Values, Work
from ngcpd.store import changes
from ngcpd.store.tables.identity import subscriber, subscriber_profile, subscriber_profile_attribute, subscriber_profile_set
from ngcpd.store.tables.preferences import preference_value


def may_edit(work: Work) -> None:
    """Resellers only where the operator lets them."""
    if work.caller.role == RESELLER and not work.env.rules.profile_sets_reseller_edit:
        raise Forbidden("Resellers may not change subscriber profiles")


def check_set(work: Work, values: Values, row: Row | None) -> None:
    may_edit(work)


def _owners(work: Work, column: sa.ColumnElement[int], key: int) -> list[int]:
    return list(work.conn.scalars(sa.select(subscriber.c.id).where(column == key)))


def _forget(work: Work, keys: list[int]) -> None:
    """Preferences of profiles that go."""
    value = preference_value.c
    work.conn.execute(sa.delete(preference_value).where(value.level == "prof", value.owner_id.in_(keys)))


def delete_set(work: Work, row: Row) -> None:
    """Subscribers are left without a profile; the set's profiles go."""
    may_edit(work)
    owners = _owners(work, subscriber.c.profile_set_id, row["id"])
    inside = list(work.conn.scalars(sa.select(subscriber_profile.c.id).where(subscriber_profile.c.set_id == row["id"])))
    work.conn.execute(sa.update(subscriber).where(subscriber.c.id.in_(owners)).values(profile_set_id=None, profile_id=None))
    _forget(work, inside)
    work.conn.execute(sa.delete(subscriber_profile).where(subscriber_profile.c.set_id == row["id"]))
    work.conn.execute(sa.delete(subscriber_profile_set).where(subscriber_profile_set.c.id == row["id"]))
    changes.note_all(work.conn, [*(("subscriber", key) for key in owners), *(("profile", key) for key in inside)])


SETS = Resource(
    name="subscriberprofilesets",
    entity="subscriberprofileset",
    help="A set of subscriber profiles.",
    table=subscriber_profile_set,
    scope=subscriber_profile_set.c.reseller_id,
    fields=(
        ID,
        Field("reseller_id", Ref("resellers"), required=True, own=True, help="Reseller it belongs to"),
        Field("name", Text(255), required=True, help="Name, unique per reseller"),
        Field("description", Text(255), required=True, help="Description"),
    ),
    filters=(Filter("reseller_id"), Filter("name", "like")),
    links=(Link("resellers", field="reseller_id"), Link("subscriberprofiles", filter="profile_set_id")),
    journal=True,
    priority="P2",
    unique=(("reseller_id", "name"),),
    check=check_set,
    delete=delete_set,
    example={"reseller_id": 1, "name": "residential", "description": "for homes"},
)


# --------------------------------------------------------------------------------------------------------------------- profiles
def check_profile(work: Work, values: Values, row: Row | None) -> None:
    may_edit(work)
    allowed = profiles.possible(work.env.catalogue)
    for name in values["attributes"]:
        if name not in allowed:
            raise Invalid([("attributes", name, f"Invalid attribute '{name[:40]}'")])
    values["attributes"] = list(dict.fromkeys(values["attributes"]))
    first = work.conn.scalar(sa.select(subscriber_profile.c.id).where(subscriber_profile.c.set_id == values["profile_set_id"]).limit(1)) is None
    if first or (row is not None and row["set_default"]):
        values["set_default"] = True  # the first is the default; the flag moves only by setting another one


def create_profile(work: Work, values: Values) -> int:
    _take_default(work, values, 0)
    key = units._insert(work, PROFILES, values)
    _write(work, key, values["attributes"])
    return key


def update_profile(work: Work, row: Row, values: Values) -> None:
    """Attributes that go are removed from its subscribers, too."""
    _take_default(work, values, row["id"])
    units._update(work, PROFILES, row, values)
    before = profiles.attributes(work.conn, row["id"])
    if before != set(values["attributes"]):
        _write(work, row["id"], values["attributes"])
        profiles.strip(work, _owners(work, subscriber.c.profile_id, row["id"]), before - set(values["attributes"]))


def _take_default(work: Work, values: Values, key: int) -> None:
    if values["set_default"]:
        others = (subscriber_profile.c.set_id == values["profile_set_id"], subscriber_profile.c.id != key)
        work.conn.execute(sa.update(subscriber_profile).where(*others).values(set_default=False))


def _write(work: Work, key: int, names: list[str]) -> None:
    column = subscriber_profile_attribute.c
    work.conn.execute(sa.delete(subscriber_profile_attribute).where(column.profile_id == key))
    if names:
        work.conn.execute(sa.insert(subscriber_profile_attribute), [{"profile_id": key, "attribute": name} for name in names])


def delete_profile(work: Work, row: Row) -> None:
    """Subscribers are left without a profile; another one of the set becomes the default."""
    may_edit(work)
    owners = _owners(work, subscriber.c.profile_id, row["id"])
    work.conn.execute(sa.update(subscriber).where(subscriber.c.id.in_(owners)).values(profile_id=None))
    _forget(work, [row["id"]])
    work.conn.execute(sa.delete(subscriber_profile).where(subscriber_profile.c.id == row["id"]))
    if row["set_default"]:
        following = work.conn.scalar(sa.select(sa.func.min(subscriber_profile.c.id)).where(subscriber_profile.c.set_id == row["set_id"]))
        work.conn.execute(sa.update(subscriber_profile).where(subscriber_profile.c.id == following).values(set_default=True))
    changes.note_all(work.conn, (("subscriber", key) for key in owners))


def show_profile(work: Work, docs: list[Doc], rows: list[Row]) -> None:
    order = {name: n for n, name in enumerate(profiles.possible(work.env.catalogue))}
    keys = [row["id"] for row in rows]
    found: dict[int, list[str]] = {key: [] for key in keys}
    column = subscriber_profile_attribute.c
    for at in range(0, len(keys), CHUNK):
        for row in work.conn.execute(sa.select(column.profile_id, column.attribute).where(column.profile_id.in_(keys[at : at + CHUNK]))):
            found[row.profile_id].append(row.attribute)
    for doc, key in zip(docs, keys, strict=True):
        doc["attributes"] = sorted(found[key], key=lambda name: order.get(name, len(order)))


PROFILES = Resource(
    name="subscriberprofiles",
    entity="subscriberprofile",
    help="A subscriber profile: which preferences subscribers may see and change, and values for them.",
    table=subscriber_profile,
    source=subscriber_profile.join(subscriber_profile_set, subscriber_profile_set.c.id == subscriber_profile.c.set_id),
    scope=subscriber_profile_set.c.reseller_id,
    fields=(
        ID,
        Field("profile_set_id", Ref("subscriberprofilesets"), required=True, column="set_id", help="Set"),
        Field("name", Text(255), required=True, help="Name, unique in its set"),
        Field("description", Text(255), required=True, help="Description"),
        Field("set_default", Bool(), default=False, help="Is used when only the set is given"),
        Field("attributes", Array(Text(31), 300), required=True, column=None, help="Names of preferences, and cfu, cfb, cft, cfna"),
    ),
    filters=(Filter("profile_set_id", "int", subscriber_profile.c.set_id), Filter("name", "like")),
    links=(Link("subscriberprofilesets", field="profile_set_id"), Link("profilepreferences", field="id")),
    patch=FULL_PATCH,
    journal=True,
    priority="P2",
    unique=(("profile_set_id", "name"),),
    notices=(("profile", "id"),),
    check=check_profile,
    create=create_profile,
    update=update_profile,
    delete=delete_profile,
    show=show_profile,
    example={"profile_set_id": 1, "name": "standard", "description": "standard", "attributes": ["clir", "ncos", "cfu"]},
)

RESOURCES = [SETS, PROFILES]
