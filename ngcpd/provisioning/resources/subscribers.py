"""Subscribers (data model 4, REST API 2.4)."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from ngcpd.provisioning import balance, check, numbers, pbx, profiles, query, scope, subscribers, values
from ngcpd.provisioning.caller import ADMIN
from ngcpd.provisioning.check import E164
from ngcpd.provisioning.errors import Invalid, Plain, ProvisioningError
from ngcpd.provisioning.fields import Array, Bool, Choice, Email, Enum, Field, Int, Object, Ref, Text
from ngcpd.provisioning.query import CHUNK, pattern
from ngcpd.provisioning.resource import FULL_PATCH, ID, READ_ONLY, Doc, Filter, Link, Resource, Row, Values, Work
from ngcpd.provisioning.subscribers import NewSubscriber
from ngcpd.provisioning.units import update_row
from ngcpd.store import changes
from ngcpd.store.credentials import VaultError
from ngcpd.store.db import insert, now
from ngcpd.store.tables.identity import HUNT_POLICIES, domain, number, subscriber, subscriber_profile_set
from ngcpd.store.tables.tenancy import contact, contract, product

PBX_FIELDS = (
    *("is_pbx_pilot", "is_pbx_group", "pbx_extension", "pbx_hunt_policy", "pbx_hunt_timeout"),
    *("pbx_group_ids", "pbx_groupmember_ids"),
)
NUMBER = Object(
    (
        Field("cc", Text(4, pattern="[1-9][0-9]{0,3}", wrong="Invalid country code"), required=True, help="Country code"),
        Field("ac", Text(7, pattern="[0-9]*", wrong="Invalid area code"), default="", help="Area code"),
        Field("sn", Text(31, pattern="[0-9]+", wrong="Invalid subscriber number"), required=True, help="Subscriber number"),
    )
)
HASHES = ("ha1", "ha1b", "ha1_sha256")
MD5 = Text(32, pattern="[0-9a-f]{32}", wrong="Value must be 32 hexadecimal digits")
SHA256 = Text(64, pattern="[0-9a-f]{64}", wrong="Value must be 64 hexadecimal digits")
ARGON2 = Text(255, pattern=r"\$argon2(id|i|d)\$[A-Za-z0-9+/=,$]+", wrong="Value must be an Argon2 hash")
IDS = Array(Int(1), pbx.MOST)
HIDDEN_DOMAINS = sa.select(domain.c.id).where(domain.c.is_system.is_(True))


def of_reseller(reseller_id: int) -> sa.ColumnElement[bool]:
    return subscriber.c.domain_id.in_(sa.select(domain.c.id).where(domain.c.reseller_id == reseller_id))


def counted(reseller_id: int | None) -> tuple[sa.ColumnElement[bool], ...]:
    """Living subscribers of a reseller (None: all) as parts of one index."""
    homes = sa.select(domain.c.id).where(domain.c.is_system.is_(False))
    if reseller_id is not None:
        homes = homes.where(domain.c.reseller_id == reseller_id)
    return subscriber.c.status.in_(("active", "locked")), subscriber.c.domain_id.in_(homes)


def dense(reseller_id: int) -> sa.ColumnElement[bool]:
    """`of_reseller` of a sum: no index has it."""
    return (subscriber.c.domain_id + 0).in_(sa.select(domain.c.id).where(domain.c.reseller_id == reseller_id))


def of_customers(column: sa.ColumnElement[Any], *, like: bool = False) -> Any:
    """A condition on the customer of a subscriber, for a filter."""

    def where(work: Work, text: str) -> sa.ColumnElement[bool]:
        wanted: sa.ColumnElement[bool]
        if like:
            wanted = query.like(work, column, pattern(text))
        else:
            wanted = column == Int(0).parse(text, work.env.zone)
        customers = sa.select(contract.c.id).join(contact, contact.c.id == contract.c.contact_id)
        return subscriber.c.contract_id.in_(customers.where(wanted))

    return where


def _domain_like(work: Work, text: str) -> sa.ColumnElement[bool]:
    return subscriber.c.domain_id.in_(sa.select(domain.c.id).where(query.like(work, domain.c.name, pattern(text))))


def _alias_contains(work: Work, text: str) -> sa.ColumnElement[bool]:
    if "*" in text or work.conn.dialect.name != "sqlite":
        match: sa.ColumnElement[bool] = number.c.e164.like(f"%{pattern(text)}%", escape="\\")
    else:
        match = sa.func.instr(number.c.e164, text) > 0  # half of what LIKE takes
    # Two steps: the index of the numbers alone is searched, not the whole rows.
    matching = sa.select(number.c.id).where(match)
    return subscriber.c.id.in_(sa.select(number.c.subscriber_id).where(number.c.id.in_(matching), number.c.subscriber_id.is_not(None)))


def _name_like(work: Work, text: str) -> sa.ColumnElement[bool]:
    """For a reseller in two steps: else its domains' index would be searched in the place of the names'."""
    match = query.like(work, subscriber.c.username, pattern(text))
    if work.caller.scope is None or text.startswith("*"):
        return match
    again = subscriber.alias()
    return subscriber.c.id.in_(sa.select(again.c.id).where(query.like(work, again.c.username, pattern(text))))


def _reseller(work: Work, text: str) -> sa.ColumnElement[bool]:
    """A customer's subscribers are in domains of its reseller."""
    return of_reseller(Int(0).parse(text, work.env.zone))


