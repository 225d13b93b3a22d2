"""C3 to C5: who calls, by source and by what the request says (call processing 3.2, 2.4-2.6)."""

from __future__ import annotations

import itertools

import pytest
import sqlalchemy as sa

from ngcpd.provisioning import routing as provision
from ngcpd.routing.model import FOREIGN, LOCAL, PEER, Deliver, Reject
from ngcpd.store.tables.identity import subscriber
from tests.routing.rig import Rig, decide, field, outcome

CHALLENGE = "407 Proxy Authentication Required"


def trust(rig: Rig, who: int, ip: str = "127.9.0.1", **kwargs: str) -> None:
    rig.world.do(provision.create_trusted_source, subscriber_id=who, src_ip=ip, **kwargs)
    rig.world.pump()


def peer(rig: Rig, ip: str = "127.9.0.1", **kwargs: object) -> int:
    host = rig.world.peer(ip, **kwargs)[1]
    rig.world.pump()
    return host


# The truth table: each rule present or not, in all combinations; the first that holds decides (order of call processing 3.2).
@pytest.mark.parametrize(
    ("trusted", "is_peer", "local", "credentials", "unauth"), list(itertools.product((False, True), repeat=5)), ids=lambda v: "y" if v else "n"
)
def test_truth_table(rig: Rig, trusted: bool, is_peer: bool, local: bool, credentials: bool, unauth: bool) -> None:
    source = "127.9.0.1"
    other = rig.world.subscriber("trunk", "4311009000", customer=rig.customer)
    rig.world.pump()
    if trusted:
        trust(rig, other, source)
    if is_peer:
        peer(rig, source)
    if unauth:
        rig.domain_pref("unauth_inbound_calls", True)
    from_ = "<sip:testuser1002@spce.test>" if local else "<sip:external@external.test>"
    ctx, verdict = rig.call(from_=from_, user="testuser1002" if credentials else None, ip=source)
    if trusted:
        assert (ctx.caller_class, ctx.caller.id if ctx.caller else 0, ctx.trusted) == (LOCAL, other, True)
        assert outcome(verdict) == "deliver"
    elif is_peer:
        assert ctx.caller_class == PEER and ctx.caller is None and ctx.src_domain == source
        assert outcome(verdict) == "deliver"
    elif local:
        assert outcome(verdict) == ("deliver" if credentials else CHALLENGE)
        assert ctx.caller_class == (LOCAL if credentials else "")
    else:
        assert ctx.caller_class == FOREIGN
        assert outcome(verdict) == ("deliver" if unauth else "403 Relaying Denied")


@pytest.mark.parametrize(
    ("user", "password", "realm", "result"),
    [
        ("testuser1002", "secret-pw-1", "spce.test", "deliver"),
        ("testuser1002", "wrong", "spce.test", CHALLENGE),
        ("nobody", "secret-pw-1", "spce.test", CHALLENGE),
        (None, "", "", CHALLENGE),
    ],
)
def test_digest(rig: Rig, user: str | None, password: str, realm: str, result: str) -> None:
    _ctx, verdict = rig.call(user=user, password=password, realm=realm)
    assert outcome(verdict) == result
    if isinstance(verdict, Reject):
        assert verdict.key == "challenge"
        assert [n for n, _ in verdict.fields] == ["Proxy-Authenticate"] and 'realm="spce.test"' in verdict.fields[0][1]


def test_unknown_from_user_of_a_local_domain_is_challenged_too(rig: Rig) -> None:
    assert rig.code(from_="<sip:nobody@spce.test>", user=None) == CHALLENGE


def test_from_user_may_differ_from_the_credentials_user(rig: Rig) -> None:
    ctx, verdict = rig.call(from_='"431100299" <sip:4311002@spce.test>')
    assert outcome(verdict) == "deliver" and ctx.caller is not None and ctx.caller.username == "testuser1002"


