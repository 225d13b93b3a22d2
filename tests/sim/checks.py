"""What must be true at the end of a run: what the parties saw, what stands on the disk and what stands in the store agree."""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import msgspec

from ngcpd.store.journal_record import decode
from tests.sim.platform import USERS

if TYPE_CHECKING:
    from tests.sim.agent import Ua
    from tests.sim.run import Run
    from tests.sim.talk import Call, Leg

NEAR = 0.004  # records are rounded to milliseconds
STATUS = {200: "ok", 486: "busy", 480: "noanswer", 487: "cancel", 408: "timeout", 404: "offline"}


# ---------------------------------------------------------------------------------------------------------------- bindings
def check_bindings(run: Run, when: str) -> None:
    """What the phones believe is what the registrar has."""
    now = run.clock.now
    location = run.platform.daemon.location
    for n in USERS:
        have = {b.contact for b in location.known(run.platform.template.subscribers[n])}
        must: set[str] = set()
        may: set[str] = set()
        for ua in run.uas:
            if ua.n == n:
                sure = {uri for uri, (lo, _) in ua.bound.items() if lo > now and uri not in ua.unsure}
                if not (ua.tcp and ua.stream is None):
                    must |= sure
                may |= {uri for uri, (_, hi) in ua.bound.items() if hi > now} | ua.unsure
        if must - have:
            run.fault(f"bindings of testuser{n} lost {when}: {sorted(must - have)}")
        if have - may:
            run.fault(f"bindings of testuser{n} that no phone has {when}: {sorted(have - may)}")


# ------------------------------------------------------------------------------------------------------------------- calls
def hurt(run: Run, ua: Ua, begin: float, end: float) -> bool:
    return any((who is None or who is ua) and a <= end and begin <= b for a, b, who in run.hurt)


def callee_legs(run: Run) -> dict[str, list[Leg]]:
    found: dict[str, list[Leg]] = defaultdict(list)
    for leg in run.legs:
        if leg.role == "callee" and leg.up >= 0:
            found[leg.base].append(leg)
    return found


def calm(run: Run, call: Call, callees: list[Leg]) -> bool:
    """Nothing happened to any party that would excuse a difference."""
    legs = [*call.legs.values(), *callees]
    end = max([call.started + 60.0, call.finished, *(leg.down for leg in legs)])
    return not any(hurt(run, ua, call.started, end) for ua in {call.ua, *(leg.ua for leg in legs)})


def check_calls(run: Run) -> None:
    """Each call looks the same from both ends and is over at both."""
    callees = callee_legs(run)
    strange = set(callees) - set(run.calls)
    if strange:
        run.fault(f"callees saw calls that nobody made: {sorted(strange)[:3]}")
    for base, call in run.calls.items():
        theirs = callees.get(base, [])
        for leg in (*call.legs.values(), *theirs):
            if leg.state != "over":
                run.fault(f"not over: {leg}")
        if calm(run, call, theirs):
            _check_calm(run, call, theirs)


def _check_calm(run: Run, call: Call, theirs: list[Leg]) -> None:
    base = call.base
    if not call.codes or call.codes[-1] == 0:
        run.fault(f"caller of {base} was left without a final response: {call.codes}")
    ours = list(call.legs.values())
    mine = ours[0] if ours else None
    good = [leg for leg in theirs if mine is not None and leg.up <= mine.up and leg.down >= mine.up - 1.0]
    for leg in (*ours, *theirs):
        fine = leg.how in ("bye-in", "bye-200") or (leg.how == "481" and _crossed(leg, theirs if leg in ours else ours))
        # A device whose answer nobody wanted is sent a BYE; its own, which crosses that one, finds no dialog any more.
        if not fine and not (leg.how in ("bye-481", "481") and leg.role == "callee" and len(theirs) > len(ours) and leg.down - leg.up < 40):
            run.fault(f"ended the wrong way: {leg}")
    if mine is None:
        for leg in theirs:
            if leg.down - leg.up > 40:
                run.fault(f"callee kept a call that the caller never had: {leg}")
        return
    if not good:
        run.fault(f"caller has a call that no callee answered: {mine} {theirs}")
    elif min(abs(leg.down - mine.down) for leg in good) > 36.0:
        run.fault(f"the ends of a call lie apart: {mine} {good}")
    late = [leg for leg in theirs if leg.down > mine.down + 36.0]
    if late:
        run.fault(f"callee outlived the call: {mine} {late}")


def _crossed(leg: Leg, others: list[Leg]) -> bool:
    """A request was answered 481 because the call was ending: from the other side, or by the platform."""
    return any(other.up >= 0 and max(other.sent_bye, other.down - 33.0) <= leg.down for other in others)


# ----------------------------------------------------------------------------------------------------------------- records
def journalled(run: Run) -> list[dict[str, Any]]:
    """Every accounting event that ever stood in the journal."""
    disk = run.platform.disk
    found = []
    for path, data in sorted({**disk.kept, **{p: bytes(d) for p, d in disk.files.items()}}.items()):
        if path.endswith(".journal"):
            epoch = int(path.rpartition("/")[2][:16])
            for record in decode(data, epoch).records:
                if record.stream == "acc":
                    found.append(msgspec.json.decode(record.payload))
    return found


