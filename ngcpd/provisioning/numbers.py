"""E.164 numbers and the preferences that follow them (data model 4: numbers, aliases)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ngcpd.provisioning import check
from ngcpd.provisioning.check import E164
from ngcpd.provisioning.env import Env
from ngcpd.provisioning.errors import ProvisioningError, unique
from ngcpd.store import changes
from ngcpd.store.db import now
from ngcpd.store.tables.identity import domain, number, subscriber
from ngcpd.store.tables.preferences import preference_value

CHUNK = 500
"""Values in one IN (...)."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """Numbers that one subscriber is to have."""

    subscriber_id: int
    reseller_id: int
    primary: E164 | None
    aliases: Sequence[E164]


def living(conn: sa.Connection, subscriber_id: int) -> sa.Row[Any]:
    """The row of a subscriber that is neither terminated nor the system's, with `domain` and `reseller_id`; locked against others."""
    # Locked by a statement of its own: MariaDB would lock the joined domain too.
    conn.execute(sa.select(subscriber.c.id).where(subscriber.c.id == subscriber_id).with_for_update())
    row = conn.execute(
        sa.select(subscriber, domain.c.name.label("domain"), domain.c.reseller_id)
        .join(domain, domain.c.id == subscriber.c.domain_id)
        .where(subscriber.c.id == subscriber_id, subscriber.c.status != "terminated", domain.c.is_system.is_(False))
    ).one_or_none()
    if row is None:
        raise ProvisioningError("subscriber_id", "there is no such subscriber", "unknown")
    return row


def wanted(primary: E164 | None, aliases: Iterable[E164]) -> tuple[E164, ...]:
    """The checked numbers of one subscriber, the primary one first, none twice."""
    listed = [check.number("primary_number", primary)] if primary is not None else []
    listed += [check.number("alias_numbers", alias) for alias in aliases]
    seen: set[str] = set()
    for one in listed:
        if one.digits in seen:
            raise ProvisioningError("alias_numbers", f"number {one.digits} is given twice", "duplicate")
        seen.add(one.digits)
    return tuple(listed)


def known(conn: sa.Connection, digits: Iterable[str]) -> dict[str, sa.RowMapping]:
    """Rows that exist for these E.164 numbers."""
    listed = list(digits)
    found: dict[str, sa.RowMapping] = {}
    for at in range(0, len(listed), CHUNK):
        rows = conn.execute(sa.select(number).where(number.c.e164.in_(listed[at : at + CHUNK]))).mappings()
        found |= {row["e164"]: row for row in rows}
    return found


def assign(conn: sa.Connection, assignments: Sequence[Assignment]) -> None:
    """Give numbers to subscribers: free ones are taken, new ones made. ProvisioningError when one belongs to somebody else."""
    plan: dict[str, tuple[Assignment, E164]] = {}
    for item in assignments:
        for one in wanted(item.primary, item.aliases):
            if one.digits in plan:
                raise ProvisioningError("alias_numbers", f"number {one.digits} is given to two subscribers", "duplicate")
            plan[one.digits] = (item, one)
    at = now(conn)
    existing = known(conn, plan)
    fresh: list[dict[str, Any]] = []
    for digits, (item, one) in plan.items():
        primary = item.primary is not None and one.digits == item.primary.digits
        owned = {"subscriber_id": item.subscriber_id, "reseller_id": item.reseller_id, "is_primary": primary}
        row = existing.get(digits)
        if row is None:
            fresh.append({"cc": one.cc, "ac": one.ac, "sn": one.sn, "e164": digits, **owned, "created_at": at, "modified_at": at})
            continue
        if row["subscriber_id"] not in (None, item.subscriber_id):
            raise ProvisioningError("primary_number" if primary else "alias_numbers", f"number {digits} is taken", "duplicate")
        split = {"cc": one.cc, "ac": one.ac, "sn": one.sn}
        if all(row[k] == v for k, v in (owned | split).items()):
            continue
        # The condition on the owner: another transaction may have taken the free number since it was read.
        mine = sa.or_(number.c.subscriber_id.is_(None), number.c.subscriber_id == item.subscriber_id)
        update = sa.update(number).where(number.c.id == row["id"], mine)
        if conn.execute(update.values(**owned, **split, modified_at=at, version=number.c.version + 1)).rowcount != 1:
            raise ProvisioningError("primary_number" if primary else "alias_numbers", f"number {digits} is taken", "duplicate")
    if fresh:
        with unique("primary_number", "one of the numbers was taken meanwhile"):
            conn.execute(sa.insert(number), fresh)
    changes.note_all(conn, (("number", digits) for digits in plan))


