"""The OpenAPI 3.1 document, out of the declarations."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ngcpd.provisioning.caller import ADMIN
from ngcpd.provisioning.env import Env
from ngcpd.provisioning.fields import object_schema
from ngcpd.provisioning.resource import Filter, Resource
from ngcpd.provisioning.uploads import Blob, Raw
from ngcpd.web.rest.message import HAL, PATCH

Schema = dict[str, Any]
ERRORS = {
    "400": "The request is malformed",
    "401": "No login, or a wrong one",
    "403": "Not allowed",
    "404": "There is no such object, or not for this caller",
    "413": "The message body is too big",
    "415": "Unsupported media type",
    "422": "The content is not valid",
    "423": "The object is in use",
    "429": "Too many failed logins",
    "500": "Internal error",
    "503": "The database is not available",
}
JOURNAL_ORDER = ("id", "operation", "timestamp", "username")
KINDS: Schema = {"int": {"type": "integer"}, "bool": {"type": "string", "enum": ["true", "false", "1", "0"]}}


def document(resources: Iterable[Resource], env: Env, version: str, role: str = ADMIN) -> Schema:
    """The whole document for the resources a caller of this role may use."""
    schemas: Schema = {"Error": _error(), "JournalEntry": _entry()}
    paths: Schema = {}
    for resource in resources:
        schemas[resource.name] = _shown(resource, env)
        schemas[f"{resource.name}.write"] = _written(resource, env)
        if resource.single is not None:
            paths[f"/api/{resource.name}/"] = {"get": _operation(resource, "get", "Read", {"200": _body(resource, resource.name)})}
            continue
        operations = _collection(resource)
        if operations:
            paths[f"/api/{resource.name}/"] = operations
        operations = _item(resource) if role in resource.roles_of(True) else {}
        if resource.parent:
            of_one = {**_collection(resource)["get"], "operationId": f"{resource.name}.of", "summary": f"List those of one {resource.parent_entity}"}
            paths[f"/api/{resource.name}/{{parent}}"] = {"parameters": [_id("parent")], "get": of_one}
            paths[f"/api/{resource.name}/{{parent}}/{{id}}"] = {"parameters": [_id("parent"), _id()], **operations}
        elif operations:
            paths[f"/api/{resource.name}/{{id}}"] = {"parameters": [_id()], **operations}
        if operations and resource.journal:
            paths |= _journal(resource)
    return {
        "openapi": "3.1.0",
        "info": {"title": "ngcpd", "version": version, "description": "Provisioning of the voice platform."},
        "servers": [{"url": "/"}],
        "security": [{"basic": []}, {"certificate": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": {f"E{code}": _fault(text) for code, text in ERRORS.items()},
            "securitySchemes": {"basic": {"type": "http", "scheme": "basic"}, "certificate": {"type": "mutualTLS"}},
        },
    }


def _collection(resource: Resource) -> Schema:
    found: Schema = {}
    if "GET" in resource.collection:
        found["get"] = {
            **_operation(resource, "list", f"List: {resource.help}", {"200": _list(resource)}),
            "parameters": [*_paging(resource), *(_filter(f) for f in resource.filters)],
        }
    if "POST" in resource.collection:
        created: Schema = {"201": {"description": "Created", "headers": {"Location": {"schema": {"type": "string"}}}}}
        if resource.nameless:
            created = {"201": {"description": "Created"}}
        if resource.act is not None:
            created = {"200": {"description": "Done, with the result"}} if resource.harmless else {"204": {"description": "Done"}}
        body, parameters = _sent(resource, created=True)
        found["post"] = {
            **_operation(resource, "create", "Create" if resource.act is None else resource.help, created),
            "requestBody": body,
            "parameters": [
                *parameters,
                {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": 255}, "required": False},
            ],
        }
    return found


def _item(resource: Resource) -> Schema:
    found: Schema = {}
    shown = _body(resource, resource.name)
    changed = {"200": shown, "204": {"description": "Changed"}}
    if "GET" in resource.item:
        found["get"] = _operation(resource, "read", "Read", {"200": shown if resource.download is None else _file(resource)})
        parameters = [_parameter(name, KINDS.get(kind, {"type": "string"}), text) for name, kind, text in resource.parameters]
        if parameters:
            found["get"]["parameters"] = parameters
    prefer = {"name": "Prefer", "in": "header", "schema": {"type": "string", "enum": ["return=minimal", "return=representation"]}}
    if "PUT" in resource.item:
        body, parameters = _sent(resource, created=False)
        found["put"] = {**_operation(resource, "replace", "Replace", changed), "requestBody": body, "parameters": [*parameters, prefer]}
    if "PATCH" in resource.item:
        operation = {
            "type": "object",
            "required": ["op", "path"],
            "properties": {"op": {"enum": list(resource.patch)}, "path": {"type": "string"}, "from": {"type": "string"}, "value": {}},
        }
        body = {"required": True, "content": {PATCH: {"schema": {"type": "array", "items": operation}}}}
        found["patch"] = {**_operation(resource, "patch", "Change", changed), "requestBody": body, "parameters": [prefer]}
    if "DELETE" in resource.item:
        found["delete"] = _operation(resource, "delete", "Delete", {"204": {"description": "Deleted"}})
    return found


def _journal(resource: Resource) -> Schema:
    """The paths of the journal of an item."""
    entry = {"$ref": "#/components/schemas/JournalEntry"}
    shown = {"description": "The entry", "content": {HAL: {"schema": entry}}}
    parameters = [
        *_pages(JOURNAL_ORDER),
        _parameter("operation", {"type": "string", "enum": ["create", "update", "delete"]}, "Only these operations"),
    ]
    number = {"name": "entry", "in": "path", "required": True, "schema": {"type": "integer", "minimum": 1, "maximum": 10**17}}
    base = f"/api/{resource.name}/{{id}}/journal/"
    listed = _operation(resource, "journal", "Changes", {"200": _page_of("journal", entry)})
    return {
        base: {"parameters": [_id()], "get": {**listed, "parameters": parameters}},
        f"{base}recent": {"parameters": [_id()], "get": _operation(resource, "journal.recent", "Last change", {"200": shown})},
        f"{base}{{entry}}": {"parameters": [_id(), number], "get": _operation(resource, "journal.entry", "A change", {"200": shown})},
    }


def _entry() -> Schema:
    text = {"type": "string"}
    properties = {"id": {"type": "integer"}, "timestamp": text, "username": {"type": ["string", "null"]}, "_links": {"type": "object"}}
    properties["operation"] = {"type": "string", "enum": ["create", "update", "delete"]}
    properties["content"] = {"type": "object", "description": "The object after the change, before it for delete; not in lists"}
    return {"type": "object", "required": ["id", "operation", "timestamp", "username"], "properties": properties}


def _operation(resource: Resource, verb: str, summary: str, answers: Schema) -> Schema:
    faults = {code: {"$ref": f"#/components/responses/E{code}"} for code in ERRORS}
    return {"operationId": f"{resource.name}.{verb}", "tags": [resource.name], "summary": summary, "responses": {**answers, **faults}}


def _shown(resource: Resource, env: Env) -> Schema:
    if resource.schema is not None:
        return resource.schema(env)
    found = object_schema(resource.fields, writing=False)
    found["properties"]["_links"] = {"type": "object"}
    return found


def _written(resource: Resource, env: Env) -> Schema:
    return resource.schema(env) if resource.schema is not None else object_schema(f for f in resource.fields if not isinstance(f.type, Blob))


def _body(resource: Resource, schema: str) -> Schema:
    return {"description": f"The {resource.entity}", "content": {HAL: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}}


def _list(resource: Resource) -> Schema:
    found = _page_of(resource.name, {"$ref": f"#/components/schemas/{resource.name}"})
    found["content"]["text/csv"] = {"schema": {"type": "string"}}
    return found


def _page_of(rel: str, one: Schema) -> Schema:
    schema = {
        "type": "object",
        "required": ["total_count", "_links"],
        "properties": {
            "total_count": {"type": "integer"},
            "_links": {"type": "object"},
            "_embedded": {
                "type": "object",
                "properties": {f"ngcp:{rel}": {"anyOf": [one, {"type": "array", "items": one}]}},
            },
        },
    }
    return {"description": "One page", "content": {HAL: {"schema": schema}}}


def _request(schema: str, example: Any) -> Schema:
    media: Schema = {"schema": {"$ref": f"#/components/schemas/{schema}"}}
    if example:
        media["example"] = dict(example)
    return {"required": True, "content": {"application/json": media}}


def _sent(resource: Resource, *, created: bool) -> tuple[Schema, list[Schema]]:
    """The body of POST and PUT, and the query parameters that go with it."""
    upload, document = resource.upload, f"{resource.name}.write"
    if upload is None:
        body = _request(document, resource.example)
        if resource.bulk is not None and created:
            body["content"]["text/csv"] = {"schema": {"type": "string", "description": "Lines without a header; bad ones are left out"}}
        return body, []
    if isinstance(upload, Raw):
        content: Schema = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in upload.types}
        written = [f for f in resource.fields if f.name != upload.field and not f.read_only]
        return {"required": True, "content": content}, [_parameter(f.name, f.type.schema(), f.help) for f in written]
    parts = {name: {"type": "string", "format": "binary"} for name in upload.parts}
    schema = {"type": "object", "required": ["json"], "properties": {"json": {"$ref": f"#/components/schemas/{document}"}, **parts}}
    return {"required": True, "content": {kind: {"schema": schema} for kind in upload.types}}, []


def _file(resource: Resource) -> Schema:
    content = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in resource.downloads}
    return {"description": f"The {resource.entity}", "content": content}


def _paging(resource: Resource) -> list[Schema]:
    columns = [f.name for f in resource.fields if f.key is not None and f.key in resource.table.c and not (f.secret or f.write_only or f.see)]
    return _pages(columns)


def _pages(columns: Iterable[str]) -> list[Schema]:
    return [
        _parameter("page", {"type": "integer", "minimum": 1, "maximum": 10**9, "default": 1}, "Which page"),
        _parameter("rows", {"type": "integer", "minimum": 1, "maximum": 10**9, "default": 10}, "Items on a page"),
        _parameter("order_by", {"type": "string", "enum": list(columns)}, "Field to sort by"),
        _parameter("order_by_direction", {"type": "string", "enum": ["asc", "desc"]}, "Direction"),
    ]


def _filter(declared: Filter) -> Schema:
    text = declared.help or {"like": "* stands for any text", "list": "Values separated by commas"}.get(declared.kind, "")
    return _parameter(declared.name, KINDS.get(declared.kind, {"type": "string"}), text)


def _parameter(name: str, schema: Schema, text: str) -> Schema:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": text}


def _id(name: str = "id") -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "integer", "minimum": 1, "maximum": 10**17}}


def _error() -> Schema:
    return {"type": "object", "required": ["code", "message"], "properties": {"code": {"type": "integer"}, "message": {"type": "string"}}}


def _fault(text: str) -> Schema:
    return {"description": text, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}}
