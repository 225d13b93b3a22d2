"""Generated requests against the REST interface of a real daemon, out of its own OpenAPI document.

    examine(document, base, login, certificate, seconds=30, seed=1) -> Result

Every operation gets its turn with well-formed and with ill-formed requests; each answer must be one that the document declares: its status, its
content type, its headers, its body. 5xx is a fault always. Used by tests/web/test_openapi.py for some seconds and by `make fuzz` for longer.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, Verbosity, given, seed, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks

from ngcpd.provisioning.fields import Ref, Text
from ngcpd.provisioning.registry import standard

CHECKS: list[Any] = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
IDS = 6
"""Ids in requests are from 1 to this, so that many of them exist."""
TIMEOUT = 20.0
OWN = ("name", "login", "domain", "username", "email", "handle", "zone")
"""Texts that every object has of its own."""
EXAMPLES = 2


@schemathesis.serializer("audio/x-wav", "audio/wav", "text/xml", "image/png", "image/jpeg")
def _bytes(context: Any, value: Any) -> bytes:
    """Bodies that are no documents are sent as they are."""
    return bytes(value) if isinstance(value, bytes | bytearray) else str(value).encode("utf-8", "replace")


@dataclass
class Result:
    """What was seen. `made`: objects that were there. `faults`: one text per operation and kind of fault. `statuses`: how often each was
    the answer."""

    made: int = 0
    requests: int = 0
    operations: int = 0
    rounds: int = 0
    faults: dict[str, str] = field(default_factory=dict)
    statuses: dict[int, int] = field(default_factory=dict)


def populate(base: str, session: requests.Session) -> int:
    """Make some objects of each kind out of the examples of the declarations, so that requests meet something; how many."""
    made = 0
    known: dict[str, int] = {}
    for n in range(1, 4):
        for _ in range(2):  # what others need is there the second time
            for resource in standard().values():
                if "POST" not in resource.collection or not resource.example:
                    continue
                body = copy.deepcopy(dict(resource.example))
                for f in resource.fields:
                    if isinstance(f.type, Ref) and f.name in body:
                        body[f.name] = known.get(f.type.resource, 1)
                    elif isinstance(body.get(f.name), str) and isinstance(f.type, Text):
                        body[f.name] = (
                            f"{n}{body[f.name]}" if f.name in ("name", "login", "domain", "username", "email", "handle", "zone") else body[f.name]
                        )
                    elif f.name == "primary_number":
                        body[f.name] = {"cc": "43", "ac": "1", "sn": f"77{n:02d}"}
                answer = session.post(f"{base}/api/{resource.name}/", json=body, timeout=TIMEOUT)
                if answer.status_code == 201 and "Location" in answer.headers:
                    known[resource.name] = int(answer.headers["Location"].rpartition("/")[2])
                    made += 1
    return made


def narrowed(document: dict[str, Any]) -> dict[str, Any]:
    """The document with ids that may exist: those of path, references and filters are small."""
    found = copy.deepcopy(document)
    for path, item in found["paths"].items():
        for parameter in [*item.get("parameters", ()), *(p for op in item.values() if isinstance(op, dict) for p in op.get("parameters", ()))]:
            if parameter.get("in") == "path":
                # The administrator that asks is number 1: it must not lose its login.
                parameter["schema"] = {"type": "integer", "minimum": 2 if path.startswith("/api/admins/") else 1, "maximum": IDS}
            elif parameter.get("name") == "rows":
                parameter["schema"]["maximum"] = 50
    for name, schema in found["components"]["schemas"].items():
        if name.endswith(".write"):
            for key, value in schema.get("properties", {}).items():
                if key.endswith("_id") and value.get("minimum") == 1:
                    value["maximum"] = IDS
    return found


def examine(
    document: dict[str, Any],
    base: str,
    login: tuple[str, str],
    certificate: str,
    *,
    seconds: float,
    number: int = 1,
    examples: int = EXAMPLES,
    only: str = "",
    objects: bool = True,
) -> Result:
    """Ask until the time is over, at least each operation once. `number` is the seed of the first round. `only`: paths with this in them.
    `objects`: make some first."""
    schema = schemathesis.openapi.from_dict(narrowed(document))
    result = Result()
    session = requests.Session()
    session.auth = login
    session.trust_env = False
    session.verify = certificate
    result.made = populate(base, session) if objects else 0
    operations = [found.ok() for found in schema.get_all_operations()]
    operations = [op for op in operations if only in op.path]
    result.operations = len(operations)
    end = time.monotonic() + seconds
    while not result.rounds or time.monotonic() < end:
        for op in operations:
            if result.rounds and time.monotonic() > end:
                break
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                _ask(op, mode, number + result.rounds, examples, base, session, result)
        result.rounds += 1
    session.close()
    return result


def _ask(op: Any, mode: GenerationMode, number: int, examples: int, base: str, session: requests.Session, result: Result) -> None:
    quiet = settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        verbosity=Verbosity.quiet,
    )

    @seed(number)
    @quiet
    @given(case=op.as_strategy(generation_mode=mode))
    def one(case: Any) -> None:
        response = case.call(base_url=base, session=session, timeout=TIMEOUT, verify=session.verify)
        result.requests += 1
        result.statuses[response.status_code] = result.statuses.get(response.status_code, 0) + 1
        try:
            case.validate_response(response, checks=CHECKS)
        except (Failure, FailureGroup) as error:
            for fault in _flat(error):
                key = f"{op.label}: {type(fault).__name__}: {response.status_code}"
                result.faults.setdefault(key, _told(case, fault, response))

    try:
        one()
    except Exception as error:
        if type(error).__name__ != "Unsatisfiable":  # an operation without parameters cannot be asked wrongly
            raise


def _flat(error: Any) -> Iterator[Any]:
    for one in getattr(error, "exceptions", [error]):
        yield from _flat(one) if hasattr(one, "exceptions") else [one]


def _told(case: Any, fault: Any, response: Any) -> str:
    return f"{fault}\n  asked: {case.method} {case.formatted_path} query={case.query!r} body={case.body!r}\n  answer: {response.text[:300]}"[:2500]
