"""The way to the mail server: one SMTP session per mail (RFC 5321), by Twisted's client. Imported where the reactor is there already: Twisted's
module takes it at import."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.mail.smtp import ESMTPSenderFactory, SMTPClientError

from ngcpd.mail.queue import Mail, Permanent, Temporary

TIMEOUT = 60
"""Seconds without an answer."""


class Smtp:
    """Sends (Permanent, Temporary) to a mail server without login, as a relay on this host or network takes it. `connect(host, port,
    factory)` opens the connection."""

    def __init__(self, connect: Callable[[str, int, Any], object], host: str, port: int) -> None:
        self._connect = connect
        self._host = host
        self._port = port

    def send(self, mail: Mail) -> Deferred[None]:
        """Fires when the server has taken it."""
        done: Deferred[Any] = Deferred()
        lines = io.BytesIO(mail.text.encode("ascii"))
        make: Any = ESMTPSenderFactory
        options: dict[str, Any] = {"requireAuthentication": False, "requireTransportSecurity": False, "retries": 0, "timeout": TIMEOUT}
        factory = make(None, None, mail.sender, mail.recipient, lines, done, **options)
        factory.noisy = False
        connector: Any = self._connect(self._host, self._port, factory)

        def cancel(_: object) -> None:
            connector.disconnect()

        result: Deferred[None] = Deferred(cancel)

        def refused(failure: Any) -> None:
            if not result.called:
                result.errback(_told(failure))

        done.addCallbacks(lambda _: result.callback(None), refused)
        return result


def _told(failure: Any) -> Exception:
    error: Exception = failure.value
    if isinstance(error, SMTPClientError) and 500 <= int(getattr(error, "code", 0) or 0) < 600:
        return Permanent(str(error))
    return Temporary(str(error) or type(error).__name__)
