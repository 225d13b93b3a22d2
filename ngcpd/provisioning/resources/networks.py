"""Networks: billing networks and the locations of customers (data model 3, 4)."""

from __future__ import annotations

import ipaddress
import itertools

import sqlalchemy as sa

from ngcpd.provisioning import check
from ngcpd.provisioning.errors import Invalid, Plain
from ngcpd.provisioning.fields import Address, Array, Bad, Enum, Field, Int, Object, Ref, Text
from ngcpd.provisioning.resource import CHANGE, FULL_PATCH, ID, Child, Doc, Filter, Link, Resource, Row, Values, Work
from ngcpd.provisioning.resources.contracts import JOINED
from ngcpd.store.tables.billing import billing_mapping, billing_network, billing_network_block
from ngcpd.store.tables.identity import customer_location, customer_location_block
from ngcpd.store.tables.packages import package_profile
from ngcpd.store.tables.preferences import preference_value
from ngcpd.store.tables.tenancy import contact, contract

BLOCKS = Array(
    Object(
        (
            Field("ip", Address(), required=True, help="IPv4 or IPv6 address"),
            Field("mask", Int(0, 128), nullable=True, help="Length of the prefix, null = this address alone"),
        )
    ),
    10_000,
    1,
)


def derive(block: Doc) -> Doc:
    """The range of a block as the tables keep it."""
    net = check.net("blocks", block["ip"] if block.get("mask") is None else f"{block['ip']}/{block['mask']}")
    return {"family": net.family, "first": net.first, "last": net.last}


def check_blocks(work: Work, values: Values, row: Row | None) -> None:
    """One family of addresses, masks that fit, no overlaps."""
    ranges: list[tuple[bytes, bytes]] = []
    families = set()
    for block in values["blocks"]:
        address, mask = ipaddress.ip_address(block["ip"]), block.get("mask")
        if mask is not None and mask > address.max_prefixlen:
            raise Invalid([("blocks", f"{block['ip']}/{mask}", f"mask must be between 0 and {address.max_prefixlen}")])
        found = derive(block)
        families.add(found["family"])
        ranges.append((found["first"], found["last"]))
    if len(families) > 1:
        raise Invalid([("blocks", None, "ipv4 and ipv6 must not be mixed in block definition")])
    ranges.sort()
    if any(later[0] <= earlier[1] for earlier, later in itertools.pairwise(ranges)):
        raise Invalid([("blocks", None, "blocks must not overlap")])


def check_network(work: Work, values: Values, row: Row | None) -> None:
    check_blocks(work, values, row)
    if row is not None and values["status"] == "terminated":
        living = sa.select(contract.c.id).join(billing_mapping, billing_mapping.c.contract_id == contract.c.id)
        if work.conn.scalar(living.where(billing_mapping.c.network_id == row["id"], contract.c.status != "terminated").limit(1)) is not None:
            raise Plain("status", "Cannot terminate billing_network that is still used by contracts", "refused")
        if work.conn.scalar(sa.select(package_profile.c.id).where(package_profile.c.network_id == row["id"]).limit(1)) is not None:
            raise Plain("status", "Cannot terminate billing_network that is still used by profile packages", "refused")


def _contains(table: sa.Table, blocks: sa.Table, parent: str) -> Filter:
    def where(work: Work, text: str) -> sa.ColumnElement[bool]:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            raise Bad("Value must be an IPv4 or IPv6 address") from None
        packed = (int(address) + (check.MAPPED if address.version == 4 else 0)).to_bytes(16, "big")
        return table.c.id.in_(sa.select(blocks.c[parent]).where(blocks.c.first <= packed, blocks.c.last >= packed))

    return Filter("ip", "custom", where=where, help="An address that lies in one of the blocks")


NETWORKS = Resource(
    name="billingnetworks",
    entity="billingnetwork",
    help="A billing network: addresses from which calls are billed by a profile of their own.",
    table=billing_network,
    where=(billing_network.c.status != "terminated",),
    scope=billing_network.c.reseller_id,
    fields=(
        ID,
        Field("reseller_id", Ref("resellers"), required=True, own=True, fixed=True, help="Reseller it belongs to; cannot change"),
        Field("name", Text(255), required=True, help="Name, unique per reseller"),
        Field("description", Text(255), required=True, help="Description"),
        Field("status", Enum(("active", "terminated")), default="active", help="terminated ends it"),
        Field("blocks", BLOCKS, required=True, help="Addresses and networks, of one family, without overlaps"),
    ),
    children={"blocks": Child(billing_network_block, "network_id", derive)},
    filters=(Filter("reseller_id"), _contains(billing_network, billing_network_block, "network_id"), Filter("name", "like")),
    links=(Link("resellers", field="reseller_id"),),
    item=CHANGE,
    patch=FULL_PATCH,
    priority="P2",
    unique=(("reseller_id", "name"),),
    notices=(("billing_network", "id"),),
    check=check_network,
    example={"reseller_id": 1, "name": "office", "description": "the office", "blocks": [{"ip": "192.0.2.0", "mask": 24}]},
)


def delete_location(work: Work, row: Row) -> None:
    """With the preferences that were stored for it."""
    value = preference_value.c
    here = (value.level == "contract", value.owner_id == row["contract_id"], value.location_id == row["id"])
    work.conn.execute(sa.delete(preference_value).where(*here))
    work.conn.execute(sa.delete(customer_location).where(customer_location.c.id == row["id"]))


LOCATIONS = Resource(
    name="customerlocations",
    entity="customerlocation",
    help="A site of a customer, known by its addresses; it may have preferences of its own.",
    table=customer_location,
    source=customer_location.join(JOINED, contract.c.id == customer_location.c.contract_id),
    where=(contract.c.status != "terminated",),
    scope=contact.c.reseller_id,
    fields=(
        ID,
        Field("contract_id", Ref("customers"), required=True, help="Customer"),
        Field("name", Text(255), required=True, help="Name, unique per customer"),
        Field("description", Text(255), required=True, help="Description"),
        Field("blocks", BLOCKS, required=True, help="Addresses and networks, of one family, without overlaps"),
    ),
    children={"blocks": Child(customer_location_block, "location_id", derive)},
    filters=(_contains(customer_location, customer_location_block, "location_id"), Filter("name", "like"), Filter("contract_id")),
    links=(Link("customers", field="contract_id"),),
    patch=FULL_PATCH,
    priority="P2",
    unique=(("contract_id", "name"),),
    notices=(("location", "contract_id"), ("preference:contract", "contract_id")),
    check=check_blocks,
    delete=delete_location,
    example={"contract_id": 2, "name": "mill", "description": "the mill", "blocks": [{"ip": "192.0.2.16", "mask": 28}]},
)

RESOURCES = [NETWORKS, LOCATIONS]
