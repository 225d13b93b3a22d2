"""`ngcpd`: checks the configuration, then runs the daemon in the foreground on the asyncio reactor, as `twistd -n` would."""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from ngcpd import __version__
from ngcpd.cli import exit as exits
from ngcpd.config import ConfigError, Loaded, load
from ngcpd.runtime.log import logger

log = logger("start")

CONFIG_DIR_HELP = "directory of the configuration; default /etc/ngcp-config if present, else etc/ of the checkout"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(
        prog="ngcpd",
        description="Voice platform: SIP registrar, call control, media relay and accounting in one daemon. "
        "Runs in the foreground; stop it with Ctrl-C.",
        epilog="Environment: NGCPD_NODE names the host of network.yml this node is, NGCPD_LISTEN replaces the address of SIP and media. "
        "Exit status: 0 stopped, 1 could not start or run, 78 the configuration is wrong.",
    )
    p.add_argument("-c", "--config-dir", metavar="DIR", help=CONFIG_DIR_HELP)
    p.add_argument("--check", action="store_true", help="check the configuration and exit")
    p.add_argument("--version", action="version", version=f"ngcpd {__version__}")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the daemon; the result is the exit status."""
    options = parser().parse_args(argv)
    from ngcpd.cli.tap import prepare, report  # late: it imports Twisted, which is slow

    try:
        loaded = load(options.config_dir)
    except ConfigError as error:
        report(error)
        return exits.CONFIG
    if options.check:
        for warning in loaded.warnings:
            sys.stderr.write(f"{warning} (warning)\n")
        print(f"{loaded.directory}: the configuration is good; this is node {loaded.node.name} with {', '.join(sorted(loaded.node.roles))}")
        return exits.OK
    os.umask(0o077)
    raise_file_limit()
    prepare(loaded)
    return run(loaded)


def raise_file_limit() -> None:
    """As many open files as the system allows: each call needs several sockets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            exits.say(f"the limit of open files stays at {soft}")


def run(loaded: Loaded) -> int:
    """Start twistd's runner with our service and stay until it ends."""
    from twisted.internet.error import CannotListenError

    from ngcpd.cli.tap import report

    try:
        _twistd(loaded.directory).run()
    except exits.StartError as error:
        exits.say(str(error))
        return error.status
    except ConfigError as error:
        report(error)
        return exits.CONFIG
    except (OSError, CannotListenError) as error:
        exits.say(f"cannot start: {error}")
        return exits.FAILED
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else exits.FAILED
    except Exception as error:  # noqa: BLE001 - boundary: the operator gets one line, the log the places
        from ngcpd.cli.twistedlog import places

        log.error("start failed", kind=type(error).__name__, text=str(error), at=places(error))
        exits.say(f"cannot start: {type(error).__name__}: {error}")
        return exits.FAILED
    return exits.status()


def _twistd(directory: str) -> Any:
    """twistd's runner for our service, made without looking for plugins. Installs the reactor."""
    from twisted.application import service
    from twisted.scripts import _twistd_unix

    unix: Any = _twistd_unix
    make_maker: Any = service.ServiceMaker

    class Twistd(unix.ServerOptions):  # type: ignore[misc]
        @property
        def subCommands(self) -> Iterator[tuple[Any, ...]]:
            maker = make_maker("ngcpd", "ngcpd.cli.tap", "", "ngcpd")
            self.loadedPlugins = {"ngcpd": maker}
            yield ("ngcpd", None, lambda: maker.options(), "")

    config = Twistd()
    arguments = ["--nodaemon", "--pidfile=", "--no_save", "--umask=077", "--logger=ngcpd.cli.twistedlog.observer", "--reactor=asyncio"]
    config.parseOptions([*arguments, "ngcpd", "--config-dir", directory])
    exits.reactor().callWhenRunning(_hang_up_stops)
    return unix.UnixApplicationRunner(config)


def _hang_up_stops() -> None:
    """A terminal that goes away stops the daemon cleanly, like Ctrl-C. Without a terminal SIGHUP asks for a reload, which the service takes
    when it serves; before that it is none."""
    loop = exits.reactor()
    signal.signal(signal.SIGHUP, (lambda *_: loop.callFromThread(exits.stop)) if exits.at_terminal() else signal.SIG_IGN)


if __name__ == "__main__":
    sys.exit(main())
