"""Client transactions against a raw peer: every timer, CANCEL, fail-over, RFC 3261 17.1, 9.1, RFC 3263 4.3, RFC 6026."""

from __future__ import annotations

import pytest

from ngcpd.sip.endpoint import Hop
from ngcpd.sip.message import Request, Response, parse_message
from ngcpd.sip.stack import ClientTransaction, Stack
from tests.sip.moving import RawStream, User, Wire, World, answer, no_leaks, request  # noqa: F401 - a fixture

A = ("10.0.0.1", 5060)


class Peer:
    """World, raw callee at 10.0.0.9, user."""

    def __init__(self, host: str = "10.0.0.9") -> None:
        self.world = World()
        self.world.listen("udp", "tcp")
        self.stack: Stack = self.world.a
        self.wire = Wire(self.world.net, (host, 5060))
        self.user = User()

    def hops(self, *uris: str) -> list[Hop]:
        return [hop for uri in uris or ("sip:10.0.0.9",) for hop in self.world.hops(self.stack, uri)]

    def send(self, method: str = "OPTIONS", *uris: str, **kw: float) -> ClientTransaction:
        tx = self.stack.send(request(method), self.hops(*uris), self.user, **kw)
        self.run(0)
        return tx

    def run(self, seconds: float) -> None:
        self.world.run(seconds)

    def answer(self, status: int, tag: str = "t1", index: int = 0) -> None:
        self.wire.send(answer(self.wire.got[index], status, tag), A)
        self.run(0)

    def sent(self, method: str) -> list[bytes]:
        return [d for d in self.wire.got if d.startswith(method.encode())]

    def end(self, seconds: float = 70.0) -> None:
        self.wire.sock.close()
        self.world.finish(seconds)


# ------------------------------------------------------------------------------------------------------------ non-INVITE
def test_via_is_ours_and_asks_for_rport() -> None:
    p = Peer()
    tx = p.send()
    via = parse_message(p.wire.got[0]).via
    assert (via.transport, via.host, via.port) == ("UDP", "10.0.0.1", 5060)
    assert via.branch.startswith("z9hG4bK") and len(via.branch) > 20 and via.wants_rport
    assert tx.request.via.branch == via.branch and tx.hop.remote == ("10.0.0.9", 5060)
    p.answer(200)
    assert p.user.statuses == [200]
    p.end()


def test_timer_e_doubles_to_t2_and_timer_f_ends() -> None:
    p = Peer()
    p.send()
    p.run(31.9)
    assert p.wire.at == [0, 0.5, 1.5, 3.5, 7.5, 11.5, 15.5, 19.5, 23.5, 27.5, 31.5]
    assert p.user.failures == []
    p.run(0.2)
    assert p.user.failures == ["timeout"]
    assert p.world.a.counters()["client"] == 0
    p.end()


def test_provisional_slows_to_t2_and_does_not_stop_timer_f() -> None:
    p = Peer()
    p.send()
    p.run(0.1)
    p.answer(100)
    p.run(31.7)
    assert p.wire.at == [0, 0.5, 4.5, 8.5, 12.5, 16.5, 20.5, 24.5, 28.5]
    p.run(0.3)
    assert p.user.statuses == [100] and p.user.failures == ["expired"]
    p.end()


def test_timer_k_absorbs_repeated_finals() -> None:
    p = Peer()
    p.send()
    p.answer(200)
    p.answer(200)
    p.run(4.9)
    p.answer(200)
    assert p.user.statuses == [200] and p.world.ra.strays == []
    p.run(0.2)
    p.answer(200)
    assert p.user.statuses == [200] and len(p.world.ra.strays) == 1
    p.end()


def test_first_reply_shortens_the_wait() -> None:
    p = Peer()
    p.send("OPTIONS", first_reply=3.0)
    p.run(3.1)
    assert p.user.failures == ["timeout"]
    p.end()


def test_final_reply_bounds_a_non_invite() -> None:
    p = Peer()
    p.send("OPTIONS", first_reply=3.0, final_reply=10.0)
    p.answer(100)
    p.run(10.1)
    assert p.user.failures == ["expired"] and p.world.a.counters()["client"] == 0
    p.end()


