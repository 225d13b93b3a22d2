"""`ngcpctl RESOURCE list|show|create|set|delete`: the declared resources from the command line."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any

from ngcpd.cli.client import Client
from ngcpd.cli.show import clean, pairs, table

Args = argparse.Namespace
VERBS = ("list", "show", "create", "set", "delete")
SECRET = ("password", "pin", "code", "uuid")
"""Not for everybody who looks over a shoulder, or too long for a list."""
COLUMNS = 7
"""Columns of a list: the first fields that have plain values."""


def value(text: str) -> tuple[str, Any]:
    """NAME=VALUE; the value is JSON if it can be read as such, else text."""
    name, equals, rest = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form NAME=VALUE")
    try:
        return name, json.loads(rest)
    except ValueError:
        return name, rest


def expand(argv: Sequence[str], known: Sequence[str]) -> list[str]:
    """`customers list` means `resource customers list`, for every name that is no command itself."""
    given = list(argv)
    for at, word in enumerate(given[:-1]):
        if not word.startswith("-") and word not in known and word.isalpha() and given[at + 1] in VERBS:
            return [*given[:at], "resource", *given[at:]]
        if not word.startswith("-") and word in known:
            break
    return given


def add(b: Any, group: Any) -> None:
    """The parsers."""
    p = group.add_parser("resource", help="any resource of the REST interface: NAME list|show|create|set|delete")
    p.add_argument("name", metavar="NAME", help="e.g. customers, billingprofiles; `ngcpctl resource names list` shows all")
    verbs = p.add_subparsers(metavar="COMMAND", required=True, dest="resource_command")
    q = b.add(verbs, "list", "one page of it", listing, show_list)
    q.add_argument("filter", nargs="*", type=value, metavar="NAME=VALUE", help="filters, page=N, rows=N, order_by=NAME")
    q = b.add(verbs, "show", "one object", show, show_one)
    q.add_argument("id", type=int, metavar="ID")
    q = b.add(verbs, "create", "make an object", create, show_one)
    q.add_argument("values", nargs="+", type=value, metavar="NAME=VALUE")
    q = b.add(verbs, "set", "change some fields of an object", change, show_one)
    q.add_argument("id", type=int, metavar="ID")
    q.add_argument("values", nargs="+", type=value, metavar="NAME=VALUE")
    q = b.add(verbs, "delete", "delete or end an object", delete, show_one)
    q.add_argument("id", type=int, metavar="ID")


def listing(client: Client, args: Args) -> Any:
    if args.name == "names":
        return {"items": [{"name": name} for name in client.call("resource.names")]}
    asked = {name: given if isinstance(given, str) else json.dumps(given) for name, given in args.filter}
    return client.call("resource.list", {"resource": args.name, "query": asked})


def show(client: Client, args: Args) -> Any:
    return client.call("resource.show", {"resource": args.name, "id": args.id})


def create(client: Client, args: Args) -> Any:
    return client.call("resource.create", {"resource": args.name, "values": dict(args.values)})


def change(client: Client, args: Args) -> Any:
    return client.call("resource.set", {"resource": args.name, "id": args.id, "values": dict(args.values)})


def delete(client: Client, args: Args) -> Any:
    return client.call("resource.delete", {"resource": args.name, "id": args.id})


def show_list(result: Any, args: Args) -> str:
    items = result.get("items") or []
    first = items[0] if items else {}
    names = [name for name, entry in first.items() if not isinstance(entry, list | dict) and name not in SECRET][:COLUMNS]
    text = table(names, [[clean(item.get(name)) for name in names] for item in items], f"no {args.name}")
    total = result.get("total", len(items))
    return text if total <= len(items) else f"{text}{len(items)} of {total}; page=N and rows=N show others\n"


def show_one(result: Any, args: Args) -> str:
    return pairs({name: json.dumps(entry, ensure_ascii=False) if isinstance(entry, list | dict) else entry for name, entry in result.items()})
