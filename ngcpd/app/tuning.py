"""From the operator's settings to the small settings values of each room."""

from __future__ import annotations

from collections.abc import Iterable

from ngcpd.calls.model import CallSettings
from ngcpd.config import Loaded
from ngcpd.config.headers import HeaderLists
from ngcpd.config.listeners import SipListener, sip_listeners
from ngcpd.config.node import Node
from ngcpd.config.settings import Settings
from ngcpd.media import Interface
from ngcpd.media import Settings as MediaSettings
from ngcpd.registrar.settings import AuthSettings, KeepaliveSettings, RegistrarSettings
from ngcpd.routing.headers import HeaderFilter
from ngcpd.routing.model import LoopSettings, RoutingSettings
from ngcpd.sip.stack import Limits, Timers
from ngcpd.sip.websocket import WebSocketRules

ACCOUNTING_PACE = 0.25
"""Under load accounting rows go to the database in groups, so many seconds apart. The journal has them at once."""
MEDIATION_PACE = 0.5
"""Under load CDRs are made in groups, so many seconds apart."""
GATHER = 0.005
"""Commands to the relay process go out so late at most, in seconds; a packet of 20 ms audio is not missed by it."""


def timers(settings: Settings) -> Timers:
    sip = settings.ngcpd.sip
    return Timers(t1=sip.t1 / 1000, t2=sip.t2 / 1000, t4=sip.t4 / 1000, completed=sip.linger / 1000)


def limits(settings: Settings) -> Limits:
    sip = settings.ngcpd.sip
    return Limits(
        connections=settings.kamailio.lb.tcp_max_connections,
        connection_idle=float(sip.idle_timeout),
        connect_timeout=float(sip.connect_timeout),
        message=sip.max_message,
        transactions=sip.max_transactions,
        tls_verify=sip.tls_verify,
    )


def websockets(settings: Settings) -> WebSocketRules | None:
    """None: no WebSockets."""
    sip = settings.ngcpd.sip
    return WebSocketRules(origins=sip.ws_origins, ping_interval=float(sip.ws_ping_interval)) if sip.websocket else None


def auth(settings: Settings) -> AuthSettings:
    sip = settings.ngcpd.sip
    return AuthSettings(qop=sip.qop == "auth", sha256=sip.sha256, ignore_auth_realm=settings.kamailio.proxy.ignore_auth_realm)


def registrar(settings: Settings) -> RegistrarSettings:
    proxy = settings.kamailio.proxy
    return RegistrarSettings(
        default_expires=proxy.default_expires,
        default_expires_range=proxy.default_expires_range,
        min_expires=proxy.min_expires,
        max_expires=proxy.max_expires,
        max_registrations=proxy.max_registrations_per_subscriber,
        drop_oldest=proxy.drop_oldest_registration,
    )


def keepalive(settings: Settings) -> KeepaliveSettings:
    proxy = settings.kamailio.proxy
    return KeepaliveSettings(interval=float(proxy.natping_interval), from_uri=proxy.natping_from)


def header_filter(lists: HeaderLists) -> HeaderFilter:
    return HeaderFilter(lists.request, lists.response, lists.both)


def names(settings: Settings, nodes: Iterable[Node]) -> frozenset[str]:
    """Names and addresses of the platform besides the sockets of this node: the operator's list and what the other nodes listen on."""
    found = {name.lower() for name in settings.ngcpd.sip.names}
    for node in nodes:
        for kind in ("sip_ext", "sip_ext_incoming", "sip_int"):
            for bound in node.addresses(kind):
                found |= {text.lower() for text in (bound.address, bound.advertised) if text}
    return frozenset(found)


def internal_paths(settings: Settings, nodes: Iterable[Node]) -> frozenset[str]:
    """Path values that mean the platform's own edge (call processing 1.6): permanent registrations of other installations have them."""
    hosts = {"127.0.0.1"} | {b.address for node in nodes for b in node.addresses("sip_int")}
    ports = {5060, settings.kamailio.lb.port}
    return frozenset(f"<sip:{f'[{host}]' if ':' in host else host}:{port};lr>" for host in hosts for port in ports)


def calls(settings: Settings, headers: HeaderLists) -> CallSettings:
    proxy, sip = settings.kamailio.proxy, settings.ngcpd.sip
    sbc = settings.sems.sbc
    longest = [float(proxy.dlg_timeout)] + ([float(sbc.calltimer_max)] if sbc.calltimer_enable else [])
    return CallSettings(
        fr_timer=proxy.tm.fr_timer / 1000,
        fr_inv_timer=proxy.tm.fr_inv_timer / 1000,
        max_duration=min(longest),
        max_forwards=settings.kamailio.lb.max_forwards,
        server=sip.server_header,
        t1=sip.t1 / 1000,
        traces=settings.ngcpd.calls.traces,
        max_calls=settings.ngcpd.calls.max_calls,
        max_branches=settings.ngcpd.calls.max_branches,
        strip_100rel=proxy.filter_100rel_from_supported,
        headers=header_filter(headers),
    )


def media(settings: Settings) -> MediaSettings:
    rtp, own = settings.rtpproxy, settings.ngcpd.media
    return MediaSettings(
        min_port=rtp.minport,
        max_port=rtp.maxport,
        rtp_timeout=float(rtp.rtp_timeout),
        rtp_timeout_onhold=float(rtp.rtp_timeout_onhold),
        final_timeout=float(rtp.final_timeout),
        max_sessions=rtp.max_sessions,
        quarantine=own.quarantine,
        window=own.learning_window,
        batch=own.batch,
        gather=GATHER,
    )


def media_interfaces(node: Node) -> list[Interface]:
    """Each logical media interface with its addresses, the default one first; an address belongs to the first interface that has it."""
    found = node.rtp_interfaces()
    default = found.pop("default", [])
    names = sorted(found, key=lambda name: found[name] != default)
    out: dict[str, Interface] = {}
    for name in names:
        for bound in found[name]:
            out.setdefault(bound.address, Interface(name, bound.address, bound.advertised))
    return list(out.values())


def routing(loaded: Loaded, listeners: list[SipListener]) -> RoutingSettings:
    settings, nodes = loaded.settings, list(loaded.nodes.values())
    proxy = settings.kamailio.proxy
    addresses = {(s.address, s.port) for s in listeners} | {(s.advertised, s.port) for s in listeners if s.advertised}
    loop = proxy.loop_detection
    return RoutingSettings(
        own_addresses=frozenset(addresses),
        own_sockets=frozenset(str(s) for s in listeners),
        own_names=names(settings, nodes),
        internal_paths=internal_paths(settings, nodes),
        headers=header_filter(loaded.headers),
        early_rejects={key: (r.code, r.reason) for key, r in proxy.early_rejects.items()},
        keep_original_to=proxy.keep_original_to,
        allow_refer_method=proxy.allow_refer_method,
        loop=LoopSettings(loop.enable, float(loop.expire), loop.max),
    )


__all__ = [
    "auth",
    "calls",
    "keepalive",
    "limits",
    "media",
    "media_interfaces",
    "names",
    "registrar",
    "routing",
    "sip_listeners",
    "timers",
    "websockets",
]
