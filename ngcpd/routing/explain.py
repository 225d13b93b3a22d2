"""A dry run: what would happen to a call from one party to another, decided by the real stages, with nothing sent and nothing counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed

from ngcpd.directory.model import Snapshot
from ngcpd.registrar.source import Source
from ngcpd.routing import trace
from ngcpd.routing.model import CallContext, Deliver, Verdict
from ngcpd.sip.errors import ParseError
from ngcpd.sip.headers import NameAddr
from ngcpd.sip.message import Request
from ngcpd.sip.uri import Uri

if TYPE_CHECKING:
    from ngcpd.routing.pipeline import Pipeline

Answer = list[dict[str, object]]


def _uri(text: str, domain: str) -> Uri:
    """`sip:user@domain`, `user@domain` or a bare number or user, which then is in `domain`. ParseError."""
    if not text.startswith(("sip:", "sips:", "tel:")):
        text = f"sip:{text}" if "@" in text else f"sip:{text}@{domain}"
    return Uri.parse(text)


def context(snapshot: Snapshot, caller: str, dialed: str, source_ip: str, time: float) -> CallContext:
    """The context of a made-up INVITE. A caller who is a subscriber counts as authenticated. ParseError for unusable addresses."""
    from_uri = _uri(caller, "")
    ruri = _uri(dialed, from_uri.host)
    fields = [
        ("Via", "SIP/2.0/UDP 0.0.0.0;branch=z9hG4bK-dry"),
        ("From", f"{NameAddr('', from_uri)};tag=dry"),
        ("To", str(NameAddr("", ruri))),
        ("Call-ID", "dry-run"),
        ("CSeq", "1 INVITE"),
    ]
    nothing: Any = None  # no stage touches the flow of the source: it is for the one who answers
    source = Source(source_ip, 5060, "udp", "", 6 if ":" in source_ip else 4, False, nothing)
    ctx = CallContext(Request.make("INVITE", ruri, fields), source, time)
    ctx.assume_caller = snapshot.user_id(from_uri.host, from_uri.user_decoded) or 0
    return ctx


def explain(pipeline: Pipeline, caller: str, dialed: str, *, source_ip: str = "", time: float = 0.0) -> Deferred[Answer]:
    """The trace of such a call as dicts (see `routing.trace.render`), with one more entry per branch when it would be delivered.

    `caller` and `dialed` are URIs, `user@domain`, or for `dialed` a number. `source_ip` "" leaves the caller's address out of the decision.
    Unusable addresses give one entry that says so.
    """
    try:
        ctx = context(pipeline.directory, caller, dialed, source_ip, time)
    except ParseError as error:
        return succeed([{"stage": "input", "looked_at": {"caller": caller, "dialed": dialed}, "verdict": error.reason}])

    def show(verdict: Verdict) -> Answer:
        out = trace.render(ctx.trace)
        for branch in verdict.branches if isinstance(verdict, Deliver) else ():
            looked: dict[str, object] = {"From": branch.from_, "To": branch.to, "next hop": str(branch.next_hop)}
            looked.update(branch.fields)
            out.append({"stage": "branch", "looked_at": looked, "verdict": branch.request_uri})
        return out

    verdict = pipeline.run(ctx)
    return verdict.addCallback(show) if isinstance(verdict, Deferred) else succeed(show(verdict))
