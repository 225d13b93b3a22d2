"""Subscribers: making, changing, locking and terminating them (data model 4)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa

from ngcpd.provisioning import balance, check, numbers, pbx
from ngcpd.provisioning.check import E164
from ngcpd.provisioning.env import Env
from ngcpd.provisioning.errors import Plain, ProvisioningError, unique
from ngcpd.provisioning.scope import Customer, customers, domains, events, profiles, taken
from ngcpd.provisioning.welcome import greet
from ngcpd.store import changes
from ngcpd.store.credentials import digest_hashes, random_password
from ngcpd.store.db import insert, now
from ngcpd.store.tables import devices, features, media, special
from ngcpd.store.tables.identity import subscriber, trusted_source
from ngcpd.store.tables.preferences import allowed_ip, preference_value
from ngcpd.store.tables.tenancy import contact

LOCK_LEVELS = range(6)
OWNED = (
    features.cf_mapping,
    features.cf_destination_set,
    features.cf_time_set,
    features.speed_dial,
    features.reminder,
    features.voicemail_box,
    features.auto_attendant_choice,
    features.fax_settings,
    features.fax_destination,
    features.calling_card_map,
    media.fax_journal,
    media.mail2fax_settings,
    media.mail2fax_acl,
    media.mail2fax_notify,
    devices.device_line,
    special.rtc_session,
    trusted_source,
    allowed_ip,
)
"""Tables whose rows go with their subscriber."""
GLOBAL_LOCK = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSubscriber:
    """What is asked for. `domain` by name; `password` None = random, if the operator allows that; `webusername` None = the user name.

    From another system, in the place of passwords: `ha1` (with `ha1b`, `ha1_sha256` if they are known) of user, domain and password, and
    `webpassword_hash`, an Argon2 hash. The SIP password itself is then not known here.

    Of a Cloud PBX customer also `seat`, the groups it is in and, of a group, its members.
    """

    customer_id: int
    domain: str
    username: str
    password: str | None = None
    number: E164 | None = None
    aliases: Sequence[E164] = ()
    status: str = "active"
    is_admin: bool = False
    webusername: str | None = None
    webpassword: str | None = None
    external_id: str | None = None
    email: str | None = None
    display_name: str | None = None
    profile_set_id: int | None = None
    profile_id: int | None = None
    ha1: str | None = None
    ha1b: str | None = None
    ha1_sha256: str | None = None
    webpassword_hash: str | None = None
    seat: pbx.Seat = pbx.NO_SEAT
    group_ids: Sequence[int] = ()
    member_ids: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Created:
    """A new subscriber; the passwords in clear, to be shown once ("" when only its hash was given)."""

    id: int
    uuid: str
    username: str
    domain: str
    password: str
    webpassword: str | None

    def __repr__(self) -> str:
        return f"Created(id={self.id}, uuid={self.uuid!r}, username={self.username!r}, domain={self.domain!r})"


def create_subscriber(conn: sa.Connection, env: Env, new: NewSubscriber) -> Created:
    """One subscriber; see `create_subscribers`."""
    return create_subscribers(conn, env, [new])[0]


def create_subscribers(conn: sa.Connection, env: Env, items: Sequence[NewSubscriber]) -> list[Created]:
    """Many at once, all or none, in a number of statements that does not grow with theirs.

    Each gets its uuid, credentials, numbers, a voice box, and the preferences `account_id`, `ext_*`, `cc`, `ac`, `cli`, `allowed_clis`, `prepaid`,
    `display_name`, `contract_sound_set`, a lock when `status` is locked or the customer's balance is below the limit of its package, and the
    defaults of its level.
    """
    if not items:
        return []
    wanted = {item.customer_id for item in items}
    balance.catch_up(conn, env, wanted)
    owners = customers(conn, wanted)
    if any(owner.kind == "pbxaccount" for owner in owners.values()):
        if len(items) > 1:
            return [create_subscribers(conn, env, [item])[0] for item in items]  # each depends on those before it
        _limits(owners, items)
        items = [_seated(conn, env, items[0])]
    locks = balance.underrun_locks(conn, wanted)
    served = domains(conn, {check.domain("domain", item.domain) for item in items})
    _limits(owners, items)
    profile_of = profiles(conn, {(item.profile_set_id, item.profile_id) for item in items})
    rows, created = [], []
    for item in items:
        home = served[check.domain("domain", item.domain)]
        owner = owners[item.customer_id]
        if owner.reseller_id != home.reseller_id:
            raise ProvisioningError("domain", "belongs to another reseller than the customer")
        chosen = profile_of[(item.profile_set_id, item.profile_id)]
        if chosen.reseller_id not in (None, owner.reseller_id):
            raise ProvisioningError("profile_set_id", "there is no such profile set", "unknown")
        row, password, webpassword = _row(conn, env, item, home.id, home.name, owner.reseller_id)
        row |= {"profile_set_id": chosen.set_id, "profile_id": chosen.id}
        rows.append(row)
        created.append((row["uuid"], row["username"], home.name, password, webpassword))
    _unused(conn, rows)
    with unique("username", "the user name or web user name was taken meanwhile"):
        made = conn.execute(sa.insert(subscriber).returning(subscriber.c.uuid, subscriber.c.id), rows).all()
    ids = {row.uuid: row.id for row in made}
    result = [Created(ids[c[0]], *c) for c in created]
    assignments = [
        numbers.Assignment(done.id, owners[item.customer_id].reseller_id, item.number, item.aliases)
        for item, done in zip(items, result, strict=True)
        if item.number is not None or item.aliases
    ]
    if assignments:
        numbers.assign(conn, assignments)
    values = [
        row
        for item, done in zip(items, result, strict=True)
        for row in _values(
            conn, env, done.id, _preferences(conn, env, item, owners[item.customer_id], locks.get(item.customer_id, 0))
        )
    ]
    conn.execute(sa.insert(preference_value), values)
    _voice_boxes(conn, env, result)
    starts = [(d.id, owners[i.customer_id].reseller_id, r["profile_id"]) for i, d, r in zip(items, result, rows, strict=True)]
    events(conn, env, [("start_profile", who, where, None, str(what)) for who, where, what in starts if what is not None])
    changes.note_all(conn, (("subscriber", done.id) for done in result))
    for item, done in zip(items, result, strict=True):
        if owners[item.customer_id].kind == "pbxaccount":
            _join(conn, env, item, done.id, owners[item.customer_id].reseller_id)
    greet(conn, env, ((item.customer_id, f"{done.username}@{done.domain}", item.email) for item, done in zip(items, result, strict=True)))
    return result


def set_password(conn: sa.Connection, env: Env, *, subscriber_id: int, password: str, checked: bool = False) -> None:
    """A new SIP password. `checked`: it is the old one or was checked before, no rule applies."""
    who = numbers.living(conn, subscriber_id)
    if not checked:
        check.password("password", password, env.rules)
    conn.execute(
        sa.update(subscriber)
        .where(subscriber.c.id == subscriber_id)
        .values(**_secrets(env, who.uuid, who.username, who.domain, password), modified_at=now(conn), version=subscriber.c.version + 1)
    )
    changes.note(conn, "subscriber", subscriber_id)


def set_web_password(conn: sa.Connection, env: Env, *, subscriber_id: int, password: str) -> None:
    """A new password for the self-care pages."""
    numbers.living(conn, subscriber_id)
    hashed = env.argon.hash(check.password("webpassword", password, env.rules))
    change = {"webpassword_hash": hashed, "modified_at": now(conn), "version": subscriber.c.version + 1}
    conn.execute(sa.update(subscriber).where(subscriber.c.id == subscriber_id).values(**change))
    changes.note(conn, "subscriber", subscriber_id)


def get_password(conn: sa.Connection, env: Env, *, subscriber_id: int) -> str | None:
    """The SIP password in clear, None when none is kept. VaultError when the key is another one than it was sealed with."""
    who = numbers.living(conn, subscriber_id)
    return None if who.sip_password_enc is None else env.vault.open(who.sip_password_enc, who.uuid)


def set_lock(conn: sa.Connection, env: Env, *, subscriber_id: int, level: int) -> None:
    """The lock level: 0 none, 1 foreign, 2 outgoing, 3 incoming and outgoing, 4 global, 5 ported (call processing 2.7)."""
    check.whole("lock", level, 0, max(LOCK_LEVELS))
    numbers.living(conn, subscriber_id)
    _write_lock(conn, subscriber_id, level)
    changes.note(conn, "preference:usr", subscriber_id)


def set_status(conn: sa.Connection, env: Env, *, subscriber_id: int, status: str) -> None:
    """`locked` locks at level 4, from `locked` to `active` unlocks, `terminated` terminates."""
    check.one_of("status", status, ("active", "locked", "terminated"))
    if status == "terminated":
        terminate_subscriber(conn, env, subscriber_id=subscriber_id)
        return
    before = numbers.living(conn, subscriber_id).status
    if before == status:
        return
    change = {"status": status, "modified_at": now(conn), "version": subscriber.c.version + 1}
    conn.execute(sa.update(subscriber).where(subscriber.c.id == subscriber_id).values(**change))
    _write_lock(conn, subscriber_id, GLOBAL_LOCK if status == "locked" else 0)
    changes.note_all(conn, [("subscriber", subscriber_id), ("preference:usr", subscriber_id)])


def terminate_subscriber(conn: sa.Connection, env: Env, *, subscriber_id: int) -> None:
    """For good: numbers become free, credentials, preferences, addresses and trusted sources go; the row stays for the records."""
    who = numbers.living(conn, subscriber_id)
    if who.is_pbx_pilot and pbx.others(conn, who.contract_id, subscriber_id):
        raise Plain("is_pbx_pilot", "The pilot subscriber cannot be terminated while the customer has other subscribers.", "refused")
    pbx.leave(conn, subscriber_id)
    pbx.give_back(conn, env, who.contract_id, subscriber_id)
    numbers.release(conn, numbers.of(conn, subscriber_id))
    conn.execute(sa.delete(preference_value).where(preference_value.c.level == "usr", preference_value.c.owner_id == subscriber_id))
    for table in OWNED:
        conn.execute(sa.delete(table).where(table.c.subscriber_id == subscriber_id))
    at = now(conn)
    gone = dict.fromkeys(("live_name", "sip_password_enc", "ha1", "ha1b", "ha1_sha256", "webusername", "webpassword_hash"))
    conn.execute(
        sa.update(subscriber)
        .where(subscriber.c.id == subscriber_id)
        .values(**gone, status="terminated", terminated_at=at, modified_at=at, version=subscriber.c.version + 1)
    )
    if who.profile_id is not None:
        events(conn, env, [("stop_profile", subscriber_id, who.reseller_id, str(who.profile_id), "")])
    if who.is_pbx_group:
        events(conn, env, [("end_huntgroup", subscriber_id, who.reseller_id, _text(who.profile_id), "")])
    kinds = ("subscriber", "preference:usr", "allowed_ip", "trusted_source", "forward")
    changes.note_all(conn, [(kind, subscriber_id) for kind in kinds])


# ---------------------------------------------------------------------------------------------------------------------- inside
def _limits(owners: dict[int, Customer], items: Sequence[NewSubscriber]) -> None:
    for owner in owners.values():
        if owner.max_subscribers is not None:
            asked = sum(1 for item in items if item.customer_id == owner.id)
            if owner.living + asked > owner.max_subscribers:
                raise ProvisioningError("customer_id", f"the customer may have {owner.max_subscribers} subscribers", "limit")


def _seated(conn: sa.Connection, env: Env, item: NewSubscriber) -> NewSubscriber:
    """A new one of a Cloud PBX; aliases of the pilot that it asks for are taken from the pilot. A group registers nowhere: its password is random."""
    item = pbx.prepared(conn, item)
    first = None if item.seat.is_pilot else pbx.pilot(conn, item.customer_id)
    if first is not None and item.aliases:
        pbx.borrow(conn, env, first, item.aliases)
    if item.seat.is_group and item.password is None and item.ha1 is None:
        item = replace(item, password=random_password(env.rng))
    return item


def _join(conn: sa.Connection, env: Env, item: NewSubscriber, subscriber_id: int, reseller_id: int) -> None:
    """Memberships of a new subscriber of a Cloud PBX, and the event of a new group."""
    pbx.set_groups(conn, item.customer_id, subscriber_id, item.group_ids)
    if item.member_ids and not item.seat.is_group:
        raise ProvisioningError("pbx_groupmember_ids", "only a group has members", value=list(item.member_ids))
    pbx.set_members(conn, item.customer_id, subscriber_id, item.member_ids)
    if item.seat.is_group:
        profile_id = conn.scalar(sa.select(subscriber.c.profile_id).where(subscriber.c.id == subscriber_id))
        events(conn, env, [("start_huntgroup", subscriber_id, reseller_id, _text(profile_id), "")])


def _text(key: int | None) -> str:
    return "" if key is None else str(key)


def _row(
    conn: sa.Connection, env: Env, item: NewSubscriber, domain_id: int, domain_name: str, reseller_id: int
) -> tuple[dict[str, Any], str, str | None]:
    name = check.username("username", item.username)
    password, webpassword = item.password, item.webpassword
    if item.ha1 is not None:
        if password is not None:
            raise ProvisioningError("ha1", "is not possible together with a password")
    elif password is None:
        if not env.rules.password_sip_autogenerate:
            raise ProvisioningError("password", "a value is needed", "missing")
        password = random_password(env.rng)
    else:
        check.password("password", password, env.rules)
    if item.webpassword_hash is not None:
        if webpassword is not None:
            raise ProvisioningError("webpassword_hash", "is not possible together with a password")
    elif webpassword is None and env.rules.password_web_autogenerate:
        webpassword = random_password(env.rng)
    elif webpassword is not None:
        check.password("webpassword", webpassword, env.rules)
    uuid, at = env.rng.uuid(), now(conn)
    mail = check.email("email", item.email)
    row = {
        "uuid": uuid,
        "contract_id": item.customer_id,
        "domain_id": domain_id,
        "username": name,
        "live_name": name,
        "status": check.one_of("status", item.status, ("active", "locked")),
        "webusername": name if item.webusername is None else check.webusername("webusername", item.webusername),
        "webpassword_hash": item.webpassword_hash if webpassword is None else env.argon.hash(webpassword),
        "is_admin": bool(item.is_admin),
        "external_id": check.text("external_id", item.external_id, 255, required=False),
        "contact_id": None if mail is None else insert(conn, contact, reseller_id=reseller_id, email=mail, created_at=at, modified_at=at),
        **item.seat.columns(),
        "created_at": at,
        "modified_at": at,
        **(_given_hashes(item) if password is None else _secrets(env, uuid, name, domain_name, password)),
    }
    return row, password or "", webpassword


def _given_hashes(item: NewSubscriber) -> dict[str, str | None]:
    return {"sip_password_enc": None, "ha1": item.ha1, "ha1b": item.ha1b, "ha1_sha256": item.ha1_sha256}


def _secrets(env: Env, uuid: str, username: str, domain_name: str, password: str) -> dict[str, str]:
    hashes = digest_hashes(username, domain_name, password)
    return {"sip_password_enc": env.vault.seal(password, uuid), "ha1": hashes.ha1, "ha1b": hashes.ha1b, "ha1_sha256": hashes.ha1_sha256}


def _unused(conn: sa.Connection, rows: Sequence[dict[str, Any]]) -> None:
    for column, field in (("live_name", "username"), ("webusername", "webusername")):
        asked = [(row["domain_id"], row[column]) for row in rows]
        twice = {pair for pair, times in Counter(asked).items() if times > 1}
        for _, name in sorted(twice | taken(conn, column, asked)):
            raise ProvisioningError(field, f"{name} exists in this domain", "duplicate")


def _preferences(conn: sa.Connection, env: Env, item: NewSubscriber, owner: Customer, lock: int) -> dict[str, list[str]]:
    """`lock`: the level that the customer's balance asks for."""
    found = {name: [value] for name, value in env.catalogue.defaults("usr")}
    found["account_id"] = [str(owner.id)]
    if item.external_id:
        found["ext_subscriber_id"] = [item.external_id]
    if owner.external_id:
        found["ext_contract_id"] = [owner.external_id]
    if owner.prepaid:
        found["prepaid"] = ["1"]
    if owner.sound_set is not None:
        found["contract_sound_set"] = [str(owner.sound_set)]
    if item.status == "locked":
        found["lock"] = [str(GLOBAL_LOCK)]
    elif lock:
        found["lock"] = [str(lock)]
    shown = check.text("display_name", item.display_name, 128, required=False)
    if shown:
        found["display_name"] = [shown]
    if owner.kind == "pbxaccount":
        first = None if item.seat.is_pilot else pbx.pilot(conn, owner.id)
        found |= pbx.preferences(item.seat, item.number if first is None else first.number)
    return found | numbers.preferences(env, item.number, item.aliases)


def _voice_boxes(conn: sa.Connection, env: Env, created: Sequence[Created]) -> None:
    at = now(conn)
    rows = [{"subscriber_id": c.id, "pin": f"{env.rng.below(10_000):04d}", "created_at": at, "modified_at": at} for c in created]
    conn.execute(sa.insert(features.voicemail_box), rows)


def _values(conn: sa.Connection, env: Env, subscriber_id: int, found: dict[str, list[str]]) -> list[dict[str, Any]]:
    at = now(conn)
    return [
        {"level": "usr", "owner_id": subscriber_id, "attribute": name, "position": position, "value": value, "modified_at": at}
        for name, values in found.items()
        for position, value in enumerate(values)
    ]


def _write_lock(conn: sa.Connection, subscriber_id: int, level: int) -> None:
    value = preference_value.c
    conn.execute(sa.delete(preference_value).where(value.level == "usr", value.owner_id == subscriber_id, value.attribute == "lock"))
    if level:
        insert(conn, preference_value, level="usr", owner_id=subscriber_id, attribute="lock", value=str(level), modified_at=now(conn))
