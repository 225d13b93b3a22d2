"""Subscribers of Cloud PBX customers: the pilot, extensions, hunt groups and their members (device management 12, 14).

The first subscriber is the pilot. Every other one has an extension in the pilot's domain; its number is the pilot's with the extension added.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ngcpd.provisioning import numbers, values
from ngcpd.provisioning.check import E164
from ngcpd.provisioning.env import Env
from ngcpd.provisioning.errors import Plain, ProvisioningError
from ngcpd.store import changes
from ngcpd.store.db import now
from ngcpd.store.tables.devices import pbx_group_member
from ngcpd.store.tables.identity import HUNT_POLICIES, domain, number, subscriber
from ngcpd.store.tables.tenancy import contract

if TYPE_CHECKING:
    from ngcpd.provisioning.subscribers import NewSubscriber

HUNT_TIMEOUT = 10
"""Seconds per member."""
MOST = 1000
"""Groups of a member, members of a group."""


@dataclass(frozen=True, slots=True)
class Seat:
    """What makes a subscriber one of a Cloud PBX. `hunt_*` are a group's."""

    is_pilot: bool = False
    is_group: bool = False
    extension: str | None = None
    hunt_policy: str | None = None
    hunt_timeout: int | None = None

    def columns(self) -> dict[str, Any]:
        return {
            "is_pbx_pilot": self.is_pilot,
            "is_pbx_group": self.is_group,
            "pbx_extension": self.extension,
            "pbx_hunt_policy": self.hunt_policy,
            "pbx_hunt_timeout": self.hunt_timeout,
        }


NO_SEAT = Seat()


@dataclass(frozen=True, slots=True)
class Pilot:
    """The pilot of a customer, with its number."""

    id: int
    domain: str
    profile_set_id: int | None
    number: E164 | None


def pilot(conn: sa.Connection, customer_id: int) -> Pilot | None:
    """The pilot of a customer, None when it has none yet."""
    columns = (subscriber.c.id, subscriber.c.profile_set_id, domain.c.name, number.c.cc, number.c.ac, number.c.sn)
    mine = (subscriber.c.contract_id == customer_id, subscriber.c.is_pbx_pilot.is_(True), subscriber.c.status != "terminated")
    row = conn.execute(
        sa.select(*columns)
        .join(domain, domain.c.id == subscriber.c.domain_id)
        .outerjoin(number, sa.and_(number.c.subscriber_id == subscriber.c.id, number.c.is_primary.is_(True)))
        .where(*mine)
    ).first()
    if row is None:
        return None
    return Pilot(row.id, row.name, row.profile_set_id, None if row.cc is None else E164(row.cc, row.ac, row.sn))


def extended(base: E164, extension: str) -> E164:
    """The number of an extension."""
    return E164(base.cc, base.ac, f"{base.sn}{extension}")


def checked(conn: sa.Connection, customer_id: int, seat: Seat, username: str, *, subscriber_id: int | None = None) -> tuple[Seat, Pilot | None]:
    """The seat as it is stored, and the customer's pilot (None: this is it). ProvisioningError when it cannot be (REST API 2.4)."""
    # The customer is locked, so that two changes cannot take the same extension.
    conn.execute(sa.select(contract.c.id).where(contract.c.id == customer_id).with_for_update())
    first = pilot(conn, customer_id)
    mine = first is not None and first.id == subscriber_id
    if seat.is_pilot and seat.is_group:
        raise ProvisioningError("is_pbx_group", "the pilot cannot be a group")
    if first is None and not seat.is_pilot:
        raise Plain("is_pbx_pilot", "Customer has no pbx pilot subscriber yet and is_pbx_pilot is not set.")
    if first is not None and seat.is_pilot and not mine:
        raise Plain("is_pbx_pilot", "Customer already has a pbx pilot subscriber.")
    if mine and not seat.is_pilot:
        raise Plain("is_pbx_pilot", "Cannot revoke is_pbx_pilot status from a subscriber.")
    if seat.extension is not None:
        if not re.fullmatch("[0-9]{1,20}", seat.extension):
            raise ProvisioningError("pbx_extension", "must be digits", value=seat.extension)
        same = [subscriber.c.contract_id == customer_id, subscriber.c.pbx_extension == seat.extension, subscriber.c.status != "terminated"]
        if conn.scalar(sa.select(subscriber.c.id).where(*same, subscriber.c.id != (subscriber_id or 0)).limit(1)) is not None:
            raise Plain("pbx_extension", "The pbx_extension already exists for this customer.", "duplicate")
    if not seat.is_pilot:
        assert first is not None
        if seat.extension is None:
            raise Plain("pbx_extension", "A pbx_extension is required if customer is PBX and pilot subscriber exists.")
        if first.number is None:
            raise Plain("primary_number", "The pilot subscriber does not have a primary number.")
    return _group(seat, username), None if seat.is_pilot else first


