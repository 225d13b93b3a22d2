"""`/api/subscriberregistrations/`: the registrar's live bindings. They are not in the database of this declaration, the registrar is asked.

The id of a registration is made of its subscriber's id and its own name, so that it is found without a search.
"""

from __future__ import annotations

import hashlib
from typing import Any

import sqlalchemy as sa
from twisted.internet.defer import Deferred

from ngcpd.provisioning import query, units
from ngcpd.provisioning.caller import Caller
from ngcpd.provisioning.env import Env
from ngcpd.provisioning.errors import Absent, Invalid
from ngcpd.provisioning.fields import Bad, parse_fields
from ngcpd.provisioning.registry import standard
from ngcpd.provisioning.resource import Doc, Work
from ngcpd.provisioning.resources.registrations import REGISTRATIONS
from ngcpd.registrar.location import NotStored
from ngcpd.registrar.model import Binding
from ngcpd.registrar.registrar import Registrar
from ngcpd.runtime.ports import Clock
from ngcpd.sip.errors import ParseError
from ngcpd.store.db import Database, utc
from ngcpd.web.rest import hal, patching
from ngcpd.web.rest.errors import HttpError
from ngcpd.web.rest.message import HAL, PATCH, Answer, Message, dump
from ngcpd.web.rest.serve import page_of, parse_id

BITS = 20
FOREVER = 2**31 - 1
"""What `expires` of a permanent registration is shown as: the end of the times that 32 bits can hold."""


def number(binding: Binding) -> int:
    """The id of a binding."""
    mark = int.from_bytes(hashlib.sha256(binding.ruid.encode()).digest()[:4], "big") >> (32 - BITS)
    return binding.subscriber_id << BITS | mark


