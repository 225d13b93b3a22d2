"""A reseller that has something of everything: one row at least in every table that belongs to resellers, made from the tables themselves."""

from __future__ import annotations

import datetime
import re
from typing import Any

import sqlalchemy as sa

from ngcpd.provisioning import Env, moveplan
from ngcpd.provisioning.check import E164
from ngcpd.provisioning.preferences import set_preference
from ngcpd.provisioning.subscribers import NewSubscriber, create_subscribers, terminate_subscriber
from ngcpd.provisioning.tenancy import create_contact, create_customer, create_domain, create_reseller
from ngcpd.store.db import insert, now
from ngcpd.store.tables import billing, features, identity, media, metadata, packages, routing, tenancy
from ngcpd.store.tables._base import Fixed


def reseller(conn: sa.Connection, env: Env, name: str, number: int) -> int:
    """Make it; its id. `number` keeps numbers of different ones apart."""
    key = create_reseller(conn, env, name=name, contact_id=create_contact(conn, env, email=f"{name}@example.org"))
    at = now(conn)
    stamp = {"created_at": at, "modified_at": at}
    profile = insert(conn, billing.billing_profile, reseller_id=key, handle="gold", name="Gold", **stamp)
    home, second = (create_domain(conn, env, name=f"{sub}{name}.example", reseller_id=key) for sub in ("", "b."))
    contact = create_contact(conn, env, reseller_id=key, email="c@example.org", company="Möhren & Söhne")
    customers = [create_customer(conn, env, contact_id=contact, billing_profile_id=profile, external_id=f"x{n}") for n in range(2)]
    people = [
        NewSubscriber(
            customer_id=customers[n % 2],
            domain=f"{name}.example" if n % 3 else f"b.{name}.example",
            username=f"user{n}",
            password=f"secret-{n}-pw",
            number=E164(43, str(number), f"{n:04d}"),
            aliases=[E164(43, str(number), f"9{n:04d}")],
            webpassword=f"web-pass-{n}" if n == 0 else None,
            email=f"u{n}@example.org" if n == 1 else None,
        )
        for n in range(7)
    ]
    made = create_subscribers(conn, env, people)
    terminate_subscriber(conn, env, subscriber_id=made[6].id)
    rules = insert(conn, routing.rewrite_rule_set, reseller_id=key, name="rules", **stamp)
    set_preference(conn, env, level="dom", owner_id=home, attribute="rewrite_rule_set", value=rules)
    set_preference(conn, env, level="usr", owner_id=made[1].id, attribute="rewrite_rule_set", value="rules")
    set_preference(conn, env, level="usr", owner_id=made[2].id, attribute="allowed_ips", value=["192.0.2.0/24", "2001:db8::/32"])
    set_preference(conn, env, level="usr", owner_id=made[2].id, attribute="block_in_list", value=["431*", "432*"])
    sounds = insert(conn, features.sound_set, reseller_id=key, contract_id=customers[0], name="own", **stamp)
    set_preference(conn, env, level="usr", owner_id=made[0].id, attribute="contract_sound_set", value=sounds)
    secret = env.vault.seal("fax-secret", f"fax:{made[0].uuid}")
    insert(conn, features.fax_settings, subscriber_id=made[0].id, password_enc=secret, **stamp)
    first_line = env.vault.seal("mail-secret", f"mail2fax:{made[0].uuid}")
    insert(conn, media.mail2fax_settings, subscriber_id=made[0].id, secret_key_enc=first_line, **stamp)
    for code, owner in (("ACME-FOR-ALL", None), ("ACME-FOR-ONE", customers[0])):
        mark = env.vault.mark(code, "voucher")
        sealed = env.vault.seal(code, mark)
        insert(conn, packages.voucher, reseller_id=key, code_hash=mark, code_enc=sealed, amount=500, valid_until=at, customer_id=owner, **stamp)
    _rest(conn, key)
    place = conn.scalar(sa.select(identity.customer_location.c.id).where(moveplan.condition(identity.customer_location, key, at)))
    owner = conn.scalar(sa.select(identity.customer_location.c.contract_id).where(identity.customer_location.c.id == place))
    set_preference(conn, env, level="contract", owner_id=int(owner or 0), attribute="concurrent_max_total", value=7, location_id=int(place or 0))
    set_preference(conn, env, level="contract", owner_id=customers[0], attribute="concurrent_max_total", value=9)
    step = conn.scalar(sa.select(identity.subscriber_profile.c.id).where(moveplan.condition(identity.subscriber_profile, key, at)))
    set_preference(conn, env, level="prof", owner_id=int(step or 0), attribute="unauth_inbound_calls", value=True)
    conn.execute(sa.update(identity.subscriber).where(identity.subscriber.c.id == made[3].id).values(profile_id=step))
    package = conn.scalar(sa.select(metadata.tables["profile_package"].c.id).where(metadata.tables["profile_package"].c.reseller_id == key))
    conn.execute(sa.update(tenancy.contract).where(tenancy.contract.c.id == customers[1]).values(profile_package_id=package))
    assert second
    return key