def _group(seat: Seat, username: str) -> Seat:
    """Policy and timeout of a group; others have none."""
    if not seat.is_group:
        return replace(seat, hunt_policy=None, hunt_timeout=None)
    if not re.fullmatch(r"[a-zA-Z0-9_\-]+", username):
        raise ProvisioningError("username", "the name of a group may have letters, digits, - and _ only", value=username)
    policy = seat.hunt_policy or "serial"
    if policy not in HUNT_POLICIES:
        raise ProvisioningError("pbx_hunt_policy", "is none of its values", value=policy)
    return replace(seat, hunt_policy=policy, hunt_timeout=HUNT_TIMEOUT if seat.hunt_timeout is None else seat.hunt_timeout)


def prepared(conn: sa.Connection, new: NewSubscriber) -> NewSubscriber:
    """A new subscriber of a Cloud PBX customer with what follows from the pilot: its number, its profile set. ProvisioningError."""
    seat, first = checked(conn, new.customer_id, new.seat, new.username)
    if first is None or first.number is None:
        return replace(new, seat=seat)
    if new.domain.lower().rstrip(".") != first.domain:
        raise ProvisioningError("domain", f"must be the pilot's, {first.domain}", value=new.domain)
    base = replace(new, seat=seat, number=extended(first.number, seat.extension or ""))
    if new.profile_set_id is None and new.profile_id is None:
        base = replace(base, profile_set_id=first.profile_set_id)
    if seat.is_group and new.display_name is None:
        base = replace(base, display_name=new.username[:1].upper() + new.username[1:])
    return base


def preferences(seat: Seat, base: E164 | None) -> dict[str, list[str]]:
    """What the system writes for a seat; `base` is the pilot's number."""
    found: dict[str, str | None] = {
        "cloud_pbx": "1",
        "cloud_pbx_ext": seat.extension,
        "cloud_pbx_base_cli": None if base is None else base.digits,
        "shared_buddylist_visibility": "1",
        "cloud_pbx_hunt_policy": seat.hunt_policy,
        "cloud_pbx_hunt_timeout": None if seat.hunt_timeout is None else str(seat.hunt_timeout),
    }
    return {name: [value] for name, value in found.items() if value is not None}


# ------------------------------------------------------------------------------------------------------------- numbers that move
def borrow(conn: sa.Connection, env: Env, first: Pilot, wanted: Sequence[E164]) -> None:
    """Take numbers that an extension is to have away from the pilot, if they are its aliases."""
    digits = {one.digits for one in wanted}
    mine = numbers.of(conn, first.id)
    if any(row["e164"] in digits and not row["is_primary"] for row in mine):
        keep = [E164(row["cc"], row["ac"], row["sn"]) for row in mine if not row["is_primary"] and row["e164"] not in digits]
        numbers.set_numbers(conn, env, subscriber_id=first.id, primary=first.number, aliases=keep)


def give_back(conn: sa.Connection, env: Env, customer_id: int, subscriber_id: int) -> None:
    """When an extension ends, its aliases are the pilot's again; its own number becomes free."""
    first = pilot(conn, customer_id)
    aliases = [row for row in numbers.of(conn, subscriber_id) if not row["is_primary"]]
    if first is None or first.id == subscriber_id or not aliases:
        return
    numbers.release(conn, aliases)
    had = [row for row in numbers.of(conn, first.id) if not row["is_primary"]]
    everything = [E164(row["cc"], row["ac"], row["sn"]) for row in (*had, *aliases)]
    numbers.set_numbers(conn, env, subscriber_id=first.id, primary=first.number, aliases=everything)


