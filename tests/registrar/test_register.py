"""REGISTER on the wire: decision table 2.1 and contact handling 2.2 of the call processing specification."""

from __future__ import annotations

import re

import pytest

from ngcpd.registrar.settings import RegistrarSettings
from ngcpd.sip.flow import Limits
from tests.registrar.world import Device, World


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def phone(world: World) -> Device:
    return Device(world, ("10.0.1.3", 5060))


def expires(contact: str) -> int:
    found = re.search(r"expires=(\d+)", contact)
    assert found
    return int(found.group(1))


# ------------------------------------------------------------------------------------------------------------------- T1
@pytest.mark.parametrize("tcp", [False, True])
def test_register_again_query_and_remove(world: World, tcp: bool) -> None:
    phone = Device(world, ("10.0.1.3", 5060), tcp=tcp)
    contact = f"sip:testuser1003@{phone.host_port};ob"
    first = phone.register(contact=f'"My Phone" <{contact}>', auth_uri="sip:10.0.0.1:5060")
    assert (first.status, first.contacts) == (200, [f"<{contact}>;expires=3600"] if expires(first.contacts[0]) == 3600 else first.contacts)
    assert first.contacts[0].startswith(f"<{contact}>;expires=")
    assert first.get("server") == "ngcpd"
    assert len(world.live()) == 1
    again = phone.register("Expires: 600", contact=f"<{contact}>")
    assert again.contacts == [f"<{contact}>;expires=600"]
    assert len(world.live()) == 1
    query = phone.register(contact="")
    assert [c.split(";expires")[0] for c in query.contacts] == [f"<{contact}>"]
    assert len(world.live()) == 1
    gone = phone.register("Expires: 0", contact="*")
    assert (gone.status, gone.contacts, world.live()) == (200, [], [])


def test_challenge_is_the_plain_one(phone: Device) -> None:
    answer = phone.request("REGISTER", "sip:spce.test", f"Contact: {phone.contact}")
    assert (answer.status, answer.reason) == (401, "Unauthorized")
    assert re.fullmatch(r'Digest realm="spce.test", nonce="[0-9a-f]{48}"', answer.get("www-authenticate"))
    assert ";tag=" in answer.get("to")


# ------------------------------------------------------------------------------------------------------------------- R2
@pytest.mark.parametrize(
    ("uri", "to"),
    [
        ("sip:spce.test", "<sip:testuser1003@elsewhere.test>"),
        ("sip:elsewhere.test", "<sip:testuser1003@spce.test>"),
        ("sip:spce.test", "<sip:spce.test>"),
        ("sip:spce.test", "<tel:+431003>"),
    ],
)
def test_foreign_domains_get_no_challenge(world: World, phone: Device, uri: str, to: str) -> None:
    answer = phone.request("REGISTER", uri, f"Contact: {phone.contact}", to=to)
    assert (answer.status, answer.get("www-authenticate")) == (404, "")


def test_request_uri_may_be_our_address(world: World, phone: Device) -> None:
    assert phone.register(uri="sip:10.0.0.1").status == 200
    assert phone.register(uri="sip:SPCE.test").status == 200


# ---------------------------------------------------------------------------------------------------------------- expiry
def test_expiry_rules(world: World, phone: Device) -> None:
    def given(*fields: str, param: str = "") -> int:
        return expires(phone.register(*fields, contact=f"<sip:testuser1003@{phone.host_port}>{param}").contacts[0])

    assert given("Expires: 600") == 600
    assert given("Expires: 600", param=";expires=700") == 700
    assert given("Expires: 5") == 60
    assert given("Expires: 4000000") == 43200
    spread = {given() for _ in range(12)}
    assert all(2520 <= s <= 4680 for s in spread) and len(spread) > 6


def test_binding_expires_and_is_swept(world: World, phone: Device) -> None:
    phone.register("Expires: 60")
    world.run(57.0)
    assert len(world.live()) == 1
    world.run(3.0)
    assert world.live() == []
    world.run(31.0)
    assert world.location.table.count == 0 and world.location.expired == 1
    assert world.kv.scan("ngcp:binding:").result == []