def _ignored(work: Work, text: str) -> sa.ColumnElement[bool]:
    return sa.true()


# ---------------------------------------------------------------------------------------------------------------------- reading
def freshen(work: Work, keys: list[int]) -> None:
    """Balance intervals of their customers up to now: locks and preference `prepaid` hang on them."""
    owners = [
        owner
        for at in range(0, len(keys), CHUNK)
        for owner in work.conn.scalars(sa.select(subscriber.c.contract_id).where(subscriber.c.id.in_(keys[at : at + CHUNK])).distinct())
    ]
    balance.catch_up(work.conn, work.env, owners)


def show_subscriber(work: Work, docs: list[Doc], rows: list[Row]) -> None:
    """Numbers, lock, display name, SIP password, mail address."""
    keys = [row["id"] for row in rows]
    prefs = values.get(work.conn, "usr", keys, ("lock", "display_name"))
    numbered = _numbers(work, keys)
    groups, members = pbx.memberships(work.conn, keys)
    passwords = work.caller.show_passwords
    for doc, row in zip(docs, rows, strict=True):
        mine = prefs[row["id"]]
        lock = mine.get("lock", ["0"])[0]
        doc["lock"] = int(lock) if lock in "12345" and lock else None
        doc["display_name"] = mine.get("display_name", [None])[0]
        doc["primary_number"] = next((_shown(n) for n in numbered.get(row["id"], ()) if n.is_primary), None)
        doc["alias_numbers"] = [_shown(n) for n in numbered.get(row["id"], ()) if not n.is_primary]
        doc["pbx_group_ids"] = list(groups.get(row["id"], ()))
        doc["pbx_groupmember_ids"] = list(members.get(row["id"], ()))
        if passwords:
            doc["password"] = _password(work, row)


def _shown(row: Any) -> Doc:
    return {"cc": str(row.cc), "ac": row.ac, "sn": row.sn}


def _numbers(work: Work, keys: list[int]) -> dict[int, list[Any]]:
    found: dict[int, list[Any]] = {}
    columns = (number.c.subscriber_id, number.c.is_primary, number.c.cc, number.c.ac, number.c.sn)
    for at in range(0, len(keys), CHUNK):
        query = sa.select(*columns).where(number.c.subscriber_id.in_(keys[at : at + CHUNK])).order_by(number.c.id)
        for row in work.conn.execute(query):
            found.setdefault(row.subscriber_id, []).append(row)
    return found


