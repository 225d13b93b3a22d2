"""Puts the relay between the parties: each SDP body on its way from one side of a call to another passes here (call processing 3.18)."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from ngcpd.media import BadSdp, Engine, Policy, Session
from ngcpd.media.types import Family
from ngcpd.routing.model import MediaHints
from ngcpd.runtime.ports import Address
from ngcpd.sip.base import Message
from ngcpd.sip.errors import ParseError
from ngcpd.sip.multipart import Multipart

SDP = "application/sdp"
_NO_POLICY = Policy()


def is_sdp(message: Message) -> bool:
    """True when the body is a session description or has one among its parts (RFC 5621); also when it names one and its parts cannot be read.
    ParseError for an unreadable Content-Type."""
    if not message.body:
        return False
    if message.names().get("Content-Type") == SDP:  # nearly always in just these letters
        return True
    kind = message.content_type
    return kind == SDP or (kind.startswith("multipart/") and SDP.encode() in message.body.lower() and _described(message))


def _described(message: Message) -> bool:
    try:
        return Multipart.parse(message.first("Content-Type") or "", message.body).find(SDP) is not None
    except ParseError:
        return True  # whoever passes it on meets the same error; so no address in it slips through


def policy(hints: MediaHints, family: int) -> Policy:
    """The relay's policy for the SDP sent to one party, from its preferences."""
    return _policy(hints.use_rtpproxy, hints.ipv46_for_rtpproxy, hints.rtp_interface, family)


@lru_cache(maxsize=256)  # there are only so many ways to set these preferences
def _policy(use_rtpproxy: str, ipv46_for_rtpproxy: str, rtp_interface: str, family: int) -> Policy:
    forced: Family = "4" if ipv46_for_rtpproxy == "force_ipv4" else "6" if ipv46_for_rtpproxy == "force_ipv6" else "auto"
    strip = use_rtpproxy == "ice_strip_candidates"
    return Policy(family=forced, interface=rtp_interface or "default", strip_ice=strip, dst_family=family)


class CallMedia:
    """The media of one call. `relay=False`: bodies pass untouched (`use_rtpproxy=never` of either party). Raises what `Session.rewrite`
    raises: NoPorts, BadSdp."""

    __slots__ = ("call_id", "engine", "on_timeout", "policies", "relay", "session")

    def __init__(self, engine: Engine, call_id: str, on_timeout: Callable[[], object]) -> None:
        self.engine = engine
        self.call_id = call_id
        self.relay = True
        self.policies: dict[str, Policy] = {}
        self.session: Session | None = None
        self.on_timeout: Callable[[], object] | None = on_timeout

    def pass_body(self, message: Message, src: str, dst: str, source: Address | None) -> bytes:
        """The body of `message`, sent by `src` from `source`, as it goes on to `dst`."""
        body = message.body
        if not body or not self.relay or not is_sdp(message):
            return body
        session = self.session
        if session is None:
            session = self.session = self.engine.session(self.call_id)
            if self.on_timeout is not None:
                session.on_timeout(self.on_timeout)
        facing = self.policies.get(dst, _NO_POLICY)
        if message.names()["Content-Type"] == SDP or message.content_type == SDP:
            return session.rewrite(body, src, dst, facing, source=source)
        try:
            whole = Multipart.parse(message.first("Content-Type") or "", body)
            part = whole.find(SDP)
        except ParseError as error:
            raise BadSdp(error.reason) from None
        assert part is not None, "is_sdp has seen it"
        return whole.replaced(part, session.rewrite(part.body, src, dst, facing, source=source))

    def select(self, side: str) -> None:
        """The caller exchanges media with this branch from now on."""
        if self.session is not None:
            self.session.select(side)

    def revert(self, side: str) -> None:
        """The last offer of `side` was refused by the other end."""
        if self.session is not None:
            self.session.revert(side)

    def drop(self, side: str) -> None:
        """A branch is gone: its ports are free."""
        if self.session is not None:
            self.session.drop(side)

    def close(self) -> None:
        """Free all ports; what flowed is logged once."""
        session, self.session = self.session, None
        self.on_timeout = None
        if session is not None:
            session.release()
