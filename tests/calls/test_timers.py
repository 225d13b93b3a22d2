"""Times that run out, the platform that stops, the journal that is full, and what is left in memory."""

from __future__ import annotations

import gc
from typing import Any, ClassVar

import pytest
from twisted.internet.defer import fail

from ngcpd.calls import records
from ngcpd.calls.branch import BranchLeg
from ngcpd.calls.call import Call
from ngcpd.routing.stage import Stage
from ngcpd.runtime.fake import MemoryAppendFile, SimClock
from ngcpd.sip.wheel import Wheel
from ngcpd.store.acc import AccEvent
from tests.calls.rig import ALICE, BOB, answer, established, hang_up, offer_of, ringing, statuses
from tests.calls.test_forking import forked, ring
from tests.compiled import python_only
from tests.phones import digest
from tests.world import World


def test_late_ring_after_the_first_timer(world: World) -> None:
    """No provisional answer within 9 s: 408. A device that then rings is cancelled, one that then answers is ended."""
    a, call, phones, invites = forked(world, 2)
    world.run(9.5)
    call.ack(a.take(408))
    phones[0].reply(invites[0], 180, "Ringing", tag="branch0")
    phones[1].reply(invites[1], 200, "OK", offer_of(phones[1], 30000), tag="branch1")
    world.run()
    phones[0].reply(phones[0].take("CANCEL"), 200, "OK")
    phones[0].reply(invites[0], 487, "Request Terminated", tag="branch0")
    phones[1].take("ACK")
    phones[1].reply(phones[1].take("BYE"), 200, "OK")
    world.run()
    assert statuses(world) == [("timeout", "408")]


def test_answer_of_a_device_that_was_given_up_while_another_rings(world: World) -> None:
    """Its ports are gone: the late answer does not win."""
    a, call, phones, invites = forked(world, 2)
    phones[1].reply(invites[1], 180, "Ringing", tag="branch1")
    world.run(10.0)
    a.take(180)
    phones[0].inbox.clear()
    phones[0].reply(invites[0], 200, "OK", offer_of(phones[0], 30000), tag="branch0")
    world.run()
    assert not a.has(200)
    phones[0].take("ACK")
    phones[0].reply(phones[0].take("BYE"), 200, "OK")
    phones[1].reply(invites[1], 200, "OK", offer_of(phones[1], 30000), tag="branch1")
    world.run()
    call.ack(a.take(200))
    call.bye()
    world.run()
    phones[1].reply(phones[1].take("BYE"), 200, "OK")
    world.run()
    assert statuses(world) == [("ok", "200")]


def test_100_is_a_provisional_answer(world: World) -> None:
    a, b = world.registered(ALICE), world.registered(BOB)
    call = a.call("sip:testuser1003@spce.test", world.run, offer_of(a))
    invite = b.take("INVITE")
    b.reply(invite, 100, "Trying")
    world.run(30.0)
    assert len([m for m in a.inbox if m.status == 100]) == 1 and not a.has(408), "the callee's own 100 is not relayed"
    hang_up(world, answer(world, a, b, call, invite))


def test_provisional_answers_do_not_prolong_the_second_timer(world: World) -> None:
    a, b = world.registered(ALICE), world.registered(BOB)
    call, invite = ringing(world, a, b)
    for _ in range(5):
        world.run(35.0)
        b.reply(invite, 180, "Ringing")
    world.run(6.0)
    call.ack(a.take(408))
    b.reply(b.take("CANCEL"), 200, "OK")
    b.reply(invite, 487, "Request Terminated")
    world.run()
    assert statuses(world) == [("timeout", "408")]


