"""Which header fields cross between the legs (call processing 1.3, 1.5)."""

from __future__ import annotations

import pytest

from ngcpd.calls.call import rank
from ngcpd.calls.dialog import untagged, without_tag
from ngcpd.calls.fields import filter_allow, filter_options, relayed
from ngcpd.routing.headers import DEFAULT_FILTER
from ngcpd.sip.headers import NameAddr
from ngcpd.sip.message import Request, Response
from tests.calls.rig import ALICE, BOB, End, answer, established, hang_up, offer_of
from tests.world import World

SPOOFED = [
    "P-Asserted-Identity: <sip:boss@spce.test>",
    "P-Caller-UUID: 1234",
    "P-Callee-UUID: 1234",
    "P-NGCP-Src-Ip: 10.0.0.1",
    "P-NGCP-Caller-Info: <sip:a@b>;ip=1.2.3.4",
    "P-App-Name: sbc",
    "P-App-Param: x=1",
    "P-D-Uri: sip:127.9.9.9",
    "P-R-Uri: sip:127.9.9.9",
    "P-Called-Party-ID: <sip:a@b>",
    "P-First-Caller-UPN: 1",
    "P-Acc-State: cfu",
    "P-CF-Depth: 3",
    "Remote-Party-ID: <sip:boss@spce.test>",
    "User-Agent: Phone/1.0",
    "Subject: secret project",
    "Organization: Acme",
    "X-Anything: x",
    "Replaces: abc;to-tag=1;from-tag=2",
    "Alert-Info: <http://127.1.4.3/ring.wav>",
    "Server: Phone/1.0",
    "Path: <sip:127.1.4.3;lr>",
    "Service-Route: <sip:127.1.4.3;lr>",
]


def test_what_must_never_pass(world: World) -> None:
    """T15 and more: forged and private fields of the caller are not seen by the callee."""
    a, b = world.registered(ALICE), world.registered(BOB)
    call = a.call("sip:testuser1003@spce.test", world.run, offer_of(a), SPOOFED)
    invite = b.take("INVITE")
    assert invite["p-asserted-identity"] == "<sip:4311002@spce.test>"
    for field in SPOOFED[1:]:
        assert field.partition(":")[0].lower() not in invite.headers, field
    assert "proxy-authorization" not in invite.headers and "boss" not in invite.raw.decode()
    hang_up(world, answer(world, a, b, call, invite))


def test_what_must_never_pass_inside_a_dialog(world: World, end: End) -> None:
    forged = [f for f in SPOOFED if not f.startswith(("Path", "Service-Route", "Replaces"))]
    end.send("INFO", b"x", forged, ctype="application/x")
    world.run()
    info = end.other.take("INFO")
    for field in forged:
        assert field.partition(":")[0].lower() not in info.headers, field
    end.other.reply(info, 200, "OK", fields=forged)
    world.run()
    ok = end.phone.take(200)
    for field in forged[:-1]:
        assert field.partition(":")[0].lower() not in {*ok.headers} - {"server"}, field
    hang_up(world, end.talk)


def test_what_the_callee_says_is_filtered_too(world: World) -> None:
    a, b = world.registered(ALICE), world.registered(BOB)
    call = a.call("sip:testuser1003@spce.test", world.run, offer_of(a))
    invite = b.take("INVITE")
    fields = [*SPOOFED, "Allow: INVITE, ACK, REFER, BYE, SUBSCRIBE", "Allow: INFO", "Supported: replaces, timer", "Supported: 100rel, gruu"]
    b.reply(invite, 180, "Ringing", fields=fields)
    world.run()
    ringing = a.take(180)
    for field in SPOOFED:
        assert field.partition(":")[0].lower() not in {*ringing.headers} - {"server"}, field
    assert ringing.headers["allow"] == ["INVITE, ACK, BYE", "INFO"] and ringing.headers["supported"] == ["timer"]
    hang_up(world, answer(world, a, b, call, invite))


