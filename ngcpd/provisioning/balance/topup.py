"""Top-ups with cash and vouchers, and the log of every try (billing 6.2, 6.3).

`book` is one unit of work: checks, booking and the log's row of success. A try that fails changes nothing, so its row is written by a unit of
work of its own: `log_failure`.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from ngcpd.provisioning.balance import effects
from ngcpd.provisioning.balance.account import Account, FutureInterval, TooMuch
from ngcpd.provisioning.balance.book import account_of, catch_up, future_interval, grants, save, terms
from ngcpd.provisioning.env import Env
from ngcpd.provisioning.errors import Invalid, Plain
from ngcpd.store.db import insert, now
from ngcpd.store.tables.identity import subscriber
from ngcpd.store.tables.packages import profile_package, topup_log, voucher
from ngcpd.store.tables.tenancy import contact, contract, product

PANEL = "panel"
"""The token of every top-up that is made by hand in the panel; it names none of them."""
MESSAGE = 255
CUSTOMERS = ("sipaccount", "pbxaccount")


@dataclass(frozen=True, slots=True)
class TopUp:
    """What is asked for. `code` of a voucher, or `amount` in cents with perhaps a package; `scope`: the reseller who asks, None = any.
    `username`: who asks, for the log."""

    subscriber_id: int
    username: str
    scope: int | None = None
    code: str | None = None
    amount: Decimal | None = None
    package_id: int | None = None
    token: str | None = None

    @property
    def kind(self) -> str:
        return "cash" if self.code is None else "voucher"


def book(conn: sa.Connection, env: Env, asked: TopUp) -> None:
    """Credit the balance of the subscriber's customer. ProvisioningError when a check fails.

    A request whose token was booked for this customer before is answered like the first time and books nothing.
    """
    owner = _owner(conn, asked)
    if owner is None:
        raise Invalid([("subscriber_id", asked.subscriber_id, "Unknown subscriber_id.")])
    catch_up(conn, env, [owner.contract_id])
    account = account_of(conn, env, owner.contract_id)  # from here on nobody else changes this balance
    status = conn.scalar(sa.select(contract.c.status).where(contract.c.id == owner.contract_id))
    if status != "active" or account is None:
        raise Plain("subscriber_id", "Customer contract is not active.", "refused")
    if owner.kind not in CUSTOMERS:
        raise Plain("subscriber_id", "Contract is not a customer contract.", "refused")
    found = _voucher(conn, env, asked, owner) if asked.code is not None else None
    amount, package_id = (Decimal(found.amount), found.package_id) if found is not None else (asked.amount or Decimal(0), asked.package_id)
    _check_package(conn, package_id, owner.reseller_id)
    at = now(conn)
    values = {**_context(owner, asked, found), **_state(conn, account, asked, at, "before")}
    if asked.token and asked.token != PANEL and _booked(conn, owner.contract_id, asked.token):
        message = "the request_token was booked before; nothing is booked again"
        _log(conn, env, asked, "ok", {**values, **_state(conn, account, asked, at, "after"), "amount": 0, "message": message})
        return
    given = terms(conn, [package_id])[package_id] if package_id is not None and package_id != account.terms.package_id else None
    if given is not None:
        account.grants = {**account.grants, **grants(conn, [p for p, _ in (*given.topup, *given.underrun)])}
    try:
        credit = account.top_up(amount, given, at)
    except FutureInterval:
        raise future_interval("subscriber_id") from None
    except TooMuch:
        raise Plain("amount", "The balance would become too large.", "refused") from None
    if given is not None:
        conn.execute(sa.update(contract).where(contract.c.id == owner.contract_id).values(profile_package_id=package_id, modified_at=at))
    save(conn, [account])
    if found is not None:
        used = {"used_by_subscriber_id": asked.subscriber_id, "used_at": at, "modified_at": at}
        conn.execute(sa.update(voucher).where(voucher.c.id == found.id).values(**used))
    _log(conn, env, asked, "ok", {**values, **_state(conn, account, asked, at, "after"), "amount": credit})


def log_failure(conn: sa.Connection, env: Env, asked: TopUp, message: str) -> None:
    """A row about a try that failed, with what can be told of it."""
    owner = _owner(conn, asked)
    values: dict[str, Any] = {"reseller_id": asked.scope, "subscriber_id": asked.subscriber_id or None, "amount": asked.amount}
    if owner is not None:
        found = None
        if asked.code is not None:
            mine = (voucher.c.reseller_id == owner.reseller_id, voucher.c.code_hash == code_mark(env, asked.code))
            found = conn.execute(sa.select(voucher.c.id, voucher.c.amount).where(*mine)).one_or_none()
        values |= _context(owner, asked, found)
        account = account_of(conn, env, owner.contract_id)
        if account is not None:
            values |= _state(conn, account, asked, now(conn), "before")
    _log(conn, env, asked, "failed", {**values, "message": message})


def code_mark(env: Env, code: str) -> str:
    """By what a voucher's code is found."""
    return env.vault.mark(code, "voucher")


