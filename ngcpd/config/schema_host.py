"""Declared settings of host jobs, monitoring and optional components: backuptools, bootenv, checktools, cleanuptools, database, haproxy,
heartbeat, intercept, nginx, ntp, redis, rsyslog, security, sshd, voisniff and what is found outside of the appendix. Configuration framework C.1."""

from __future__ import annotations

from ngcpd.config.declare import Section, SectionBuilder
from ngcpd.config.types import (
    B01,
    HOST,
    IP,
    LINE,
    MAIL,
    NAME,
    NAT,
    PATH,
    PORT,
    POS,
    SIZE,
    SYSLOG_LEVEL,
    TEXT,
    YN,
    AnyTree,
    Enum,
    Float,
    Int,
    List,
    Record,
    Table,
    Text,
)  # fmt: skip


def _backuptools() -> Section:
    k = SectionBuilder("backuptools", "Daily backup, a job of the host (C.1.3)")
    for what, words in (("mysql_backup", "the databases"), ("etc_backup", "/etc"), ("cdrexport_backup", "exported call records")):
        k(f"{what}.enable", YN, "no", "H", f"Saves {words}")
    k("mysql_backup.exclude_dbs", LINE, "syslog sipstats information_schema", "H", "Databases left out, with blanks between")
    k("mail.address", MAIL, "noc@company.org", "H", "Receiver of reports")
    k("mail.error_subject", LINE, "[ngcp-backup] Problems detected during daily backup", "H", "Subject of error reports")
    k("mail.log_subject", LINE, "[ngcp-backup] Daily backup report", "H", "Subject of daily reports")
    k("mail.send_errors", YN, "no", "H", "Mails errors")
    k("mail.send_log", YN, "no", "H", "Mails a daily report")
    k("rotate_days", POS, 7, "H", "Files older than this are deleted", unit="days")
    k("storage_dir", PATH, "/var/backup/ngcp_backup", "H", "Where backups are kept")
    k("temp_backup_dir", PATH, "/tmp/ngcp_backup", "H", "Where they are made")
    return k.done()


def _bootenv() -> Section:
    k = SectionBuilder("bootenv", "Installation of nodes over the network (C.1.4)")
    k("dhcp.enable", YN, "no", "N", "DHCP on boot_int")
    k("dhcp.boot", PATH, "/srv/tftp/pxelinux.0", "N", "Boot file")
    k("dhcp.expire", Text(r"[0-9]+[smhd]?", "a time such as 12h"), "12h", "N", "Lease time")
    k("dhcp.start", IP, "192.168.1.101", "N", "First address of the pool")
    k("dhcp.end", IP, "192.168.1.199", "N", "Last address of the pool")
    k("ro_port", PORT, 9998, "N", "Port of the read-only package mirror")
    k("rw_port", PORT, 9999, "N", "Port of the caching package mirror")
    k("tftp.enable", YN, "yes", "N", "TFTP on boot_int")
    k("tftp.root", PATH, "/srv/tftp", "N", "Directory of TFTP")
    return k.done()


def _checktools() -> Section:
    k = SectionBuilder("checktools", "Monitoring (C.1.6)")
    shares = {
        "collcheck.cpuidle": (0.1, "Alarm when the idle share of the processor is below"),
        "collcheck.dfused": (0.9, "Alarm when the used share of a file system is above"),
        "collcheck.memused": (0.7, "Alarm when the used share of memory is above"),
        "collcheck.swapfree": (0.02, "Alarm when the free share of swap is below"),
    }
    k.many(Float(0, 1), "L", shares)
    for path, default, minutes in (("loadshort", 3, 1), ("loadmedium", 2, 5), ("loadlong", 2, 15)):
        k(f"collcheck.{path}", Float(0, 1000), default, "L", f"Alarm when the load average of {minutes} min, per core, is above")
    k("collcheck.maxage", POS, 600, "L", "Older data count as stale", unit="s")
    k("collcheck.siptimeout", POS, 15, "L", "Patience of the SIP check", unit="s")
    k("collcheck.eximmaxqueue", NAT, 15, "L", "Alarm when more mails wait", unit="mails")
    switches = {
        "force": (0, "Checks the standby node too"), "sip_check_enable": (1, "Sends itself OPTIONS through the whole chain"),
        "mysql_check_enable": (1, "Checks the database"), "mysql_check_replication": (1, "Checks replication"),
        "exim_check_enable": (0, "Checks the mail queue"), "kamailio_check_dialog_active_enable": (1, "Counts active calls"),
        "kamailio_check_dialog_early_enable": (0, "Counts ringing calls"), "kamailio_check_dialog_local_enable": (0, "Counts local calls"),
        "kamailio_check_dialog_relay_enable": (0, "Counts calls from peer to peer"),
        "kamailio_check_dialog_incoming_enable": (0, "Counts calls from peers"),
        "kamailio_check_dialog_outgoing_enable": (0, "Counts calls to peers"),
        "kamailio_check_usrloc_regusers_enable": (1, "Counts registered subscribers"),
        "kamailio_check_usrloc_regdevices_enable": (0, "Counts contacts"), "oss_check_provisioned_subscribers_enable": (1, "Counts subscribers"),
        "sipstats_check_num_packets": (0, "Counts captured packets"), "sipstats_check_num_packets_perday": (0, "Counts captured packets per day"),
        "sipstats_check_partition_size": (0, "Watches the size of the capture"), "asr_ner_statistics": (1, "Computes answer and network ratios"),
    }  # fmt: skip
    k.many(B01, "L", switches)
    k("mpt_check_enable", B01, 0, "I", "Checks RAID controllers")
    k("mysql_replicate_check_interval", POS, 3600, "N", "Tables of a pair are compared every so often", unit="s")
    k("mysql_replicate_check_tables", List(NAME), [], "N", "Tables that are compared")
    k("mysql_replicate_ignore_tables", List(NAME), [], "N", "Tables that are not")
    sources = List(Text(r"\S+", "an address, a network or a host name"))
    k("snmpd.communities", Table(sources), {"public": ["localhost"]}, "L", "SNMP community -> sources that may ask", secret=True)
    k("snmpd.trap_communities", Table(sources), {"public": ["localhost"]}, "L", "SNMP community -> receivers of traps", secret=True)
    return k.done()


