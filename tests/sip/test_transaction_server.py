"""Server transactions against a raw peer: every timer, both kinds of transport, RFC 3261 17.2, 9.2, 8.2.2.2, RFC 6026, RFC 2543."""

from __future__ import annotations

import pytest

from ngcpd.sip.errors import ParseError
from ngcpd.sip.flow import Limits
from ngcpd.sip.message import Response, parse_message
from ngcpd.sip.server import ServerTransaction
from ngcpd.sip.transaction import Timers
from tests.sip.moving import RawStream, Recorder, Wire, World, no_leaks, raw, respond  # noqa: F401 - a fixture

A = ("10.0.0.1", 5060)


def start(timers: Timers | None = None, limits: Limits | None = None) -> tuple[World, Wire, Recorder]:
    world = World(timers=timers, limits=limits)
    world.listen("udp", "tcp")
    return world, Wire(world.net, ("10.0.0.9", 5060)), world.ra


def shut(world: World, *wires: Wire, seconds: float = 70.0) -> None:
    for wire in wires:
        wire.sock.close()
    world.finish(seconds)


def say(world: World, wire: Wire, data: bytes) -> None:
    wire.send(data, A)
    world.run(0)


def connect(world: World) -> RawStream:
    peer = RawStream()
    world.net.connect(A, peer, bind="10.0.0.9")
    world.run(0)
    return peer


# ------------------------------------------------------------------------------------------------------------ non-INVITE
def test_options_over_udp_answered_once_and_repeated_from_memory() -> None:
    world, wire, handler = start()
    say(world, wire, raw())
    assert len(handler.requests) == 1
    respond(handler.requests[0], 200)
    world.run(0)
    first = wire.got[0]
    assert wire.starts() == ["SIP/2.0 200 OK"] and handler.requests[0].final == 200
    for _ in range(3):
        say(world, wire, raw())
    assert wire.got == [first] * 4 and len(handler.requests) == 1
    assert world.a.counters()["retransmissions"] == 3
    shut(world, wire)
    assert handler.ended == ["done"]


def test_timer_j_ends_the_transaction_after_64_t1() -> None:
    world, wire, handler = start()
    say(world, wire, raw())
    respond(handler.requests[0], 200)
    world.run(31.9)
    say(world, wire, raw())
    assert len(handler.requests) == 1 and handler.ended == []
    world.run(0.2)
    assert handler.ended == ["done"]
    say(world, wire, raw())
    assert len(handler.requests) == 2
    respond(handler.requests[1], 200)
    shut(world, wire)


def test_linger_is_a_setting() -> None:
    world, wire, handler = start(Timers(linger=5))
    say(world, wire, raw())
    respond(handler.requests[0], 200)
    world.run(4.9)
    assert handler.ended == []
    world.run(0.2)
    assert handler.ended == ["done"]
    shut(world, wire)


def test_without_a_waiting_user_the_request_is_let_go_at_the_final() -> None:
    world, wire, handler = start()

    def quick(tx: ServerTransaction) -> None:
        tx.on_end = tx.on_cancel = None
        respond(tx, 404)

    handler.answer = quick
    say(world, wire, raw())
    kept = [tx for tx in world.a._layer.servers.values() if isinstance(tx, ServerTransaction)]
    assert kept == [] and world.a.counters()["server"] == 1
    say(world, wire, raw())
    assert wire.starts() == ["SIP/2.0 404 Not Found"] * 2 and len(handler.requests) == 1
    shut(world, wire)


def test_retransmission_before_the_final_repeats_the_provisional_or_is_silent() -> None:
    world, wire, handler = start()
    say(world, wire, raw())
    say(world, wire, raw())
    assert wire.got == [] and len(handler.requests) == 1
    respond(handler.requests[0], 183)
    say(world, wire, raw())
    assert wire.starts() == ["SIP/2.0 183 Session Progress"] * 2
    respond(handler.requests[0], 200)
    shut(world, wire)


