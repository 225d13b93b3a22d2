"""Preferences of subscribers, profiles, domains, peers and customers (data model 6).

Attributes that name another object (`rewrite_rule_set` ...) are given and shown by its name and stored as its id; `allowed_ips` and
`man_allowed_ips` live in a table of their own; what follows from other tables (`rewrite_*_dpid`, `*_grp`, `cfu` ...) cannot be set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from ngcpd.provisioning import check
from ngcpd.provisioning.env import Env
from ngcpd.provisioning.errors import ProvisioningError
from ngcpd.store import changes
from ngcpd.store.catalogue import ADDRESS_LISTS, COMPUTED, REFERENCES, Attribute
from ngcpd.store.db import now
from ngcpd.store.tables.features import sound_set
from ngcpd.store.tables.identity import customer_location, domain, subscriber, subscriber_profile, subscriber_profile_set
from ngcpd.store.tables.numbering import ncos_level
from ngcpd.store.tables.preferences import LEVELS, allowed_ip, preference_value
from ngcpd.store.tables.routing import peer_host, rewrite_rule_set
from ngcpd.store.tables.tenancy import contact, contract

Value = bool | int | str | Sequence[int | str] | None
LONGEST = 255
INT_LIMIT = 2**63 - 1
_TABLES = {"usr": subscriber, "prof": subscriber_profile, "dom": domain, "peer": peer_host, "contract": contract}
_NAMED = {
    "rewrite_rule_set": (rewrite_rule_set, "name"),
    "ncos": (ncos_level, "level"),
    "adm_ncos": (ncos_level, "level"),
    "adm_cf_ncos": (ncos_level, "level"),
    "sound_set": (sound_set, "name"),
    "contract_sound_set": (sound_set, "name"),
}
CHUNK = 500
_TRUE = ("1", "true", "yes")
_FALSE = ("0", "false", "no", "")


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose preferences: a level, the object's id, a customer location or 0, and the reseller in whose scope names are looked up."""

    level: str
    id: int
    location_id: int
    reseller_id: int


def set_preference(conn: sa.Connection, env: Env, *, level: str, owner_id: int, attribute: str, value: Value, location_id: int = 0) -> None:
    """Store one preference; None, false and empty text or list remove it."""
    set_preferences(conn, env, level=level, owner_id=owner_id, values={attribute: value}, location_id=location_id)


def unset_preference(conn: sa.Connection, env: Env, *, level: str, owner_id: int, attribute: str, location_id: int = 0) -> None:
    """Remove one preference; harmless when it is not set."""
    set_preferences(conn, env, level=level, owner_id=owner_id, values={attribute: None}, location_id=location_id)


def set_preferences(conn: sa.Connection, env: Env, *, level: str, owner_id: int, values: Mapping[str, Value], location_id: int = 0) -> None:
    """Store several, all or none; others stay."""
    owner = _owner(conn, level, owner_id, location_id)
    # Two writers of one object take turns, else both could delete and then collide.
    table = _TABLES[owner.level]
    conn.execute(sa.select(table.c.id).where(table.c.id == owner.id).with_for_update())
    stored: dict[str, list[str]] = {}
    addresses: dict[str, list[check.Net]] = {}
    for name, value in values.items():
        attribute = _attribute(env, owner, name)
        if name in ADDRESS_LISTS:
            addresses[name] = [check.net(name, str(entry)) for entry in _entries(attribute, value)]
        elif name in REFERENCES:
            reference = _reference(conn, owner, name, value)
            stored[name] = [] if reference is None else [str(reference)]
        else:
            stored[name] = [text for entry in _entries(attribute, value) if (text := _text(attribute, owner, entry)) is not None]
    if stored:
        _write(conn, owner, stored)
    for name, nets in addresses.items():
        _write_addresses(conn, owner.id, ADDRESS_LISTS[name], nets)
    changes.note(conn, f"preference:{owner.level}", owner.id)
    if addresses:
        changes.note(conn, "allowed_ip", owner.id)


def list_preferences(
    conn: sa.Connection, env: Env, *, level: str, owner_id: int, location_id: int = 0
) -> dict[str, bool | int | str | list[int | str]]:
    """All that is set, typed, by attribute name in alphabetical order; references by name."""
    owner = _owner(conn, level, owner_id, location_id)
    return list_many(conn, env, level=level, owners=[owner.id], location_id=location_id)[owner.id]