def renumber(conn: sa.Connection, env: Env, customer_id: int) -> None:
    """After a change of the pilot's number: all extensions follow it. ProvisioningError when it has none and there are extensions."""
    first = pilot(conn, customer_id)
    seats = (subscriber.c.contract_id == customer_id, subscriber.c.status != "terminated", subscriber.c.pbx_extension.is_not(None))
    rows = conn.execute(sa.select(subscriber.c.id, subscriber.c.pbx_extension, subscriber.c.is_pbx_pilot).where(*seats)).all()
    if first is None:
        return
    if first.number is None and any(not row.is_pbx_pilot for row in rows):
        raise Plain("primary_number", "The pilot subscriber does not have a primary number.")
    base = None if first.number is None else first.number.digits
    values.put(conn, "usr", first.id, {"cloud_pbx_base_cli": base})
    for row in rows:
        if not row.is_pbx_pilot and first.number is not None:
            place(conn, env, row.id, first.number, row.pbx_extension)
            values.put(conn, "usr", row.id, {"cloud_pbx_base_cli": base})


def place(conn: sa.Connection, env: Env, subscriber_id: int, base: E164, extension: str) -> None:
    """Give an extension its number; aliases stay."""
    aliases = [E164(row["cc"], row["ac"], row["sn"]) for row in numbers.of(conn, subscriber_id) if not row["is_primary"]]
    numbers.set_numbers(conn, env, subscriber_id=subscriber_id, primary=extended(base, extension), aliases=aliases)


# ------------------------------------------------------------------------------------------------------------------- memberships
def memberships(conn: sa.Connection, ids: Sequence[int]) -> tuple[Mapping[int, list[int]], Mapping[int, list[int]]]:
    """(groups of each subscriber, members of each group), in their order."""
    groups: dict[int, list[int]] = {}
    members: dict[int, list[int]] = {}
    t = pbx_group_member.c
    for at in range(0, len(ids), numbers.CHUNK):
        part = ids[at : at + numbers.CHUNK]
        for row in conn.execute(sa.select(t.member_id, t.group_id).where(t.member_id.in_(part)).order_by(t.rank, t.id)):
            groups.setdefault(row.member_id, []).append(row.group_id)
        for row in conn.execute(sa.select(t.group_id, t.member_id).where(t.group_id.in_(part)).order_by(t.position, t.id)):
            members.setdefault(row.group_id, []).append(row.member_id)
    return groups, members


def set_groups(conn: sa.Connection, customer_id: int, subscriber_id: int, group_ids: Sequence[int]) -> None:
    """The groups that a subscriber is in, in this order. In a new one it is the last member."""
    before = memberships(conn, [subscriber_id])[0].get(subscriber_id, [])
    if before == list(group_ids):
        return
    _fit(conn, customer_id, "pbx_group_ids", group_ids, subscriber_id, groups=True)
    _become(conn, pbx_group_member.c.rank, [(key, subscriber_id) for key in before], [(key, subscriber_id) for key in group_ids])
    for key in {*before, *group_ids}:
        mirror(conn, key)


def set_members(conn: sa.Connection, customer_id: int, group_id: int, member_ids: Sequence[int]) -> None:
    """The members of a group, in this order. For a new one the group is the last of its groups."""
    before = memberships(conn, [group_id])[1].get(group_id, [])
    if before == list(member_ids):
        return
    _fit(conn, customer_id, "pbx_groupmember_ids", member_ids, group_id, groups=False)
    _become(conn, pbx_group_member.c.position, [(group_id, key) for key in before], [(group_id, key) for key in member_ids])
    mirror(conn, group_id)