def test_first_reply_answered_leaves_timer_f() -> None:
    p = Peer()
    p.send("OPTIONS", first_reply=3.0)
    p.run(1.0)
    p.answer(100)
    p.run(30.9)
    assert p.user.failures == []
    p.run(0.3)
    assert p.user.failures == ["expired"]
    p.end()


# ---------------------------------------------------------------------------------------------------------------- INVITE
def test_timer_a_doubles_without_bound_and_timer_b_ends() -> None:
    p = Peer()
    p.send("INVITE")
    p.run(32.1)
    assert p.wire.at == [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]
    assert p.user.failures == ["timeout"] and p.world.a.counters()["invite_client"] == 0
    p.end()


def test_provisional_stops_retransmission_and_waits_for_ever() -> None:
    p = Peer()
    p.send("INVITE")
    p.run(0.6)
    p.answer(100)
    p.answer(180)
    p.run(500)
    assert len(p.wire.got) == 2 and p.user.statuses == [100, 180] and p.user.failures == []
    p.answer(480)
    p.end()


def test_failure_is_acknowledged_by_the_layer_each_time() -> None:
    p = Peer()
    tx = p.send("INVITE")
    p.answer(180)
    p.answer(486, "busy")
    p.answer(486, "busy")
    acks = p.sent("ACK")
    assert len(acks) == 2 and acks[0] == acks[1] and p.user.statuses == [180, 486]
    ack = parse_message(acks[0])
    assert isinstance(ack, Request)
    invite = tx.request
    assert (ack.uri, ack.raw("Via"), ack.to_tag, ack.cseq, ack.method) == (invite.uri, invite.raw("Via"), "busy", invite.cseq, "ACK")
    assert ack.first("From") == invite.first("From") and ack.call_id == invite.call_id and ack.max_forwards == 70
    p.run(31.8)
    p.answer(486, "busy")
    assert len(p.sent("ACK")) == 3
    p.run(0.4)  # Timer D
    p.answer(486, "busy")
    assert len(p.sent("ACK")) == 3 and len(p.world.ra.strays) == 1
    p.end()


def test_ack_and_cancel_carry_the_route() -> None:
    p = Peer()
    invite = request("INVITE")
    invite.add("Route", "<sip:10.0.0.9;lr>, <sip:far.example;lr>")
    tx = p.stack.send(invite, p.hops(), p.user)
    p.run(0)
    p.answer(180)
    tx.cancel([("Reason", 'SIP;cause=200;text="Call completed elsewhere"')])
    p.run(0)
    p.answer(487)
    for data in (*p.sent("ACK"), *p.sent("CANCEL")):
        assert parse_message(data).values("Route") == ["<sip:10.0.0.9;lr>", "<sip:far.example;lr>"]
    assert parse_message(p.sent("CANCEL")[0]).first("Reason") == 'SIP;cause=200;text="Call completed elsewhere"'
    p.end()


def test_each_2xx_goes_up_until_timer_m() -> None:
    p = Peer()
    p.send("INVITE")
    p.answer(200, "fork1")
    p.answer(200, "fork1")
    p.answer(200, "fork2")
    p.answer(180, "fork3")
    p.answer(486, "fork3")
    assert p.user.statuses == [200, 200, 200] and p.sent("ACK") == []
    p.run(31.8)
    p.answer(200, "fork4")
    assert len(p.user.statuses) == 4
    p.run(0.3)
    p.answer(200, "fork5")
    assert len(p.user.statuses) == 4 and [r.to_tag for r in p.world.ra.strays] == ["fork5"]
    p.end()


def test_expired_is_told_once_and_cancelled_by_the_layer() -> None:
    p = Peer()
    p.send("INVITE", first_reply=9.0, final_reply=20.0)
    p.answer(180)
    p.run(20.1)
    assert p.user.failures == ["expired"] and len(p.sent("CANCEL")) == 1
    p.answer(180)  # not told any more
    p.wire.send(answer(p.sent("CANCEL")[0], 200), A)
    p.answer(487)
    assert p.user.failures == ["expired"] and p.user.statuses == [180] and len(p.sent("ACK")) == 1
    p.end()


