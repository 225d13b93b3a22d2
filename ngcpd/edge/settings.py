"""Settings of the edge (call processing 8, `kamailio.lb.*`)."""

from __future__ import annotations

from dataclasses import dataclass

from ngcpd.calls.model import ALLOW

SUPPORTED = ("100rel", "timer", "path")
"""Option tags the platform itself acts on: reliable provisionals and session timers in calls, Path in REGISTER."""

REQUIRABLE = frozenset((*SUPPORTED, "outbound", "precondition", "histinfo", "privacy", "norefersub", "from-change"))
"""What a request may put into Require and Proxy-Require; anything else is answered 420 (RFC 3261 8.2.2.3).

Besides `SUPPORTED`: `outbound` (reg-id and instance are honoured, RFC 5626), and tags that the parties settle between themselves by bodies
and fields that travel from leg to leg. Not in it are tags whose fields end here (`replaces`, `join`, `tdialog`, `gruu`, `sec-agree`,
`resource-priority`): to pass them would promise what is not done.
"""


@dataclass(frozen=True, slots=True)
class EdgeSettings:
    """`nattest_exception_ips`: addresses and networks whose requests are never marked NAT."""

    max_forwards: int = 70
    nattest_exception_ips: tuple[str, ...] = ()
    allow: str = f"{ALLOW}, REGISTER"
    supported: str = ", ".join(SUPPORTED)
