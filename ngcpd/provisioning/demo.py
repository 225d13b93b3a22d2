"""A small world to try things in: domain `demo.test`, one customer, two subscribers with a number and an alias each."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from ngcpd.provisioning.check import E164
from ngcpd.provisioning.env import Env
from ngcpd.provisioning.numbers import of
from ngcpd.provisioning.subscribers import NewSubscriber, create_subscribers, get_password
from ngcpd.provisioning.tenancy import create_contact, create_customer, create_domain
from ngcpd.store.credentials import random_password
from ngcpd.store.tables.identity import domain, subscriber

DOMAIN = "demo.test"
PEOPLE = (("alice", E164(43, "1", "1001"), E164(43, "1", "2001")), ("bob", E164(43, "1", "1002"), E164(43, "1", "2002")))


@dataclass(frozen=True, slots=True)
class DemoAccount:
    """One subscriber of the demo, with what a phone must be told. `numbers`: E.164 digits, the primary one first."""

    id: int
    username: str
    domain: str
    password: str
    numbers: tuple[str, ...]

    def __repr__(self) -> str:
        return f"DemoAccount(id={self.id}, username={self.username!r}, domain={self.domain!r}, numbers={self.numbers!r})"


def demo(conn: sa.Connection, env: Env) -> list[DemoAccount]:
    """Make the demo if its domain does not exist, and in any case tell its subscribers as they are now. A unit of work.

    Passwords are random, made once and kept encrypted. VaultError when they were made with another key.
    """
    domain_id = conn.scalar(sa.select(domain.c.id).where(domain.c.name == DOMAIN))
    if domain_id is None:
        domain_id = create_domain(conn, env, name=DOMAIN)
        contact_id = create_contact(conn, env, reseller_id=1, email="demo@default.invalid", company="Demo")
        customer_id = create_customer(conn, env, contact_id=contact_id)
        people = [
            NewSubscriber(customer_id=customer_id, domain=DOMAIN, username=name, password=random_password(env.rng), number=number, aliases=(alias,))
            for name, number, alias in PEOPLE
        ]
        create_subscribers(conn, env, people)
    living = (subscriber.c.domain_id == domain_id, subscriber.c.status != "terminated", subscriber.c.username.in_([p[0] for p in PEOPLE]))
    rows = conn.execute(sa.select(subscriber.c.id, subscriber.c.username).where(*living).order_by(subscriber.c.id)).all()
    return [
        DemoAccount(
            id=row.id,
            username=row.username,
            domain=DOMAIN,
            password=get_password(conn, env, subscriber_id=row.id) or "",
            numbers=tuple(number["e164"] for number in of(conn, row.id)),
        )
        for row in rows
    ]
