"""The documentation page at `/api/`, out of the declarations (REST API 1.13)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from decimal import Decimal
from html import escape

from ngcpd.provisioning.caller import ADMIN
from ngcpd.provisioning.env import Env
from ngcpd.provisioning.fields import Array, Choice, Enum, Field, Object, Ref, Type
from ngcpd.provisioning.resource import Filter, Resource
from ngcpd.provisioning.uploads import Raw
from ngcpd.web.rest.message import JSON, PATCH, PROFILE

TYPE = "application/xhtml+xml; charset=utf-8"
REL = f"{PROFILE}#rel-"
CHAPTERS = (("introduction", "Introduction"), ("auth", "Authentication"), ("resources", "Resources"), ("definitions", "Definitions"))
MEANINGS = {
    "int": "whole number",
    "bool": "true or false",
    "string": "exact text",
    "like": "text; * stands for any, upper and lower case are the same",
    "contains": "part of the text",
    "list": "values separated by commas",
    "datetime": "date and time",
}
"""What the kinds of filters take."""
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#222}code,pre{background:#f4f4f4;"
    "font-size:13px}pre{padding:.8em;overflow:auto}table{border-collapse:collapse;width:100%}td,th{border:1px solid #ddd;padding:.3em .5em;"
    "text-align:left;vertical-align:top}table+table{margin-top:.8em}pre{white-space:pre-wrap;overflow-wrap:anywhere}"
    "h2{margin-top:2.5em;border-bottom:1px solid #ddd}nav li{display:inline-block;width:15em}"
)
INTRODUCTION = (
    "<h2 id='introduction'>Introduction</h2><p>Objects are JSON documents in the shape of HAL. A collection is at <code>/api/NAME/</code>, an item "
    "at <code>/api/NAME/ID</code>. Lists have pages: <code>page</code> (from 1) and <code>rows</code> (10); <code>order_by</code> names a field, "
    "<code>order_by_direction</code> is asc or desc. A filter takes the place of a field; all given ones must match.</p>"
    "<h2 id='auth'>Authentication</h2><p>With the login of an administrator:</p>"
    "<pre>curl -k -u LOGIN:PASSWORD https://HOST:1443/api/customers/</pre>"
    "<p>or with a client certificate that was made for an administrator:</p>"
    "<pre>curl -k --cert NGCP-API-client-certificate-SERIAL.pem https://HOST:1443/api/customers/</pre>"
    "<p>A subscriber logs in with <code>WEBUSERNAME@DOMAIN</code> and its web password; it may use what is opened to subscribers.</p>"
    "<p>The same interface for programs: <a href='/api/openapi.json'>openapi.json</a>.</p>"
)
DEFINITIONS = (
    "<h2 id='definitions'>Definitions</h2><p>Answers to POST are 201 with the new item in header <code>Location</code>; PUT and PATCH answer 204, or "
    "200 and the item with <code>Prefer: return=representation</code>; DELETE answers 204. An error is "
    "<code>{\"code\": 422, \"message\": \"...\"}</code>. Date and time: <code>YYYY-MM-DD HH:MM:SS</code> in the server's time zone. "
    "A POST with <code>Idempotency-Key</code> can be sent again without making a second object.</p>"
)


def render(resources: Iterable[Resource], env: Env, version: str, role: str = ADMIN) -> bytes:
    """The page for the resources a caller of this role may use."""
    listed = [r for r in resources if not r.hidden]
    names = {r.name for r in listed}
    contents = "".join(f"<li><a href='#{r.name}'>{r.name}</a></li>" for r in listed)
    chapters = "".join(_chapter(r, names, r.item if role in r.roles_of(True) else ()) for r in listed)
    top = "".join(f"<li><a href='#{anchor}'>{word}</a></li>" for anchor, word in CHAPTERS)
    body = (
        f"<h1>REST interface</h1><p>ngcpd {escape(version)}</p><nav><ul>{top}</ul><ul>{contents}</ul></nav>{INTRODUCTION}"
        f"<h2 id='resources'>Resources</h2>{chapters}{DEFINITIONS}"
    )
    head = f"<head><title>REST interface</title><style>{STYLE}</style></head>"
    return (
        '<?xml version="1.0" encoding="UTF-8"?><!DOCTYPE html>'
        f'<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">{head}<body>{body}</body></html>'
    ).encode()


def _chapter(resource: Resource, names: set[str], methods: tuple[str, ...]) -> str:
    """`names`: the resources that the page has; `methods`: those of items for this role."""
    uri = f"/api/{resource.name}/"
    parts = [f"<h3 id='{resource.name}'>{resource.name}</h3><p>{escape(resource.help)}</p>"]
    item = "PARENT/ID" if resource.parent else "ID"
    parts.append(f"<p>Collection <code>{uri}</code>: {', '.join(resource.collection)}<br/>")
    parts.append(f"Item <code>{uri}{item}</code>: {', '.join(methods)}</p>" if methods else "There are no items.</p>")
    if resource.fields:
        rows = "".join(_row(f, name) for name, f in _flat(resource.fields, ""))
        parts.append(f"<table><tr><th>Property</th><th>Type</th><th>Meaning</th><th>Null</th></tr>{rows}</table>")
    if resource.filters:
        rows = "".join(f"<tr><td><code>{f.name}</code></td><td>{escape(_meaning(f))}</td></tr>" for f in resource.filters)
        parts.append(f"<table><tr><th>Query parameter</th><th>Meaning</th></tr>{rows}</table>")
    if resource.upload is not None:
        where = "properties in the query" if isinstance(resource.upload, Raw) else f"part json and {', '.join(resource.upload.parts)}"
        most = f"{resource.upload.limit >> 20} MiB at most"
        parts.append(f"<p>POST and PUT take <code>{'</code> or <code>'.join(resource.upload.types)}</code>, {where}, {most}.</p>")
    if resource.downloads:
        parts.append(f"<p>An item is a file: <code>{'</code> or <code>'.join(resource.downloads)}</code>.</p>")
    examples = _examples(resource, uri, item, methods)
    if examples:
        parts.append(f"<pre>{chr(10).join(examples)}</pre>")
    related = [f"<a href='#{link.collection}'>{link.rel}</a>" for link in resource.links if link.collection in names]
    if related:
        parts.append(f"<p>Relations: {', '.join(dict.fromkeys(related))}.</p>")
    if "PATCH" in methods and resource.patch:
        parts.append(f"<p>Operations of PATCH: {', '.join(resource.patch)}.</p>")
    if resource.journal and methods:
        parts.append(f"<p>Every change is in the journal: <code>{uri}ID/journal/</code>.</p>")
    return "".join(parts)


def _examples(resource: Resource, uri: str, item: str, methods: tuple[str, ...]) -> list[str]:
    """Commands that use the resource."""

    def curl(method: str, path: str, body: object = None, kind: str = JSON) -> str:
        command = f"curl -k -u LOGIN:PASSWORD -X {method}" if method != "GET" else "curl -k -u LOGIN:PASSWORD"
        if body is None:
            return f"{command} 'https://HOST:1443{path}'"
        data = escape(json.dumps(body, ensure_ascii=False), quote=False)
        return f"{command} -H 'Content-Type: {kind}' https://HOST:1443{path} --data '{data}'"

    found = []
    if "GET" in resource.collection:
        found.append(curl("GET", uri if resource.single is not None else f"{uri}?page=1&amp;rows=10"))
    if "POST" in resource.collection and resource.example and resource.upload is None:
        found.append(curl("POST", uri, dict(resource.example)))
    changeable = [f for f in resource.fields if f.name in resource.example and not (f.read_only or f.fixed or f.secret or f.own)]
    changed = next((f for f in sorted(changeable, key=lambda f: isinstance(f.type, Ref | Array))), None)
    if "PATCH" in methods and changed is not None:
        operation = {"op": "replace", "path": f"/{changed.name}", "value": resource.example[changed.name]}
        found.append(curl("PATCH", f"{uri}{item}", [operation], PATCH))
    if "DELETE" in methods:
        found.append(curl("DELETE", f"{uri}{item}"))
    return found


def _flat(fields: Iterable[Field], prefix: str) -> Iterable[tuple[str, Field]]:
    """Fields with those of the objects in them, `slots[].slot`."""
    for f in fields:
        yield f"{prefix}{f.name}", f
        kind, mark = (f.type.of, "[]") if isinstance(f.type, Array) else (f.type, "")
        if isinstance(kind, Object):
            yield from _flat(kind.fields, f"{prefix}{f.name}{mark}.")


def _meaning(declared: Filter) -> str:
    words = MEANINGS.get(declared.kind, "")
    return f"{declared.help} ({words})" if declared.help and words else declared.help or words


def _row(f: Field, name: str) -> str:
    marks = [word for word, on in (("required", f.required), ("read only", f.read_only), ("write only", f.write_only), ("fixed", f.fixed)) if on]
    if f.default not in (None, "", False) and isinstance(f.default, bool | int | str | float | Decimal):
        marks.append(f"default {str(f.default).lower()}")
    meaning = escape(f.help) + (f" <em>({', '.join(marks)})</em>" if marks else "")
    return f"<tr><td><code>{name}</code></td><td>{escape(_kind(f.type))}</td><td>{meaning}</td><td>{'yes' if f.nullable else ''}</td></tr>"


def _kind(kind: Type) -> str:
    if isinstance(kind, Enum | Choice):
        return "one of " + ", ".join(str(v) for v in kind.values)
    if isinstance(kind, Array):
        return f"array of {_kind(kind.of)}"
    if isinstance(kind, Object):
        return "object {" + ", ".join(f.name for f in kind.fields) + "}"
    return kind.kind