@pytest.mark.parametrize("value", ["4294967296", "99999999999999999999"])
def test_expiry_beyond_32_bits_is_refused(world: World, phone: Device, value: str) -> None:
    answer = phone.register(contact=f"<sip:testuser1003@{phone.host_port}>;expires={value}")
    assert (answer.status, answer.reason) == (400, "Bad Contact Header")
    assert phone.register(f"Expires: {value}").status == 400
    assert world.live() == []


# --------------------------------------------------------------------------------------------------------------- contacts
def test_several_contacts_in_order_mixed(world: World, phone: Device) -> None:
    a, b, c = "sip:u@10.1.1.1:5060", "sip:u@10.1.1.2:5060", "sip:u@10.1.1.3:5060"
    phone.register("Expires: 600", contact=f"<{a}>;q=0.5, <{b}>")
    answer = phone.register(f"Contact: <{c}>;q=1", contact=f"<{a}>;expires=0")
    received = ';received="sip:10.0.1.3:5060"'
    assert answer.contacts == [f"<{b}>;expires=598{received}", f"<{c}>;expires={expires(answer.contacts[1])}{received};q=1"]
    assert world.live() == [b, c]


def test_one_bad_contact_spoils_all(world: World, phone: Device) -> None:
    phone.register("Expires: 600")
    before = world.registrar.bindings(1003)
    for bad in ("<sip:u@10.1.1.9>;q=2", "<mailto:u@10.1.1.9>", "<sip:u@>", "*", "<tel:+4311>"):
        answer = phone.register(f"Contact: {bad}", contact="<sip:new@10.1.1.8>")
        assert answer.status in (400, 416), bad
        assert world.registrar.bindings(1003) == before


@pytest.mark.parametrize("extra", [("Expires: 60",), (), ("Expires: 0", "Contact: <sip:a@10.1.1.1>")])
def test_star_needs_expires_zero_and_nobody_beside_it(world: World, phone: Device, extra: tuple[str, ...]) -> None:
    phone.register("Expires: 600")
    answer = phone.register(*extra, contact="*")
    assert (answer.status, answer.reason) == (400, "Bad Contact Header")
    assert len(world.live()) == 1


def test_parameters_without_brackets_belong_to_the_header(world: World, phone: Device) -> None:
    answer = phone.register(contact="sip:testuser1003@10.0.1.3:5060;transport=UDP")
    assert answer.contacts[0].startswith("<sip:testuser1003@10.0.1.3:5060>;expires=")
    assert world.live() == ["sip:testuser1003@10.0.1.3:5060"]


def test_uri_is_kept_to_the_letter_and_names_dropped(world: World, phone: Device) -> None:
    uri = "sip:Testuser%31003@10.0.1.3:5060;Transport=udp;x=%41;ob"
    answer = phone.register(contact=f'"O\\"Neill, Phone" <{uri}>;+sip.instance="<urn:uuid:1>";reg-id=1;q=0.50')
    assert re.fullmatch(re.escape(f"<{uri}>;expires=") + r'\d+;\+sip.instance="<urn:uuid:1>";reg-id=1;q=0.5', answer.contacts[0])


def test_same_uri_spelled_otherwise_is_the_same_binding(world: World, phone: Device) -> None:
    phone.register(contact="<sip:u@Host.example.com;x=1>")
    phone.register(contact="<sip:u@host.EXAMPLE.com;X=1>")
    assert len(world.live()) == 1
    phone.register(contact="<sip:U@host.example.com;X=1>")
    assert len(world.live()) == 2


def test_instance_and_reg_id_replace(world: World, phone: Device) -> None:
    instance = ';+sip.instance="<urn:uuid:00000000-0000-1000-8000-AABBCCDDEEFF>"'
    phone.register(contact=f"<sip:u@10.1.1.1>{instance};reg-id=1")
    ruid = world.registrar.bindings(1003)[0].ruid
    phone.call_id = "after-reboot"
    phone.register(contact=f"<sip:u@10.1.1.77>{instance};reg-id=1")
    assert world.live() == ["sip:u@10.1.1.77"]
    assert world.registrar.bindings(1003)[0].ruid == ruid
    phone.register(contact=f"<sip:u@10.1.1.77>{instance};reg-id=2")
    assert len(world.live()) == 2, "two flows of one device with one URI are two bindings"