def test_answer_that_crosses_the_expiry_still_goes_up() -> None:
    p = Peer()
    p.send("INVITE", final_reply=20.0)
    p.answer(180)
    p.run(20.1)
    p.answer(200, "late")
    assert p.user.failures == ["expired"] and p.user.statuses == [180, 200]
    p.end()


def test_first_reply_in_time_then_only_the_final_limit_counts() -> None:
    p = Peer()
    p.send("INVITE", first_reply=9.0, final_reply=180.0)
    p.run(8)
    p.answer(180)
    p.run(100)
    assert p.user.failures == []
    p.answer(200)
    assert p.user.statuses == [180, 200]
    p.run(100)
    assert p.user.failures == []
    p.end()


def test_late_ringing_after_the_first_reply_limit_is_cancelled() -> None:
    """The caller was told already; the callee must not ring on for ever."""
    p = Peer()
    p.send("INVITE", first_reply=9.0)
    p.run(9.1)
    assert p.user.failures == ["timeout"]
    sent = len(p.sent("INVITE"))
    p.run(5)
    assert len(p.sent("INVITE")) == sent
    p.answer(180)
    assert p.user.statuses == [] and len(p.sent("CANCEL")) == 1
    p.wire.send(answer(p.sent("CANCEL")[0], 200), A)
    p.answer(487)
    assert len(p.sent("ACK")) == 1 and p.user.statuses == [] and p.user.failures == ["timeout"]
    p.end()


# ---------------------------------------------------------------------------------------------------------------- CANCEL
def test_cancel_waits_for_a_provisional() -> None:
    p = Peer()
    tx = p.send("INVITE")
    tx.cancel()
    tx.cancel()
    p.run(0.6)
    assert p.sent("CANCEL") == [] and len(p.sent("INVITE")) == 2  # still repeated
    p.answer(100)
    p.run(0.4)
    assert len(p.sent("CANCEL")) == 1
    cancel, invite = parse_message(p.sent("CANCEL")[0]), parse_message(p.sent("INVITE")[0])
    assert isinstance(cancel, Request) and isinstance(invite, Request)
    assert (cancel.uri, cancel.raw("Via"), cancel.first("To"), cancel.cseq) == (invite.uri, invite.raw("Via"), invite.first("To"), invite.cseq)
    p.run(0.2)
    assert len(p.sent("CANCEL")) == 2  # Timer E of the CANCEL
    p.wire.send(answer(p.sent("CANCEL")[0], 200), A)
    p.answer(487)
    assert p.user.statuses == [100, 487] and p.user.failures == []
    p.end()


def test_cancel_without_any_answer_fails_by_timer_b() -> None:
    p = Peer()
    tx = p.send("INVITE")
    tx.cancel()
    p.run(32.2)
    assert p.user.failures == ["timeout"] and p.sent("CANCEL") == []
    p.end()


def test_after_cancel_the_final_is_awaited_for_64_t1() -> None:
    p = Peer()
    tx = p.send("INVITE", final_reply=180)
    p.answer(180)
    p.run(10)
    tx.cancel()
    p.run(31.9)
    assert p.user.failures == []
    p.run(0.2)
    assert p.user.failures == ["timeout"]
    p.run(200)
    assert p.user.failures == ["timeout"]
    p.end()


def test_cancel_replaces_the_limit_of_the_final_response() -> None:
    p = Peer()
    tx = p.send("INVITE", final_reply=20.0)
    p.answer(180)
    p.run(15)
    tx.cancel()
    p.run(20)
    assert p.user.failures == []
    p.answer(487)
    assert p.user.statuses == [180, 487] and p.user.failures == []
    p.end()


def test_cancel_that_crosses_the_2xx() -> None:
    p = Peer()
    tx = p.send("INVITE")
    p.answer(180)
    tx.cancel()
    p.answer(200)
    assert p.user.statuses == [180, 200] and p.user.failures == []
    p.end()


