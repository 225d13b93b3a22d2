"""Reading what is declared: rows within the caller's scope, filters, order, pages, documents."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from ngcpd.provisioning.caller import READING
from ngcpd.provisioning.env import Rules
from ngcpd.provisioning.errors import Absent, Forbidden, Invalid
from ngcpd.provisioning.fields import Bad, Bool, Int, Moment
from ngcpd.provisioning.resource import Doc, Filter, Resource, Row, Work

CHUNK = 500
ROWS = 10
ID_MAX = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a collection. `total`: how many there are in all."""

    page: int
    rows: int
    total: int
    items: list[Doc]


def authorise(work: Work, resource: Resource, method: str) -> None:
    """Forbidden when the caller may not do this to the resource at all."""
    caller = work.caller
    if caller.role not in resource.roles:
        raise Forbidden
    if caller.read_only and method not in READING:
        raise Forbidden("Invalid HTTP method for read-only user")
    needed = resource.flags.get("read"), resource.flags.get("write") if method not in READING else None
    if any(right and not caller.has(right) for right in needed):
        raise Forbidden


def base(work: Work, resource: Resource) -> list[sa.ColumnElement[bool]]:
    """Conditions that say which rows exist for the caller."""
    found = list(resource.where)
    if resource.narrow is not None:
        found += resource.narrow(work)
    if work.caller.is_person:
        found.append(resource.own(work.caller) if resource.own is not None else sa.false())
        return found
    if work.caller.scope is not None and resource.scope is not None:
        column = resource.scope
        found.append(column == work.caller.scope if isinstance(column, sa.ColumnElement) else column(work.caller.scope))
    return found


def rows(work: Work, resource: Resource, where: Iterable[sa.ColumnElement[bool]], *order: Any) -> list[Row]:
    """Rows with all columns that documents are made of."""
    query = _select(resource).where(*base(work, resource), *where)
    return list(work.conn.execute(query.order_by(*order) if order else query).mappings())


def _select(resource: Resource) -> sa.Select[Any]:
    columns = [*light(resource.table), *(column.label(name) for name, column in resource.extra.items())]
    return sa.select(*columns).select_from(resource.from_)


def light(table: sa.Table) -> list[sa.Column[Any]]:
    """The columns of a table that are not contents of files."""
    return [column for column in table.c if not isinstance(column.type, sa.LargeBinary)]


def find(work: Work, resource: Resource, key: int, *, lock: bool = False) -> Row:
    """The row of one object; Absent when there is none for the caller. `lock` keeps it from others until the end of the unit of work."""
    if not 0 < key <= ID_MAX:
        raise Absent(resource.entity)
    if resource.found is not None:
        one = resource.found(work, key)
        if one is None:
            raise Absent(resource.entity)
        return one
    if lock:
        work.conn.execute(sa.select(resource.table.c.id).where(resource.table.c.id == key).with_for_update())
    found = rows(work, resource, [resource.table.c.id == key])
    if not found:
        raise Absent(resource.entity)
    return found[0]


def visible(work: Work, name: str, keys: Iterable[int]) -> set[int]:
    """Which of these ids of another resource exist for the caller."""
    resource = work.resources[name]
    wanted = sorted(set(keys))
    found: set[int] = set()
    for at in range(0, len(wanted), CHUNK):
        inside = resource.table.c.id.in_(wanted[at : at + CHUNK])
        query = sa.select(resource.table.c.id).select_from(resource.from_).where(*base(work, resource), inside)
        found.update(work.conn.scalars(query))
    return found


def documents(work: Work, resource: Resource, found: Sequence[Row], *, secrets: bool = True) -> list[Doc]:
    """What the caller may see of rows, as documents. Names that begin with `_` are for links and not shown."""
    zone = work.env.zone
    docs: list[Doc] = []
    shown = [(f, f.key) for f in resource.fields if not f.write_only]
    for row in found:
        docs.append({f.name: f.type.show(row[key], zone) if key is not None and key in row else None for f, key in shown})
        if resource.parent:
            docs[-1]["_parent"] = row[resource.parent]
    for name, child in resource.children.items():
        _children(work, resource, name, child.table, child.parent, docs, found)
    if resource.show is not None:
        resource.show(work, docs, list(found))
    hidden = [f.name for f in resource.fields if (f.see and not work.caller.has(f.see)) or (f.secret and not secrets)]
    hidden += () if secrets else resource.secrets
    for doc in docs:
        for name in hidden:
            doc.pop(name, None)
    return docs


