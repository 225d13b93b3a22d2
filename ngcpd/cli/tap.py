"""`twistd --reactor=asyncio ngcpd`: options of the service and its maker.

The composition (`ngcpd.app`) is a sibling of this room, so it is named here, not imported.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, ClassVar

from twisted.application.service import IService
from twisted.python.usage import Options as UsageOptions

from ngcpd.cli import exit as exits
from ngcpd.config import ConfigError, Loaded, load

APP = "ngcpd.app"
REACTOR = "AsyncioSelectorReactor"


class Options(UsageOptions):
    """`options.loaded` is the checked configuration; `options.fail(status, message)` ends the daemon with one line for the operator."""

    optParameters: ClassVar[list[list[Any]]] = [["config-dir", "c", None, "Directory of config.yml, network.yml and constants.yml"]]

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.loaded: Loaded | None = _Prepared.loaded
        self.fail: Callable[[int, str], None] = exits.fail


class _Prepared:
    """The configuration that `ngcpd` checked before the reactor was installed."""

    loaded: Loaded | None = None


def prepare(loaded: Loaded) -> None:
    """Let the next Options have this configuration."""
    _Prepared.loaded = loaded


def report(error: ConfigError) -> None:
    """The problems of a configuration, one line each, on stderr."""
    for problem in error.problems:
        exits.write(str(problem))
    count = len(error.problems)
    exits.say(f"the configuration has {count} problem{'s' if count != 1 else ''}; nothing was started")


def makeService(options: Options) -> IService:
    """The service of the daemon. SystemExit 78 for another reactor than asyncio's or a wrong configuration, 1 when it cannot be made."""
    found = type(exits.reactor()).__name__
    if found != REACTOR:
        exits.say(f"the reactor is {found}; start with the option --reactor=asyncio, or with the command ngcpd")
        raise SystemExit(exits.CONFIG)
    try:
        if options.loaded is None:
            options.loaded = load(options["config-dir"])
        make_service: Callable[[Options], IService] = importlib.import_module(APP).make_service
        return make_service(options)
    except ConfigError as error:
        report(error)
        raise SystemExit(exits.CONFIG) from None
    except exits.StartError as error:
        exits.say(str(error))
        raise SystemExit(error.status) from None