def test_cancel_after_the_final_and_of_other_methods_does_nothing() -> None:
    p = Peer()
    tx = p.send("INVITE")
    p.answer(486)
    tx.cancel()
    other = p.send("OPTIONS")
    other.cancel()
    p.run(0.1)
    assert p.sent("CANCEL") == []
    p.wire.send(answer(p.sent("OPTIONS")[0], 200), A)
    p.end()


def test_cancel_from_within_the_response_callback() -> None:
    p = Peer()

    class Impatient(User):
        def response(self, tx: ClientTransaction, response: Response) -> None:
            super().response(tx, response)
            if response.status == 180:
                tx.cancel()

    p.user = Impatient()
    p.send("INVITE")
    p.answer(180)
    assert len(p.sent("CANCEL")) == 1
    p.answer(487)
    assert p.user.statuses == [180, 487]
    p.end()


# ------------------------------------------------------------------------------------------------------------- fail-over
def test_failover_after_timeout_uses_a_new_branch() -> None:
    p = Peer("10.0.0.8")
    p.send("OPTIONS", "sip:10.0.0.7", "sip:10.0.0.8", first_reply=2.0)
    p.run(2.1)
    assert len(p.wire.got) == 1
    p.answer(200)
    assert p.user.statuses == [200] and p.user.failures == []
    p.end()


def test_failover_after_503_and_the_last_503_goes_up() -> None:
    p = Peer()
    second = Wire(p.world.net, ("10.0.0.8", 5060))
    tx = p.send("INVITE", "sip:10.0.0.9", "sip:10.0.0.8")
    p.answer(503)
    p.run(0)
    assert len(p.sent("ACK")) == 1 and p.user.statuses == []
    branches = {parse_message(d).via.branch for d in (p.wire.got[0], second.got[0])}
    assert len(branches) == 2 and tx.hop.remote == ("10.0.0.8", 5060) and tx.request.via.branch == parse_message(second.got[0]).via.branch
    second.send(answer(second.got[0], 503), A)
    p.run(0)
    assert p.user.statuses == [503] and p.user.failures == []
    second.sock.close()
    p.end()


def test_no_failover_after_a_provisional_or_a_cancel() -> None:
    p = Peer()
    second = Wire(p.world.net, ("10.0.0.8", 5060))
    tx = p.send("INVITE", "sip:10.0.0.9", "sip:10.0.0.8")
    tx.cancel()
    p.run(33)
    assert p.user.failures == ["timeout"] and second.got == []
    p.user.failures.clear()
    p.send("OPTIONS", "sip:10.0.0.9", "sip:10.0.0.8")
    p.wire.send(answer(p.sent("OPTIONS")[0], 100), A)
    p.run(33)
    assert p.user.failures == ["expired"] and second.got == []
    second.sock.close()
    p.end()


def test_answer_of_a_hop_that_was_given_up_wins_and_the_other_is_cancelled() -> None:
    p = Peer()
    second = Wire(p.world.net, ("10.0.0.8", 5060))
    tx = p.send("INVITE", "sip:10.0.0.9", "sip:10.0.0.8", first_reply=5.0)
    p.run(5.1)
    assert tx.hop.remote[0] == "10.0.0.8"
    second.send(answer(second.got[0], 180, "two"), A)
    p.run(0)
    p.answer(200, "one")
    p.run(0)
    assert p.user.statuses == [180, 200] and tx.hop.remote[0] == "10.0.0.9"
    assert [s.split()[0] for s in second.starts()] == ["INVITE", "CANCEL"]
    second.send(answer(second.got[0], 487, "two"), A)
    p.run(0)
    assert p.user.statuses == [180, 200] and p.user.failures == []
    second.sock.close()
    p.end()


def test_late_failure_of_a_hop_that_was_given_up_is_not_the_outcome() -> None:
    p = Peer()
    second = Wire(p.world.net, ("10.0.0.8", 5060))
    p.send("INVITE", "sip:10.0.0.9", "sip:10.0.0.8", first_reply=5.0)
    p.run(5.1)
    p.answer(180, "one")
    assert len(p.sent("CANCEL")) == 1
    p.wire.send(answer(p.sent("CANCEL")[0], 200), A)
    p.answer(487, "one")
    assert p.user.statuses == [] and len(p.sent("ACK")) == 1
    second.send(answer(second.got[0], 200, "two"), A)
    p.run(0)
    assert p.user.statuses == [200] and p.user.failures == []
    second.sock.close()
    p.end()