def test_unanswered_request_does_not_stay_for_ever() -> None:
    world, wire, handler = start()
    say(world, wire, raw())
    world.run(31.9)
    assert handler.ended == []
    world.run(0.2)
    assert handler.ended == ["timeout"]
    respond(handler.requests[0], 200)  # too late, harmless
    assert wire.got == []
    shut(world, wire)


def test_second_final_is_dropped() -> None:
    world, wire, handler = start()
    say(world, wire, raw())
    respond(handler.requests[0], 200)
    respond(handler.requests[0], 500)
    respond(handler.requests[0], 180)
    say(world, wire, raw())
    assert wire.starts() == ["SIP/2.0 200 OK"] * 2 and handler.requests[0].final == 200
    shut(world, wire)


def test_over_tcp_the_transaction_ends_with_the_final() -> None:
    world, wire, handler = start()
    peer = connect(world)
    peer.stream.write(raw(transport="TCP"))
    world.run(0)
    respond(handler.requests[0], 200)
    world.run(0)
    assert peer.starts() == ["SIP/2.0 200 OK"] and handler.ended == ["done"]
    assert world.a.counters()["server"] == 0
    peer.stream.close()
    shut(world, wire)


# ---------------------------------------------------------------------------------------------------------------- INVITE
def test_failure_response_is_repeated_until_ack() -> None:
    world, wire, handler = start()
    say(world, wire, raw("INVITE"))
    respond(handler.requests[0], 486)
    world.run(8)
    assert wire.at == [0.0, 0.5, 1.5, 3.5, 7.5]  # Timer G: 0.5, 1, 2, 4 = T2
    say(world, wire, raw("ACK", to_tag="t1"))
    world.run(4.9)
    assert len(wire.got) == 5 and handler.ended == [] and handler.acks == []
    say(world, wire, raw("INVITE"))  # Confirmed: absorbed
    say(world, wire, raw("ACK", to_tag="t1"))
    assert len(wire.got) == 5 and len(handler.requests) == 1
    world.run(0.2)  # Timer I = T4
    assert handler.ended == ["done"]
    shut(world, wire)


def test_timer_h_tells_that_no_ack_came() -> None:
    world, wire, handler = start()
    say(world, wire, raw("INVITE"))
    respond(handler.requests[0], 486)
    world.run(31.9)
    assert handler.ended == []
    assert len(wire.got) == 11 and wire.at[-1] == 31.5
    world.run(0.2)
    assert handler.ended == ["timeout"]
    shut(world, wire)


def test_failure_over_tcp_is_not_repeated_and_ends_with_the_ack() -> None:
    world, wire, handler = start()
    peer = connect(world)
    peer.stream.write(raw("INVITE", transport="TCP"))
    world.run(0)
    respond(handler.requests[0], 486)
    world.run(10)
    assert peer.starts() == ["SIP/2.0 486 Busy Here"] and handler.ended == []
    peer.stream.write(raw("ACK", to_tag="t1", transport="TCP"))
    world.run(0)
    assert handler.ended == ["done"]
    peer.stream.close()
    shut(world, wire)


def test_failure_over_tcp_without_ack_times_out() -> None:
    world, wire, handler = start()
    peer = connect(world)
    peer.stream.write(raw("INVITE", transport="TCP"))
    world.run(0)
    respond(handler.requests[0], 486)
    world.run(32.1)
    assert handler.ended == ["timeout"]
    peer.stream.close()
    shut(world, wire)


