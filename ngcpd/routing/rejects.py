"""The reject reasons and their answers (call processing 3.16), in one place. `kamailio.proxy.early_rejects.<key>` overrides them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ngcpd.routing.model import Fields, Reject

TABLE: Final[Mapping[str, tuple[int, str]]] = {
    "block_in": (403, "Blocked by Callee"),
    "block_out": (403, "Blocked by Caller"),
    "block_admin": (403, "Blocked by Admin"),
    "block_callee": (403, "Blocked by Callee"),
    "block_caller": (403, "Blocked by Caller"),
    "block_contract": (403, "Blocked by Contract"),
    "block_ncos": (403, "Blocked by NCOS level"),
    "block_override_pin_wrong": (403, "Incorrect Override PIN"),
    "locked_in": (403, "Callee locked"),
    "locked_out": (403, "Caller locked"),
    "max_calls_in": (486, "Busy"),
    "max_calls_out": (403, "Maximum parallel calls exceeded"),
    "max_calls_peer": (503, "PSTN Termination Currently Unavailable"),
    "peering_unavailable": (503, "PSTN Termination Currently Unavailable"),
    "unauth_caller_ip": (403, "Unauthorized IP detected"),
    "relaying_denied": (403, "Relaying Denied"),
    "invalid_speeddial": (484, "Speed-Dial slot empty"),
    "cf_loop": (480, "Unavailable"),
    "callee_offline": (480, "Offline"),
    "callee_busy": (486, "Busy Here"),
    "callee_unknown": (404, "Not Found"),
    "callee_tmp_unavailable": (480, "Temporarily Unavailable"),
    "voicebox_unavailable": (404, "Not Found"),
    "emergency_unsupported": (403, "Emergency Calls Not Supported"),
    "emergency_invalid": (404, "Emergency code not available in this region"),
    "no_credit": (402, "Insufficient Credit"),
    "reject_vsc": (403, "VSC Forbidden"),
}
"""Keys that are sound handles too."""

SILENT: Final[Mapping[str, tuple[int, str]]] = {
    "loop_detected": (482, "Loop Detected"),
    "cli_rejected": (403, "Forbidden"),
    "store_unavailable": (503, "Service Unavailable"),
}
"""Reasons without an announcement and without a setting."""


class Rejects:
    """The table with the operator's overrides: key -> (code, reason)."""

    __slots__ = ("_table",)

    def __init__(self, overrides: Mapping[str, tuple[int, str]] | None = None) -> None:
        """ValueError for an unknown key or a code that is no failure."""
        table = dict(TABLE)
        for key, (code, reason) in (overrides or {}).items():
            if key not in TABLE:
                raise ValueError(f"unknown reject reason {key}")
            if not 300 <= code <= 699:
                raise ValueError(f"{key}: {code} is no failure code")
            table[key] = (code, reason)
        self._table = {**table, **SILENT}

    def __call__(self, key: str, fields: Fields = ()) -> Reject:
        """The answer for a reason."""
        code, reason = self._table[key]
        return Reject(code, reason, key, fields)
