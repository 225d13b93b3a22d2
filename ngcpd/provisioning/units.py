"""Writing what is declared: create, replace, patch and delete as units of work.

Each checks rights, validates the whole document, checks references, limits and uniqueness, writes, notes the change for the other processes
and appends to the journal, in the transaction of its connection. It raises ProvisioningError and then nothing has changed.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable, Iterable
from typing import Any

import sqlalchemy as sa

from ngcpd.provisioning import query
from ngcpd.provisioning.errors import Invalid, ProvisioningError
from ngcpd.provisioning.fields import Array, Field, Object, Ref, parse_fields
from ngcpd.provisioning.query import authorise, documents, find
from ngcpd.provisioning.resource import Doc, Resource, Row, Values, Work
from ngcpd.store import changes
from ngcpd.store.db import insert, now
from ngcpd.store.tables.tenancy import journal

JOURNALED = frozenset(("create", "update", "delete"))
DEFLATED = "deflate:"
"""How a compressed document begins in the journal; the others begin with a brace."""
DROPPED = ("_links", "_embedded", "id")


def create(work: Work, resource: Resource, body: Doc) -> int:
    """A new object; its id."""
    authorise(work, resource, "POST")
    values = _values(work, resource, body, None)
    try:
        key = resource.create(work, values) if resource.create is not None else _insert(work, resource, values)
    except sa.exc.IntegrityError:
        raise _collision(resource, values) from None
    finish(work, resource, "create", key, None, values)
    return key


def act(work: Work, resource: Resource, body: Doc) -> Doc | None:
    """What a POST to a resource without objects does; its answer, if there is one."""
    authorise(work, resource, "POST")
    assert resource.act is not None
    return resource.act(work, _values(work, resource, body, None))


def replace(work: Work, resource: Resource, key: int, body: Doc) -> Doc:
    """Store a whole document in the place of the present one; the document as it is then."""
    authorise(work, resource, "PUT")
    return _change(work, resource, _fresh(work, resource, key), body)


def patch(work: Work, resource: Resource, key: int, apply: Callable[[Doc], Doc]) -> Doc:
    """`apply` makes the new document of the present one, which then is stored as by `replace`."""
    authorise(work, resource, "PATCH")
    row = _fresh(work, resource, key)
    shown = documents(work, resource, [row])[0]
    # What is never shown, or not to this caller, can be replaced all the same; untouched it stays.
    blank = [f.name for f in resource.fields if f.name not in shown and not f.read_only]
    after = apply({**shown, **dict.fromkeys(blank)})
    return _change(work, resource, row, {k: v for k, v in after.items() if k not in blank or v is not None})


def remove(work: Work, resource: Resource, key: int) -> None:
    """Delete or terminate an object, as its declaration says."""
    authorise(work, resource, "DELETE")
    row = find(work, resource, key, lock=True)
    before = journal_text(work, resource, row)
    try:
        if resource.delete is not None:
            resource.delete(work, row)
        else:
            work.conn.execute(sa.delete(resource.table).where(resource.table.c.id == key))
    except sa.exc.IntegrityError:
        raise ProvisioningError("id", f"the {resource.entity} is in use", "in_use") from None
    finish(work, resource, "delete", key, row, {}, before)


def finish(work: Work, resource: Resource, operation: str, key: int, row: Row | None, values: Values, content: str | None = None) -> None:
    """What follows every write: effects, change notices, journal."""
    if resource.effects is not None:
        resource.effects(work, operation, key, row, values)
    if content is None:
        after = query.rows(work, resource, [resource.table.c.id == key])
        shown = after[0] if after else row  # what has ended is hidden: as it was before
        content = journal_text(work, resource, shown) if shown is not None else "{}"
    changes.note_all(work.conn, notices(resource, key, row, values))
    log_write(work, resource, operation, key, content)


def notices(resource: Resource, key: int, row: Row | None, values: Values) -> list[tuple[str, Any]]:
    """The change notices of one write."""
    found = []
    for kind, source in resource.notices:
        keys = [key] if source == "id" else [row.get(source) if row is not None else None, values.get(source)]
        found += [(kind, k) for k in keys if k is not None]
    return found


def log_write(work: Work, resource: Resource, operation: str, key: int, content: str) -> None:
    """One row of the journal, if the operator wants it (REST API 1.12)."""
    rules = work.env.rules
    if not resource.journal or operation not in rules.journal.get(resource.name, JOURNALED):
        return
    insert(
        work.conn,
        journal,
        at=work.env.clock.time(),
        operation=operation,
        resource_name=resource.name,
        resource_id=key,
        username=work.caller.login[:127],
        content=DEFLATED + base64.b64encode(zlib.compress(content.encode())).decode() if rules.journal_deflate else content,
    )


def journal_content(stored: str) -> Any:
    """The document of a journal entry."""
    text = zlib.decompress(base64.b64decode(stored[len(DEFLATED) :])).decode() if stored.startswith(DEFLATED) else stored
    return json.loads(text)


def journal_text(work: Work, resource: Resource, row: Row) -> str:
    """An object as the journal keeps it: without secrets."""
    return journal_json(documents(work, resource, [row], secrets=False)[0])


def journal_json(doc: Doc) -> str:
    """A document without secrets as the journal's text."""
    return json.dumps({k: v for k, v in doc.items() if not k.startswith("_")}, ensure_ascii=False)


