"""The commands of `ngcpctl` that speak to the daemon: arguments -> request, result -> text."""

from __future__ import annotations

import argparse
import getpass
import re
import sys
from typing import Any

from ngcpd.cli.client import Client
from ngcpd.cli.show import clean, columns, cut, moment, pairs, span, table

Args = argparse.Namespace


class Usage(Exception):
    """An argument is wrong."""


def number(text: str) -> dict[str, str]:
    """CC-AC-SN (the area code may be empty: CC--SN) -> its parts. ArgumentTypeError for anything else."""
    match = re.fullmatch(r"\+?([1-9][0-9]{0,3})-([0-9]{0,5})-([0-9]{1,15})", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of the form CC-AC-SN, e.g. 43-1-12345 or 372--5551234")
    return dict(zip(("cc", "ac", "sn"), match.groups(), strict=True))


def account(text: str) -> str:
    """user@domain."""
    user = text.removeprefix("sip:")
    if not re.fullmatch(r"[^@\s]+@[^@\s]+", user):
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form user@domain")
    return user


def password(given: str | None) -> str:
    """The password of the command line; `-` reads a line from standard input, none asks for it."""
    if given == "-":
        return sys.stdin.readline().rstrip("\r\n")
    if given is not None:
        return given
    if not sys.stdin.isatty():
        raise Usage("give the password with --password, or --password - and a line on standard input")
    return getpass.getpass("SIP password: ")


# ---------------------------------------------------------------------------------------------------------------- looking
def status(client: Client, args: Args) -> Any:
    return client.call("status")


def show_status(result: Any, args: Args) -> str:
    counters = result.get("counters") or {}
    rest = {k: v for k, v in result.items() if k != "counters"}
    if "uptime" in rest:
        rest["uptime"] = span(rest["uptime"])
    return pairs(rest) + "\n" + pairs(counters)


def registrations(client: Client, args: Args) -> Any:
    return client.call("registrations", {"user": args.user} if args.user else {})


def show_registrations(result: Any, args: Args) -> str:
    names = (
        ("user", "user"), ("contact", "contact"), ("transport", "transport"), ("received", "received"),
        ("expires", "expires"), ("q", "q"), ("nat", "nat"), ("agent", "user_agent"),
    )  # fmt: skip
    return columns(result, names, "no registrations", expires=lambda v: "never" if v is None else f"{clean(v)} s")


def registration_add(client: Client, args: Args) -> Any:
    request = {"user": args.user, "contact": args.contact, "q": args.q, "nat": args.nat, "path": args.path}
    return client.call("registration.add", request)


def registration_remove(client: Client, args: Args) -> Any:
    return client.call("registration.remove", {"user": args.user, "contact": args.contact} if args.contact else {"user": args.user})


def calls(client: Client, args: Args) -> Any:
    return client.call("calls")


def show_calls(result: Any, args: Args) -> str:
    names = (("call-id", "call_id"), ("state", "state"), ("caller", "caller"), ("callee", "callee"), ("started", "started"), ("duration", "duration"))
    return columns(result, names, "no calls", started=moment, duration=span)


def call_trace(client: Client, args: Args) -> Any:
    return client.call("call.trace", {"call_id": args.call_id})


def show_trace(result: Any, args: Args) -> str:
    head = {k: v for k, v in result.items() if k != "stages"}
    return pairs(head) + "\n" + stages(result.get("stages"))


def stages(found: Any) -> str:
    """The decisions on a call in their order: stage, verdict, what was looked at."""
    lines = []
    for number_, stage in enumerate(found if isinstance(found, list) else (), 1):
        lines.append(f"{number_:3d}. {clean(stage.get('stage'))}: {clean(stage.get('verdict'))}")
        looked = stage.get("looked_at") or {}
        lines += [f"       {clean(k)} = {cut(clean(v), 200)}" for k, v in looked.items()] if isinstance(looked, dict) else []
    return "\n".join(lines or ["no decisions"]) + "\n"


def route(client: Client, args: Args) -> Any:
    request = {"caller": args.caller, "callee": args.callee}
    return client.call("route", {**request, "source_ip": args.source_ip} if args.source_ip else request)


def show_route(result: Any, args: Args) -> str:
    return stages(result)


CDR_COLUMNS = (
    ("id", "id"), ("start", "start_time"), ("duration", "duration"), ("source", "source"), ("destination", "destination"),
    ("status", "call_status"), ("code", "call_code"), ("call-id", "call_id"),
)  # fmt: skip


def cdrs(client: Client, args: Args) -> Any:
    return client.call("cdrs", {"last": args.last})


def show_cdrs(result: Any, args: Args) -> str:
    return columns(result, CDR_COLUMNS, "no call records", start_time=moment)


def follow_line(row: Any) -> str:
    """A record on one line, for --follow."""
    shown = [moment(row.get(f)) if f == "start_time" else clean(row.get(f)) for _, f in CDR_COLUMNS]
    return "  ".join(shown) + "\n"


# ---------------------------------------------------------------------------------------------------------------- control
def log_levels(client: Client, args: Args) -> Any:
    return client.call("log.levels")


def log_set(client: Client, args: Args) -> Any:
    return client.call("log.set", {"room": args.room, "level": args.level})


def show_pairs(result: Any, args: Args) -> str:
    return pairs(result)


def reload(client: Client, args: Args) -> Any:
    return client.call("reload")


def show_reload(result: Any, args: Args) -> str:
    lines = [f"{warning} (warning)" for warning in result["warnings"]]
    for name, text in (("live", "in force"), ("restart", "needs a restart of the daemon"), ("unused", "without effect in this release")):
        lines += [f"{key}: {text}" for key in result[name]]
    return "\n".join(lines or ["nothing has changed"]) + "\n"


def stop(client: Client, args: Args) -> Any:
    return client.call("stop")


def show_stop(result: Any, args: Args) -> str:
    return "the daemon stops\n"


# ----------------------------------------------------------------------------------------------------------------- writes
def domain_list(client: Client, args: Args) -> Any:
    return client.call("domain.list")


def show_domains(result: Any, args: Args) -> str:
    return columns(result, (("id", "id"), ("domain", "domain"), ("reseller", "reseller_id")), "no domains")


def domain_add(client: Client, args: Args) -> Any:
    return client.call("domain.add", {"domain": args.name})


def subscriber_list(client: Client, args: Args) -> Any:
    return client.call("subscriber.list", {"domain": args.domain} if args.domain else {})


def show_subscribers(result: Any, args: Args) -> str:
    names = (("id", "id"), ("user", "user"), ("number", "number"), ("status", "status"), ("uuid", "uuid"))
    return columns(result, names, "no subscribers")


def subscriber_show(client: Client, args: Args) -> Any:
    return client.call("subscriber.show", {"user": args.user})


def show_subscriber(result: Any, args: Args) -> str:
    prefs = result.get("prefs") or {}
    head = pairs({k: v for k, v in result.items() if k != "prefs"})
    return head + ("\n" + table(("preference", "value"), list(prefs.items())) if prefs else "")


def subscriber_add(client: Client, args: Args) -> Any:
    request = {"user": args.user, "password": password(args.password), "number": args.number, "aliases": args.alias or []}
    return client.call("subscriber.add", request)


def subscriber_delete(client: Client, args: Args) -> Any:
    return client.call("subscriber.delete", {"user": args.user})


def subscriber_password(client: Client, args: Args) -> Any:
    return client.call("subscriber.password", {"user": args.user, "password": password(args.password)})


def pref_get(client: Client, args: Args) -> Any:
    return client.call("pref.get", {"user": args.user, "name": args.name} if args.name else {"user": args.user})


def pref_set(client: Client, args: Args) -> Any:
    return client.call("pref.set", {"user": args.user, "name": args.name, "values": args.value})


def lock_set(client: Client, args: Args) -> Any:
    return client.call("lock.set", {"user": args.user, "level": None if args.level == "none" else int(args.level)})
