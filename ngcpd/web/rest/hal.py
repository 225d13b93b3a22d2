"""Documents in the shape of HAL (REST API 1.4, 1.5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from ngcpd.provisioning.caller import Caller
from ngcpd.provisioning.query import Page
from ngcpd.provisioning.resource import Doc, Resource
from ngcpd.web.rest.message import PROFILE

CURIES = {"href": f"{PROFILE}#rel-{{rel}}", "name": "ngcp", "templated": True}


def uri(resource: Resource | str, key: object = None) -> str:
    """Path of a collection, or of one of its items."""
    name = resource if isinstance(resource, str) else resource.name
    return f"/api/{name}/" if key is None else f"/api/{name}/{key}"


def own_uri(resource: Resource, doc: Doc) -> str:
    """Path of a document."""
    return f"{uri(resource, doc['_parent'])}/{doc['id']}" if resource.parent else uri(resource, doc["id"])


def relations(resource: Resource, doc: Doc, resources: Mapping[str, Resource], caller: Caller) -> dict[str, list[str]]:
    """Targets of each relation that exists and that the caller may use."""
    found: dict[str, list[str]] = {}
    for link in resource.links:
        target = resources.get(link.collection)
        if target is None or caller.role not in target.roles_of(not link.filter):
            continue
        if link.filter:
            value = doc.get(link.by)
            if value is not None and "GET" in target.collection:
                shown = value if isinstance(value, int) else quote(str(value), safe="")
                found.setdefault(link.rel, []).append(f"/api/{target.name}/?{link.filter}={shown}")
            continue
        value = doc.get(link.field)
        if not value:
            continue
        keys = value if isinstance(value, list) else [value]
        if "GET" in target.item:
            found.setdefault(link.rel, []).extend(uri(target, key) for key in keys)
    return {rel: targets for rel, targets in found.items() if targets}


def item(resource: Resource, doc: Doc, resources: Mapping[str, Resource], caller: Caller) -> Doc:
    """A document with its links."""
    links: Doc = {
        "curies": CURIES,
        "collection": {"href": uri(resource, doc["_parent"]) if resource.parent else uri(resource)},
        "profile": {"href": PROFILE},
        "self": {"href": own_uri(resource, doc)},
    }
    for rel, targets in relations(resource, doc, resources, caller).items():
        links[f"ngcp:{rel}"] = {"href": targets[0]} if len(targets) == 1 else [{"href": t} for t in targets]
    if resource.journal:
        links["ngcp:journal"] = {"href": f"{uri(resource, doc['id'])}/journal/"}
    return {**{k: v for k, v in doc.items() if not k.startswith("_")}, "_links": links}


def link_headers(resource: Resource, document: Doc) -> tuple[tuple[str, str], ...]:
    """HTTP `Link` headers of an item."""
    links = document["_links"]
    found = [
        ("Link", f'<{links["self"]["href"]}>; rel="item self"'),
        ("Link", f"<{links['collection']['href']}>; rel=collection"),
        ("Link", f"<{PROFILE}>; rel=profile"),
    ]
    for name, value in links.items():
        if name.startswith("ngcp:"):
            for target in value if isinstance(value, list) else [value]:
                found.append(("Link", f'<{target["href"]}>; rel="{PROFILE}#rel-{name[5:]}"'))
    return tuple(found)


def collection(name: str, rel: str, page: Page, query: Mapping[str, str], items: list[Doc], *, as_object: bool) -> Doc:
    """A page of a collection. `name` is its path below /api, `as_object`: one item is an object and not an array."""
    others = [(k, v) for k, v in query.items() if k not in ("page", "rows")]

    def at(number: int) -> Doc:
        return {"href": f"/api/{name}/?" + urlencode([("page", number), ("rows", page.rows), *others], quote_via=quote)}

    links: Doc = {"curies": CURIES, "profile": {"href": PROFILE}, "self": at(page.page)}
    if page.total > page.page * page.rows:
        links["next"] = at(page.page + 1)
    if page.page > 1:
        links["prev"] = at(page.page - 1)
    embedded: Doc = {}
    if items:
        selves: list[Any] = [i["_links"]["self"] for i in items]
        single = as_object and len(items) == 1
        embedded[f"ngcp:{rel}"] = items[0] if single else items
        links[f"ngcp:{rel}"] = selves[0] if single else selves
    return {"_embedded": embedded, "_links": links, "total_count": page.total}
