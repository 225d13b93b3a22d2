"""Bindings over restarts, lost homes, other nodes, deleted subscribers; permanent registrations; keepalive; memory."""

from __future__ import annotations

import tracemalloc
from collections import Counter
from collections.abc import Callable

import msgspec
import pytest

from ngcpd.registrar.location import Location
from ngcpd.registrar.model import NEVER, Binding
from ngcpd.registrar.settings import KeepaliveSettings
from ngcpd.registrar.sharing import CHANNEL, Sharing
from ngcpd.registrar.table import SHARDS, BindingTable
from ngcpd.runtime.fake import SeededRng, SimClock
from ngcpd.sip.errors import ParseError
from ngcpd.store.bindings import Bindings
from ngcpd.store.errors import StoreUnavailable
from tests.registrar.world import Device, Reply, World


@pytest.fixture
def world() -> World:
    return World()


def binding(subscriber_id: int, n: int = 0, **changes: object) -> Binding:
    values = {
        "ruid": f"self-{subscriber_id:08x}{n:08x}",
        "subscriber_id": subscriber_id,
        "contact": f"sip:testuser{subscriber_id}@192.168.{subscriber_id % 250}.{n}:5060;transport=udp",
        "received": (f"10.9.{subscriber_id % 250}.{n}", 1024 + subscriber_id % 60000),
        "path": (),
        "expires_at": 1_700_003_600.5 + subscriber_id,
        "q": -1.0,
        "call_id": f"{subscriber_id:x}a7c1b2d3e4f5@192.168.1.{n}",
        "cseq": 1000 + subscriber_id,
        "user_agent": "Phone 1.2.3",
        "instance": f"<urn:uuid:f81d4fae-7dec-11d0-a765-{subscriber_id:012x}>",
        "reg_id": 1,
        "socket": "udp:10.0.0.1:5060",
        "transport": "udp",
        "flow_id": 0,
        "nat": True,
        "permanent": False,
        "node": "self",
        **changes,
    }
    return Binding(**values)  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------------------------- restart
@pytest.mark.parametrize("home_away", [False, True])
def test_restart_loses_nothing(world: World, home_away: bool) -> None:
    phone = Device(world, ("10.0.2.3", 5999))
    phone.register(contact='<sip:u@192.168.0.9>;+sip.instance="<urn:a,b>";reg-id=2;q=0.3', uri="sip:spce.test")
    proxied = Device(world, ("10.0.1.4", 5060))
    proxied.register("Path: <sip:p;lr>,<sip:q;lr>", "Supported: path")
    before = world.registrar.bindings(1003)
    assert len(before) == 2
    if home_away:
        world.kv.available = False
        phone.register("Expires: 300", contact='<sip:u@192.168.0.9>;+sip.instance="<urn:a,b>";reg-id=2;q=0.3')
        before = world.registrar.bindings(1003)
        world.run(5)
        world.kv.available = True
    world.crash()
    world.boot()
    assert sorted(world.registrar.bindings(1003), key=lambda b: b.ruid) == sorted(before, key=lambda b: b.ruid)
    phone.branch, phone.cseq = 100, 100
    assert phone.register("Expires: 0", contact="*").status == 200, "registers on as if nothing had happened"


def test_contacts_of_former_connections_are_dropped(world: World) -> None:
    Device(world, ("10.0.1.3", 5060), tcp=True).register()
    Device(world, ("10.0.1.4", 5060)).register()
    assert len(world.live()) == 2
    world.crash()
    world.boot()
    assert len(world.live()) == 1
    world.run(1)
    world.crash()
    world.boot()
    assert len(world.live()) == 1 and len(world.kv.scan("ngcp:binding:").result) == 1


def test_expired_while_down(world: World) -> None:
    Device(world, ("10.0.1.3", 5060)).register("Expires: 60")
    world.crash()
    world.run(61)
    world.boot()
    assert world.live() == [] and world.location.table.count == 0


# -------------------------------------------------------------------------------------------------------------- subscriber
def test_deleted_subscriber_loses_its_bindings_at_once(world: World) -> None:
    Device(world, ("10.0.1.3", 5060)).register()
    world.registrar.add_permanent(1003, "sip:gw@10.1.1.1")
    world.directory.subs.pop(1003)
    world.directory.tell("subscriber_gone", 1003)
    assert world.live() == [] and world.location.table.count == 0
    world.run(1)
    world.crash()
    world.boot()
    assert world.live() == []