@pytest.mark.parametrize("name", ["P-Asserted-Identity", "P-Preferred-Identity"])
def test_anonymous_from_with_own_identity_is_challenged_with_its_realm(rig: Rig, name: str) -> None:
    """Call processing 2.4, 3.3.5."""
    anonymous = '"Anonymous" <sip:anonymous@anonymous.invalid>'
    extra = (f"{name}: <sip:testuser1002@spce.test>",)
    verdict = rig.call(from_=anonymous, fields=extra, user=None)[1]
    assert isinstance(verdict, Reject) and verdict.code == 407 and 'realm="spce.test"' in verdict.fields[0][1]
    ctx, verdict = rig.call(from_=anonymous, fields=extra)
    assert isinstance(verdict, Deliver) and ctx.caller is not None and ctx.clir
    branch = verdict.branches[0]
    assert branch.from_ == '"Anonymous" <sip:anonymous@anonymous.invalid>'
    assert field(branch, "P-Asserted-Identity") == [] and field(branch, "P-Preferred-Identity") == []
    assert field(branch, "Privacy") == ["id"]


def test_trusted_source_skips_allowed_ips_and_digest(rig: Rig) -> None:
    rig.set(allowed_ips=["10.0.0.0/8"])
    trust(rig, rig.caller)
    assert rig.code(ip="127.9.0.1", user=None, from_="<sip:whoever@elsewhere.test>") == "deliver"


@pytest.mark.parametrize(
    ("protocol", "pattern", "transport", "from_", "found"),
    [
        ("UDP", None, "udp", "<sip:a@b.test>", True),
        ("UDP", None, "tcp", "<sip:a@b.test>", False),
        ("TLS", None, "tls", "<sip:a@b.test>", True),
        ("ANY", None, "wss", "<sip:a@b.test>", True),
        ("ANY", "^sip:a@", "udp", "<sip:a@b.test>", True),
        ("ANY", "^sip:x@", "udp", "<sip:a@b.test>", False),
    ],
)
def test_trusted_source_rows(rig: Rig, protocol: str, pattern: str | None, transport: str, from_: str, found: bool) -> None:
    trust(rig, rig.caller, protocol=protocol, from_pattern=pattern)  # type: ignore[arg-type]
    assert rig.code(ip="127.9.0.1", user=None, transport=transport, from_=from_) == ("deliver" if found else "403 Relaying Denied")


def test_trusted_source_of_a_dead_customer_trusts_nobody(rig: Rig) -> None:
    from ngcpd.store.tables.tenancy import contract

    customer = rig.world.customer()
    trunk = rig.world.subscriber("trunk", customer=customer)
    rig.world.pump()
    trust(rig, trunk)
    rig.world.sql(sa.update(contract).where(contract.c.id == customer).values(status="terminated"))
    assert rig.code(ip="127.9.0.1", user=None, from_="<sip:a@b.test>") == "403 Relaying Denied"


def test_disabled_peer_is_not_identified(rig: Rig) -> None:
    peer(rig, enabled=False)
    assert rig.code(ip="127.9.0.1", user=None, from_="<sip:004321001@carrier.test>") == "403 Relaying Denied"


def test_peer_is_known_by_address_whatever_port_and_domain(rig: Rig) -> None:
    host = peer(rig)
    for port, from_ in ((5060, "<sip:1@a.test>"), (60000, "<sip:1@spce.test>")):
        ctx = rig.invite(ip="127.9.0.1", port=port, user=None, from_=from_)
        assert outcome(decide(rig.pipeline, ctx)) == "deliver"
        assert ctx.peer is not None and ctx.peer.id == host


@pytest.mark.parametrize(
    ("dialed", "peer_result", "foreign_result"),
    [
        ("sip:testuser1003@spce.test", "deliver", "deliver"),
        ("sip:4311003@spce.test", "deliver", "deliver"),
        ("sip:nobody@spce.test", "404 Not Found", "404 Not Found"),
        ("sip:4399@127.0.0.1", "404 Not Found", "403 Relaying Denied"),
        ("sip:4311003@127.0.0.1", "deliver", "403 Relaying Denied"),
        ("sip:someone@other.test", "403 Relaying Denied", "403 Relaying Denied"),
        ("sip:spce.test", "404 Not Found", "404 Not Found"),
    ],
)
def test_where_strangers_may_call(rig: Rig, dialed: str, peer_result: str, foreign_result: str) -> None:
    peer(rig)
    rig.domain_pref("unauth_inbound_calls", True)
    assert rig.code(dialed, ip="127.9.0.1", user=None, from_="<sip:1@a.test>") == peer_result
    assert rig.code(dialed, ip="127.8.0.1", user=None, from_="<sip:1@a.test>") == foreign_result


