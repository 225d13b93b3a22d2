"""network.yml: rules of configuration framework 3, addresses of 9.4, checks NW-07, 08, 09, 12, 14."""

from __future__ import annotations

import pytest

from ngcpd.config import Bound, sip_listeners
from tests.config.room import Room

LO = "lo: {ip: 127.0.0.1, netmask: 255.0.0.0, type: [sip_int]}"


def self_(interfaces: str, body: str) -> str:
    head = f"hosts:\n  self:\n    role: [proxy, lb, mgmt]\n    interfaces: [{interfaces}]\n    {LO}\n"
    return head + "".join(f"    {line}\n" for line in body.splitlines())


def pair(first: str, second: str, names: tuple[str, str] = ("sp1", "sp2")) -> str:
    a, b = names
    roles = "role: [lb, proxy, rtp], interfaces: [lo, eth0]"
    return f"hosts:\n  {a}: {{{roles}, peer: {b}, {LO}, eth0: {{{first}}}}}\n  {b}: {{{roles}, peer: {a}, {LO}, eth0: {{{second}}}}}\n"


OUT = "type: [sip_ext, rtp_ext]"
ETH1 = f"ip: 192.0.2.11, netmask: 255.255.255.0, hwaddr: '00:16:3e:00:00:01', {OUT}"
ETH2 = f"ip: 192.0.2.12, netmask: 255.255.255.0, hwaddr: '00:16:3e:00:00:02', {OUT}"


def test_the_single_node_example(room: Room) -> None:
    node = room.load().node
    assert [b.address for b in node.addresses("sip_ext")] == ["198.51.100.10"]
    assert [b.address for b in node.addresses("rtp_ext")] == ["198.51.100.10"]
    assert [b.address for b in node.addresses("sip_int")] == ["127.0.0.1"]
    assert node.addresses("mon_ext") == []
    assert [str(s) for s in sip_listeners(room.load().settings, node)] == ["udp:198.51.100.10:5060", "tcp:198.51.100.10:5060"]


def test_shared_addresses_come_before_own_ones_for_each_family(room: Room) -> None:
    shared = "shared_ip: [192.0.2.1, 192.0.2.2], v6ip: '2001:db8::11'"
    room.write("network.yml", pair(f"{ETH1}, {shared}", f"{ETH2}, {shared.replace('::11', '::12')}"))
    node = room.load(hostname="sp1").node
    assert node.addresses("sip_ext") == [
        Bound("192.0.2.1", None, 4, "eth0", True),
        Bound("192.0.2.2", None, 4, "eth0", True),
        Bound("2001:db8::11", None, 6, "eth0", False),
    ]
    assert node.peer == "sp2"


def test_advertised_addresses_pair_in_order_and_only_with_ipv4(room: Room) -> None:
    more = "shared_ip: [192.0.2.1, 192.0.2.2], advertised_ip: [203.0.113.5, sip.example.org], v6ip: '2001:db8::11', shared_v6ip: ['2001:db8::1']"
    room.write("network.yml", pair(f"{ETH1}, {more}", ETH2))
    found = room.load(hostname="sp1").node.addresses("sip_ext")
    assert [(b.address, b.advertised) for b in found] == [("192.0.2.1", "203.0.113.5"), ("192.0.2.2", "sip.example.org"), ("2001:db8::1", None)]
    listeners = sip_listeners(room.load(hostname="sp1").settings, room.load(hostname="sp1").node)
    assert {(s.address, s.advertised) for s in listeners} == {("192.0.2.1", "203.0.113.5"), ("192.0.2.2", "sip.example.org"), ("2001:db8::1", None)}


def test_dual_stack(room: Room) -> None:
    room.write("network.yml", self_("lo, eth0", f"eth0: {{ip: 192.0.2.10, netmask: 255.255.255.0, v6ip: '2001:db8::10', {OUT}}}"))
    assert [str(s) for s in sip_listeners(room.load().settings, room.load().node)] == [
        "udp:192.0.2.10:5060",
        "tcp:192.0.2.10:5060",
        "udp:[2001:db8::10]:5060",
        "tcp:[2001:db8::10]:5060",
    ]


def test_logical_media_interfaces(room: Room) -> None:
    body = (
        "eth0: {ip: 192.0.2.10, netmask: 255.255.255.0, type: [sip_ext, rtp_vpn]}\n"
        "eth1: {ip: 192.0.2.20, netmask: 255.255.255.0, advertised_ip: [203.0.113.9], type: [rtp_ext]}"
    )
    room.write("network.yml", self_("lo, eth0, eth1", body))
    found = room.load().node.rtp_interfaces()
    assert {n: [(b.address, b.advertised) for b in bs] for n, bs in found.items()} == {
        "vpn": [("192.0.2.10", None)],
        "ext": [("192.0.2.20", "203.0.113.9")],
        "default": [("192.0.2.20", "203.0.113.9")],
    }
    room.write("network.yml", self_("lo, eth0", body))
    found = room.load().node.rtp_interfaces()
    assert list(found) == ["vpn", "default"] and found["default"] == found["vpn"]


