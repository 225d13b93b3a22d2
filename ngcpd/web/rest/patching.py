"""PATCH bodies (RFC 6902, REST API 1.7)."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from typing import Any

import jsonpatch
from jsonpointer import JsonPointer, JsonPointerException

from ngcpd.web.rest.errors import HttpError

KEYS = {
    "add": ("op", "path", "value"),
    "replace": ("op", "path", "value"),
    "remove": ("op", "path"),
    "copy": ("op", "from", "path"),
}
MOST = 1000
COPIED = 1 << 20
"""How much JSON text all `copy` operations of one request may copy, so that a small request cannot make a huge document."""


def check(operations: Any, allowed: Sequence[str]) -> list[dict[str, Any]]:
    """The operations of a body. HttpError 400 for a document of the wrong form."""
    if not isinstance(operations, list):
        raise HttpError(400, "The entity is not a JSON patch: it must be an array.")
    if len(operations) > MOST:
        raise HttpError(400, f"A patch may have at most {MOST} operations.")
    for operation in operations:
        if not isinstance(operation, dict):
            raise HttpError(400, "A patch operation must be an object.")
        name = operation.get("op")
        if not isinstance(name, str) or not name:
            raise HttpError(400, "A patch operation must have an 'op'.")
        if name not in allowed or name not in KEYS:
            raise HttpError(400, f"Patch operation '{name[:40]}' is not allowed, use one of {', '.join(allowed)}.")
        if set(operation) != set(KEYS[name]):
            raise HttpError(400, f"Patch operation '{name}' must have exactly the keys {', '.join(KEYS[name])}.")
        if not all(isinstance(operation[key], str) for key in KEYS[name] if key in ("path", "from")):
            raise HttpError(400, f"Pointers of patch operation '{name}' must be text.")
    return operations


def applier(operations: list[dict[str, Any]]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """A function that makes the new document. It raises HttpError 422 when a pointer does not exist."""

    def apply(document: dict[str, Any]) -> dict[str, Any]:
        result: Any = copy.deepcopy({k: v for k, v in document.items() if not k.startswith("_")})
        budget = COPIED
        for operation in operations:
            try:
                if operation["op"] == "copy":
                    budget -= len(json.dumps(JsonPointer(operation["from"]).resolve(result)))
                    if budget < 0:
                        raise HttpError(422, "The entity could not be processed: the patch copies too much.")
                result = jsonpatch.apply_patch(result, [operation], in_place=True)
            except (jsonpatch.JsonPatchException, JsonPointerException, TypeError, ValueError, KeyError, IndexError) as error:
                text = str(error).replace("\n", " ")[:200]
                raise HttpError(422, f"The entity could not be processed: {text}") from None
        if not isinstance(result, dict):
            raise HttpError(422, "The entity could not be processed: the outcome is not an object")
        return result

    return apply
