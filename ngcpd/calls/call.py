"""The set-up of one call: from the caller's INVITE to its one final answer (call processing 1.2, 3.1, 3.10, 4.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ngcpd.calls import ending, records
from ngcpd.calls.acks import Answered
from ngcpd.calls.branch import BranchLeg
from ngcpd.calls.dialog import Dialog
from ngcpd.calls.fields import Fields, relayed
from ngcpd.calls.media import CallMedia, is_sdp, policy
from ngcpd.calls.model import Persona
from ngcpd.calls.pair import Pair
from ngcpd.calls.reliable import ReliableProvisionals
from ngcpd.media import BadSdp, NoPorts
from ngcpd.routing.headers import HeaderFilter
from ngcpd.routing.model import CallContext, Deliver, Reject, Verdict
from ngcpd.runtime.log import logger
from ngcpd.runtime.ports import Address
from ngcpd.sip.errors import ParseError
from ngcpd.sip.fields import parse_rseq
from ngcpd.sip.message import Request, Response
from ngcpd.sip.stack import ServerTransaction
from ngcpd.sip.wheel import WheelTimer
from ngcpd.store.acc import AccEvent

if TYPE_CHECKING:
    from ngcpd.calls.engine import Calls

log = logger("calls")
COMPLETED_ELSEWHERE = 'SIP;cause=200;text="Call completed elsewhere"'


class Call:
    """One call. `final` is the status sent to the caller (0 = none yet), `pair` the winning pair while the call is answered."""

    __slots__ = (
        "__weakref__",
        "answered_at",
        "branches",
        "call_id",
        "call_id_b",
        "calls",
        "crossing",
        "ctx",
        "final",
        "limit_timer",
        "me",
        "media",
        "over",
        "pair",
        "reliable_offered",
        "request",
        "started",
        "to_tag",
        "tx",
    )

    def __init__(self, calls: Calls, tx: ServerTransaction, ctx: CallContext) -> None:
        settings = calls.settings
        self.calls = calls
        self.tx = tx
        self.request = tx.request
        self.ctx = ctx
        self.call_id = tx.request.call_id
        self.call_id_b = self.call_id + settings.callid_suffix
        self.me = Persona(settings.contact_user, calls.rng.token(8), settings.max_forwards)
        self.media = CallMedia(calls.media, self.call_id, self._media_timeout)
        self.branches: list[BranchLeg] = []
        self.crossing: Fields = []  # of the INVITE: what goes on to each branch
        self.final = 0
        self.pair: Pair | None = None
        self.to_tag = calls.rng.token(6)
        self.started = ctx.time
        self.answered_at = 0.0
        self.over = False
        self.limit_timer: WheelTimer | None = None
        self.reliable_offered = False
        tx.on_cancel = self._cancelled
        tx.on_end = self._transaction_ended

    # ------------------------------------------------------------------------------------------------------ verdict
    def decided(self, verdict: Verdict) -> None:
        """Routing has spoken. Nothing to do when the caller gave up meanwhile."""
        if self.final:
            return
        if isinstance(verdict, Reject):
            self.reject(verdict.code, verdict.reason, list(verdict.fields))
        else:
            self._deliver(verdict)

    def _deliver(self, verdict: Deliver) -> None:
        request = self.request
        settings = self.calls.settings
        self.reliable_offered = not settings.strip_100rel and (request.has_token("Supported", "100rel") or request.has_token("Require", "100rel"))
        self.crossing = relayed(request, None, drop_options=("100rel",) if settings.strip_100rel else ())
        caller = self.ctx.caller_media
        self.media.policies["a"] = policy(caller, self.tx.flow.family)
        self.media.relay = caller.use_rtpproxy != "never" and all(b.media.use_rtpproxy != "never" for b in verdict.branches)
        for n, spec in enumerate(verdict.branches[: settings.max_branches]):
            side = f"b{n}"
            self.media.policies[side] = policy(spec.media, spec.family)
            self.branches.append(BranchLeg(self, spec, side))
        for branch in list(self.branches):
            if self.final:
                return
            branch.start()

    # --------------------------------------------------------------------------------------------- answers to the caller
    def reject(self, code: int, reason: str, fields: Fields | None = None, body: bytes = b"") -> None:
        """The one final failure answer."""
        if self.final:
            return
        if code not in (401, 407):
            self.calls.records.keep(self._event("INVITE", code, reason))
        self.final = code
        self.ctx.note("answer", f"{code} {reason}")
        try:
            self._reply(code, reason, self.to_tag, fields or [], body)
        finally:  # whatever keeps the answer from being sent, what the call holds is free
            self._close()

    def reject_all(self, code: int, reason: str, why: str) -> None:
        """Give up the whole set-up: cancel what is open, then answer."""
        log.info("call given up", call_id=self.call_id, code=code, why=why)
        for branch in self.branches:
            branch.cancel()
        self.reject(code, reason)

    def _reply(self, code: int, reason: str, to_tag: str, fields: Fields, body: bytes = b"") -> Response:
        return self.calls.reply(self.tx, code, reason, to_tag=to_tag, fields=fields, body=body)

    def new_caller_dialog(self) -> Dialog:
        """A further dialog towards the caller, as a forking proxy would show it: own To-tag."""
        return Dialog.uas(self.calls.stack.endpoint, self.me, self.request, self.tx.flow, self.calls.rng.token(6), self.ctx.source.nat)

    def _contact(self) -> tuple[str, str]:
        return "Contact", self.me.contact(self.tx.flow.socket.contact_host)

    def provisional(self, branch: BranchLeg, pair: Pair, response: Response) -> None:
        """Relay a 1xx of one branch; reliable ones get a number of ours."""
        theirs = parse_rseq(response) if response.has_token("Require", "100rel") else 0
        if theirs:
            if pair.reliable is None:
                pair.reliable = ReliableProvisionals(self)
            if not pair.reliable.takes(theirs):
                return
        try:
            body = self.media.pass_body(response, branch.side, "a", _heard_from(branch))
        except (BadSdp, NoPorts) as error:
            log.limited(self.call_id, 60.0, "early media not relayed", call_id=self.call_id, why=str(error))
            body = b""
        if body and is_sdp(response):
            pair.early_answer = response
        fields = [*relayed(response, self.calls.settings.headers, drop_options=("100rel",), body=bool(body)), self._contact()]
        if not theirs or not self.reliable_offered or pair.reliable is None:
            self._reply(response.status, response.reason, pair.a.local_tag, fields, body)
            return
        ours = pair.reliable.number()
        fields += [("Require", "100rel"), ("RSeq", str(ours))]
        pair.reliable.sent(ours, theirs, self._reply(response.status, response.reason, pair.a.local_tag, fields, body))

    def answer_body(self, branch: BranchLeg, pair: Pair, response: Response) -> bytes:
        """The body of a 2xx as the caller gets it. Raises BadSdp, NoPorts."""
        said = pair.early_answer
        if said is not None and not is_sdp(response) and len(branch.pairs) > 1:
            # The answer was in a reliable provisional response; another phone behind the same contact may have answered after it.
            self.media.pass_body(said, branch.side, "a", _heard_from(branch))
        return self.media.pass_body(response, branch.side, "a", _heard_from(branch))

    def answered(self, branch: BranchLeg, pair: Pair, response: Response, body: bytes) -> bool:
        """The first 2xx: account it, cancel the rest, give it to the caller. False: it can not be accounted, the caller got 503."""
        self.to_tag = pair.a.local_tag
        if not self.calls.records.write(self._event("INVITE", 200, response.reason or "OK")):  # another 2xx is an answered call as well
            self.to_tag = self.calls.rng.token(6)
            for other in self.branches:
                if other is not branch:
                    other.cancel()
            self.reject(503, "Service Unavailable", [("Retry-After", "30")])
            return False
        self.pair = pair
        self.final = response.status
        self.answered_at = self.calls.clock.time()
        self.ctx.note("answer", f"{response.status} {branch.spec.label}")
        log.debug("call answered", call_id=self.call_id, code=response.status)
        pair.confirmed = True
        if pair.reliable is not None:
            pair.reliable.stop()
        branch.end_pairs(but=pair)
        for other in self.branches:
            if other is not branch:
                other.lose(COMPLETED_ELSEWHERE)
        self.media.select(branch.side)
        self.limit_timer = self.calls.stack.wheel.after(self.calls.settings.max_duration, self._too_long)
        Answered(pair, "a", self.tx, pair.first_cseq_b)
        passed = relayed(response, self.calls.settings.headers, body=bool(body))
        self._reply(response.status, response.reason, pair.a.local_tag, [*passed, self._contact()], body)
        return True

    # --------------------------------------------------------------------------------------------------- failures, cancel
    def branch_ended(self, branch: BranchLeg) -> None:
        """One branch is finished without success. A 6xx ends all; the last one decides."""
        if self.final:
            return
        if 600 <= branch.code < 700:
            for other in self.branches:
                other.cancel()
        elif any(b.open for b in self.branches):
            return
        best = min((b for b in self.branches if not b.open), key=lambda b: rank(b.code))
        code, reason = best.code, best.reason
        fields: Fields = []
        body = b""
        if code in (401, 407):  # a challenge of a device is never passed on nor answered
            code, reason = 480, "Temporarily Unavailable"
        elif best.final is not None:
            fields, body = _failure(best.final, self.calls.settings.headers)
        self.reject(code, reason, fields, body)

    def _cancelled(self, cancel: Request | None) -> None:
        """CANCEL at any moment before the final answer (RFC 3261 9.2): 487 at once, branches are cancelled for the caller's reasons."""
        if self.final:
            return
        reasons = cancel.raw("Reason") if cancel is not None else []
        for branch in self.branches:
            branch.cancel(reasons)
        self.reject(487, "Request Terminated")

    def _transaction_ended(self, reason: str) -> None:
        """The caller can not be answered any more."""
        if not self.final:
            log.info("caller is gone", call_id=self.call_id, why=reason)
            self._cancelled(None)

    # -------------------------------------------------------------------------------------------------------------- end
    def _too_long(self) -> None:
        if self.pair is not None:
            ending.hang_up(self.pair, "longest duration reached", reason="timeout")

    def _media_timeout(self) -> None:
        if self.pair is not None:
            ending.hang_up(self.pair, "no media", reason="timeout")

    def _event(self, method: str, code: int, reason: str) -> AccEvent:
        return records.event(self.ctx, method, code, reason, self.calls.clock.time(), self.call_id, self.request.from_tag, self.to_tag)

    def ended(self, reason: str = "OK") -> None:
        """The answered call is over: BYE row, ports, timers."""
        if not self.over:
            self.calls.records.keep(self._event("BYE", 200, reason))
            self._close()

    def _close(self) -> None:
        """Free what the call holds; what still refers to it (a transaction, a pair that lingers) must not be referred to by it, so that it
        goes with the last of them."""
        if self.over:
            return
        self.over = True
        if self.limit_timer is not None:
            self.limit_timer.cancel()
            self.limit_timer = None
        branches, self.branches = self.branches, []
        for branch in branches:
            branch.end_pairs(but=self.pair)
        self.pair = None
        self.media.close()
        self.calls.call_over(self)


def _heard_from(branch: BranchLeg) -> Address | None:
    return branch.hop.remote if branch.hop is not None else None


def _failure(response: Response, headers: HeaderFilter) -> tuple[Fields, bytes]:
    """What of a callee's failure answer goes on to the caller. A session description (of what the device could do) does not: it names
    addresses. The Contacts of a redirection are passed as sent (call processing 3.11)."""
    try:
        body = b"" if is_sdp(response) else response.body
    except ParseError:
        body = b""
    fields = relayed(response, headers, body=bool(body))
    if 300 <= response.status < 400:
        fields += [("Contact", v) for v in response.raw("Contact")]
    return fields, body


def rank(code: int) -> tuple[int, int]:
    """Order of preference among the failures of several branches (call processing 3.10): 6xx, else the lowest class, 486 before others.
    480, 408 (also our own for a device that is silent or away), 487 and challenges come last in their class: any other code says more."""
    if code >= 600:
        return (0, code)
    weight = {486: 0, 480: 700, 408: 800, 487: 900, 401: 950, 407: 950}.get(code, code % 100 + 1)
    return (code // 100, weight)
