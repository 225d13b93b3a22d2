"""C25: From, To, identities, R-URI, next hop and media hints of leg B (call processing 3.7, 1.6, 3.18)."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ngcpd.routing.model import Deliver
from ngcpd.routing.uris import sip_uri
from ngcpd.sip.address import name_addr
from ngcpd.sip.headers import NameAddr
from ngcpd.sip.uri import Uri, escape_user
from tests.compiled import python_only
from tests.routing.rig import FakeFlow, Rig, binding, field, outcome

PAI = "P-Asserted-Identity"
PPI = "P-Preferred-Identity"


@pytest.mark.parametrize("dialed", ["sip:testuser1003@spce.test", "sip:4311003@spce.test", "sip:4313333@spce.test"])
def test_default_internal_call(rig: Rig, dialed: str) -> None:
    branch = rig.branch(dialed, from_='"Me" <sip:testuser1002@spce.test>', to='"You" <sip:4311003@spce.test>')
    assert branch.from_ == "<sip:4311002@spce.test>"
    assert branch.to == "<sip:testuser1003@spce.test>"
    assert branch.fields == [(PAI, "<sip:4311002@spce.test>")]
    assert branch.request_uri == "sip:testuser1003@127.1.0.3:5070"
    assert str(branch.next_hop) == "sip:testuser1003@127.1.0.3:5070"
    assert (branch.received, branch.path, branch.flow, branch.family) == (None, (), None, 4)


@given(st.text(max_size=20), st.text(max_size=20), st.sampled_from(("spce.test", "2001:db8::1", "192.0.2.1")), st.booleans())
def test_addresses_are_written_as_any_other(display: str, user: str, host: str, phone: bool) -> None:
    uri = Uri("sip", escape_user(user), None, host, None, {"user": "phone"} if phone else {})
    assert sip_uri(user, host, phone=phone) == str(uri)
    assert name_addr(display, str(uri)) == str(NameAddr(display, uri))


@pytest.mark.parametrize(
    ("kind", "user"),
    [
        ("npn", "4311002"),
        ("upn", "431100299"),
        ("auth_user", "testuser1002"),
        ("rcv_display", "The%20Boss"),
        ("uprn/npn", "4311002"),
        ("uprn/upn", "431100299"),
        ("uprn/auth_user", "testuser1002"),
        ("uprn/rcv_display", "The%20Boss"),
    ],
)
def test_user_of_from_pai_ppi(rig: Rig, kind: str, user: str) -> None:
    rig.set(allowed_clis=["43110029*"])
    rig.set(rig.callee, outbound_from_user=kind, outbound_pai_user=kind, outbound_ppi_user=kind)
    branch = rig.branch(from_='"The Boss" <sip:431100299@spce.test>')
    assert branch.from_ == f"<sip:{user}@spce.test>"
    assert field(branch, PAI) == [f"<sip:{user}@spce.test>"] and field(branch, PPI) == [f"<sip:{user}@spce.test>"]


def test_display_as_user_is_escaped_utf8(rig: Rig) -> None:
    rig.set(rig.callee, outbound_from_user="rcv_display")
    assert rig.branch(from_='"J\xf6rg @x" <sip:testuser1002@spce.test>').from_ == "<sip:J%C3%B6rg%20%40x@spce.test>"


def test_none_means_no_header(rig: Rig) -> None:
    rig.set(rig.callee, outbound_pai_user="none", outbound_ppi_user="none")
    assert rig.branch().fields == []


@pytest.mark.parametrize(
    ("kind", "display"),
    [
        (None, ""),
        ("none", ""),
        ("npn", '"4311002" '),
        ("upn", '"431100299" '),
        ("auth_user", '"testuser1002" '),
        ("rcv_display", '"The \\"Boss\\"" '),
        ("np_display", '"J\xc3\xb6rg" '),
        ("rcv_utf8", '"\xc3\x84" '),
    ],
)
def test_display(rig: Rig, kind: str | None, display: str) -> None:
    rig.set(allowed_clis=["43110029*"], display_name="J\xf6rg")
    name = "\xc4" if kind == "rcv_utf8" else 'The \\"Boss\\"'
    rig.set(rig.callee, outbound_from_display="rcv_display" if kind == "rcv_utf8" else kind)
    branch = rig.branch(from_=f'"{name}" <sip:431100299@spce.test>')
    assert branch.from_ == f"{display}<sip:431100299@spce.test>", "names of the store are UTF-8 on the wire"


def test_missing_value_falls_back_to_the_npn(rig: Rig) -> None:
    rig.set(rig.callee, outbound_from_user="rcv_display", outbound_pai_user="rcv_display")
    branch = rig.branch()
    assert branch.from_ == "<sip:4311002@spce.test>" and field(branch, PAI) == []


def test_user_is_phone(rig: Rig) -> None:
    rig.set(rig.callee, outbound_from_user_is_phone=True, outbound_to_user_is_phone=True)
    branch = rig.branch()
    assert branch.from_ == "<sip:4311002@spce.test;user=phone>"
    assert branch.to == "<sip:testuser1003@spce.test;user=phone>"


@pytest.mark.parametrize(
    ("kind", "to"),
    [
        (None, "<sip:testuser1003@spce.test>"),
        ("callee", "<sip:testuser1003@spce.test>"),
        ("orig_callee", "<sip:testuser1003@spce.test>"),
        ("rcvd_to", '"You" <sip:004311003@spce.test;x=y>'),
    ],
)
def test_to(rig: Rig, kind: str | None, to: str) -> None:
    rig.set(rig.callee, outbound_to_user=kind)
    assert rig.branch("sip:4311003@spce.test", to='"You" <sip:004311003@spce.test;x=y>;z=1').to == to


def test_to_headers_are_cut(rig: Rig) -> None:
    rig.set(rig.callee, outbound_to_user="rcvd_to")
    assert rig.branch(to="<sip:testuser1003@spce.test?Route=%3Csip:evil%3E>").to == "<sip:testuser1003@spce.test>"


def test_outbound_caller_rewrite_on_each_number(rig: Rig) -> None:
    """The example of 3.4: 4311002 becomes 1002 in From and PAI, the To stays."""
    set_id = rig.world.rules("r", ("out", "caller", "^${caller_cc}${caller_ac}([1-9][0-9]+)$", "\\1"))
    rig.world.pump()
    rig.set(rig.callee, rewrite_rule_set=set_id, outbound_ppi_user="auth_user", outbound_from_display="npn")
    branch = rig.branch("sip:4311003@spce.test")
    assert branch.from_ == '"1002" <sip:1002@spce.test>'
    assert field(branch, PAI) == ["<sip:1002@spce.test>"]
    assert field(branch, PPI) == ["<sip:testuser1002@spce.test>"]


def test_anonymous_is_never_rewritten(rig: Rig) -> None:
    set_id = rig.world.rules("r", ("out", "caller", "^.*$", "rewritten"))
    rig.world.pump()
    rig.set(rig.callee, rewrite_rule_set=set_id)
    rig.set(clir=True)
    assert rig.branch().from_ == '"Anonymous" <sip:anonymous@anonymous.invalid>'


# --------------------------------------------------------------------------------------------------------------- no copying
SPOOFED = (
    "P-Asserted-Identity: <sip:president@gov.test>",
    "P-Preferred-Identity: <sip:president@gov.test>",
    "Remote-Party-ID: <sip:president@gov.test>",
    "P-Caller-UUID: 0000",
    "P-Callee-UUID: 0000",
    "P-NGCP-Src-Ip: 10.0.0.1",
    "P-App-Name: sbc",
    "P-App-Param: x",
    "P-Called-Party-ID: <sip:x@y>",
    "P-Acc-Caller-User: x",
    "P-First-Caller-NPN: 1",
    "P-D-Uri: sip:127.0.0.1",
    "P-R-Uri: sip:127.0.0.1",
    "P-Out-Socket: x",
    "P-Prepaid: 1",
    "Route: <sip:127.0.0.1:9999;lr>",
    "Record-Route: <sip:127.0.0.1:9999;lr>",
    "X-Secret: 1",
    "Subject: hello",
)


def test_spoofed_headers_do_not_pass(rig: Rig) -> None:
    branch = rig.branch(fields=SPOOFED)
    assert branch.fields == [(PAI, "<sip:4311002@spce.test>")]


def test_whitelisted_headers_pass(rig: Rig) -> None:
    branch = rig.branch(
        fields=(
            "Diversion: <sip:1@x.test>",
            "History-Info: <sip:1@x.test>;index=1",
            "call-info: <http://x.test/>",
            "k: timer, 100rel",
            "Require: 100rel",
            "Allow: INVITE, REFER, BYE",
        )
    )
    assert branch.fields == [
        (PAI, "<sip:4311002@spce.test>"),
        ("Diversion", "<sip:1@x.test>"),
        ("History-Info", "<sip:1@x.test>;index=1"),
        ("Call-Info", "<http://x.test/>"),
        ("Supported", "timer, 100rel"),
        ("Require", "100rel"),
        ("Allow", "INVITE, BYE"),
    ]


def test_call_info_does_not_betray_an_anonymous_caller(rig: Rig) -> None:
    rig.set(clir=True)
    assert rig.branch(fields=("Call-Info: <http://x.test/me.png>;purpose=icon", "Diversion: <sip:1@x.test>")).fields == [
        ("Privacy", "id"),
        ("Diversion", "<sip:1@x.test>"),
    ]


def test_refer_stays_in_allow_when_it_is_allowed(rig: Rig) -> None:
    rig.settings = dataclasses.replace(rig.settings, allow_refer_method=True)
    rig.pipeline = rig.make()
    assert field(rig.branch(fields=("Allow: INVITE, REFER",)), "Allow") == ["INVITE, REFER"]


@pytest.mark.parametrize(
    ("prefs", "value"),
    [
        ({}, []),
        ({"ua_header_mode": "strip"}, []),
        ({"ua_header_mode": "passthrough"}, ["phone 1"]),
        ({"ua_header_mode": "replace", "ua_header_replace": "ours"}, ["ours"]),
        ({"ua_header_mode": "replace"}, []),
    ],
)
def test_user_agent(rig: Rig, prefs: dict[str, Any], value: list[str]) -> None:
    rig.set(rig.callee, **prefs)
    assert field(rig.branch(fields=("User-Agent: phone 1",)), "User-Agent") == value


# ------------------------------------------------------------------------------------------------------ R-URI and next hop
@pytest.mark.parametrize(
    ("contact", "request_uri"),
    [
        ("sip:u@127.1.0.3:5070", "sip:u@127.1.0.3:5070"),
        ("sip:u@127.1.0.3;transport=tcp;ob", "sip:u@127.1.0.3;transport=tcp;ob"),
        ("sip:user@127.1.0.3?Route=%3Csip:sip.example.com%3E", "sip:user@127.1.0.3"),  # RFC 4475 3.1.1.5 (escruri, regescrt)
        ("sip:u@127.1.0.3;method=INVITE;x", "sip:u@127.1.0.3;x"),
        ("sips:u@host.test", "sips:u@host.test"),
        ("sip:u@[::1]:5071", "sip:u@[::1]:5071"),
        ("sip:127.1.0.3", "sip:127.1.0.3"),
    ],
)
def test_request_uri_is_the_contact(rig: Rig, contact: str, request_uri: str) -> None:
    rig.contacts[rig.callee] = [binding(rig.callee, contact)]
    assert rig.branch().request_uri == request_uri


@pytest.mark.parametrize("contact", ["mailto:x@y.test", "tel:+431", "sip:", "junk", "sip:a b@c"])
def test_contacts_that_cannot_be_called(rig: Rig, contact: str) -> None:
    rig.contacts[rig.callee] = [binding(rig.callee, contact)]
    assert rig.code() == "480 Offline"
    rig.contacts[rig.callee].append(binding(rig.callee))
    assert rig.branch().request_uri == "sip:testuser1003@127.1.0.3:5070"


@pytest.mark.parametrize(
    ("dialed", "user"), [("sip:testuser1003@spce.test", "4311003"), ("sip:4311003@spce.test", "4311003"), ("sip:4313333@spce.test", "4313333")]
)
def test_e164_to_ruri(rig: Rig, dialed: str, user: str) -> None:
    rig.set(rig.callee, e164_to_ruri=True)
    assert rig.branch(dialed).request_uri == f"sip:{user}@127.1.0.3:5070"


def test_e164_to_ruri_with_outbound_callee_rules(rig: Rig) -> None:
    set_id = rig.world.rules("r", ("out", "callee", "^([1-9][0-9]+)$", "+\\1"))
    rig.world.pump()
    rig.set(rig.callee, e164_to_ruri=True, rewrite_rule_set=set_id)
    assert rig.branch().request_uri == "sip:+4311003@127.1.0.3:5070"


def test_all_contacts_at_once(rig: Rig) -> None:
    rig.contacts[rig.callee] = [binding(rig.callee, f"sip:u@127.1.0.{n}") for n in (3, 4, 5)]
    verdict = rig.call()[1]
    assert isinstance(verdict, Deliver)
    assert [b.request_uri for b in verdict.branches] == ["sip:u@127.1.0.3", "sip:u@127.1.0.4", "sip:u@127.1.0.5"]
    verdict.branches[0].fields.append(("X", "1"))
    assert ("X", "1") not in verdict.branches[1].fields, "no list is shared"


def test_received_is_the_next_hop_of_a_nat_contact(rig: Rig) -> None:
    rig.contacts[rig.callee] = [binding(rig.callee, "sip:u@10.0.0.5", received=("127.1.0.9", 31000), nat=True)]
    branch = rig.branch()
    assert (branch.request_uri, branch.received, branch.transport, branch.socket) == (
        "sip:u@10.0.0.5",
        ("127.1.0.9", 31000),
        "udp",
        "udp:127.0.0.1:5060",
    )


@python_only
def test_connection_bound_contact(rig: Rig) -> None:
    flow = FakeFlow(6)
    rig.flows[7] = flow
    rig.contacts[rig.callee] = [binding(rig.callee, "sip:u@10.0.0.5;transport=tcp", received=("::1", 31000), transport="tcp", flow_id=7)]
    branch = rig.branch()
    assert branch.flow is flow and branch.family == 6  # type: ignore[comparison-overlap]
    flow.alive = False
    assert rig.code() == "480 Offline", "reached over its connection only"
    del rig.flows[7]
    assert rig.code() == "480 Offline"


def test_path_is_the_route_set(rig: Rig) -> None:
    rig.contacts[rig.callee] = [binding(rig.callee, path=("<sip:127.1.0.7:5080;lr>", "<sip:127.1.0.8;lr>"))]
    branch = rig.branch()
    assert str(branch.next_hop) == "sip:127.1.0.7:5080;lr"
    assert branch.path == ("<sip:127.1.0.7:5080;lr>", "<sip:127.1.0.8;lr>")
    assert branch.request_uri == "sip:testuser1003@127.1.0.3:5070"


@pytest.mark.parametrize("path", ["<sip:127.0.0.1:5060;lr>", "<sip:127.0.0.1;lr>", "<sip:lb@127.0.0.1;lr;received=sip:1.2.3.4:5>"])
def test_path_that_is_the_platform_is_no_hop(rig: Rig, path: str) -> None:
    rig.contacts[rig.callee] = [binding(rig.callee, path=(path,))]
    branch = rig.branch()
    assert branch.path == () and branch.next_hop.host == "127.1.0.3"


@pytest.mark.parametrize("contact", ["sip:u@127.0.0.1", "sip:u@127.0.0.1:5060", "sip:u@127.0.0.1:5060;transport=tcp"])
def test_contact_that_is_the_platform_is_not_called(rig: Rig, contact: str) -> None:
    rig.contacts[rig.callee] = [binding(rig.callee, contact)]
    assert rig.code() == "480 Offline"
    rig.contacts[rig.callee] = [binding(rig.callee, "sip:u@127.0.0.1:5070")]
    assert rig.code() == "deliver", "a phone on the same host is"


@pytest.mark.parametrize(
    ("contact", "changes", "socket", "transport", "family"),
    [
        ("sip:u@127.1.0.3", {}, "udp:127.0.0.1:5060", "", 4),
        ("sip:u@127.1.0.3;transport=udp", {}, "udp:127.0.0.1:5060", "udp", 4),
        ("sip:u@127.1.0.3;transport=tcp", {}, None, "tcp", 4),
        ("sip:u@[::1]", {}, None, "", 6),
        ("sip:u@phone.test", {}, None, "", 4),
        ("sips:u@127.1.0.3", {}, None, "", 4),
        ("sip:u@127.1.0.3", {"socket": "udp:127.0.0.9:5060"}, None, "", 4),
        ("sip:u@127.1.0.3", {"socket": "", "permanent": True}, None, "", 4),
        ("sip:u@phone.test", {"socket": "udp:[::1]:5060"}, None, "", 6),
        ("sip:u@10.0.0.1;transport=tcp", {"received": ("127.1.0.3", 5)}, "udp:127.0.0.1:5060", "udp", 4),
    ],
)
def test_socket_and_transport(rig: Rig, contact: str, changes: dict[str, Any], socket: str | None, transport: str, family: int) -> None:
    rig.contacts[rig.callee] = [binding(rig.callee, contact, **changes)]
    branch = rig.branch()
    assert (branch.socket, branch.transport, branch.family) == (socket, transport, family)


# ------------------------------------------------------------------------------------------------------------------- media
def test_media_hints_of_both_sides(rig: Rig) -> None:
    rig.set(use_rtpproxy="never", ipv46_for_rtpproxy="force_ipv6")
    rig.set(rig.callee, ipv46_for_rtpproxy="force_ipv4", transport_protocol="RTP/AVP")
    ctx, verdict = rig.call()
    assert isinstance(verdict, Deliver)
    assert (ctx.caller_media.use_rtpproxy, ctx.caller_media.ipv46_for_rtpproxy) == ("never", "force_ipv6")
    media = verdict.branches[0].media
    assert (media.use_rtpproxy, media.ipv46_for_rtpproxy, media.rtp_interface) == ("ice_strip_candidates", "force_ipv4", "")
    assert media.transport_protocol == "RTP/AVP"


def test_ipv6_source(rig: Rig) -> None:
    assert outcome(rig.call(ip="::1")[1]) == "deliver"