# ---------------------------------------------------------------------------------------------------------------------- inside
def _owner(conn: sa.Connection, asked: TopUp) -> Any:
    """Contract, its kind and reseller of a living subscriber that the caller may see, None when there is none."""
    where = [subscriber.c.id == asked.subscriber_id, subscriber.c.status != "terminated", contract.c.status != "terminated"]
    if asked.scope is not None:
        where.append(contact.c.reseller_id == asked.scope)
    columns = (subscriber.c.contract_id, contact.c.reseller_id, product.c["class"].label("kind"))
    joined = (
        sa.select(*columns)
        .join(contract, contract.c.id == subscriber.c.contract_id)
        .join(contact, contact.c.id == contract.c.contact_id)
        .join(product, product.c.id == contract.c.product_id)
    )
    return conn.execute(joined.where(*where)).one_or_none()


def _voucher(conn: sa.Connection, env: Env, asked: TopUp, owner: Any) -> Any:
    """The voucher, locked. Plain when it cannot be used."""
    mine = (voucher.c.reseller_id == owner.reseller_id, voucher.c.code_hash == code_mark(env, asked.code or ""))
    found = conn.execute(sa.select(voucher).where(*mine).with_for_update()).one_or_none()
    if found is None or found.used_at is not None or found.valid_until < now(conn):
        raise Plain("code", "Invalid voucher code, already used or expired.", "refused")
    if found.customer_id is not None and found.customer_id != owner.contract_id:
        raise Plain("code", "Voucher is reserved for a different customer.", "refused")
    return found


def _check_package(conn: sa.Connection, package_id: int | None, reseller_id: int) -> None:
    if package_id is None:
        return
    owner = conn.scalar(sa.select(profile_package.c.reseller_id).where(profile_package.c.id == package_id))
    if owner != reseller_id:
        raise Invalid([("package_id", package_id, "Unknown profile package, or one of another reseller.")])


def _booked(conn: sa.Connection, contract_id: int, token: str) -> bool:
    log = topup_log.c
    where = (log.contract_id == contract_id, log.request_token == token, log.outcome == "ok")
    return conn.scalar(sa.select(log.id).where(*where).limit(1)) is not None


def _context(owner: Any, asked: TopUp, found: Any) -> dict[str, Any]:
    return {
        "reseller_id": owner.reseller_id,
        "subscriber_id": asked.subscriber_id,
        "contract_id": owner.contract_id,
        "amount": asked.amount if found is None else found.amount,
        "voucher_id": None if found is None else found.id,
    }


def _state(conn: sa.Connection, account: Account, asked: TopUp, at: datetime.datetime, when: str) -> dict[str, Any]:
    return {
        f"cash_balance_{when}": account.row.cash,
        f"package_{when}_id": account.terms.package_id,
        f"profile_{when}_id": account.grant(at).profile_id,
        f"lock_level_{when}": effects.lock_of(conn, asked.subscriber_id),
        f"contract_balance_{when}_id": account.row.id,
    }


def _log(conn: sa.Connection, env: Env, asked: TopUp, outcome: str, values: dict[str, Any]) -> None:
    values["message"] = values["message"][:MESSAGE] if values.get("message") else None
    insert(
        conn,
        topup_log,
        username=asked.username[:127],
        timestamp=env.clock.time(),
        type=asked.kind,
        outcome=outcome,
        request_token=asked.token,
        **values,
    )
