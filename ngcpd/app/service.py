"""The daemon as a Twisted service on the real reactor."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from ngcpd.app.commands import commands, errors
from ngcpd.app.daemon import Daemon
from ngcpd.app.interpreter import Collector
from ngcpd.app.reload import Reloader, log_levels
from ngcpd.app.world import World
from ngcpd.cli import exit as exits
from ngcpd.cli.exit import FAILED, StartError
from ngcpd.config import Loaded, ensure_directory, load
from ngcpd.config.secrets import load_or_create
from ngcpd.media import ChildSpawner, Engine, Interface, MediaError
from ngcpd.media import Settings as MediaSettings
from ngcpd.ops.control import CommandError, ControlBusy, ControlServer
from ngcpd.runtime import log as logs
from ngcpd.runtime.real import OsDisk, ReactorClock, ReactorNet, SystemRng, ThreadExecutor
from ngcpd.store.errors import StoreError, StoreLocked, StoreUnavailable
from ngcpd.store.kv import KeyValue, KeyValueError, KeyValueUnavailable
from ngcpd.store.kv_memory import MemoryKeyValue
from ngcpd.store.kv_redis import RedisKeyValue

log = logs.logger("app")
HINTS = {
    errno.EADDRINUSE: "; another program has it (ss -lnutp shows which)",
    errno.EADDRNOTAVAIL: "; no interface of this machine has this address, correct network.yml or NGCPD_LISTEN",
    errno.EACCES: "; ports below 1024 are for root",
}
"""What to do about a socket that cannot be opened."""


class Options(Protocol):
    """What the starter hands over."""

    @property
    def loaded(self) -> Loaded | None: ...

    def fail(self, status: int, message: str) -> None: ...


def make_service(options: Options) -> Service:
    """The service of this node. Raises StartError and ConfigError; nothing is started yet."""
    loaded = options.loaded
    if loaded is None:
        raise StartError("no configuration was loaded")
    return DaemonService(loaded, options)


def start_logging(loaded: Loaded, clock: ReactorClock) -> None:
    """Lines go to stdout, where systemd or the terminal takes them; levels are those of the configuration."""
    own = loaded.settings.ngcpd.log

    out = sys.__stdout__  # twistd puts a logger in the place of sys.stdout

    def write(line: str) -> None:
        try:
            if out is not None:
                out.write(line)
                out.flush()
        except (BrokenPipeError, ValueError):
            pass  # nobody reads the log any more; the daemon serves on

    logs.configure(clock, loaded.node.name, write)
    log_levels(own.level, own.rooms.items())


def _told(failure: Failure) -> None:
    """What the operator is to know of a refused reload stands in the log already."""
    if not isinstance(failure.value, CommandError):
        log.error("reload failed", kind=type(failure.value).__name__, why=failure.getErrorMessage())


class DaemonService(Service):
    """Binds everything first, then starts the rest; a failure after that ends the process with status 1 and one line."""

    def __init__(self, loaded: Loaded, options: Options) -> None:
        from twisted.internet import reactor

        self.loaded = loaded
        self.options = options
        self.reactor: Any = reactor
        self.clock = ReactorClock(reactor)
        start_logging(loaded, self.clock)
        paths = loaded.settings.paths
        for directory in (paths.state_dir, paths.journal_dir):
            ensure_directory(directory)
        rng = SystemRng()
        self.executor = ThreadExecutor(reactor, loaded.settings.ngcpd.database.threads, name="database")
        self.disk_executor = ThreadExecutor(reactor, loaded.settings.ngcpd.threads, name="disk")
        world = World(
            clock=self.clock,
            rng=rng,
            net=ReactorNet(reactor),
            disk=OsDisk(),
            executor=self.executor,
            disk_executor=self.disk_executor,
            media=self._media,
            key_value=self._key_value,
        )
        self.daemon = Daemon(world, loaded, load_or_create(paths.secrets_file, rng))
        self.control = ControlServer(paths.control_socket, commands(self.daemon, self._stop_soon, self._reload), self.reactor, errors=errors())
        self.web: Any = None
        self.reloader = Reloader(self.daemon, self.disk_executor, lambda: load(loaded.directory), self._renewed)
        self.mail: Any = None
        self.collector = Collector(self.clock, lambda: len(self.daemon.calls.calls))
        self._starting: Deferred[None] | None = None

    def _web(self) -> Any:
        """The sites, on nodes that have them. Imported here: klein takes the process's reactor when it is imported."""
        settings, node = self.loaded.settings, self.loaded.node
        if not node.has_role("mgmt") or not settings.get("www_admin.enabled"):
            return None
        from ngcpd.app.web import TlsError, WebServer

        try:
            made = WebServer(self.reactor, self.daemon)
        except TlsError as error:
            raise StartError(f"HTTPS: {error}") from error
        made.bind()
        return made

    def _renewed(self, loaded: Loaded) -> Callable[[], None]:
        if self.web is None:
            return lambda: None
        from ngcpd.app.web import TlsError

        try:
            renewed: Callable[[], None] = self.web.renewed(loaded)
        except TlsError as error:
            raise ValueError(f"HTTPS: {error}") from error
        return renewed

    def _mail(self) -> Any:
        """What sends mails, on nodes that do. Imported here for the same reason."""
        if not self.loaded.node.has_role("mgmt"):
            return None
        from ngcpd.app.mail import mailer

        made = mailer(self.reactor, self.daemon)
        made.start()
        return made

    def _media(self, interfaces: list[Interface], settings: MediaSettings) -> Engine:
        return Engine(self.clock, ChildSpawner(self.reactor, self.clock), interfaces, settings)

    def _key_value(self, url: str | None) -> KeyValue:
        return MemoryKeyValue(self.clock, SystemRng()) if url is None else RedisKeyValue(self.reactor, self.clock, SystemRng(), url)

    # ------------------------------------------------------------------------------------------------------------ start
    def privilegedStartService(self) -> None:
        """All listeners, before any other work. OSError is told the operator by the starter."""
        try:
            self.daemon.bind()
            self.web = self._web()
        except OSError as error:
            self.daemon.stack.close()
            raise StartError(f"cannot listen on {error.filename}: {error.strerror or error}{HINTS.get(error.errno or 0, '')}") from error
        try:
            self.control.start()
        except (ControlBusy, OSError) as error:
            self.daemon.stack.close()
            raise StartError(f"control socket: {error}") from error

    def startService(self) -> None:
        self.running = 1
        for warning in self.loaded.warnings:
            log.warning("configuration", problem=str(warning))
        for notice in self.loaded.notices:
            log.info("configuration", notice=str(notice))
        self._starting = self.daemon.start()
        self._starting.addCallbacks(self._started, self._failed)

    def _started(self, _: None) -> None:
        self.collector.start()
        if not exits.at_terminal():
            signal.signal(signal.SIGHUP, lambda *_: self.reactor.callFromThread(self._hung_up))
        self.mail = self._mail()
        ready = os.environ.get("NGCPD_READY_FD", "")
        if ready.isdigit():
            try:
                os.write(int(ready), b"ready\n")
                os.close(int(ready))
            except OSError as error:
                log.warning("whoever started the daemon cannot be told that it is ready", why=str(error))

    def _failed(self, failure: Failure) -> None:
        self._starting = None
        error = failure.value
        if isinstance(error, StoreLocked):
            text = str(error)
        elif isinstance(error, StoreUnavailable):
            text = f"the database cannot be reached: {error}; start it or correct ngcpd.database.url in constants.yml"
        elif isinstance(error, KeyValueUnavailable):
            text = f"Redis cannot be reached: {error}; start it or correct ngcpd.redis.url in constants.yml"
        elif isinstance(error, StoreError | KeyValueError | MediaError | OSError):
            text = str(error)
        else:
            text = f"{type(error).__name__}: {error}"
            log.error("start failed", kind=type(error).__name__, text=str(error), at=failure.getTraceback(elideFrameworkCode=True))
        self.options.fail(FAILED, f"cannot start: {text}")

    # ----------------------------------------------------------------------------------------------------------- reload
    def _reload(self) -> Deferred[dict[str, Any]]:
        if not self.daemon.serving:
            raise CommandError("the daemon does not serve yet", "unavailable")
        return self.reloader.reload()

    def _hung_up(self) -> None:
        """SIGHUP. What came of it stands in the log."""
        if self.daemon.serving:
            self.reloader.reload().addErrback(_told)

    # ------------------------------------------------------------------------------------------------------------- stop
    def _stop_soon(self) -> None:
        self.reactor.callLater(0.1, self.reactor.stop)

    def stopService(self) -> Deferred[None]:
        self.running = 0
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self.collector.stop()
        await self.control.stop()
        if self.web is not None:
            await self.web.stop()
        if self.mail is not None:
            await self.mail.stop()
        await self.daemon.stop()
        await self.executor.stop(1.0)
        await self.disk_executor.stop(1.0)
