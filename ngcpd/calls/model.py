"""Settings of the call engine and the small values its modules share."""

from __future__ import annotations

from dataclasses import dataclass

# Methods a user agent may use towards us inside a dialog (REFER is answered 405 while `allow_refer_method` is no).
ALLOW = "INVITE, ACK, CANCEL, BYE, PRACK, UPDATE, INFO, OPTIONS, MESSAGE, NOTIFY"


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
    t2: float = 4.0
    first_cseq: int = 10
    traces: int = 1000
    early_dialogs_per_branch: int = 16
    callid_suffix: str = "_b2b-1"


class Side:
    """The two ends of a pair."""

    A = "a"
    B = "b"

    @staticmethod
    def other(side: str) -> str:
        return "b" if side == "a" else "a"