def _cleanuptools() -> Section:
    k = SectionBuilder("cleanuptools", "Nightly cleanup (C.1.7)")
    k("acc_cleanup_days", POS, 90, "L", "Raw call events older than this are deleted", unit="days")
    k("trash_cleanup_days", POS, 30, "L", "Rejected and processed events older than this are deleted", unit="days")
    k("cdr_backup_months", POS, 6, "L", "Call records stay so long in the main table", unit="months")
    k("cdr_backup_retro", POS, 3, "L", "Older months that one run moves", unit="months")
    k("cdr_archive_months", POS, 12, "L", "Monthly tables older than this are dumped and dropped", unit="months")
    k("archive_targetdir", PATH, "/var/backups/cdr", "L", "Directory of the dumps; /dev/null = drop without a dump")
    k("compress", Enum(("gzip", "")), "gzip", "L", "Compression of the dumps, empty = none")
    k("sql_batch", Int(), 10000, "L", "Rows of one statement, 0 or less = all")
    k("binlog_days", NAT, 15, "H", "The database's binary log is kept so long", unit="days")
    k("delete_old_voicemails", NAT, 0, "L", "Voice messages older than this are deleted, 0 = never", unit="days")
    return k.done()


def _cluster() -> list[Section]:
    database = SectionBuilder("database", "Database server (C.1.8, constants)")
    database("bufferpoolsize", SIZE, "64M", "H", "Buffer pool of InnoDB")
    haproxy = SectionBuilder("haproxy", "Front end of the database on large sites (C.1.11)")
    haproxy("enable", YN, "no", "N", "Database front end")
    haproxy("admin", YN, "no", "N", "Page with statistics")
    haproxy("admin_port", PORT, 8080, "N", "Its port")
    haproxy("admin_iface", NAME, "", "N", "Its interface")
    haproxy("admin_pass", NAME, "", "N", "Its password", secret=True)
    heartbeat = SectionBuilder("heartbeat", "Heartbeat of a pair (C.1.12)")
    heartbeat("port", PORT, 694, "B", "UDP port between the two nodes")
    heartbeat("pingnodes", List(HOST), [], "L", "Outside addresses that prove the own connection; none = gateway and resolvers")
    heartbeat("hb_watchdog.enable", YN, "yes", "L", "Watches for a split pair")
    heartbeat("hb_watchdog.action_max", POS, 5, "L", "Failures until it acts")
    heartbeat("hb_watchdog.interval", POS, 10, "L", "Time between checks", unit="s")
    heartbeat("hb_watchdog.transition_max", POS, 10, "L", "Checks it tolerates a change of state")
    redis = SectionBuilder("redis", "Cache server (C.1.24), not used; see ngcpd.redis.url")
    redis("enabled", YN, "yes", "I", "Runs the cache server")
    redis("port", PORT, 6379, "I", "Its port on ha_int")
    redis("database_amount", POS, 16, "I", "Number of its databases")
    redis("syslog_ident", NAME, "redis", "I", "Its name in syslog")
    sets = SectionBuilder("cluster_sets", "Sets of nodes on large sites (configuration framework 9.6)")
    sets("type", Enum(("central", "distributed")), "central", "N", "Whether a node serves its own site only")
    sets("default_set", NAME, "default", "L", "Set for everything that names none")
    return [s.done() for s in (database, haproxy, heartbeat, redis, sets)]