@pytest.mark.parametrize("transport", ["UDP", "TCP"])
def test_2xx_is_repeated_until_acked_over_any_transport(transport: str) -> None:
    world, wire, handler = start()
    peer = connect(world) if transport == "TCP" else None

    def put(data: bytes) -> None:
        if peer is not None:
            peer.stream.write(data)
            world.run(0)
        else:
            say(world, wire, data)

    def count() -> int:
        return len(peer.starts()) if peer is not None else len(wire.got)

    put(raw("INVITE", transport=transport))
    respond(handler.requests[0], 200)
    world.run(7.6)
    assert count() == 5  # 0, 0.5, 1.5, 3.5, 7.5
    put(raw("INVITE", transport=transport))  # Accepted: absorbed without an answer (RFC 6026 7.1)
    assert count() == 5 and len(handler.requests) == 1
    put(raw("ACK", branch="z9hG4bKack", to_tag="t1", transport=transport))
    assert len(handler.acks) == 1
    handler.requests[0].acked()
    world.run(24.2)
    assert count() == 5 and handler.ended == []
    world.run(0.3)  # Timer L
    assert handler.ended == ["done"]
    if peer is not None:
        peer.stream.close()
    shut(world, wire)


def test_2xx_without_ack_times_out_once() -> None:
    world, wire, handler = start()
    say(world, wire, raw("INVITE"))
    respond(handler.requests[0], 200)
    world.run(40)
    assert handler.ended == ["timeout"] and len(wire.got) == 11
    shut(world, wire)


def test_acked_invite_without_a_waiting_user_is_let_go_and_still_absorbs() -> None:
    world, wire, handler = start()
    say(world, wire, raw("INVITE"))
    tx = handler.requests[0]
    respond(tx, 200)
    tx.on_end = None
    tx.acked()
    assert not any(isinstance(t, ServerTransaction) for t in world.a._layer.servers.values())
    say(world, wire, raw("INVITE"))
    say(world, wire, raw("ACK", to_tag="t1"))  # an ACK that wrongly reuses the branch is still the user's
    assert len(handler.requests) == 1 and len(wire.got) == 1 and len(handler.acks) == 1
    assert world.a.counters()["invite_server"] == 1
    shut(world, wire)


def test_ringing_may_take_long() -> None:
    world, wire, handler = start()
    say(world, wire, raw("INVITE"))
    respond(handler.requests[0], 180)
    world.run(175)
    assert handler.ended == [] and len(wire.got) == 1
    respond(handler.requests[0], 487)
    world.run(0)
    say(world, wire, raw("ACK", to_tag="t1"))
    shut(world, wire)


def test_stray_ack_goes_up() -> None:
    world, wire, handler = start()
    say(world, wire, raw("ACK", to_tag="whatever"))
    assert len(handler.acks) == 1 and wire.got == []
    shut(world, wire)


# ---------------------------------------------------------------------------------------------------------------- CANCEL
def test_cancel_before_a_final_is_answered_and_told_once() -> None:
    world, wire, handler = start()
    say(world, wire, raw("INVITE"))
    respond(handler.requests[0], 180, "tt")
    say(world, wire, raw("CANCEL"))
    say(world, wire, raw("CANCEL"))
    assert len(handler.cancels) == 1
    answers = [m for m in wire.messages() if isinstance(m, Response) and m.method == "CANCEL"]
    assert [m.status for m in answers] == [200, 200] and answers[0].to_tag == "tt"
    respond(handler.requests[0], 487, "tt")
    say(world, wire, raw("ACK", to_tag="tt"))
    say(world, wire, raw("CANCEL"))
    assert len(handler.cancels) == 1
    shut(world, wire)


def test_cancel_after_the_final_changes_nothing() -> None:
    world, wire, handler = start()
    say(world, wire, raw("INVITE"))
    respond(handler.requests[0], 200)
    handler.requests[0].acked()
    say(world, wire, raw("CANCEL"))
    assert wire.starts()[-1] == "SIP/2.0 200 OK" and handler.cancels == []
    shut(world, wire)


def test_cancel_of_nothing_is_481() -> None:
    world, wire, handler = start()
    say(world, wire, raw("CANCEL"))
    assert wire.starts() == ["SIP/2.0 481 Call/Transaction Does Not Exist"] and handler.requests == [] and handler.cancels == []
    shut(world, wire)