# ---------------------------------------------------------------------------------------------------------------------- inside
def _fresh(work: Work, resource: Resource, key: int) -> Row:
    """The row of an object that is going to change, locked and up to date."""
    row = find(work, resource, key, lock=True)
    if resource.freshen is None:
        return row
    resource.freshen(work, [key])
    return find(work, resource, key)


def _change(work: Work, resource: Resource, row: Row, body: Doc) -> Doc:
    values = _values(work, resource, body, row)
    try:
        if resource.update is not None:
            resource.update(work, row, values)
        else:
            _update(work, resource, row, values)
    except sa.exc.IntegrityError:
        raise _collision(resource, values) from None
    finish(work, resource, "update", row["id"], row, values)
    after = query.rows(work, resource, [resource.table.c.id == row["id"]])
    return documents(work, resource, after)[0] if after else {}


def _values(work: Work, resource: Resource, body: Doc, row: Row | None) -> Values:
    """The checked values of a document, before anything is written."""
    given = {k: v for k, v in body.items() if k not in DROPPED}
    if resource.parse is not None:
        values = resource.parse(work, given, row)
    else:
        errors: list[tuple[str, Any, str]] = []
        writable = [_for_caller(work, f, given) for f in resource.fields]
        values = parse_fields(writable, given, work.env.zone, errors, update=row is not None)
        if not errors:
            errors += list(_references(work, writable, values, row))
        if errors:
            raise Invalid(errors)
        if row is not None:
            _fixed(resource, values, row)
    if resource.check is not None:
        resource.check(work, values, row)
    _unique(work, resource, values, row)
    return values


def _for_caller(work: Work, f: Field, given: Doc) -> Field:
    """The field as this caller meets it. What it may not set stays, what it cannot see is not expected back."""
    from dataclasses import replace as changed

    if f.own and work.caller.scope is not None:
        given[f.name] = work.caller.scope
    if f.set and not work.caller.has(f.set):
        given.pop(f.name, None)
        return changed(f, keep=True, required=False)
    if f.see and not work.caller.has(f.see):
        return changed(f, keep=True)
    return f


def _references(work: Work, fields: Iterable[Field], values: Values, row: Row | None) -> Iterable[tuple[str, Any, str]]:
    for f in fields:
        value = values.get(f.name)
        if value is None:
            continue
        # What is stored stays valid for the caller even if it cannot see it (or it ended meanwhile).
        before = row.get(f.key) if row is not None and f.key is not None else None
        for name, target, key in _refs(f.name, f.type, value):
            if key != before and not _visible(work, target, key):
                yield (name, key, f"Invalid '{f.name}'")


