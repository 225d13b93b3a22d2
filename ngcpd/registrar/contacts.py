"""The Contact fields of a REGISTER and of its answer (RFC 3261 10, call processing 2.2): reading wishes, writing bindings."""

from __future__ import annotations

from typing import NamedTuple

from ngcpd.registrar.model import NEVER, Binding
from ngcpd.registrar.settings import RegistrarSettings
from ngcpd.runtime.ports import Rng
from ngcpd.sip.errors import ParseError
from ngcpd.sip.grammar import quote
from ngcpd.sip.headers import NameAddr
from ngcpd.sip.message import STAR, Request
from ngcpd.sip.uri import Uri

MAX_CONTACTS = 32
"""Contacts in one REGISTER; nobody needs more, and each costs comparisons with all others."""
MAX_URI = 2000
"""Characters of a contact URI and of a whole Path that are stored."""
MAX_INSTANCE = 255
_LIMIT32 = 4294967295


class Wish(NamedTuple):
    """One contact of a REGISTER. `expires` is 0 for a removal, else already within the limits."""

    contact: str
    uri: Uri
    expires: int
    q: float
    instance: str
    reg_id: int


def bad_contact() -> ParseError:
    return ParseError("Bad Contact Header", 400)


def wishes(request: Request, settings: RegistrarSettings, rng: Rng) -> list[Wish] | None:
    """What the request asks for, in order; None = remove all (`*`). Raises ParseError with the reason for a 400.

    Expiry: `expires` parameter, else Expires field, else the default with its spread; raised to the minimum, cut to the maximum, never an error.
    """
    contacts = request.contacts
    if contacts is STAR:
        if request.expires != 0:
            raise bad_contact()
        return None
    if len(contacts) > MAX_CONTACTS:
        raise bad_contact()
    return [_wish(item, request.expires, settings, rng) for item in contacts]


def _wish(item: NameAddr, header_expires: int | None, settings: RegistrarSettings, rng: Rng) -> Wish:
    uri = item.uri
    text = str(uri)
    if uri.scheme not in ("sip", "sips") or not uri.host or len(text) > MAX_URI:
        raise bad_contact()
    params = item.params
    instance = params.get("+sip.instance") or ""
    if len(instance) > MAX_INSTANCE or not instance.isprintable():
        raise bad_contact()
    return Wish(text, uri, _expires(params.get("expires"), header_expires, settings, rng), _q(item), instance, _reg_id(params))


def _expires(param: str | None, header: int | None, settings: RegistrarSettings, rng: Rng) -> int:
    asked = header
    if param is not None and param.isascii() and param.isdigit():
        # A malformed value counts as none (RFC 3261 10.2.1.1); a number beyond 32 bits is an error (RFC 4475 3.1.2.4).
        if len(param) > 10 or int(param) > _LIMIT32:
            raise bad_contact()
        asked = int(param)
    if asked is None:
        spread = settings.default_expires * settings.default_expires_range // 100
        asked = settings.default_expires - spread + rng.below(2 * spread + 1)
    if asked == 0:
        return 0
    return min(max(asked, settings.min_expires), settings.max_expires)


def _q(item: NameAddr) -> float:
    try:
        value = item.q
    except ParseError as error:
        raise bad_contact() from error
    return -1.0 if value is None else value


def _reg_id(params: dict[str, str | None]) -> int:
    """RFC 5626 4.2: 1 .. 2**31-1. Anything else is no reg-id."""
    text = params.get("reg-id") or ""
    if not (text.isascii() and text.isdigit()) or len(text) > 10:
        return 0
    value = int(text)
    return value if value < 2**31 else 0


def same_contact(binding: Binding, wish: Wish) -> bool:
    """RFC 3261 19.1.4 on the two URIs; equal text first, it is the common case."""
    if binding.contact == wish.contact:
        return True
    try:
        return Uri.parse(binding.contact).matches(wish.uri)
    except ParseError:
        return False


def contact_value(binding: Binding, now: float) -> str:
    """The Contact value of a 200 to REGISTER: URI unchanged in angle brackets, then expires, received, +sip.instance, reg-id, q."""
    left = int(NEVER) if binding.permanent else max(1, int(binding.expires_at - now))
    text = f"<{binding.contact}>;expires={left}"
    if binding.nat and binding.received is not None:
        host, port = binding.received
        bare = f"[{host}]" if ":" in host else host
        transport = "" if binding.transport == "udp" else f";transport={binding.transport}"
        text += f';received="sip:{bare}:{port}{transport}"'
    if binding.instance:
        text += f";+sip.instance={quote(binding.instance)}"
    if binding.reg_id:
        text += f";reg-id={binding.reg_id}"
    if binding.q >= 0:
        text += f";q={binding.q:g}"
    return text
