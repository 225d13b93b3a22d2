"""Making many objects in one unit of work, by the rules of `units.create`: what cannot be made is told for each, the others are made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from ngcpd.provisioning import query, units
from ngcpd.provisioning.errors import Invalid, ProvisioningError
from ngcpd.provisioning.fields import Field, Ref, Type
from ngcpd.provisioning.query import authorise, documents
from ngcpd.provisioning.resource import Doc, Resource, Values, Work
from ngcpd.store import changes
from ngcpd.store.tables.tenancy import journal

Item = tuple[int, Values]


def create_many(work: Work, resource: Resource, bodies: Sequence[Doc], seen: dict[Any, Any] | None = None) -> list[int | ProvisioningError]:
    """New objects out of documents: for each its id, or why there is none. `work` should have a memory. `seen`: see `Resource.sift`.

    Raises Forbidden when the caller may not make any.
    """
    authorise(work, resource, "POST")
    _remember_references(work, resource, bodies)
    results: list[int | ProvisioningError] = [0] * len(bodies)
    items: list[Item] = []
    for place, body in enumerate(bodies):
        try:
            items.append((place, units._values(work, resource, body, None)))
        except ProvisioningError as error:
            results[place] = error
    if resource.sift is not None:
        refused = resource.sift(work, [values for _, values in items], seen)
        for at, why in refused.items():
            results[items[at][0]] = why
        items = [item for at, item in enumerate(items) if at not in refused]
    _make(work, resource, items, results)
    made = [(results[place], values) for place, values in items if isinstance(results[place], int)]
    _finish(work, resource, made)
    return results


def explain(error: ProvisioningError) -> list[tuple[str, str]]:
    """(field, text) of everything that is wrong."""
    if isinstance(error, Invalid):
        return [(name, text) for name, _, text in error.errors]
    return [(error.field, error.message)]


def _make(work: Work, resource: Resource, items: list[Item], results: list[int | ProvisioningError]) -> None:
    """Make all, or find out which cannot be made by halving."""
    if not items:
        return
    if resource.create_many is None and len(items) > 1:
        for item in items:
            _make(work, resource, [item], results)
        return
    try:
        with work.conn.begin_nested():
            for (place, _), key in zip(items, _create(work, resource, items), strict=True):
                results[place] = key
    except ProvisioningError as error:
        if len(items) == 1:
            results[items[0][0]] = error
            return
        half = len(items) // 2
        _make(work, resource, items[:half], results)
        _make(work, resource, items[half:], results)


def _create(work: Work, resource: Resource, items: list[Item]) -> list[int]:
    try:
        if resource.create_many is not None:
            return resource.create_many(work, [values for _, values in items])
        values = items[0][1]
        return [resource.create(work, values) if resource.create is not None else units._insert(work, resource, values)]
    except sa.exc.IntegrityError:
        raise units._collision(resource, items[0][1]) from None


def _finish(work: Work, resource: Resource, made: Sequence[tuple[Any, Values]]) -> None:
    """Effects, change notices and journal, as `units.finish`, for many."""
    if not made:
        return
    if resource.effects is not None:
        for key, values in made:
            resource.effects(work, "create", key, None, values)
    changes.note_all(work.conn, [notice for key, values in made for notice in units.notices(resource, key, None, values)])
    keys = [key for key, _ in made]
    shown: dict[int, str] = {}
    for at in range(0, len(keys), query.CHUNK):
        found = query.rows(work, resource, [resource.table.c.id.in_(keys[at : at + query.CHUNK])])
        docs = documents(work, resource, found, secrets=False)
        shown |= {row["id"]: units.journal_json(doc) for row, doc in zip(found, docs, strict=True)}
    at_time = work.env.clock.time()
    entry = {"at": at_time, "operation": "create", "resource_name": resource.name, "username": work.caller.login}
    work.conn.execute(sa.insert(journal), [{**entry, "resource_id": key, "content": shown.get(key, "{}")} for key in keys])


def _remember_references(work: Work, resource: Resource, bodies: Sequence[Doc]) -> None:
    """Look up what the documents refer to, once per resource and not once per document."""
    if work.memory is None or resource.parse is not None:
        return
    wanted: dict[str, set[int]] = {}
    plain: list[tuple[Field, str]] = [(f, _target(f.type)) for f in resource.fields if not f.read_only and _target(f.type)]
    for f, target in plain:
        for body in bodies:
            value = body.get(f.name)
            if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
                value = int(value)
            if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= query.ID_MAX:
                wanted.setdefault(target, set()).add(value)
    for target, keys in wanted.items():
        there = query.visible(work, target, keys)
        for key in keys:
            work.memory[("visible", target, key)] = key in there


def _target(kind: Type) -> str:
    return kind.resource if isinstance(kind, Ref) else ""
