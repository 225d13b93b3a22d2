"""Declared settings: autoprov, ossbss (provisioning rules, SOAP), www_admin (panel, self-care, REST).

Configuration framework C.1.2, C.1.18, C.1.32.
"""

from __future__ import annotations

from ngcpd.config.declare import Section, SectionBuilder
from ngcpd.config.types import (
    B01,
    FACILITY,
    HOST,
    LINE,
    LOG4_LEVEL,
    MAIL,
    NAME,
    NAT,
    PATH,
    PORT,
    POS,
    REGEX,
    TEXT,
    YN,
    Enum,
    Int,
    List,
    Record,
)  # fmt: skip

CRT, KEY = "/etc/ngcp-config/ssl/myserver.crt", "/etc/ngcp-config/ssl/myserver.key"
API_CRT, API_KEY = "/etc/ngcp-config/ssl/api_ca.crt", "/etc/ngcp-config/ssl/api_ca.key"
APACHE_LEVEL = Enum(("emerg", "alert", "crit", "error", "warn", "notice", "info", "debug"))
LNP_COLUMNS = ["carrier_name", "carrier_prefix", "number", "routing_number", "start", "end", "authoritative", "skip_rewrite"]
FEE_COLUMNS = [
    "source", "destination", "direction", "zone", "zone_detail", "onpeak_init_rate", "onpeak_init_interval", "onpeak_follow_rate",
    "onpeak_follow_interval", "offpeak_init_rate", "offpeak_init_interval", "offpeak_follow_rate", "offpeak_follow_interval", "use_free_time",
]  # fmt: skip


def _autoprov() -> Section:
    k = SectionBuilder("autoprov", "Provisioning of telephones (C.1.2)")
    old = "deviceprovisioning."
    k(
        "hardphone.skip_vendor_redirect",
        YN,
        "no",
        "L",
        "Does not register devices at redirect services of vendors",
        aliases=[old + "skip_vendor_redirect"],
    )
    k("server.host", HOST, "localhost", "L", "Name in the addresses that devices get", aliases=[old + "host"])
    k("server.port", PORT, 1444, "B", "HTTPS port with client certificates", aliases=[old + "port"])
    k("server.bootstrap_port", PORT, 1445, "B", "HTTP port for the first contact", aliases=[old + "bootstrap_port"])
    k("server.ssl_enabled", YN, "yes", "B", "HTTPS on server.port", aliases=[old + "secure"])
    k("server.server_certfile", PATH, CRT, "L", "Certificate of the server, for new connections", aliases=[old + "server_certfile"])
    k("server.server_keyfile", PATH, KEY, "L", "Its key", aliases=[old + "server_keyfile"])
    k(
        "server.ca_certfile",
        PATH,
        "/etc/ngcp-config/ssl/client-auth-ca.crt",
        "L",
        "Authority of the devices' certificates",
        aliases=[old + "ca_certfile"],
    )
    k("softphone.config_lockdown", B01, 0, "L", "Locks the settings of the mobile application", aliases=[old + "softphone_lockdown"])
    k("softphone.webauth", B01, 0, "L", "The mobile application logs in with the web password", aliases=[old + "softphone_webauth"])
    return k.done()


