"""The daemon: all rooms wired together, started and stopped in order. Runs on any `World`."""

from __future__ import annotations

import datetime
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred

from ngcpd.app import tuning
from ngcpd.app.world import World
from ngcpd.billing.service import Mediator
from ngcpd.calls import Calls
from ngcpd.config import Loaded
from ngcpd.config.schema_signalling import JOURNALS
from ngcpd.config.secrets import Secrets
from ngcpd.config.settings import Settings
from ngcpd.directory.directory import Directory
from ngcpd.edge.edge import Edge
from ngcpd.edge.own import Own
from ngcpd.edge.settings import EdgeSettings
from ngcpd.provisioning.env import Env, Rules
from ngcpd.registrar.answers import Answers
from ngcpd.registrar.auth import Authenticator
from ngcpd.registrar.keepalive import Keepalive
from ngcpd.registrar.location import Location
from ngcpd.registrar.registrar import Registrar
from ngcpd.registrar.sharing import Sharing
from ngcpd.registrar.survey import Survey
from ngcpd.routing.pipeline import Pipeline
from ngcpd.runtime.log import logger
from ngcpd.runtime.ports import Timer, TlsServer
from ngcpd.sip.digest import NonceMaker
from ngcpd.sip.flow import Flow
from ngcpd.sip.stack import Stack
from ngcpd.store import migrations
from ngcpd.store.acc import STREAM as ACC
from ngcpd.store.acc import Accounting, acc_home
from ngcpd.store.bindings import BindingHome, Bindings, RedisBindingHome, SqlBindingHome
from ngcpd.store.changes import ChangeFeed, purge
from ngcpd.store.credentials import Argon, Vault
from ngcpd.store.db import Database
from ngcpd.store.follower import Follower
from ngcpd.store.journal import Journal
from ngcpd.store.seed import seed

log = logger("app")
PURGE = 300.0
PURGE_CHANGES = 3600.0
"""Seconds between two deletions of old change notices; the first one comes `PURGE` after the start."""


