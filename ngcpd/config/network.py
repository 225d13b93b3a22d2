"""network.yml: reading hosts and interfaces, and the rules they keep (configuration framework 3 and 9)."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass

from ngcpd.config.node import ROLES, Interface, Node
from ngcpd.config.problems import Mark, Report
from ngcpd.config.tree import Map, Scalar, clip, find, plain
from ngcpd.config.tree import Node as Tree
from ngcpd.config.types import HOST, IP, IP4, IP6, NAT, TEXT, WORDS, Enum, Int, List, Text, Type

MAC = Text("([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}", "a hardware address such as 00:16:3e:00:00:01")
MASK = Text(
    r"(?:(?:128|192|224|240|248|252|254|255)\.0\.0\.0|255\.(?:0|128|192|224|240|248|252|254|255)\.0\.0"
    r"|255\.255\.(?:0|128|192|224|240|248|252|254|255)\.0|255\.255\.255\.(?:0|128|192|224|240|248|252|254|255))",
    "a mask such as 255.255.255.0",
)
IFTYPE = Text("[a-z0-9_]{1,64}", "a type such as sip_ext")
COMMANDS = List(TEXT)
NO_MAC = "00:00:00:00:00:00"

HOST_KEYS: dict[str, Type] = {
    "role": List(Enum(ROLES)),
    "interfaces": WORDS,
    "peer": Text(r"\S+", "the name of a host"),
    "dbnode": NAT,
    "internal_iface": Text(r"\S*", "the name of an interface"),
    "status": Enum(("online", "offline", "inactive")),
    "etc_hosts_local_extra_entries": COMMANDS,
}
INTERFACE_KEYS: dict[str, Type] = {
    "ip": IP4, "netmask": MASK, "gateway": IP4, "broadcast": IP4, "hwaddr": MAC, "dns_nameservers": List(IP),
    "v6ip": IP6, "v6netmask": Int(0, 128), "v6gateway": IP6, "shared_ip": List(IP4), "shared_v6ip": List(IP6),
    "advertised_ip": List(HOST), "type": List(IFTYPE), "bond_mode": TEXT, "bond_miimon": NAT, "bond_slaves": TEXT,
    "vlan_raw_device": Text(r"\S+", "the name of an interface"), "cluster_sets": WORDS,
    "pre_up": COMMANDS, "post_up": COMMANDS, "pre_down": COMMANDS, "post_down": COMMANDS,
    "v6pre_up": COMMANDS, "v6post_up": COMMANDS, "v6pre_down": COMMANDS, "v6post_down": COMMANDS,
    "mtu": Int(68, 65535), "dhcp": TEXT, "v6dhcp": TEXT, "manual": TEXT,
}  # fmt: skip
KNOWN_TYPES = {
    "sip_ext", "sip_ext_incoming", "sip_int", "web_ext", "web_int", "ha_int", "ssh_ext", "mon_ext", "aux_ext",
    "boot_int", "api_int", "li_int", "li_dist",
}  # fmt: skip
_HOST_NAME = re.compile(r"self|sp[12]|(?:db|web|lb|prx)[0-9]{2}[ab]")


@dataclass
class _Host:
    """A host as read, with what the rules need."""

    name: str
    mark: Mark
    tree: Map
    values: dict[str, object]
    interfaces: dict[str, tuple[Map, dict[str, object]]]

    def at(self, *path: str) -> Mark:
        """Place of a key below the host, or of the nearest thing above it."""
        mark = self.mark
        tree: Tree = self.tree
        for name in path:
            if not isinstance(tree, Map) or name not in tree.items:
                break
            mark = tree.keys.get(name, mark)
            tree = tree.items[name]
        return mark

    def words(self, name: str) -> tuple[str, ...]:
        found = self.values.get(name)
        return found if isinstance(found, tuple) else ()


def read_hosts(tree: Map, file: str, report: Report) -> dict[str, Node]:
    """The hosts of the merged tree. Findings go to the report; a host with errors may be incomplete."""
    found = tree.items.get("hosts")
    _common(tree, report)
    if found is None or (isinstance(found, Scalar) and found.value is None):
        report.error(Mark(file), "hosts is missing: name this host with its roles and interfaces")
        return {}
    if not isinstance(found, Map):
        report.error(found.mark, "hosts must be a map from host names to hosts")
        return {}
    if not found.items:
        report.error(found.mark, "hosts is empty: name this host with its roles and interfaces")
    hosts: dict[str, _Host] = {}
    for name, host in found.items.items():
        mark = found.keys.get(name, host.mark)
        if isinstance(host, Map):
            hosts[name] = _read_host(name, mark, host, report)
        else:
            report.error(host.mark, f"hosts.{clip(name)} must be a map with role, interfaces and the interfaces")
    _check(hosts, report)
    return {name: _node(host) for name, host in hosts.items()}


def _common(tree: Map, report: Report) -> None:
    common = find(tree, ("hosts_common",))
    if common is None or (isinstance(common, Scalar) and common.value is None):
        return
    if not isinstance(common, Map):
        report.error(common.mark, "hosts_common must be a map")
        return
    _read_map(common, {"etc_hosts_global_extra_entries": COMMANDS}, "hosts_common", report, lambda key, value: False)


def _read_map(tree: Map, types: dict[str, Type], where: str, report: Report, other: Callable[[str, Tree], bool]) -> dict[str, object]:
    """Typed values of a map; `other(key, node)` may take keys that are not in `types`, the rest is unknown."""
    values: dict[str, object] = {}
    for key, value in tree.items.items():
        mark = tree.keys.get(key, value.mark)
        type_ = types.get(key)
        if type_ is None:
            if not other(key, value):
                close = difflib.get_close_matches(key, types, n=1, cutoff=0.6)
                hint = f"; nearest valid name: {close[0]}" if close else ""
                report.warn(mark, f"unknown key {where}.{clip(key)}{hint}")
            continue
        if isinstance(value, Scalar) and value.value in (None, ""):
            continue

        def bad(place: Mark, text: str, key: str = key, type_: Type = type_) -> None:
            report.error(place, f"{where}.{key}: {text} (allowed: {type_.allowed()})")

        values[key] = type_.read(value, bad)
    return values


def _read_host(name: str, mark: Mark, tree: Map, report: Report) -> _Host:
    interfaces: dict[str, tuple[Map, dict[str, object]]] = {}
    where = f"hosts.{clip(name)}"

    def interface(key: str, value: Tree) -> bool:
        if not isinstance(value, Map):
            return False
        interfaces[key] = (value, _read_map(value, INTERFACE_KEYS, f"{where}.{clip(key)}", report, lambda k, v: False))
        return True

    values = _read_map(tree, HOST_KEYS, where, report, interface)
    return _Host(name, mark, tree, values, interfaces)


def _node(host: _Host) -> Node:
    roles = set(host.words("role"))
    if host.name == "self":
        roles |= {"rtp", "db"}
    active = dict.fromkeys(host.words("interfaces"))
    interfaces = tuple(_interface(name, host.interfaces[name][1]) for name in active if name in host.interfaces)
    peer = host.values.get("peer")
    return Node(
        host.name,
        frozenset(roles),
        interfaces,
        peer if isinstance(peer, str) else None,
        status=str(host.values.get("status") or "online"),
        inactive=tuple(n for n in host.interfaces if n not in active),
    )


def _interface(name: str, values: dict[str, object]) -> Interface:
    def text(key: str) -> str | None:
        value = values.get(key)
        return value if isinstance(value, str) else None

    def words(key: str) -> tuple[str, ...]:
        value = values.get(key)
        return tuple(v for v in value if isinstance(v, str)) if isinstance(value, tuple) else ()

    return Interface(
        name,
        words("type"),
        text("ip"),
        text("netmask"),
        text("v6ip"),
        words("shared_ip"),
        words("shared_v6ip"),
        words("advertised_ip"),
        words("cluster_sets"),
    )


# ------------------------------------------------------------------------------------------------------------------ rules
def _check(hosts: dict[str, _Host], report: Report) -> None:
    unknown: set[str] = set()
    for host in hosts.values():
        _check_host(host, hosts, report)
        for name, (tree, values) in host.interfaces.items():
            _check_interface(host, name, tree, values, report)
            types = values.get("type")
            for type_ in types if isinstance(types, tuple) else ():
                if isinstance(type_, str) and type_ not in KNOWN_TYPES and not re.fullmatch("rtp_.+", type_) and type_ not in unknown:
                    unknown.add(type_)
                    close = difflib.get_close_matches(type_, sorted(KNOWN_TYPES), n=1, cutoff=0.8)
                    hint = f"; nearest valid name: {close[0]}" if close else ""
                    report.warn(host.at(name, "type"), f"interface type {type_} of hosts.{host.name}.{name} is not known{hint}")
    _check_unique(hosts, report)


def _check_host(host: _Host, hosts: dict[str, _Host], report: Report) -> None:
    where = f"hosts.{clip(host.name)}"
    if not _HOST_NAME.fullmatch(host.name):
        report.warn(host.mark, f"host name {clip(host.name)} is not self, sp1, sp2 or one of the form db01a, web01a, lb01a, prx01a")
    if host.name == "self":
        missing = [r for r in ("proxy", "lb", "mgmt") if r not in host.words("role")]
        if missing:
            report.error(host.at("role"), f"{where}.role: a single node needs the roles proxy, lb and mgmt; missing: {', '.join(missing)}")
    peer = host.values.get("peer")
    if isinstance(peer, str):
        other = _other_half(host.name)
        if peer not in hosts:
            report.error(host.at("peer"), f"{where}.peer: there is no host {clip(peer)}")
        elif other is None or peer != other:
            expected = f"must be {other}" if other else "cannot be given: the name of this host has no other half (sp1/sp2, ...a/...b)"
            report.error(host.at("peer"), f"{where}.peer: {expected}")
    for name in host.words("interfaces"):
        if isinstance(name, str) and name not in host.interfaces:
            report.error(host.at("interfaces"), f"{where}.interfaces: {clip(name)} is listed but not defined")
    if "lo" not in host.interfaces:
        report.error(host.mark, f"{where}: interface lo is missing")


def _other_half(name: str) -> str | None:
    if name in ("sp1", "sp2"):
        return "sp2" if name == "sp1" else "sp1"
    if len(name) > 1 and name[-1] in "ab":
        return name[:-1] + ("b" if name[-1] == "a" else "a")
    return None


def _check_interface(host: _Host, name: str, tree: Map, values: dict[str, object], report: Report) -> None:
    where = f"hosts.{clip(host.name)}.{clip(name)}"
    mark = host.at(name)

    def need(keys: tuple[str, ...], why: str) -> None:
        for key in keys:
            given = tree.items.get(key)
            # a value that is given and wrong has been told already
            if given is None or plain(given) in (None, "", []):
                report.error(mark, f"{where}: {why} needs {key}")

    if name.startswith("bond"):
        need(("bond_mode", "bond_miimon", "bond_slaves"), "a bond")
    if name.startswith("vlan"):
        need(("type", "ip", "netmask", "vlan_raw_device"), "a vlan")
    if re.fullmatch(r"eth[0-9]+", name) and host.name != "self":
        need(("hwaddr",), "a network card of a pair")
    if values.get("ip"):
        need(("netmask",), "ip")
    for key in ("shared_ip", "advertised_ip"):
        if values.get(key):
            need(("ip",), key)
    if values.get("shared_v6ip"):
        need(("v6ip",), "shared_v6ip")
    shared = values.get("shared_ip") or (values.get("ip"),)
    advertised = values.get("advertised_ip")
    if isinstance(advertised, tuple) and isinstance(shared, tuple) and len(advertised) > len(shared):
        report.error(host.at(name, "advertised_ip"), f"{where}.advertised_ip: more entries than IPv4 addresses they could belong to")


def _check_unique(hosts: dict[str, _Host], report: Report) -> None:
    seen: dict[tuple[str, object], str] = {}

    def once(what: str, value: object, owner: str, mark: Mark) -> None:
        first = seen.setdefault((what, value), owner)
        if first is not owner:
            report.error(mark, f"{owner}.{what}: {value} is already used by {first}")

    for host in hosts.values():
        where = f"hosts.{clip(host.name)}"
        if host.values.get("dbnode") is not None:
            once("dbnode", host.values["dbnode"], where, host.at("dbnode"))
        for name, (_tree, values) in host.interfaces.items():
            owner = f"{where}.{clip(name)}"
            if values.get("ip") and values["ip"] != "127.0.0.1" and not name.startswith("dummy"):
                once("ip", values["ip"], owner, host.at(name, "ip"))
            if values.get("v6ip") and values["v6ip"] != "::1" and not name.startswith("dummy"):
                once("v6ip", values["v6ip"], owner, host.at(name, "v6ip"))
            mac = values.get("hwaddr")
            if isinstance(mac, str) and mac != NO_MAC:
                once("hwaddr", mac.lower(), owner, host.at(name, "hwaddr"))
