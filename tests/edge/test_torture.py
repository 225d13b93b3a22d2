"""The 49 messages of RFC 4475 against the whole platform, as datagrams and on a connection."""

from __future__ import annotations

import pytest

from ngcpd.sip.message import Request
from tests.registrar.world import Device, World
from tests.sip.torture import INVALID, VECTORS, Vector

DOMAINS = ("example.com", "example.net", "example.org")

# What comes back: codes over UDP. Not named: the code of the vector itself; () = silence.
ANSWERS: dict[str, tuple[int, ...]] = {
    "wsinv": (200,),
    "intmeth": (405,),
    "esc01": (480,),
    "escnull": (200,),
    "esc02": (405,),
    "lwsdisp": (404,),
    "longreq": (480,),
    "dblreq": (200,),
    "semiuri": (404,),
    "transports": (404,),
    "mpart01": (405,),
    "unreason": (),
    "noreason": (),
    "scalarlg": (),
    "bigcode": (),
    "bcast": (),
    "baddate": (480,),
    "badbranch": (404,),
    "bext01": (420,),
    "invut": (480,),
    "regaut01": (401,),
    "zeromf": (483,),
    "cparam01": (200,),
    "cparam02": (200,),
    "regescrt": (200,),
    "sdp01": (480,),
    "inv2543": (480,),
}
# On a connection; where Content-Length is wrong or missing, the bounds of the messages are lost and the connection goes.
ON_STREAMS: dict[str, tuple[int, ...]] = {**ANSWERS, "clerr": (), "baddn": (), "dblreq": (200, 480), "inv2543": (400,)}
CLOSED = {"clerr", "baddn", "ncl", "mcl01", "inv2543", "dblreq"}  # dblreq: its second message is longer than it says
STORED = {
    "escnull": ["sip:%00@host5.example.com", "sip:%00%00@host5.example.com"],
    "dblreq": ["sip:j.user@host.example.com"],
    "cparam01": ["sip:+19725552222@gw1.example.net"],
    "cparam02": ["sip:+19725552222@gw1.example.net;unknownparam"],
    "regescrt": ["sip:user@example.com?Route=%3Csip:sip.example.com%3E"],
}
REGISTERING = {"escnull": "null-\0-null", "dblreq": "j.user", "cparam01": "watson", "cparam02": "watson", "regescrt": "user", "regbadct": "user"}


def platform(name: str) -> World:
    """A world to which the registering user of the message, if any, is a trusted source: what is looked at is the message."""
    world = World()
    for domain in DOMAINS:
        world.directory.add_domain(domain)
    if name in REGISTERING:
        world.directory.add(5, REGISTERING[name], "example.com")
        world.directory.trust["10.0.1.3"] = 5
    world.calls.known.add("1918181833n")  # wsinv names a dialog
    return world


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
@pytest.mark.parametrize("vector", list(VECTORS.values()), ids=lambda v: v.name)
def test_reaction(vector: Vector, tcp: bool) -> None:
    world = platform(vector.name)
    device = Device(world, ("10.0.1.3", 5060), tcp=tcp)
    device.raw(vector.data)
    world.run(0.3)
    codes = tuple(m.status for m in device.inbox if m.status)
    expected = (ON_STREAMS if tcp else ANSWERS).get(vector.name, (vector.code,))
    assert codes == expected
    if not (tcp and vector.name == "dblreq"):  # its connection has gone already, and the binding with it
        assert [b.contact for b in world.registrar.all()] == STORED.get(vector.name, [])
    world.run(45)
    if tcp:
        assert bool(device.lost) == (vector.name in CLOSED)
    assert world.stack.counters()["errors"] == 0
    if vector.kind == INVALID and vector.code:
        assert world.calls.invites == [] and world.calls.inside == []


def test_answers_name_the_unsupported_options() -> None:
    world = platform("bext01")
    device = Device(world, ("10.0.1.3", 5060))
    device.raw(VECTORS["bext01"].data)
    world.run(0.3)
    tags = "nothingSupportsThis, nothingSupportsThisEither, noProxiesSupportThis, norDoAnyProxiesSupportThis"
    assert device.inbox[0].get("unsupported") == tags


def test_escaped_and_plain_users_stay_apart() -> None:
    world = platform("esc01")
    device = Device(world, ("10.0.1.3", 5060))
    device.raw(VECTORS["esc01"].data)
    world.run(0.3)
    request: Request = world.calls.invites[0][0]
    assert request.ruri.user == "sips%3Auser%40example.com" and request.ruri.host == "example.net"


def test_all_prefixes_of_all_messages() -> None:
    """Nothing is raised, nothing is stored, nothing reaches the calls but whole INVITEs."""
    world = World()
    device = Device(world, ("10.0.1.3", 5060))
    for vector in VECTORS.values():
        for end in range(1, min(len(vector.data), 700), 3):
            device.raw(vector.data[:end])
            world.run(0.001)
    world.run(40)
    assert world.stack.counters()["errors"] == 0
    assert world.location.table.count == 0
