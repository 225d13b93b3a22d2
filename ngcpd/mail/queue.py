"""The queue of outgoing mails: rows of table `mail_queue`, written in the transaction of what they tell of, sent afterwards by any node that
sends mail. A mail that is refused for the moment is tried again after 1, 5, 30 and then every 120 minutes, for a day at most (invoices and
e-mails 8.5); a failure never touches what the mail tells of.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa
from twisted.internet.defer import Deferred

from ngcpd.mail.message import BadMail, address, compose, fill
from ngcpd.runtime.log import logger
from ngcpd.runtime.ports import Clock, Rng, Timer
from ngcpd.store.db import Database, insert, now
from ngcpd.store.errors import StoreError, StoreUnavailable
from ngcpd.store.tables.mail import mail_queue

log = logger("mail")
RETRIES = (60, 300, 1800, 7200)
"""Seconds to the next try after the first, second, ... failure; the last one again and again."""
GIVE_UP = datetime.timedelta(hours=24)
CLAIM = datetime.timedelta(minutes=10)
"""For so long a mail belongs to the node that is sending it; if that dies, another one tries."""
POLL = 5.0
BATCH = 20


class Permanent(Exception):
    """The mail server will never take this mail."""


class Temporary(Exception):
    """It was not taken now; later it may be."""


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail of the queue. `text`: the whole message; addresses are bare."""

    id: int
    sender: str
    recipient: str
    text: str
    tries: int
    created_at: datetime.datetime


def put(
    conn: sa.Connection, clock: Clock, rng: Rng, *, sender: str, recipient: str, subject: str, body: str, variables: dict[str, object]
) -> int | None:
    """Queue a mail made of templates. None, and a warning in the log, when it cannot be made: what it tells of goes on all the same."""
    try:
        from_, title = fill(sender, variables), fill(subject, variables)
        text = compose(from_, recipient, title, fill(body, variables), at=clock.time(), message_id=rng.uuid())
        ends = {"sender": address(from_), "recipient": address(recipient)}
    except BadMail as error:
        log.warning("a mail cannot be made", recipient=recipient, why=str(error))
        return None
    at = now(conn)
    return insert(conn, mail_queue, **ends, message=text, created_at=at, due_at=at)


def claim(conn: sa.Connection) -> list[Mail]:
    """Mails that are due, from now on the caller's for a while."""
    at = now(conn)
    due = sa.select(mail_queue).where(mail_queue.c.due_at <= at).order_by(mail_queue.c.due_at, mail_queue.c.id).limit(BATCH)
    found = []
    for row in conn.execute(due).all():
        mine = (mail_queue.c.id == row.id, mail_queue.c.due_at == row.due_at)
        if conn.execute(sa.update(mail_queue).where(*mine).values(due_at=at + CLAIM, tries=row.tries + 1)).rowcount == 1:
            found.append(Mail(row.id, row.sender, row.recipient, row.message, row.tries + 1, row.created_at))
    return found


def sent(conn: sa.Connection, mail: Mail) -> None:
    """It is with the mail server."""
    conn.execute(sa.delete(mail_queue).where(mail_queue.c.id == mail.id))


def failed(conn: sa.Connection, mail: Mail, why: str) -> datetime.datetime | None:
    """It was not taken: when it is tried again, None when never."""
    at = now(conn)
    again = at + datetime.timedelta(seconds=RETRIES[min(mail.tries, len(RETRIES)) - 1])
    if again - mail.created_at > GIVE_UP:
        conn.execute(sa.delete(mail_queue).where(mail_queue.c.id == mail.id))
        return None
    conn.execute(sa.update(mail_queue).where(mail_queue.c.id == mail.id).values(due_at=again, last_error=why[:255]))
    return again


class Mailer:
    """Sends what is in the queue, one mail after the other. `send(mail)` fires when the server has taken it; it fails with Permanent or Temporary."""

    def __init__(self, database: Database, clock: Clock, send: Callable[[Mail], Deferred[None]]) -> None:
        self._database = database
        self._clock = clock
        self._send = send
        self._timer: Timer | None = None
        self._round: Deferred[None] | None = None
        self._stopped = False

    def start(self) -> None:
        self._timer = self._clock.call_later(0, self._begin)

    async def stop(self) -> None:
        """No further mail; one that is under way may end."""
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        if self._round is not None:
            self._round.cancel()

    def _begin(self) -> None:
        self._round = Deferred.fromCoroutine(self.work())
        self._round.addErrback(lambda failure: log.error("the mail queue", why=failure.getErrorMessage()) if not self._stopped else None)
        self._round.addBoth(self._again)

    def _again(self, _: object) -> None:
        self._round = None
        if not self._stopped:
            self._timer = self._clock.call_later(POLL, self._begin)

    async def work(self) -> None:
        """Send all that is due."""
        try:
            while not self._stopped:
                mails = await self._database.run(claim)
                for mail in mails:
                    await self._one(mail)
                if len(mails) < BATCH:
                    return
        except StoreUnavailable:
            return  # the store has said so itself
        except StoreError as error:
            log.limited("mail-store", 60, "the mail queue cannot be read", why=str(error))

    async def _one(self, mail: Mail) -> None:
        try:
            await self._send(mail)
        except Permanent as error:
            log.warning("a mail was refused for good", id=mail.id, recipient=mail.recipient, why=str(error))
            await self._database.run(sent, mail)
        except Temporary as error:
            again = await self._database.run(failed, mail, str(error))
            said = "a mail was given up" if again is None else "a mail waits for another try"
            log.warning(said, id=mail.id, recipient=mail.recipient, tries=mail.tries, why=str(error)[:200])
        else:
            await self._database.run(sent, mail)
            log.info("mail sent", id=mail.id, recipient=mail.recipient)