def _ossbss() -> Section:
    k = SectionBuilder("ossbss", "Provisioning rules and the older SOAP interface (C.1.18)")
    k("enabled", YN, "no", "N", "The older SOAP and XML-RPC interface")
    k("apache.port", PORT, 2443, "B", "HTTPS port of that interface on web_int")
    k("apache.proxyluport", PORT, 1080, "I", "Port of an inner component")
    k("apache.serveradmin", MAIL, "support@sipwise.com", "L", "Mail address on error pages")
    k("apache.servername", LINE, '"myserver"', "L", "Server name")
    k("apache.sslcertfile", PATH, CRT, "L", "Certificate of the interface")
    k("apache.sslcertkeyfile", PATH, KEY, "L", "Its key")
    k("apache.restapi.sslcertfile", PATH, API_CRT, "L", "Authority that signs client certificates of the REST interface")
    k("apache.restapi.sslcertkeyfile", PATH, API_KEY, "L", "Its key")
    k("frontend", YN, "no", "I", "Switch of an inner component")
    k("htpasswd", List(Record({"user": NAME, "pass": NAME}, ("user", "pass"))), [], "L", "Users of the SOAP interface", secret=True)
    k("logging.ossbss.facility", FACILITY, "local0", "L", "Syslog facility of provisioning")
    k("logging.ossbss.identity", NAME, "provisioning", "L", "Name in syslog")
    k("logging.ossbss.level", LOG4_LEVEL, "DEBUG", "L", "Log level")
    k("logging.web.facility", FACILITY, "local0", "L", "Syslog facility of web pages")
    k("logging.web.level", LOG4_LEVEL, "DEBUG", "L", "Log level")
    k("logging.apache.err.facility", FACILITY, "local7", "L", "Syslog facility of errors of the web server")
    k("logging.apache.err.level", APACHE_LEVEL, "info", "L", "Log level")
    k("logging.apache.acc.facility", FACILITY, "daemon", "L", "Syslog facility of its accesses")
    k("logging.apache.acc.identity", NAME, "oss", "L", "Name in syslog")
    k("logging.apache.acc.level", APACHE_LEVEL, "info", "L", "Log level")
    p = "provisioning."
    k(p + "allow_ip_as_domain", B01, 1, "L", "An IPv4 address may be a SIP domain")
    k(p + "allow_numeric_usernames", B01, 0, "L", "SIP user names may be numbers")
    k(p + "auto_allow_cli", B01, 1, "L", "Numbers given to a subscriber are added to its allowed_clis", aliases=["numbermanagement.auto_allow_cli"])
    k(p + "auto_sync_cli", B01, 1, "L", "The primary number becomes the subscriber's cli", aliases=["numbermanagement.auto_sync_cli"])
    warning = Record({"domain": HOST, "recipients": List(MAIL), "threshold": NAT}, ("domain", "recipients", "threshold"))
    k(p + "credit_warnings", List(warning), [], "L", "Mails when a balance falls below a threshold in cents")
    k(p + "log_passwords", B01, 0, "L", "Has no effect: passwords are never logged")
    k(p + "no_logline_truncate", B01, 0, "L", "Does not shorten log lines")
    k(p + "pw_min_char", NAT, 6, "L", "Shortest SIP password", unit="characters")
    k(p + "faxpw_min_char", NAT, 0, "L", "Shortest fax password", unit="characters")
    k(p + "routing.cc_regex", REGEX, r"[1-9]\d{0,3}", "L", "What a country code looks like, matched whole")
    k(p + "routing.ac_regex", REGEX, r"[1-9]\d{0,4}", "L", "What an area code looks like, matched whole")
    k(p + "routing.sn_regex", REGEX, r"[1-9]\d+", "L", "What a subscriber number looks like, matched whole")
    k(p + "routing.internal_domain", HOST, "voip.sipwise.local", "L", "Internal SIP domain")
    k(p + "routing.no_such_number", NAME, "no_such_number", "L", "User that stands for unassigned numbers")
    k(p + "routing.voicebox_domain", HOST, "voicebox.local", "L", "Domain of forward targets in the voicebox")
    k(p + "routing.fax2mail_domain", HOST, "fax2mail.local", "L", "Domain of forward targets for fax to mail")
    k(p + "routing.conference_domain", HOST, "conference.local", "L", "Domain of forward targets in conferences")
    k(p + "carrier.account_distribution_function", NAME, "roundrobin", "N", "How accounts are spread over nodes")
    k(p + "carrier.prov_distribution_function", NAME, "roundrobin", "N", "How provisioning is spread over nodes")
    k(p + "tmpdir", PATH, "/tmp", "L", "Directory for temporary files")
    return k.done()


def _listeners(k: SectionBuilder) -> None:
    for site, port, words in (("http_admin", 1443, "administration and REST interface"), ("http_csc", 443, "self-care")):
        k(f"{site}.port", PORT, port, "B", f"HTTPS port of {words}")
        k(f"{site}.ssl_enable", YN, "yes", "B", "HTTPS; no = HTTP")
        k(f"{site}.sslcertfile", PATH, CRT, "L", "Certificate, for new connections")
        k(f"{site}.sslcertkeyfile", PATH, KEY, "L", "Its key")
        k(f"{site}.serveradmin", MAIL, "support@sipwise.com", "L", "Mail address on error pages")
        k(f"{site}.servername", LINE, '"myserver"', "L", "Server name")
        k(f"{site}.autoprov_port", PORT, 1444, "I", "See autoprov.server.port")
    k("http_csc.autoprov_bootstrap_port", PORT, 1445, "I", "See autoprov.server.bootstrap_port")
    k("http_csc.api", YN, "no", "B", "Serves the REST interface to customers on the port of self-care")
    k("single_listener", YN, "no", "L", "Lets administrators and subscribers log in on either port")
    k("ws_origins", List(NAME), [], "L", "Origins whose pages may open WebSockets, none = any")


