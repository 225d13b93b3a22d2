"""Sending of mails on nodes with role `mgmt`."""

from __future__ import annotations

from typing import Any

from ngcpd.app.daemon import Daemon
from ngcpd.mail.queue import Mailer
from ngcpd.mail.smtp import TIMEOUT, Smtp


def mailer(reactor: Any, daemon: Daemon) -> Mailer:
    """Takes mails out of the queue to `email.smtp_host`."""
    settings = daemon.loaded.settings
    server = Smtp(
        lambda host, port, factory: reactor.connectTCP(host, port, factory, timeout=TIMEOUT),
        settings.get("email.smtp_host"),
        settings.get("email.smtp_port"),
    )
    return Mailer(daemon.db, daemon.world.clock, server.send)