def _password(work: Work, row: Row) -> str | None:
    if row["sip_password_enc"] is None:
        return None
    try:
        return work.env.vault.open(row["sip_password_enc"], row["uuid"])
    except VaultError:
        return None  # sealed with another key: there is nothing to show


# ---------------------------------------------------------------------------------------------------------------------- writing
def check_subscriber(work: Work, given: Values, row: Row | None) -> None:
    """Names, domain by name or id, passwords, PBX fields."""
    if row is None:
        _domain(work, given)
    elif (given.get("domain") or row["domain"]) != row["domain"] or (given.get("domain_id") or row["domain_id"]) != row["domain_id"]:
        raise Invalid([("domain", given.get("domain"), "domain cannot be changed")])
    for name in ("password", "webpassword"):
        if given.get(name) is not None:
            try:
                check.password(name, given[name], work.env.rules)
            except ProvisioningError as error:
                raise Invalid([(name, "", f"Password {error.message}")]) from None
    for name in ("webusername", "display_name"):
        if given.get(name) == "":
            given[name] = None
    _hashes(given)
    customer_id = given["customer_id"]
    kind = work.once(
        ("product", customer_id),
        lambda: work.conn.scalar(
            sa.select(product.c["class"]).join(contract, contract.c.product_id == product.c.id).where(contract.c.id == customer_id)
        ),
    )
    for name in ("pbx_hunt_policy", "pbx_hunt_timeout"):
        if given.get(f"cloud_{name}") is not None:
            given[name] = given[f"cloud_{name}"]
    given["_pbx"] = kind == "pbxaccount"
    if kind != "pbxaccount":
        for name in PBX_FIELDS:
            if given.get(name):
                raise Invalid([(name, given[name], f"{name} is only possible for a customer of type pbxaccount")])
    _profile(work, given, row)


def _hashes(given: Values) -> None:
    """Hashes stand in the place of passwords, not beside them."""
    for password, names in (("password", HASHES), ("webpassword", ("webpassword_hash",))):
        for name in names:
            if given.get(name) is not None and (given.get(password) is not None or given.get(names[0]) is None):
                wrong = f"{name} is not possible together with {password}" if given.get(password) is not None else f"{name} needs {names[0]}"
                raise Invalid([(name, "", wrong)])


def _domain(work: Work, given: Values) -> None:
    name, key = given.get("domain"), given.get("domain_id")
    if name is None and key is None:
        raise Invalid([("domain", None, "domain field is required")])
    which = domain.c.id == key if key is not None else domain.c.name == str(name).lower()
    where = [which, domain.c.is_system.is_(False)]
    if work.caller.scope is not None:
        where.append(domain.c.reseller_id == work.caller.scope)
    found = work.once(
        ("domain", name, key), lambda: work.conn.execute(sa.select(domain.c.id, domain.c.name).where(*where)).one_or_none()
    )
    if found is None:
        field, value = ("domain_id", key) if key is not None else ("domain", name)
        raise Invalid([(field, value, f"Invalid '{field}'")])
    given["domain"], given["domain_id"] = found.name, found.id


def _profile(work: Work, given: Values, row: Row | None) -> None:
    """A set alone means its default profile; a profile alone its set; both must fit the customer's reseller and each other."""
    set_id, profile_id = given.get("profile_set_id"), given.get("profile_id")
    if set_id is None and profile_id is None:
        return
    if row is not None and set_id != row["profile_set_id"] and profile_id == row["profile_id"]:
        profile_id = None  # another set: the old profile does not count
    customer_id = given["customer_id"]
    chosen = work.once(("profile", set_id, profile_id), lambda: profiles.choose(work.conn, set_id, profile_id))
    owner = work.once(
        ("owner", customer_id),
        lambda: work.conn.scalar(
            sa.select(contact.c.reseller_id).join(contract, contract.c.contact_id == contact.c.id).where(contract.c.id == customer_id)
        ),
    )
    reseller_id = work.once(
        ("set", chosen[0]),
        lambda: work.conn.scalar(sa.select(subscriber_profile_set.c.reseller_id).where(subscriber_profile_set.c.id == chosen[0])),
    )
    if reseller_id != owner:
        raise Invalid([("profile_set_id", set_id, "Invalid 'profile_set_id'")])
    given["profile_set_id"], given["profile_id"] = chosen