def _www_admin() -> Section:
    k = SectionBuilder("www_admin", "Administration and self-care web (C.1.32)", aliases=("www_admin2",))
    k("enabled", YN, "yes", "R", "Runs the web sites on nodes with role mgmt")
    _listeners(k)
    k("fastcgi_workers", POS, 2, "I", "Worker processes")
    k("contactmail", MAIL, "adjust@example.org", "L", "Mail address on error and help pages", aliases=["contact.email"])
    shown = {"billing": 1, "peering": 1, "voicemail": 1, "fax": 1, "conference": 1, "callingcard": 0, "callthru": 0}
    panel = {
        "fax": "features.faxserver",
        "conference": "features.conference",
        "callingcard": "features.callingcard",
        "callthru": "features.callthrough",
    }
    for name, default in shown.items():
        k(f"{name}_features", B01, default, "L", f"Shows pages and fields of {name}", aliases=[panel[name]] if name in panel else [])
    k("cc_dial_prefix", NAME, "00", "L", "Prefix of international numbers")
    k("ac_dial_prefix", NAME, "0", "L", "Prefix of national numbers")
    k("dashboard.enabled", B01, 1, "L", "Shows the dashboard")
    for flag, default, words in (
        ("is_master", 0, "may manage administrators"), ("is_active", 1, "is active"), ("read_only", 0, "may only look"),
        ("show_passwords", 1, "sees passwords"), ("call_data", 0, "sees calls"),
    ):  # fmt: skip
        k(f"default_admin_settings.{flag}", B01, default, "L", f"A new administrator {words}")
    k("domain.preference_features", B01, 1, "L", "Shows preferences of domains")
    k("domain.rewrite_features", B01, 1, "L", "Shows rewrite rules of domains")
    k("domain.vsc_features", B01, 0, "L", "Shows service codes of domains")
    k("peer.preference_features", B01, 1, "L", "Shows preferences of peers")
    k("subscriber.auto_allow_cli", B01, 0, "L", "Setting of the older panel; see ossbss.provisioning.auto_allow_cli")
    k("subscriber.extension_features", B01, 0, "L", "Shows extensions of subscribers")
    k("fees_csv.element_order", List(NAME), FEE_COLUMNS, "L", "Columns of fee files")
    k("voucher_csv.element_order", List(NAME), ["code", "amount", "valid_until", "customer_id", "package_id"], "L", "Columns of voucher files")
    k("lnp_csv.element_order", List(NAME), LNP_COLUMNS, "L", "Columns of files of ported numbers")
    k("speed_dial_vsc_presets.vsc", List(NAME), [f"*{n}" for n in range(10)], "L", "Slots offered for speed dial")
    _security(k)
    k("logging.apache.acc.facility", FACILITY, "daemon", "L", "Syslog facility of accesses")
    k("logging.apache.acc.identity", NAME, "oss", "L", "Name in syslog")
    k("logging.apache.acc.level", APACHE_LEVEL, "info", "L", "Log level of accesses")
    k("logging.apache.err.facility", FACILITY, "local7", "L", "Syslog facility of errors")
    k("logging.apache.err.level", APACHE_LEVEL, "info", "L", "Log level of errors")
    k("logging.clear_passwords", B01, 0, "L", "Has no effect: passwords are never logged")
    return k.done()


def _security(k: SectionBuilder) -> None:
    rows: tuple[tuple[str, int, str], ...] = (
        ("password_musthave_lowercase", 1, "A password needs a lower-case letter"),
        ("password_musthave_uppercase", 0, "A password needs an upper-case letter"),
        ("password_musthave_digit", 0, "A password needs a digit"),
        ("password_musthave_specialchar", 0, "A password needs a special character"),
        ("password_sip_autogenerate", 0, "Makes SIP passwords itself"),
        ("password_web_autogenerate", 0, "Makes web passwords itself"),
        ("password_sip_expose_subadmin", 1, "Customer administrators see SIP passwords"),
        ("password_web_expose_subadmin", 1, "Customer administrators see web passwords"),
        ("password_allow_recovery", 0, "Offers to reset a forgotten web password"),
    )
    k("security.password_min_length", Int(1, 255), 6, "L", "Shortest password", unit="characters", aliases=["security.password_min_length"])
    k("security.password_max_length", Int(1, 255), 40, "L", "Longest password", unit="characters", aliases=["security.password_max_length"])
    for path, default, meaning in rows:
        k(f"security.{path}", B01, default, "L", meaning, aliases=[f"security.{path}"])


def _panel() -> list[Section]:
    """Settings of the panel that the appendix does not have."""
    features = SectionBuilder("features", "Switches of the panel")
    features("callflow", B01, 0, "L", "Shows call flows")
    features("multidomain", B01, 1, "L", "Looks subscribers up by user and domain")
    features("cloudpbx", B01, 0, "L", "Shows pages of the cloud PBX")
    features("musiconhold", B01, 0, "L", "Shows music on hold")
    features("mobilepush", B01, 0, "L", "Shows prompts of mobile push")
    features("voucher", B01, 0, "L", "Shows vouchers")
    features("malicious_call", B01, 0, "L", "Shows malicious calls")
    features("debug", B01, 0, "L", "Tells devices more on errors")
    appearance = SectionBuilder("appearance", "Looks of the panel")
    appearance("force_language", NAME, "", "L", "Language where neither session nor cookie has one")
    appearance("cdr_apply_vat", B01, 0, "L", "Shows the cost of calls with tax")
    profiles = SectionBuilder("profile_sets", "Rights on subscriber profiles")
    profiles("reseller_edit", B01, 1, "L", "Resellers may change profile sets")
    vouchers = SectionBuilder("vouchers", "Encryption of voucher codes")
    vouchers("key", TEXT, "", "L", "Key, 16 bytes", secret=True)
    vouchers("iv", TEXT, "", "L", "Initialisation vector, 16 bytes", secret=True)
    return [s.done() for s in (features, appearance, profiles, vouchers)]


def sections() -> list[Section]:
    return [_autoprov(), _ossbss(), _www_admin(), *_panel()]