def test_interfaces_that_are_not_listed_are_inactive(room: Room) -> None:
    body = f"eth0: {{ip: 192.0.2.10, netmask: 255.255.255.0, {OUT}}}\neth9: {{ip: 192.0.2.99, netmask: 255.255.255.0, {OUT}}}"
    room.write("network.yml", self_("lo, eth0", body))
    node = room.load().node
    assert [b.address for b in node.addresses("sip_ext")] == ["192.0.2.10"]
    assert node.inactive == ("eth9",)


def test_sockets_for_incoming_requests(room: Room) -> None:
    body = f"eth0: {{ip: 192.0.2.10, netmask: 255.255.255.0, {OUT}}}\neth1: {{ip: 192.0.2.20, netmask: 255.255.255.0, type: [sip_ext_incoming]}}"
    room.write("network.yml", self_("lo, eth0, eth1", body))
    found = sip_listeners(room.load().settings, room.load().node)
    assert [(str(s), s.incoming) for s in found] == [
        ("udp:192.0.2.10:5060", False),
        ("tcp:192.0.2.10:5060", False),
        ("udp:192.0.2.20:5060", True),
        ("tcp:192.0.2.20:5060", True),
    ]


def test_a_node_without_role_lb_listens_nowhere(room: Room) -> None:
    room.write("network.yml", pair(ETH1, ETH2).replace("role: [lb, proxy, rtp]", "role: [db]"))
    loaded = room.load(hostname="sp1")
    assert sip_listeners(loaded.settings, loaded.node) == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (pair(ETH1, ETH1.replace("00:01", "00:02")), "hosts.sp2.eth0.ip: 192.0.2.11 is already used by hosts.sp1.eth0"),
        (pair(ETH1, ETH2.replace("00:02", "00:01")), "hosts.sp2.eth0.hwaddr: 00:16:3e:00:00:01 is already used by hosts.sp1.eth0"),
        (pair(ETH1, ETH2).replace("peer: sp2", "peer: sp3"), "hosts.sp1.peer: there is no host sp3"),
        (pair(ETH1, ETH2).replace("peer: sp2", "peer: sp1"), "hosts.sp1.peer: must be sp2"),
        (pair(ETH1, ETH2, ("lb01a", "lb01b")).replace("peer: lb01b", "peer: lb01a"), "hosts.lb01a.peer: must be lb01b"),
        (pair(ETH1, ETH2, ("one", "two")), "cannot be given: the name of this host has no other half"),
        (pair(ETH1, ETH2).replace("[lo, eth0]", "[lo, eth0, eth7]", 1), "hosts.sp1.interfaces: eth7 is listed but not defined"),
        (pair(ETH1, ETH2).replace(LO, "eth5: {}", 1), "hosts.sp1: interface lo is missing"),
        (
            pair(ETH1 + "}, dbnode: 1, eth3: {hwaddr: '00:00:00:00:00:00'", ETH2 + "}, dbnode: 1, eth3: {hwaddr: '00:00:00:00:00:00'"),
            "hosts.sp2.dbnode: 1 is already used by hosts.sp1",
        ),
        (pair(ETH1.replace("hwaddr: '00:16:3e:00:00:01', ", ""), ETH2), "hosts.sp1.eth0: a network card of a pair needs hwaddr"),
        (pair(ETH1 + "}, vlan5: {ip: 192.0.2.50, netmask: 255.255.255.0, type: [web_int]", ETH2), "hosts.sp1.vlan5: a vlan needs vlan_raw_device"),
        (pair(ETH1 + "}, bond0: {bond_mode: active-backup, bond_miimon: 100", ETH2), "hosts.sp1.bond0: a bond needs bond_slaves"),
        (pair(ETH1.replace("netmask: 255.255.255.0, ", ""), ETH2), "hosts.sp1.eth0: ip needs netmask"),
        (pair(ETH1 + "}, eth2: {hwaddr: '00:16:3e:00:00:07', shared_ip: [192.0.2.3]", ETH2), "hosts.sp1.eth2: shared_ip needs ip"),
        (pair(ETH1 + "}, eth2: {hwaddr: '00:16:3e:00:00:07', advertised_ip: [192.0.2.3]", ETH2), "hosts.sp1.eth2: advertised_ip needs ip"),
        (pair(ETH1 + ", shared_v6ip: ['2001:db8::1']", ETH2), "hosts.sp1.eth0: shared_v6ip needs v6ip"),
        (pair(ETH1 + ", advertised_ip: [a.example, b.example]", ETH2), "more entries than IPv4 addresses"),
        (pair(ETH1.replace("192.0.2.11", "192.0.2.311"), ETH2), 'hosts.sp1.eth0.ip: "192.0.2.311" is not an IPv4 address'),
        (pair(ETH1.replace("255.255.255.0", "255.255.0.255"), ETH2), "hosts.sp1.eth0.netmask"),
        (pair(ETH1.replace("00:16:3e:00:00:01", "0016.3e00.0001"), ETH2), "hosts.sp1.eth0.hwaddr"),
        (pair(ETH1, ETH2).replace("[lb, proxy, rtp]", "[lb, proxi]", 1), 'hosts.sp1.role: "proxi" is not allowed'),
        (pair(ETH1, ETH2).replace("peer: sp2", "status: away", 1), 'hosts.sp1.status: "away" is not allowed'),
        ("hosts:\n  self: text\n", "hosts.self must be a map"),
        ("hosts: [self]\n", "hosts must be a map"),
        ("hosts: {}\n", "hosts is empty"),
        ("", "hosts is missing"),
        (f"hosts: {{self: {{role: [lb], interfaces: [lo], {LO}}}}}\n", "a single node needs the roles proxy, lb and mgmt; missing: proxy, mgmt"),
        (self_("lo", ""), "has role lb but no interface in use with type sip_ext"),
        (
            self_("lo, eth0", "eth0: {ip: 192.0.2.10, netmask: 255.255.255.0, type: [sip_ext]}"),
            "has role rtp but no interface in use with a type rtp_*",
        ),
        (self_("lo", "hosts_common: 1") + "hosts_common: text\n", "hosts_common must be a map"),
    ],
)
def test_refused(room: Room, text: str, says: str) -> None:
    room.write("network.yml", text)
    found = room.problems(hostname="sp1")
    assert any(says in line for line in found), found
    assert all(line.startswith("network.yml") for line in found)


