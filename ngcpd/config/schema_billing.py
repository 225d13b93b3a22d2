"""Declared settings: cdrexport, mediator, rateomat (configuration framework C.1.5, C.1.15, C.1.23) and constants.yml (11)."""

from __future__ import annotations

from ngcpd.config.declare import Section, SectionBuilder
from ngcpd.config.types import B01, HOST, NAME, NAT, PATH, PORT, POS, TEXT, YN, List, Record, Text


def _cdrexport() -> Section:
    k = SectionBuilder("cdrexport", "Export of call records (C.1.5)")
    k("exportpath", PATH, "/home/jail/home/cdrexport", "L", "Root directory of the files")
    k("daily_folder", YN, "yes", "L", "Sub-folders by day")
    k("monthly_folder", YN, "yes", "L", "Sub-folders by month")
    k("full_names", YN, "yes", "L", "The date in file names too", aliases=[".full_filenames"])
    k("export_failed", YN, "no", "L", "Unsuccessful calls too")
    k("export_incoming", YN, "no", "L", "Calls from peers without a local caller too")
    k("admin_export_fields", List(TEXT), [], "L", "Columns of the operator's files, none = the built-in list")
    k("reseller_export_fields", List(TEXT), [], "L", "Columns of the resellers' files, none = the built-in list")
    join = Record({"table": NAME, "alias": NAME, "key_column": NAME, "reference_column": NAME}, ("table", "alias", "key_column", "reference_column"))
    condition = Record({"column": NAME, "operand": NAME, "compare_value": TEXT}, ("column", "operand", "compare_value"))
    k("export_joins", List(join), [], "L", "Further tables joined to the records")
    k("export_conditions", List(condition), [], "L", "Which records are exported")
    k("fileprefix", Text(r"[A-Za-z0-9_.-]*", "letters, digits, _ . -"), "sipwise", "L", "Prefix of file names")
    k("version", Text(r"[0-9]{3}", "three digits"), "007", "L", "Version in file names")
    k("dbuser", NAME, "exporter", "I", "Database account of other systems, not used")
    k("dbpassword", NAME, "", "I", "Its password", secret=True)
    return k.done()


def _mediator() -> Section:
    k = SectionBuilder("mediator", "Call records from call events (C.1.15)")
    k("enabled", YN, "yes", "L", "Makes call records")
    k("interval", POS, 10, "L", "Events that could not be matched at once are tried again every so often", unit="s")
    for name, default in (("srcdbname", "kamailio"), ("destdbname", "accounting"), ("provdbname", "provisioning"), ("dbuser", "mediator")):
        k(name, NAME, default, "I", "Setting of other systems, not used")
    k("dbpassword", NAME, "", "I", "Setting of other systems, not used", secret=True)
    return k.done()


def _rateomat() -> Section:
    k = SectionBuilder("rateomat", "Rating (C.1.23)", aliases=("rate-o-mat",))
    k("enable", YN, "yes", "L", "Rates call records")
    k("daemonize", YN, "yes", "I", "Runs in the background")
    k("loopinterval", POS, 10, "L", "Looks for unrated records every so often", unit="s")
    k("splitpeakparts", B01, 0, "L", "Splits records at the borders of peak times")
    for name in ("billing", "accounting", "provisioning"):
        k(f"{name}db.name", NAME, name, "I", f"Name of schema {name}")
        k(f"{name}db.user", NAME, "rateomat", "I", "Database account of other systems, not used")
        k(f"{name}db.pass", NAME, "", "I", "Its password", secret=True)
    return k.done()


def _accounts(name: str, title: str, pairs: tuple[tuple[str, str], ...], extra: tuple[tuple[str, str], ...] = ()) -> Section:
    k = SectionBuilder(name, title, "constants.yml")
    for path, default in extra:
        k(path, NAME, default, "I", "Setting of another component, not used")
    for user, password in pairs:
        k(user, NAME, "", "I", "Account of another component, not used")
        k(password, NAME, "", "I", "Its password", secret=True)
    return k.done()