def _fit(conn: sa.Connection, customer_id: int, field: str, ids: Sequence[int], own: int, *, groups: bool) -> None:
    """All are living subscribers of the customer, none twice, none the subscriber itself; `groups`: and groups."""
    if len(set(ids)) != len(ids):
        raise ProvisioningError(field, "an id is given twice", value=list(ids))
    where = [subscriber.c.contract_id == customer_id, subscriber.c.status != "terminated", subscriber.c.id.in_(ids), subscriber.c.id != own]
    if groups:
        where.append(subscriber.c.is_pbx_group.is_(True))
    found = set(conn.scalars(sa.select(subscriber.c.id).where(*where)))
    for key in ids:
        if key not in found:
            raise ProvisioningError(field, f"there is no such {'group' if groups else 'subscriber'} of this customer", "unknown", key)


def _become(conn: sa.Connection, order: sa.Column[int], before: Sequence[tuple[int, int]], after: Sequence[tuple[int, int]]) -> None:
    """Memberships (group, member) `before` become those in `after`, numbered from 0 in column `order`."""
    _write(conn, [pair for pair in before if pair not in after], [pair for pair in after if pair not in before])
    for place, (group_id, member_id) in enumerate(after):
        here = (pbx_group_member.c.group_id == group_id, pbx_group_member.c.member_id == member_id)
        conn.execute(sa.update(pbx_group_member).where(*here).values({order: place}))


def _write(conn: sa.Connection, gone: Sequence[tuple[int, int]], fresh: Sequence[tuple[int, int]]) -> None:
    t = pbx_group_member.c
    for group_id, member_id in gone:
        conn.execute(sa.delete(pbx_group_member).where(t.group_id == group_id, t.member_id == member_id))
    for group_id, member_id in fresh:
        position = conn.scalar(sa.select(sa.func.max(t.position)).where(t.group_id == group_id))
        rank = conn.scalar(sa.select(sa.func.max(t.rank)).where(t.member_id == member_id))
        row = {"position": 0 if position is None else position + 1, "rank": 0 if rank is None else rank + 1}
        conn.execute(sa.insert(pbx_group_member).values(group_id=group_id, member_id=member_id, **row))
    for key in {key for pair in (*gone, *fresh) for key in pair}:
        _touch(conn, key)


def _touch(conn: sa.Connection, subscriber_id: int) -> None:
    stamp = {"modified_at": now(conn), "version": subscriber.c.version + 1}
    conn.execute(sa.update(subscriber).where(subscriber.c.id == subscriber_id).values(**stamp))
    changes.note(conn, "subscriber", subscriber_id)


def mirror(conn: sa.Connection, group_id: int) -> None:
    """Preference `cloud_pbx_hunt_group` of a group lists its members as SIP URIs."""
    t = pbx_group_member.c
    query = (
        sa.select(subscriber.c.username, domain.c.name)
        .join(pbx_group_member, t.member_id == subscriber.c.id)
        .join(domain, domain.c.id == subscriber.c.domain_id)
        .where(t.group_id == group_id)
        .order_by(t.position, t.id)
    )
    values.put(conn, "usr", group_id, {"cloud_pbx_hunt_group": [f"sip:{row.username}@{row.name}" for row in conn.execute(query)]})


def renamed(conn: sa.Connection, subscriber_id: int) -> None:
    """A member has another user name."""
    for key in memberships(conn, [subscriber_id])[0].get(subscriber_id, ()):
        mirror(conn, key)


def leave(conn: sa.Connection, subscriber_id: int) -> None:
    """A subscriber ends: it is in no group, and a group has no members any more."""
    groups, members = memberships(conn, [subscriber_id])
    left = groups.get(subscriber_id, [])
    _write(conn, [*((key, subscriber_id) for key in left), *((subscriber_id, key) for key in members.get(subscriber_id, ()))], [])
    for key in left:
        mirror(conn, key)


def others(conn: sa.Connection, customer_id: int, subscriber_id: int) -> bool:
    """Has the customer further subscribers?"""
    more = (subscriber.c.contract_id == customer_id, subscriber.c.status != "terminated", subscriber.c.id != subscriber_id)
    return conn.scalar(sa.select(subscriber.c.id).where(*more).limit(1)) is not None
