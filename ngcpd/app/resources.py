"""Commands of the control socket for every declared resource: what REST does, with the rights of the operator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ngcpd.ops.control import Command, CommandError
from ngcpd.provisioning import query, units
from ngcpd.provisioning.caller import OPERATOR
from ngcpd.provisioning.env import Env
from ngcpd.provisioning.errors import Absent, Invalid, ProvisioningError, Stale
from ngcpd.provisioning.registry import standard
from ngcpd.provisioning.resource import Doc, Resource, Work
from ngcpd.provisioning.uploads import Blob

if TYPE_CHECKING:
    from ngcpd.app.daemon import Daemon

Args = dict[str, Any]
ELSEWHERE = ("subscriberregistrations",)
"""Not in the database: `registrations` and `registration` are their commands."""


def list_resources(conn: sa.Connection, env: Env, resource: Resource, asked: Mapping[str, str]) -> Doc:
    work = _work(conn, env, asked)
    if resource.single is not None:
        return {"total": 1, "items": [resource.single(work)]}
    parent = query.number(asked, resource.parent, 0) if resource.parent else 0
    page = query.list_page(work, resource, asked, parent or None)
    return {"total": page.total, "page": page.page, "rows": page.rows, "items": [_bare(doc) for doc in page.items]}


def show_resource(conn: sa.Connection, env: Env, resource: Resource, key: int) -> Doc:
    return _bare(query.read(_work(conn, env), resource, key))


def create_resource(conn: sa.Connection, env: Env, resource: Resource, values: Doc) -> Doc:
    work = _work(conn, env)
    if resource.act is not None:
        return units.act(work, resource, values) or {"done": True}
    return _bare(query.read(work, resource, units.create(work, resource, values)))


def keep_failure(conn: sa.Connection, env: Env, resource: Resource, values: Doc, why: str) -> None:
    """What a resource wants to keep of a creation that failed."""
    if resource.failed is not None:
        resource.failed(_work(conn, env), values, why)


def set_resource(conn: sa.Connection, env: Env, resource: Resource, key: int, values: Doc) -> Doc:
    return _bare(units.patch(_work(conn, env), resource, key, lambda doc: {**doc, **values}))


def delete_resource(conn: sa.Connection, env: Env, resource: Resource, key: int) -> Doc:
    units.remove(_work(conn, env), resource, key)
    return {"id": key, "deleted": True}


def _work(conn: sa.Connection, env: Env, asked: Mapping[str, str] | None = None) -> Work:
    return Work(conn, env, OPERATOR, REGISTRY, asked=asked or {})


def _bare(doc: Doc) -> Doc:
    return {name: value for name, value in doc.items() if not name.startswith("_")}


REGISTRY = standard()


def _resource(args: Args, verb: str) -> Resource:
    name = args.get("resource")
    found = REGISTRY.get(name) if isinstance(name, str) else None
    if found is None or name in ELSEWHERE:
        raise CommandError(f"there is no resource {str(name)[:40]}; there are {', '.join(n for n in REGISTRY if n not in ELSEWHERE)}", "not-found")
    methods = {"list": "GET", "create": "POST"}
    on_item = {"show": "GET", "set": "PUT", "delete": "DELETE"}
    if (verb in methods and methods[verb] not in found.collection) or (verb in on_item and on_item[verb] not in found.item):
        raise CommandError(f"{found.name} has no {verb}", "bad-request")
    if found.download is not None or (verb in ("create", "set") and any(isinstance(f.type, Blob) and f.required for f in found.fields)):
        raise CommandError(f"{found.name} are files, use the REST interface", "bad-request")
    return found


def _key(args: Args) -> int:
    key = args.get("id")
    if isinstance(key, bool) or not isinstance(key, int) or key < 1:
        raise CommandError("argument id must be a number", "bad-request")
    return key


def _values(args: Args, name: str) -> Doc:
    values = args.get(name) or {}
    if not isinstance(values, dict):
        raise CommandError(f"argument {name} must be an object", "bad-request")
    return values


def explain(error: Exception) -> str:
    """All faults of a document, in one line."""
    return "; ".join(f"{name}: {text}" for name, _, text in error.errors) if isinstance(error, Invalid) else str(error)


def commands(daemon: Daemon) -> dict[str, Command]:
    """Name -> function."""
    run, read, env = daemon.db.run, daemon.db.read, daemon.env

    def told(failure: Any) -> Any:
        if failure.check(Absent):
            raise CommandError(failure.value.message, "not-found")
        if failure.check(Invalid):
            raise CommandError(explain(failure.value), "invalid")
        return failure

    def fresh(fn: Any, *rest: Any) -> Any:
        """A read, as a unit of work that writes when something has to be brought up to date first."""

        def again(failure: Any) -> Any:
            failure.trap(Stale)

            def next_part(more: bool) -> Any:
                return run(failure.value.part).addCallback(next_part) if more else run(fn, env, *rest)

            return next_part(True)

        return read(fn, env, *rest).addErrback(again).addErrback(told)

    def listing(args: Args) -> Any:
        asked = {str(k): str(v) for k, v in _values(args, "query").items()}
        return fresh(list_resources, _resource(args, "list"), asked)

    def creation(args: Args) -> Any:
        resource, values = _resource(args, "create"), _values(args, "values")

        def kept(failure: Any) -> Any:
            if resource.failed is None or not failure.check(ProvisioningError):
                return failure
            why = explain(failure.value) if failure.check(Invalid) else failure.value.message
            return run(keep_failure, env, resource, values, why).addBoth(lambda _: failure)

        return run(create_resource, env, resource, values).addErrback(kept).addErrback(told)

    return {
        "resource.names": lambda args: [n for n in REGISTRY if n not in ELSEWHERE],
        "resource.list": listing,
        "resource.show": lambda args: fresh(show_resource, _resource(args, "show"), _key(args)),
        "resource.create": creation,
        "resource.set": lambda args: run(set_resource, env, _resource(args, "set"), _key(args), _values(args, "values")).addErrback(told),
        "resource.delete": lambda args: run(delete_resource, env, _resource(args, "delete"), _key(args)).addErrback(told),
    }