def _visible(work: Work, target: str, key: int) -> bool:
    return bool(work.once(("visible", target, key), lambda: key in query.visible(work, target, [key])))


def _refs(name: str, kind: Any, value: Any) -> Iterable[tuple[str, str, int]]:
    if isinstance(kind, Ref):
        yield name, kind.resource, value
    elif isinstance(kind, Array):
        for entry in value:
            if entry is not None:
                yield from _refs(name, kind.of, entry)
    elif isinstance(kind, Object):
        for f in kind.fields:
            if value.get(f.name) is not None:
                yield from _refs(f"{name}_{f.name}", f.type, value[f.name])


def _fixed(resource: Resource, values: Values, row: Row) -> None:
    for f in resource.fields:
        if f.fixed and f.name in values and f.key is not None and f.key in row:
            if not f.silent and values[f.name] != row[f.key]:
                raise Invalid([(f.name, values[f.name], f"{f.name} cannot be changed")])
            values[f.name] = row[f.key]


def _unique(work: Work, resource: Resource, values: Values, row: Row | None) -> None:
    for group in resource.unique:
        merged = {}
        for name in group:
            declared = resource.field(name)
            column = declared.key if declared is not None else name
            assert column is not None
            merged[column] = values[name] if name in values else row[column] if row is not None else None
        if any(v is None for v in merged.values()):
            continue
        same = [*resource.unique_where, *(resource.table.c[column] == value for column, value in merged.items())]
        if row is not None:
            same.append(resource.table.c.id != row["id"])
        if work.conn.scalar(sa.select(resource.table.c.id).where(*same).limit(1)) is not None:
            raise Invalid([(group[-1], values.get(group[-1]), f"A {resource.entity} with this {group[-1]} already exists")])


def _collision(resource: Resource, values: Values) -> ProvisioningError:
    """Somebody else was faster with the same unique values."""
    name = resource.unique[0][-1] if resource.unique else resource.fields[-1].name
    return Invalid([(name, values.get(name), f"A {resource.entity} with this {name} already exists")])


def _columns(resource: Resource, values: Values) -> Values:
    found = {}
    for f in resource.fields:
        if f.key is not None and f.name in values and f.key in resource.table.c and f.name not in resource.children:
            found[f.key] = values[f.name]
    return found


def _insert(work: Work, resource: Resource, values: Values) -> int:
    stamp = {name: now(work.conn) for name in ("created_at", "modified_at") if name in resource.table.c}
    key = insert(work.conn, resource.table, **_columns(resource, values), **stamp)
    for name in resource.children:
        write_children(work, resource, name, key, values.get(name) or [])
    return key


def _update(work: Work, resource: Resource, row: Row, values: Values) -> None:
    update_row(work, resource.table, row["id"], _columns(resource, values))
    for name, child in resource.children.items():
        if name in values:
            work.conn.execute(sa.delete(child.table).where(child.table.c[child.parent] == row["id"]))
            write_children(work, resource, name, row["id"], values[name] or [])


def update_row(work: Work, table: sa.Table, key: int, values: Values) -> None:
    """Change columns of one row, and its version and stamp."""
    stamp: Values = {"modified_at": now(work.conn)} if "modified_at" in table.c else {}
    if "version" in table.c:
        stamp["version"] = table.c.version + 1
    if values or stamp:
        work.conn.execute(sa.update(table).where(table.c.id == key).values(**values, **stamp))


def write_children(work: Work, resource: Resource, name: str, key: int, entries: list[Doc]) -> None:
    """Insert the rows of an array field."""
    child = resource.children[name]
    rows = [{**entry, **(child.derive(entry) if child.derive is not None else {}), child.parent: key} for entry in entries]
    if rows:
        work.conn.execute(sa.insert(child.table), [{k: v for k, v in row.items() if k in child.table.c} for row in rows])
