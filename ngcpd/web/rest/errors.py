"""Errors of the interface: what went wrong as status and body (REST API 1.9)."""

from __future__ import annotations

from ngcpd.provisioning.errors import Absent, Forbidden, Invalid, Plain, ProvisioningError
from ngcpd.provisioning.fields import shorten

SECRET = ("password", "pass", "pin", "webpassword", "code", "secret_key")
STATUS = {"absent": 404, "forbidden": 403, "limit": 403, "in_use": 423}


class HttpError(Exception):
    """An answer that is an error. `headers` go with it."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.headers = headers or {}


def translate(error: ProvisioningError) -> HttpError:
    """What a client is told of an error of provisioning."""
    if isinstance(error, Absent):
        return HttpError(404, f"Entity '{error.entity}' not found.")
    status = STATUS.get(error.kind, 422)
    if isinstance(error, Invalid):
        return HttpError(status, validation(list(error.errors)))
    if isinstance(error, Plain | Forbidden) or status in (403, 423):
        return HttpError(status, error.message)
    return HttpError(status, validation([(error.field, error.value, error.message)]))


def validation(errors: list[tuple[str, object, str]]) -> str:
    """The text for fields that are wrong."""
    parts = []
    for name, value, text in errors:
        shown = "" if value is None or any(name == s or name.endswith(f"_{s}") for s in SECRET) else shorten(value)
        parts.append(f"field='{name}', input='{shown}', errors='{text}'")
    return "Validation failed. " + "; ".join(parts)