def list_many(
    conn: sa.Connection, env: Env, *, level: str, owners: Sequence[int], location_id: int = 0
) -> dict[int, dict[str, bool | int | str | list[int | str]]]:
    """`list_preferences` of many owners, which are not checked, in a number of queries that does not grow with theirs."""
    value = preference_value.c
    grouped: dict[int, dict[str, list[str]]] = {owner: {} for owner in owners}
    named: set[tuple[str, str]] = set()
    for at in range(0, len(owners), CHUNK):
        where = (value.level == level, value.owner_id.in_(owners[at : at + CHUNK]), value.location_id == location_id)
        columns = (value.owner_id, value.attribute, value.value)
        for row in conn.execute(sa.select(*columns).where(*where).order_by(value.attribute, value.position)):
            grouped[row.owner_id].setdefault(row.attribute, []).append(row.value)
            if row.attribute in REFERENCES:
                named.add((row.attribute, row.value))
    names = {pair: _reference_name(conn, *pair) for pair in named}
    result: dict[int, dict[str, bool | int | str | list[int | str]]] = {}
    for owner, values in grouped.items():
        mine: dict[str, bool | int | str | list[int | str]] = {}
        for name, texts in values.items():
            shown = _typed(env, name, texts, names)
            if shown is not None:
                mine[name] = shown
        result[owner] = mine
    if level == "usr":
        _add_addresses(conn, owners, result)
    return {owner: dict(sorted(mine.items())) for owner, mine in result.items()}


def _typed(env: Env, name: str, texts: list[str], names: Mapping[tuple[str, str], str | None]) -> bool | int | str | list[int | str] | None:
    attribute = env.catalogue.get(name)
    if attribute is None:
        return None
    if name in REFERENCES:
        return names[(name, texts[0])]
    if attribute.type == "boolean":
        return texts[0] == "1"
    typed: list[int | str] = [int(t) if attribute.type == "int" else t for t in texts]
    return typed if attribute.is_list else typed[0]


def _add_addresses(conn: sa.Connection, owners: Sequence[int], result: dict[int, dict[str, bool | int | str | list[int | str]]]) -> None:
    by_list = {which: name for name, which in ADDRESS_LISTS.items()}
    for at in range(0, len(owners), CHUNK):
        columns = (allowed_ip.c.subscriber_id, allowed_ip.c.list, allowed_ip.c.text)
        mine = allowed_ip.c.subscriber_id.in_(owners[at : at + CHUNK])
        for row in conn.execute(sa.select(*columns).where(mine).order_by(allowed_ip.c.id)):
            entries = result[row.subscriber_id].setdefault(by_list[row.list], [])
            assert isinstance(entries, list)
            entries.append(row.text)


# ---------------------------------------------------------------------------------------------------------------------- inside
def _owner(conn: sa.Connection, level: str, owner_id: int, location_id: int) -> Owner:
    check.one_of("level", level, LEVELS)
    check.whole("owner_id", owner_id, 1, 2**31 - 1)
    if location_id:
        if level != "contract":
            raise ProvisioningError("location_id", "only customers have locations")
        home = conn.scalar(sa.select(customer_location.c.contract_id).where(customer_location.c.id == location_id))
        if home != owner_id:
            raise ProvisioningError("location_id", "the customer has no such location", "unknown")
    if level == "peer":
        # Peers belong to the platform; names are looked up at reseller 1.
        query = sa.select(sa.literal(1)).select_from(peer_host).where(peer_host.c.id == owner_id)
    elif level == "usr":
        query = sa.select(domain.c.reseller_id).join(subscriber, subscriber.c.domain_id == domain.c.id)
        query = query.where(subscriber.c.id == owner_id, subscriber.c.status != "terminated")
    elif level == "dom":
        query = sa.select(domain.c.reseller_id).where(domain.c.id == owner_id)
    elif level == "prof":
        query = sa.select(subscriber_profile_set.c.reseller_id).join(subscriber_profile, subscriber_profile.c.set_id == subscriber_profile_set.c.id)
        query = query.where(subscriber_profile.c.id == owner_id)
    else:
        query = sa.select(sa.func.coalesce(contact.c.reseller_id, 1)).join(contract, contract.c.contact_id == contact.c.id)
        query = query.where(contract.c.id == owner_id, contract.c.status != "terminated")
    reseller_id = conn.scalar(query)
    if reseller_id is None:
        raise ProvisioningError("owner_id", "there is no such object", "unknown")
    return Owner(level, owner_id, location_id, int(reseller_id))


