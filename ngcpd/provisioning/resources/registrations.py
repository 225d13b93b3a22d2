"""Registrations: a view of the registrar's live bindings, which answers the requests itself (`ngcpd.web.rest.registrations`)."""

from __future__ import annotations

from decimal import Decimal

from ngcpd.provisioning.fields import Bool, Field, Moment, Number, Ref, Text
from ngcpd.provisioning.resource import ID, Filter, Link, Resource
from ngcpd.provisioning.resources.subscribers import of_reseller
from ngcpd.store.tables.identity import subscriber
from ngcpd.store.tables.runtime import registration

REGISTRATIONS = Resource(
    name="subscriberregistrations",
    entity="subscriberregistration",
    help="Where a subscriber is registered. What is added here stays until it is deleted.",
    table=registration,
    source=registration.join(subscriber, subscriber.c.id == registration.c.subscriber_id),
    scope=of_reseller,
    fields=(
        ID,
        Field("subscriber_id", Ref("subscribers"), required=True, help="Subscriber"),
        Field("contact", Text(2048), required=True, help="SIP URI of the contact"),
        Field("expires", Moment(), required=True, help="When it ends; a registration added here is permanent"),
        Field("q", Number(low=Decimal(-1), high=Decimal(1)), default=Decimal(1), help="Preference among contacts"),
        Field("nat", Bool(), default=False, help="The telephone is behind NAT"),
        Field("user_agent", Text(255), read_only=True, help="Name of the telephone's software"),
    ),
    filters=(Filter("subscriber_id"),),
    links=(Link("subscribers", field="subscriber_id"),),
    example={"subscriber_id": 4, "contact": "sip:ada@192.0.2.7:5060", "expires": "2030-01-01 00:00:00", "q": 1},
)

RESOURCES = [REGISTRATIONS]