def create_subscriber(work: Work, given: Values) -> int:
    """By the function that every other interface uses, too."""
    return create_many(work, [given])[0]


def create_many(work: Work, items: list[Values]) -> list[int]:
    """Many at once, all or none."""
    try:
        keys = [made.id for made in subscribers.create_subscribers(work.conn, work.env, [_new(given) for given in items])]
    except ProvisioningError as error:
        if error.kind == "duplicate" and error.field == "username":
            raise _exists() from None
        if error.kind == "limit":
            raise _full() from None
        raise
    for key, given in zip(keys, items, strict=True):
        if given.get("lock"):
            subscribers.set_lock(work.conn, work.env, subscriber_id=key, level=given["lock"])
        if given.get("status") == "terminated":
            subscribers.terminate_subscriber(work.conn, work.env, subscriber_id=key)
    return keys


def sift(work: Work, items: list[Values], seen: dict[Any, Any] | None) -> dict[int, ProvisioningError]:
    """What many new subscribers most often fail at: names and numbers that others have or that come twice, and full customers."""
    conn = work.conn
    seen = {} if seen is None else seen
    homes = [(given["domain_id"], check.username("username", given["username"])) for given in items]
    webs = [(given["domain_id"], given.get("webusername") or given["username"]) for given in items]
    numbered = [[_e164(n).digits for n in (given.get("primary_number"), *(given.get("alias_numbers") or ())) if n is not None] for given in items]
    names, web_names = scope.taken(conn, "live_name", homes), scope.taken(conn, "webusername", webs)
    owned = {digits for digits, row in numbers.known(conn, {d for mine in numbered for d in mine}).items() if row["subscriber_id"] is not None}
    room = scope.room(conn, {given["customer_id"] for given in items})
    refused: dict[int, ProvisioningError] = {}
    for at, given in enumerate(items):
        customer_id = given["customer_id"]
        # Extensions of a Cloud PBX may take numbers of their pilot: that is for the creation itself to find out.
        mine = () if given["_pbx"] else numbered[at]
        taken = next((digits for digits in mine if digits in owned or ("number", digits) in seen), None)
        left = room.get(customer_id)
        if homes[at] in names or ("name", homes[at]) in seen:
            refused[at] = _exists()
        elif webs[at] in web_names or ("web", webs[at]) in seen:
            refused[at] = ProvisioningError("webusername", f"{webs[at][1]} exists in this domain", "duplicate")
        elif taken is not None:
            primary = given.get("primary_number") is not None and taken == numbered[at][0]
            refused[at] = ProvisioningError("primary_number" if primary else "alias_numbers", f"number {taken} is taken", "duplicate")
        elif left is not None and left <= seen.get(("customer", customer_id), 0):
            refused[at] = _full()
        else:
            seen |= dict.fromkeys([("name", homes[at]), ("web", webs[at]), *(("number", digits) for digits in numbered[at])], True)
            seen[("customer", customer_id)] = seen.get(("customer", customer_id), 0) + 1
    return refused


def _exists() -> ProvisioningError:
    return Plain("username", "Subscriber already exists.", "duplicate")


def _full() -> ProvisioningError:
    return Plain("customer_id", "Maximum number of subscribers for this customer reached", "limit")