def test_whitelisted_fields_pass_in_their_order(world: World) -> None:
    a, b = world.registered(ALICE), world.registered(BOB)
    fields = [
        "Allow: INVITE, ACK, CANCEL, BYE, REFER, NOTIFY",
        "Supported: replaces, timer, precondition",
        "Supported: x-own",
        "Call-Info: <http://x.example/1>;purpose=icon",
        "Call-Info: <http://x.example/2>;purpose=info",
        "History-Info: <sip:old@spce.test>;index=1",
        "Reason: Q.850;cause=16",
        "Max-Forwards: 12",
    ]
    call = a.call("sip:testuser1003@spce.test", world.run, offer_of(a), fields[:-1])
    invite = b.take("INVITE")
    assert invite.headers["allow"] == ["INVITE, ACK, CANCEL, BYE, NOTIFY"]
    assert invite.headers["supported"] == ["timer, precondition", "x-own"]
    assert [v.partition(";")[0] for v in invite.headers["call-info"]] == ["<http://x.example/1>", "<http://x.example/2>"]
    assert invite["reason"] == "Q.850;cause=16" and invite["max-forwards"] == "70"
    for name, values in invite.headers.items():
        assert len(set(values)) == len(values), f"{name} twice: {values}"
    hang_up(world, answer(world, a, b, call, invite))


def test_warning_keeps_its_text_and_loses_its_host(world: World) -> None:
    a, b = world.registered(ALICE), world.registered(BOB)
    call = a.call("sip:testuser1003@spce.test", world.run, offer_of(a))
    invite = b.take("INVITE")
    warning = 'Warning: 304 127.1.4.4:5060 "Media type, not available", 399 host "x"'
    b.reply(invite, 488, "Not Acceptable", offer_of(b), [warning, "Error-Info: <sip:127.1.4.4>"])
    world.run()
    final = a.take(488)
    assert final["warning"] == '304 platform "Media type, not available", 399 platform "x"'
    assert "error-info" not in final.headers and not final.body, "a session description in a failure names addresses"
    call.ack(final)


def test_other_bodies_of_failures_pass(world: World) -> None:
    a, b = world.registered(ALICE), world.registered(BOB)
    call = a.call("sip:testuser1003@spce.test", world.run, offer_of(a))
    b.reply(b.take("INVITE"), 486, "Busy Here", b"<why/>", ctype="application/why+xml")
    world.run()
    final = a.take(486)
    assert final.body == b"<why/>" and final["content-type"] == "application/why+xml"
    call.ack(final)


def test_display_names_are_quoted_inside_dialogs(world: World) -> None:
    """A name with a comma must not break From and To of later requests."""
    a, b = world.registered(ALICE), world.registered(BOB)
    a.from_value = '"Doe, \\"J\\" <x>" <sip:testuser1002@spce.test>;x-param="a;b"'
    talk = established(world, a, b)
    b.in_dialog(talk.invite, "INFO", 1, b"x", ctype="application/x")
    world.run()
    info = a.take("INFO")
    assert info["to"] == f"{a.from_value};tag={talk.call.from_tag}"
    a.reply(info, 200, "OK")
    world.run()
    b.take(200)
    hang_up(world, talk)


@pytest.mark.parametrize(("mode", "seen"), [("strip", None), ("passthrough", "Phone/1.0"), ("replace", "Platform")])
def test_user_agent(mode: str, seen: str | None) -> None:
    world = World()
    world.prefer("usr", BOB, ua_header_mode=mode, **({"ua_header_replace": "Platform"} if mode == "replace" else {}))
    a, b = world.registered(ALICE), world.registered(BOB)
    call = a.call("sip:testuser1003@spce.test", world.run, offer_of(a), ["User-Agent: Phone/1.0"])
    invite = b.take("INVITE")
    assert invite.headers.get("user-agent") == ([seen] if seen else None)
    hang_up(world, answer(world, a, b, call, invite))
    world.end()


# ---------------------------------------------------------------------------------------------------------------- units
def test_option_lists() -> None:
    assert filter_options("timer, Replaces , 100rel,,join") == "timer, 100rel"
    assert filter_options("timer, 100REL", ("100rel",)) == "timer"
    assert filter_options("replaces") == ""
    assert filter_allow("INVITE,refer, REFER ,SUBSCRIBE, BYE,") == "INVITE, BYE"


