"""SIP domains (data model 4)."""

from __future__ import annotations

from ngcpd.provisioning import check, tenancy
from ngcpd.provisioning.fields import Bool, Field, Ref, Text
from ngcpd.provisioning.resource import ID, Filter, Link, Resource, Row, Values, Work
from ngcpd.store.tables.identity import domain


def create_domain(work: Work, values: Values) -> int:
    return tenancy.create_domain(work.conn, work.env, name=values["domain"], reseller_id=values["reseller_id"])


def delete_domain(work: Work, row: Row) -> None:
    """With everybody in it."""
    tenancy.delete_domain(work.conn, work.env, domain_id=row["id"], with_subscribers=True)


DOMAINS = Resource(
    name="domains",
    entity="domain",
    help="A SIP domain that is served here.",
    table=domain,
    where=(domain.c.is_system.is_(False),),
    scope=domain.c.reseller_id,
    fields=(
        ID,
        Field("domain", Text(127, check=check.domain), required=True, column="name", help="Host name or IP address, unique"),
        Field("reseller_id", Ref("resellers"), required=True, own=True, help="Reseller it belongs to"),
        *(
            Field(name, Bool(), write_only=True, default=False, column=None, help="Has no effect: a change is in force at once")
            for name in ("_skip_sip_reload", "_skip_xmpp_reload")
        ),
    ),
    filters=(Filter("reseller_id"), Filter("domain", "like", domain.c.name)),
    links=(Link("domainpreferences", field="id"), Link("subscribers", filter="domain", by="domain")),
    item=("GET", "HEAD", "OPTIONS", "DELETE"),
    patch=(),
    journal=True,
    unique=(("domain",),),
    create=create_domain,
    delete=delete_domain,
    example={"domain": "voice.brook.example", "reseller_id": 1},
)

RESOURCES = [DOMAINS]
