"""Client transactions as their users see them: one request and its outcome, over one hop or several (RFC 3263 4.3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from ngcpd.sip.attempt import CALLING, PROCEEDING, STATE_NAMES, Attempt
from ngcpd.sip.endpoint import Hop
from ngcpd.sip.message import Request, Response
from ngcpd.sip.transaction import Layer


class ClientUser(Protocol):
    """Who sent the request."""

    def response(self, tx: ClientTransaction, response: Response) -> None:
        """A response; of an INVITE each 2xx (repeated ones too, and those that come after `failed`)."""

    def failed(self, tx: ClientTransaction, kind: str) -> None:
        """No final response: "timeout" nothing came, "transport" unreachable, "expired" a provisional one but no final in time. Once, and
        never after a final response. An expired INVITE has been cancelled already."""


class ClientTransaction:
    """One request sent. `request` as it was sent (with our Via), `hop` it went to, `data` is the user's."""

    __slots__ = ("_attempt", "_expiry", "_hops", "_layer", "base", "cancel_fields", "data", "first_reply", "hop", "invite", "over", "request", "user")

    def __init__(
        self, layer: Layer, request: Request, hops: Sequence[Hop], user: ClientUser, first_reply: float | None, final_reply: float | None
    ) -> None:
        self.base = request
        self.request = request
        self.hop = hops[0]
        self.user = user
        self.data: Any = None
        self.invite = request.method == "INVITE"
        self.over = False  # the user knows the outcome
        self.first_reply = first_reply
        self.cancel_fields: list[tuple[str, str]] | None = None  # not None: the user gave up
        self._layer = layer
        self._hops = list(hops)
        self._attempt: Attempt | None = None
        self._expiry = layer.wheel.after(final_reply, self._expired) if final_reply is not None else None

    def __repr__(self) -> str:
        return f"<ClientTransaction {self.base.method} {STATE_NAMES[self._attempt.state] if self._attempt else 'unsent'} {self.hop.remote}>"

    def start(self) -> None:
        if not self._next():
            # never from within `send`: the caller does not know the transaction yet
            self._layer.wheel.after(0, self.fail, "transport")

    def cancel(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        """Give up an INVITE (RFC 3261 9.1): the CANCEL (with `fields`, e.g. Reason) goes out as soon as a provisional response has come. The
        outcome still comes to the user: usually 487, or a 2xx that was faster, or `failed` when nothing comes within 64*T1. Nothing happens
        after a final response, to other methods, or the second time."""
        if not self.invite or self.cancel_fields is not None:
            return
        self.cancel_fields = list(fields)
        self._stop_expiry()  # from here on 64*T1 after the CANCEL is the limit
        attempt = self._attempt
        if attempt is not None and not self.over:
            attempt.want_cancel()

    # ----------------------------------------------------------------------------------------------- for the attempts
    @property
    def more(self) -> bool:
        """Another hop may be tried."""
        return bool(self._hops) and self.cancel_fields is None and not self.over

    def _next(self) -> bool:
        """Try the hops that are left. False when none of them takes the request."""
        while self._hops:
            hop = self._hops.pop(0)
            attempt = Attempt(self._layer, self, hop)
            if attempt.start():
                self.hop = hop
                self.request = attempt.request
                self._attempt = attempt
                return True
        return False

    def fail_over(self, kind: str) -> None:
        """The hop did not answer at all."""
        if not (self.more and self._next()):
            self.fail(kind)

    def fail(self, kind: str) -> None:
        if not self.over:
            self._finish()
            self.user.failed(self, kind)

    def conclude(self, response: Response) -> None:
        """A final response other than the 2xx of an INVITE. 503 is the failure of that hop only (RFC 3263 4.3)."""
        if self.over or (response.status == 503 and self.more and self._next()):
            return
        self._finish()
        self.user.response(self, response)

    def progress(self, response: Response) -> None:
        if not self.over:
            self.user.response(self, response)

    def answered(self, attempt: Attempt, response: Response) -> None:
        """A 2xx to an INVITE. It may come from a hop that was given up; then the one tried meanwhile is cancelled."""
        current = self._attempt
        if current is not attempt:
            if current is not None and current.state in (CALLING, PROCEEDING):
                current.abandon()
                current.want_cancel()
            self._attempt = attempt
            self.hop = attempt.hop
            self.request = attempt.request
        self._finish()
        self.user.response(self, response)

    def drop(self) -> None:
        """The stack is closing: no word to the user."""
        self._finish()

    def _finish(self) -> None:
        self.over = True
        self._hops = []
        self._stop_expiry()

    def _stop_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None

    def _expired(self) -> None:
        """The time until the final response is over."""
        self._expiry = None
        attempt = self._attempt
        if self.over or attempt is None:
            return
        kind = "expired" if attempt.state == PROCEEDING else "timeout"
        if self.invite:
            self.cancel_fields = []
            attempt.abandon()
            attempt.want_cancel()
        else:
            attempt.forget()
        self.fail(kind)
