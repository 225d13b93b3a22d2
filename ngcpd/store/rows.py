"""Many rows into one table at once, for the writers behind calls.

What SQLAlchemy and the driver do for each single value costs more than the server's work with it. Here a statement's text is put together in one
pass on MariaDB; SQLite gets tuples for a prepared statement. Types convert and refuse values as they do everywhere.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from pymysql.converters import escape_string

LIMIT = 500_000
"""Characters of one statement; a server takes 16 MiB, in four bytes each at the most."""
Literal = Callable[[Any], str]


def insert_rows(conn: sa.Connection, into: sa.Table, rows: Sequence[Mapping[str, Any]], names: Sequence[str] = ()) -> None:
    """Insert rows: columns `names`, or all of the first row. ValueError or DBAPIError for a value that does not fit its column."""
    if not rows:
        return
    names = names or list(rows[0])
    if conn.dialect.name == "sqlite":
        _prepared(conn, into, rows, names)
        return
    literals = [(name, _literal(into.c[name].type, conn.dialect)) for name in names]
    quoted = conn.dialect.identifier_preparer.quote
    head = f"INSERT INTO {quoted(into.name)} ({', '.join(map(quoted, names))}) VALUES "
    part: list[str] = []
    size = 0
    for row in rows:
        text = "(" + ",".join([literal(row[name]) for name, literal in literals]) + ")"
        if part and size + len(text) > LIMIT:
            _send(conn, head, part)
            part, size = [], 0
        part.append(text)
        size += len(text)
    _send(conn, head, part)


def _prepared(conn: sa.Connection, into: sa.Table, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    quoted = conn.dialect.identifier_preparer.quote
    statement = f"INSERT INTO {quoted(into.name)} ({', '.join(map(quoted, names))}) VALUES ({', '.join('?' * len(names))})"
    converters = [into.c[name].type.dialect_impl(conn.dialect).bind_processor(conn.dialect) for name in names]
    columns = [
        [row[name] for row in rows] if convert is None else [convert(row[name]) for row in rows]
        for name, convert in zip(names, converters, strict=True)
    ]
    conn.exec_driver_sql(statement, list(zip(*columns, strict=True))).close()


def _send(conn: sa.Connection, head: str, part: list[str]) -> None:
    # Without parameters a percent sign is a percent sign. The session's sql_mode (see `engine`) lets a backslash escape.
    conn.exec_driver_sql(head + ",".join(part), execution_options={"no_parameters": True}).close()


def _literal(kind: sa.types.TypeEngine[Any], dialect: sa.Dialect) -> Literal:
    """The writer of one column's values."""
    if isinstance(kind, sa.String):
        return _text
    if isinstance(kind, sa.TypeDecorator):
        convert = kind.process_bind_param
        return lambda value: _plain(convert(value, dialect))
    return _plain


def _text(value: Any) -> str:
    if value is None:
        return "NULL"
    if type(value) is not str:
        raise ValueError(f"text is wanted, not {type(value).__name__}")
    return f"'{escape_string(value)}'"


def _plain(value: Any) -> str:
    if value is None:
        return "NULL"
    kind = type(value)
    if kind is int or kind is bool:
        return str(int(value))
    if kind is float:
        if not math.isfinite(value):
            raise ValueError(f"{value} is not a number for a table")
        return repr(value)
    if kind is Decimal:
        return f"{value:f}"
    if kind is datetime.datetime:
        return f"'{value:%Y-%m-%d %H:%M:%S}'" if not value.microsecond else f"'{value:%Y-%m-%d %H:%M:%S.%f}'"
    if kind is str:
        return _text(value)
    raise ValueError(f"no way to write a {kind.__name__}")