def test_refused_datagram_gets_a_second_chance_then_fails() -> None:
    p = Peer()
    real = p.stack.transports.sockets[0].udp
    assert real is not None

    class Refusing:
        address = real.address
        refuse = 1

        def send(self, data: bytes, to: tuple[str, int]) -> bool:
            if self.refuse:
                self.refuse -= 1
                return False
            return real.send(data, to)

        def close(self) -> None:
            real.close()

    socket = p.stack.transports.sockets[0].udp = Refusing()
    p.send()
    assert p.wire.got == []
    p.run(0.5)
    assert len(p.wire.got) == 1
    p.answer(200)
    assert p.user.statuses == [200]
    socket.refuse = 99
    p.send()
    p.run(0.6)
    assert p.user.failures == ["transport"]
    p.end()


# --------------------------------------------------------------------------------------------------------------- streams
def tcp_peer(p: Peer) -> RawStream:
    callee = RawStream()
    p.world.net.listen(("10.0.0.9", 5060), lambda: callee)
    return callee


def test_over_tcp_nothing_is_repeated_and_the_end_is_immediate() -> None:
    p = Peer()
    callee = tcp_peer(p)
    p.send("INVITE", "sip:10.0.0.9;transport=tcp")
    p.run(20)
    assert [s.split()[0] for s in callee.starts()] == ["INVITE"]
    callee.stream.write(answer(callee.data, 486))
    p.run(0)
    assert p.user.statuses == [486] and [s.split()[0] for s in callee.starts()] == ["INVITE", "ACK"]
    assert p.world.a.counters()["invite_client"] == 0
    p.world.net.listeners[("10.0.0.9", 5060)].close()
    p.end()


def test_timer_b_counts_over_tcp_too() -> None:
    p = Peer()
    tcp_peer(p)
    p.send("INVITE", "sip:10.0.0.9;transport=tcp")
    p.run(32.1)
    assert p.user.failures == ["timeout"]
    p.world.net.listeners[("10.0.0.9", 5060)].close()
    p.end()


@pytest.mark.parametrize("method", ["INVITE", "OPTIONS"])
def test_refused_connection_is_a_transport_failure_and_fails_over(method: str) -> None:
    p = Peer("10.0.0.8")
    p.send(method, "sip:10.0.0.9;transport=tcp")
    p.run(0)
    assert p.user.failures == ["transport"]
    p.send(method, "sip:10.0.0.9;transport=tcp", "sip:10.0.0.8")
    p.run(0)
    assert len(p.wire.got) == 1
    p.answer(404)
    assert p.user.statuses == [404]
    p.end()


def test_connection_that_ends_fails_what_waits_on_it() -> None:
    p = Peer()
    callee = tcp_peer(p)
    p.send("INVITE", "sip:10.0.0.9;transport=tcp")
    p.run(1)
    callee.stream.write(answer(callee.data, 180))
    p.run(1)
    callee.stream.abort()
    p.run(0)
    assert p.user.statuses == [180] and p.user.failures == ["transport"]
    p.world.net.listeners[("10.0.0.9", 5060)].close()
    p.end()


def test_finished_transactions_leave_nothing_on_the_connection() -> None:
    p = Peer()
    callee = tcp_peer(p)
    for method, final in (("OPTIONS", 200), ("INVITE", 200), ("INVITE", 404)):
        p.send(method, "sip:10.0.0.9;transport=tcp")
        callee.stream.write(answer(callee.data, final))
        callee.data = b""
        p.run(0)
    p.run(40)
    (flow,) = p.stack.transports.flows.values()
    assert not flow._watchers and p.user.statuses == [200, 200, 404]
    p.world.net.listeners[("10.0.0.9", 5060)].close()
    p.end()