def _attribute(env: Env, owner: Owner, name: str) -> Attribute:
    attribute = env.catalogue.get(name)
    if attribute is None:
        raise ProvisioningError(name, "there is no such preference", "unknown")
    if attribute.internal == 1 or attribute.read_only or name in COMPUTED:
        raise ProvisioningError(name, "is written by the system", "refused")
    # A customer may hold an attribute of its locations too.
    levels = {"contract_location"} if owner.location_id else {owner.level} | ({"contract_location"} if owner.level == "contract" else set())
    if not levels & attribute.levels:
        raise ProvisioningError(name, f"cannot be set at this level ({', '.join(sorted(attribute.levels))} only)", "refused")
    return attribute


def _entries(attribute: Attribute, value: Value) -> Sequence[bool | int | str]:
    """The entries to store: of a list attribute all, of another one none or one."""
    if value is None:
        return ()
    if isinstance(value, Sequence) and not isinstance(value, str):
        if not attribute.is_list:
            raise ProvisioningError(attribute.name, "takes a single value")
        return tuple(value)
    if attribute.is_list:
        raise ProvisioningError(attribute.name, "takes a list")
    return (value,)


def _text(attribute: Attribute, owner: Owner, entry: bool | int | str) -> str | None:
    """One entry as stored; None stores nothing."""
    name = attribute.name
    if not isinstance(entry, (bool, int, str)):
        raise ProvisioningError(name, "must be text or a number")
    text = str(entry).strip() if isinstance(entry, int) else entry
    if attribute.type == "boolean":
        low = text.lower()
        if low not in _TRUE + _FALSE:
            raise ProvisioningError(name, "must be true or false")
        return "1" if low in _TRUE else None
    if isinstance(entry, bool):
        raise ProvisioningError(name, f"must be {'a whole number' if attribute.type == 'int' else 'text'}")
    if text == "":
        return None
    if attribute.type == "int":
        digits = text.removeprefix("-")
        if not digits.isascii() or not digits.isdigit() or len(digits) > 19 or abs(int(text)) > INT_LIMIT:
            raise ProvisioningError(name, "must be a whole number")
        return str(int(text))
    if attribute.type == "enum" and text not in attribute.values("contract_location" if owner.location_id else owner.level):
        raise ProvisioningError(name, f"{text[:40]} is none of its values at this level")
    return check.text(name, text, LONGEST)


def _reference(conn: sa.Connection, owner: Owner, name: str, value: Value) -> int | None:
    """The id of the object that `value` names (or is the id of), within the owner's reseller."""
    if value is None or value == "":
        return None
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ProvisioningError(name, "takes a single name")
    table, column = _NAMED[name]
    which = [table.c.id == value if isinstance(value, int) else table.c[column] == value, table.c.reseller_id == owner.reseller_id]
    if name == "sound_set":
        which.append(sound_set.c.contract_id.is_(None))
    elif name == "contract_sound_set":
        which.append(sound_set.c.contract_id == _customer(conn, owner))
    found = conn.scalar(sa.select(table.c.id).where(*which))
    if found is None:
        raise ProvisioningError(name, f"there is no {name} {str(value)[:40]}", "unknown")
    return int(found)


def _customer(conn: sa.Connection, owner: Owner) -> int | None:
    if owner.level == "contract":
        return owner.id
    return conn.scalar(sa.select(subscriber.c.contract_id).where(subscriber.c.id == owner.id)) if owner.level == "usr" else None


def _reference_name(conn: sa.Connection, name: str, stored: str) -> str | None:
    table, column = _NAMED[name]
    return conn.scalar(sa.select(table.c[column]).where(table.c.id == int(stored))) if stored.isdigit() else None


def _write(conn: sa.Connection, owner: Owner, stored: Mapping[str, list[str]]) -> None:
    value = preference_value.c
    here = (value.level == owner.level, value.owner_id == owner.id, value.location_id == owner.location_id)
    conn.execute(sa.delete(preference_value).where(*here, value.attribute.in_(stored)))
    at = now(conn)
    place = {"level": owner.level, "owner_id": owner.id, "location_id": owner.location_id, "modified_at": at}
    rows = [{**place, "attribute": name, "position": n, "value": text} for name, texts in stored.items() for n, text in enumerate(texts)]
    if rows:
        conn.execute(sa.insert(preference_value), rows)


def _write_addresses(conn: sa.Connection, subscriber_id: int, which: str, nets: Sequence[check.Net]) -> None:
    conn.execute(sa.delete(allowed_ip).where(allowed_ip.c.subscriber_id == subscriber_id, allowed_ip.c.list == which))
    unique = {(net.first, net.last): net for net in nets}
    rows = [
        {"subscriber_id": subscriber_id, "list": which, "family": net.family, "first": net.first, "last": net.last, "text": net.text}
        for net in unique.values()
    ]
    if rows:
        conn.execute(sa.insert(allowed_ip), rows)
