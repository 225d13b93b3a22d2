"""The form of an exported reseller: JSON lines. A header, then one line per row, parents before children, then an end line.

    {"ngcpd-export": "reseller", "version": 1, "reseller": "acme", "counts": {"contact": 3, ...}, "key": ..., "sealed": "own" | "passphrase", ...}
    {"table": "domain", "n": 1, "row": {"name": "voice.example", "reseller_id": 1, ...}}
    {"end": 1234}

`n` numbers the rows of tables that others refer to, from 1 in the order of the file; references are these numbers. A row that stays behind is
referred to by its unique names: `{"@": ["default", "gold"]}` is profile `gold` of reseller `default`. Absent columns are NULL.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
import hmac
from decimal import Decimal, InvalidOperation
from typing import Any

import sqlalchemy as sa

from ngcpd.provisioning import moveplan
from ngcpd.runtime.ports import Rng
from ngcpd.store.credentials import KEY_BYTES, Vault
from ngcpd.store.tables import metadata
from ngcpd.store.tables._base import Fixed

MARK = "ngcpd-export"
VERSION = 1
SALT_BYTES = 16
# scrypt: 2^15 * 8 * 128 bytes = 32 MiB and about 0.1 s, once per export or import.
SCRYPT = {"n": 2**15, "r": 8, "p": 1, "maxmem": 2**26, "dklen": KEY_BYTES}


class BadFile(Exception):
    """The file is not what it should be, or does not fit here; the text is for the operator."""


def fingerprint(key: bytes) -> str:
    """Tells keys apart without telling anything about them."""
    return hmac.digest(key, b"ngcpd-export key", "sha256").hex()[:16]


def travel_vault(passphrase: str, salt: bytes, rng: Rng) -> Vault:
    """What seals secrets on the way."""
    return Vault(hashlib.scrypt(passphrase.encode(), salt=salt, **SCRYPT), rng)


def encode(column: sa.Column[Any], value: Any) -> Any:
    """A value that is no reference as JSON has it."""
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, bytes | memoryview):
        return base64.b64encode(bytes(value)).decode("ascii")
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat(" ") if isinstance(value, datetime.datetime) else value.isoformat()
    return value


def decode(column: sa.Column[Any], value: Any) -> Any:
    """The value of a column out of JSON. BadFile when it cannot be one."""
    kind = column.type
    name = f"{column.table.name}.{column.name}"
    try:
        if value is None:
            if not column.nullable:
                raise BadFile(f"{name} must not be null")
            return None
        if isinstance(kind, sa.Boolean):
            return _is(bool, value)
        if isinstance(kind, Fixed | sa.Numeric) and not isinstance(kind, sa.Float):
            return Decimal(str(value))
        if isinstance(kind, sa.Float | sa.Double):
            return float(value)
        if isinstance(kind, sa.Integer):
            return _is(int, value)
        if isinstance(kind, sa.LargeBinary | sa.BINARY):
            return base64.b64decode(_is(str, value), validate=True)
        if isinstance(kind, sa.Date):
            return datetime.date.fromisoformat(value)
        if isinstance(kind, sa.types.TypeDecorator | sa.DateTime):
            return datetime.datetime.fromisoformat(value)
        text = _is(str, value)
        text.encode()  # no half of a pair of surrogates
        longest = getattr(kind, "length", None)
        if longest is not None and len(text) > longest:
            raise BadFile(f"{name} has more than {longest} characters")
        return text
    except (ValueError, TypeError, InvalidOperation, binascii.Error):
        raise BadFile(f"{name} has a value of the wrong kind") from None


def _is(kind: type, value: Any) -> Any:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError
    return value


def natural_key(table: sa.Table) -> tuple[str, ...]:
    """The columns by which a row is found in another installation; () when there are none."""
    for constraint in sorted((c for c in table.constraints if isinstance(c, sa.UniqueConstraint)), key=lambda c: [x.name for x in c.columns]):
        names = tuple(c.name for c in constraint.columns)
        if all(moveplan.target(table.c[n]) in (None, "reseller") for n in names):
            return names
    return ()


def named(conn: sa.Connection, table: str, key: int) -> list[Any] | None:
    """The natural key of a row that stays behind, its reseller by name."""
    found = metadata.tables[table]
    columns = natural_key(found)
    row = conn.execute(sa.select(*(found.c[c] for c in columns)).where(found.c.id == key)).mappings().one_or_none() if columns else None
    if row is None:
        return None
    reseller = moveplan.reseller
    return [
        conn.scalar(sa.select(reseller.c.name).where(reseller.c.id == row[c])) if c == "reseller_id" and row[c] is not None else row[c]
        for c in columns
    ]


def find_named(conn: sa.Connection, table: str, key: list[Any]) -> int | None:
    """The row of this installation with a natural key."""
    found = metadata.tables[table]
    columns = natural_key(found)
    if len(columns) != len(key):
        return None
    where = []
    for name, value in zip(columns, key, strict=True):
        if name == "reseller_id" and value is not None:
            reseller = moveplan.reseller
            value = conn.scalar(sa.select(reseller.c.id).where(reseller.c.name == value))
            if value is None:
                return None
        where.append(found.c[name].is_(None) if value is None else found.c[name] == value)
    return conn.scalar(sa.select(found.c.id).where(*where).order_by(found.c.id).limit(1))
