"""Header values of the extensions: session timers (RFC 4028), reliable provisional answers (3262), transfer (3515, 3891), events (6665),
reasons (3326), diversion (5806), history (7044), identity and privacy (3325, 3323).

Each class reads one value with `parse` (ParseError) and writes it with `str`. The functions collect what a message carries.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ngcpd.sip.address import NameAddr
from ngcpd.sip.base import MAX_CSEQ, Message, parse_cseq
from ngcpd.sip.errors import ParseError
from ngcpd.sip.grammar import format_params, is_token, number, parse_params, quote
from ngcpd.sip.uri import Uri

Params = dict[str, str | None]
MAX_SECONDS = 2**31 - 1


def _split_params(text: str) -> tuple[str, Params]:
    head, semicolon, tail = text.partition(";")
    return head.strip(" \t"), parse_params(tail) if semicolon else {}


def _without(params: Mapping[str, str | None], *names: str) -> Params:
    return {k: v for k, v in params.items() if k not in names}


@dataclass(slots=True)
class SessionExpires:
    """Session-Expires, RFC 4028 4: seconds and who refreshes ("uac", "uas" or "")."""

    seconds: int
    refresher: str = ""

    @classmethod
    def parse(cls, text: str) -> SessionExpires:
        head, params = _split_params(text)
        refresher = (params.get("refresher") or "").lower()
        if refresher not in ("", "uac", "uas"):
            raise ParseError("Bad Session-Expires Header")
        return cls(number(head, MAX_SECONDS, "Bad Session-Expires Header"), refresher)

    def __str__(self) -> str:
        return f"{self.seconds};refresher={self.refresher}" if self.refresher else str(self.seconds)


def session_expires(message: Message) -> SessionExpires | None:
    """Session-Expires of a message, None when absent. ParseError."""
    value = message.first("Session-Expires")
    return None if value is None else SessionExpires.parse(value)


def min_se(message: Message) -> int | None:
    """Min-SE in seconds (RFC 4028 5), None when absent. ParseError."""
    value = message.first("Min-SE")
    return None if value is None else number(_split_params(value)[0], MAX_SECONDS, "Bad Min-SE Header")


@dataclass(frozen=True, slots=True)
class RAck:
    """RAck, RFC 3262 7.2: which provisional answer a PRACK acknowledges."""

    rseq: int
    cseq: int
    method: str

    @classmethod
    def parse(cls, text: str) -> RAck:
        head, _, tail = text.strip(" \t").partition(" ")
        rseq = number(head, MAX_CSEQ, "Bad RAck Header")
        try:
            cseq, method = parse_cseq(tail)
        except ParseError as error:
            raise ParseError("Bad RAck Header") from error
        return cls(rseq, cseq, method)

    def __str__(self) -> str:
        return f"{self.rseq} {self.cseq} {self.method}"


def parse_rseq(message: Message) -> int:
    """RSeq of a provisional response (RFC 3262 7.1), 1..2**31-1. 0 when there is none that can be read: it is then no reliable one."""
    value = message.first("RSeq")
    if value is None:
        return 0
    try:
        return number(value, MAX_CSEQ, "Bad RSeq Header")
    except ParseError:
        return 0


@dataclass(frozen=True, slots=True)
class Replaces:
    """Replaces, RFC 3891 6.1: the dialog to be replaced, as the receiver of the header names it."""

    call_id: str
    to_tag: str
    from_tag: str
    early_only: bool = False

    @classmethod
    def parse(cls, text: str) -> Replaces:
        call_id, params = _split_params(text)
        to_tag, from_tag = params.get("to-tag"), params.get("from-tag")
        if not call_id or " " in call_id or not to_tag or not from_tag:
            raise ParseError("Bad Replaces Header")
        return cls(call_id, to_tag, from_tag, "early-only" in params)

    def __str__(self) -> str:
        return f"{self.call_id};to-tag={self.to_tag};from-tag={self.from_tag}{';early-only' if self.early_only else ''}"


@dataclass(slots=True)
class ReferTo:
    """Refer-To, RFC 3515 2.1: the address without its method and Replaces, which stand apart (method "INVITE" when not given)."""

    target: NameAddr
    method: str = "INVITE"
    replaces: Replaces | None = None

    @classmethod
    def parse(cls, text: str) -> ReferTo:
        try:
            address = NameAddr.parse(text)
        except ParseError as error:
            raise ParseError("Bad Refer-To Header") from error
        uri = address.uri
        method = uri.params.get("method") or "INVITE"
        replaces = None
        for name, value in uri.header_fields():
            if name.lower() == "replaces":
                if replaces is not None:
                    raise ParseError("Bad Refer-To Header")
                replaces = Replaces.parse(value)
        if not is_token(method):
            raise ParseError("Bad Refer-To Header")
        return cls(address.replace(uri=uri.replace(params=_without(uri.params, "method"), headers="")), method, replaces)


@dataclass(slots=True)
class Reason:
    """Reason, RFC 3326: protocol ("SIP", "Q.850"), cause and text."""

    protocol: str
    cause: int | None = None
    text: str = ""

    @classmethod
    def parse(cls, text: str) -> Reason:
        protocol, params = _split_params(text)
        if not is_token(protocol):
            raise ParseError("Bad Reason Header")
        cause = params.get("cause")
        return cls(protocol, None if cause is None else number(cause, 9999, "Bad Reason Header"), params.get("text") or "")

    def __str__(self) -> str:
        cause = "" if self.cause is None else f";cause={self.cause}"
        return f"{self.protocol}{cause}{f';text={quote(self.text)}' if self.text else ''}"


def reasons(message: Message) -> list[Reason]:
    """The Reason values of a message. ParseError."""
    return [Reason.parse(value) for value in message.values("Reason")]


@dataclass(slots=True)
class Event:
    """Event, RFC 6665 8.2.1: package with templates, and the id parameter."""

    package: str
    id: str = ""
    params: Params = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Event:
        package, params = _split_params(text)
        if not is_token(package):
            raise ParseError("Bad Event Header")
        return cls(package, params.get("id") or "", _without(params, "id"))

    def __str__(self) -> str:
        return f"{self.package}{f';id={self.id}' if self.id else ''}{format_params(self.params)}"


@dataclass(slots=True)
class SubscriptionState:
    """Subscription-State, RFC 6665 8.2.3: "active", "pending", "terminated" or an extension, in lower case."""

    state: str
    reason: str = ""
    expires: int | None = None
    retry_after: int | None = None

    @classmethod
    def parse(cls, text: str) -> SubscriptionState:
        state, params = _split_params(text)
        if not is_token(state):
            raise ParseError("Bad Subscription-State Header")
        expires, retry = params.get("expires"), params.get("retry-after")
        return cls(
            state.lower(),
            params.get("reason") or "",
            None if expires is None else number(expires, MAX_SECONDS, "Bad Subscription-State Header"),
            None if retry is None else number(retry, MAX_SECONDS, "Bad Subscription-State Header"),
        )

    def __str__(self) -> str:
        params: Params = {"reason": self.reason} if self.reason else {}
        if self.expires is not None:
            params["expires"] = str(self.expires)
        if self.retry_after is not None:
            params["retry-after"] = str(self.retry_after)
        return self.state + format_params(params)


@dataclass(slots=True)
class RetryAfter:
    """Retry-After, RFC 3261 20.33: seconds, without its comment; `duration` None when not given."""

    seconds: int
    duration: int | None = None

    @classmethod
    def parse(cls, text: str) -> RetryAfter:
        comment = text.find("(")
        if comment >= 0:
            end = text.rfind(")")
            if end < comment:
                raise ParseError("Bad Retry-After Header")
            text = text[:comment] + text[end + 1 :]
        head, params = _split_params(text)
        duration = params.get("duration")
        seconds = number(head, MAX_SECONDS, "Bad Retry-After Header")
        return cls(seconds, None if duration is None else number(duration, MAX_SECONDS, "Bad Retry-After Header"))

    def __str__(self) -> str:
        return str(self.seconds) if self.duration is None else f"{self.seconds};duration={self.duration}"


@dataclass(slots=True)
class Diversion:
    """Diversion, RFC 5806 4: who diverted, why ("unconditional", "user-busy", "no-answer" ...), how often."""

    address: NameAddr
    reason: str = "unknown"
    counter: int = 1

    @classmethod
    def parse(cls, text: str) -> Diversion:
        try:
            address = NameAddr.parse(text)
        except ParseError as error:
            raise ParseError("Bad Diversion Header") from error
        counter = address.params.get("counter")
        count = 1 if counter is None else number(counter, 999, "Bad Diversion Header")
        return cls(address, (address.params.get("reason") or "unknown").lower(), count)

    @classmethod
    def make(cls, uri: Uri, reason: str, counter: int = 1, privacy: str = "", display: str = "") -> Diversion:
        """A value to be sent: `privacy` "full", "name", "uri", "off" or "" for none."""
        params: Params = {"reason": reason, "counter": str(counter)}
        if privacy:
            params["privacy"] = privacy
        return cls(NameAddr(display, uri, params), reason, counter)

    def __str__(self) -> str:
        return str(self.address)


def diversions(message: Message) -> list[Diversion]:
    """The Diversion values of a message, the latest diversion first. ParseError."""
    return [Diversion.parse(value) for value in message.values("Diversion")]


@dataclass(slots=True)
class HistoryEntry:
    """One hi-entry of History-Info, RFC 7044 5: an address whose parameter `index` ("1.2.1") places it."""

    address: NameAddr
    index: str

    @classmethod
    def parse(cls, text: str) -> HistoryEntry:
        try:
            address = NameAddr.parse(text)
        except ParseError as error:
            raise ParseError("Bad History-Info Header") from error
        index = address.params.get("index") or ""
        if len(index) > 128 or not index.isascii() or not all(part.isdecimal() for part in index.split(".")):
            raise ParseError("Bad History-Info Header")
        return cls(address, index)

    def __str__(self) -> str:
        return str(self.address)


def history(message: Message) -> list[HistoryEntry]:
    """The History-Info entries of a message in order. ParseError."""
    return [HistoryEntry.parse(value) for value in message.values("History-Info")]


def privacy(message: Message) -> set[str]:
    """The privacy services asked for (RFC 3323 4.2: "id", "user", "header", "session", "none", "critical"), in lower case."""
    out: set[str] = set()
    for line in message.raw("Privacy"):
        for part in line.replace(",", ";").split(";"):  # RFC 3323 separates by semicolon, devices also by comma
            value = part.strip(" \t").lower()
            if value:
                out.add(value)
    return out


def identities(message: Message, name: str = "P-Asserted-Identity") -> list[NameAddr]:
    """The addresses of P-Asserted-Identity or P-Preferred-Identity (RFC 3325 9). ParseError."""
    return message.addresses(name)