class Daemon:
    """One node. `bind` opens the sockets (OSError), `start` does the rest and fires when the node serves, `stop` ends calls and flushes.

    The order of `start`: store (lock, migrations, seed), journal and what an earlier run left in it, directory, registrations, media, then the
    edge is let in. Until then the stack answers 503.
    """

    def __init__(self, world: World, loaded: Loaded, secrets: Secrets) -> None:
        settings, node = loaded.settings, loaded.node
        self.world = world
        self.loaded = loaded
        self.node = node.name
        clock, rng = world.clock, world.rng
        self.started_at = clock.time()
        self.listeners = tuning.sip_listeners(settings, node)
        self.env = Env(clock, rng, Vault(secrets.sip_password_key, rng), Argon(rng), rules(loaded), zone=local_zone())

        own = settings.ngcpd
        self.db = Database(settings.paths.database_url, world.executor, clock, pool_size=own.database.threads)
        self.kv = world.key_value(own.redis.url)
        self.journal = Journal(
            world.disk,
            clock,
            world.disk_executor,
            settings.paths.journal_dir,
            self.node,
            segment_size=own.journal.segment_size << 20,
            sync_interval=own.journal.sync_interval / 1000,
        )
        self.accounting = Accounting(self.journal, clock)
        self.mediator = Mediator(self.db, self.kv, clock, interval=float(settings.mediator.interval), pace=tuning.MEDIATION_PACE)
        self.acc_follower = Follower(
            self.journal,
            ACC,
            acc_home(self.db, self.node),
            clock,
            batch=own.journal.batch,
            pace=tuning.ACCOUNTING_PACE,
            on_applied=lambda records: self.mediator.poke(),
        )
        home: BindingHome = RedisBindingHome(self.kv, clock, self.node) if own.redis.url else SqlBindingHome(self.db, clock, self.node)
        self.bindings = Bindings(self.journal, home, clock)
        self.feed = ChangeFeed(self.db, clock, self.kv if own.redis.url else None)
        self.feed.subscribe(self.mediator.changed)
        self.directory = Directory(self.db, self.feed, clock, subscribers=own.directory.cache)

        self.stack = Stack(
            clock, rng, world.net, tuning.timers(settings), limits=tuning.limits(settings), websockets=tuning.websockets(settings)
        )
        self.own = Own(self.stack.transports, lambda name: self.directory.domain(name) is not None, tuning.names(settings, ()))
        self.answers = Answers(rng, own.sip.server_header)
        self.nonces = NonceMaker(secrets.nonce_key, clock, float(settings.kamailio.proxy.nonce_expire))
        self.auth = Authenticator(self.directory, self.nonces, tuning.auth(settings))
        self.location = Location(self.bindings, clock, rng, self.node)
        self.registrar = Registrar(
            self.directory, self.auth, self.location, self.answers, clock, rng, tuning.registrar(settings), is_us=self.own.platform
        )
        self.survey = Survey(self.directory, self.location, clock)
        self.keepalive = Keepalive(self.location, self.survey, self.stack, clock, rng, tuning.keepalive(settings))
        self.sharing = Sharing(self.location, self.kv, self.bindings, rng.token(8)) if own.redis.url else None
        self.media = world.media(tuning.media_interfaces(node), tuning.media(settings))
        self.pipeline = Pipeline(self.directory, self.auth, self.registrar.bindings, tuning.routing(loaded, self.listeners), self.flow_of)
        self.calls = Calls(self.stack, self.pipeline, self.media, self.accounting, clock, rng, tuning.calls(settings, loaded.headers))
        self.edge = Edge(
            self.stack,
            self.own,
            self.registrar,
            self.calls,
            self.answers,
            edge_settings(settings),
            keepalive=self.keepalive,
        )
        self._purge: Timer | None = None
        self._purge_notices: Timer | None = None
        self._running = False
        self.seeded = False

    @property
    def serving(self) -> bool:
        """True from the end of the start to the end of the stop."""
        return self._running

    def flow_of(self, flow_id: int) -> Flow | None:
        """The open connection of that id."""
        return self.stack.transports.flows.get(flow_id)

    # ------------------------------------------------------------------------------------------------------------ start
    def bind(self) -> None:
        """Open every SIP socket. Raises OSError that names the listener; what was opened before is closed again."""
        tls = self.loaded.settings.kamailio.lb.tls
        for listener in self.listeners:
            certificate = TlsServer(tls.sslcertfile, tls.sslcertkeyfile) if listener.transport == "tls" else None
            try:
                self.stack.listen(
                    listener.transport, (listener.address, listener.port), advertised=listener.advertised, label=listener.label, tls=certificate
                )
            except OSError as error:
                self.stack.close()
                what = error.strerror or str(error)
                if certificate is not None and error.filename in (certificate.certificate, certificate.key):
                    what = f"{error.filename}: {what}"
                raise OSError(error.errno, what, str(listener)) from error

    def start(self) -> Deferred[None]:
        """Errbacks StoreError, OSError, MediaError, JournalFull, KeyValueUnavailable: what keeps the node from serving, in words."""
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        self.db.lock()
        await self.world.executor.run(self._prepare_store)
        await self.world.disk_executor.run(self._open_journal)
        self.acc_follower.start()
        await self.feed.start()
        await self.directory.start()
        await self.location.load()
        self.bindings.start()
        self.location.start()
        if self.sharing is not None:
            self.location.audience = self.sharing
            self.sharing.start()
        self.survey.start()
        self.keepalive.start()
        await self.media.start()
        self.accounting.start()
        if self.loaded.settings.mediator.enabled:
            self.mediator.start()
        self._purge = self.world.clock.call_later(PURGE, self._purge_bindings)
        self._purge_notices = self.world.clock.call_later(PURGE, self._purge_changes)
        self.stack.handler = self.edge
        self._running = True
        log.info("ready", listeners=", ".join(str(s) for s in self.listeners) or "none", roles=", ".join(sorted(self.loaded.node.roles)))

    def _prepare_store(self) -> None:
        """Blocking: bring the database to the newest migration and fill an empty one."""
        migrations.upgrade(self.db.engine.url)
        self.db.check_here()
        self.seeded = self.db.run_here(seed, self.world.rng, self.env.vault, self.env.argon, self.env.zone)

    def _open_journal(self) -> None:
        self.journal.open()
        self.accounting.recover()

    def _purge_bindings(self) -> None:
        self._purge = self.world.clock.call_later(PURGE, self._purge_bindings)
        self.bindings.purge().addErrback(lambda failure: log.debug("expired registrations not purged", why=failure.getErrorMessage()))

    def _purge_changes(self) -> None:
        """Old change notices go, in the one table of all nodes; whoever was away for longer than they are kept reads everything anew."""
        self._purge_notices = self.world.clock.call_later(PURGE_CHANGES, self._purge_changes)
        done = self.db.run(purge)
        done.addCallback(lambda count: log.debug("old change notices deleted", count=count))
        done.addErrback(lambda failure: log.debug("old change notices not deleted", why=failure.getErrorMessage()))

    # ------------------------------------------------------------------------------------------------------------- stop
    def stop(self) -> Deferred[None]:
        """End calls with BYE and CANCEL, flush the journal, close everything. Never longer than `ngcpd.calls.shutdown_timeout` and a second."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        limit = self.loaded.settings.ngcpd.calls.shutdown_timeout
        if self._running:
            await self._within(self.calls.shutdown(), limit / 2)
            await self._within(self._goodbyes(), limit / 4)
            self.keepalive.stop()
            self.survey.stop()
            if self.sharing is not None:
                self.sharing.stop()
            self.location.stop()
            self.accounting.stop()
            await self._within(DeferredList([self.acc_follower.drain(limit / 4), self.bindings.drain(limit / 4)]), limit / 4)
            await self._within(self.mediator.stop(), limit / 4)
            await self._within(DeferredList([self.acc_follower.stop(), self.bindings.stop()]), 0.5)
            await self._within(self.media.stop(), 0.5)
        for timer in (self._purge, self._purge_notices):
            if timer is not None:
                timer.cancel()
        self.feed.stop()
        self.directory.stop()
        self.stack.close()
        if self._running:
            await self._within(self.journal.close(), 1.0)
        await self._within(maybeDeferred(self.kv.close), 0.5)
        self._running = False
        self.db.close()
        log.info("stopped")

    def _within(self, work: Deferred[Any], seconds: float) -> Deferred[object]:
        """Wait for `work`, but not longer; its failure is logged and no reason to stop stopping."""
        done: Deferred[object] = Deferred()

        def finish(result: object) -> None:
            timer.cancel()
            if not done.called:
                done.callback(None)

        def late() -> None:
            if not done.called:
                log.warning("not everything ended in time", seconds=seconds)
                done.callback(None)

        timer = self.world.clock.call_later(seconds, late)
        work.addErrback(lambda failure: log.warning("trouble while stopping", why=failure.getErrorMessage()))
        work.addCallback(finish)
        return done

    def _goodbyes(self) -> Deferred[None]:
        """Fires when the answers to our BYE and CANCEL have come."""
        done: Deferred[None] = Deferred()

        def look() -> None:
            counters = self.stack.counters()
            if done.called:
                return
            if counters["client"] + counters["invite_client"] == 0:
                done.callback(None)
            else:
                self.world.clock.call_later(0.02, look)

        look()
        return done


def edge_settings(settings: Settings) -> EdgeSettings:
    return EdgeSettings(max_forwards=settings.kamailio.lb.max_forwards, nattest_exception_ips=settings.kamailio.lb.nattest_exception_ips)


def rules(loaded: Loaded) -> Rules:
    """Password and number rules of the operator."""
    security, oss = loaded.settings.www_admin.security, loaded.settings.ossbss.provisioning
    return Rules(
        password_min_length=security.password_min_length,
        password_max_length=security.password_max_length,
        password_musthave_lowercase=security.password_musthave_lowercase,
        password_musthave_uppercase=security.password_musthave_uppercase,
        password_musthave_digit=security.password_musthave_digit,
        password_musthave_specialchar=security.password_musthave_specialchar,
        auto_allow_cli=oss.auto_allow_cli,
        auto_sync_cli=oss.auto_sync_cli,
        password_sip_autogenerate=loaded.settings.get("www_admin.security.password_sip_autogenerate"),
        password_web_autogenerate=loaded.settings.get("www_admin.security.password_web_autogenerate"),
        profile_sets_reseller_edit=loaded.settings.get("profile_sets.reseller_edit"),
        legacy_show_passwords=loaded.settings.get("api.legacy_show_passwords"),
        fee_columns=tuple(loaded.settings.get("www_admin.fees_csv.element_order")),
        adminmail=loaded.settings.general.adminmail,
        single_as_object=loaded.settings.get("api.single_as_object"),
        max_rows=loaded.settings.get("api.max_rows"),
        journal={name: frozenset(loaded.settings.get(f"api_journal.{name}")) for name in JOURNALS},
        journal_deflate=loaded.settings.get("api_journal.content_format") == "json_deflate",
        faxserver=loaded.settings.get("faxserver.enable"),
    )


def local_zone() -> datetime.tzinfo:
    """The server's time zone; balance intervals are local (features 3, no. 26)."""
    return datetime.datetime.fromtimestamp(0, datetime.UTC).astimezone().tzinfo or datetime.UTC