class Registrations:
    """Answers the requests for the resource."""

    def __init__(self, registrar: Registrar, database: Database, env: Env, clock: Clock) -> None:
        self._registrar = registrar
        self._database = database
        self._env = env
        self._clock = clock
        self._resources = standard()

    async def answer(self, caller: Caller, message: Message, key: str) -> Answer:
        """Raises ProvisioningError, HttpError."""
        try:
            if not key:
                return await (self._post(caller, message) if message.method == "POST" else self._list(caller, message))
            if message.method in ("GET", "HEAD"):
                return self._shown(caller, await self._find(caller, parse_id(key)))
            if message.method == "DELETE":
                binding = await self._find(caller, parse_id(key))
                self._remove(binding)
                await self._log(caller, "delete", binding)
                return Answer(204)
            return await self._change(caller, message, key)
        except NotStored:
            raise HttpError(503, "The registration cannot be stored at the moment.", {"Retry-After": "5"}) from None

    # -------------------------------------------------------------------------------------------------------------- reading
    async def _list(self, caller: Caller, message: Message) -> Answer:
        asked = message.query
        wanted = page_of(asked, self._env)
        if "subscriber_id" in asked:
            try:
                owner = int(REGISTRATIONS.fields[1].type.parse(asked["subscriber_id"], self._env.zone))
            except Bad as error:
                raise Invalid([("subscriber_id", asked["subscriber_id"], str(error))]) from None
            owners = await self._visible(caller, [owner])
            found = [b for key in owners for b in self._registrar.bindings(key)]
        elif caller.scope is None:
            found = list(self._registrar.all())
        else:
            mine = await self._visible(caller, {b.subscriber_id for b in self._registrar.all()})
            found = [b for key in mine for b in self._registrar.bindings(key)]
        found.sort(key=number, reverse=asked.get("order_by_direction") == "desc")
        first = (wanted.page - 1) * wanted.rows
        docs = [self._doc(b) for b in found[first : first + wanted.rows]]
        items = [hal.item(REGISTRATIONS, doc, self._resources, caller) for doc in docs]
        page = query.Page(wanted.page, wanted.rows, len(found), docs)
        as_object = self._env.rules.single_as_object
        return Answer(200, dump(hal.collection(REGISTRATIONS.name, REGISTRATIONS.name, page, asked, items, as_object=as_object)), HAL)

    async def _find(self, caller: Caller, key: int) -> Binding:
        owner = key >> BITS
        if 0 < owner < 2**31 and await self._visible(caller, [owner]):
            for binding in self._registrar.bindings(owner):
                if number(binding) == key:
                    return binding
        raise Absent(REGISTRATIONS.entity)

    async def _visible(self, caller: Caller, owners: Any) -> set[int]:
        listed = list(owners)

        def visible(conn: sa.Connection) -> set[int]:
            return query.visible(Work(conn, self._env, caller, self._resources), "subscribers", listed)

        done: Deferred[set[int]] = self._database.read(visible)
        return await done

    def _doc(self, binding: Binding) -> Doc:
        until = FOREVER if binding.permanent else binding.expires_at
        shown = REGISTRATIONS.field("expires")
        assert shown is not None
        return {
            "id": number(binding),
            "subscriber_id": binding.subscriber_id,
            "contact": binding.contact,
            "expires": shown.type.show(utc(until), self._env.zone),
            "q": binding.q,
            "nat": binding.nat,
            "user_agent": binding.user_agent,
        }

    def _shown(self, caller: Caller, binding: Binding, *more: tuple[str, str]) -> Answer:
        document = hal.item(REGISTRATIONS, self._doc(binding), self._resources, caller)
        return Answer(200, dump(document), HAL, (*more, *hal.link_headers(REGISTRATIONS, document)))

    # -------------------------------------------------------------------------------------------------------------- writing
    async def _post(self, caller: Caller, message: Message) -> Answer:
        message.forbid_link()
        made = await self._add(caller, message.document())
        return Answer(201, headers=(("Location", hal.uri(REGISTRATIONS, number(made))),))

    async def _change(self, caller: Caller, message: Message, key: str) -> Answer:
        prefer = message.prefer()
        before = await self._find(caller, parse_id(key))
        message.forbid_link()
        if message.method == "PATCH":
            operations = patching.check(message.json(PATCH), REGISTRATIONS.patch)
            body = patching.applier(operations)(self._doc(before))
        else:
            body = message.document()
        values = await self._values(caller, body)
        self._remove(before)
        made = self._store(values)
        await self._log(caller, "update", made)
        applied = ("Preference-Applied", f"return={prefer}")
        return Answer(204, headers=(applied,)) if prefer == "minimal" else self._shown(caller, made, applied)

    async def _add(self, caller: Caller, body: Doc) -> Binding:
        made = self._store(await self._values(caller, body))
        await self._log(caller, "create", made)
        return made

    async def _values(self, caller: Caller, body: Doc) -> Doc:
        errors: list[tuple[str, Any, str]] = []
        values = parse_fields(REGISTRATIONS.fields, body, self._env.zone, errors)
        if not errors and not await self._visible(caller, [values["subscriber_id"]]):
            errors.append(("subscriber_id", values["subscriber_id"], "Invalid 'subscriber_id'"))
        if errors:
            raise Invalid(errors)
        return values

    def _store(self, values: Doc) -> Binding:
        try:
            return self._registrar.add_permanent(values["subscriber_id"], values["contact"], q=float(values["q"]), nat=bool(values["nat"]))
        except ParseError:
            raise Invalid([("contact", values["contact"], "Value is not a SIP URI")]) from None
        except ValueError as error:
            raise Invalid([("q", values["q"], str(error))]) from None

    def _remove(self, binding: Binding) -> None:
        self._registrar.remove(binding.subscriber_id, binding.ruid)

    async def _log(self, caller: Caller, operation: str, binding: Binding) -> None:
        def write(conn: sa.Connection) -> None:
            work = Work(conn, self._env, caller, self._resources)
            content = dump(self._doc(binding)).decode()
            units.log_write(work, REGISTRATIONS, operation, number(binding), content)

        done: Deferred[None] = self._database.run(write)
        await done