def _new(given: Values) -> NewSubscriber:
    primary = given.get("primary_number")
    return NewSubscriber(
        customer_id=given["customer_id"],
        domain=given["domain"],
        username=given["username"],
        password=given.get("password"),
        number=None if primary is None else _e164(primary),
        aliases=[_e164(n) for n in given.get("alias_numbers") or ()],
        status="locked" if given.get("status") == "locked" else "active",
        is_admin=bool(given.get("administrative")),
        webusername=given.get("webusername"),
        webpassword=given.get("webpassword"),
        external_id=given.get("external_id"),
        email=given.get("email"),
        display_name=given.get("display_name"),
        profile_set_id=given.get("profile_set_id"),
        profile_id=given.get("profile_id"),
        **{name: given.get(name) for name in (*HASHES, "webpassword_hash")},
        seat=_seat(given),
        group_ids=given.get("pbx_group_ids") or (),
        member_ids=given.get("pbx_groupmember_ids") or (),
    )


def _seat(given: Values) -> pbx.Seat:
    return pbx.Seat(
        is_pilot=bool(given.get("is_pbx_pilot")),
        is_group=bool(given.get("is_pbx_group")),
        extension=given.get("pbx_extension") or None,
        hunt_policy=given.get("pbx_hunt_policy"),
        hunt_timeout=given.get("pbx_hunt_timeout"),
    )


def _e164(value: Doc) -> E164:
    return E164(int(value["cc"]), value.get("ac") or "", value["sn"])


def update_subscriber(work: Work, row: Row, given: Values) -> None:
    """Whatever differs from what is stored."""
    conn, env, key = work.conn, work.env, row["id"]
    if given.get("status") == "terminated":
        subscribers.terminate_subscriber(conn, env, subscriber_id=key)
        return
    _names(work, row, given)
    if given.get("password") is not None and given["password"] != _password(work, row):
        subscribers.set_password(conn, env, subscriber_id=key, password=given["password"])
    elif given.get("ha1") is not None:
        update_row(work, subscriber, key, {"sip_password_enc": None, **{name: given.get(name) for name in HASHES}})
    if given.get("webpassword") is not None:
        subscribers.set_web_password(conn, env, subscriber_id=key, password=given["webpassword"])
    elif given.get("webpassword_hash") is not None:
        update_row(work, subscriber, key, {"webpassword_hash": given["webpassword_hash"]})
    _email(work, row, given.get("email"))
    before = {"lock": None, **show_one(work, row)}
    primary, aliases = given.get("primary_number"), given.get("alias_numbers") or []
    if given["_pbx"]:
        primary = _update_seat(work, row, given, primary, aliases)
    if primary != before["primary_number"] or aliases != before["alias_numbers"]:
        numbers.set_numbers(
            conn, env, subscriber_id=key, primary=None if primary is None else _e164(primary), aliases=[_e164(n) for n in aliases]
        )
        if row["is_pbx_pilot"]:
            pbx.renumber(conn, env, row["contract_id"])
    if given.get("external_id") != row["external_id"]:
        values.put(conn, "usr", key, {"ext_subscriber_id": given.get("external_id")})
    if given.get("display_name") != before["display_name"]:
        values.put(conn, "usr", key, {"display_name": given.get("display_name")})
    if given.get("status") and given["status"] != row["status"]:
        subscribers.set_status(conn, env, subscriber_id=key, status=given["status"])
    if "lock" in given and given["lock"] != before["lock"]:
        subscribers.set_lock(conn, env, subscriber_id=key, level=given["lock"] or 0)
    profiles.switch(work, row, given.get("profile_set_id"), given.get("profile_id"))
    columns = {"is_admin": bool(given.get("administrative")), "external_id": given.get("external_id")}
    update_row(work, subscriber, key, columns)
    changes.note(conn, "subscriber", key)


