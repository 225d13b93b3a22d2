"""Who sends a request: digest, trusted sources, locks, addresses (call processing 2.1, 2.4-2.7)."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from ngcpd.directory.model import NumberEntry
from ngcpd.registrar.auth import PROXY, Authenticated, Challenge, Refused
from ngcpd.registrar.settings import AuthSettings
from ngcpd.registrar.source import Source
from ngcpd.runtime import log as runtime_log
from ngcpd.sip.flow import SipSocket, UdpFlow
from ngcpd.sip.message import Request
from ngcpd.store.errors import StoreUnavailable
from tests.registrar.world import Device, World, network

URI = "sip:spce.test"


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def phone(world: World) -> Device:
    return Device(world, ("10.0.1.3", 5060))


def nonce(world: World) -> str:
    return world.auth._nonces.make("spce.test")


def challenge_of(answer: Any) -> str:
    found: str = answer.get("www-authenticate")
    return found


# ----------------------------------------------------------------------------------------------------------------- digest
def test_wrong_password_unknown_user_and_dead_account_look_alike(world: World, phone: Device) -> None:
    world.directory.add(1, "dead", status="terminated")
    world.directory.add(2, "pending", contract_status="pending")
    world.directory.add(3, "nopassword", ha1="", ha1_sha256="")
    shapes = set()
    for user, password in (("testuser1003", "wrong"), ("nobody", "x"), ("dead", "testuser"), ("pending", "testuser"), ("nopassword", "")):
        device = Device(world, ("10.0.1.9", 6000 + len(shapes) + len(user)), user, password)
        answer = device.register()
        shapes.add((answer.status, answer.reason, re.sub("[0-9a-f]{48}", "N", challenge_of(answer))))
    assert shapes == {(401, "Unauthorized", 'Digest realm="spce.test", nonce="N"')}
    assert world.results == [(u, "spce.test", False) for u in ("testuser1003", "nobody", "dead", "pending", "nopassword")]


def test_results_are_told(world: World, phone: Device) -> None:
    phone.request("REGISTER", URI)
    assert world.results == []
    phone.register()
    assert world.results == [("testuser1003", "spce.test", True)]


def test_old_nonce_is_stale_whatever_the_password(world: World, phone: Device) -> None:
    old = challenge_of(phone.request("REGISTER", URI))
    world.run(301)
    world.results.clear()
    for password in ("testuser", "wrong"):
        answer = phone.request("REGISTER", URI, "Authorization: " + phone.digest(old, "REGISTER", URI, password=password))
        assert answer.status == 401 and challenge_of(answer).endswith(", stale=true")
    assert world.results == []
    fresh = phone.digest(challenge_of(answer), "REGISTER", URI)
    assert phone.request("REGISTER", URI, f"Authorization: {fresh}").status == 200


def test_nonce_of_another_realm_or_made_up_is_no_use(world: World, phone: Device) -> None:
    world.directory.add_domain("other.test")
    for made in ("0" * 48, "x", world.auth._nonces.make("other.test")):
        auth = phone.digest(f'Digest realm="spce.test", nonce="{made}"', "REGISTER", URI)
        assert phone.request("REGISTER", URI, f"Authorization: {auth}").status == 401


def test_nonce_survives_a_restart(world: World, phone: Device) -> None:
    auth = phone.digest(challenge_of(phone.request("REGISTER", URI)), "REGISTER", URI)
    world.crash()
    world.boot()
    assert phone.request("REGISTER", URI, f"Authorization: {auth}").status == 200


def test_uri_parameter_may_differ_from_the_request_uri(phone: Device) -> None:
    assert phone.register(auth_uri="sip:10.0.0.1:5060").status == 200


def test_replay_for_another_method_fails(world: World, phone: Device) -> None:
    challenge = challenge_of(phone.request("REGISTER", URI))
    auth = phone.digest(challenge, "INVITE", URI)
    assert phone.request("REGISTER", URI, f"Authorization: {auth}").status == 401


def test_qop_and_nonce_count() -> None:
    world = World(auth=AuthSettings(qop=True, sha256=True))
    phone = Device(world, ("10.0.1.3", 5060))
    first = phone.request("REGISTER", URI)
    sha, md5 = first.all("www-authenticate")
    assert "algorithm=SHA-256" in sha and 'qop="auth"' in sha and "algorithm" not in md5 and 'qop="auth"' in md5

    def used(challenge: str, nc: int) -> str:
        answer = phone.request("REGISTER", URI, "Authorization: " + phone.digest(challenge, "REGISTER", URI, qop=True, nc=nc))
        return "ok" if answer.status == 200 else "stale" if "stale=true" in challenge_of(answer) else "wrong"

    assert [used(sha, 1), used(sha, 1), used(sha, 3), used(sha, 3), used(sha, 2), used(sha, 2)] == ["ok", "stale", "ok", "stale", "ok", "stale"]
    assert used(md5, 3) == "stale", "the nonce is the same one"
    assert used(md5, 4) == "ok"
    plain = phone.digest(challenge_of(phone.request("REGISTER", URI)), "REGISTER", URI)
    assert phone.request("REGISTER", URI, f"Authorization: {plain}").status == 200, "RFC 2069 style is accepted"


@pytest.mark.parametrize(
    "value",
    [
        "Digest",
        'Digest username="x"',
        'Digest username="testuser1003", realm="spce.test", nonce="1", uri="sip:x", response="zz"',
        'Digest username="a" realm="b", nonce="1", uri="sip:x", response="00"',
        'Digest username="testuser1003", realm="spce.test", nonce="1", uri="sip:x", response="00", qop=auth',
    ],
)
def test_malformed_credentials(world: World, phone: Device, value: str) -> None:
    answer = phone.request("REGISTER", URI, f"Authorization: {value}")
    assert (answer.status, answer.reason) == (400, "Bad Auth Header")


def test_foreign_schemes_and_realms_are_ignored(world: World, phone: Device) -> None:
    foreign = 'Authorization: Digest username="x", realm="elsewhere.test", nonce="1", uri="sip:x", response="00"'
    assert phone.request("REGISTER", URI, "Authorization: NoOneKnowsThisScheme opaque-data=here", foreign).status == 401
    assert world.results == []
    auth = phone.digest(challenge_of(phone.request("REGISTER", URI)), "REGISTER", URI)
    assert phone.request("REGISTER", URI, foreign, f"Authorization: {auth}").status == 200


# ------------------------------------------------------------------------------------------------------------------ rights
def test_only_ones_own_contacts(world: World, phone: Device) -> None:
    world.directory.add(1004, "testuser1004")
    answer = phone.register(to="<sip:testuser1004@spce.test>")
    assert (answer.status, answer.reason, world.live(1004), world.live()) == (403, "Forbidden", [], [])


def test_to_may_be_ones_own_number(world: World, phone: Device) -> None:
    world.directory.numbers = {"4311003": NumberEntry(1003, True), "4311004": NumberEntry(1004, True)}
    assert phone.register(to="<sip:4311003@spce.test>").status == 200
    assert phone.register(to="<sip:+4311003@spce.test>").status == 200
    assert len(world.live()) == 1
    assert phone.register(to="<sip:4311004@spce.test>").status == 403


@pytest.mark.parametrize("relaxed", [False, True])
def test_realm_of_another_domain(relaxed: bool) -> None:
    world = World(auth=AuthSettings(ignore_auth_realm=relaxed))
    world.directory.add_domain("other.test")
    phone = Device(world, ("10.0.1.3", 5060))
    challenge = f'Digest realm="spce.test", nonce="{nonce(world)}"'
    auth = phone.digest(challenge, "REGISTER", "sip:other.test")
    answer = phone.request("REGISTER", "sip:other.test", f"Contact: {phone.contact}", f"Authorization: {auth}", to="<sip:testuser1003@other.test>")
    assert answer.status == (200 if relaxed else 403)
    assert len(world.live()) == relaxed


@pytest.mark.parametrize(
    ("level", "status", "reason"),
    [("1", 200, "OK"), ("2", 200, "OK"), ("3", 200, "OK"), ("4", 403, "Caller locked"), ("5", 403, "Unauthorized, lock level ported detected")],
)
def test_locks(world: World, phone: Device, level: str, status: int, reason: str) -> None:
    world.directory.prefs(1003, lock=level)
    answer = phone.register()
    assert (answer.status, answer.reason) == (status, reason)


def test_allowed_ips(world: World, phone: Device) -> None:
    assert phone.register("Expires: 3600").status == 200
    world.directory.add(1003, "testuser1003", allowed=(network("1.2.3.4/32"),))
    assert phone.request("REGISTER", URI).status == 401, "the first one is challenged"
    answer = phone.register("Expires: 0", contact="*")
    assert (answer.status, answer.reason) == (403, "Unauthorized IP detected")
    assert len(world.live()) == 1, "the present binding is left alone"
    world.directory.add(1003, "testuser1003", allowed=(network("1.2.3.4/32"), network("10.0.1.0/24")))
    assert phone.register().status == 200
    world.directory.add(1003, "testuser1003", allowed=(network("1.2.3.4/32"),))
    sub = world.directory.subs[1003]
    world.directory.prefs(1003, ignore_allowed_ips="1")
    assert world.directory.subs[1003].allowed == sub.allowed
    assert phone.register().status == 200


def test_trusted_source(world: World, phone: Device) -> None:
    world.directory.trust["10.0.1.3"] = 1003
    world.directory.add(1003, "testuser1003", allowed=(network("1.2.3.4/32"),))
    assert phone.request("REGISTER", URI, f"Contact: {phone.contact}").status == 200
    world.directory.add(1004, "testuser1004")
    assert phone.request("REGISTER", URI, f"Contact: {phone.contact}", to="<sip:testuser1004@spce.test>").status == 403
    world.directory.prefs(1003, lock="4")
    assert phone.request("REGISTER", URI, f"Contact: {phone.contact}").status == 403
    world.directory.add(1003, "testuser1003", status="terminated")
    assert phone.request("REGISTER", URI, f"Contact: {phone.contact}").status == 401


# ----------------------------------------------------------------------------------------------------------------- loading
def test_unloaded_subscriber_is_loaded_once(world: World, phone: Device) -> None:
    auth = phone.digest(challenge_of(phone.request("REGISTER", URI)), "REGISTER", URI)
    world.directory.cold.add(1003)
    with pytest.raises(AssertionError):
        phone.request("REGISTER", URI, f"Contact: {phone.contact}", f"Authorization: {auth}")
    world.directory.finish()
    world.run(1)
    assert [m.status for m in phone.inbox] == [200]
    assert world.directory.loads == 1


def test_database_away(world: World, phone: Device) -> None:
    auth = phone.digest(challenge_of(phone.request("REGISTER", URI)), "REGISTER", URI)
    world.directory.cold.add(1003)
    with pytest.raises(AssertionError):
        phone.request("REGISTER", URI, f"Contact: {phone.contact}", f"Authorization: {auth}")
    world.directory.finish(StoreUnavailable("down"))
    world.run(1)
    answer = phone.inbox[-1]
    assert (answer.status, answer.get("retry-after")) == (503, "5")


def test_unexpected_failure_is_500_once_and_logged(world: World, phone: Device) -> None:
    auth = phone.digest(challenge_of(phone.request("REGISTER", URI)), "REGISTER", URI)
    world.directory.cold.add(1003)
    with pytest.raises(AssertionError):
        phone.request("REGISTER", URI, f"Contact: {phone.contact}", f"Authorization: {auth}")
    world.directory.finish(RuntimeError("boom"))
    world.run(1)
    assert [m.status for m in phone.inbox] == [500]
    assert "boom" not in str(phone.inbox)


def test_unknown_user_never_reaches_the_database(world: World) -> None:
    Device(world, ("10.0.1.7", 5060), "nobody").register()
    assert world.directory.loads == 0


def test_no_secret_in_the_log(world: World, phone: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    monkeypatch.setattr(runtime_log.sink, "write", out.write)
    for name in runtime_log.levels():
        monkeypatch.setattr(runtime_log.logger(name), "level", 10)
    Device(world, ("10.0.1.7", 5060), "nobody", "s3cret").register()
    phone.password = "s3cret"
    answer = phone.register()
    phone.password = "testuser"
    phone.register()
    world.journal.left = 0
    phone.register()
    text = out.getvalue()
    assert "contact registered" in text
    for secret in ("s3cret", "response=", world.directory.subs[1003].ha1, phone.digest(challenge_of(answer), "REGISTER", URI)[-60:-20]):
        assert secret not in text


# ------------------------------------------------------------------------------------------------------------- other methods
def source() -> Source:
    flow = UdpFlow(SipSocket("udp", ("10.0.0.1", 5060), None, None), ("10.0.1.3", 5060))
    return Source("10.0.1.3", 5060, "udp", "udp:10.0.0.1:5060", 4, False, flow)


def invite(from_: str = "<sip:testuser1003@spce.test>;tag=1", *fields: tuple[str, str]) -> Request:
    return Request.make("INVITE", "sip:4311@spce.test", [("From", from_), ("To", "<sip:4311@spce.test>"), ("Call-ID", "c"), *fields])


def test_proxy_kind(world: World, phone: Device) -> None:
    got = world.auth.check(invite(), source(), "spce.test", PROXY)
    assert isinstance(got, Challenge) and got.status == 407 and got.fields[0][0] == "Proxy-Authenticate"
    auth = phone.digest(got.fields[0][1], "INVITE", "sip:whatever")
    ok = world.auth.check(invite("<sip:anonymous@spce.test>;tag=1", ("Proxy-Authorization", auth)), source(), "spce.test", PROXY)
    assert isinstance(ok, Authenticated) and ok.subscriber.id == 1003 and not ok.trusted
    wrong_field = world.auth.check(invite("<sip:a@spce.test>;tag=1", ("Authorization", auth)), source(), "spce.test", PROXY)
    assert isinstance(wrong_field, Challenge)
    world.directory.prefs(1003, lock="4")
    locked = world.auth.check(invite("<sip:a@spce.test>;tag=1", ("Proxy-Authorization", auth)), source(), "spce.test", PROXY)
    assert isinstance(locked, Authenticated), "locks of callers are for the routing to judge"
    world.directory.add(1003, "testuser1003", allowed=(network("1.2.3.4/32"),))
    refused = world.auth.check(invite("<sip:a@spce.test>;tag=1", ("Proxy-Authorization", auth)), source(), "spce.test", PROXY)
    assert refused == Refused(403, "Unauthorized IP detected")
    world.directory.cold.add(1003)
    assert isinstance(world.auth.check(invite("<sip:a@spce.test>;tag=1", ("Proxy-Authorization", auth)), source(), "spce.test", PROXY), Deferred)
    world.directory.finish()


@pytest.mark.parametrize(
    ("from_", "fields", "realm"),
    [
        ("<sip:a@SPCE.test>;tag=1", (), "spce.test"),
        ("<sip:anonymous@anonymous.invalid>;tag=1", (("P-Asserted-Identity", "<sip:testuser1003@spce.test>"),), "spce.test"),
        ("<sip:anonymous@anonymous.invalid>;tag=1", (("P-Preferred-Identity", "<tel:+431>, <sip:testuser1003@spce.test>"),), "spce.test"),
        ("<sip:a@elsewhere.test>;tag=1", (("P-Asserted-Identity", "<sip:b@elsewhere.test>"),), None),
        ("<sip:a@elsewhere.test>;tag=1", (), None),
    ],
)
def test_realm(world: World, from_: str, fields: tuple[tuple[str, str], ...], realm: str | None) -> None:
    assert world.auth.realm(invite(from_, *fields)) == realm


def test_user_names_in_utf8(world: World) -> None:
    world.directory.add(7, "jürgen")
    device = Device(world, ("10.0.1.8", 5060), "jürgen")
    device.call_id = "c7"
    device.tag = "z9hG4bKj"
    answer = device.register(to="<sip:j%C3%BCrgen@spce.test>", contact="<sip:j%C3%BCrgen@10.0.1.8>")
    assert answer.status == 200 and len(world.live(7)) == 1


def test_credentials_of_one_domain_do_not_speak_for_another(world: World, phone: Device) -> None:
    world.directory.add_domain("other.test")
    auth = phone.digest(f'Digest realm="spce.test", nonce="{nonce(world)}"', "INVITE", "sip:x")
    got = world.auth.check(invite("<sip:testuser1003@other.test>;tag=1", ("Proxy-Authorization", auth)), source(), "other.test", PROXY)
    assert got == Refused(403, "Forbidden")