def test_cancel_of_another_method_is_answered_without_effect() -> None:
    world, wire, handler = start()
    say(world, wire, raw("REGISTER"))
    say(world, wire, raw("CANCEL"))
    assert wire.starts() == ["SIP/2.0 200 OK"] and handler.cancels == []
    respond(handler.requests[0], 200)
    shut(world, wire)


def test_cancel_from_within_the_request_handler_and_answering_at_once() -> None:
    world, wire, handler = start()
    handler.answer = lambda tx: setattr(tx, "on_cancel", lambda _: respond(tx, 487))
    say(world, wire, raw("INVITE"))
    say(world, wire, raw("CANCEL"))
    assert sorted(wire.starts()) == ["SIP/2.0 200 OK", "SIP/2.0 487 Request Terminated"]
    say(world, wire, raw("ACK", to_tag="t1"))
    shut(world, wire)


# ---------------------------------------------------------------------------------------------------------------- merged
def test_merged_request_is_482() -> None:
    world, wire, handler = start()
    say(world, wire, raw("INVITE", branch="z9hG4bK-one"))
    say(world, wire, raw("INVITE", branch="z9hG4bK-two"))
    assert wire.starts() == ["SIP/2.0 482 Loop Detected"] and len(handler.requests) == 1
    tag = parse_message(wire.got[0]).to_tag
    say(world, wire, raw("INVITE", branch="z9hG4bK-two"))
    assert parse_message(wire.got[1]).to_tag == tag != ""  # the same answer to each copy
    say(world, wire, raw("ACK", branch="z9hG4bK-two", to_tag=tag))
    assert handler.acks == []
    respond(handler.requests[0], 486)
    say(world, wire, raw("ACK", branch="z9hG4bK-one", to_tag="t1"))
    shut(world, wire)


def test_not_merged_with_a_to_tag_or_another_cseq_or_after_a_failure() -> None:
    world, wire, handler = start()
    say(world, wire, raw("OPTIONS", branch="z9hG4bK1", to_tag="d"))
    say(world, wire, raw("OPTIONS", branch="z9hG4bK2", to_tag="d"))
    say(world, wire, raw("OPTIONS", branch="z9hG4bK3"))
    say(world, wire, raw("OPTIONS", branch="z9hG4bK4", cseq=2))
    assert len(handler.requests) == 4
    respond(handler.requests[2], 503)
    say(world, wire, raw("OPTIONS", branch="z9hG4bK5"))  # an upstream that tries us again by another way
    assert len(handler.requests) == 5
    for tx in handler.requests:
        respond(tx, 200)
    shut(world, wire)


# -------------------------------------------------------------------------------------------------------------- RFC 2543
@pytest.mark.parametrize("branch", [None, "z9hG4bK", "1", "old-branch"])
def test_rfc2543_matching(branch: str | None) -> None:
    world, wire, handler = start()
    say(world, wire, raw("INVITE", branch=branch))
    say(world, wire, raw("INVITE", branch=branch))
    assert len(handler.requests) == 1
    say(world, wire, raw("INVITE", branch=branch, cseq=2))  # another transaction with the same branch
    assert len(handler.requests) == 2
    say(world, wire, raw("CANCEL", branch=branch))
    assert len(handler.cancels) == 1
    respond(handler.requests[0], 487, "tt")
    respond(handler.requests[1], 486, "uu")
    world.run(0)
    wire.clear()
    say(world, wire, raw("ACK", branch=branch, to_tag="wrong"))
    assert len(handler.acks) == 1  # belongs to neither
    say(world, wire, raw("ACK", branch=branch, to_tag="tt"))
    say(world, wire, raw("ACK", branch=branch, cseq=2, to_tag="uu"))
    assert len(handler.acks) == 1
    world.run(6)
    assert wire.got == [] and handler.ended == ["done", "done"]
    shut(world, wire)


