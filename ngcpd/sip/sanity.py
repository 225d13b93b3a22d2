"""The check of every message from outside (call processing 1.4 no. 4): each structured header must be readable before anybody acts on the message."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from ngcpd.sip.address import NameAddr
from ngcpd.sip.base import MAX_CSEQ, STAR, Message
from ngcpd.sip.digest import Credentials
from ngcpd.sip.errors import ParseError
from ngcpd.sip.fields import Event, RAck, ReferTo, Replaces, SessionExpires, SubscriptionState
from ngcpd.sip.grammar import number
from ngcpd.sip.message import Request

_MAX_AUTH = 16


def _rseq(value: str) -> object:
    return number(value, MAX_CSEQ, "Bad RSeq Header")


def _min_se(value: str) -> object:
    return number(value.partition(";")[0].rstrip(" \t"), MAX_CSEQ, "Bad Min-SE Header")


_RARE: Final[dict[str, Callable[[str], object]]] = {
    "Session-Expires": SessionExpires.parse,
    "Min-SE": _min_se,
    "RAck": RAck.parse,
    "RSeq": _rseq,
    "Refer-To": ReferTo.parse,
    "Referred-By": NameAddr.parse,
    "Replaces": Replaces.parse,
    "Event": Event.parse,
    "Subscription-State": SubscriptionState.parse,
}
"""Headers that few messages have, all of them single."""
_LISTS: Final = ("Route", "Record-Route", "Path", "P-Asserted-Identity", "P-Preferred-Identity", "Diversion", "History-Info")
_CREDENTIALS: Final = ("Authorization", "Proxy-Authorization")


def check(message: Message) -> None:
    """Decode every structured header. ParseError with the reason to answer: 416 for a Request-URI of a foreign scheme, else 400.

    The error carries the request as its `request`. What was decoded stays cached in the message, so later readers do not pay again.
    """
    try:
        _check(message)
    except ParseError as error:
        if isinstance(message, Request) and message.method != "ACK":
            error.request = message
        raise


def _check(message: Message) -> None:
    if isinstance(message, Request):
        _check_ruri(message)
    _ = message.vias
    _ = message.from_
    _ = message.to
    if " " in message.call_id or "\t" in message.call_id:
        raise ParseError("Bad Call-ID Header")
    _ = message.max_forwards
    _ = message.expires
    _ = message.content_type
    index = message.names()
    if "Contact" in index:
        _check_contacts(message)
    for name in _LISTS:
        if name in index:
            message.addresses(name)
    for name in () if _RARE.keys().isdisjoint(index) else _RARE.keys() & index.keys():
        try:
            _RARE[name](index[name])
        except ParseError as error:
            raise ParseError(f"Bad {name} Header") from error
    for name in _CREDENTIALS:
        if name in index:
            _check_credentials(message, name)


def _check_ruri(request: Request) -> None:
    try:
        uri = request.ruri
    except ParseError as error:
        if error.code == 416:
            raise
        raise ParseError("Bad Request-URI") from error
    if uri.headers:  # RFC 3261 19.1.1: not allowed in a Request-URI
        raise ParseError("Bad Request-URI")


def _check_contacts(message: Message) -> None:
    contacts = message.contacts
    if contacts is STAR:
        return
    try:
        for contact in contacts:
            if contact.params:
                _ = contact.q
                expires = contact.params.get("expires")
                if expires and expires.isdecimal():  # other text is no error but counts as absent (RFC 3261 20.10)
                    _ = contact.expires
    except ParseError as error:
        raise ParseError("Bad Contact Header") from error


def _check_credentials(message: Message, name: str) -> None:
    values = message.raw(name)
    if len(values) > _MAX_AUTH:
        raise ParseError("Bad Auth Header")
    for value in values:
        Credentials.parse(value)


def unsupported_options(message: Message, supported: Collection[str], names: tuple[str, ...] = ("Require", "Proxy-Require")) -> list[str]:
    """The option tags that the message requires and that are not among `supported` (lower case), each once, in order: for 420 and Unsupported."""
    out: list[str] = []
    for name in names:
        for tag in message.values(name):
            if tag.lower() not in supported and tag not in out:
                out.append(tag)
    return out
