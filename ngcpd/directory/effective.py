"""What preferences say to a call, decoded once: a stage of routing asks a dozen of them, of two parties, for every call (call processing 3.0)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ngcpd.directory.model import Prefs

_GPP: Final = tuple(f"gpp{n}" for n in range(10))
DEFAULT_IP_HEADER: Final = "p-ngcp-src-ip"


@dataclass(frozen=True, slots=True)
class MediaHints:
    """What the preferences say about the SDP sent to one party (call processing 3.18)."""

    use_rtpproxy: str = "ice_strip_candidates"
    ipv46_for_rtpproxy: str = "auto"
    rtp_interface: str = ""
    transport_protocol: str = "transparent"

    @classmethod
    def of(cls, prefs: Prefs) -> MediaHints:
        return _hints(
            prefs.get("use_rtpproxy") or "ice_strip_candidates",
            prefs.get("ipv46_for_rtpproxy") or "auto",
            prefs.get("rtp_interface") or "",
            prefs.get("transport_protocol") or "transparent",
        )


_hints = lru_cache(maxsize=256)(MediaHints)
"""Nearly all subscribers have the same ones: they share them."""
DEFAULT_MEDIA: Final = MediaHints()


class Effective:
    """The preferences that every call asks for. Names are those of the preferences; a default that belongs to one is filled in here.

    `version` is that of the shared maps it was read from: `Prefs.effective` makes another when they have changed.
    """

    __slots__ = (
        "allowed_clis",
        "allowed_clis_reject_policy",
        "cli",
        "clir",
        "clir_override",
        "display_name",
        "diverts",
        "e164_to_ruri",
        "extension_in_npn",
        "force_inbound",
        "force_outbound",
        "gpps",
        "inbound_npn",
        "inbound_upn",
        "ip_header",
        "lock",
        "media",
        "outbound_from_display",
        "outbound_from_user",
        "outbound_from_user_is_phone",
        "outbound_pai_user",
        "outbound_ppi_user",
        "outbound_to_user",
        "outbound_to_user_is_phone",
        "peer_auth_realm",
        "peer_auth_user",
        "rewrite_rule_set",
        "ua_header_mode",
        "ua_header_replace",
        "user_cli",
        "version",
    )

    def __init__(self, prefs: Prefs, version: int) -> None:
        get, flag = prefs.get, prefs.flag
        self.version: Final = version
        self.media: Final = MediaHints.of(prefs)
        self.rewrite_rule_set: Final = prefs.number("rewrite_rule_set")
        self.lock: Final = prefs.number("lock", -1)
        # who calls
        self.inbound_upn: Final = get("inbound_upn") or "from_user"
        self.inbound_npn: Final = get("inbound_npn") or "from_user"
        self.diverts: Final = get("inbound_uprn") in ("diversion", "npn_diversion")
        """`inbound_uprn`: the redirecting number is taken from Diversion."""
        self.cli: Final = get("cli") or ""
        self.user_cli: Final = get("user_cli") or ""
        self.display_name: Final = get("display_name") or ""
        self.extension_in_npn: Final = flag("extension_in_npn")
        self.allowed_clis: Final = prefs.all("allowed_clis")
        self.allowed_clis_reject_policy: Final = get("allowed_clis_reject_policy") or ""
        self.clir: Final = flag("clir")
        self.force_outbound: Final = get("force_outbound_calls_to_peer") == "force"
        header = get("ip_header") or ""
        self.ip_header: Final = "" if header.lower() == DEFAULT_IP_HEADER else header
        """"" also for the default one, which nobody may send."""
        self.peer_auth_user: Final = get("peer_auth_user") or ""
        self.peer_auth_realm: Final = get("peer_auth_realm") or ""
        # who is called
        self.force_inbound: Final = flag("force_inbound_calls_to_peer")
        self.clir_override: Final = flag("clir_override")
        self.outbound_from_user: Final = get("outbound_from_user") or "npn"
        self.outbound_from_user_is_phone: Final = flag("outbound_from_user_is_phone")
        self.outbound_from_display: Final = get("outbound_from_display") or "none"
        self.outbound_pai_user: Final = get("outbound_pai_user") or "npn"
        self.outbound_ppi_user: Final = get("outbound_ppi_user") or "none"
        self.outbound_to_user: Final = get("outbound_to_user") or "callee"
        self.outbound_to_user_is_phone: Final = flag("outbound_to_user_is_phone")
        self.ua_header_mode: Final = get("ua_header_mode") or ""
        self.ua_header_replace: Final = get("ua_header_replace") or ""
        self.e164_to_ruri: Final = flag("e164_to_ruri")
        # both
        gpps = tuple(get(name) or "" for name in _GPP)
        self.gpps: Final = gpps if any(gpps) else ()
        """The ten values; () when none is set."""
