"""Types and table options of the revisions. Frozen: a released revision must keep meaning what it meant, so add here and never change."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
MONEY = sa.Numeric(14, 6).with_variant(sa.Float(), "sqlite")
RATE = sa.Numeric(20, 14).with_variant(sa.String(22), "sqlite")
EPOCH3 = sa.Numeric(13, 3).with_variant(sa.Float(), "sqlite")
ADDRESS16 = sa.BINARY(16).with_variant(sa.LargeBinary(), "sqlite")
LONG_BLOB = sa.LargeBinary().with_variant(mysql.MEDIUMBLOB(), "mysql", "mariadb")
LONG_TEXT = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")

TABLE: dict[str, Any] = {
    "mysql_engine": "InnoDB",
    "mysql_charset": "utf8mb4",
    "mysql_collate": "utf8mb4_nopad_bin",
    "mariadb_engine": "InnoDB",
    "mariadb_charset": "utf8mb4",
    "mariadb_collate": "utf8mb4_nopad_bin",
}
COUNTED: dict[str, Any] = {**TABLE, "sqlite_autoincrement": True}
"""For tables with a key counted by the database: an id is never used twice."""


def pk(kind: sa.types.TypeEngine[int]) -> sa.Column[int]:
    """The usual key."""
    return sa.Column("id", kind, primary_key=True, autoincrement=True)