def _intercept_and_web() -> list[Section]:
    intercept = SectionBuilder("intercept", "Lawful interception (C.1.13)")
    intercept("enabled", YN, "no", "N", "Interception agent")
    intercept("captagent.port", PORT, 18090, "N", "Port of the agent")
    intercept("captagent.schema", Enum(("http", "https")), "http", "N", "Scheme of the agent")
    nginx = SectionBuilder("nginx", "Web front end (C.1.16)")
    nginx("enabled", YN, "yes", "I", "Reverse proxy")
    nginx("status_port", PORT, 8081, "B", "Local status page")
    nginx("xcap_port", PORT, 1080, "B", "XCAP on web_ext")
    ntp = SectionBuilder("ntp", "Time (C.1.17)")
    ntp("servers", List(HOST), [f"{n}.debian.pool.ntp.org" for n in range(4)], "H", "Time servers")
    security = SectionBuilder("security", "Hardening of platform scripts (C.1.28)")
    security("ngcp_panel.scripts.restapi.sslverify", YN, "yes", "L", "Platform scripts verify the certificate of the REST interface")
    security("firewall.enable", YN, "no", "N", "Generates a packet filter")
    sshd = SectionBuilder("sshd", "Remote shell (C.1.30)")
    sshd("listen_addresses", List(IP), [], "H", "Addresses besides those of ssh_ext")
    return [s.done() for s in (intercept, nginx, ntp, security, sshd)]


def _rsyslog() -> Section:
    k = SectionBuilder("rsyslog", "System log (C.1.26)")
    k("external_log", B01, 0, "H", "Sends logs to another host")
    k("external_address", HOST, "192.168.32.1", "H", "That host")
    k("external_port", PORT, 514, "H", "Its port")
    k("external_proto", Enum(("udp", "tcp")), "udp", "H", "Protocol")
    k("external_loglevel", SYSLOG_LEVEL, "warning", "H", "Lowest severity that is sent")
    k("ngcp_logs_preserve_days", POS, 93, "H", "Rotated logs are kept so long", unit="days")
    k("elasticsearch.enable", YN, "no", "N", "Stores logs in a search server")
    k("elasticsearch.action", Table(TEXT), None, "N", "Its action settings")
    k("elasticsearch.bulkmode", NAME, "on", "N", "Sends in bulk")
    k("elasticsearch.dynSearchIndex", NAME, "on", "N", "Index by date")
    k("elasticsearch.queue", Table(TEXT), None, "N", "Its queue settings")
    return k.done()


def _voisniff() -> Section:
    k = SectionBuilder("voisniff", "Capture of SIP messages (C.1.31)")
    k("admin_panel", YN, "no", "L", "Shows call flows in the administration")
    k("daemon.start", YN, "no", "N", "Captures")
    k("daemon.external_interfaces", LINE, "eth0 eth1", "I", "Outer interfaces")
    k("daemon.internal_interfaces", LINE, "lo", "I", "Inner interfaces")
    k("daemon.custom_bpf", LINE, "", "I", "Filter of the capture")
    k("daemon.filter.include", List(TEXT), [], "L", "Patterns of what is stored")
    k("daemon.filter.exclude", List(TEXT), [], "L", "Patterns of what is not")
    k("daemon.mysql_dump.enable", YN, "yes", "L", "Stores in the database")
    k("daemon.mysql_dump.max_query_len", POS, 67108864, "I", "Longest statement", unit="bytes")
    k("daemon.mysql_dump.num_threads", POS, 4, "I", "Threads that store")
    k("daemon.threads_per_interface", POS, 10, "I", "Threads that capture")
    k("partitions.increment", POS, 700000, "L", "Rows of one partition")
    k("partitions.keep", POS, 10, "L", "Partitions that are kept")
    return k.done()


def _outside() -> list[Section]:
    """Sections met in the field that are not in the appendix."""
    turn = SectionBuilder("turnserver", "TURN server")
    turn("enabled", YN, "no", "N", "TURN server", aliases=[".enable"])
    tester = SectionBuilder("sipwise", "Settings of tests")
    tester("system_tester", AnyTree(), None, "I", "Overrides of tests")
    csc = SectionBuilder("www_csc", "The older self-care")
    for path in ("start", "port", "csc"):
        csc(path, AnyTree(), None, "I", "Setting of the older self-care")
    return [turn.done(), tester.done(), csc.done()]


CLUSTER_SET = Record({"dispatcher_id": Int(1, 65535)}, ("dispatcher_id",))
"""Every other key of `cluster_sets` is the name of a set."""


def sections() -> list[Section]:
    return [_backuptools(), _bootenv(), _checktools(), _cleanuptools(), *_cluster(), *_intercept_and_web(), _rsyslog(), _voisniff(), *_outside()]


__all__ = ["CLUSTER_SET", "sections"]