def check_records(run: Run) -> None:
    """CDRs = INVITEs with a final response other than 401 and 407 that was sent or journalled, each once, with right status and duration."""
    conn = sqlite3.connect(run.platform.store)
    conn.row_factory = sqlite3.Row
    rows = [dict(r) for r in conn.execute("select * from cdr order by id")]
    left = [dict(r) for r in conn.execute("select * from acc")]
    trash = [dict(r) for r in conn.execute("select * from acc_trash")]
    kept = conn.execute("select count(*) from acc_backup").fetchone()[0]
    conn.close()
    if left or trash:
        shown = [(r["method"], r["callid"], r["sip_code"]) for r in (left + trash)[:3]]
        run.fault(f"accounting rows left {len(left)} and thrown away {len(trash)}: {shown}")
    events = journalled(run)
    if len(events) != kept + len(left) + len(trash):
        run.fault(f"{len(events)} events journalled, {kept + len(left) + len(trash)} in the store")
    invites = Counter((e["callid"], int(e.get("sip_code", 200))) for e in events if e["method"] == "INVITE")
    made = Counter((r["call_id"], int(r["call_code"])) for r in rows)
    if made != invites:
        run.fault(f"CDRs and journal differ: more {dict(made - invites)}, fewer {dict(invites - made)}")
    run.counts["cdrs"] = len(rows)
    _check_wire(run, made)
    by_call: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_call[row["call_id"]].append(row)
    callees = callee_legs(run)
    for base, call in run.calls.items():
        _check_cdr(run, call, callees.get(base, []), by_call.get(base, []))


def _check_wire(run: Run, made: Counter[tuple[str, int]]) -> None:
    sent: Counter[tuple[str, int]] = Counter()
    excused: Counter[tuple[str, int]] = Counter()
    for (_, branch), (status, _, excuse) in run.sent_finals.items():
        if status not in (401, 407):
            (excused if excuse else sent)[(run.initial[branch], status)] += 1
    for key in sent.keys() | made.keys():
        base, status = key
        call = run.calls.get(base)
        if call is None:
            continue  # a stranger's
        if made[key] < sent[key]:
            run.fault(f"no CDR for the {status} of {base}: sent {sent[key]}, CDRs {made[key]}")
        if made[key] > sent[key] + excused[key] and not (call.ua.tcp and hurt_any(run, call)):
            run.fault(f"CDR without a response sent: {base} {status}: {made[key]} > {sent[key]}")


def hurt_any(run: Run, call: Call) -> bool:
    return hurt(run, call.ua, call.started, call.started + 300)


def _check_cdr(run: Run, call: Call, theirs: list[Leg], rows: list[dict[str, Any]]) -> None:
    epoch = run.clock.epoch
    answered = [r for r in rows if r["call_code"] == "200"]
    for row in rows:
        if row["call_status"] != STATUS.get(int(row["call_code"]), "other"):
            run.fault(f"CDR of {call.base}: status {row['call_status']} for {row['call_code']}")
        if row["call_code"] != "200" and row["duration"]:
            run.fault(f"CDR of {call.base}: {row['call_code']} with duration {row['duration']}")
    mine = next(iter(call.legs.values()), None)
    if mine is not None and not answered:
        run.fault(f"no CDR of an answered call: {mine}")
    if mine is None or len(answered) != 1:
        return
    start = float(answered[0]["start_time"]) - epoch
    duration = float(answered[0]["duration"])
    end = start + duration
    what = f"CDR of {call.base}: start {start:.3f} duration {duration:.3f}"
    if start > mine.up + NEAR or (theirs and start < min(leg.up for leg in theirs) - NEAR):
        run.fault(f"{what}: started out of bounds, {mine} {theirs}")
    deaths = [d - epoch for d in run.platform.deaths if start - NEAR <= d - epoch <= end + 1.3]
    byes = run.byes.get(call.base, [])
    told = any(abs(at - end) <= NEAR for at in byes)
    closed = bool(deaths) and max(start, deaths[0] - 1.2) - NEAR <= end <= deaths[0] + NEAR
    # On a full disk neither the end of the call nor signs of life are written; if the process ends before there is room again, the next
    # start closes the call at its last sign of life.
    full = any(begin <= end + 1.3 <= until + 2.5 for begin, until in ((a - epoch, b - epoch) for a, b in run.full))
    # A BYE over a cut connection is not seen, and the other party's waits for its ACK (RFC 3261 15).
    cut = any(ua.tcp and hurt(run, ua, call.started, call.started + 300) for ua in {call.ua, *(leg.ua for leg in theirs)})
    excused = (full and any(d - epoch >= start for d in run.platform.deaths)) or cut
    if not (told or closed or excused):
        run.fault(f"{what}: ended at {end:.3f} without a BYE of the platform {byes[:4]} {deaths[:2]}, {mine} {theirs}")
    said = [leg.sent_bye for leg in (mine, *theirs) if leg.sent_bye >= 0] + [call.early_bye_at] * (call.early_bye_at >= 0)
    healthy = duration < 59.9 and not deaths and calm(run, call, theirs) and not any(leg.deaf for leg in (mine, *theirs))
    if healthy and (not said or min(said) > end + NEAR):
        run.fault(f"{what}: the platform ended a healthy call, {mine} {theirs}")
    if mine.how in ("bye-in", "bye-200") and end > mine.down + NEAR:
        run.fault(f"{what}: too long, {mine} {theirs}")
