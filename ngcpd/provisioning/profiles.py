"""Subscriber profiles: which applies, and what a change of profile takes away (data model 5)."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from ngcpd.provisioning.errors import Invalid
from ngcpd.provisioning.resource import Row, Work
from ngcpd.provisioning.scope import events
from ngcpd.provisioning.units import update_row
from ngcpd.store import changes
from ngcpd.store.catalogue import Catalogue
from ngcpd.store.tables.features import FORWARDS, cf_mapping
from ngcpd.store.tables.identity import subscriber, subscriber_profile, subscriber_profile_attribute
from ngcpd.store.tables.preferences import preference_value


def possible(catalogue: Catalogue) -> tuple[str, ...]:
    """Attributes that a profile may hold: those that customers may see, and the call forwards."""
    return tuple(a.name for a in catalogue.values() if (a.expose and "usr" in a.levels) or a.name in FORWARDS)


def choose(conn: sa.Connection, set_id: int | None, profile_id: int | None) -> tuple[int | None, int | None]:
    """(set, profile) that follow from what is given. Invalid when they do not fit."""
    columns = sa.select(subscriber_profile.c.id, subscriber_profile.c.set_id)
    if profile_id is not None:
        found = conn.execute(columns.where(subscriber_profile.c.id == profile_id)).one_or_none()
        if found is None or (set_id is not None and found.set_id != set_id):
            raise Invalid([("profile_id", profile_id, "Invalid 'profile_id'")])
    else:
        default = (subscriber_profile.c.set_id == set_id, subscriber_profile.c.set_default.is_(True))
        found = conn.execute(columns.where(*default).order_by(subscriber_profile.c.id).limit(1)).one_or_none()
        if found is None:
            raise Invalid([("profile_set_id", set_id, "the profile set has no default profile")])
    return found.set_id, found.id


def attributes(conn: sa.Connection, profile_id: int) -> set[str]:
    """What a profile holds."""
    column = subscriber_profile_attribute.c
    return set(conn.scalars(sa.select(column.attribute).where(column.profile_id == profile_id)))


def switch(work: Work, row: Row, set_id: int | None, profile_id: int | None) -> None:
    """Give a subscriber another profile (or none): values that the new one does not hold go, and the event is recorded."""
    before = row["profile_id"]
    if (set_id, profile_id) == (row["profile_set_id"], before):
        return
    update_row(work, subscriber, row["id"], {"profile_set_id": set_id, "profile_id": profile_id})
    if profile_id is not None:
        strip(work, [row["id"]], set(possible(work.env.catalogue)) - attributes(work.conn, profile_id))
    kind = "start_profile" if before is None else "end_profile" if profile_id is None else "update_profile"
    if before != profile_id:
        old, new = (None if before is None else str(before)), ("" if profile_id is None else str(profile_id))
        events(work.conn, work.env, [(kind, row["id"], row["reseller_id"], old, new)])
    changes.note(work.conn, "subscriber", row["id"])


def strip(work: Work, owners: Iterable[int], names: Iterable[str]) -> None:
    """Remove stored values of attributes from subscribers, call forwards among them."""
    ids, gone = list(owners), sorted(names)
    if not ids or not gone:
        return
    value = preference_value.c
    work.conn.execute(sa.delete(preference_value).where(value.level == "usr", value.owner_id.in_(ids), value.attribute.in_(gone)))
    forwards = [name for name in FORWARDS if name in gone]
    if forwards:
        work.conn.execute(sa.delete(cf_mapping).where(cf_mapping.c.subscriber_id.in_(ids), cf_mapping.c.type.in_(forwards)))
    changes.note_all(work.conn, [(kind, key) for key in ids for kind in ("preference:usr", "forward")])