def release(conn: sa.Connection, rows: Sequence[sa.RowMapping]) -> None:
    """Make numbers free; they keep their rows and belong to nobody."""
    for at in range(0, len(rows), CHUNK):
        ids = [row["id"] for row in rows[at : at + CHUNK]]
        free = {"subscriber_id": None, "reseller_id": None, "is_primary": False, "modified_at": now(conn), "version": number.c.version + 1}
        conn.execute(sa.update(number).where(number.c.id.in_(ids)).values(**free))
    changes.note_all(conn, (("number", row["e164"]) for row in rows))


def of(conn: sa.Connection, subscriber_id: int) -> list[sa.RowMapping]:
    """Numbers of a subscriber, the primary one first, then in the order they were given."""
    order = (number.c.is_primary.desc(), number.c.id)
    return list(conn.execute(sa.select(number).where(number.c.subscriber_id == subscriber_id).order_by(*order)).mappings())


def preferences(env: Env, primary: E164 | None, aliases: Sequence[E164]) -> dict[str, list[str]]:
    """The preferences that a new subscriber gets from its numbers."""
    found: dict[str, list[str]] = {}
    if primary is not None:
        found["cc"] = [str(primary.cc)]
        if primary.ac:
            found["ac"] = [primary.ac]
        if env.rules.auto_sync_cli:
            found["cli"] = [primary.digits]
    everything = ([primary] if primary is not None else []) + list(aliases)
    if env.rules.auto_allow_cli and everything:
        found["allowed_clis"] = [one.digits for one in everything]
    return found


def set_numbers(conn: sa.Connection, env: Env, *, subscriber_id: int, primary: E164 | None, aliases: Sequence[E164] = ()) -> None:
    """Replace all numbers of a subscriber.

    `cli`, `cc` and `ac` follow the primary number where they held the old one's value (`cli` only with `auto_sync_cli`); with
    `auto_allow_cli` the old numbers in `allowed_clis` give way to the new ones and entries made by hand stay.
    """
    owner = living(conn, subscriber_id)
    new = wanted(primary, aliases)
    before = of(conn, subscriber_id)
    keep = {one.digits for one in new}
    release(conn, [row for row in before if row["e164"] not in keep])
    assign(conn, [Assignment(subscriber_id, owner.reseller_id, primary, aliases)])
    _follow(conn, env, subscriber_id, before, primary, aliases)
    changes.note_all(conn, [("subscriber", subscriber_id), ("preference:usr", subscriber_id)])


def _follow(
    conn: sa.Connection, env: Env, subscriber_id: int, before: Sequence[sa.RowMapping], primary: E164 | None, aliases: Sequence[E164]
) -> None:
    names = ("cli", "cc", "ac", "allowed_clis")
    value = preference_value.c
    here = sa.and_(value.level == "usr", value.owner_id == subscriber_id, value.location_id == 0)
    rows = conn.execute(sa.select(value.attribute, value.value).where(here, value.attribute.in_(names)).order_by(value.position)).all()
    stored: dict[str, list[str]] = {name: [row.value for row in rows if row.attribute == name] for name in names}
    old = next((row for row in before if row["is_primary"]), None)
    was = {"cli": old["e164"], "cc": str(old["cc"]), "ac": old["ac"]} if old is not None else {"cli": "", "cc": "", "ac": ""}
    following = preferences(env, primary, aliases)
    result: dict[str, list[str]] = {}
    for name in ("cli", "cc", "ac"):
        if (name == "cli" and not env.rules.auto_sync_cli) or "".join(stored[name]) != was[name]:
            continue
        result[name] = following.get(name, [])
    if env.rules.auto_allow_cli:
        gone = {row["e164"] for row in before}
        allowed = following.get("allowed_clis", [])
        result["allowed_clis"] = allowed + [entry for entry in stored["allowed_clis"] if entry not in gone and entry not in allowed]
    changed = {name: values for name, values in result.items() if values != stored[name]}
    if not changed:
        return
    conn.execute(sa.delete(preference_value).where(here, value.attribute.in_(changed)))
    at = now(conn)
    fresh = [
        {"level": "usr", "owner_id": subscriber_id, "attribute": name, "position": position, "value": entry, "modified_at": at}
        for name, values in changed.items()
        for position, entry in enumerate(values)
    ]
    if fresh:
        conn.execute(sa.insert(preference_value), fresh)