def test_terminated_subscriber(world: World) -> None:
    Device(world, ("10.0.1.3", 5060)).register()
    world.directory.add(1003, "testuser1003", status="terminated")
    world.directory.tell("subscriber", 1003)
    world.run(0.2)
    assert world.live() == []


def test_deleted_while_down(world: World) -> None:
    Device(world, ("10.0.1.3", 5060)).register()
    world.directory.add(1004, "testuser1004")
    Device(world, ("10.0.1.4", 5060), "testuser1004").register()
    world.crash()
    world.directory.subs.pop(1003)
    world.directory.cold.add(1004)
    world.boot()
    for _ in range(400):
        world.run(0.1)
        world.directory.finish()
    assert world.live(1003) == [] and len(world.live(1004)) == 1


def test_survey_waits_for_the_database(world: World) -> None:
    Device(world, ("10.0.1.3", 5060)).register()
    world.directory.cold.add(1003)
    world.directory.tell("all", 0)
    for _ in range(400):
        world.run(0.1)
        world.directory.finish(StoreUnavailable("down"))
    assert len(world.live()) == 1, "a database that is away is no reason to drop anybody"
    world.directory.add(1003, "testuser1003", status="terminated")
    for _ in range(100):
        world.run(0.1)
        world.directory.finish()
    assert world.live() == []


# --------------------------------------------------------------------------------------------------------------- permanent
def test_permanent_registration(world: World) -> None:
    added = world.registrar.add_permanent(1003, "sip:gw@10.0.1.3:5060", q=0.5)
    assert (added.expires_at, added.permanent, added.q) == (NEVER, True, 0.5)
    assert world.registrar.add_permanent(1003, "sip:gw@10.0.1.3:5060").ruid == added.ruid
    phone = Device(world, ("10.0.1.3", 5060))
    answer = phone.register("Expires: 600")
    assert [c.split(";")[:2] for c in answer.contacts] == [["<sip:gw@10.0.1.3:5060>", "expires=4294967295"], [phone.contact, "expires=600"]]
    phone.register("Expires: 0", contact="*")
    assert world.live() == ["sip:gw@10.0.1.3:5060"], "a device cannot take it away"
    world.run(50000)
    world.crash()
    world.boot()
    assert [(b.contact, b.permanent) for b in world.registrar.all()] == [("sip:gw@10.0.1.3:5060", True)]
    phone.branch, phone.cseq = 100, 100
    phone.register(contact="<sip:gw@10.0.1.3:5060>")
    assert [b.permanent for b in world.registrar.bindings(1003)] == [False], "one phone, one binding"
    phone.register(contact="<sip:gw@10.0.1.3:5060>;expires=0")
    assert [b.permanent for b in world.registrar.bindings(1003)] == [True]
    assert world.registrar.remove(1003, added.ruid) == 1
    assert (world.live(), world.registrar.remove(1003)) == ([], 0)


@pytest.mark.parametrize(
    ("contact", "q", "path"),
    [("tel:+43", 1.0, ""), ("sip:", 1.0, ""), ("x", 1.0, ""), ("sip:a@b", 2.0, ""), ("sip:a@b", 1.0, "<x")],
)
def test_bad_permanent_registration(world: World, contact: str, q: float, path: str) -> None:
    with pytest.raises((ParseError, ValueError)):
        world.registrar.add_permanent(1003, contact, q=q, path=path)
    assert world.location.table.count == 0


def test_permanent_ones_do_not_count(world: World) -> None:
    for i in range(6):
        world.registrar.add_permanent(1003, f"sip:gw{i}@10.1.1.1")
    phone = Device(world, ("10.0.1.3", 5060))
    for i in range(5):
        assert phone.register(contact=f"<sip:u@10.2.1.{i}>").status == 200
    assert phone.register(contact="<sip:u@10.2.1.9>").status == 503


# ------------------------------------------------------------------------------------------------------------- other nodes
def second_node(world: World) -> tuple[Location, Sharing]:
    durable = world.bindings
    other = Location(durable, world.clock, SeededRng(9), "other")
    sharing = Sharing(other, world.kv, durable, "run-1")
    sharing.start()
    return other, sharing