@pytest.mark.config("sems:\n  sbc:\n    calltimer_enable: yes\n    calltimer_max: 600\nrtpproxy:\n  rtp_timeout: 86400\n")
def test_longest_duration(world: World) -> None:
    talk = established(world)
    world.run(599.0)
    assert not talk.a.has("BYE")
    world.run(1.5)
    for phone in (talk.a, talk.b):
        phone.reply(phone.take("BYE"), 200, "OK")
    world.run()
    (cdr,) = world.cdrs()
    assert cdr["call_status"] == "ok" and 599.5 <= float(cdr["duration"]) <= 601
    assert world.accs()[-1]["sip_reason"] == "timeout"


# ------------------------------------------------------------------------------------------------------------------ stop
def test_stop_with_calls_in_every_state() -> None:
    """Answered: BYE to both. Ringing, forked, unanswered, still routing: CANCEL and 503. Not acknowledged: BYE at once. All recorded."""
    world = World(users=(1001, 1002, 1003, 1004, 1005))
    b = world.registered(BOB)
    a = [world.registered(ALICE, host=f"127.4.0.{n + 1}") for n in range(4)]
    talk = established(world, a[0], b)
    _, rings = ringing(world, a[1], b)
    _, unacked = ringing(world, a[2], b)
    b.reply(unacked, 200, "OK", offer_of(b, 30000))
    world.run()
    routing = a[3].invite("sip:testuser1003@spce.test", offer_of(a[3]))
    world.run()
    challenge = a[3].take(407)
    routing.ack(challenge)
    auth = digest(challenge["proxy-authenticate"], a[3].user, a[3].password, "INVITE", routing.target)
    world.daemon.directory.outdate_all()
    world.executor.hold()
    routing.send("INVITE", offer_of(a[3]), [f"Proxy-Authorization: {auth}"])
    world.run()
    for phone in world.phones.values():
        phone.inbox.clear()
    assert sorted(c["state"] for c in world.daemon.calls.active()) == ["answered", "answered", "ringing", "routing"]

    stopped = world.daemon.stop()
    world.run(0.01)
    world.executor.release()
    world.run(0.01)
    for phone in (a[0], a[2]):
        phone.reply(phone.take("BYE"), 200, "OK")
    assert [m.status for m in a[1].inbox] == [503] and [m.status for m in a[3].inbox] == [503]
    assert "retry-after" not in a[1].inbox[0].headers
    byes = [m for m in b.inbox if m.method == "BYE" and not m.status]
    assert sorted(m.tag for m in byes) == ["tttestuser1003", "tttestuser1003"]
    for bye in byes:
        b.reply(bye, 200, "OK")
    b.take("ACK")
    b.reply(b.take("CANCEL"), 200, "OK")
    b.reply(rings, 487, "Request Terminated")
    world.run(5.0)
    assert stopped.called and talk.call.call_id

    again = World(before=world)
    found = sorted((c["call_status"], c["call_code"]) for c in again.cdrs())
    assert found == [("ok", "200"), ("ok", "200"), ("other", "503"), ("other", "503")]
    assert again.idle() == {}
    again.end()


def test_new_calls_are_refused_while_stopping(world: World) -> None:
    a, b = world.registered(ALICE), world.registered(BOB)
    world.daemon.calls.accepting = False
    call = a.invite("sip:testuser1003@spce.test", offer_of(a))
    world.run()
    final = a.take(503)
    assert final["retry-after"] == "5" and not b.has("INVITE")
    call.ack(final)


# --------------------------------------------------------------------------------------------------------------- journal
class FullDisk:
    """While `full`, nothing can be appended to any file."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.full = False
        write = MemoryAppendFile.write

        def guarded(file: MemoryAppendFile, data: bytes) -> None:
            if self.full:
                raise OSError(28, "No space left on device")
            write(file, data)

        monkeypatch.setattr(MemoryAppendFile, "write", guarded)


def test_journal_full_at_the_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that can not be recorded does not take place: 503, the callees are let go. The record of the 503 comes later."""
    disk = FullDisk(monkeypatch)
    a, call, phones, invites = forked(world, 2)
    ring(world, phones, invites)
    disk.full = True
    phones[0].reply(invites[0], 200, "OK", offer_of(phones[0], 30000), tag="branch0")
    world.run()
    final = a.take(503)
    assert int(final["retry-after"]) > 0 and not a.has(200)
    call.ack(final)
    phones[0].take("ACK")
    phones[0].reply(phones[0].take("BYE"), 200, "OK")
    phones[1].reply(phones[1].take("CANCEL"), 200, "OK")
    phones[1].reply(invites[1], 487, "Request Terminated", tag="branch1")
    world.run(5.0)
    assert statuses(world) == [] and world.daemon.calls.counters()["unwritten"] == 1
    disk.full = False
    world.run(2.0)
    assert statuses(world) == [("other", "503")]
    a.inbox.clear()
    hang_up(world, answered_again(world, a, phones[0]))