def test_a_problem_has_its_place(room: Room) -> None:
    room.write("network.yml", self_("lo, eth0, eth7", f"eth0:\n  ip: 192.0.2.10\n  netmask: 255.255.0.255\n  {OUT}"))
    assert room.problems() == [
        "network.yml:4:5: hosts.self.interfaces: eth7 is listed but not defined",
        'network.yml:8:16: hosts.self.eth0.netmask: "255.255.0.255" is not a mask such as 255.255.255.0 (allowed: a mask such as 255.255.255.0)',
    ]


def test_what_is_only_warned_about(room: Room) -> None:
    eth0 = "eth0: {ip: 192.0.2.10, netmask: 255.255.255.0, typ: 1, type: [sip_ext, rtp_ext, phone_ext, sip_exd]}"
    body = f"{eth0}\nrolle: x\neth8: {{type: [phone_ext]}}\npeers: y"
    room.write("network.yml", self_("lo, eth0", body))
    assert room.warnings() == [
        "network.yml:6:52: unknown key hosts.self.eth0.typ; nearest valid name: type",
        "network.yml:6:60: interface type phone_ext of hosts.self.eth0 is not known",
        "network.yml:6:60: interface type sip_exd of hosts.self.eth0 is not known; nearest valid name: sip_ext",
        "network.yml:7:5: unknown key hosts.self.rolle; nearest valid name: role",
        "network.yml:9:5: unknown key hosts.self.peers; nearest valid name: peer",
    ]
    room.write("network.yml", pair(ETH1, ETH2, ("hosta", "hostb")))
    assert [str(w.message) for w in room.load(hostname="hosta").warnings] == [
        "host name hosta is not self, sp1, sp2 or one of the form db01a, web01a, lb01a, prx01a",
        "host name hostb is not self, sp1, sp2 or one of the form db01a, web01a, lb01a, prx01a",
    ]


def test_what_may_repeat(room: Room) -> None:
    zero = "hwaddr: '00:00:00:00:00:00'"
    a = f"ip: 192.0.2.11, netmask: 255.255.255.0, {zero}, {OUT}}}, dummy0: {{ip: 10.0.0.1, netmask: 255.0.0.0"
    room.write("network.yml", pair(a, a.replace("192.0.2.11", "192.0.2.12")))
    assert room.load(hostname="sp2").node.name == "sp2"


def test_keys_of_later_releases_are_accepted(room: Room) -> None:
    body = f"status: online\neth0: {{ip: 192.0.2.10, netmask: 255.255.255.0, mtu: 1500, pre_up: [ls], v6netmask: 64, cluster_sets: [default], {OUT}}}"
    room.write("network.yml", self_("lo, eth0", body) + "hosts_common: {etc_hosts_global_extra_entries: ['192.0.2.9 x']}\n")
    assert room.warnings() == []
