"""What the registrar and the authentication ask of the directory."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Protocol

from twisted.internet.defer import Deferred

from ngcpd.directory.model import Domain, NumberEntry, Subscriber


class Accounts(Protocol):
    """A part of `directory.Directory`. All but `load` are memory reads."""

    def domain(self, name: str) -> Domain | None: ...

    def user_id(self, domain_name: str, username: str) -> int | None: ...

    def number(self, e164: str) -> NumberEntry | None: ...

    def trusted(self, ip: str, transport: str, from_uri: str) -> int | None: ...

    def subscriber(self, subscriber_id: int) -> Subscriber | None: ...

    def load(self, ids: Collection[int]) -> Deferred[None] | None: ...

    def subscribe(self, fn: Callable[[str, int], object]) -> object: ...
