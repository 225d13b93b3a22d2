"""Declared settings: kamailio (edge, registrar, call control), qos, rtpproxy (media relay), general.

Configuration framework C.1.10, C.1.14, C.1.22, C.1.27.
"""

from __future__ import annotations

from ngcpd.config.declare import Section, SectionBuilder
from ngcpd.config.types import (
    B01,
    CIDR,
    FACILITY,
    HOST,
    IP,
    LINE,
    MAIL,
    NAME,
    NAT,
    ONOFF,
    PATH,
    PORT,
    POS,
    REGEX,
    SIP_CODE,
    SIPURI,
    SOCKET,
    YN,
    Enum,
    Int,
    List,
    Table,
    Text,
)  # fmt: skip

CAUSES: dict[str, tuple[int, str]] = {
    "block_admin": (403, "Blocked by Admin"),
    "block_callee": (403, "Blocked by Callee"),
    "block_caller": (403, "Blocked by Caller"),
    "block_contract": (403, "Blocked by Contract"),
    "block_in": (403, "Blocked by Callee"),
    "block_ncos": (403, "Blocked by NCOS level"),
    "block_out": (403, "Blocked by Caller"),
    "block_override_pin_wrong": (403, "Incorrect Override PIN"),
    "callee_busy": (486, "Busy Here"),
    "callee_offline": (480, "Offline"),
    "callee_tmp_unavailable": (480, "Temporarily Unavailable"),
    "callee_unknown": (404, "Not Found"),
    "cf_loop": (480, "Unavailable"),
    "emergency_invalid": (404, "Emergency code not available in this region"),
    "emergency_unsupported": (403, "Emergency Calls Not Supported"),
    "invalid_speeddial": (484, "Speed-Dial slot empty"),
    "locked_in": (403, "Callee locked"),
    "locked_out": (403, "Caller locked"),
    "max_calls_in": (486, "Busy"),
    "max_calls_out": (403, "Maximum parallel calls exceeded"),
    "max_calls_peer": (503, "PSTN Termination Currently Unavailable"),
    "no_credit": (402, "Insufficient Credit"),
    "peering_unavailable": (503, "PSTN Termination Currently Unavailable"),
    "reject_vsc": (403, "VSC Forbidden"),
    "relaying_denied": (403, "Relaying Denied"),
    "unauth_caller_ip": (403, "Unauthorized IP detected"),
    "voicebox_unavailable": (404, "Not Found"),
}
"""Reject causes with code and reason phrase (call processing 3.16)."""

REASON = Text(r"[^\x00-\x1f\x7f]{1,128}", "a reason phrase of 1 to 128 characters on one line")
SECONDS = "s"


JOURNALS = (
    "admins", "autoattendants", "billingprofiles", "billingzones", "callforwards", "ccmapentries", "cfdestinationsets", "cfmappings", "cftimesets",
    "contracts", "customerbalances", "customercontacts", "customerfraudpreferences", "customerpreferences", "customers", "domains",
    "faxserversettings", "profilepreferences", "reminders",
    "resellers", "soundsets", "speeddials", "subscriberpreferences", "subscriberprofiles", "subscriberprofilesets", "subscribers", "systemcontacts",
    "trustedsources", "voicemailsettings",
)  # fmt: skip
"""Resources of the REST interface that have a journal (REST API 1.12)."""


def _general() -> Section:
    k = SectionBuilder("general", "The installation as a whole (C.1.10)")
    k("adminmail", MAIL, "adjust@example.org", "L", "Receiver of all mails of the platform: monitoring, nightly jobs")
    k("companyname", LINE, "sipwise", "L", "Name of the operator: SNMP system name, certificates, label of nodes")
    k("lang", Text("[a-z]{2,3}", "a language code such as en or de"), "en", "L", "Default language of announcements")
    k("support_url", NAME, "", "L", "Address of the fault tracker that the help page shows")
    return k.done()