def test_connection_that_ends_after_the_answer_harms_nothing() -> None:
    p = Peer()
    callee = tcp_peer(p)
    p.send("INVITE", "sip:10.0.0.9;transport=tcp")
    p.run(0)
    callee.stream.write(answer(callee.data, 200))
    p.run(0)
    callee.stream.close()
    p.run(1)
    assert p.user.statuses == [200] and p.user.failures == []
    p.world.net.listeners[("10.0.0.9", 5060)].close()
    p.end()


def test_cut_link_times_out_while_connecting() -> None:
    p = Peer()
    p.world.net.cut("10.0.0.1", "10.0.0.9")
    p.send("OPTIONS", "sip:10.0.0.9;transport=tcp")
    p.run(7.9)
    assert p.user.failures == []
    p.run(0.2)
    assert p.user.failures == ["transport"]
    p.end()


# ------------------------------------------------------------------------------------------------------------------ misc
def test_failure_is_never_told_before_send_has_returned() -> None:
    p = Peer()
    told: list[str] = []

    class Early(User):
        def failed(self, tx: ClientTransaction, kind: str) -> None:
            told.append(kind)

    p.world.net.unsent.add("10.0.0.9")
    flow_hop = p.hops("sip:10.0.0.9;transport=tcp")
    p.stack.transports.limits = type(p.stack.limits)(connections=0)
    p.stack.send(request(), flow_hop, Early())
    assert told == []
    p.run(0.1)
    assert told == ["transport"]
    p.end()


def test_no_hops_is_a_programming_error() -> None:
    p = Peer()
    with pytest.raises(ValueError):
        p.stack.send(request(), [], p.user)
    p.end()


def test_raising_user_harms_nothing() -> None:
    p = Peer()

    class Bad(User):
        def response(self, tx: ClientTransaction, response: Response) -> None:
            raise RuntimeError("user")

        failed = response  # type: ignore[assignment]

    p.stack.send(request("INVITE"), p.hops(), Bad())
    p.run(0)
    p.answer(180)
    p.answer(486)
    assert len(p.sent("ACK")) == 1
    p.stack.send(request(call_id="c2"), p.hops(), Bad())
    p.run(40)
    assert p.stack.counters()["errors"] == 3
    p.world.expected_errors = 3
    p.end()


def test_stray_responses_are_dropped_and_counted() -> None:
    p = Peer()
    p.send()
    good = answer(p.wire.got[0], 200)
    p.wire.send(good.replace(b"10.0.0.1:5060", b"10.0.0.77:5060"), A)  # not our Via
    p.wire.send(good.replace(b"Via: ", b"Via: SIP/2.0/UDP 10.0.0.1:5060;branch=z9hG4bKother, "), A)  # two Vias
    p.run(0)
    assert p.user.statuses == [] and p.world.ra.strays == []
    p.wire.send(good.replace(b"z9hG4bK", b"z9hG4bKx"), A)  # another branch
    p.wire.send(good.replace(b"1 OPTIONS", b"1 INVITE"), A)  # another method
    p.run(0)
    assert p.user.statuses == [] and len(p.world.ra.strays) == 2 and p.stack.counters()["stray"] == 4
    p.wire.send(b"SIP/2.0 200 OK\r\nVia: rubbish\r\n\r\n", A)
    p.run(0)
    assert p.stack.counters()["malformed"] == 1 and len(p.wire.got) == 1
    p.wire.send(good, A)
    p.end()


def test_ack_of_2xx_outside_of_a_transaction() -> None:
    p = Peer()
    data = p.stack.send_ack(request("ACK", to_tag="t1"), p.hops())
    p.run(0)
    assert p.wire.got == [data] and parse_message(data).via.branch.startswith("z9hG4bK")
    assert p.stack.repeat(data, p.hops())
    p.run(0)
    assert p.wire.got == [data, data]
    p.end()


def test_the_request_given_is_not_changed() -> None:
    p = Peer()
    mine = request()
    before = list(mine.fields)
    p.stack.send(mine, p.hops(), p.user)
    p.run(0)
    assert mine.fields == before
    p.answer(200)
    p.end()


def test_close_is_silent() -> None:
    p = Peer()
    p.send("INVITE", final_reply=100)
    p.send("OPTIONS")
    p.world.a.close()
    p.run(100)
    assert p.user.failures == []
    p.end()
