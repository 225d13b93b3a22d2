"""`ngcpctl reload` and SIGHUP: the configuration is read and checked again, what may change at run time is in force at once, the rest is named.

Nothing is half done: with any problem in any file the old settings stay, and the problems are told with file, line and column. Calls,
registrations, media and connections go on; new connections meet the new certificates (configuration framework 13, D5, D6).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from twisted.internet.defer import Deferred, fail

from ngcpd.app import tuning
from ngcpd.app.daemon import Daemon, edge_settings, rules
from ngcpd.config import ConfigError, Loaded
from ngcpd.config.inuse import IN_USE
from ngcpd.ops.control import CommandError
from ngcpd.runtime import log as logs
from ngcpd.runtime.ports import Executor, TlsServer

Found = tuple[Loaded, list[Callable[[], None]]]
"""What was read, and what puts the certificates in force."""

log = logs.logger("app")

LIVE = (
    "api.legacy_show_passwords",
    "api.max_rows",
    "api.single_as_object",
    "api_journal.*",
    "kamailio.lb.max_forwards",
    "kamailio.lb.nattest_exception_ips",
    "kamailio.lb.tcp_max_connections",
    "kamailio.lb.tls.sslcertfile",
    "kamailio.lb.tls.sslcertkeyfile",
    "kamailio.proxy.allow_refer_method",
    "kamailio.proxy.default_expires",
    "kamailio.proxy.default_expires_range",
    "kamailio.proxy.dlg_timeout",
    "kamailio.proxy.drop_oldest_registration",
    "kamailio.proxy.early_rejects.*",
    "kamailio.proxy.filter_100rel_from_supported",
    "kamailio.proxy.ignore_auth_realm",
    "kamailio.proxy.keep_original_to",
    "kamailio.proxy.loop_detection.*",
    "kamailio.proxy.max_expires",
    "kamailio.proxy.max_registrations_per_subscriber",
    "kamailio.proxy.min_expires",
    "kamailio.proxy.natping_from",
    "kamailio.proxy.natping_interval",
    "kamailio.proxy.nonce_expire",
    "kamailio.proxy.tm.*",
    "mediator.interval",
    "ngcpd.calls.max_branches",
    "ngcpd.calls.max_calls",
    "ngcpd.calls.shutdown_timeout",
    "ngcpd.calls.traces",
    "ngcpd.log.*",
    "ngcpd.sip.connect_timeout",
    "ngcpd.sip.idle_timeout",
    "ngcpd.sip.linger",
    "ngcpd.sip.max_message",
    "ngcpd.sip.max_transactions",
    "ngcpd.sip.names",
    "ngcpd.sip.qop",
    "ngcpd.sip.server_header",
    "ngcpd.sip.sha256",
    "ngcpd.sip.t1",
    "ngcpd.sip.t2",
    "ngcpd.sip.t4",
    "ngcpd.sip.tls_verify",
    "ossbss.provisioning.auto_*",
    "profile_sets.reseller_edit",
    "rtpproxy.final_timeout",
    "rtpproxy.max_sessions",
    "rtpproxy.rtp_timeout",
    "rtpproxy.rtp_timeout_onhold",
    "sems.sbc.calltimer_*",
    "www_admin.fees_csv.element_order",
    "www_admin.http_admin.sslcertfile",
    "www_admin.http_admin.sslcertkeyfile",
    "www_admin.security.password_m*",
    "www_admin.security.password_sip_autogenerate",
    "www_admin.security.password_web_autogenerate",
)
"""Settings that `Reloader` puts in force; each in use but not here waits for a restart."""


def is_live(key: str) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in LIVE)


def is_used(key: str) -> bool:
    """Does this release act on it at all?"""
    return key in IN_USE or any(key.startswith(f"{name}.") for name in IN_USE)


class Reloader:
    """`read` loads the configuration (blocking, on `executor`; ConfigError), `web` reads the certificates of the sites again and returns what
    puts them in force (blocking; OSError or ValueError with the reason)."""

    def __init__(
        self, daemon: Daemon, executor: Executor, read: Callable[[], Loaded], web: Callable[[Loaded], Callable[[], None]] | None = None
    ) -> None:
        self._daemon = daemon
        self._executor = executor
        self._read = read
        self._web = web
        self._busy = False
        self._force: dict[str, Any] = dict(daemon.loaded.settings.values)
        """The values that the running parts work with."""

    def reload(self) -> Deferred[dict[str, Any]]:
        """`live`: changed settings now in force; `restart`: those that wait for a restart; `unused`: those this release does not act on;
        `warnings`: findings of the check. Errback CommandError (invalid) with all problems: then nothing has changed."""
        if self._busy:
            return fail(CommandError("a reload is under way", "conflict"))
        self._busy = True
        work: Deferred[Found] = self._executor.run(self._load)
        return work.addCallbacks(self._take, self._refused).addBoth(self._over)

    def _over(self, result: Any) -> Any:
        self._busy = False
        return result

    def _load(self) -> Found:
        """The certificates are read even when no name changed: their content may be new."""
        loaded = self._read()
        tls = loaded.settings.kamailio.lb.tls
        puts = [self._daemon.stack.transports.renewed(TlsServer(tls.sslcertfile, tls.sslcertkeyfile))]
        if self._web is not None:
            puts.append(self._web(loaded))
        return loaded, puts

    def _refused(self, failure: Any) -> Any:
        error = failure.value
        if isinstance(error, ConfigError):
            text = "; ".join(str(problem) for problem in error.problems)
        elif isinstance(error, OSError | ValueError):
            text = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
        else:
            return failure
        log.warning("configuration refused, the old settings stay", why=text)
        raise CommandError(f"the old settings stay: {text}", "invalid") from None

    def _take(self, found: Found) -> dict[str, Any]:
        read, puts = found
        # Sockets, interfaces and nodes are those of the start.
        loaded = replace(read, node=self._daemon.loaded.node, nodes=self._daemon.loaded.nodes)
        changed = sorted(key for key, value in loaded.settings.values.items() if value != self._force.get(key))
        live = [key for key in changed if is_live(key)]
        restart = [key for key in changed if not is_live(key) and is_used(key)]
        headers = loaded.headers != self._daemon.loaded.headers
        for put in puts:
            put()
        self._apply(loaded)
        self._force.update((key, loaded.settings.values[key]) for key in live)
        if (read.node, read.nodes) != (loaded.node, loaded.nodes):
            restart.append("network.yml")
        self._daemon.loaded = loaded
        answer = {
            "live": live + (["headers.yml"] if headers else []),
            "restart": restart,
            "unused": [key for key in changed if not is_live(key) and not is_used(key)],
            "warnings": [str(warning) for warning in loaded.warnings],
        }
        log.info("configuration read again", live=", ".join(answer["live"]) or "nothing", restart=", ".join(restart) or "nothing")
        return answer

    # -------------------------------------------------------------------------------------------------------- in force
    def _apply(self, loaded: Loaded) -> None:
        daemon, settings = self._daemon, loaded.settings
        log_levels(settings.ngcpd.log.level, settings.ngcpd.log.rooms.items())
        daemon.stack.tune(tuning.timers(settings), tuning.limits(settings))
        daemon.nonces.lifetime = float(settings.kamailio.proxy.nonce_expire)
        daemon.auth.settings = tuning.auth(settings)
        daemon.registrar.settings = tuning.registrar(settings)
        daemon.answers.server = settings.ngcpd.sip.server_header
        daemon.calls.settings = tuning.calls(settings, loaded.headers)
        daemon.keepalive.stop()
        daemon.keepalive.settings = tuning.keepalive(settings)
        daemon.keepalive.start()
        daemon.edge.configure(edge_settings(settings))
        daemon.own.names = tuning.names(settings, ())
        daemon.pipeline.configure(tuning.routing(loaded, daemon.listeners))
        daemon.media.tune(tuning.media(settings))
        daemon.mediator.interval = float(settings.mediator.interval)
        daemon.env.rules = rules(loaded)


def log_levels(level: str, rooms: Iterable[tuple[str, str]]) -> None:
    """Levels as the configuration has them; those set with `ngcpctl log set` end."""
    logs.set_level("*", level)
    for room, own in rooms:
        logs.logger(room)
        logs.set_level(room, own)
