"""Settings of the call engine and the small values its modules share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

from ngcpd.routing.headers import DEFAULT_FILTER, HeaderFilter

# Methods a party may use towards us inside a dialog. Each of them is relayed or handled; any other one is answered 405 with this list, so
# REFER, which is not in it, is refused (call processing 4.1).
ALLOW = "INVITE, ACK, CANCEL, BYE, PRACK, UPDATE, INFO, OPTIONS, MESSAGE, NOTIFY"
ALLOWED = frozenset(ALLOW.split(", "))


@dataclass(frozen=True, slots=True)
class CallSettings:
    """Times in seconds. Sources: call processing 4.1 (`tm.fr_timer`, `tm.fr_inv_timer`, `dlg_timeout`), C.1.29 (`calltimer_max`)."""

    fr_timer: float = 9.0
    fr_inv_timer: float = 180.0
    max_duration: float = 21600.0
    max_forwards: int = 70
    contact_user: str = "ngcp-lb"
    server: str = "ngcpd"
    t1: float = 0.5
    first_cseq: int = 10
    traces: int = 1000
    early_dialogs_per_branch: int = 16
    max_calls: int = 0
    max_branches: int = 16
    strip_100rel: bool = False
    callid_suffix: str = "_b2b-1"
    headers: HeaderFilter = DEFAULT_FILTER
    """What crosses between the legs in answers and within dialogs."""

    @property
    def timeout(self) -> float:
        """64*T1: how long an unanswered message is repeated, how long the identifiers of an ended dialog are remembered."""
        return 64 * self.t1


class Persona(NamedTuple):
    """How the platform shows itself in the dialogs of one call: user part and `ngcpct` of its Contact, Max-Forwards of its requests."""

    user: str
    token: str
    max_forwards: int

    def contact(self, host: str) -> str:
        """The Contact value for a party that reaches us at `host` ("host:port[;transport=tcp]" of a Hop or socket)."""
        return f"<sip:{self.user}@{host};ngcpct={self.token}>"


class Side:
    """The two ends of a pair."""

    A: Final = "a"
    B: Final = "b"

    @staticmethod
    def other(side: str) -> str:
        return "b" if side == "a" else "a"