def test_changes_of_another_node_are_seen(world: World) -> None:
    Sharing(world.location, world.kv, world.bindings, "r").start()
    other, _ = second_node(world)
    phone = Device(world, ("10.0.1.3", 5060), tcp=True)
    phone.register()
    world.run(1)
    seen = other.bindings(1003)
    assert [(b.contact, b.node, b.flow_id) for b in seen] == [(f"sip:testuser1003@{phone.host_port}", "self", 0)]
    assert other.flow(seen[0]) is None
    other.change(1004, [binding(1004, node="other", nat=False)])
    world.run(1)
    assert world.live(1004) == [binding(1004).contact]
    phone.stream.close()
    other.remove(1004)
    world.run(1)
    assert other.bindings(1003) == [] and world.live(1004) == []


def test_what_another_node_changed_wins_in_the_home(world: World) -> None:
    """The journal of the former owner reaches the home last and must not bring the old binding back."""
    Sharing(world.location, world.kv, world.bindings, "r").start()
    world.bindings.stop()
    phone = Device(world, ("10.0.1.3", 5060))
    phone.register()
    phone.register(contact="<sip:second@10.0.1.3>")
    first, second = world.registrar.bindings(1003)
    other = Location(Nowhere(), world.clock, SeededRng(9), "other")
    sharing = Sharing(other, world.kv, Nowhere(), "run-1")
    sharing.start()
    moved = msgspec.structs.replace(second, node="other", cseq=99)
    other.other_node(1003, [first, second], [])
    other.change(1003, [moved])
    world.run(0.1)
    assert world.registrar.bindings(1003) == [moved]
    world.crash()
    world.boot()
    assert world.registrar.bindings(1003) == [moved]


def test_expiry_is_the_owners_affair(world: World) -> None:
    Sharing(world.location, world.kv, world.bindings, "r").start()
    other, _ = second_node(world)
    other.change(1004, [binding(1004, node="other", expires_at=world.clock.time() + 5)])
    world.run(1)
    records = world.journal._seq
    world.run(60)
    assert world.location.table.count == 0
    assert world.journal._seq == records, "not journalled by a node that does not own it"


def test_missing_notice_makes_it_read_again(world: World) -> None:
    Sharing(world.location, world.kv, world.bindings, "r").start()
    other, _ = second_node(world)
    phone = Device(world, ("10.0.1.3", 5060))
    phone.register()
    world.run(1)
    lost = world.kv.publish
    world.kv.publish = lambda channel, message: lost("elsewhere", message)  # type: ignore[method-assign]
    phone.register(contact="<sip:unseen@10.0.1.3>")
    world.kv.publish = lost  # type: ignore[method-assign]
    world.run(1)
    assert len(other.bindings(1003)) == 1
    phone.register(contact="<sip:third@10.0.1.3>")
    world.run(1)
    assert len(other.bindings(1003)) == 3


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"node":"x","run":"r","seq":"a","subscriber_id":1}', "\x00", '{"node":1}'])
def test_unreadable_notice(world: World, text: str) -> None:
    Sharing(world.location, world.kv, world.bindings, "r").start()
    world.kv.publish(CHANNEL, text)
    world.run(1)
    assert world.location.table.count == 0


# --------------------------------------------------------------------------------------------------------------- keepalive
def test_keepalive(world: World) -> None:
    phone = Device(world, ("10.0.2.3", 6999))
    phone.register("Expires: 600", contact="<sip:u@192.168.0.9;ob?Route=%3Csip:evil.test%3E>")
    Device(world, ("10.0.1.3", 5060)).register(contact="<sip:open@10.0.1.3:5060>")
    phone.inbox.clear()
    world.run(120)
    pings = [m for m in phone.inbox if not m.status]
    assert len(pings) == 4 == world.keepalive.sent
    ping: Reply = pings[0]
    assert ping.line == "OPTIONS sip:u@192.168.0.9;ob SIP/2.0"
    assert ping.get("from").startswith("<sip:pinger@sipwise.com>;tag=")
    assert ping.get("to") == "<sip:u@192.168.0.9;ob>"
    assert not ping.get("route") and ping.get("max-forwards") == "70"
    assert len({m.get("call-id") for m in pings}) == len({m.get("via") for m in pings}) == 4
    copied = [f"{name}: {ping.get(name)}" for name in ("via", "from", "to", "call-id", "cseq")]
    phone.text("\n".join(["SIP/2.0 404 Whatever", *copied]))
    world.run(1)
    assert world.keepalive.alive == 1
    assert "sip:u@192.168.0.9;ob?Route=%3Csip:evil.test%3E" in world.live(), "no answer is no reason to drop it"
    phone.register("Expires: 0", contact="*")
    phone.inbox.clear()
    world.run(60)
    assert phone.inbox == []


