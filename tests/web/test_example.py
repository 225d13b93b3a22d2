"""The worked example of docs/rest.md does what the page says."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest_twisted
import sqlalchemy as sa

from ngcpd.provisioning.registry import standard
from ngcpd.provisioning.resource import Registry
from ngcpd.store.tables import _base
from tests.web.harness import Web

PAGE = Path(__file__).resolve().parents[2] / "docs/rest.md"


def declared() -> Any:
    """The resource as the page declares it, on a table outside of the product's metadata."""
    import ngcpd.provisioning.fields as fields
    import ngcpd.provisioning.resource as resource

    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    names = {**vars(fields), **vars(resource), **vars(_base), "sa": sa}
    known = set(_base.metadata.tables)
    try:
        for block in blocks:
            exec(block, names)
    finally:
        for name in set(_base.metadata.tables) - known:
            _base.metadata.remove(_base.metadata.tables[name])
    return names["HOLIDAYS"]


@pytest_twisted.ensureDeferred
async def test_worked_example(web: Web) -> None:
    made = declared()
    engine = web.database.engine
    with engine.begin() as conn:
        conn.execute(sa.text("DROP TABLE IF EXISTS holiday"))
        conn.execute(sa.schema.CreateTable(made.table))
    web.api._served = replace(web.api._served, resources=Registry([*standard().values(), made]))
    root = web.client()
    _, other = await web.reseller("other")
    reply = await root.post("/api/holidays/", made.example)
    key = reply.id
    doc = await root.doc(f"/api/holidays/{key}")
    assert {k: v for k, v in doc.items() if k != "_links"} == {"id": key, **made.example, "observed": True}
    again = await root.post("/api/holidays/", made.example)
    assert again.status == 422 and "field='name'" in again.json()["message"]
    assert (await other.get(f"/api/holidays/{key}")).status == 404
    mine = (await other.post("/api/holidays/", {"name": "Own", "day": "2027-05-01"})).id
    assert (await other.doc("/api/holidays/"))["_embedded"]["ngcp:holidays"]["id"] == mine
    assert (await root.doc("/api/holidays/?name=new*"))["total_count"] == 1
    assert (await root.patch(f"/api/holidays/{key}", [{"op": "replace", "path": "/observed", "value": False}])).status == 204
    assert (await root.doc(f"/api/holidays/{key}"))["observed"] is False
    assert (await root.doc(f"/api/holidays/{key}/journal/"))["total_count"] == 2
    assert "/api/holidays/{id}" in (await root.get("/api/openapi.json")).json()["paths"]
    assert b"id='holidays'" in (await root.get("/api/")).body
    assert (await root.delete(f"/api/holidays/{key}")).status == 204
    assert (await root.get(f"/api/holidays/{key}")).status == 404
    with engine.begin() as conn:
        conn.execute(sa.text("DROP TABLE holiday"))
