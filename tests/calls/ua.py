"""A user agent that plays by the rules on a network that does not: it repeats what is not answered, answers what is repeated, acknowledges,
gives up in time. One call at a time. For tests in which messages are lost, doubled and overtaken."""

from __future__ import annotations

import re
from typing import Any

from tests.phones import Msg, Outgoing, Phone, digest, sdp
from tests.world import World

T1, T2, LIMIT = 0.5, 4.0, 32.0


def branch_of(msg: Msg) -> str:
    found = re.search(r"branch=([^;\s]+)", msg["via"])
    assert found
    return found.group(1)


class Repeating:
    """Bytes that are sent again and again: T1 doubling to `cap`, until `stop` or 32 s, then `gave_up`."""

    def __init__(self, ua: Ua, data: bytes, cap: float, gave_up: Any) -> None:
        self.ua = ua
        self.data = data
        self.cap = cap
        self.gave_up = gave_up
        self.interval = T1
        self.over = False
        clock = ua.world.clock
        self.timer = clock.call_later(T1, self._again)
        self.limit = clock.call_later(LIMIT, self._limit)

    def _again(self) -> None:
        self.ua.phone.socket.send(self.data, self.ua.phone.server)
        self.interval = min(self.interval * 2, self.cap)
        self.timer = self.ua.world.clock.call_later(self.interval, self._again)

    def quiet(self) -> None:
        self.timer.cancel()

    def stop(self) -> None:
        self.over = True
        self.timer.cancel()
        self.limit.cancel()

    def _limit(self) -> None:
        self.stop()
        self.gave_up()