def read(work: Work, resource: Resource, key: int, parent: int | None = None) -> Doc:
    """One document; `parent`: it has to be one of this parent. Absent, Forbidden, Stale."""
    authorise(work, resource, "GET")
    if parent is not None:
        _fresh_parent(work, resource, parent)
    row = find(work, resource, key)
    if parent is not None and row[resource.parent] != parent:
        raise Absent(resource.entity)
    if resource.freshen is not None and parent is None:
        resource.freshen(work, [row[resource.parent or "id"]])
        row = find(work, resource, key)
    return documents(work, resource, [row])[0]


def list_page(work: Work, resource: Resource, query: Mapping[str, str], parent: int | None = None) -> Page:
    """One page of a collection by its query parameters; of a resource with parents those of one, or without `parent` the newest of each. Invalid
    for a parameter of the wrong form, Absent for an unknown parent, Stale."""
    authorise(work, resource, "GET")
    page, count = number(query, "page", 1), length(query, work.env.rules)
    if resource.listed is not None:
        total, chosen = resource.listed(work, query, (page - 1) * count, count)
        return Page(page, count, total, documents(work, resource, chosen))
    where = conditions(work, resource, query)
    if parent is not None:
        _fresh_parent(work, resource, parent)
        where.append(resource.table.c[resource.parent] == parent)
    elif resource.parent:
        where.append(_newest(resource))
    offset = (page - 1) * count
    known = _quick_count(work, resource) if not where else None
    if "id" not in resource.table.c:
        # Rows that have no number are listed by a way of their own (registrations); here it is only asked whether there are any.
        return Page(page, count, _count(work, resource, where), [])
    order = _order(resource, query)
    if resource.parent and parent is None:
        order.insert(0, resource.table.c[resource.parent])  # ids change when newer ones come
    scoped, limit = _scoped(work, resource, known, offset + count), min(count, ID_MAX)

    def part(column: sa.ColumnElement[Any]) -> list[int]:
        keys = sa.select(column).select_from(resource.from_).where(*scoped, *where)
        return list(work.conn.scalars(keys.order_by(*order).limit(limit).offset(offset))) if offset <= ID_MAX else []

    if resource.freshen is not None and parent is None:
        resource.freshen(work, part(resource.table.c[resource.parent or "id"]))
    wanted = part(resource.table.c.id)
    if known is not None:
        total = known
    elif (wanted or page == 1) and len(wanted) < limit:
        total = offset + len(wanted)  # the last page: all are counted
    else:
        total = _count(work, resource, where)
    by_id: dict[int, Row] = {}
    for at in range(0, len(wanted), CHUNK):
        # By their ids alone: that they exist for the caller was found out above, and more conditions may lead the store astray.
        found = work.conn.execute(_select(resource).where(resource.table.c.id.in_(wanted[at : at + CHUNK]))).mappings()
        by_id |= {row["id"]: row for row in found}
    return Page(page, count, total, documents(work, resource, [by_id[key] for key in wanted if key in by_id]))


def _count(work: Work, resource: Resource, where: list[sa.ColumnElement[bool]]) -> int:
    """How many rows there are for the caller."""
    return work.conn.scalar(sa.select(sa.func.count()).select_from(resource.from_).where(*base(work, resource), *where)) or 0


def _quick_count(work: Work, resource: Resource) -> int | None:
    """The same without a filter, in the form in which it is quick; None when there is no such form."""
    if resource.counted is None or work.caller.is_person:
        return None
    return work.conn.scalar(sa.select(sa.func.count()).select_from(resource.table).where(*resource.counted(work.caller.scope))) or 0


def _scoped(work: Work, resource: Resource, total: int | None, needed: int) -> list[sa.ColumnElement[bool]]:
    """`base`; when a reseller who has a good part of all rows wants the first `needed` ones: in a form that lets the store walk them in their
    order and stop after a page, and not collect and sort all that are the reseller's."""
    scope = work.caller.scope
    if total is None or scope is None or resource.dense is None:
        return base(work, resource)
    newest = work.conn.scalar(sa.select(sa.func.max(resource.table.c.id))) or 0
    # About so many rows are walked until the page is full, instead of `total` collected.
    return [*resource.where, resource.dense(scope)] if 2 * needed * newest < total * total else base(work, resource)


def conditions(work: Work, resource: Resource, query: Mapping[str, str]) -> list[sa.ColumnElement[bool]]:
    """The resource's filters that are given, as conditions; other parameters are ignored."""
    found = []
    for declared in resource.filters:
        text = query.get(declared.name)
        if text is not None:
            try:
                found.append(_condition(work, resource, declared, text))
            except Bad as error:
                raise Invalid([(declared.name, text, str(error))]) from None
    return found