def _rest(conn: sa.Connection, reseller_id: int) -> None:
    """A row in each table that has none yet."""
    at = now(conn)
    for table in moveplan.plan().tables:
        mine = moveplan.condition(table, reseller_id, at)
        if conn.scalar(sa.select(sa.func.count()).select_from(table).where(mine)):
            continue
        conn.execute(sa.insert(table).values(**_values(conn, table, reseller_id, at)))
        assert conn.scalar(sa.select(sa.func.count()).select_from(table).where(mine)), f"no row of {table.name} belongs to the reseller"


def _values(conn: sa.Connection, table: sa.Table, reseller_id: int, at: datetime.datetime) -> dict[str, Any]:
    found: dict[str, Any] = {}
    choices = {}
    for constraint in table.constraints:
        if isinstance(constraint, sa.CheckConstraint):
            words = re.fullmatch(r"(\w+) IN \((.*)\)", str(constraint.sqltext))
            assert words is not None, constraint.sqltext
            choices[words[1]] = words[2].split(", ")[0].strip("'")
    for column in table.c:
        goal = moveplan.target(column)
        name = f"{table.name}.{column.name}"
        if column.name == "id" or name in moveplan.SEALED or (name in moveplan.SOFT and goal is None) or goal in moveplan.LEFT_OUT:
            continue
        if goal in moveplan.SHARED:
            found[column.name] = _shared(conn, goal, at)
        elif goal is not None:
            other = metadata.tables[goal]
            found[column.name] = conn.scalar(sa.select(other.c.id).where(moveplan.condition(other, reseller_id, at)).order_by(other.c.id.desc()))
        elif column.name in choices:
            found[column.name] = int(choices[column.name]) if isinstance(column.type, sa.Integer) else choices[column.name]
        elif column.server_default is None and column.name not in ("deleted_at", "terminated_at"):
            found[column.name] = _any(column, at, reseller_id)
    return found


def _shared(conn: sa.Connection, goal: str, at: datetime.datetime) -> int | None:
    other = metadata.tables[goal]
    if goal == "lnp_provider" and conn.scalar(sa.select(other.c.id)) is None:
        insert(conn, other, name="carrier one", created_at=at, modified_at=at)
    return conn.scalar(sa.select(other.c.id).order_by(other.c.id.desc()))


def _any(column: sa.Column[Any], at: datetime.datetime, salt: int) -> Any:
    kind = column.type
    if isinstance(kind, sa.Boolean):
        return True
    if isinstance(kind, Fixed):
        return 12
    if isinstance(kind, sa.Integer):
        return 3
    if isinstance(kind, sa.LargeBinary | sa.BINARY):
        return bytes(range(16))
    if isinstance(kind, sa.Date):
        return at.date()
    if isinstance(kind, sa.types.TypeDecorator | sa.DateTime):
        return at
    if isinstance(kind, sa.Float | sa.Double):
        return 1.5
    return f"{salt}\u00e9{column.name[:6]}"[: getattr(kind, "length", None) or 20]
