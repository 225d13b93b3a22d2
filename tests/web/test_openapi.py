"""The OpenAPI document: it is one (3.1), and a real daemon behaves as it says when it is asked all that the document allows and more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.dom import minidom

import requests
from openapi_spec_validator import OpenAPIV31SpecValidator

from fuzz import rest
from ngcpd.provisioning import Env
from ngcpd.provisioning.registry import standard
from ngcpd.runtime.real import SystemRng
from ngcpd.store.credentials import Argon, Vault
from ngcpd.web.rest import openapi, page
from tests.servers.daemon import DaemonProcess, running

SECONDS = 15.0
LOGIN = ("administrator", "administrator")


def test_the_document_is_valid_and_names_what_a_role_may_use() -> None:
    rng = SystemRng()
    clock: Any = None
    env = Env(clock, rng, Vault(bytes(32), rng), Argon(rng))
    for role in ("admin", "reseller"):
        resources = [r for r in standard().values() if role in r.roles]
        document = json.loads(json.dumps(openapi.document(resources, env, "1", role)))
        if role == "admin":  # the others are parts of it
            assert [error.message for error in OpenAPIV31SpecValidator(document).iter_errors()] == []
        paths = document["paths"]
        for resource in standard().values():
            for path, methods, roles in (
                (f"/api/{resource.name}/", resource.collection, resource.roles),
                (f"/api/{resource.name}/{'{parent}/' if resource.parent else ''}{{id}}", resource.item, resource.roles_of(True)),
            ):
                wanted = {m.lower() for m in methods if m not in ("HEAD", "OPTIONS")} if role in resource.roles and role in roles else set()
                assert set(paths.get(path, ())) - {"parameters"} == wanted, (role, path)
            journal = f"/api/{resource.name}/{{id}}/journal/"
            assert (journal in paths and f"{journal}recent" in paths) == (resource.journal and role in resource.roles), resource.name


def test_the_page_is_complete_and_its_links_lead_somewhere() -> None:
    rng = SystemRng()
    clock: Any = None
    env = Env(clock, rng, Vault(bytes(32), rng), Argon(rng))
    for role in ("admin", "reseller"):
        resources = [r for r in standard().values() if role in r.roles]
        document = minidom.parseString(page.render(resources, env, "1", role))
        anchors = {element.getAttribute("id") for element in document.getElementsByTagName("*")} - {""}
        links = {element.getAttribute("href") for element in document.getElementsByTagName("a")}
        assert links - {"/api/openapi.json"} == {link for link in links if link[1:] in anchors}, links
        assert {r.name for r in resources if not r.hidden} | {"introduction", "auth", "resources", "definitions"} <= anchors
        assert not {r.name for r in resources if r.hidden} & anchors
        cells = {element.firstChild.data for element in document.getElementsByTagName("code") if element.firstChild is not None}
        for resource in resources:
            assert {f.name for f in resource.fields if not resource.hidden} <= cells, resource.name
        assert {"slots[].slot", "primary_number.cc", "cft.destinations[].timeout"} <= cells
        assert ("/api/ncoslnpcarriers/ID" in cells) == (role == "admin"), "only what this role may use"


def fetched(daemon: DaemonProcess) -> tuple[str, str, dict[str, Any]]:
    """(base, certificate, the document of administrators)."""
    base, certificate = f"https://{daemon.ip}:1443", str(daemon.directory / "var/web.crt")
    with requests.Session() as session:
        session.trust_env = False
        document: dict[str, Any] = session.get(f"{base}/api/openapi.json", auth=LOGIN, verify=certificate, timeout=20).json()
    return base, certificate, document


def test_a_real_daemon_keeps_to_the_document(tmp_path: Path) -> None:
    """No 5xx, no undeclared status, type or header, no body that the schema does not allow; the daemon's log has no failure.
    A document that says otherwise is found out."""
    with running(tmp_path) as daemon:
        base, certificate, document = fetched(daemon)
        result = rest.examine(document, base, LOGIN, certificate, seconds=SECONDS, examples=1)
        assert not result.faults, "\n\n".join(f"{key}\n{text}" for key, text in result.faults.items())
        assert result.operations == sum(len({"get", "post", "put", "patch", "delete"} & set(item)) for item in document["paths"].values())
        assert result.made > 80 and result.statuses.get(200, 0) > 50 and result.statuses.get(422, 0) > 50, result

        wrong = json.loads(json.dumps(document).replace('"total_count"', '"total"'))
        del wrong["paths"]["/api/domains/{id}"]["get"]["responses"]["404"]
        faults = rest.examine(wrong, base, LOGIN, certificate, seconds=0, examples=10, only="/api/domains/", objects=False).faults
        assert any("GET /api/domains/: JsonSchemaError: 200" in key for key in faults), faults
        assert any("UndefinedStatusCode: 404" in key for key in faults), faults