class Ua:
    """`state`: idle, calling, alerting (called), answered (2xx not acknowledged yet), up, over."""

    def __init__(self, world: World, phone: Phone) -> None:
        self.world = world
        self.phone = phone
        phone.auto = self._received
        self.state = "idle"
        self.call: Outgoing | None = None
        self.invite: Msg | None = None
        self.cseq = 0
        self.version = 1
        self.cancelling = False
        self.provisional = False
        self.clients: dict[tuple[str, str], Repeating] = {}
        self.answers: dict[tuple[str, str], bytes] = {}
        self.unacked: dict[int, Repeating] = {}
        self.acks: dict[tuple[int, str], bytes] = {}
        self.changing = 0  # CSeq of our re-INVITE that is pending

    # -------------------------------------------------------------------------------------------------------- actions
    def dial(self, target: str) -> None:
        self.call = Outgoing(self.phone, target, f"c{self.world.rng.token(4)}@{self.phone.address[0]}")
        self.state = "calling"
        self._request("INVITE", self._sdp())

    def cancel(self) -> None:
        if self.state == "calling" and self.call is not None:
            self.cancelling = True
            if self.provisional:
                self._send_cancel()

    def bye(self) -> None:
        if self.state in ("up", "answered"):
            for repeating in self.unacked.values():
                repeating.stop()
            self.state = "over"
            self._request("BYE")

    def change(self) -> None:
        """re-INVITE."""
        if self.state == "up" and not self.changing and not self.unacked:
            self.changing = self._request("INVITE", self._sdp())

    def info(self) -> None:
        if self.state == "up":
            self._request("INFO")

    def update(self) -> None:
        if self.state == "up":
            self._request("UPDATE", self._sdp())

    def ring(self, status: int = 180) -> None:
        if self.state == "alerting":
            self._answer(self.invite, status, self._sdp() if status == 183 else b"")

    def progress(self) -> None:
        self.ring(183)

    def answer(self) -> None:
        if self.state == "alerting":
            self.state = "answered"
            self._answer(self.invite, 200, self._sdp())

    def refuse(self, status: int = 486) -> None:
        if self.state == "alerting":
            self.state = "over"
            self._answer(self.invite, status)

    def decline(self) -> None:
        self.refuse(603)

    # -------------------------------------------------------------------------------------------------------- sending
    def _sdp(self) -> bytes:
        self.version += 1
        return sdp(self.phone.address[0], 20000 + 2 * (self.version % 5), version=self.version)

    def _request(self, method: str, body: bytes = b"", fields: list[str] | None = None) -> int:
        if self.call is not None:
            self.call.send(method, body, fields)
            branch, cseq = self.call.branch, self.call.cseq
        else:
            assert self.invite is not None
            self.cseq += 1
            branch, cseq = self.phone.in_dialog(self.invite, method, self.cseq, body, fields), self.cseq
        self._repeat(method, branch)
        return cseq

    def _repeat(self, method: str, branch: str) -> None:
        data = self.phone.sent[-1].raw
        self.clients[branch, method] = Repeating(self, data, 100.0 if method == "INVITE" else T2, lambda: self._gave_up(method, branch))

    def _send_cancel(self) -> None:
        assert self.call is not None
        if (self.call.branch, "CANCEL") not in self.clients:
            self.call.cancel()
            self._repeat("CANCEL", self.call.branch)

    def _gave_up(self, method: str, branch: str) -> None:
        if method == "INVITE":
            self.changing = 0
            if self.state == "calling":
                self.state = "over"
            else:
                self.bye()

    def _answer(self, request: Msg | None, status: int, body: bytes = b"") -> None:
        assert request is not None
        self.phone.reply(request, status, "", body)
        data = self.phone.sent[-1].raw
        self.answers[branch_of(request), request.method] = data
        if request.method == "INVITE" and status >= 200:
            self.unacked[request.cseq] = Repeating(self, data, T2, lambda: self._never_acked(request.cseq, status))

    def _never_acked(self, cseq: int, status: int) -> None:
        self.unacked.pop(cseq, None)
        if status < 300:
            self.bye()

    # ------------------------------------------------------------------------------------------------------ receiving
    def _received(self, msg: Msg) -> bool:
        if msg.method == "REGISTER":
            return False
        if msg.status:
            self._response(msg)
        elif msg.method == "ACK":
            repeating = self.unacked.pop(msg.cseq, None)
            if repeating is not None:
                repeating.stop()
            if self.state == "answered":
                self.state = "up"
        elif (branch_of(msg), msg.method) in self.answers:
            self.phone.socket.send(self.answers[branch_of(msg), msg.method], self.phone.server)
        else:
            self._asked(msg)
        return True

    def _asked(self, msg: Msg) -> None:
        method = msg.method
        if method == "INVITE" and not msg.tag:
            if self.state == "idle":
                self.state, self.invite = "alerting", msg
            elif self.invite is None or branch_of(self.invite) != branch_of(msg):
                self._answer(msg, 486)
        elif method == "CANCEL":
            self._answer(msg, 200)
            if self.state == "alerting" and self.invite is not None and branch_of(self.invite) == branch_of(msg):
                self.state = "over"
                self._answer(self.invite, 487)
        elif method == "BYE":
            known = self.state in ("up", "answered", "over")
            self._answer(msg, 200 if known else 481)
            if known:
                for repeating in self.unacked.values():
                    repeating.stop()
                self.state = "over"
        elif self.state not in ("up", "answered"):
            self._answer(msg, 481)
        elif method == "INVITE" and (self.changing or self.unacked):
            self._answer(msg, 491)
        else:
            self._answer(msg, 200, self._sdp() if method in ("INVITE", "UPDATE") else b"")

    def _response(self, msg: Msg) -> None:
        client = self.clients.get((branch_of(msg), msg.method))
        if client is None:
            return
        if msg.status < 200:
            if msg.method == "INVITE" and not client.over:
                client.stop()  # no more repetition, no limit either: the platform's timers decide
                client.over = False
                if self.state == "calling":
                    self.provisional = True
                    if self.cancelling:
                        self._send_cancel()
            return
        first = not client.over
        client.stop()
        if msg.method == "INVITE":
            self._invite_answered(msg, first)

    def _invite_answered(self, msg: Msg, first: bool) -> None:
        initial = self.call is not None and self.state == "calling"
        if msg.status < 300:
            key = (msg.cseq, msg.tag)
            if key not in self.acks:
                self._ack(msg)
                if initial:
                    self.state = "up"
                    if self.cancelling:
                        self.bye()
            else:
                self.phone.socket.send(self.acks[key], self.phone.server)
            if msg.cseq == self.changing:
                self.changing = 0
            return
        self._ack_failure(msg)
        if not first:
            return
        if initial and msg.status == 407 and self.call is not None:
            auth = digest(msg["proxy-authenticate"], self.phone.user, self.phone.password, "INVITE", self.call.target)
            self.provisional = False
            self._request("INVITE", self._sdp(), [f"Proxy-Authorization: {auth}"])
        elif initial:
            self.state = "over"
        elif msg.cseq == self.changing:
            self.changing = 0
            if msg.status in (408, 481):
                self.bye()

    def _ack(self, msg: Msg) -> None:
        if self.call is not None:
            saved = self.call.branch
            self.call.ack(msg)
            self.call.branch = saved
        else:
            assert self.invite is not None
            self.phone.in_dialog(self.invite, "ACK", msg.cseq)
        self.acks[msg.cseq, msg.tag] = self.phone.sent[-1].raw

    def _ack_failure(self, msg: Msg) -> None:
        branch = branch_of(msg)
        if self.call is not None:
            saved = self.call.branch, self.call.to_tag
            self.call.to_tag = msg.tag
            self.call.send("ACK", cseq=msg.cseq, branch=branch)
            self.call.branch, self.call.to_tag = saved
        else:
            assert self.invite is not None
            self.phone.in_dialog(self.invite, "ACK", msg.cseq, branch=branch)

    def reset(self) -> None:
        for repeating in [*self.clients.values(), *self.unacked.values()]:
            repeating.stop()
        self.phone.auto = None
