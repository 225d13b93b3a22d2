"""What the command line reads from the store. Units of work."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from ngcpd.provisioning.errors import ProvisioningError
from ngcpd.store.tables.identity import domain, number, subscriber
from ngcpd.store.tables.tenancy import contact, contract

LIST_LIMIT = 10_000


def domains(conn: sa.Connection) -> list[dict[str, Any]]:
    """All domains but the hidden system one."""
    query = sa.select(domain.c.id, domain.c.name, domain.c.reseller_id).where(domain.c.is_system == sa.false()).order_by(domain.c.name)
    return [{"id": r.id, "domain": r.name, "reseller_id": r.reseller_id} for r in conn.execute(query)]


def reseller_of(conn: sa.Connection, name: str) -> tuple[int, int]:
    """(domain id, reseller id) of a domain."""
    where = (domain.c.name == name.lower(), domain.c.is_system == sa.false())
    row = conn.execute(sa.select(domain.c.id, domain.c.reseller_id).where(*where)).one_or_none()
    if row is None:
        raise ProvisioningError("domain", f"there is no domain {name}", "unknown")
    return row.id, row.reseller_id


def subscribers(conn: sa.Connection, of_domain: str | None) -> list[dict[str, Any]]:
    """Living subscribers with their primary number."""
    primary = sa.and_(number.c.subscriber_id == subscriber.c.id, number.c.is_primary == sa.true())
    query = (
        sa.select(subscriber.c.id, subscriber.c.uuid, subscriber.c.username, domain.c.name, subscriber.c.status, number.c.e164)
        .join(domain, domain.c.id == subscriber.c.domain_id)
        .outerjoin(number, primary)
        .where(subscriber.c.status != "terminated", domain.c.is_system == sa.false())
        .order_by(domain.c.name, subscriber.c.username)
        .limit(LIST_LIMIT)
    )
    if of_domain is not None:
        query = query.where(domain.c.name == of_domain.lower())
    return [{"id": r.id, "uuid": r.uuid, "user": f"{r.username}@{r.name}", "status": r.status, "number": r.e164} for r in conn.execute(query)]


def find_subscriber(conn: sa.Connection, user: str) -> Any:
    """A living subscriber by user@domain: id, uuid, username, domain name, status. ProvisioningError when there is none."""
    username, _, name = user.removeprefix("sip:").rpartition("@")
    query = (
        sa.select(subscriber.c.id, subscriber.c.uuid, subscriber.c.username, domain.c.name.label("domain"), subscriber.c.status)
        .join(domain, domain.c.id == subscriber.c.domain_id)
        .where(subscriber.c.live_name == username, domain.c.name == name.lower(), domain.c.is_system == sa.false())
    )
    row: Any = conn.execute(query).one_or_none()
    if row is None:
        raise ProvisioningError("user", f"there is no subscriber {user}", "unknown")
    return row


def names(conn: sa.Connection, ids: list[int]) -> dict[int, str]:
    """user@domain of subscribers by id."""
    found: dict[int, str] = {}
    for start in range(0, len(ids), 500):
        part = ids[start : start + 500]
        query = sa.select(subscriber.c.id, subscriber.c.username, domain.c.name).join(domain, domain.c.id == subscriber.c.domain_id)
        found.update({r.id: f"{r.username}@{r.name}" for r in conn.execute(query.where(subscriber.c.id.in_(part)))})
    return found


def some_customer(conn: sa.Connection, reseller_id: int) -> int | None:
    """The oldest active customer contract of a reseller; None when there is none."""
    query = (
        sa.select(contract.c.id)
        .join(contact, contact.c.id == contract.c.contact_id)
        .where(contact.c.reseller_id == reseller_id, contract.c.status == "active")
        .order_by(contract.c.id)
        .limit(1)
    )
    return conn.scalar(query)