def _lb(k: SectionBuilder) -> None:
    k("lb.start", YN, "yes", "R", "Runs the SIP edge on nodes with role lb")
    k("lb.port", PORT, 5060, "B", "UDP and TCP port of SIP on every sip_ext address")
    k("lb.tls.enable", YN, "no", "B", "Listens for SIP over TLS")
    k("lb.tls.port", PORT, 5061, "B", "Port of SIP over TLS on every sip_ext address")
    k("lb.tls.sslcertfile", PATH, "/etc/kamailio/kamailio-selfsigned.pem", "L", "Certificate chain of the TLS listeners, PEM; for new connections")
    k("lb.tls.sslcertkeyfile", PATH, "/etc/kamailio/kamailio-selfsigned.key", "L", "Private key of that certificate, PEM")
    k("lb.extra_sockets", Table(SOCKET), None, "B", "Further SIP listeners by label; the labels are the values of preference outbound_socket")
    k("lb.external_sbc", List(SIPURI), [], "L", "External session border controllers offered as route of a peering server")
    k("lb.max_forwards", Int(1, 255), 70, "L", "Max-Forwards of requests that have none, and of every new leg")
    k("lb.nattest_exception_ips", List(IP), None, "L", "Sources that are never marked as behind NAT")
    k("lb.use_dns_cache", ONOFF, "on", "L", "Keeps DNS answers for their time to live")
    k("lb.udp_children", POS, 8, "I", "Worker processes for UDP")
    k("lb.tcp_children", POS, 8, "I", "Worker processes for TCP")
    k("lb.children", POS, None, "I", "Worker processes")
    k("lb.tcp_max_connections", POS, 2048, "L", "TCP and TLS connections at a time; further ones are refused")
    k("lb.pkg_mem", POS, 16, "I", "Private memory of a worker", unit="MB")
    k("lb.shm_mem", POS, None, "I", "Shared memory pool", unit="MB")
    k("lb.debug", YN, "no", "L", "Log of the edge at level debug")
    k("lb.mem_log", NAT, 1, "I", "Log level of memory debugging")
    k("lb.mem_summary", NAT, 12, "I", "Memory summary flags")
    k("lb.strict_routing_safe", YN, "no", "L", "Accepts requests routed strictly, in the manner of RFC 2543")
    k("lb.block_useragents.enable", YN, "no", "N", "Filters requests by their User-Agent")
    k("lb.block_useragents.mode", Enum(("blacklist", "whitelist")), "blacklist", "L", "Whether the listed agents are refused or the only ones served")
    k("lb.block_useragents.action", Enum(("drop", "reject")), "reject", "L", "Silence or 403")
    k("lb.block_useragents.block", List(REGEX), [], "L", "Patterns of User-Agent values")
    k("lb.security.dos_ban_enable", YN, "yes", "L", "Bans sources that send too much")
    k("lb.security.dos_sampling_time_unit", POS, 5, "L", "Window in which requests are counted", unit=SECONDS)
    k("lb.security.dos_reqs_density_per_unit", POS, 50, "L", "Requests of one source in the window that bring the ban")
    k("lb.security.dos_ban_time", POS, 300, "L", "How long such a source is ignored", unit=SECONDS)
    k("lb.security.dos_whitelisted_ips", List(IP), [], "L", "Sources never banned, besides the platform itself and its peers")
    k("lb.security.dos_whitelisted_subnets", List(CIDR), [], "L", "Networks never banned")
    k("lb.security.failed_auth_ban_enable", YN, "yes", "L", "Bans accounts after wrong passwords")
    k("lb.security.failed_auth_attempts", POS, 3, "L", "Wrong passwords until the account is banned", aliases=["security.failed_auth_attempts"])
    k("lb.security.failed_auth_ban_time", POS, 3600, "L", "How long the account is refused after the last wrong password", unit=SECONDS)


