"""Mails from the queue to a mail server: delivery, tries, the end of them; the mail to a new subscriber."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from email import message_from_string, policy
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy as sa
from twisted.internet.defer import fail, succeed

from ngcpd.mail.queue import RETRIES, Mail, Mailer, Permanent, Temporary, put
from ngcpd.provisioning import NewSubscriber, create_domain, create_subscriber
from ngcpd.store.tables.billing import email_template
from ngcpd.store.tables.mail import mail_queue
from ngcpd.store.tables.tenancy import contract
from tests.mail.smtpd import Sink
from tests.provisioning.conftest import World, world

ensure = pytest_twisted.ensureDeferred
__all__ = ["world"]


@pytest.fixture
def sink() -> Iterator[Sink]:
    made = Sink().start()
    yield made
    made.stop()


def queue(world: World, recipient: str = "ada@voice.example", **more: Any) -> int | None:
    values: dict[str, Any] = {"sender": "noc@alps.example", "subject": "Hello [% who %]", "body": "Dear [% who %]\n.\nbye\n"}
    values["variables"] = {"who": "Ada"}
    return world.database.run_here(put, world.clock, world.env.rng, recipient=recipient, **(values | more))


def over_smtp(world: World, port: int) -> Mailer:
    from twisted.internet import reactor

    from ngcpd.mail.smtp import Smtp

    connect: Any = reactor
    return Mailer(world.database, world.clock, Smtp(lambda h, p, f: connect.connectTCP(h, p, f, timeout=5), "127.0.0.1", port).send)


@ensure
async def test_a_mail_reaches_the_server(world: World, sink: Sink) -> None:
    queue(world)
    queue(world, "ben@voice.example", subject="Gr\u00fc\u00dfe")
    await over_smtp(world, sink.port).work()
    assert [(sender, recipient) for sender, recipient, _ in sink.mails] == [
        ("noc@alps.example", "ada@voice.example"),
        ("noc@alps.example", "ben@voice.example"),
    ]
    first = message_from_string(sink.mails[0][2], policy=policy.default)
    assert (first["Subject"], first["To"], first.get_content()) == ("Hello Ada", "ada@voice.example", "Dear Ada\n.\nbye\n")
    assert message_from_string(sink.mails[1][2], policy=policy.default)["Subject"] == "Gr\u00fc\u00dfe"
    assert world.count(mail_queue) == 0


@ensure
async def test_a_server_that_refuses(world: World, sink: Sink) -> None:
    """For the moment: it is tried again. For good: it goes, and the next one is not held up."""
    sink.answers = ["451 later", "550 nobody here", "250 ok"]
    for name in ("later", "never", "now"):
        queue(world, f"{name}@voice.example")
    mailer = over_smtp(world, sink.port)
    await mailer.work()
    assert [recipient for _, recipient, _ in sink.mails] == ["now@voice.example"]
    assert [tuple(row) for row in world.rows(sa.select(mail_queue.c.recipient, mail_queue.c.tries))] == [("later@voice.example", 1)]
    assert "451" in world.rows(sa.select(mail_queue.c.last_error))[0][0]
    await mailer.work()
    assert len(sink.mails) == 1, "not before its time"
    world.clock.advance(RETRIES[0])
    await mailer.work()
    assert [recipient for _, recipient, _ in sink.mails] == ["now@voice.example", "later@voice.example"] and world.count(mail_queue) == 0


@ensure
async def test_no_server(world: World) -> None:
    gone = Sink().start()
    gone.stop()
    queue(world)
    await over_smtp(world, gone.port).work()
    assert world.rows(sa.select(mail_queue.c.tries)) == [(1,)]


@ensure
async def test_tries_and_their_end(world: World) -> None:
    tried: list[float] = []
    begun = world.clock.time()

    def send(mail: Mail) -> Any:
        tried.append(world.clock.time() - begun)
        return fail(Temporary("busy"))

    mailer = Mailer(world.database, world.clock, send)
    queue(world)
    for _ in range(26 * 60):
        await mailer.work()
        world.clock.advance(60)
    assert tried[:6] == [0, 60, 360, 2160, 9360, 16560] and all(b - a == 7200 for a, b in itertools.pairwise(tried[3:]))
    assert tried[-1] <= 24 * 3600 < tried[-1] + 7200 and world.count(mail_queue) == 0


@ensure
async def test_two_nodes_send_it_once(world: World) -> None:
    sent: list[int] = []

    def send(mail: Mail) -> Any:
        sent.append(mail.id)
        return succeed(None)

    for _ in range(30):
        queue(world)
    first, second = Mailer(world.database, world.clock, send), Mailer(world.database, world.clock, send)
    await first.work()
    await second.work()
    assert len(sent) == len(set(sent)) == 30
    queue(world)
    refused = Mailer(world.database, world.clock, lambda mail: fail(Permanent("550")))
    await refused.work()
    assert world.count(mail_queue) == 0


def test_a_mail_that_cannot_be_made(world: World) -> None:
    for more in ({"recipient": "x\r\ny@z"}, {"body": "[% PERL %]"}, {"subject": "[% none %]"}, {"sender": "[% none %]"}):
        assert queue(world, **more) is None  # type: ignore[arg-type]
    assert world.count(mail_queue) == 0


def test_the_mail_to_a_new_subscriber(world: World) -> None:
    """To its own address, else to the customer's; none without a template; a template that is wrong stops nobody."""
    world.do(create_domain, name="voice.example", reseller_id=1)
    silent, customer = world.customer(), world.customer()
    default = world.rows(sa.select(email_template.c.id).where(email_template.c.name == "subscriber_default_email"))[0][0]

    def template(key: int | None) -> None:
        change = sa.update(contract).where(contract.c.id == customer).values(subscriber_email_template_id=key)
        world.database.run_here(lambda conn: conn.execute(change))

    def new(owner: int, name: str, mail: str | None = None) -> None:
        world.do(create_subscriber, NewSubscriber(customer_id=owner, domain="voice.example", username=name, password="s3cret-pw", email=mail))

    template(default)
    new(silent, "none", "none@example.org")
    new(customer, "ada", "ada@example.org")
    new(customer, "ben")
    mails = world.rows(sa.select(mail_queue.c.recipient, mail_queue.c.message).order_by(mail_queue.c.id))
    assert [mail.recipient for mail in mails] == ["ada@example.org", "c@example.org"]
    found = message_from_string(mails[0].message, policy=policy.default)
    assert found["Subject"] == "Subscriber created" and "ada@voice.example" in found.get_content() and "s3cret" not in mails[0].message
    world.database.run_here(lambda conn: conn.execute(sa.update(email_template).where(email_template.c.id == default).values(body="[% PERL %]")))
    new(customer, "cid")
    assert world.count(mail_queue) == 2
