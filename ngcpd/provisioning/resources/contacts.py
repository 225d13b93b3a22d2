"""Contacts of the system and of customers (data model 2)."""

from __future__ import annotations

import sqlalchemy as sa

from ngcpd.provisioning.errors import ProvisioningError
from ngcpd.provisioning.fields import Email, Field, Moment, Ref, Text
from ngcpd.provisioning.resource import ID, Filter, Resource, Row, Values, Work
from ngcpd.store import changes
from ngcpd.store.db import now
from ngcpd.store.tables.tenancy import contact, contract

_CODES = """
AD AE AF AG AI AL AM AO AQ AR AS AT AU AW AX AZ BA BB BD BE BF BG BH BI BJ BL BM BN BO BQ BR BS BT BV BW BY BZ CA CC CD CF CG CH CI CK
CL CM CN CO CR CU CV CW CX CY CZ DE DJ DK DM DO DZ EC EE EG EH ER ES ET FI FJ FK FM FO FR GA GB GD GE GF GG GH GI GL GM GN GP GQ GR GS
GT GU GW GY HK HM HN HR HT HU ID IE IL IM IN IO IQ IR IS IT JE JM JO JP KE KG KH KI KM KN KP KR KW KY KZ LA LB LC LI LK LR LS LT LU LV
LY MA MC MD ME MF MG MH MK ML MM MN MO MP MQ MR MS MT MU MV MW MX MY MZ NA NC NE NF NG NI NL NO NP NR NU NZ OM PA PE PF PG PH PK PL PM
PN PR PS PT PW PY QA RE RO RS RU RW SA SB SC SD SE SG SH SI SJ SK SL SM SN SO SR SS ST SV SX SY SZ TC TD TF TG TH TJ TK TL TM TN TO TR
TT TV TW TZ UA UG UM US UY UZ VA VC VE VG VI VN VU WF WS YE YT ZA ZM ZW
"""
COUNTRIES = frozenset(_CODES.split())


def country(name: str, value: str) -> str:
    """ISO 3166-1 alpha-2, upper case."""
    code = value.upper()
    if code not in COUNTRIES:
        raise ProvisioningError(name, "is not a country code of two letters (ISO 3166)")
    return code


def _text(name: str, longest: int, help: str) -> Field:
    return Field(name, Text(longest), nullable=True, help=help)


FIELDS = (
    _text("firstname", 127, "First name"),
    _text("lastname", 127, "Last name"),
    _text("company", 127, "Company"),
    Field("email", Email(), required=True, help="Mail address"),
    _text("street", 127, "Street and number"),
    _text("postcode", 16, "Postal code"),
    _text("city", 127, "City"),
    Field("country", Text(2, check=country), nullable=True, help="Country, two letters of ISO 3166"),
    _text("phonenumber", 31, "Telephone"),
    _text("mobilenumber", 31, "Mobile telephone"),
    _text("faxnumber", 31, "Fax"),
    _text("iban", 34, "International bank account number"),
    Field("bic", Text(11, 8), nullable=True, help="Bank identifier code, 8 to 11 characters"),
    _text("bankname", 255, "Bank"),
    _text("vatnum", 127, "VAT number"),
    _text("comregnum", 31, "Number in the commercial register"),
    *(_text(f"gpp{n}", 255, "For the operator's own use") for n in range(10)),
)
STAMPS = (
    Field("create_timestamp", Moment(), read_only=True, column="created_at", help="When it was made"),
    Field("modify_timestamp", Moment(), read_only=True, column="modified_at", help="When it was last changed"),
)


def delete_contact(work: Work, row: Row) -> None:
    """Remove a contact; one that a living contract uses stays."""
    users = sa.select(contract.c.id, contract.c.status).where(contract.c.contact_id == row["id"])
    found = work.conn.execute(users).all()
    if any(user.status != "terminated" for user in found):
        raise ProvisioningError("id", "Contact is still in use.", "in_use")
    if found:
        # Ended contracts keep their row for the records; the person's data goes.
        blank = {f.name: None for f in FIELDS}
        work.conn.execute(sa.update(contact).where(contact.c.id == row["id"]).values(**blank, deleted_at=now(work.conn)))
    else:
        work.conn.execute(sa.delete(contact).where(contact.c.id == row["id"]))


def effects(work: Work, operation: str, key: int, row: Row | None, values: Values) -> None:
    """A contract's reseller is that of its contact."""
    if operation == "update":
        owners = work.conn.scalars(sa.select(contract.c.id).where(contract.c.contact_id == key))
        changes.note_all(work.conn, [("contract", owner) for owner in owners])


CUSTOMER_CONTACTS = Resource(
    name="customercontacts",
    entity="customercontact",
    help="A contact of a reseller's customer.",
    table=contact,
    where=(contact.c.reseller_id.is_not(None), contact.c.deleted_at.is_(None)),
    scope=contact.c.reseller_id,
    fields=(ID, Field("reseller_id", Ref("resellers"), required=True, own=True, help="Reseller it belongs to"), *FIELDS, *STAMPS),
    filters=(Filter("email", "like"), Filter("reseller_id")),
    journal=True,
    effects=effects,
    delete=delete_contact,
    example={"reseller_id": 1, "firstname": "Ada", "lastname": "Brook", "email": "ada.brook@example.net", "country": "AT"},
)

SYSTEM_CONTACTS = Resource(
    name="systemcontacts",
    entity="systemcontact",
    help="A contact of a reseller or of a peering.",
    table=contact,
    where=(contact.c.reseller_id.is_(None), contact.c.deleted_at.is_(None)),
    roles=("admin",),
    fields=(ID, *FIELDS, *STAMPS),
    filters=(Filter("email", "like"),),
    journal=True,
    delete=delete_contact,
    example={"email": "noc@carrier.example"},
)

RESOURCES = [CUSTOMER_CONTACTS, SYSTEM_CONTACTS]
