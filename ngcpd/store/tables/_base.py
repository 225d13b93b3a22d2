"""What all tables share: the one `metadata`, column types that mean the same on SQLite and MariaDB, and short-hands for columns.

Times are naive UTC `datetime` values with whole seconds. Nothing here or in a table asks the server for the time: every stamp is written
by the caller from its clock.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.engine import Dialect

# Two underscores: `fk_a_b_c` could be of table a or a_b, and names of foreign keys and indexes are shared by the whole database.
metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s__%(column_0_N_name)s",
        "uq": "uq_%(table_name)s__%(column_0_N_name)s",
        "ck": "ck_%(table_name)s__%(constraint_name)s",
        "fk": "fk_%(table_name)s__%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Address16 = sa.BINARY(16).with_variant(sa.LargeBinary(), "sqlite")
"""A network address as 16 bytes, IPv4 mapped into IPv6, so that one range query serves both families."""

BigId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
"""Key of the tables that only grow: 64 bit on both engines."""

LongText = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")
"""Text of up to 16 MiB."""

LongBlob = sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb")
"""Bytes, up to 16 MiB."""


class Fixed(sa.types.TypeDecorator[Decimal]):
    """An exact decimal of `precision` digits with `scale` of them after the point; read back as `Decimal` with that many places.

    MariaDB has a type for it. SQLite has none: up to 15 digits are kept exactly by a double, more are stored as text (which then cannot be
    summed or compared in SQL; only rates are of that kind). Binding takes Decimal, int, float and numeric text, rounded half up.
    """

    impl = sa.Numeric
    cache_ok = True

    def __init__(self, precision: int, scale: int) -> None:
        super().__init__(precision, scale)
        self.precision = precision
        self.scale = scale
        self.step = Decimal(1).scaleb(-scale)

    def load_dialect_impl(self, dialect: Dialect) -> sa.types.TypeEngine[Any]:
        if dialect.name != "sqlite":
            return dialect.type_descriptor(sa.Numeric(self.precision, self.scale))
        if self.precision <= 15:
            return dialect.type_descriptor(sa.Float(asdecimal=False))
        return dialect.type_descriptor(sa.String(self.precision + 2))

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        if value is None:
            return None
        exact = self._round(value if isinstance(value, Decimal) else Decimal(str(value)))
        if abs(exact) >= Decimal(1).scaleb(self.precision - self.scale):
            raise ValueError(f"{value} does not fit into {self.precision - self.scale} digits before the point")
        if dialect.name != "sqlite":
            return exact
        return float(exact) if self.precision <= 15 else f"{exact:f}"

    def process_result_value(self, value: Any, dialect: Dialect) -> Decimal | None:
        return None if value is None else self._round(value if isinstance(value, Decimal) else Decimal(str(value)))

    def _round(self, value: Decimal) -> Decimal:
        return value.quantize(self.step, ROUND_HALF_UP)


def Money() -> Fixed:
    """An amount in cents."""
    return Fixed(14, 6)


def Rate() -> Fixed:
    """Cents per second."""
    return Fixed(20, 14)


def Epoch3() -> Fixed:
    """Seconds since the epoch, or a duration in seconds, with milliseconds."""
    return Fixed(13, 3)


class Utc(sa.types.TypeDecorator[datetime.datetime]):
    """A moment in UTC, whole seconds, naive in Python. A value with a zone is converted; a fraction of a second is cut off."""

    impl = sa.DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime.datetime | None, dialect: Dialect) -> datetime.datetime | None:
        if value is None:
            return None
        if value.tzinfo is not None:
            value = value.astimezone(datetime.UTC).replace(tzinfo=None)
        return value.replace(microsecond=0)


def table(name: str, *items: sa.schema.SchemaItem) -> sa.Table:
    """A table whose ids are never used twice, compared byte by byte (no case folding, no padding) on both engines."""
    return sa.Table(
        name,
        metadata,
        *items,
        sqlite_autoincrement=any(isinstance(i, sa.Column) and i.name == "id" for i in items),
        mysql_engine="InnoDB",
        mysql_charset="utf8mb4",
        mysql_collate="utf8mb4_nopad_bin",
        mariadb_engine="InnoDB",
        mariadb_charset="utf8mb4",
        mariadb_collate="utf8mb4_nopad_bin",
    )


def pk(big: bool = False) -> sa.Column[int]:
    """The usual key: an integer counted up by the database."""
    return sa.Column("id", BigId if big else sa.Integer(), primary_key=True, autoincrement=True)


def ref(name: str, target: str, *, null: bool = False, on_delete: str = "RESTRICT", index: bool = True) -> sa.Column[int]:
    """A foreign key to `target`.id."""
    return sa.Column(name, sa.Integer(), sa.ForeignKey(f"{target}.id", ondelete=on_delete), nullable=null, index=index)


def text(name: str, length: int, *, null: bool = False, default: str | None = None) -> sa.Column[str]:
    """Text of bounded length."""
    return sa.Column(name, sa.String(length), nullable=null, server_default=default)


def integer(name: str, *, null: bool = False, default: int | None = None) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=null, server_default=None if default is None else sa.text(str(default)))


def flag(name: str, default: bool | None = False, *, null: bool = False) -> sa.Column[bool]:
    """A boolean."""
    return sa.Column(name, sa.Boolean(), nullable=null, server_default=None if default is None else (sa.true() if default else sa.false()))


def moment(name: str, *, null: bool = False) -> sa.Column[datetime.datetime]:
    return sa.Column(name, Utc(), nullable=null)


def fixed(name: str, kind: Fixed, *, null: bool = False, default: int | None = None) -> sa.Column[Decimal]:
    return sa.Column(name, kind, nullable=null, server_default=None if default is None else sa.text(str(default)))


def choice(name: str, values: Iterable[str], *, null: bool = False, default: str | None = None) -> tuple[sa.Column[str], sa.CheckConstraint]:
    """A text that is one of `values`, kept by a CHECK."""
    listed = tuple(values)
    column: sa.Column[str] = sa.Column(name, sa.String(max(len(v) for v in listed)), nullable=null, server_default=default)
    inside = ", ".join(f"'{v}'" for v in listed)
    return column, sa.CheckConstraint(f"{name} IN ({inside})", name=name)


def stamps() -> tuple[sa.Column[Any], ...]:
    """`version` for optimistic concurrency and when the row was made and last changed."""
    return integer("version", default=1), moment("created_at"), moment("modified_at")