def _update_seat(work: Work, row: Row, given: Values, primary: Doc | None, aliases: list[Doc]) -> Doc | None:
    """Seat and memberships of a subscriber of a Cloud PBX; the number that it is to have."""
    conn, customer, key = work.conn, row["contract_id"], row["id"]
    if bool(given.get("is_pbx_group")) != bool(row["is_pbx_group"]):
        raise Invalid([("is_pbx_group", given.get("is_pbx_group"), "is_pbx_group cannot be changed")])
    seat, first = pbx.checked(conn, customer, _seat(given), given["username"], subscriber_id=key)
    update_row(work, subscriber, key, seat.columns())
    base = None if first is None else first.number
    written = dict.fromkeys(("cloud_pbx_ext", "cloud_pbx_hunt_policy", "cloud_pbx_hunt_timeout"))
    values.put(conn, "usr", key, {**written, **{k: v for k, v in pbx.preferences(seat, base).items() if k in written}})
    pbx.set_groups(conn, customer, key, given.get("pbx_group_ids") or ())
    members = given.get("pbx_groupmember_ids") or ()
    if members and not seat.is_group:
        raise Invalid([("pbx_groupmember_ids", list(members), "only a group has members")])
    pbx.set_members(conn, customer, key, members)
    pbx.renamed(conn, key)
    if first is None or first.number is None:
        return primary
    pbx.borrow(conn, work.env, first, [_e164(n) for n in aliases])
    number = pbx.extended(first.number, seat.extension or "")
    return {"cc": str(number.cc), "ac": number.ac, "sn": number.sn}


def show_one(work: Work, row: Row) -> Doc:
    """The computed fields of one subscriber."""
    doc: Doc = {}
    show_subscriber(work, [doc], [row])
    return doc


def _names(work: Work, row: Row, given: Values) -> None:
    """User name and web user name; digests and sealed password hang on the user name."""
    web = given.get("webusername")
    if web != row["webusername"]:
        name = None if web is None else check.webusername("webusername", web)
        _unused(work, "webusername", name, row)
        update_row(work, subscriber, row["id"], {"webusername": name})
    if given["username"] == row["username"]:
        return
    name = check.username("username", given["username"])
    _unused(work, "live_name", name, row)
    password = given.get("password") or _password(work, row)
    if password is None:
        raise Invalid([("password", None, "a new user name needs the password, which is not kept here")])
    update_row(work, subscriber, row["id"], {"username": name, "live_name": name})
    subscribers.set_password(work.conn, work.env, subscriber_id=row["id"], password=password, checked=True)


def _unused(work: Work, column: str, name: str | None, row: Row) -> None:
    same = (subscriber.c.domain_id == row["domain_id"], subscriber.c[column] == name, subscriber.c.id != row["id"])
    if name is not None and work.conn.scalar(sa.select(subscriber.c.id).where(*same)) is not None:
        if column == "live_name":
            raise Plain("username", "Subscriber already exists.", "duplicate")
        raise Invalid([(column, name, f"A subscriber with this {column} already exists")])


def _email(work: Work, row: Row, mail: str | None) -> None:
    if mail == row["email"]:
        return
    at = now(work.conn)
    if row["contact_id"] is not None and mail is not None:
        work.conn.execute(sa.update(contact).where(contact.c.id == row["contact_id"]).values(email=mail, modified_at=at))
    elif mail is None:
        update_row(work, subscriber, row["id"], {"contact_id": None})
        work.conn.execute(sa.delete(contact).where(contact.c.id == row["contact_id"]))
    else:
        made = insert(work.conn, contact, reseller_id=row["reseller_id"], email=mail, created_at=at, modified_at=at)
        update_row(work, subscriber, row["id"], {"contact_id": made})


def delete_subscriber(work: Work, row: Row) -> None:
    subscribers.terminate_subscriber(work.conn, work.env, subscriber_id=row["id"])