def test_repeated_fields_and_empty_lists() -> None:
    fields = [
        ("Supported", "replaces"),
        ("Require", "timer"),
        ("Supported", "timer"),
        ("Allow", "REFER"),
        ("Reason", "SIP;cause=1"),
        ("Reason", "SIP;cause=2"),
        ("Warning", "broken"),
        ("Content-Type", "text/plain"),
        ("Content-Language", "en"),
        ("RSeq", "1"),
        ("Contact", "<sip:x@y>"),
        ("Call-Info", "<a:b>"),
    ]
    message = Response.make(200, "OK", fields, b"text")
    assert relayed(message, None, body=False) == [("Require", "timer"), ("Supported", "timer"), ("Reason", "SIP;cause=1"), ("Reason", "SIP;cause=2")]
    names = [n for n, _ in relayed(message, DEFAULT_FILTER)]
    assert names == ["Require", "Supported", "Reason", "Reason", "Call-Info", "Content-Type", "Content-Language"]
    assert [n for n, _ in relayed(message, DEFAULT_FILTER, body=False)] == names[:-2]
    assert "Content-Type" not in [n for n, _ in relayed(Response.make(200, "OK", fields), DEFAULT_FILTER)], (
        "nothing is described when there is no body"
    )


def test_fields_of_a_message_cross_in_three_groups_each_in_its_order() -> None:
    single = [("Call-Info", "<x>"), ("Content-Type", "a/b"), ("Supported", "timer,path"), ("X-No", "1"), ("Content-Foo", "z"), ("Reason", "SIP")]
    wanted = [("Supported", "timer"), ("Reason", "SIP"), ("Call-Info", "<x>"), ("Content-Type", "a/b"), ("Content-Foo", "z")]
    for more in ([], [("Via", "SIP/2.0/UDP a"), ("Via", "SIP/2.0/UDP b")], [("From", "<sip:a@b>")]):
        for body in (b"x", b""):
            message = Request.make("INFO", "sip:a@b", [*more, *single, ("Content-Length", "1")], body)
            assert relayed(message, DEFAULT_FILTER) == (wanted if body else wanted[:-2])
            assert relayed(message, DEFAULT_FILTER, body=False) == wanted[:-2]
            assert relayed(message, None, body=False) == wanted[:2]
    twice = Request.make("INFO", "sip:a@b", [("Reason", "1"), ("Allow", "BYE"), ("Reason", "2"), ("Call-Info", "3"), ("Call-Info", "4")])
    assert [v for _, v in relayed(twice, DEFAULT_FILTER)] == ["1", "BYE", "2", "3", "4"]


def test_long_lists_are_filtered_like_short_ones() -> None:
    assert filter_options("x, path, " * 300) == ", ".join(["x"] * 300)
    assert filter_allow("REFER, BYE, " * 300) == ", ".join(["BYE"] * 300)


@pytest.mark.parametrize(
    ("text", "tag"),
    [('"A, B" <sip:a@b>;x=1;tag=abc', "abc"), ("sip:a@b;tag=abc", "abc"), ("<sip:a@b>;tag=abc;y=1", "abc"), ('<sip:a@b>;y=";";tag=t', "t")]
    + [(f'"{"n" * 600}" <sip:a@b>;tag=abc', "abc"), ("<sip:a@b>", ""), ("<sip:a@b>;TAG=x", "x")],
)
def test_untagged_is_without_tag(text: str, tag: str) -> None:
    for _ in range(2):
        assert untagged(text, tag) == without_tag(NameAddr.parse(text))


@pytest.mark.parametrize(
    "text", ['"A, B" <sip:a@b>;x=1', "<sip:a@b>", '"q\\"uote" <sip:a@b:5070;transport=tcp>;y="a;b"', "Plain Name <sip:a@b>", "sip:a@b;x=1"]
)
def test_without_tag(text: str) -> None:
    tagged = NameAddr.parse(text + ";tag=abc")
    again = NameAddr.parse(without_tag(tagged))
    assert again == NameAddr.parse(text) and again.tag == ""


def test_rank_prefers_what_says_more() -> None:
    order = [603, 302, 486, 404, 480, 408, 487, 500, 503]
    assert sorted(order, key=rank) == order