def test_same_branch_of_two_senders_are_two_transactions() -> None:
    world, wire, handler = start()
    other = Wire(world.net, ("10.0.0.8", 5060))
    say(world, wire, raw(call_id="one"))
    say(world, other, raw(call_id="two", via="10.0.0.8:5060"))
    assert len(handler.requests) == 2
    for tx in handler.requests:
        respond(tx, 200)
    shut(world, wire, other)


# ------------------------------------------------------------------------------------------------- bounds and bad handlers
def test_over_the_limit_requests_are_refused_without_state() -> None:
    world, wire, handler = start(limits=Limits(transactions=2))
    for n in range(4):
        say(world, wire, raw("INVITE", branch=f"z9hG4bK{n}", call_id=f"c{n}"))
    assert len(handler.requests) == 2 and wire.starts() == ["SIP/2.0 503 Service Unavailable"] * 2
    assert parse_message(wire.got[0]).first("Retry-After") == "10"
    assert world.a.counters()["invite_server"] == 2 and world.a.counters()["overload"] == 2
    say(world, wire, raw("CANCEL", branch="z9hG4bK0", call_id="c0"))  # gives up load, so it is let through
    assert len(handler.cancels) == 1
    for n, tx in enumerate(handler.requests):
        respond(tx, 487)
        say(world, wire, raw("ACK", branch=f"z9hG4bK{n}", call_id=f"c{n}", to_tag="t1"))
    shut(world, wire)


def test_raising_handler_gives_500_and_harms_nothing() -> None:
    world, wire, handler = start()
    handler.answer = lambda tx: 1 / 0
    say(world, wire, raw())
    assert wire.starts() == ["SIP/2.0 500 Server Internal Error"]
    handler.answer = lambda tx: respond(tx, 200)
    say(world, wire, raw(branch="z9hG4bKnext", call_id="c2"))
    assert wire.starts()[-1] == "SIP/2.0 200 OK"
    world.expected_errors = 1
    assert world.a.counters()["errors"] == 1
    shut(world, wire)


def test_parse_error_in_the_handler_is_answered_with_its_code() -> None:
    world, wire, handler = start()

    def bad(tx: ServerTransaction) -> None:
        raise ParseError("Bad Contact Header", 400)

    handler.answer = bad
    say(world, wire, raw())
    assert wire.starts() == ["SIP/2.0 400 Bad Contact Header"] and world.a.counters()["errors"] == 0
    shut(world, wire)


def test_raising_on_cancel_and_on_end() -> None:
    world, wire, handler = start()

    def arm(tx: ServerTransaction) -> None:
        tx.on_cancel = lambda _: 1 / 0
        tx.on_end = lambda _: 1 / 0

    handler.answer = arm
    say(world, wire, raw("INVITE"))
    say(world, wire, raw("CANCEL"))
    assert wire.starts() == ["SIP/2.0 200 OK"]
    respond(handler.requests[0], 487)
    say(world, wire, raw("ACK", to_tag="t1"))
    world.run(10)
    world.expected_errors = 2
    assert world.a.counters()["errors"] == 2
    shut(world, wire)


def test_close_forgets_everything_silently() -> None:
    world, wire, handler = start()
    say(world, wire, raw("INVITE"))
    say(world, wire, raw("OPTIONS", branch="z9hG4bK2", call_id="c2"))
    respond(handler.requests[0], 180)
    world.a.close()
    world.run(100)
    assert handler.ended == [] and world.a.counters()["timers"] == 0
    shut(world, wire)


def test_500_from_the_stack_that_has_no_handler_yet() -> None:
    world = World()
    stack = world.stack(("10.0.0.3",))
    from ngcpd.sip.handler import NotReady

    stack.handler = NotReady(stack)
    stack.listen("udp", ("10.0.0.3", 5060))
    wire = Wire(world.net, ("10.0.0.9", 5060))
    wire.send(raw(), ("10.0.0.3", 5060))
    world.run(0)
    assert wire.starts() == ["SIP/2.0 503 Service Unavailable"]
    shut(world, wire)
