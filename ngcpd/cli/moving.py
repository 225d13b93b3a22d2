"""The parsers of `ngcpctl import` and `ngcpctl export`. What they do is imported when it is done: the other commands start faster."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = """Makes subscribers, or objects of any collection of the REST interface, out of a file: CSV with a header, or one JSON object per line.
Columns and names are those of the REST interface (GET /api/ shows them). For subscribers:

  customer_id,domain,username,password,cc,ac,sn,alias_numbers,display_name
  2,voip.example,carol,secret-12,43,1,1003,43-1-2003 43-1-2004,Carol

cc, ac and sn are the primary number; alias_numbers holds numbers CC-AC-SN with spaces between, or JSON. From another system ready hashes take
the place of passwords: ha1 (with ha1b, ha1_sha256), webpassword_hash (Argon2). The delimiter is a comma, semicolon or tab.

Works beside a running daemon, which knows what is new within a second, and without one. Each batch is one transaction. After Ctrl-C or a crash
the same command carries on where it stopped. Refused lines are told in the report file; the others are made.
A file written by `ngcpctl export reseller` makes that reseller again; see --name and --passphrase-file."""
EXPORT = """Writes a reseller with all that belongs to it as JSON lines: contacts, contracts, domains, billing profiles, rule sets, sound sets,
profiles, templates, customers with their balances of the current interval, subscribers with credentials, numbers, preferences, forwards ...
Call records, journals, invoices and past balances stay here. Passwords are written as they are kept: hashes, and SIP passwords sealed with
the key of this installation. Another installation opens these only with --passphrase-file given here and there; without it telephones go
on working there, but nobody can see the passwords any more. The file is as confidential as a copy of the database."""
EPILOG = (
    "Exit status: 0 all done, 1 the store cannot be used, 2 wrong usage or header, 3 some lines were refused, 78 wrong configuration, 130 Ctrl-C."
)


def add(group: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Both."""
    _add_import(group)
    _add_export(group)


def _add_import(group: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The parser."""
    p = group.add_parser(
        "import",
        help="make many subscribers or other objects out of a file; works without a daemon",
        description=HELP,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    p.add_argument("-c", "--config-dir", metavar="DIR", default=argparse.SUPPRESS, help="directory of the configuration")
    p.add_argument(
        "words",
        nargs="+",
        metavar="[COLLECTION] FILE",
        help="collection of the REST interface (default subscribers), and the file; - is standard input",
    )
    p.add_argument("--format", choices=("csv", "json"), help="default: JSON when the first line begins with {, else CSV")
    p.add_argument("--dry-run", action="store_true", help="check every line and make nothing")
    p.add_argument("--restart", action="store_true", help="begin at the first line, although this file was imported before")
    p.add_argument("--report", type=Path, metavar="PATH", help="where refused lines are told (default FILE.errors; not written when there are none)")
    p.add_argument("--name", metavar="NAME", help="of a reseller file: another name for the reseller")
    p.add_argument("--passphrase-file", type=Path, metavar="PATH", help="of a reseller file: the passphrase it was written with")
    p.add_argument("--quiet", action="store_true", help="no progress")
    p.set_defaults(local=_import)


def _add_export(group: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    above = group.add_parser("export", help="write what belongs together into a file; works without a daemon")
    kinds = above.add_subparsers(metavar="WHAT", required=True, dest="export_command")
    p = kinds.add_parser(
        "reseller", help="a whole reseller, for `ngcpctl import`", description=EXPORT, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("-c", "--config-dir", metavar="DIR", default=argparse.SUPPRESS, help="directory of the configuration")
    p.add_argument("reseller", metavar="NAME|ID", help="the reseller")
    p.add_argument("file", nargs="?", default="-", metavar="FILE", help="where to; default or - is standard output; must not exist")
    p.add_argument("--passphrase-file", type=Path, metavar="PATH", help="file with a passphrase in its first line, under which secrets travel")
    p.add_argument("--quiet", action="store_true", help="no progress")
    p.set_defaults(local=_export)


def _import(args: argparse.Namespace) -> int:
    from ngcpd.cli import importcmd

    return importcmd.run(args)


def _export(args: argparse.Namespace) -> int:
    from ngcpd.cli import resellercmd

    return resellercmd.export(args)
