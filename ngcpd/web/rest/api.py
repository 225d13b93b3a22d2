"""The REST interface as a klein application below `/api/`: who asks, which resource, which method; then a unit of work answers.

Every path and method is refused unless a declaration allows it, and everything needs a login.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

from twisted.internet.defer import Deferred

from ngcpd.provisioning.caller import READING, Caller
from ngcpd.provisioning.env import Env
from ngcpd.provisioning.errors import Forbidden, ProvisioningError, Stale
from ngcpd.provisioning.resource import READ_ONLY, Resource
from ngcpd.runtime.log import logger
from ngcpd.store.db import Database
from ngcpd.store.errors import StoreUnavailable
from ngcpd.web.login import Denied, Logins
from ngcpd.web.rest import bodies, openapi, page, serve
from ngcpd.web.rest.errors import HttpError, translate
from ngcpd.web.rest.message import JSON, Answer, Message, Prepared, dump, fault

log = logger("web")
Unit = Callable[..., Answer]
Special = Callable[[Caller, Message, str], Awaitable[Answer]]
"""A resource that is not in the database: (caller, message, id or empty) -> Answer. It checks rights beyond the role itself."""


class Api:
    """Answers messages. `specials`: resources whose requests are answered by another room (registrations are the registrar's)."""

    def __init__(
        self,
        database: Database,
        env: Env,
        resources: Mapping[str, Resource],
        logins: Logins,
        *,
        specials: Mapping[str, Special] | None = None,
        version: str = "1.0",
        ready: Callable[[], bool] = lambda: True,
    ) -> None:
        self._database = database
        self._served = serve.Served(env, resources)
        self._logins = logins
        self._specials = dict(specials or {})
        self._version = version
        self.ready = ready
        """False while the daemon starts: everything is answered 503."""

    def limits(self) -> dict[str, int]:
        """The longest body of each media type that some resource takes, in bytes."""
        found: dict[str, int] = {}
        for resource in self._served.resources.values():
            if resource.upload is not None:
                for kind in resource.upload.types:
                    found[kind] = max(found.get(kind, 0), resource.upload.limit)
        return found

    async def answer(self, message: Message, certificate: Any) -> Answer:
        """The answer to a request; errors are answers, too."""
        caller: Caller | None = None
        if not self.ready():
            return fault(503, "The service is starting.", {"Retry-After": "5"})
        try:
            caller = await self._who(message, certificate)
            return await self._dispatch(caller, message)
        except Denied as error:
            headers = {401: {"WWW-Authenticate": f'Basic realm="{error.realm}"'}, 429: {"Retry-After": "60"}}
            return fault(error.status, error.message, headers.get(error.status))
        except HttpError as error:
            return self._refused(caller, message, error)
        except ProvisioningError as error:
            return self._refused(caller, message, translate(error))
        except StoreUnavailable:
            return fault(503, "The database is not available.", {"Retry-After": "5"})

    def _refused(self, caller: Caller | None, message: Message, error: HttpError) -> Answer:
        who = caller.login if caller is not None else None
        log.info("request refused", method=message.method, path=message.path, user=who, source=message.source, status=error.status)
        return fault(error.status, error.message, error.headers)

    async def _who(self, message: Message, certificate: Any) -> Caller:
        if certificate is not None:
            return await self._logins.certificate(certificate)
        header = message.headers.get("authorization")
        return await self._logins.basic(None if header is None else header.encode("latin-1", "replace"), message.source)

    # ------------------------------------------------------------------------------------------------------------ dispatch
    async def _dispatch(self, caller: Caller, message: Message) -> Answer:
        parts = message.path.removeprefix("/api").split("/")[1:]
        if not parts:
            return Answer(301, headers=(("Location", "/api/"),))
        name = parts[0]
        if parts in ([""], ["openapi.json"]) and caller.is_person:
            raise HttpError(403, "Invalid user")
        if parts == [""]:
            return self._root(caller, message)
        if parts == ["openapi.json"] and message.method in ("GET", "HEAD"):
            return self._openapi(caller)
        resource = self._served.resources.get(name)
        if resource is None:
            raise HttpError(404, "Path not found")
        if len(parts) == 1:
            return Answer(301, headers=(("Location", f"/api/{name}/" + (f"?{message.raw_query}" if message.raw_query else "")),))
        if resource.parent and parts[1] and len(parts) in (2, 3):
            return await self._nested(caller, message, resource, parts[1], parts[2] if len(parts) == 3 else "")
        if len(parts) == 2:
            return await self._resource(caller, message, resource, parts[1])
        if parts[2] == "journal" and len(parts) in (3, 4) and resource.journal:
            if len(parts) == 3:
                return Answer(301, headers=(("Location", f"{message.path}/"),))
            if message.method in READ_ONLY and caller.role not in resource.roles_of(True):
                raise HttpError(403, "Invalid user")
            if message.method == "OPTIONS":
                return Answer(200, dump({"methods": READ_ONLY}), JSON, (("Allow", ", ".join(READ_ONLY)),))
            if message.method in ("GET", "HEAD"):
                return await self._read(serve.get_journal, caller, resource, message, parts[1], parts[3])
        raise HttpError(404, "Path not found")

    async def _nested(self, caller: Caller, message: Message, resource: Resource, parent: str, key: str) -> Answer:
        """The objects of one parent, or one of them."""
        _allow(caller, resource, message.method, on_item=True)
        if message.method == "OPTIONS":
            return serve.options(caller, resource, on_item=True)
        if key:
            return await self._read(serve.get_item, caller, resource, message, key, parent)
        return await self._read(serve.get_collection, caller, resource, message, parent)

    async def _resource(self, caller: Caller, message: Message, resource: Resource, key: str) -> Answer:
        method = message.method
        _allow(caller, resource, method, on_item=bool(key))
        if method == "OPTIONS":
            return serve.options(caller, resource, on_item=bool(key))
        special = self._specials.get(resource.name)
        if special is not None:
            return await special(caller, message, key)
        if resource.upload is not None and method in ("POST", "PUT"):
            message = await self._prepared(resource, message)
        if not key:
            if method == "POST":
                return await self._post(caller, resource, message)
            return await self._read(serve.get_collection, caller, resource, message)
        if method in ("GET", "HEAD"):
            return await self._read(serve.get_item, caller, resource, message, key)
        unit: Unit = {"PUT": serve.put, "PATCH": serve.patch, "DELETE": serve.delete}[method]
        return await self._write(unit, caller, resource, message, key)

    async def _prepared(self, resource: Resource, message: Message) -> Message:
        """Large bodies are read and converted on a thread, not inside a transaction that others wait for."""
        done: Deferred[Prepared] = self._database.executor.run(bodies.prepare, message, resource)
        return replace(message, prepared=await done)

    async def _read(self, unit: Unit, caller: Caller, resource: Resource, message: Message, *rest: str) -> Answer:
        reading: Deferred[Answer] = self._database.read(unit, self._served, caller, resource, message, *rest)
        try:
            return await reading
        except Stale as stale:
            more = True
            while more:  # a part at a time, others get their turn between them
                more = await self._part(stale)
            writing: Deferred[Answer] = self._database.run(unit, self._served, caller, resource, message, *rest)
            return await writing

    async def _part(self, stale: Stale) -> bool:
        done: Deferred[bool] = self._database.run(stale.part)
        return await done

    async def _post(self, caller: Caller, resource: Resource, message: Message) -> Answer:
        if resource.failed is None:
            return await self._write(serve.post, caller, resource, message)
        try:
            return await self._write(serve.post, caller, resource, message)
        except (Forbidden, HttpError, StoreUnavailable):
            raise
        except ProvisioningError as error:
            await self._tell(caller, resource, message, translate(error).message)
            raise
        except Exception:
            await self._tell(caller, resource, message, "Internal error.")
            raise

    async def _tell(self, caller: Caller, resource: Resource, message: Message, why: str) -> None:
        """Let a resource keep what it wants of a POST that failed; the answer is the refusal all the same."""
        try:
            done: Deferred[None] = self._database.run(serve.refused, self._served, caller, resource, message, why)
            await done
        except StoreUnavailable as error:
            log.warning("a refused request could not be kept", resource=resource.name, user=caller.login, why=str(error))

    async def _write(self, unit: Unit, caller: Caller, resource: Resource, message: Message, *rest: str) -> Answer:
        done: Deferred[Answer] = self._database.run(unit, self._served, caller, resource, message, *rest)
        answer = await done
        log.info("write", method=message.method, path=message.path, user=caller.login, source=message.source, status=answer.status)
        return answer

    # ---------------------------------------------------------------------------------------------------------- generated
    def _listed(self, caller: Caller) -> list[Resource]:
        return [r for r in self._served.resources.values() if caller.role in r.roles]

    def _root(self, caller: Caller, message: Message) -> Answer:
        listed = self._listed(caller)
        links = tuple(("Link", f'</api/{r.name}/>; rel="collection {page.REL}{r.name}"') for r in listed)
        if message.method == "OPTIONS":
            return Answer(200, dump({"methods": READ_ONLY}), JSON, (("Allow", ", ".join(READ_ONLY)), *links))
        if message.method not in ("GET", "HEAD"):
            raise HttpError(404, "Path not found")
        return Answer(200, self._page(caller.role), page.TYPE, (("Content-Language", "en"), *links))

    @functools.cached_property
    def _pages(self) -> dict[str, bytes]:
        return {}

    def _page(self, role: str) -> bytes:
        if role not in self._pages:
            listed = [r for r in self._served.resources.values() if role in r.roles]
            self._pages[role] = page.render(listed, self._served.env, self._version, role)
        return self._pages[role]

    @functools.cached_property
    def _documents(self) -> dict[str, bytes]:
        return {}

    def _openapi(self, caller: Caller) -> Answer:
        if caller.role not in self._documents:
            self._documents[caller.role] = dump(openapi.document(self._listed(caller), self._served.env, self._version, caller.role))
        return Answer(200, self._documents[caller.role], JSON)


def _allow(caller: Caller, resource: Resource, method: str, *, on_item: bool) -> None:
    """HttpError unless the resource has the method here and the caller may use it."""
    if method not in (resource.item if on_item else resource.collection):
        raise HttpError(404, "Path not found")
    if caller.role not in resource.roles_of(on_item):
        raise HttpError(403, "Invalid user")
    if caller.read_only and method not in READING:
        raise HttpError(403, "Invalid HTTP method for read-only user")
