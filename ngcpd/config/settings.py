"""The settings as typed, frozen values.

Attributes cover what code is written against, with units as the reference says; `Settings.get` has every declared key.
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from ngcpd.config.problems import Mark
from ngcpd.config.tree import Map, Plain, plain
from ngcpd.config.types import SocketAddress


@dataclass(frozen=True)
class General:
    adminmail: str
    companyname: str
    lang: str


@dataclass(frozen=True)
class Tls:
    enable: bool
    port: int
    sslcertfile: str
    sslcertkeyfile: str


@dataclass(frozen=True)
class LbSecurity:
    dos_ban_enable: bool
    dos_sampling_time_unit: int
    dos_reqs_density_per_unit: int
    dos_ban_time: int
    dos_whitelisted_ips: tuple[str, ...]
    dos_whitelisted_subnets: tuple[str, ...]
    failed_auth_ban_enable: bool
    failed_auth_attempts: int
    failed_auth_ban_time: int


@dataclass(frozen=True)
class Lb:
    start: bool
    port: int
    tls: Tls
    extra_sockets: Mapping[str, SocketAddress]
    external_sbc: tuple[str, ...]
    max_forwards: int
    nattest_exception_ips: tuple[str, ...]
    use_dns_cache: bool
    tcp_max_connections: int
    debug: bool
    security: LbSecurity


class Reject(NamedTuple):
    """Final reply of a reject cause."""

    code: int
    reason: str


@dataclass(frozen=True)
class LoopDetection:
    enable: bool
    expire: int
    max: int


@dataclass(frozen=True)
class Tm:
    fr_timer: int
    fr_inv_timer: int


@dataclass(frozen=True)
class Proxy:
    start: bool
    port: int
    default_expires: int
    default_expires_range: int
    min_expires: int
    max_expires: int
    max_registrations_per_subscriber: int
    drop_oldest_registration: bool
    natping_interval: int
    natping_from: str
    ignore_auth_realm: bool
    authenticate_bye: bool
    allow_info_method: bool
    allow_msg_method: bool
    allow_refer_method: bool
    allow_peer_relay: bool
    always_anonymize_from_user: bool
    keep_original_to: bool
    cf_depth_limit: int
    dlg_timeout: int
    filter_100rel_from_supported: bool
    filter_failover_response: str
    nonce_expire: int
    treat_600_as_busy: bool
    loop_detection: LoopDetection
    tm: Tm
    early_rejects: Mapping[str, Reject]


@dataclass(frozen=True)
class Kamailio:
    lb: Lb
    proxy: Proxy


@dataclass(frozen=True)
class Rtpproxy:
    enabled: bool
    minport: int
    maxport: int
    rtp_timeout: int
    rtp_timeout_onhold: int
    final_timeout: int
    delete_delay: int
    max_sessions: int
    log_level: int


@dataclass(frozen=True)
class SessionTimer:
    enable: bool
    session_expires: int
    min_timer: int
    max_timer: int


@dataclass(frozen=True)
class Sbc:
    calltimer_enable: bool
    calltimer_max: int
    outbound_timeout: int
    session_timer: SessionTimer


@dataclass(frozen=True)
class Sems:
    enabled: bool
    bindport: int
    debug: bool
    sbc: Sbc


@dataclass(frozen=True)
class Mediator:
    enabled: bool
    interval: int


@dataclass(frozen=True)
class Rateomat:
    enable: bool
    loopinterval: int


@dataclass(frozen=True)
class Qos:
    tos_sip: int
    tos_rtp: int


@dataclass(frozen=True)
class Routing:
    cc_regex: str
    ac_regex: str
    sn_regex: str
    internal_domain: str
    no_such_number: str
    voicebox_domain: str
    fax2mail_domain: str
    conference_domain: str


@dataclass(frozen=True)
class OssProvisioning:
    allow_ip_as_domain: bool
    allow_numeric_usernames: bool
    auto_allow_cli: bool
    auto_sync_cli: bool
    pw_min_char: int
    routing: Routing


@dataclass(frozen=True)
class Ossbss:
    provisioning: OssProvisioning


@dataclass(frozen=True)
class WwwSecurity:
    password_min_length: int
    password_max_length: int
    password_musthave_lowercase: bool
    password_musthave_uppercase: bool
    password_musthave_digit: bool
    password_musthave_specialchar: bool


@dataclass(frozen=True)
class WwwAdmin:
    security: WwwSecurity


@dataclass(frozen=True)
class Database:
    url: str | None = field(repr=False)
    threads: int


@dataclass(frozen=True)
class Redis:
    url: str | None = field(repr=False)


@dataclass(frozen=True)
class Journal:
    sync_interval: int
    batch: int
    segment_size: int


@dataclass(frozen=True)
class DirectorySettings:
    cache: int


@dataclass(frozen=True)
class Sip:
    listen: tuple[SocketAddress, ...]
    names: tuple[str, ...]
    t1: int
    t2: int
    t4: int
    linger: int
    max_message: int
    max_transactions: int
    connect_timeout: int
    idle_timeout: int
    tls_verify: bool
    qop: str
    sha256: bool
    websocket: bool
    ws_origins: tuple[str, ...]
    ws_ping_interval: int
    server_header: str


@dataclass(frozen=True)
class CallSettings:
    max_calls: int
    max_branches: int
    traces: int
    shutdown_timeout: float


@dataclass(frozen=True)
class Media:
    quarantine: float
    learning_window: float
    batch: int


@dataclass(frozen=True)
class Log:
    level: str
    rooms: Mapping[str, str]


@dataclass(frozen=True)
class Ngcpd:
    state_dir: str
    secrets_file: str | None
    control_socket: str | None
    threads: int
    database: Database
    redis: Redis
    journal: Journal
    directory: DirectorySettings
    sip: Sip
    calls: CallSettings
    media: Media
    log: Log


@dataclass(frozen=True)
class Paths:
    """Where things are, with the defaults worked out."""

    state_dir: str
    secrets_file: str
    control_socket: str
    journal_dir: str
    database_url: str = field(repr=False)


@dataclass(frozen=True)
class Settings:
    """Everything the daemon was told. Immutable."""

    general: General
    kamailio: Kamailio
    rtpproxy: Rtpproxy
    sems: Sems
    mediator: Mediator
    rateomat: Rateomat
    qos: Qos
    ossbss: Ossbss
    www_admin: WwwAdmin
    ngcpd: Ngcpd
    paths: Paths
    values: Mapping[str, Any] = field(repr=False)
    tree: Map = field(repr=False)
    sources: Mapping[str, Mark] = field(repr=False)

    def get(self, key: str) -> Any:
        """The value of any declared key by its full name, e.g. `get("asterisk.sip.bindport")`. KeyError for others."""
        return self.values[key]

    def source(self, key: str) -> Mark | None:
        """The place a value comes from, None for a default."""
        return self.sources.get(key)

    def plain(self) -> Plain:
        """The merged tree as written, for templates."""
        return plain(self.tree)


_DERIVED = ("paths", "values", "tree", "sources")


def attributes() -> dict[str, str]:
    """Full key -> annotation of every attribute that comes from a key."""
    found: dict[str, str] = {}

    def walk(cls: type, prefix: str) -> None:
        hints = typing.get_type_hints(cls)
        for f in dataclasses.fields(cls):
            if cls is Settings and f.name in _DERIVED:
                continue
            if dataclasses.is_dataclass(hints[f.name]):
                walk(hints[f.name], f"{prefix}{f.name}.")
            else:
                found[f"{prefix}{f.name}"] = str(f.type)

    walk(Settings, "")
    return found


def build(values: Mapping[str, Any], tree: Map, sources: Mapping[str, Mark]) -> Settings:
    """Typed settings from the values of all declared keys."""
    state = values["ngcpd.state_dir"]
    paths = Paths(
        state_dir=state,
        secrets_file=values["ngcpd.secrets_file"] or f"{state}/secrets.yml",
        control_socket=values["ngcpd.control_socket"] or f"{state}/ngcpd.ctl",
        journal_dir=f"{state}/journal",
        database_url=values["ngcpd.database.url"] or f"sqlite:///{state}/ngcpd.db",
    )

    def make(cls: type, prefix: str) -> Any:
        hints = typing.get_type_hints(cls)
        arguments: dict[str, Any] = {}
        for f in dataclasses.fields(cls):
            path = f"{prefix}{f.name}"
            if dataclasses.is_dataclass(hints[f.name]):
                arguments[f.name] = make(hints[f.name], path + ".")
            elif path == "kamailio.proxy.early_rejects":
                arguments[f.name] = _rejects(values)
            else:
                arguments[f.name] = values[path]
        return cls(**arguments)

    sections = {f.name: make(typing.get_type_hints(Settings)[f.name], f.name + ".") for f in dataclasses.fields(Settings) if f.name not in _DERIVED}
    return Settings(**sections, paths=paths, values=MappingProxyType(dict(values)), tree=tree, sources=MappingProxyType(dict(sources)))


def _rejects(values: Mapping[str, Any]) -> Mapping[str, Reject]:
    prefix, code = "kamailio.proxy.early_rejects.", ".announce_code"
    causes = [k[len(prefix) : -len(code)] for k in values if k.startswith(prefix) and k.endswith(code)]
    return MappingProxyType({c: Reject(values[f"{prefix}{c}{code}"], values[f"{prefix}{c}.announce_reason"]) for c in causes})
