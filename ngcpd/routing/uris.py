"""Small readings of URIs that several stages share."""

from __future__ import annotations

from ngcpd.routing.model import RoutingSettings
from ngcpd.sip.errors import ParseError
from ngcpd.sip.headers import NameAddr
from ngcpd.sip.message import Request
from ngcpd.sip.uri import Uri, escape_user, unescape_percent

_VISUAL = str.maketrans("", "", "-.()")
ANONYMOUS = "anonymous"
ANONYMOUS_HOST = "anonymous.invalid"
ANONYMOUS_ADDRESS = '"Anonymous" <sip:anonymous@anonymous.invalid>'


def user_of(uri: Uri) -> str:
    """The user part as plain text: escapes resolved, parameters of a telephone number (RFC 3966) cut off, visual separators of a tel URI removed."""
    user = uri.user
    if uri.scheme == "tel":
        return user.translate(_VISUAL)
    if ";" in user and user[:1] in "+0123456789":
        user = user.partition(";")[0]
        return unescape_percent(user)
    return unescape_percent(user) if "%" in user else user


def addresses(request: Request, name: str) -> list[NameAddr]:
    """Values of an optional identity header; one that is malformed counts as missing."""
    try:
        return request.addresses(name)
    except ParseError:
        return []


def is_anonymous(address: NameAddr) -> bool:
    """From user `anonymous` or host `anonymous.invalid` (call processing 3.3.4)."""
    return address.uri.host == ANONYMOUS_HOST or address.uri.user.lower() == ANONYMOUS


def sip_uri(user: str, host: str, *, phone: bool = False) -> str:
    """`sip:user@host[;user=phone]` from plain text."""
    if ":" in host:
        host = f"[{host}]"
    text = f"sip:{escape_user(user)}@{host}" if user else f"sip:{host}"
    return text + ";user=phone" if phone else text


def is_own(uri: Uri, settings: RoutingSettings) -> bool:
    """The URI names one of the platform's own sockets."""
    port = uri.port or (5061 if uri.scheme == "sips" or uri.transport == "tls" else 5060)
    return (uri.host, port) in settings.own_addresses


def own_hosts(settings: RoutingSettings) -> frozenset[str]:
    """Addresses and further names of the platform, whatever the port."""
    return settings.own_names | {host for host, _ in settings.own_addresses}
