"""`ngcpctl`: looks at and controls a running daemon over its control socket, and checks configurations.

Exit status: 0 done, 1 the daemon is not there or refused, 2 wrong usage, 78 the configuration is wrong.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from ngcpd import __version__
from ngcpd.cli import commands, configcmd, moving, resources
from ngcpd.cli import exit as exits
from ngcpd.cli.client import Client, Refused, Unreachable
from ngcpd.config import ConfigError, load
from ngcpd.runtime.log import LEVELS
from ngcpd.store.errors import StoreError

Run = Callable[[Client, argparse.Namespace], Any]
Show = Callable[[Any, argparse.Namespace], str]
Group = Any
"""What add_subparsers returns."""


COMMANDS = (
    *("status", "registrations", "registration", "calls", "call", "route", "cdrs", "log", "reload", "stop", "domain", "subscriber"),
    *("pref", "lock", "config", "resource", "import", "export"),
)


def _common() -> argparse.ArgumentParser:
    """Options that every command takes, before or after its name."""
    p = argparse.ArgumentParser(add_help=False)
    p.add_argument("-c", "--config-dir", metavar="DIR", default=argparse.SUPPRESS, help="directory of the configuration")
    p.add_argument("--socket", metavar="PATH", default=argparse.SUPPRESS, help="control socket; default: where the configuration says")
    p.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print the raw result as JSON")
    return p


class _Builder:
    """Adds commands to parsers with their functions."""

    def __init__(self) -> None:
        self.common = _common()

    def add(self, group: Group, name: str, text: str, run: Run, show: Show) -> argparse.ArgumentParser:
        p: argparse.ArgumentParser = group.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", parents=[self.common])
        p.set_defaults(run=run, show=show)
        return p

    def group(self, above: Group, name: str, text: str) -> Group:
        p = above.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        return p.add_subparsers(metavar="COMMAND", required=True, dest=f"{name}_command")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    b = _Builder()
    top = argparse.ArgumentParser(prog="ngcpctl", description="Looks at and controls a running ngcpd.", parents=[b.common])
    top.add_argument("--version", action="version", version=f"ngcpctl {__version__}")
    group = top.add_subparsers(metavar="COMMAND", required=True, dest="command")
    _looking(b, group)
    _control(b, group)
    _writes(b, group)
    resources.add(b, group)
    moving.add(group)
    _config(b, group)
    return top


def _looking(b: _Builder, group: Group) -> None:
    b.add(group, "status", "version, node, roles, uptime and counters", commands.status, commands.show_status)
    p = b.add(group, "registrations", "registered contacts", commands.registrations, commands.show_registrations)
    p.add_argument("--user", type=commands.account, metavar="USER@DOMAIN", help="only those of one subscriber")
    registration = b.group(group, "registration", "permanent registrations, and removing registrations")
    p = b.add(registration, "add", "add a permanent registration", commands.registration_add, commands.show_pairs)
    p.add_argument("user", type=commands.account, metavar="USER@DOMAIN")
    p.add_argument("contact", metavar="URI", help="contact, e.g. sip:trunk@192.0.2.7:5060")
    p.add_argument("--q", type=float, default=1.0, metavar="N", help="preference among several contacts, -1 to 1 (default 1)")
    p.add_argument("--nat", action="store_true", help="the contact is behind NAT")
    p.add_argument("--path", default="", metavar="ROUTE", help="route set toward the contact, e.g. '<sip:192.0.2.1;lr>'")
    p = b.add(registration, "remove", "remove registrations of a subscriber", commands.registration_remove, commands.show_pairs)
    p.add_argument("user", type=commands.account, metavar="USER@DOMAIN")
    p.add_argument("contact", nargs="?", metavar="URI", help="only this contact; none = all of the subscriber")
    b.add(group, "calls", "calls that exist now", commands.calls, commands.show_calls)
    call = b.group(group, "call", "one call")
    p = b.add(call, "trace", "the decisions that were made on a call", commands.call_trace, commands.show_trace)
    p.add_argument("call_id", metavar="CALLID", help="Call-ID of the caller's leg")
    p = b.add(group, "route", "what would happen to a call, without making it", commands.route, commands.show_route)
    p.add_argument("caller", metavar="CALLER", help="user@domain of the caller")
    p.add_argument("callee", metavar="CALLEE", help="what is dialled")
    p.add_argument("--source-ip", metavar="ADDRESS", help="address the call comes from")
    p = b.add(group, "cdrs", "call records", commands.cdrs, commands.show_cdrs)
    p.add_argument("--last", type=_count, default=20, metavar="N", help="the last N (default 20)")
    p.add_argument("--follow", action="store_true", help="go on with every new one until Ctrl-C")


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 10_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 10000")
    return int(text)


def _control(b: _Builder, group: Group) -> None:
    log = b.group(group, "log", "what the daemon logs")
    b.add(log, "levels", "level of each room", commands.log_levels, commands.show_pairs)
    p = b.add(log, "set", "change the level of a room until the next start", commands.log_set, commands.show_pairs)
    p.add_argument("room", metavar="ROOM", help="room, or * for all")
    p.add_argument("level", metavar="LEVEL", choices=list(LEVELS), help=", ".join(LEVELS))
    b.add(group, "reload", "read the configuration again; connections and calls go on", commands.reload, commands.show_reload)
    b.add(group, "stop", "stop the daemon in good order", commands.stop, commands.show_stop)


def _writes(b: _Builder, group: Group) -> None:
    domain = b.group(group, "domain", "SIP domains")
    b.add(domain, "list", "all domains", commands.domain_list, commands.show_domains)
    p = b.add(domain, "add", "make a domain", commands.domain_add, commands.show_pairs)
    p.add_argument("name", metavar="NAME")
    subscriber = b.group(group, "subscriber", "subscribers")
    p = b.add(subscriber, "list", "all subscribers", commands.subscriber_list, commands.show_subscribers)
    p.add_argument("--domain", metavar="NAME", help="only those of one domain")
    for name, text, run, show in (
        ("show", "one subscriber with its preferences", commands.subscriber_show, commands.show_subscriber),
        ("add", "make a subscriber", commands.subscriber_add, commands.show_pairs),
        ("delete", "end a subscriber", commands.subscriber_delete, commands.show_pairs),
        ("password", "set the SIP password", commands.subscriber_password, commands.show_pairs),
    ):
        p = b.add(subscriber, name, text, run, show)
        p.add_argument("user", type=commands.account, metavar="USER@DOMAIN")
        if name in ("add", "password"):
            p.add_argument("--password", metavar="TEXT", help="SIP password; - reads it from standard input, without this option it is asked for")
        if name == "add":
            p.add_argument("--number", type=commands.number, metavar="CC-AC-SN", help="primary number, e.g. 43-1-12345")
            p.add_argument("--alias", type=commands.number, action="append", metavar="CC-AC-SN", help="further number; may be repeated")
    pref = b.group(group, "pref", "preferences of subscribers")
    p = b.add(pref, "get", "preferences that are set", commands.pref_get, commands.show_pairs)
    p.add_argument("user", type=commands.account, metavar="USER@DOMAIN")
    p.add_argument("name", nargs="?", metavar="NAME")
    p = b.add(pref, "set", "set a preference; without a value remove it", commands.pref_set, commands.show_pairs)
    p.add_argument("user", type=commands.account, metavar="USER@DOMAIN")
    p.add_argument("name", metavar="NAME")
    p.add_argument("value", nargs="*", metavar="VALUE")
    lock = b.group(group, "lock", "locks of subscribers")
    p = b.add(lock, "set", "lock a subscriber or open it", commands.lock_set, commands.show_pairs)
    p.add_argument("user", type=commands.account, metavar="USER@DOMAIN")
    p.add_argument("level", choices=["none", "0", "1", "2", "3", "4", "5"], metavar="LEVEL", help="none or 0 to 5")


def _config(b: _Builder, group: Group) -> None:
    config = b.group(group, "config", "the configuration; works without a daemon")

    def add(name: str, text: str, local: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
        p: argparse.ArgumentParser = config.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        p.add_argument("-c", "--config-dir", metavar="DIR", default=argparse.SUPPRESS, help="directory of the configuration")
        p.set_defaults(local=local)
        return p

    add("check", "check the configuration; exit 78 with the problems on stderr", configcmd.check)
    p = add("show", "values in force, without secrets", configcmd.show)
    p.add_argument("key", nargs="?", metavar="KEY", help="one key or branch, e.g. kamailio.lb")
    add("reference", "the reference page of all settings in Markdown", configcmd.reference)
    p = add("defaults", "a file with every setting and its default", configcmd.shipped)
    p.add_argument("file", nargs="?", choices=["config.yml", "constants.yml"], default="config.yml")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the result is the exit status."""
    p = parser()
    args = p.parse_args(resources.expand(sys.argv[1:] if argv is None else argv, COMMANDS))
    for name in ("config_dir", "socket"):
        vars(args).setdefault(name, None)
    vars(args).setdefault("json", False)
    try:
        if "local" in args:
            status: int = args.local(args)
        else:
            status = _remote(args)
        sys.stdout.flush()
        return status
    except commands.Usage as error:
        return _tell(str(error), 2)
    except (Unreachable, Refused, StoreError) as error:
        return _tell(str(error), exits.FAILED)
    except ConfigError as error:
        for problem in error.problems:
            sys.stderr.write(f"{problem}\n")
        return _tell("the configuration is wrong; --socket PATH reaches a running daemon all the same", exits.CONFIG)
    except KeyboardInterrupt:
        return exits.OK if getattr(args, "follow", False) else 130
    except BrokenPipeError:
        # the reader of our output went away, as `| head` does; keep the interpreter from complaining at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.OK


def _tell(message: str, status: int) -> int:
    sys.stderr.write(f"ngcpctl: {' '.join(message.split())}\n")
    return status


def _remote(args: argparse.Namespace) -> int:
    path = args.socket or load(args.config_dir).settings.paths.control_socket
    with Client(path) as client:
        if getattr(args, "follow", False):
            return _follow(client, args)
        result = args.run(client, args)
    if args.json:
        print(json.dumps(result, indent=2, ensure_ascii=False))
    else:
        sys.stdout.write(args.show(result, args))
    return exits.OK


def _follow(client: Client, args: argparse.Namespace) -> int:
    for row in client.stream("cdrs", {"last": args.last, "follow": True}):
        sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n" if args.json else commands.follow_line(row))
        sys.stdout.flush()
    return exits.OK


if __name__ == "__main__":
    sys.exit(main())