def answered_again(world: World, a, b):  # type: ignore[no-untyped-def]
    call = a.call("sip:testuser1003@spce.test", world.run, offer_of(a))
    return answer(world, a, b, call, b.take("INVITE"))


def test_journal_full_at_the_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call ends; its BYE row waits in memory with its own time."""
    disk = FullDisk(monkeypatch)
    talk = established(world)
    world.run(10.0)
    disk.full = True
    hang_up(world, talk)
    world.run(30.0)
    disk.full = False
    world.run(2.0)
    (cdr,) = world.cdrs()
    assert cdr["call_status"] == "ok" and 10.0 <= float(cdr["duration"]) <= 12.0


@python_only
def test_what_waits_is_written_before_the_sign_of_life(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A kill in the second after there is room again would lose it otherwise, while the last sign of life is newer."""
    monkeypatch.setattr(records, "RETRY", 600.0)
    disk = FullDisk(monkeypatch)
    talk = established(world)
    disk.full = True
    hang_up(world, talk)
    assert world.daemon.calls.counters()["unwritten"] == 1
    disk.full = False
    world.run(1.1)
    assert world.daemon.calls.counters()["unwritten"] == 0


def test_what_waits_is_written_before_newer_events() -> None:
    class Journalled:
        before_beat = None
        full = True
        written: ClassVar[list[str]] = []

        def write(self, event: AccEvent) -> None:
            if self.full:
                raise OSError(28, "No space left on device")
            self.written.append(event.callid)

    accounting: Any = Journalled()
    kept = records.Records(accounting, Wheel(SimClock()))
    for callid in ("1", "2"):
        kept.keep(AccEvent("INVITE", callid, 1.0, "404"))
    assert kept.waiting == 2
    accounting.full = False
    kept.keep(AccEvent("INVITE", "3", 2.0, "404"))
    assert accounting.written == ["1", "2", "3"] and kept.waiting == 0


# ---------------------------------------------------------------------------------------------------------------- memory
@pytest.mark.parametrize("kind", ["answered", "changed", "failed", "cancelled", "forked", "reliable"])
def test_ended_calls_leave_no_cycles(world: World, kind: str) -> None:
    """Without help of the cycle collector an ended call is freed once its transactions are over."""
    gc.collect()
    gc.disable()
    try:
        before = {id(c) for c in gc.get_objects() if isinstance(c, Call)}
        if kind == "forked":
            a, call, phones, invites = forked(world)
            ring(world, phones, invites)
        else:
            a, b = world.registered(ALICE), world.registered(BOB)
            fields = ["Supported: 100rel"] if kind == "reliable" else None
            call = a.call("sip:testuser1003@spce.test", world.run, offer_of(a), fields)
            phones, invites = [b], [b.take("INVITE")]
            b.reply(invites[0], 183, "Progress", offer_of(b, 30000), fields=["Require: 100rel", "RSeq: 9"] if kind == "reliable" else None)
            world.run()
        (number,) = map(id, world.daemon.calls.calls.values())
        assert number not in before
        if kind == "cancelled":
            call.cancel()
            world.run()
            call.ack(a.take(487))
            phones[0].reply(invites[0], 487, "Request Terminated")
        elif kind in ("failed", "reliable"):
            phones[0].reply(invites[0], 486, "Busy Here")
            world.run()
            call.ack(a.take(486))
        else:
            tag = "branch0" if kind == "forked" else ""
            phones[0].reply(invites[0], 200, "OK", offer_of(phones[0], 30000), tag=tag)
            world.run()
            call.ack(a.take(200))
            if kind == "changed":
                call.send("INVITE", offer_of(a, version=2))
                world.run()
                phones[0].reply(phones[0].take("INVITE"), 200, "OK", offer_of(phones[0], 30000, version=2))
                world.run()
                call.ack(a.take(200))
                call.send("UPDATE")
            call.bye()
            world.run()
            phones[0].reply(phones[0].take("BYE"), 200, "OK")
        for phone in phones:
            phone.auto = lambda msg: True
        world.run(100.0)
        assert [c for c in gc.get_objects() if isinstance(c, Call) and id(c) not in before] == []
    finally:
        gc.enable()


