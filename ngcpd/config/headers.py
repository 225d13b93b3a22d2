"""`headers.yml`: the operator's whitelist of header fields that cross between the legs of a call (features F5, call processing 1.5, 3.22)."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from ngcpd.config.problems import Mark, Report
from ngcpd.config.tree import Scalar, Seq, clip
from ngcpd.config.yamlfile import parse, read_plain

FILE: Final = "headers.yml"
SYSTEM_FILE: Final = "/etc/ngcpd/headers.yml"
SYSTEM_DIRECTORY: Final = "/etc/ngcp-config"
MAX_NAMES: Final = 500
_NAME = re.compile(r"[A-Za-z0-9!#$%&'+.^_`|~-]+\*?")

DEFAULT_BOTH: Final = (
    "P-R-Uri",
    "P-D-Uri",
    "P-Preferred-Identity",
    "P-Asserted-Identity",
    "Diversion",
    "Privacy",
    "Allow",
    "Supported",
    "Require",
    "RAck",
    "RSeq",
    "User-Agent",
    "History-Info",
    "Call-Info",
)
"""The whitelist of both directions as delivered (call processing 1.5)."""

NEVER: Final = (
    "P-NGCP-*",
    "P-App-*",
    "P-Caller-UUID",
    "P-Callee-UUID",
    "P-Acc-*",
    "P-First-*",
    "P-Called-Party-ID",
    "P-Language",
    "P-Prepaid*",
    "P-Sock-Info",
    "P-Out-Socket",
    "P-From-Peer",
    "P-CF-Depth",
    "P-Callee-Account-ID",
    "Via",
    "Route",
    "Record-Route",
    "Path",
    "Service-Route",
    "Contact",
    "From",
    "To",
    "Call-ID",
    "CSeq",
    "Max-Forwards",
    "Content-Length",
    "Remote-Party-ID",
    "Authorization",
    "Proxy-Authorization",
    "WWW-Authenticate",
    "Proxy-Authenticate",
    "Authentication-Info",
    "Proxy-Authentication-Info",
)
"""Not passed whatever an operator's list says; an operator's list that names one of them is wrong."""


class Names:
    """Names and name prefixes (`X-Acme-*`), compared without case."""

    __slots__ = ("exact", "prefixes")

    def __init__(self, names: Iterable[str]) -> None:
        low = [n.strip().lower() for n in names]
        self.exact = frozenset(n for n in low if not n.endswith("*"))
        self.prefixes = tuple(n[:-1] for n in low if n.endswith("*"))

    def __contains__(self, low: str) -> bool:
        return low in self.exact or (bool(self.prefixes) and low.startswith(self.prefixes))

    def touches(self, low: str) -> bool:
        """True when a listed name or pattern `low` could let one of these names through."""
        if not low.endswith("*"):
            return low in self
        stem = low[:-1]
        return any(n.startswith(stem) for n in self.exact) or any(p.startswith(stem) or stem.startswith(p) for p in self.prefixes)


_NEVER = Names(NEVER)


def forbidden(names: Iterable[str]) -> list[str]:
    """Those entries of an operator's list that may not stand there."""
    return [n for n in names if _NEVER.touches(n.strip().lower())]


@dataclass(frozen=True)
class HeaderLists:
    """Names that pass in requests, in responses and in both; a trailing `*` stands for any rest."""

    request: tuple[str, ...] = ()
    response: tuple[str, ...] = ()
    both: tuple[str, ...] = DEFAULT_BOTH


def find(directory: str) -> str | None:
    """The file: in the configuration directory, else where the configuration framework puts it on an installed system. None: there is none."""
    places = [os.path.join(directory, FILE)] + ([SYSTEM_FILE] if directory == SYSTEM_DIRECTORY else [])
    return next((place for place in places if os.path.lexists(place)), None)


def read(directory: str, report: Report) -> HeaderLists:
    """The lists in force: those delivered when there is no file or it does not name one. What is wrong in it goes to the report."""
    path = find(directory)
    if path is None:
        return HeaderLists()
    try:
        tree = parse(read_plain(path), path, report)
    except OSError as error:
        report.error(Mark(path), f"cannot be read: {error.strerror}")
        return HeaderLists()
    found: dict[str, tuple[str, ...]] = {}
    for name, node in (tree.items if tree is not None else {}).items():
        if name not in ("request", "response", "both"):
            report.error(tree.keys[name] if tree is not None else Mark(path), f"unknown list {clip(name)}: there are request, response and both")
        elif isinstance(node, Seq):
            found[name] = tuple(_names(node, report))
        elif not (isinstance(node, Scalar) and node.value is None):
            report.error(node.mark, f"{name} must be a list of header names")
    return HeaderLists(**found)


def _names(node: Seq, report: Report) -> Iterable[str]:
    if len(node.items) > MAX_NAMES:
        report.error(node.mark, f"more than {MAX_NAMES} names")
        return
    for item in node.items:
        text = item.value if isinstance(item, Scalar) else None
        if text is None or not _NAME.fullmatch(text):
            report.error(item.mark, f"{clip(str(text))} is not a header name; a trailing * stands for any rest")
        elif forbidden([text]):
            report.error(item.mark, f"{clip(text)} never crosses between the legs of a call; take it out of the list")
        else:
            yield text
