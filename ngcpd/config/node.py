"""This node: roles, interfaces and the addresses its services bind to. Configuration framework 9."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field, replace

ROLES = ("mgmt", "lb", "proxy", "rtp", "db", "li")


@dataclass(frozen=True, slots=True)
class Bound:
    """An address to bind to. `advertised` (address or name) is put into SIP and SDP instead of it when set.

    `shared` addresses belong to whichever node of a pair is active.
    """

    address: str
    advertised: str | None
    family: int
    interface: str
    shared: bool = False


@dataclass(frozen=True)
class Interface:
    """One interface in use on a host."""

    name: str
    types: tuple[str, ...] = ()
    ip: str | None = None
    netmask: str | None = None
    v6ip: str | None = None
    shared_ip: tuple[str, ...] = ()
    shared_v6ip: tuple[str, ...] = ()
    advertised_ip: tuple[str, ...] = ()
    cluster_sets: tuple[str, ...] = ()

    def bound(self) -> list[Bound]:
        """Shared addresses if there are any, else the node's own, for each family; the n-th advertised belongs to the n-th IPv4 address."""
        result = []
        v4 = self.shared_ip or ((self.ip,) if self.ip else ())
        for index, address in enumerate(v4):
            advertised = self.advertised_ip[index] if index < len(self.advertised_ip) else None
            result.append(Bound(address, advertised, 4, self.name, bool(self.shared_ip)))
        v6 = self.shared_v6ip or ((self.v6ip,) if self.v6ip else ())
        result += [Bound(address, None, 6, self.name, bool(self.shared_v6ip)) for address in v6]
        return result

    def owned(self) -> set[str]:
        """Every address of the interface."""
        return {a for a in (self.ip, self.v6ip, *self.shared_ip, *self.shared_v6ip) if a}


@dataclass(frozen=True)
class Node:
    """A host of network.yml. `listen` replaces the addresses of sip_ext and rtp_ext."""

    name: str
    roles: frozenset[str]
    interfaces: tuple[Interface, ...]
    peer: str | None = None
    listen: str | None = None
    status: str = "online"
    inactive: tuple[str, ...] = field(default=(), compare=False)

    def has_role(self, role: str) -> bool:
        return role in self.roles

    def addresses(self, type_: str) -> list[Bound]:
        """Where a service of an interface type binds, in the order of `interfaces`, without repetitions."""
        if self.listen is not None and type_ in ("sip_ext", "rtp_ext"):
            owner = next((i.name for i in self.interfaces if self.listen in i.owned()), "listen")
            return [Bound(self.listen, None, ipaddress.ip_address(self.listen).version, owner)]
        result: dict[str, Bound] = {}
        for interface in self.interfaces:
            if type_ in interface.types:
                for bound in interface.bound():
                    result.setdefault(bound.address, bound)
        return list(result.values())

    def rtp_interfaces(self) -> dict[str, list[Bound]]:
        """Logical media interfaces: name (type without `rtp_`) -> addresses. `default` is `ext`, else the first one."""
        names: list[str] = []
        for interface in self.interfaces:
            for type_ in interface.types:
                if type_.startswith("rtp_") and type_[4:] not in names:
                    names.append(type_[4:])
        if self.listen is not None and "ext" not in names:
            names.insert(0, "ext")
        result = {name: self.addresses(f"rtp_{name}") for name in names}
        if names and "default" not in result:
            result["default"] = result["ext" if "ext" in result else names[0]]
        return result

    def owned(self) -> set[str]:
        """Every address of this node, its shared ones included."""
        found = set().union(*(i.owned() for i in self.interfaces)) if self.interfaces else set()
        return found | ({self.listen} if self.listen else set())

    def listening_on(self, address: str) -> Node:
        """The same node with SIP and media on one address only."""
        return replace(self, listen=str(ipaddress.ip_address(address)))
