"""The set-up of one call: from the caller's INVITE to its one final answer (call processing 1.2, 3.1, 3.10, 4.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ngcpd.calls.branch import BranchLeg
from ngcpd.calls.dialog import Dialog
from ngcpd.calls.fields import Fields, relayed
from ngcpd.calls.media import CallMedia
from ngcpd.calls.pair import Answered, Pair
from ngcpd.media import BadSdp, NoPorts, Policy
from ngcpd.media.types import Family
from ngcpd.routing.model import CallContext, Deliver, MediaHints, Reject, Verdict
from ngcpd.runtime.log import logger
from ngcpd.runtime.ports import Address
from ngcpd.sip.endpoint import NoRoute
from ngcpd.sip.errors import ParseError
from ngcpd.sip.fields import parse_rseq
from ngcpd.sip.message import Response, reply
from ngcpd.sip.stack import ServerTransaction
from ngcpd.store.acc import AccEvent
from ngcpd.store.journal import JournalFull

if TYPE_CHECKING:
    from ngcpd.calls.engine import Calls

log = logger("calls")
COMPLETED_ELSEWHERE = 'SIP;cause=200;text="Call completed elsewhere"'


class Call:
    """One call. `final` is the status sent to the caller (0 = none yet), `pair` the winning pair once answered."""

    __slots__ = (
        "answered_at",
        "branches",
        "call_id",
        "call_id_b",
        "calls",
        "ctx",
        "final",
        "leg_fields",
        "limit_timer",
        "media",
        "over",
        "pair",
        "reliable_offered",
        "request",
        "source",
        "started",
        "to_tag",
        "token",
        "tx",
    )

    def __init__(self, calls: Calls, tx: ServerTransaction, ctx: CallContext) -> None:
        self.calls = calls
        self.tx = tx
        self.request = tx.request
        self.ctx = ctx
        self.call_id = tx.request.call_id
        self.call_id_b = self.call_id + calls.settings.callid_suffix
        self.token = calls.rng.token(8)
        self.media = CallMedia(calls.media, self.call_id)
        self.media.on_timeout = self._media_timeout
        self.branches: list[BranchLeg] = []
        self.leg_fields: Fields = []
        self.final = 0
        self.pair: Pair | None = None
        self.to_tag = calls.rng.token(6)
        self.started = calls.clock.time()
        self.answered_at = 0.0
        self.over = False
        self.limit_timer: Any = None
        self.source: Address = tx.flow.remote
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
            return
        assert isinstance(verdict, Deliver)
        self._deliver(verdict)

    def _deliver(self, verdict: Deliver) -> None:
        request = self.request
        supported = request.has_token("Supported", "100rel") or request.has_token("Require", "100rel")
        self.reliable_offered = supported
        self.leg_fields = relayed(request, drop_options=() if supported else ("100rel",), body=False)
        caller = self.ctx.caller_media
        self.media.policies["a"] = policy(caller, self.tx.flow.family)
        self.media.relay = caller.use_rtpproxy != "never" and all(b.media.use_rtpproxy != "never" for b in verdict.branches)
        for n, spec in enumerate(verdict.branches):
            side = f"b{n}"
            self.media.policies[side] = policy(spec.media, spec.family)
            self.branches.append(BranchLeg(self, spec, side))
        for branch in list(self.branches):
            if self.final:
                return
            branch.start()

    # --------------------------------------------------------------------------------------------- answers to the caller
    def reject(self, code: int, reason: str, fields: Fields | None = None) -> None:
        """The one final failure answer."""
        if self.final:
            return
        self.account("INVITE", code, reason)
        self.final = code
        self.ctx.note("answer", f"{code} {reason}")
        self._reply(code, reason, self.to_tag, fields or [])
        self._close()

    def reject_all(self, code: int, reason: str, why: str) -> None:
        """Give up the whole set-up: cancel what is open, then answer."""
        log.info("call given up", call_id=self.call_id, code=code, why=why)
        for branch in self.branches:
            branch.cancel()
        self.reject(code, reason)

    def _reply(self, code: int, reason: str, to_tag: str, fields: Fields, body: bytes = b"") -> Response:
        server = [("Server", self.calls.settings.server)] if self.calls.settings.server else []
        response = reply(self.request, code, reason, to_tag=to_tag, fields=[*fields, *server], body=body)
        self.tx.respond(response)
        return response

    def new_caller_dialog(self) -> Dialog:
        """A further dialog towards the caller, as a forking proxy would show it: own To-tag."""
        settings = self.calls.settings
        tag = self.calls.rng.token(6)
        return Dialog.uas(self.calls.stack.endpoint, self.request, self.tx.flow, tag, self.ctx.source.nat, settings.contact_user, self.token)

    def _contact(self, dialog: Dialog) -> Fields:
        """Our Contact on the caller's side; none when its address cannot be told without DNS yet."""
        try:
            hops = dialog.endpoint.resolve(self.request.ruri, flow=self.tx.flow)
        except NoRoute:
            return []
        return [("Contact", dialog.contact(hops[0]))] if isinstance(hops, list) and hops else []

    def provisional(self, branch: BranchLeg, pair: Pair, response: Response) -> None:
        """Relay a 1xx of one branch; reliable ones get a number of ours."""
        rseq = parse_rseq(response) if response.has_token("Require", "100rel") else 0
        if rseq and pair.reliable.repeated(rseq):
            return
        try:
            body = self.media.pass_body(response, branch.side, "a", self._heard_from(branch))
        except (BadSdp, NoPorts) as error:
            log.limited(self.call_id, 60.0, "early media not relayed", call_id=self.call_id, why=str(error))
            return
        if body:
            self.media.select(branch.side)
        fields = relayed(response, drop_options=("100rel",), body=bool(body)) + self._contact(pair.a)
        ours = 0
        if rseq and self.reliable_offered:
            ours = pair.reliable.number(rseq)
            fields += [("Require", "100rel"), ("RSeq", str(ours))]
        answer = self._reply(response.status, response.reason, pair.a.local_tag, fields, body)
        if ours:
            pair.reliable.sent(ours, answer)

    def answered(self, branch: BranchLeg, pair: Pair, response: Response) -> None:
        """The first 2xx: account it, give it to the caller, cancel the rest."""
        try:
            body = self.media.pass_body(response, branch.side, "a", self._heard_from(branch))
        except (BadSdp, NoPorts) as error:
            log.warning("answer of the callee refused", call_id=self.call_id, why=str(error))
            branch.refuse_answer(response)
            self.calls.unregister(pair)
            self.reject_all(*((503, "Service Unavailable") if isinstance(error, NoPorts) else (488, "Not Acceptable Here")), str(error))
            return
        self.pair = pair
        self.to_tag = pair.a.local_tag
        if not self.account("INVITE", response.status, response.reason or "OK"):
            self.pair = None
            branch.refuse_answer(response)
            self.calls.unregister(pair)
            self.final = 503
            self._reply(503, "Service Unavailable", self.calls.rng.token(6), [("Retry-After", "30")])
            self._close()
            return
        self.final = response.status
        self.answered_at = self.calls.clock.time()
        pair.confirmed = True
        pair.reliable.stop()
        pair.acks[("a", self.request.cseq)] = Answered(self.tx, "b", pair.first_cseq_b)
        self.media.select(branch.side)
        self.ctx.note("answer", f"{response.status} {branch.spec.label}")
        self._reply(response.status, response.reason, pair.a.local_tag, relayed(response, body=bool(body)) + self._contact(pair.a), body)
        for other in self.branches:
            if other is not branch:
                for early in other.pairs.values():
                    early.end_early()
                other.cancel(COMPLETED_ELSEWHERE)
        for tag, early in list(branch.pairs.items()):
            if early is not pair:
                early.end_early()
                del branch.pairs[tag]
        self.limit_timer = self.calls.stack.wheel.after(self.calls.settings.max_duration, self._too_long)
        log.info("call answered", call_id=self.call_id, code=response.status)

    def _heard_from(self, branch: BranchLeg) -> Address | None:
        return branch.tx.hop.remote if branch.tx is not None else None

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
        code, reason, fields = best.code, best.reason, Fields()
        if best.final is not None:
            try:
                fields = relayed(best.final, body=False)
                if 300 <= code < 400:
                    fields += [("Contact", v) for v in best.final.raw("Contact")]
            except ParseError:
                fields = []
        if code in (401, 407):  # a challenge of a device is never passed on nor answered
            code, reason, fields = 480, "Temporarily Unavailable", []
        self.reject(code, reason, fields)

    def _cancelled(self, cancel: object) -> None:
        """CANCEL at any moment before the final answer (RFC 3261 9.2): 487 at once, branches are cancelled."""
        if self.final:
            return
        for branch in self.branches:
            branch.cancel()
        self.reject(487, "Request Terminated")

    def _transaction_ended(self, reason: str) -> None:
        """The caller's transaction is over. An answer that was never acknowledged ends the call (RFC 3261 13.3.1.4)."""
        if reason == "done":
            return
        if self.pair is not None and not self.pair.over:
            self.calls.hang_up(self.pair, f"answer not acknowledged ({reason})", reason="timeout")
        elif not self.final:
            self._cancelled(None)

    # -------------------------------------------------------------------------------------------------------------- end
    def _too_long(self) -> None:
        if self.pair is not None:
            self.calls.hang_up(self.pair, "longest duration reached", reason="timeout")

    def _media_timeout(self) -> None:
        if self.pair is not None and not self.pair.over:
            self.calls.hang_up(self.pair, "no media", reason="timeout")

    def account(self, method: str, code: int, reason: str) -> bool:
        """Journal one accounting event (call processing 4.5); 401 and 407 are none. False when it could not be written."""
        if code in (401, 407):
            return True
        names = self.ctx.acc_fields()
        event = AccEvent(
            method=method,
            from_tag=self.request.from_tag,
            to_tag=self.to_tag,
            callid=self.call_id,
            sip_code=str(code),
            sip_reason=reason[:128],
            time=self.calls.clock.time(),
            src_leg=self.ctx.src_leg(),
            dst_leg=self.ctx.dst_leg(),
            src_user=names.src_user,
            src_domain=names.src_domain,
            dst_user=names.dst_user,
            dst_ouser=names.dst_ouser,
            dst_domain=names.dst_domain,
        )
        try:
            self.calls.accounting.write(event)
        except (OSError, JournalFull) as error:
            log.limited("journal", 10.0, "accounting event could not be journalled", call_id=self.call_id, why=str(error))
            return False
        return True

    def ended(self, code: int = 200, reason: str = "OK") -> None:
        """The answered call is over: BYE row, ports, timers."""
        if self.over or self.pair is None:
            return
        self.account("BYE", code, reason)
        self._close()

    def _close(self) -> None:
        if self.over:
            return
        self.over = True
        if self.limit_timer is not None:
            self.limit_timer.cancel()
            self.limit_timer = None
        for branch in self.branches:
            for pair in branch.pairs.values():
                if pair is not self.pair:
                    pair.end_early()
        self.media.close()
        self.calls.call_over(self)


def policy(hints: MediaHints, family: int) -> Policy:
    """The relay's policy for the SDP sent to one party, from its preferences."""
    forced: Family = "4" if hints.ipv46_for_rtpproxy == "force_ipv4" else "6" if hints.ipv46_for_rtpproxy == "force_ipv6" else "auto"
    strip = hints.use_rtpproxy == "ice_strip_candidates"
    return Policy(family=forced, interface=hints.rtp_interface or "default", strip_ice=strip, dst_family=family)


def rank(code: int) -> tuple[int, int]:
    """Order of preference among the failures of several branches (call processing 3.10): 6xx, else the lowest class, 486 before others.
    Our own 408 and 480 come last in their class: a code that a device chose says more."""
    if code >= 600:
        return (0, code)
    weight = {486: 0, 603: 0, 487: 900, 408: 800, 480: 700, 401: 950, 407: 950}.get(code, code % 100 + 1)
    return (code // 100, weight)