def test_same_instance_under_two_subscribers(world: World, phone: Device) -> None:
    world.directory.add(1004, "testuser1004")
    other = Device(world, ("10.0.1.3", 5070), "testuser1004")
    contact = '<sip:u@10.0.1.3>;+sip.instance="<urn:uuid:1>";reg-id=1'
    assert phone.register(contact=contact).status == other.register(contact=contact).status == 200
    assert world.live(1003) == world.live(1004) == ["sip:u@10.0.1.3"]


def test_rebooted_device_replaces_its_binding_but_a_twin_elsewhere_does_not(world: World) -> None:
    private = "<sip:u@192.168.1.10:5060>"
    Device(world, ("10.0.2.1", 6001)).register(contact=private)
    rebooted = Device(world, ("10.0.2.1", 6099))
    rebooted.register(contact=private)
    assert [b.received for b in world.registrar.bindings(1003)] == [("10.0.2.1", 6099)]
    Device(world, ("10.0.3.1", 6001)).register(contact=private)
    assert {b.received for b in world.registrar.bindings(1003)} == {("10.0.2.1", 6099), ("10.0.3.1", 6001)}


# ------------------------------------------------------------------------------------------------------- Call-ID and CSeq
def test_order_by_cseq(world: World, phone: Device) -> None:
    uri = f"sip:{phone.domain}"
    challenge = phone.request("REGISTER", uri, cseq=10)
    auth = "Authorization: " + phone.digest(challenge.get("www-authenticate"), "REGISTER", uri)
    assert phone.request("REGISTER", uri, f"Contact: {phone.contact};expires=600", auth, cseq=20).status == 200
    world.run(40)
    same = phone.request("REGISTER", uri, f"Contact: {phone.contact};expires=900", auth, cseq=20)
    assert same.status == 200 and expires(same.contacts[0]) == 559, "a repetition changes nothing"
    old = phone.request("REGISTER", uri, f"Contact: {phone.contact};expires=0", auth, cseq=19)
    assert old.status == 400 and len(world.live()) == 1
    world.run(40)
    star = phone.request("REGISTER", uri, "Contact: *", "Expires: 0", auth, cseq=20)
    assert star.status == 400 and len(world.live()) == 1
    other_call = phone.request("REGISTER", uri, f"Contact: {phone.contact};expires=300", auth, cseq=1, call_id="other")
    assert other_call.status == 200 and expires(other_call.contacts[0]) == 300
    assert phone.request("REGISTER", uri, f"Contact: {phone.contact};expires=0", auth, cseq=2, call_id="other").contacts == []


def test_out_of_order_spoils_the_whole_request(world: World, phone: Device) -> None:
    uri = f"sip:{phone.domain}"
    challenge = phone.request("REGISTER", uri, cseq=1)
    auth = "Authorization: " + phone.digest(challenge.get("www-authenticate"), "REGISTER", uri)
    phone.request("REGISTER", uri, "Contact: <sip:a@10.1.1.1>", auth, cseq=20)
    assert phone.request("REGISTER", uri, "Contact: <sip:b@10.1.1.2>, <sip:a@10.1.1.1>", auth, cseq=5).status == 400
    assert world.live() == ["sip:a@10.1.1.1"]


# ----------------------------------------------------------------------------------------------------------------- limits
def test_too_many_contacts(world: World, phone: Device) -> None:
    for i in range(5):
        assert phone.register(contact=f"<sip:u@10.1.1.{i}>").status == 200
    refused = phone.register(contact="<sip:u@10.1.1.9>")
    assert (refused.status, refused.reason) == (503, "Too many registered contacts")
    assert len(world.live()) == 5
    assert phone.register(contact="<sip:u@10.1.1.2>").status == 200, "a refresh at the limit passes"
    assert phone.register(contact="<sip:u@10.1.1.2>;expires=0, <sip:u@10.1.1.9>").status == 200, "one goes, one comes"
    assert len(world.live()) == 5


def test_oldest_dropped_when_configured() -> None:
    world = World(registrar=RegistrarSettings(max_registrations=2, drop_oldest=True))
    phone = Device(world, ("10.0.1.3", 5060))
    phone.register("Expires: 900", contact="<sip:u@10.1.1.1>")
    phone.register("Expires: 600", contact="<sip:u@10.1.1.2>")
    assert phone.register("Expires: 600", contact="<sip:u@10.1.1.3>").status == 200
    assert world.live() == ["sip:u@10.1.1.1", "sip:u@10.1.1.3"]
    assert phone.register("Expires: 600", contact=", ".join(f"<sip:u@10.2.1.{i}>" for i in range(3))).status == 503


