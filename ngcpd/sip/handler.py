"""What a user of the stack must be able to hear."""

from __future__ import annotations

from typing import Protocol

from ngcpd.runtime.ports import Address
from ngcpd.sip.errors import ParseError
from ngcpd.sip.flow import Flow
from ngcpd.sip.message import Request, Response
from ngcpd.sip.server import ServerTransaction


class Handler(Protocol):
    """The user of a `Stack`. Called on the reactor, never from within a call into the stack but for `Stack.send` and `respond` of others.

    What one of these raises is logged and answered with 500 (ParseError: with its code); it harms nothing else.
    """

    def request(self, tx: ServerTransaction) -> None:
        """A new request (neither ACK nor CANCEL)."""

    def ack(self, request: Request, flow: Flow) -> None:
        """An ACK that belongs to no failed INVITE: that of a 2xx, or a stray one."""

    def stray_response(self, response: Response, flow: Flow) -> None:
        """A response with our Via but without a transaction, e.g. a 2xx that came after all time was over."""

    def malformed(self, error: Exception, data: bytes, flow: Flow) -> None:
        """Bytes that are no SIP message (ParseError), or a stream that can not be cut into messages (FramingError; it is closed next). A
        ParseError may be answered with `Stack.reply_malformed`."""

    def accept(self, address: Address, transport: str) -> bool:
        """Before anything is parsed: False drops the message silently."""

    def keepalive(self, flow: Flow) -> None:
        """Bytes that only keep a NAT binding or connection open (answered already where RFC 5626 asks for it)."""


class NotReady:
    """The handler of a stack that has no other yet: requests get 503, malformed ones their answer."""

    def __init__(self, stack: Answering) -> None:
        self._stack = stack

    def request(self, tx: ServerTransaction) -> None:
        self._stack.reply_stateless(tx.request, tx.flow, 503, fields=[("Retry-After", "5")])
        tx.forget()

    def ack(self, request: Request, flow: Flow) -> None:
        return

    def stray_response(self, response: Response, flow: Flow) -> None:
        return

    def malformed(self, error: Exception, data: bytes, flow: Flow) -> None:
        if isinstance(error, ParseError):
            self._stack.reply_malformed(error, flow)

    def accept(self, address: Address, transport: str) -> bool:
        return True

    def keepalive(self, flow: Flow) -> None:
        return


class Answering(Protocol):
    """The part of the stack that answers without a transaction."""

    def reply_stateless(
        self, request: Request, flow: Flow, status: int, reason: str = "", fields: list[tuple[str, str]] | tuple[tuple[str, str], ...] = ()
    ) -> bool: ...

    def reply_malformed(self, error: Exception, flow: Flow) -> bool: ...
