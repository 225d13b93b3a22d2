"""What a change of status does to everything below (data model 2): contract, reseller, customers, subscribers, domains, logins."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from ngcpd.provisioning import scope, subscribers
from ngcpd.provisioning.balance.effects import set_prepaid
from ngcpd.provisioning.errors import Forbidden
from ngcpd.provisioning.resource import Work
from ngcpd.provisioning.tenancy import delete_domain
from ngcpd.store import changes
from ngcpd.store.db import now
from ngcpd.store.tables.devices import device
from ngcpd.store.tables.identity import domain, subscriber
from ngcpd.store.tables.preferences import preference_value
from ngcpd.store.tables.tenancy import admin, contact, contract, reseller

CUSTOMERS = ("sipaccount", "pbxaccount")


def set_contract_status(work: Work, contract_id: int, before: str | None, after: str) -> None:
    """Write the status of a contract and pass it on. `pending` passes nothing on."""
    at = now(work.conn)
    row = work.conn.execute(sa.select(contract.c.activated_at).where(contract.c.id == contract_id)).one()
    values: dict[str, object] = {"status": after}
    if after == "active" and row.activated_at is None:
        values["activated_at"] = at
    if after == "terminated":
        values["terminated_at"] = at
    work.conn.execute(sa.update(contract).where(contract.c.id == contract_id).values(**values))
    changes.note(work.conn, "contract", contract_id)
    if before == after or after == "pending":
        return
    _subscribers(work, contract_id, after)
    if after == "terminated":
        work.conn.execute(sa.delete(device).where(device.c.contract_id == contract_id))
    owned = work.conn.execute(sa.select(reseller.c.id, reseller.c.status).where(reseller.c.contract_id == contract_id)).one_or_none()
    if owned is not None and owned.status != after:
        _reseller(work, owned.id, after)


def set_reseller_status(work: Work, reseller_id: int, contract_id: int, after: str) -> None:
    """Change a reseller's status: its contract gets the same, and all it owns follows."""
    before = work.conn.scalar(sa.select(contract.c.status).where(contract.c.id == contract_id))
    _reseller(work, reseller_id, after)
    if before != after:
        set_contract_status(work, contract_id, before, after)


def sync_prepaid(work: Work, contracts: Iterable[int]) -> None:
    """Make preference `prepaid` of the subscribers of contracts say what their billing profile in force says."""
    wanted = set(contracts)
    if not wanted:
        return
    paid = scope.prepaid(work.conn, wanted)
    set_prepaid(work.conn, {key: paid.get(key, False) for key in wanted})


def copy_external_id(work: Work, contract_id: int, external_id: str | None) -> None:
    """A customer's external id is preference `ext_contract_id` of each of its subscribers."""
    ids = list(
        work.conn.scalars(sa.select(subscriber.c.id).where(subscriber.c.contract_id == contract_id, subscriber.c.status != "terminated"))
    )
    if not ids:
        return
    value = preference_value.c
    work.conn.execute(sa.delete(preference_value).where(value.level == "usr", value.attribute == "ext_contract_id", value.owner_id.in_(ids)))
    if external_id:
        at = now(work.conn)
        rows = [{"level": "usr", "owner_id": key, "attribute": "ext_contract_id", "value": external_id, "modified_at": at} for key in ids]
        work.conn.execute(sa.insert(preference_value), rows)
    changes.note_all(work.conn, (("preference:usr", key) for key in ids))


# ---------------------------------------------------------------------------------------------------------------------- inside
def _subscribers(work: Work, contract_id: int, status: str) -> None:
    living = sa.select(subscriber.c.id).join(domain, domain.c.id == subscriber.c.domain_id)
    living = living.where(subscriber.c.contract_id == contract_id, subscriber.c.status != "terminated", domain.c.is_system.is_(False))
    for key in work.conn.scalars(living.order_by(subscriber.c.is_pbx_pilot, subscriber.c.id)).all():  # a pilot is the last to go
        subscribers.set_status(work.conn, work.env, subscriber_id=key, status=status)


def _reseller(work: Work, reseller_id: int, status: str) -> None:
    conn = work.conn
    if status == "terminated" and work.caller.id is not None:
        mine = conn.scalar(sa.select(admin.c.reseller_id).where(admin.c.id == work.caller.id))
        if mine == reseller_id:
            raise Forbidden("Cannot terminate the reseller of the acting administrator")
    conn.execute(sa.update(reseller).where(reseller.c.id == reseller_id).values(status=status, modified_at=now(conn)))
    changes.note(conn, "reseller", reseller_id)
    owned = sa.select(contract.c.id, contract.c.status).join(contact, contact.c.id == contract.c.contact_id)
    for row in conn.execute(owned.where(contact.c.reseller_id == reseller_id, contract.c.status != "terminated").order_by(contract.c.id)).all():
        set_contract_status(work, row.id, row.status, status)
    if status == "terminated":
        for key in conn.scalars(sa.select(domain.c.id).where(domain.c.reseller_id == reseller_id, domain.c.is_system.is_(False))).all():
            delete_domain(conn, work.env, domain_id=key, with_subscribers=True)
        logins = list(conn.scalars(sa.select(admin.c.id).where(admin.c.reseller_id == reseller_id)))
        conn.execute(sa.delete(admin).where(admin.c.id.in_(logins)))
        changes.note_all(conn, (("admin", key) for key in logins))