def _proxy(k: SectionBuilder) -> None:
    k("proxy.start", YN, "yes", "R", "Runs registrar and call control on nodes with role proxy")
    k("proxy.port", PORT, 5062, "B", "Internal SIP port on sip_int, used between nodes")
    k("proxy.children", POS, 8, "I", "Worker processes")
    k("proxy.pkg_mem", POS, 16, "I", "Private memory of a worker", unit="MB")
    k("proxy.shm_mem", POS, None, "I", "Shared memory pool", unit="MB")
    k("proxy.debug", YN, "no", "L", "Log of registrar and call control at level debug")
    k("proxy.default_expires", POS, 3600, "L", "Life of a registration that asks for none", unit=SECONDS)
    k("proxy.default_expires_range", Int(0, 100), 30, "L", "Random spread of that life", unit="%")
    k("proxy.min_expires", POS, 60, "L", "Shortest life of a registration", unit=SECONDS)
    k("proxy.max_expires", POS, 43200, "L", "Longest life of a registration", unit=SECONDS)
    k("proxy.max_registrations_per_subscriber", POS, 5, "L", "Contacts of one subscriber")
    k("proxy.drop_oldest_registration", YN, "no", "L", "At that number the contact that expires first makes room; no = the new one is refused")
    k("proxy.natping_interval", NAT, 30, "L", "OPTIONS to contacts behind NAT every so often, 0 = never", unit=SECONDS)
    k("proxy.natping_processes", Int(1, 7), 7, "I", "Workers for that")
    k("proxy.natping_from", SIPURI, "sip:pinger@sipwise.com", "L", "From of these OPTIONS", aliases=["nathelper.sipping_from"])
    k("proxy.authenticate_bye", YN, "no", "L", "Challenges BYE")
    k("proxy.ignore_auth_realm", YN, "no", "L", "Accepts credentials of any realm")
    k("proxy.allow_peer_relay", YN, "no", "L", "Lets a peer call through to another peer")
    k("proxy.allow_non_numeric_to_pstn", YN, "no", "L", "Lets users that are no numbers go to peers")
    k("proxy.allow_info_method", YN, "no", "L", "Accepts INFO outside of a dialog")
    k("proxy.allow_msg_method", YN, "no", "L", "Accepts MESSAGE")
    k("proxy.allow_refer_method", YN, "no", "L", "Accepts REFER")
    k("proxy.always_anonymize_from_user", YN, "no", "L", "Hides the From user towards every callee")
    k("proxy.use_enum", YN, "no", "L", "Looks numbers up by ENUM before peers are tried")
    k("proxy.enum_suffix", Text(r"[A-Za-z0-9.-]+", "a domain name"), "e164.arpa.", "L", "Domain of ENUM")
    k("proxy.foreign_domain_via_peer", YN, "no", "L", "Sends calls to foreign domains to peers instead of asking DNS")
    k("proxy.fritzbox_prefixes", List(REGEX), [], "L", "Prefixes that some routers put wrongly before emergency numbers",
      aliases=[".proxy.fritzbox.prefixes"])  # fmt: skip
    k("proxy.fritzbox.enable", YN, "yes", "L", "Uses fritzbox_prefixes")
    k("proxy.presence.enable", YN, "yes", "L", "Presence by SIP SIMPLE and XCAP")
    k("proxy.presence.max_expires", POS, 3600, "L", "Longest subscription to presence", unit=SECONDS)
    k("proxy.presence.reginfo_domain", HOST, "example.org", "L", "Domain of registration events")
    k("proxy.lookup_peer_destination_domain_for_pbx", YN, "no", "L", "Asks for the domain of a peer's destination in PBX calls")
    k("proxy.loop_detection.enable", YN, "no", "L", "Refuses requests that come back too often with 482")
    k("proxy.loop_detection.expire", POS, 1, "L", "Window of loop detection", unit=SECONDS)
    k("proxy.loop_detection.max", POS, 5, "L", "Times the same From, To and Request-URI may come within the window")
    k("proxy.cf_depth_limit", Int(1, 100), 10, "L", "Longest chain of call forwards")
    k("proxy.dlg_timeout", POS, 43200, "L", "Longest call", unit=SECONDS)
    for cause, (code, reason) in CAUSES.items():
        k(f"proxy.early_rejects.{cause}.announce_code", SIP_CODE, code, "L", f"Final code of reject cause {cause}")
        k(f"proxy.early_rejects.{cause}.announce_reason", REASON, reason, "L", f"Reason phrase of reject cause {cause}")
    k("proxy.filter_100rel_from_supported", YN, "no", "L", "Removes 100rel from Supported")
    k("proxy.filter_failover_response", Text(r"[1-6][0-9]{2}(\|[1-6][0-9]{2})*", "codes joined by |"), "408|500|503", "L",
      "Replies of a peer after which the next one is tried")  # fmt: skip
    k("proxy.perform_peer_failover_on_tm_timeout", YN, "yes", "L", "Tries the next peer when one is silent")
    k("proxy.perform_peer_lcr", B01, 0, "L", "Orders peers by cost")
    k("proxy.max_gw_lcr", POS, 128, "L", "Peers considered for one call")
    k("proxy.keep_original_to", YN, "no", "L", "Leaves the To of the caller as it is")
    k("proxy.set_ruri_to_peer_auth_realm", YN, "no", "L", "Request-URI host of calls to a peer is its authentication realm")
    k("proxy.skip_pbx_loop", YN, "no", "L", "Leaves the PBX pass out where it has nothing to do")
    k("proxy.store_recentcalls", YN, "no", "L", "Remembers the last call of each subscriber", aliases=[".store_recentcalls"])
    k("proxy.recentcalls.expire", POS, 3600, "L", "How long the last call is remembered", unit=SECONDS, aliases=["recentcalls.expire"])
    k("proxy.proxy_lookup", YN, "no", "L", "Looks for the callee's proxy")
    k("proxy.ignore_subscriber_allowed_clis", YN, "no", "L", "Does not check numbers that callers present")
    k("proxy.nonce_expire", POS, 300, "L", "Life of a digest nonce", unit=SECONDS)
    _peer_probe(k)
    k("proxy.lnp.enable", YN, "no", "L", "Looks up ported numbers")
    k("proxy.lnp.type", Enum(("local", "api")), "local", "L", "Where: own table or an interface of others")
    k("proxy.lnp.api.server", HOST, None, "N", "Server of that interface")
    k("proxy.lnp.api.port", PORT, None, "N", "Port of that interface")
    k("proxy.lnp.api.request_timeout", POS, 1000, "L", "Patience with that interface", unit="ms")
    k("proxy.lnp.api.keepalive_interval", POS, 3, "L", "Keepalive towards that interface", unit=SECONDS)
    k("proxy.tm.fr_timer", Int(100, 600_000), 9000, "L", "Patience until the first reply to a request", unit="ms")
    k("proxy.tm.fr_inv_timer", Int(1000, 3_600_000), 180000, "L", "Patience until the final reply to an INVITE", unit="ms")
    k("proxy.treat_600_as_busy", YN, "yes", "L", "600 counts as busy")
    k("proxy.usrloc_dbmode", Int(0, 3), 1, "I", "How registrations are kept")
    k("proxy.voicebox_first_caller_cli", YN, "yes", "L", "The voicebox shows the first caller of a forwarded call")
    k("proxy.report_mos", YN, "yes", "L", "Puts speech quality into accounting")
    k("proxy.syslog_options", YN, "yes", "L", "Logs OPTIONS too")
    k("proxy.latency_log_level", Int(-5, 10), 1, "I", "Level at which slow actions are logged")
    k("proxy.latency_limit_action", NAT, 100, "L", "An action slower than this is logged", unit="ms")
    k("proxy.latency_limit_db", NAT, 500, "L", "A database query slower than this is logged", unit="ms")
    k("proxy.latency_runtime_action", NAT, 1000, "L", "A request that takes longer than this is logged", unit="ms")
    k("proxy.pbx.hunt_display_fallback_format", LINE, "[H %s]", "L", "Display of hunted calls without a name")
    k("proxy.pbx.hunt_display_fallback_indicator", LINE, "[H]", "L", "Mark of hunted calls without a name")
    k("proxy.pbx.hunt_display_format", LINE, "[H %s]", "L", "Display of hunted calls")
    k("proxy.pbx.hunt_display_indicator", LINE, "[H]", "L", "Mark of hunted calls")
    k("proxy.pbx.hunt_display_maxlength", Int(1, 255), 8, "L", "Longest name in that display")
    k("proxy.pbx.ignore_cf_when_hunting", YN, "no", "L", "Members of a group do not forward hunted calls")


