"""`ngcpd` with a small composition in the place of the real one. Run as a program by the tests; NGCPD_FAKE says how it behaves."""

from __future__ import annotations

import os
import resource
import sys
import types

from twisted.application.service import IService, Service

from ngcpd.cli import exit as exits
from ngcpd.cli.ngcpd import main
from ngcpd.config import ConfigError, Mark, Problem

MODE = os.environ.get("NGCPD_FAKE", "")


def say(text: str) -> None:
    assert sys.__stdout__ is not None
    sys.__stdout__.write(text + "\n")
    sys.__stdout__.flush()


class Fake(Service):
    def __init__(self, options: object) -> None:
        self.options = options

    def privilegedStartService(self) -> None:
        say("bound")
        if MODE == "port":
            raise OSError(98, "Address already in use", "udp:127.0.0.1:5060")
        if MODE == "secrets":
            raise ConfigError([Problem(Mark("/x/secrets.yml"), "can be read by others")])

    def startService(self) -> None:
        from twisted.internet import reactor

        node = self.options.loaded.node.name  # type: ignore[attr-defined]
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        umask = os.umask(0)
        os.umask(umask)
        say(f"started {node} reactor={type(reactor).__name__} umask={umask:03o} files={'all' if soft == hard else 'some'}")
        if MODE == "late":
            self.options.fail(1, "the database cannot be reached;\n start it")  # type: ignore[attr-defined]
            self.options.fail(3, "a second failure is not told")  # type: ignore[attr-defined]
        if MODE == "later":
            reactor.callLater(0, self.options.fail, 1, "the database cannot be reached")  # type: ignore[attr-defined]
        if MODE == "bug":
            raise ZeroDivisionError("division by zero")
        if MODE == "event":
            reactor.callLater(0, lambda: 1 // 0)  # type: ignore[attr-defined]
            reactor.callLater(0.01, say, "still here")  # type: ignore[attr-defined]

    def stopService(self) -> None:
        say("stopped")


def make_service(options: object) -> IService:
    if MODE == "start":
        raise exits.StartError("another daemon with pid 5 uses this store")
    return Fake(options)  # type: ignore[return-value]


fake = types.ModuleType("ngcpd.app")
fake.make_service = make_service  # type: ignore[attr-defined]
sys.modules["ngcpd.app"] = fake
if __name__ == "__main__":
    sys.exit(main())
