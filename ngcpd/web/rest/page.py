"""The documentation page at `/api/`, out of the declarations (REST API 1.13)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from html import escape

from ngcpd.provisioning.env import Env
from ngcpd.provisioning.fields import Array, Choice, Enum, Field, Object, Type
from ngcpd.provisioning.resource import Resource
from ngcpd.provisioning.uploads import Raw
from ngcpd.web.rest.message import PROFILE

TYPE = "application/xhtml+xml; charset=utf-8"
REL = f"{PROFILE}#rel-"
STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:70em;margin:2em auto;padding:0 1em;color:#222}code,pre{background:#f4f4f4;"
    "font-size:13px}pre{padding:.8em;overflow:auto}table{border-collapse:collapse;width:100%}td,th{border:1px solid #ddd;padding:.3em .5em;"
    "text-align:left;vertical-align:top}h2{margin-top:2.5em;border-bottom:1px solid #ddd}nav li{display:inline-block;width:15em}"
)
INTRODUCTION = (
    "<h2 id='introduction'>Introduction</h2><p>Objects are JSON documents in the shape of HAL. A collection is at <code>/api/NAME/</code>, an item "
    "at <code>/api/NAME/ID</code>. Lists have pages: <code>page</code> (from 1) and <code>rows</code> (10); <code>order_by</code> names a field, "
    "<code>order_by_direction</code> is asc or desc. A filter takes the place of a field; all given ones must match.</p>"
    "<h2 id='auth'>Authentication</h2><p>With the login of an administrator:</p>"
    "<pre>curl -k -u LOGIN:PASSWORD https://HOST:1443/api/customers/</pre>"
    "<p>or with a client certificate that was made for an administrator:</p>"
    "<pre>curl -k --cert NGCP-API-client-certificate-SERIAL.pem https://HOST:1443/api/customers/</pre>"
    "<p>The same interface for programs: <a href='/api/openapi.json'>openapi.json</a>.</p>"
)
DEFINITIONS = (
    "<h2 id='definitions'>Definitions</h2><p>Answers to POST are 201 with the new item in header <code>Location</code>; PUT and PATCH answer 204, or "
    "200 and the item with <code>Prefer: return=representation</code>; DELETE answers 204. An error is "
    "<code>{\"code\": 422, \"message\": \"...\"}</code>. Date and time: <code>YYYY-MM-DD HH:MM:SS</code> in the server's time zone. "
    "A POST with <code>Idempotency-Key</code> can be sent again without making a second object.</p>"
)


def render(resources: Iterable[Resource], env: Env, version: str) -> bytes:
    """The page for the resources a caller may use."""
    listed = [r for r in resources if not r.hidden]
    contents = "".join(f"<li><a href='#{r.name}'>{r.name}</a></li>" for r in listed)
    chapters = "".join(_chapter(r) for r in listed)
    body = (
        f"<h1>REST interface</h1><p>ngcpd {escape(version)}</p><nav><ul>{contents}</ul></nav>{INTRODUCTION}"
        f"<h2 id='resources'>Resources</h2>{chapters}{DEFINITIONS}"
    )
    head = f"<head><title>REST interface</title><style>{STYLE}</style></head>"
    return (
        '<?xml version="1.0" encoding="UTF-8"?><!DOCTYPE html>'
        f'<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">{head}<body>{body}</body></html>'
    ).encode()


def _chapter(resource: Resource) -> str:
    uri = f"/api/{resource.name}/"
    parts = [f"<h3 id='{resource.name}'>{resource.name}</h3><p>{escape(resource.help)}</p>"]
    item = "PARENT/ID" if resource.parent else "ID"
    parts.append(f"<p>Collection <code>{uri}</code>: {', '.join(resource.collection)}<br/>Item <code>{uri}{item}</code>: ")
    parts.append(f"{', '.join(resource.item) or 'none'}</p>")
    if resource.fields:
        rows = "".join(_row(f) for f in resource.fields)
        parts.append(f"<table><tr><th>Property</th><th>Type</th><th>Meaning</th><th>Null</th></tr>{rows}</table>")
    if resource.filters:
        rows = "".join(f"<tr><td><code>{f.name}</code></td><td>{escape(f.help or f.kind)}</td></tr>" for f in resource.filters)
        parts.append(f"<table><tr><th>Query parameter</th><th>Meaning</th></tr>{rows}</table>")
    if resource.upload is not None:
        where = "properties in the query" if isinstance(resource.upload, Raw) else f"part json and {', '.join(resource.upload.parts)}"
        most = f"{resource.upload.limit >> 20} MiB at most"
        parts.append(f"<p>POST and PUT take <code>{'</code> or <code>'.join(resource.upload.types)}</code>, {where}, {most}.</p>")
    if resource.downloads:
        parts.append(f"<p>An item is a file: <code>{'</code> or <code>'.join(resource.downloads)}</code>.</p>")
    if "POST" in resource.collection and resource.example and resource.upload is None:
        body = escape(json.dumps(resource.example, ensure_ascii=False), quote=False)
        command = f"curl -k -u LOGIN:PASSWORD -H 'Content-Type: application/json' -X POST https://HOST:1443{uri} --data '{body}'"
        parts.append(f"<pre>{command}</pre>")
    if "PATCH" in resource.item and resource.patch:
        parts.append(f"<p>Operations of PATCH: {', '.join(resource.patch)}.</p>")
    if resource.journal:
        parts.append(f"<p>Every change is in the journal: <code>{uri}ID/journal/</code>.</p>")
    return "".join(parts)


def _row(f: Field) -> str:
    marks = [word for word, on in (("required", f.required), ("read only", f.read_only), ("write only", f.write_only), ("fixed", f.fixed)) if on]
    meaning = escape(f.help) + (f" <em>({', '.join(marks)})</em>" if marks else "")
    return f"<tr><td><code>{f.name}</code></td><td>{escape(_kind(f.type))}</td><td>{meaning}</td><td>{'yes' if f.nullable else ''}</td></tr>"


def _kind(kind: Type) -> str:
    if isinstance(kind, Enum | Choice):
        return "one of " + ", ".join(str(v) for v in kind.values)
    if isinstance(kind, Array):
        return f"array of {_kind(kind.of)}"
    if isinstance(kind, Object):
        return "object {" + ", ".join(f.name for f in kind.fields) + "}"
    return kind.kind