def _peer_probe(k: SectionBuilder) -> None:
    k("proxy.peer_probe.enable", YN, "yes", "L", "Asks peers regularly whether they are there")
    k("proxy.peer_probe.interval", POS, 10, "L", "Time between two questions", unit=SECONDS)
    k("proxy.peer_probe.timeout", POS, 5, "L", "Patience with the answer", unit=SECONDS)
    k("proxy.peer_probe.method", Enum(("OPTIONS", "INFO")), "OPTIONS", "L", "Method of the question")
    k("proxy.peer_probe.reply_codes",
      Text(r"(class=[1-6]|code=[1-6][0-9]{2})(;(class=[1-6]|code=[1-6][0-9]{2}))*", "class=N and code=NNN joined by ;"),
      "class=2;class=3;code=403;code=404;code=405", "L", "Replies that mean the peer is there")  # fmt: skip
    k("proxy.peer_probe.from_uri_user", NAME, "ping", "L", "User of the From")
    k("proxy.peer_probe.from_uri_domain", HOST, "probe.ngcp.local", "L", "Domain of the From")
    k(
        "proxy.peer_probe.unavailable_treshold",
        POS,
        1,
        "L",
        "Missed answers until a peer is taken out",
        aliases=[".proxy.peer_probe.unavailable_threshold"],
    )
    k("proxy.peer_probe.available_treshold", POS, 1, "L", "Answers until it is taken in again", aliases=[".proxy.peer_probe.available_threshold"])