def test_keepalive_over_a_connection(world: World) -> None:
    phone = Device(world, ("10.0.2.3", 6999), tcp=True)
    phone.register(contact="<sip:u@192.168.0.9>")
    phone.inbox.clear()
    world.run(61)
    assert [m.line for m in phone.inbox] == ["OPTIONS sip:u@192.168.0.9 SIP/2.0"] * 2
    phone.stream.close()
    world.run(61)
    assert world.keepalive.sent == 2


def test_no_nat_sipping(world: World) -> None:
    world.directory.prefs(1003, no_nat_sipping="1")
    phone = Device(world, ("10.0.2.3", 6999))
    phone.register("Expires: 7200", contact="<sip:u@192.168.0.9>")
    world.run(120)
    assert world.keepalive.sent == 0
    world.directory.cold.add(1003)
    world.run(120)
    assert world.keepalive.sent == 0, "remembered when its details have left the cache"
    world.crash()
    world.boot()
    for _ in range(1200):
        world.run(0.1)
        world.directory.finish()
    sent = world.keepalive.sent
    world.run(120)
    assert world.keepalive.sent == sent <= 1, "learnt again after a restart"
    world.directory.prefs(1003, no_nat_sipping="0")
    world.directory.tell("domain", 1)
    world.run(120)
    assert world.keepalive.sent > sent


def test_keepalive_is_spread() -> None:
    world = World(keepalive=KeepaliveSettings(interval=30.0))
    world.survey.stop()
    for i in range(3000):
        world.directory.subs[i] = world.directory.subs[1003]
        world.location.table.replace(i, (binding(i, expires_at=NEVER),))
    times: Counter[int] = Counter()
    world.net.filter = lambda kind, data, source, to: bool(times.update([int(world.clock.now * 10)])) or True
    world.run(30.0)
    assert 2970 <= sum(times.values()) <= 3000
    assert max(times.values()) <= 20, "never more than two ticks' worth in a tenth of a second"


def test_keepalive_can_be_off() -> None:
    world = World(keepalive=KeepaliveSettings(interval=0))
    Device(world, ("10.0.2.3", 6999)).register(contact="<sip:u@192.168.0.9>")
    world.run(100)
    assert world.keepalive.sent == 0


# ------------------------------------------------------------------------------------------------------------------- table
def test_table_counts() -> None:
    table = BindingTable()
    table.replace(5, (binding(5), binding(5, 1, nat=False, flow_id=7)))
    table.replace(5 + SHARDS, (binding(5 + SHARDS, flow_id=7),))
    assert (table.count, table.nat_count, table.subscribers()) == (3, 2, 2)
    assert sorted(table.on_flow(7)) == [5, 5 + SHARDS]
    table.replace(5, (binding(5),))
    assert table.on_flow(7) == [5 + SHARDS]
    assert {i for i, _ in table.shard(5)} == {5, 5 + SHARDS}
    table.replace(5, ())
    table.replace(5 + SHARDS, ())
    assert (table.count, table.nat_count, table.subscribers(), table.flow_used(7), list(table)) == (0, 0, 0, False, [])


class Nowhere(Bindings):
    def __init__(self) -> None:
        pass

    def put(self, binding: Binding) -> int:
        return 0

    def delete(self, subscriber_id: int, ruid: str) -> int:
        return 0


def test_memory_per_binding(record_property: Callable[[str, object], None]) -> None:
    """20,000 NAT bindings with instance and reg-id."""
    location = Location(Nowhere(), SimClock(), SeededRng(1), "self")
    location.change(0, [binding(0)])
    tracemalloc.start()
    start = tracemalloc.get_traced_memory()[0]
    for i in range(1, 20_001):
        location.change(i, [binding(i)])
    used = (tracemalloc.get_traced_memory()[0] - start) / 20_000
    tracemalloc.stop()
    record_property("bytes_per_binding", round(used))
    assert used < 1000