_home = sa.select(domain.c.name).where(domain.c.id == subscriber.c.domain_id).correlate(subscriber).scalar_subquery()
_owner = sa.select(domain.c.reseller_id).where(domain.c.id == subscriber.c.domain_id).correlate(subscriber).scalar_subquery()
_mail = sa.select(contact.c.email).where(contact.c.id == subscriber.c.contact_id).correlate(subscriber).scalar_subquery()


def _hash(name: str, kind: Text, help: str) -> Field:
    """A ready hash: only administrators of the platform may give it, nobody sees it."""
    return Field(name, kind, keep=True, write_only=True, secret=True, set=ADMIN, column=None, help=help)


def _flag(name: str, column: str, help: str) -> Field:
    return Field(name, Bool(), default=False, column=column, help=help)


SUBSCRIBERS = Resource(
    name="subscribers",
    entity="subscriber",
    help="A subscriber: who registers a telephone and makes calls.",
    table=subscriber,
    where=(subscriber.c.status != "terminated", subscriber.c.domain_id.not_in(HIDDEN_DOMAINS)),
    counted=counted,
    dense=dense,
    scope=of_reseller,
    extra={"domain": _home, "reseller_id": _owner, "email": _mail},
    fields=(
        ID,
        Field("uuid", Text(36), read_only=True, help="Name of the subscriber in call records"),
        Field("customer_id", Ref("customers"), required=True, fixed=True, column="contract_id", help="Customer; cannot change"),
        Field("domain", Text(127), nullable=True, help="SIP domain; this or domain_id at creation"),
        Field("domain_id", Ref("domains"), nullable=True, help="SIP domain"),
        Field("username", Text(127, check=check.username), required=True, help="User name, unique in the domain"),
        Field("password", Text(255), keep=True, see="show_passwords", secret=True, column=None, help="SIP password"),
        Field("webusername", Text(127, check=check.webusername), nullable=True, keep=True, help="Web login; the user name at first"),
        Field("webpassword", Text(255), keep=True, write_only=True, secret=True, column=None, help="Password of the self-care pages"),
        _hash("ha1", MD5, "In the place of password: MD5 of user:domain:password, from another system"),
        _hash("ha1b", MD5, "With ha1: MD5 of user@domain:domain:password"),
        _hash("ha1_sha256", SHA256, "With ha1: SHA-256 of user:domain:password"),
        _hash("webpassword_hash", ARGON2, "In the place of webpassword: its Argon2 hash"),
        Field("email", Email(), nullable=True, help="Own mail address"),
        Field("status", Enum(("active", "locked", "terminated")), default="active", help="locked sets lock 4, active clears it"),
        Field("lock", Choice((0, 1, 2, 3, 4, 5)), nullable=True, keep=True, column=None, help="1 foreign, 2 outgoing, 3 all, 4 global, 5 ported"),
        _flag("administrative", "is_admin", "Administers its customer in self-care"),
        Field("external_id", Text(255), nullable=True, help="The operator's own number"),
        Field("primary_number", NUMBER, nullable=True, column=None, help="E.164 number"),
        Field("alias_numbers", Array(NUMBER, 1000), column=None, help="Further numbers"),
        Field("display_name", Text(128), nullable=True, column=None, help="Name shown to called parties"),
        Field("profile_set_id", Ref("subscriberprofilesets"), nullable=True, help="Profile set"),
        Field("profile_id", Ref("subscriberprofiles"), nullable=True, help="Profile; the set's default when only the set is given"),
        _flag("is_pbx_pilot", "is_pbx_pilot", "Pilot of a Cloud PBX"),
        _flag("is_pbx_group", "is_pbx_group", "Hunt group of a Cloud PBX"),
        Field("pbx_extension", Text(255), nullable=True, help="Extension in a Cloud PBX"),
        Field("pbx_group_ids", IDS, column=None, help="Hunt groups it is in, in their order"),
        Field("pbx_groupmember_ids", IDS, column=None, help="Members of a hunt group, in their order"),
        Field("pbx_hunt_policy", Enum(HUNT_POLICIES), nullable=True, help="How a hunt group rings"),
        Field("pbx_hunt_timeout", Int(0, 86_400), nullable=True, help="Seconds per member"),
        Field("cloud_pbx_hunt_policy", Enum(HUNT_POLICIES), nullable=True, write_only=True, column=None, help="Older name of pbx_hunt_policy"),
        Field("cloud_pbx_hunt_timeout", Int(0, 86_400), nullable=True, write_only=True, column=None, help="Older name of pbx_hunt_timeout"),
    ),
    filters=(
        Filter("profile_id"),
        Filter("username", "custom", where=_name_like),
        Filter("webusername", "like"),
        Filter("webpassword", "custom", where=_ignored, help="Has no effect: only a hash is kept"),
        Filter("domain", "custom", where=_domain_like),
        Filter("customer_id", "int", subscriber.c.contract_id),
        Filter("customer_external_id", "custom", where=of_customers(contract.c.external_id, like=True)),
        Filter("is_pbx_group", "bool"),
        Filter("is_admin", "bool"),
        Filter("is_pbx_pilot", "bool"),
        Filter("alias", "custom", where=_alias_contains),
        Filter("reseller_id", "custom", where=_reseller),
        Filter("contact_id", "custom", where=of_customers(contract.c.contact_id)),
    ),
    links=(
        Link("customers", field="customer_id"),
        Link("domains", field="domain_id"),
        Link("subscriberpreferences", field="id"),
        Link("subscriberprofiles", field="profile_id"),
        Link("subscriberprofilesets", field="profile_set_id"),
        Link("subscriberregistrations", filter="subscriber_id"),
        Link("callforwards", field="id"),
        Link("calls", filter="subscriber_id"),
        Link("calllists", filter="subscriber_id"),
        Link("voicemails", filter="subscriber_id"),
        Link("reminders", filter="subscriber_id"),
        Link("trustedsources", filter="subscriber_id"),
        Link("voicemailsettings", field="id"),
    ),
    patch=FULL_PATCH,
    journal=True,
    check=check_subscriber,
    freshen=freshen,
    create=create_subscriber,
    create_many=create_many,
    sift=sift,
    update=update_subscriber,
    delete=delete_subscriber,
    show=show_subscriber,
    example={
        "customer_id": 2,
        "domain": "voice.brook.example",
        "username": "ada",
        "password": "bR00k-mill",
        "primary_number": {"cc": "43", "ac": "7700", "sn": "41001"},
        "status": "active",
    },
)