def test_foreign_identity_is_unchanged(rig: Rig) -> None:
    rig.domain_pref("unauth_inbound_calls", True)
    set_id = rig.world.rules("r", ("in", "caller", "^.*$", "changed"), ("out", "caller", "^.*$", "changed"), ("in", "callee", "^.*$", "changed"))
    rig.world.pump()
    rig.domain_pref("rewrite_rule_set", set_id)
    ctx, verdict = rig.call(from_="<sip:external@external.test>", user=None, ip="127.8.0.1")
    assert isinstance(verdict, Deliver) and ctx.numbers.upn == "external" and ctx.routed_user == "testuser1003"
    branch = verdict.branches[0]
    assert branch.from_ == "<sip:external@external.test>"
    assert field(branch, "P-Asserted-Identity") == ["<sip:external@external.test>"]


def test_incoming_from_peer(rig: Rig) -> None:
    peer(rig)
    ctx, verdict = rig.call("sip:4311003@spce.test", ip="127.9.0.1", user=None, from_="<sip:004321001@carrier.test>")
    assert isinstance(verdict, Deliver)
    assert verdict.branches[0].from_ == "<sip:004321001@carrier.test>"
    assert field(verdict.branches[0], "P-Asserted-Identity") == ["<sip:004321001@carrier.test>"]
    assert ctx.src_leg().split("|")[:4] == ["0", "004321001", "127.9.0.1", "004321001"]


# -------------------------------------------------------------------------------------------------------------- allowed_ips
@pytest.mark.parametrize(
    ("allowed", "manual", "ignore", "ip", "result"),
    [
        ([], [], False, "127.1.0.2", "deliver"),
        (["127.1.0.0/16"], [], False, "127.1.0.2", "deliver"),
        (["127.2.0.0/16"], [], False, "127.1.0.2", "403 Unauthorized IP detected"),
        ([], ["127.2.0.0/16"], False, "127.1.0.2", "403 Unauthorized IP detected"),
        (["127.2.0.0/16"], ["127.1.0.2"], False, "127.1.0.2", "deliver"),
        (["127.2.0.0/16"], [], True, "127.1.0.2", "deliver"),
        (["::1"], [], False, "::1", "deliver"),
        (["127.0.0.0/8"], [], False, "::1", "403 Unauthorized IP detected"),
    ],
)
def test_allowed_ips(rig: Rig, allowed: list[str], manual: list[str], ignore: bool, ip: str, result: str) -> None:
    rig.set(allowed_ips=allowed, man_allowed_ips=manual, ignore_allowed_ips=ignore)
    assert rig.code(ip=ip) == result


def test_wrong_password_from_a_forbidden_address_is_challenged_first(rig: Rig) -> None:
    rig.set(allowed_ips=["10.0.0.0/8"])
    assert rig.code(password="wrong") == CHALLENGE
    assert rig.code() == "403 Unauthorized IP detected"


@pytest.mark.parametrize("status", ["terminated", "pending"])
def test_dead_customers_cannot_call(rig: Rig, status: str) -> None:
    from ngcpd.store.tables.tenancy import contract

    rig.world.sql(sa.update(contract).where(contract.c.id == rig.customer).values(status=status))
    assert rig.code() == CHALLENGE


def test_locked_status_is_no_reason_to_challenge(rig: Rig) -> None:
    rig.world.sql(sa.update(subscriber).where(subscriber.c.id == rig.caller).values(status="locked"))
    assert rig.code() == "403 Caller locked"


def test_tel_from_is_foreign(rig: Rig) -> None:
    assert rig.code(from_="<tel:+4311002>", user=None) == "403 Relaying Denied"


@pytest.mark.parametrize(("uri", "code"), [("http://spce.test/", "416"), ("sip:a b@spce.test", "400"), ("sip:%zz@spce.test", "400")])
def test_unusable_request_uri(rig: Rig, uri: str, code: str) -> None:
    ctx = rig.invite()
    ctx.request.uri = uri
    verdict = decide(rig.pipeline, ctx)
    assert isinstance(verdict, Reject) and str(verdict.code) == code and verdict.key == "malformed"
    ctx.src_leg(), ctx.dst_leg(), ctx.acc_fields()  # accounting still has something to write
