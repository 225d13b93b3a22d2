"""Small readings of URIs that several stages share."""

from __future__ import annotations

from ngcpd.routing.model import RoutingSettings
from ngcpd.sip.errors import ParseError
from ngcpd.sip.headers import NameAddr
from ngcpd.sip.message import Request
from ngcpd.sip.uri import Uri, escape_user

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
        return Uri("sip", user).user_decoded
    return uri.user_decoded


def addresses(request: Request, name: str) -> list[NameAddr]:
    """Values of an optional identity header; one that is malformed counts as missing."""
    try:
        return request.addresses(name)
    except ParseError:
        return []


def is_anonymous(address: NameAddr) -> bool:
    """From user `anonymous` or host `anonymous.invalid` (call processing 3.3.4)."""
    return address.uri.host == ANONYMOUS_HOST or address.uri.user.lower() == ANONYMOUS


def sip_uri(user: str, host: str, *, phone: bool = False) -> Uri:
    """`sip:user@host[;user=phone]` from plain text."""
    return Uri("sip", escape_user(user), None, host, None, {"user": "phone"} if phone else {})


def is_own(uri: Uri, settings: RoutingSettings) -> bool:
    """The URI names one of the platform's own sockets."""
    port = uri.port or (5061 if uri.scheme == "sips" or uri.transport == "tls" else 5060)
    return (uri.host, port) in settings.own_addresses


def is_own_host(host: str, settings: RoutingSettings) -> bool:
    """An address or further name of the platform, whatever the port."""
    return host in settings.own_names or any(host == own for own, _ in settings.own_addresses)
