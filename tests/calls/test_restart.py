"""The daemon dies and comes back."""

from __future__ import annotations

from tests.calls.rig import ALICE, BOB, check, established, hang_up, ringing, statuses
from tests.world import World


def test_crash_with_calls() -> None:
    """A running call gets its BYE row at the next start, stamped with the moment the node was last alive; bindings are still there; the
    phones' old dialogs are unknown; new calls work."""
    first = World()
    a, b = first.registered(ALICE), first.registered(BOB)
    c = first.registered(1001)
    talk = established(first, a, b)
    ringing(first, c, b)
    first.run(20.0)
    first.kill()
    talk.call.bye()  # nobody is there
    first.run(30.0)
    for phone in (a, b, c):
        phone.inbox.clear()

    second = World(before=first)
    (cdr,) = second.cdrs()
    assert cdr["call_status"] == "ok" and cdr["source_user"] == "testuser1002" and 19.0 <= float(cdr["duration"]) <= 22.0
    assert second.accs()[-1]["sip_reason"] == "timeout"
    second.run(40.0)
    for phone in (a, b, c):
        phone.inbox.clear()
    talk.call.bye()
    second.run()
    assert a.take(481).method == "BYE"
    b.in_dialog(talk.invite, "BYE", 1)
    second.run()
    assert b.take(481).method == "BYE"
    hang_up(second, established(second, a, b))
    assert statuses(second) == [("ok", "200")] * 2
    check(second)
    second.end()


def test_crash_before_the_record_reaches_the_database() -> None:
    """Killed right after the answer: the journal has it."""
    first = World()
    a, b = first.registered(ALICE), first.registered(BOB)
    first.executor.hold()
    call, invite = ringing(first, a, b)
    b.reply(invite, 200, "OK")
    first.run(0.0)
    call.ack(a.take(200))
    first.run(0.0)
    first.kill()
    second = World(before=first)
    assert statuses(second) == [("ok", "200")]
    second.end()


def test_orderly_restart() -> None:
    first = World()
    a, b = first.registered(ALICE), first.registered(BOB)
    talk = established(first, a, b)
    first.run(3.0)
    stopped = first.daemon.stop()
    first.run(0.01)
    for phone in (a, b):
        phone.reply(phone.take("BYE"), 200, "OK")
    first.run(5.0)
    assert stopped.called
    second = World(before=first)
    assert statuses(second) == [("ok", "200")] and second.accs()[-1]["sip_reason"] == "OK"
    hang_up(second, established(second, a, b))
    assert talk.call.call_id in [r["callid"] for r in second.accs()]
    check(second)
    second.end()