def test_a_flood_of_contacts_in_one_request(world: World, phone: Device) -> None:
    many = ", ".join(f"<sip:u{i}@10.1.1.1>" for i in range(40))
    assert phone.register(contact=many).status == 400
    assert world.live() == []


# -------------------------------------------------------------------------------------------------------------------- NAT
def test_nat_is_kept_and_shown(world: World) -> None:
    phone = Device(world, ("10.0.2.2", 7777))
    answer = phone.register(contact='<sip:u@192.168.0.5:5060>;reg-id=1;+sip.instance="<urn:x>"')
    assert re.fullmatch(
        r'<sip:u@192.168.0.5:5060>;expires=\d+;received="sip:10.0.2.2:7777";\+sip.instance="<urn:x>";reg-id=1', answer.contacts[0]
    )
    binding = world.registrar.bindings(1003)[0]
    assert (binding.nat, binding.received, binding.socket, binding.transport) == (True, ("10.0.2.2", 7777), "udp:10.0.0.1:5060", "udp")


def test_no_nat_no_received(world: World, phone: Device) -> None:
    phone.register()
    binding = world.registrar.bindings(1003)[0]
    assert (binding.nat, binding.received) == (False, None)


def test_ipv6_device(world: World) -> None:
    phone = Device(world, ("fd00::77", 5060))
    world_server = ("fd00::1", 5060)
    phone.udp.send = lambda data, to, send=phone.udp.send: send(data, world_server)  # type: ignore[method-assign,misc]
    answer = phone.register(contact="<sip:u@[fd00::77]:5062>")
    assert answer.status == 200
    assert world.live() == ["sip:u@[fd00::77]:5062"]
    assert world.registrar.bindings(1003)[0].socket == "udp:[fd00::1]:5060"


# ------------------------------------------------------------------------------------------------------------ connections
def test_binding_goes_with_its_connection(world: World) -> None:
    phone = Device(world, ("10.0.1.3", 5060), tcp=True)
    phone.register()
    binding = world.registrar.bindings(1003)[0]
    flow = world.registrar.flow(binding)
    assert binding.flow_id and flow is not None and flow.alive and flow.id == binding.flow_id
    assert binding.received is not None and binding.received[0] == "10.0.1.3"
    phone.stream.close()
    world.run(1)
    assert world.live() == [] and world.location.table.count == 0
    world.run(1)
    assert world.kv.scan("ngcp:binding:").result == []


def test_new_connection_takes_the_binding_over(world: World) -> None:
    old = Device(world, ("10.0.1.3", 5060), tcp=True)
    old.register()
    new = Device(world, ("10.0.1.3", 5060), tcp=True)
    new.cseq = old.cseq
    new.branch = 50
    new.register()
    assert len(world.live()) == 1
    old.stream.close()
    world.run(1)
    assert len(world.live()) == 1
    new.stream.close()
    world.run(1)
    assert world.live() == []


def test_connection_lost_while_the_subscriber_is_loaded(world: World) -> None:
    phone = Device(world, ("10.0.1.3", 5060), tcp=True)
    uri = "sip:spce.test"
    challenge = phone.request("REGISTER", uri)
    world.directory.cold.add(1003)
    auth = phone.digest(challenge.get("www-authenticate"), "REGISTER", uri)
    with pytest.raises(AssertionError):
        phone.request("REGISTER", uri, f"Contact: {phone.contact}", f"Authorization: {auth}")
    phone.stream.close()
    world.run(1)
    world.directory.finish()
    world.run(1)
    assert world.location.table.count == 0


# ------------------------------------------------------------------------------------------------------------------- Path
def test_path(world: World, phone: Device) -> None:
    path = ["Path: <sip:p2.example.com;lr>, <sip:p1.example.com;lr>", "Path: <sip:p0.example.com;lr;ob>"]
    refused = phone.register(*path)
    assert (refused.status, refused.get("unsupported"), world.live()) == (420, "path", [])
    answer = phone.register(*path, "Supported: path")
    wanted = ("<sip:p2.example.com;lr>", "<sip:p1.example.com;lr>", "<sip:p0.example.com;lr;ob>")
    assert (answer.status, tuple(answer.all("path"))) == (200, wanted)
    assert world.registrar.bindings(1003)[0].path == wanted


