"""What `Authenticator.check` answers."""

from __future__ import annotations

from dataclasses import dataclass

from ngcpd.directory.model import Subscriber

Fields = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Authenticated:
    """The request is this subscriber's. `trusted`: by its source address (call processing 2.5), not by digest."""

    subscriber: Subscriber
    trusted: bool = False


@dataclass(frozen=True, slots=True)
class Challenge:
    """Answer `status` (401 or 407) with these fields."""

    fields: Fields
    status: int


@dataclass(frozen=True, slots=True)
class Refused:
    """Answer `code reason` with these fields."""

    code: int
    reason: str
    fields: Fields = ()


AuthResult = Authenticated | Challenge | Refused