def _rtpproxy() -> Section:
    k = SectionBuilder("rtpproxy", "Media relay (C.1.27)")
    k("enabled", YN, "yes", "R", "Runs the relay on nodes with role rtp")
    k("minport", Int(1024, 65535), 30000, "L", "First port for media on rtp_* addresses; even = RTP, the odd one after it RTCP; for new calls")
    k("maxport", Int(1024, 65535), 40000, "L", "Last port for media")
    k("allow_userspace_only", YN, "yes", "I", "Starts without forwarding in the kernel")
    k("rtp_timeout", POS, 60, "L", "Silence of the media after which a call ends", unit=SECONDS)
    k("rtp_timeout_onhold", POS, 3600, "L", "The same for calls on hold", unit=SECONDS)
    k("log_level", Int(0, 7), 6, "L", "Log of the relay, 7 = debug")
    k("final_timeout", NAT, 0, "L", "Longest life of a media session, 0 = any", unit=SECONDS)
    k("delete_delay", NAT, 30, "L", "Counters are kept so long after the end of a call", unit=SECONDS)
    k("max_sessions", Int(-1), -1, "L", "Media sessions at a time, -1 = any; further calls get 503")
    k("num_threads", POS, None, "I", "Threads of the relay")
    k("graphite_ip", HOST, None, "N", "Receiver of statistics")
    k("graphite_port", PORT, None, "N", "Its port")
    k("graphite_interval", POS, 60, "L", "Statistics every so often", unit=SECONDS)
    k("graphite_prefix", NAME, "", "L", "Prefix of their names")
    k("cdr_logging_facility", Enum(("", *FACILITY.values)), "", "L", "Syslog facility for a line per media session, empty = none")
    k("rtcp_logging_facility", Enum(("", *FACILITY.values)), "", "L", "Syslog facility for RTCP reports, empty = none")
    return k.done()


def _kamailio() -> Section:
    k = SectionBuilder("kamailio", "SIP edge (lb), registrar and call control (proxy) (C.1.14)")
    _lb(k)
    _proxy(k)
    return k.done()


def _small() -> list[Section]:
    qos = SectionBuilder("qos", "Marking of IP packets (C.1.22)")
    qos("tos_sip", Int(0, 255), 184, "B", "TOS byte of SIP packets, 184 = expedited forwarding")
    qos("tos_rtp", Int(0, 255), 184, "L", "TOS byte of media packets, for new streams")
    apps = SectionBuilder("apps", "Applications on top of calls")
    apps("malicious_call", YN, "no", "N", "Reports malicious calls on the subscriber's request")
    api = SectionBuilder("api", "REST interface")
    api("legacy_show_passwords", YN, "no", "L", "Shows passwords on the REST interface to users without that right")
    api("single_as_object", YN, "yes", "L", "A collection of one item holds an object and not an array, as clients of older releases expect")
    api("max_rows", NAT, 0, "L", "Most items on a page of a collection, 0 = any number")
    journal = SectionBuilder("api_journal", "Which changes made over the REST interface are kept in the journals of the objects")
    journal("content_format", Enum(("json", "json_deflate")), "json", "L", "How documents are kept; json_deflate compresses them")
    kept = List(Enum(("create", "update", "delete")))
    for name in JOURNALS:
        journal(name, kept, ["create", "update", "delete"], "L", f"Operations on {name} that are kept")
    mail = SectionBuilder("email", "Mails that the platform sends")
    mail("smtp_host", HOST, "127.0.0.1", "R", "Mail server that takes them without login")
    mail("smtp_port", PORT, 25, "R", "Its port")
    return [qos.done(), apps.done(), api.done(), journal.done(), mail.done()]


def sections() -> list[Section]:
    return [_general(), _kamailio(), _rtpproxy(), *_small()]


__all__ = ["CAUSES", "JOURNALS", "sections"]
