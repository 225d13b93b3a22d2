"""C3 to C5: which domain is called, who calls, and may it call from where it is (call processing 3.1, 3.2, 2.4-2.6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from twisted.internet.defer import Deferred

from ngcpd.directory.model import Snapshot, Subscriber
from ngcpd.registrar.results import Authenticated, AuthResult, Challenge
from ngcpd.registrar.source import Source
from ngcpd.routing.model import FOREIGN, LOCAL, PEER, CallContext, Reject, RoutingSettings
from ngcpd.routing.rejects import Rejects
from ngcpd.routing.stage import Outcome, Result, Stage
from ngcpd.routing.uris import own_hosts, user_of
from ngcpd.sip.codes import reason_of
from ngcpd.sip.message import Request

KIND = "proxy"


class Authenticates(Protocol):
    """`registrar.auth.Authenticator`."""

    def realm(self, request: Request) -> str | None: ...

    def check(self, request: Request, source: Source, realm: str, kind: str) -> AuthResult | Deferred[AuthResult]: ...


class CalleeDomain:
    """C3: what the R-URI names. Sets the fields that accounting needs even when all else fails."""

    def __init__(self, settings: RoutingSettings) -> None:
        self._own_hosts = own_hosts(settings)

    def run(self, ctx: CallContext, snapshot: Snapshot) -> Outcome:
        request = ctx.request
        ctx.from_ = request.from_
        caller = ctx.from_.uri
        ctx.src_user = user_of(caller)
        ctx.src_domain = caller.host
        ruri = ctx.ruri = request.ruri
        ctx.dialed_user = ctx.routed_user = user_of(ruri)
        host = ctx.dialed_domain = ctx.routed_domain = ruri.host
        domain = ctx.domain = snapshot.domain(host) if host else None
        if domain is None:
            ctx.own_host = host in self._own_hosts
        ctx.looked = ("host", host, "local", domain is not None, "own", ctx.own_host)
        return None


class Identify:
    """C4: trusted source, peer, local domain with digest, foreign domain, in this order."""

    def __init__(self, authenticator: Authenticates, rejects: Rejects) -> None:
        self._authenticator = authenticator
        self._reject = rejects

    def needs(self, ctx: CallContext, snapshot: Snapshot) -> Sequence[int]:
        if ctx.assume_caller:
            return (ctx.assume_caller,)
        source = ctx.source
        trusted = ctx.trusted_id = snapshot.trusted(source.ip, source.transport, str(ctx.request.from_.uri))
        return (trusted,) if trusted is not None else ()

    def run(self, ctx: CallContext, snapshot: Snapshot) -> Result:
        source = ctx.source
        ctx.looked = ("source", source.ip, "transport", source.transport, "from", ctx.src_domain)
        if ctx.assume_caller:
            return self._assumed(ctx, snapshot)
        if ctx.trusted_id is not None:
            subscriber = snapshot.subscriber(ctx.trusted_id)
            if subscriber is not None and subscriber.alive:
                return self._local(ctx, subscriber, True)
        peer = snapshot.peer_by_ip(source.ip)
        if peer is not None:
            ctx.caller_class = PEER
            ctx.peer = peer
            ctx.src_domain = peer.ip
            ctx.see("class", PEER, "peer", peer.name)
            return None
        realm = self._authenticator.realm(ctx.request)
        if realm is None:
            return self._foreign(ctx, snapshot)
        ctx.looked += ("realm", realm)
        result = self._authenticator.check(ctx.request, source, realm, KIND)
        if isinstance(result, Deferred):
            done: Deferred[Outcome] = result.addCallback(lambda got: self._checked(ctx, got))
            return done
        return self._checked(ctx, result)

    def _assumed(self, ctx: CallContext, snapshot: Snapshot) -> Outcome:
        subscriber = snapshot.subscriber(ctx.assume_caller)
        if subscriber is None or not subscriber.alive:
            return Reject(407, reason_of(407), "challenge")
        ctx.see("assumed", True)
        return self._local(ctx, subscriber, False)

    def _checked(self, ctx: CallContext, result: AuthResult) -> Outcome:
        if isinstance(result, Authenticated):
            return self._local(ctx, result.subscriber, result.trusted)
        if isinstance(result, Challenge):
            return Reject(result.status, reason_of(result.status), "challenge", result.fields)
        return Reject(result.code, result.reason, "auth_refused", result.fields)

    @staticmethod
    def _local(ctx: CallContext, subscriber: Subscriber, trusted: bool) -> Outcome:
        ctx.caller_class = LOCAL
        ctx.caller = subscriber
        ctx.trusted = trusted
        ctx.src_user = subscriber.username
        ctx.src_domain = subscriber.domain
        ctx.see("class", LOCAL, "uuid", subscriber.uuid, "trusted", trusted)
        return None

    def _foreign(self, ctx: CallContext, snapshot: Snapshot) -> Outcome:
        ctx.caller_class = FOREIGN
        allowed = ctx.domain is not None and snapshot.domain_prefs(ctx.domain.name).flag("unauth_inbound_calls")
        ctx.see("class", FOREIGN, "unauth_inbound_calls", allowed)
        return None if allowed else self._reject("relaying_denied")


class Access:
    """C5: the caller's preferences, and whether it may call from this address."""

    def __init__(self, rejects: Rejects) -> None:
        self._reject = rejects

    def run(self, ctx: CallContext, snapshot: Snapshot) -> Outcome:
        caller = ctx.caller
        if caller is not None:
            ctx.caller_prefs = caller.prefs
            ctx.caller_contract_prefs = snapshot.contract_prefs(caller.contract_id, ctx.source.ip)
        elif ctx.peer is not None:
            ctx.caller_prefs = ctx.peer.prefs
        elif ctx.domain is not None:
            ctx.caller_prefs = snapshot.domain_prefs(ctx.domain.name)
        says = ctx.caller_says = ctx.caller_prefs.effective
        ctx.caller_media = says.media
        if caller is None or ctx.trusted or not ctx.source.ip:  # a dry run may leave the address open
            return None
        allowed = caller.ip_allowed(ctx.source.ip)
        ctx.looked = ("ip", ctx.source.ip, "lists", len(caller.allowed), "allowed", allowed)
        return None if allowed else self._reject("unauth_caller_ip")


def stages(authenticator: Authenticates, rejects: Rejects, settings: RoutingSettings) -> list[Stage]:
    identify = Identify(authenticator, rejects)
    return [
        Stage("C3 callee domain", CalleeDomain(settings).run),
        Stage("C4 caller", identify.run, identify.needs),
        Stage("C5 access", Access(rejects).run),
    ]
