"""Declared settings of section `ngcpd`: what the daemon has beyond the configuration framework."""

from __future__ import annotations

from ngcpd.config.declare import Section, SectionBuilder
from ngcpd.config.types import HOST, LINE, PATH, SOCKET, YN, Enum, Float, Int, List, Table, Text

LOG_LEVEL = Enum(("debug", "info", "warning", "error", "off"))
URL = Text(r"[a-z0-9+]+:\S*", "an address such as mysql+pymysql://user:password@host/database", 1024)
ORIGIN = Text(r"null|([a-z][a-z0-9+.-]*://)?[^\s/]+", "an origin such as https://phone.example:8443, or a host name", 300)
MS = "ms"


def _paths() -> Section:
    k = SectionBuilder("ngcpd", "The daemon itself: places and keys", "constants.yml")
    k(
        "state_dir",
        PATH,
        "/var/lib/ngcpd",
        "R",
        "Directory of everything the daemon keeps; relative paths count from above the configuration directory",
    )
    k("secrets_file", PATH, None, "R", "Keys for passwords, nonces and web sessions; none = secrets.yml in the state directory")
    k("control_socket", PATH, None, "R", "UNIX socket for ngcpctl; none = ngcpd.ctl in the state directory")
    k("database.url", URL, None, "R", "Database; none = SQLite file ngcpd.db in the state directory", secret=True)
    k("redis.url", URL, None, "R", "Redis server, redis://[:password@]host[:port][/number]; none = kept in the process", secret=True)
    return k.done()


def _store(k: SectionBuilder) -> None:
    k("database.threads", Int(1, 64), 8, "R", "Threads for database work")
    k("threads", Int(1, 64), 4, "R", "Threads for slow disk work")
    k("journal.sync_interval", Int(1, 10_000), 50, "R", "The journal reaches the disk at most so late", unit=MS)
    k("journal.batch", Int(1, 10_000), 500, "R", "Records written to the database at once")
    k("journal.segment_size", Int(1, 4096), 16, "R", "Size of one journal file", unit="MB")
    k("directory.cache", Int(100, 10_000_000), 100_000, "R", "Subscribers kept in memory")


def _sip(k: SectionBuilder) -> None:
    k("sip.listen", List(SOCKET), [], "B", "Listeners instead of those that network.yml and kamailio.lb give; none = as they say")
    k("sip.names", List(HOST), [], "L", "Further host names of this platform in request URIs, such as the one that phones have as their proxy")
    k("sip.t1", Int(10, 5000), 500, "L", "T1 of RFC 3261: estimate of the round trip", unit=MS)
    k("sip.t2", Int(100, 60_000), 4000, "L", "T2: longest interval between repetitions", unit=MS)
    k("sip.t4", Int(100, 60_000), 5000, "L", "T4: how long a message stays in the network", unit=MS)
    k("sip.linger", Int(0, 300_000), 32_000, "L", "Timer D: how long a finished INVITE transaction absorbs repetitions", unit=MS)
    k("sip.max_message", Int(1500, 1 << 20), 65_535, "L", "Largest message", unit="bytes")
    k("sip.max_transactions", Int(100, 10_000_000), 200_000, "L", "Transactions at a time; further requests get 503")
    k("sip.connect_timeout", Int(1, 60), 10, "L", "Patience with a new TCP or TLS connection", unit="s")
    k("sip.idle_timeout", Int(10, 86_400), 3900, "L", "A connection without traffic is closed after this", unit="s")
    k("sip.tls_verify", YN, "no", "L", "Verifies certificates of servers the daemon connects to")
    k("sip.qop", Enum(("none", "auth")), "none", "L", "Quality of protection in digest challenges; none = the form every phone knows")
    k("sip.sha256", YN, "no", "L", "Offers SHA-256 before MD5 in digest challenges")
    k("sip.websocket", YN, "yes", "R", "The TCP and TLS ports also take SIP over WebSocket, at the paths /ws and /")
    k("sip.ws_origins", List(ORIGIN), [], "R", "Origins of web pages that may connect by WebSocket; none = all. With a list others get 403")
    k("sip.ws_ping_interval", Int(0, 3600), 25, "R", "A WebSocket is pinged every so often, closed after two unanswered pings; 0 = never", unit="s")
    k("sip.server_header", LINE, "ngcpd", "L", "Server header of replies, empty = none")


def _calls(k: SectionBuilder) -> None:
    k("calls.max_calls", Int(0, 10_000_000), 0, "L", "Calls at a time, further ones get 503; 0 = any number")
    k("calls.max_branches", Int(1, 100), 16, "L", "Devices rung at the same time for one call")
    k("calls.traces", Int(0, 1_000_000), 1000, "L", "Finished calls whose decisions can still be shown")
    k("calls.shutdown_timeout", Float(0.5, 60), 4, "L", "How long a stop waits for the goodbyes of calls", unit="s")


def _media(k: SectionBuilder) -> None:
    k("media.quarantine", Float(0, 600), 1, "R", "A released port rests so long", unit="s")
    k(
        "media.learning_window",
        Float(0, 600),
        10,
        "R",
        "So long after the start a stream may take over the source address it really comes from",
        unit="s",
    )
    k("media.batch", Int(1, 1000), 256, "R", "Port pairs that a relay process binds ahead")


def _rest(k: SectionBuilder) -> None:
    k("log.level", LOG_LEVEL, "info", "L", "Level of the log")
    k("log.rooms", Table(LOG_LEVEL), None, "L", "Level of single rooms, e.g. sip: debug")


def sections() -> list[Section]:
    k = SectionBuilder("ngcpd", "The daemon itself")
    _store(k)
    _sip(k)
    _calls(k)
    _media(k)
    _rest(k)
    return [k.done()]


def constants() -> list[Section]:
    return [_paths()]
