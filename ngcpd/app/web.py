"""The HTTPS sites of this node on the real reactor: with role `mgmt` the REST interface on the addresses of type `web_int`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.error import CannotListenError

from ngcpd import __version__
from ngcpd.app.daemon import Daemon
from ngcpd.config import Loaded
from ngcpd.provisioning.registry import standard
from ngcpd.runtime.log import logger
from ngcpd.runtime.real import ThreadExecutor
from ngcpd.web.login import Logins
from ngcpd.web.rest.api import Api
from ngcpd.web.rest.registrations import Registrations
from ngcpd.web.site import site
from ngcpd.web.tls import ServerContext, TlsError, ensure_pair, load

log = logger("web")
__all__ = ["TlsError", "WebServer"]
LOGIN_THREADS = 2
LOGIN_BACKLOG = 200


class WebServer:
    """`bind` opens the ports (OSError naming one), `stop` closes them. Requests before the daemon serves get 503."""

    def __init__(self, reactor: Any, daemon: Daemon) -> None:
        """TlsError when the certificate cannot be used."""
        self._reactor = reactor
        self._ports: list[Any] = []
        settings, node, world = daemon.loaded.settings, daemon.loaded.node, daemon.world
        self._world = world
        self.addresses = [bound.address for bound in node.addresses("web_int")]
        self.port = settings.get("www_admin.http_admin.port")
        state = settings.paths.state_dir
        configured = settings.get("www_admin.http_admin.sslcertfile"), settings.get("www_admin.http_admin.sslcertkeyfile")
        authority = settings.get("ossbss.apache.restapi.sslcertfile"), settings.get("ossbss.apache.restapi.sslcertkeyfile")
        pair = ensure_pair(*configured, state, "web", world.clock, world.rng, self.addresses)
        self.authority = ensure_pair(*authority, state, "api_ca", world.clock, world.rng)
        self._context = ServerContext(*pair, authority=self.authority[0])
        issuer = load(self.authority[0])
        self._threads = ThreadExecutor(reactor, LOGIN_THREADS, backlog=LOGIN_BACKLOG, name="login")
        rules = daemon.env.rules
        self.logins = logins = Logins(
            daemon.db, self._threads, world.clock, world.rng, daemon.env.argon, authority=issuer, show_passwords=rules.legacy_show_passwords
        )
        daemon.feed.subscribe(logins.changed)
        registrations = Registrations(daemon.registrar, daemon.db, daemon.env, world.clock)
        resources = standard()
        self.api = Api(
            daemon.db,
            daemon.env,
            resources,
            logins,
            specials={"subscriberregistrations": registrations.answer},
            version=__version__,
            ready=lambda: daemon.serving,
        )

    def renewed(self, loaded: Loaded) -> Callable[[], None]:
        """Read certificate and key again, also when only the files' content is new; the result puts them in force. TlsError; blocking."""
        settings, world = loaded.settings, self._world
        configured = settings.get("www_admin.http_admin.sslcertfile"), settings.get("www_admin.http_admin.sslcertkeyfile")
        pair = ensure_pair(*configured, settings.paths.state_dir, "web", world.clock, world.rng, self.addresses)
        fresh = ServerContext(*pair, authority=self.authority[0])
        show = settings.get("api.legacy_show_passwords")

        def put() -> None:
            self._context.take(fresh)
            self.logins.show_passwords = show

        return put

    def bind(self) -> None:
        """Open every port. Raises OSError that names the one; what was opened before is closed again."""
        for address in self.addresses:
            try:
                self._ports.append(self._reactor.listenSSL(self.port, site(self.api), self._context, interface=address))
            except CannotListenError as error:
                self.stop()
                reason = error.socketError
                where = f"https:[{address}]:{self.port}" if ":" in address else f"https:{address}:{self.port}"
                raise OSError(getattr(reason, "errno", None) or 0, getattr(reason, "strerror", None) or str(reason), where) from None

    def stop(self) -> Deferred[Any]:
        """Close the ports and let logins under way end."""
        ports, self._ports = self._ports, []
        return DeferredList([maybeDeferred(port.stopListening) for port in ports] + [self._threads.stop(1.0)], consumeErrors=True)