def pattern(text: str) -> str:
    """A `like` filter's value as an SQL pattern with `\\` as the escape: `*` stands for any text."""
    return re.sub(r"([\\%_])", r"\\\1", text).replace("*", "%")


def like(work: Work, column: sa.ColumnElement[Any], text: str) -> sa.ColumnElement[bool]:
    """The value matches a pattern (of `pattern`), case does not matter. SQLite's own LIKE is like that, and can use an index."""
    sqlite = work.conn.dialect.name == "sqlite"
    return column.like(text, escape="\\") if sqlite else column.ilike(text, escape="\\")


# ---------------------------------------------------------------------------------------------------------------------- inside
def _fresh_parent(work: Work, resource: Resource, parent: int) -> None:
    """Bring the objects of a parent up to date. Absent when the caller sees none of it."""
    mine = resource.table.c[resource.parent] == parent
    seen = 0 < parent <= ID_MAX and work.conn.scalar(
        sa.select(resource.table.c.id).select_from(resource.from_).where(*base(work, resource), mine).limit(1)
    )
    if not seen:
        raise Absent(resource.parent_entity)
    if resource.freshen is not None:
        resource.freshen(work, [parent])


def _newest(resource: Resource) -> sa.ColumnElement[bool]:
    """No object of the same parent is newer."""
    newer = resource.table.alias()
    same = newer.c[resource.parent] == resource.table.c[resource.parent]
    return ~sa.exists().where(same, newer.c.id > resource.table.c.id).correlate(resource.table)


def number(query: Mapping[str, str], name: str, default: int) -> int:
    """A query parameter that is a whole number from 1. Invalid."""
    if name not in query:
        return default
    try:
        return int(Int(1, 10**9).parse(query[name], None))  # type: ignore[arg-type]
    except Bad as error:
        raise Invalid([(name, query[name], str(error))]) from None


def length(query: Mapping[str, str], rules: Rules) -> int:
    """How many items of a page were asked for, and may be had. Invalid."""
    count = number(query, "rows", ROWS)
    return min(count, rules.max_rows) if rules.max_rows else count


def _order(resource: Resource, query: Mapping[str, str]) -> list[Any]:
    name = query.get("order_by", "")
    declared = resource.field(name)
    column = resource.table.c.get((declared.key if declared is not None else name) or "")
    secret = declared is not None and (declared.secret or declared.write_only or declared.see)
    if column is None or secret or (declared is None and name not in ("created_at", "modified_at")):
        column = resource.table.c.id
    ordered = column.desc() if query.get("order_by_direction", "").lower() == "desc" else column.asc()
    return [ordered] if column.name == "id" else [ordered, resource.table.c.id.asc()]


def _condition(work: Work, resource: Resource, declared: Filter, text: str) -> sa.ColumnElement[bool]:
    if declared.where is not None:
        return declared.where(work, text)
    column: sa.ColumnElement[Any] = resource.table.c[declared.name] if declared.column is None else declared.column
    if text == "NULL":
        return column.is_(None)
    zone = work.env.zone
    if declared.kind == "int":
        return column == Int(-ID_MAX, ID_MAX).parse(text, zone)
    if declared.kind == "bool":
        return column.is_(bool(Bool().parse(text, zone)))
    if declared.kind == "like":
        return like(work, column, pattern(text))
    if declared.kind == "contains":
        return like(work, column, f"%{pattern(text)}%")
    if declared.kind == "list":
        values = [part.strip() for part in text.split(",")]
        return column.not_in(values) if declared.negate else column.in_(values)
    if declared.kind == "datetime":
        moment = Moment(end=declared.compare == "<=").parse(text, zone)
        return column >= moment if declared.compare == ">=" else column <= moment if declared.compare == "<=" else column == moment
    return column == text


def _children(work: Work, resource: Resource, name: str, table: sa.Table, parent: str, docs: list[Doc], found: Sequence[Row]) -> None:
    declared = resource.field(name)
    assert declared is not None
    keys = [row["id"] for row in found]
    grouped: dict[int, list[Row]] = {}
    for at in range(0, len(keys), CHUNK):
        query = sa.select(table).where(table.c[parent].in_(keys[at : at + CHUNK])).order_by(table.c.id)
        for row in work.conn.execute(query).mappings():
            grouped.setdefault(row[parent], []).append(row)
    for doc, row in zip(docs, found, strict=True):
        doc[name] = declared.type.show([dict(entry) for entry in grouped.get(row["id"], ())], work.env.zone)
