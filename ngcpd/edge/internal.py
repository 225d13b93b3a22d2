"""Header fields with internal meaning (call processing 1.5): what comes in with such a name is forged and dropped."""

from __future__ import annotations

from ngcpd.sip.base import Message

PREFIXES = ("p-ngcp-", "p-app-", "p-prepaid", "p-acc-", "p-first-caller-")
NAMES = frozenset(
    (
        "p-sock-info",
        "p-d-uri",
        "p-r-uri",
        "p-out-socket",
        "p-caller-uuid",
        "p-callee-uuid",
        "p-called-party-id",
        "p-language",
        "p-from-peer",
        "p-cf-depth",
        "p-callee-account-id",
    )
)


def is_internal(name: str) -> bool:
    low = name.lower()
    return low in NAMES or low.startswith(PREFIXES)


def strip_internal(message: Message) -> int:
    """Remove them all; how many different names there were."""
    found = {name for name, _ in message.fields if name[:2] in ("P-", "p-") and is_internal(name)}
    for name in found:
        message.remove(name)
    return len(found)
