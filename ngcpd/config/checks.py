"""Checks that look at several settings at once (configuration framework 10.1 and the end of 12)."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from ngcpd.config.listeners import SipListener, sip_listeners
from ngcpd.config.node import Node
from ngcpd.config.problems import Mark, Report
from ngcpd.config.settings import Settings
from ngcpd.config.tree import Map, find

At = Callable[[str], Mark]
"""Place of a setting: where it was given, else its file."""

_INTERNAL: tuple[tuple[str, str | None, str, str, str], ...] = (
    ("kamailio.proxy.port", "kamailio.proxy.start", "sip_int", "udp tcp", "proxy"),
    ("sems.bindport", "sems.enabled", "sip_int", "udp tcp", "proxy"),
    ("asterisk.sip.bindport", "asterisk.enabled", "sip_int", "udp tcp", "proxy"),
    ("pbx.bindport", "pbx.enable", "sip_int", "udp tcp", "proxy"),
    ("pbx.xmlrpcport", "pbx.enable", "sip_int", "tcp", "proxy"),
    ("sems.xmlrpcport", "sems.enabled", "sip_int", "tcp", "proxy"),
    ("www_admin.http_admin.port", "www_admin.enabled", "web_int", "tcp", "mgmt"),
    ("www_admin.http_csc.port", "www_admin.enabled", "web_ext", "tcp", "mgmt"),
    ("autoprov.server.port", None, "web_ext", "tcp", "mgmt"),
    ("autoprov.server.bootstrap_port", None, "web_ext", "tcp", "mgmt"),
    ("nginx.xcap_port", "kamailio.proxy.presence.enable", "web_ext", "tcp", "mgmt"),
    ("ossbss.apache.port", "ossbss.enabled", "web_int", "tcp", "mgmt"),
    ("faxserver.mail2fax.port", "faxserver.mail2fax.enable", "ha_int", "tcp", "proxy"),
)
"""Listeners besides the SIP edge: port key, key that switches it on, interface type, protocols, role."""

_LOOPBACK: tuple[tuple[str, str | None], ...] = (("nginx.status_port", "nginx.enabled"), ("prosody.ctrl_port", "prosody.enabled"))


def check(settings: Settings, node: Node, nodes: dict[str, Node], report: Report, tree: Map, default: Mark) -> None:
    """All cross checks; findings go to the report. `default` stands for the place of settings that were not given."""

    def at(key: str) -> Mark:
        return settings.source(key) or default

    _order(settings, at, report)
    _media_ranges(settings, at, report)
    listeners = sip_listeners(settings, node)
    _extra_sockets(settings, node, nodes, report, tree, at)
    _ports(settings, node, listeners, at, report)
    _needed(settings, node, report)
    if node.has_role("lb") and any(listener.transport == "tls" for listener in listeners):
        certificate("kamailio.lb.tls", settings.kamailio.lb.tls.sslcertfile, settings.kamailio.lb.tls.sslcertkeyfile, at, report)


def _order(settings: Settings, at: At, report: Report) -> None:
    """Pairs and triples of numbers that must rise."""
    rising = (
        ("kamailio.proxy.min_expires", "kamailio.proxy.default_expires"),
        ("kamailio.proxy.default_expires", "kamailio.proxy.max_expires"),
        ("sems.sbc.session_timer.min_timer", "sems.sbc.session_timer.session_expires"),
        ("sems.sbc.session_timer.session_expires", "sems.sbc.session_timer.max_timer"),
        ("kamailio.proxy.tm.fr_timer", "kamailio.proxy.tm.fr_inv_timer"),
        ("www_admin.security.password_min_length", "www_admin.security.password_max_length"),
        ("ngcpd.sip.t1", "ngcpd.sip.t2"),
    )
    for low, high in rising:
        if settings.get(low) > settings.get(high):
            report.error(
                at(low if settings.source(low) else high), f"{low} ({settings.get(low)}) must not be larger than {high} ({settings.get(high)})"
            )


def _media_ranges(settings: Settings, at: At, report: Report) -> None:
    """The range of the relay. Those of asterisk, sems and pbx are not used: all media share the one of rtpproxy."""
    low, high = settings.rtpproxy.minport, settings.rtpproxy.maxport
    if low > high:
        report.error(at("rtpproxy.minport"), f"rtpproxy.minport ({low}) must not be larger than rtpproxy.maxport ({high})")
    elif low + low % 2 + 1 > high:
        report.error(
            at("rtpproxy.minport"), f"rtpproxy.minport to maxport ({low} to {high}) has no room for one pair of an even and the next odd port"
        )
    for first, last in (("asterisk.rtp.minport", "asterisk.rtp.maxport"), ("sems.lowport", "sems.highport"), ("pbx.lowport", "pbx.highport")):
        if settings.get(first) > settings.get(last):
            report.error(at(first), f"{first} ({settings.get(first)}) must not be larger than {last} ({settings.get(last)})")


def _extra_sockets(settings: Settings, node: Node, nodes: dict[str, Node], report: Report, tree: Map, at: At) -> None:
    """Addresses of extra sockets belong to this node, its peer or the loopback network."""
    if not node.has_role("lb"):
        return
    own = node.owned()
    if node.peer in nodes:
        own |= nodes[node.peer].owned()
    given = find(tree, ("kamailio", "lb", "extra_sockets"))
    for label, socket in settings.kamailio.lb.extra_sockets.items():
        if socket.host not in own and not ipaddress.ip_address(socket.host).is_loopback:
            place = given.keys.get(label, given.mark) if isinstance(given, Map) else at("kamailio.lb.extra_sockets")
            report.error(place, f"kamailio.lb.extra_sockets.{label}: {socket.host} is not an address of this node in network.yml")


def _ports(settings: Settings, node: Node, listeners: list[SipListener], at: At, report: Report) -> None:
    """No two listeners on one protocol, address and port; no SIP port among the media ports."""
    used: dict[tuple[str, str, int], str] = {}

    def claim(protocol: str, address: str, port: int, key: str, what: str) -> None:
        first = used.setdefault((protocol, address, port), what)
        if first != what:
            report.error(at(key), f"{what}: {protocol} port {port} on {address} is already used by {first}")

    media = {b.address for bounds in node.rtp_interfaces().values() for b in bounds} if node.has_role("rtp") and settings.rtpproxy.enabled else set()
    for number, listener in enumerate(listeners):
        key, what = _origin(listener, settings)
        if listener.label is None and key == "ngcpd.sip.listen":
            what = f"{what}[{number}]"
        claim("udp" if listener.transport == "udp" else "tcp", listener.address, listener.port, key, what)
        low, high = settings.rtpproxy.minport, settings.rtpproxy.maxport
        if listener.transport == "udp" and listener.address in media and low <= listener.port <= high:
            report.error(at(key), f"{what}: port {listener.port} lies within the media ports {low} to {high} of the same address {listener.address}")
    for key, switch, type_, protocols, role in _INTERNAL:
        if not node.has_role(role) or (switch is not None and not settings.get(switch)):
            continue
        for bound in node.addresses(type_):
            for protocol in protocols.split():
                claim(protocol, bound.address, settings.get(key), key, key)
    for key, switch in _LOOPBACK:
        if switch is None or settings.get(switch):
            claim("tcp", "127.0.0.1", settings.get(key), key, key)


def _origin(listener: SipListener, settings: Settings) -> tuple[str, str]:
    """Key that a listener comes from, and how to call it in a message."""
    if listener.label is not None:
        return "kamailio.lb.extra_sockets", f"kamailio.lb.extra_sockets.{listener.label}"
    if settings.ngcpd.sip.listen and any(s.host == listener.address and s.port == listener.port for s in settings.ngcpd.sip.listen):
        return "ngcpd.sip.listen", "ngcpd.sip.listen"
    key = "kamailio.lb.tls.port" if listener.transport == "tls" else "kamailio.lb.port"
    return key, key


def _needed(settings: Settings, node: Node, report: Report) -> None:
    """A role needs an interface of its type."""
    place = Mark("network.yml")
    lb = node.has_role("lb") and settings.kamailio.lb.start
    if lb and not node.addresses("sip_ext") and not settings.ngcpd.sip.listen:
        report.error(place, f"host {node.name} has role lb but no interface in use with type sip_ext and an address")
    if node.has_role("rtp") and settings.rtpproxy.enabled and not any(node.rtp_interfaces().values()):
        report.error(place, f"host {node.name} has role rtp but no interface in use with a type rtp_* (such as rtp_ext) and an address")


def certificate(what: str, certificate_file: str, key_file: str, at: At, report: Report, now: datetime.datetime | None = None) -> None:
    """Certificate and key exist, parse and belong together."""
    place, key_place = at(f"{what}.sslcertfile"), at(f"{what}.sslcertkeyfile")
    try:
        chain = x509.load_pem_x509_certificates(Path(certificate_file).read_bytes())
    except OSError as error:
        report.error(place, f"{what}.sslcertfile: {certificate_file} cannot be read: {error.strerror}")
        return
    except ValueError:
        report.error(place, f"{what}.sslcertfile: {certificate_file} has no readable PEM certificate")
        return
    try:
        key = load_pem_private_key(Path(key_file).read_bytes(), None)
    except OSError as error:
        report.error(key_place, f"{what}.sslcertkeyfile: {key_file} cannot be read: {error.strerror}")
        return
    except TypeError:
        report.error(key_place, f"{what}.sslcertkeyfile: {key_file} is protected by a passphrase; store it without one")
        return
    except ValueError:
        report.error(key_place, f"{what}.sslcertkeyfile: {key_file} has no readable PEM private key")
        return
    form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if chain[0].public_key().public_bytes(*form) != key.public_key().public_bytes(*form):
        report.error(key_place, f"{what}.sslcertkeyfile: {key_file} is not the key of the certificate in {certificate_file}")
