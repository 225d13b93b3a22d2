"""What provisioning raises."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

KINDS = ("missing", "invalid", "unknown", "duplicate", "limit", "refused", "forbidden", "in_use", "absent")


class ProvisioningError(Exception):
    """A write that was asked for and cannot be done; nothing was changed.

    `field`: the offending input by the name of the interface, `value` what it was; `message`: one sentence without secrets;
    `kind`: `missing` a required value, `invalid` a value of the wrong form, `unknown` a reference to something
    that does not exist, `duplicate`, `limit` a limit is reached,
    `refused` not allowed in the present state, `forbidden` not allowed to this caller, `in_use` others need it, `absent` the object itself is
    not there (or not visible to the caller).
    """

    def __init__(self, field: str, message: str, kind: str = "invalid", value: object = None) -> None:
        super().__init__(f"{field}: {message}")
        self.value = value
        self.field = field
        self.message = message
        self.kind = kind


class Invalid(ProvisioningError):
    """One or more fields of a document are wrong; `errors`: (field, input, text) each. Its text is the one of REST API 1.9."""

    def __init__(self, errors: Sequence[tuple[str, Any, str]]) -> None:
        super().__init__(errors[0][0], errors[0][2], "invalid")
        self.errors = tuple(errors)


class Plain(ProvisioningError):
    """An error whose message says all; it is told as it is."""


class Absent(ProvisioningError):
    """There is no such object, or the caller may not see it. `entity` is what it would be."""

    def __init__(self, entity: str) -> None:
        super().__init__("id", f"there is no such {entity}", "absent")
        self.entity = entity


class Forbidden(ProvisioningError):
    """The caller may not do this."""

    def __init__(self, message: str = "Invalid user") -> None:
        super().__init__("user", message, "forbidden")


class Stale(Exception):
    """What was to be read has to be brought up to date first, which the reading unit of work cannot do: run `part` as a unit of work of its own
    until it answers False (nothing is left to do), then the reading one again as one that may write."""

    def __init__(self, part: Callable[[sa.Connection], bool]) -> None:
        super().__init__("something has to be brought up to date first")
        self.part = part


@contextmanager
def unique(field: str, message: str) -> Iterator[None]:
    """For an insert that was checked before: if somebody else was faster, it is a duplicate and not a fault."""
    try:
        yield
    except sa.exc.IntegrityError:
        raise ProvisioningError(field, message, "duplicate") from None
