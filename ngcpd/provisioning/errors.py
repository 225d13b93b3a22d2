"""What provisioning raises."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

KINDS = ("missing", "invalid", "unknown", "duplicate", "limit", "refused")


class ProvisioningError(Exception):
    """A write that was asked for and cannot be done; nothing was changed.

    `field`: the offending input by the name of the interface; `message`: one sentence without secrets; `kind`: `missing` a required value,
    `invalid` a value of the wrong form, `unknown` a reference to something that does not exist, `duplicate`, `limit` a limit is reached,
    `refused` not allowed in the present state.
    """

    def __init__(self, field: str, message: str, kind: str = "invalid") -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message
        self.kind = kind


@contextmanager
def unique(field: str, message: str) -> Iterator[None]:
    """For an insert that was checked before: if somebody else was faster, it is a duplicate and not a fault."""
    try:
        yield
    except sa.exc.IntegrityError:
        raise ProvisioningError(field, message, "duplicate") from None