NUMBERS = Resource(
    name="numbers",
    entity="number",
    help="An E.164 number that a subscriber has; it is given and taken away with the subscriber.",
    table=number,
    where=(number.c.subscriber_id.is_not(None),),
    scope=number.c.reseller_id,
    fields=(
        ID,
        Field("cc", Int(1), read_only=True, help="Country code"),
        Field("ac", Text(7), read_only=True, help="Area code"),
        Field("sn", Text(31), read_only=True, help="Subscriber number"),
        Field("e164", Text(42), read_only=True, help="The three together"),
        Field("is_primary", Bool(), read_only=True, help="Is the subscriber's main number"),
        Field("subscriber_id", Ref("subscribers"), read_only=True, help="Subscriber"),
        Field("reseller_id", Ref("resellers"), read_only=True, help="Reseller"),
    ),
    filters=(
        Filter("subscriber_id"),
        Filter("reseller_id"),
        Filter("cc"),
        Filter("ac", "string"),
        Filter("sn", "string"),
        Filter("e164", "like"),
        Filter("is_primary", "bool"),
    ),
    links=(Link("subscribers", field="subscriber_id"),),
    collection=READ_ONLY,
    item=READ_ONLY,
    patch=(),
    priority="P3",
)

RESOURCES = [SUBSCRIBERS, NUMBERS]