def constants() -> list[Section]:
    """Sections that live in constants.yml only."""
    one = (("dbuser", "dbpassword"),)
    framework = SectionBuilder("configuration_framework", "Versions of the files (configuration framework 11)", "constants.yml")
    framework("constants_version", NAT, 1, "R", "Version of constants.yml; a newer one than known is refused")
    framework("config_version", NAT, 1, "R", "Version of config.yml; a newer one than known is refused")
    check = SectionBuilder("checktools", "Accounts of monitoring", "constants.yml")
    check("dbuser", NAME, "nagios", "I", "Database account of other systems, not used")
    check("dbpassword", NAME, "", "I", "Its password", secret=True)
    check("sipuser", NAME, "", "L", "SIP user of the self check")
    check("sipdomain", NAME, "", "L", "Its domain")
    check("sip_check_ip", NAME, "", "L", "Address the self check is sent to")
    check("sippass", NAME, "", "L", "Password of that user", secret=True)
    odbc = ("odbc.dbuser", "odbc.dbpassword")
    return [
        framework.done(), check.done(), _database(),
        _accounts("cleanuptools", "Accounts", one),
        _accounts("asterisk", "Accounts", (odbc,), (("odbc.dbname", "asterisk"),)),
        _accounts("sems", "Accounts", (*one, ("prepaid_dbuser", "prepaid_dbpassword"))),
        _accounts("prosody", "Accounts", one, (("dbname", "prosody"),)),
        _accounts("rsyslog", "Accounts", one, (("dbname", "syslog"), ("rotate_days", "28"))),
        _accounts("reminder", "Accounts", one, (("context", "reminder"), ("sip_peer", "sip_proxy"))),
        _accounts("faxserver", "Accounts", (("amanager_user", "amanager_pass"),)),
        _accounts("voisniff", "Accounts", one),
        _accounts("ldap", "Directory server", (*one, ("rootdn", "rootpwd")), (("enabled", "no"), ("ip", ""), ("port", ""), ("tls", ""))),
        _accounts("mysql", "Replication", (("repuser", "reppassword"),)),
        _accounts("kamailio", "Accounts",
                  tuple((f"{p}.{u}", f"{p}.{w}") for p in ("proxy", "lb") for u, w in (("dbrwuser", "dbrwpw"), ("dbrouser", "dbropw"))),
                  (("proxy.dbname", "kamailio"), ("lb.dbname", "kamailio"), ("proxy.dbhost", "localhost"), ("lb.dbhost", "localhost"))),
        _accounts("ossbss", "Accounts", tuple((f"provisioning.{p}.user", f"provisioning.{p}.pass") for p in ("database", "billingdb", "openserdb")),
                  (("provisioning.database.name", "provisioning"), ("provisioning.billingdb.name", "billing"),
                   ("provisioning.openserdb.name", "kamailio"))),
    ]  # fmt: skip


def _database() -> Section:
    k = SectionBuilder("database", "Database hosts, not used; see ngcpd.database.url", "constants.yml")
    for name, port, words in (
        ("central", 3306, "provisioning and billing"),
        ("pair", 3306, "accounting and registrations"),
        ("local", 3308, "the local replica"),
    ):
        k(f"{name}.dbhost", HOST, "localhost", "I", f"Host of {words}")
        k(f"{name}.dbport", PORT, port, "I", f"Port of {words}")
    k("central.dbmaster", HOST, "localhost", "I", "Where provisioning and billing are written")
    k("debian.dbuser", NAME, "debian-sys-maint", "I", "Account of the package system")
    k("debian.dbpassword", NAME, "", "I", "Its password", secret=True)
    return k.done()


def sections() -> list[Section]:
    return [_cdrexport(), _mediator(), _rateomat()]