def test_behind_a_path_the_source_is_the_proxys(world: World) -> None:
    phone = Device(world, ("10.0.1.3", 5060), tcp=True)
    phone.register("Path: <sip:edge.example.com;lr>", "Supported: path", contact="<sip:u@192.168.7.7>")
    binding = world.registrar.bindings(1003)[0]
    assert (binding.received, binding.nat, binding.flow_id) == (None, False, 0)
    phone.stream.close()
    world.run(1)
    assert len(world.live()) == 1


# ---------------------------------------------------------------------------------------------------------------- trouble
def test_nothing_counts_when_the_journal_is_full(world: World, phone: Device) -> None:
    phone.register("Expires: 600", contact="<sip:u@10.1.1.1>")
    world.journal.left = 0
    assert phone.register(contact="<sip:u@10.1.1.2>").status == 500
    assert phone.register("Expires: 0", contact="*").status == 500
    assert world.live() == ["sip:u@10.1.1.1"]
    world.journal.left = 1
    assert phone.register(contact="<sip:u@10.1.1.2>, <sip:u@10.1.1.3>").status == 500
    assert world.live() == ["sip:u@10.1.1.1"]
    world.journal.left = 100
    assert phone.register(contact="<sip:u@10.1.1.2>").status == 200
    world.run(1)


def test_half_written_change_is_taken_back(world: World, phone: Device) -> None:
    phone.register("Expires: 600", contact="<sip:u@10.1.1.1>")
    real = world.bindings.put
    calls = []

    def put(binding: object) -> int:
        calls.append(binding)
        if len(calls) == 2:
            world.journal.left = 0
            try:
                return real(binding)  # type: ignore[arg-type]
            finally:
                world.journal.left = 100
        return real(binding)  # type: ignore[arg-type]

    world.bindings.put = put  # type: ignore[method-assign]
    assert phone.register(contact="<sip:u@10.1.1.2>, <sip:u@10.1.1.3>").status == 500
    world.bindings.put = real  # type: ignore[method-assign]
    world.run(1)
    world.crash()
    world.boot()
    assert world.live() == ["sip:u@10.1.1.1"]


def test_home_away_registers_still(world: World, phone: Device) -> None:
    world.kv.available = False
    assert phone.register().status == 200
    assert len(world.live()) == 1
    world.kv.available = True
    world.run(20)
    assert len(world.kv.scan("ngcp:binding:").result) == 1


def test_counters(world: World, phone: Device) -> None:
    phone.register()
    assert world.registrar.counters["received"] == 2
    assert world.registrar.counters["sent_401"] == world.registrar.counters["sent_200"] == 1


def test_the_later_word_on_the_same_contact_counts(world: World, phone: Device) -> None:
    answer = phone.register(contact="<sip:a@10.1.1.1>;expires=600, <sip:b@10.1.1.1>, <sip:a@10.1.1.1>;expires=0, <sip:b@10.1.1.1>;expires=700")
    assert answer.status == 200
    assert [c.split(";")[:2] for c in answer.contacts] == [["<sip:b@10.1.1.1>", "expires=700"]]


def test_one_contact_by_two_paths_is_two_bindings(world: World, phone: Device) -> None:
    for number in (1, 2, 1):
        phone.call_id = f"call-by-path-{number}-{phone.cseq}"
        phone.register(f"Path: <sip:p{number}.example.com;lr>", "Supported: path", contact="<sip:u@192.168.1.1>")
    assert [b.path for b in world.registrar.bindings(1003)] == [("<sip:p1.example.com;lr>",), ("<sip:p2.example.com;lr>",)]


def test_connection_stays_as_long_as_a_binding_needs_it() -> None:
    world = World(limits=Limits(connection_idle=60.0))
    keeps, leaves = (Device(world, ("10.0.1.3", 5060 + i), tcp=True) for i in (1, 2))
    keeps.register("Expires: 43200")
    leaves.register("Expires: 43200")
    leaves.register("Expires: 0", contact=leaves.contact)
    assert len(world.live()) == 1
    world.run(90)
    assert leaves.lost and not keeps.lost, "idle, and nobody is reached over it"
    assert len(world.live()) == 1