def test_traces_are_bounded(world: World) -> None:
    a = world.registered(ALICE)
    limit = world.daemon.calls.settings.traces
    object.__setattr__(world.daemon.calls.settings, "traces", 5)
    for n in range(12):
        call = a.call("sip:testuser1003@spce.test", world.run, call_id=f"call{n}")
        call.ack(a.take(480))
        world.run()
    assert len(world.daemon.calls.traces) == 5 < limit
    assert world.daemon.calls.trace("call0") is None and world.daemon.calls.trace("call11") is not None


def test_ended_dialogs_are_remembered_by_name_only(world: World) -> None:
    talk = established(world)
    hang_up(world, talk)
    assert set(world.daemon.calls.dialogs.values()) == {None}
    world.run(33.0)
    assert world.daemon.calls.counters() == {"calls": 0, "dialogs": 0, "unwritten": 0}


# ---------------------------------------------------------------------------------------------------------------- faults
@pytest.mark.parametrize("late", [False, True])
def test_fault_in_routing(world: World, monkeypatch: pytest.MonkeyPatch, late: bool) -> None:
    """Whatever routing raises, at once or later: 500 for the caller, nothing stays behind, the next call works."""
    a, b = world.registered(ALICE), world.registered(BOB)

    def broken(ctx: object, snapshot: object) -> Any:
        if late:
            return fail(RuntimeError("broken"))
        raise RuntimeError("broken")

    with monkeypatch.context() as patch:
        patch.setattr(world.daemon.pipeline, "stages", (Stage("0 broken", broken),))
        call = a.invite("sip:testuser1003@spce.test", offer_of(a))
        world.run()
        call.ack(a.take(500))
    assert world.daemon.calls.counters()["calls"] == 0
    world.daemon.stack.transports.counters.errors = 0  # it was counted, which `end` would complain of
    a.inbox.clear()
    hang_up(world, established(world, a, b))


@python_only
def test_fault_while_branches_are_started(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first branch is out already when the second one raises: it is cancelled."""
    a = world.registered(ALICE)
    phones = [world.registered(BOB, host=f"127.2.0.{n + 1}") for n in range(2)]
    start, started = BranchLeg.start, []

    def breaking(branch: BranchLeg) -> None:
        started.append(branch)
        if len(started) == 2:
            raise RuntimeError("broken")
        start(branch)

    monkeypatch.setattr(BranchLeg, "start", breaking)
    call = a.call("sip:testuser1003@spce.test", world.run, offer_of(a))
    call.ack(a.take(500))
    (rung,) = [p for p in phones if p.has("INVITE")]
    invite = rung.take("INVITE")
    rung.reply(invite, 180, "Ringing")
    world.run()
    rung.reply(rung.take("CANCEL"), 200, "OK")
    rung.reply(invite, 487, "Request Terminated")
    world.run()
    world.daemon.stack.transports.counters.errors = 0
    assert statuses(world) == [("other", "500")]
