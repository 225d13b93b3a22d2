"""The declarations themselves, and what is generated from them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from ngcpd.config import load, sip_listeners
from ngcpd.config.declare import RELOAD
from ngcpd.config.inuse import IN_USE
from ngcpd.config.reference import defaults, markdown, scalar
from ngcpd.config.schema import SCHEMA
from ngcpd.config.settings import attributes
from ngcpd.config.tree import Scalar, plain
from ngcpd.config.yamlfile import Report, parse
from tests.config.scan import reads

TOP = Path(__file__).resolve().parents[2]


def test_every_default_is_a_valid_value() -> None:
    for key in SCHEMA.keys.values():
        node = key.default_node
        if isinstance(node, Scalar) and node.value is None:
            continue
        found: list[str] = []
        key.type.read(node, lambda mark, text: found.append(text))  # noqa: B023
        assert not found, (key.path, found)


def test_every_key_says_what_it_is() -> None:
    for key in SCHEMA.keys.values():
        assert key.meaning and not key.meaning.endswith("."), key.path
        assert key.reload in RELOAD, key.path
        assert key.type.allowed(), key.path
        assert re.fullmatch(r"[a-z0-9_]+(\.[A-Za-z0-9_]+)+", key.path), key.path


def test_typed_attributes_agree_with_the_declarations() -> None:
    for path, annotation in attributes().items():
        if path != "kamailio.proxy.early_rejects":
            assert SCHEMA.keys[path].python == annotation, path


def test_the_sections_of_the_appendix() -> None:
    names = {s.name for s in SCHEMA.sections}
    assert names >= {
        "asterisk",
        "autoprov",
        "backuptools",
        "bootenv",
        "cdrexport",
        "checktools",
        "cleanuptools",
        "database",
        "faxserver",
        "general",
        "haproxy",
        "heartbeat",
        "intercept",
        "kamailio",
        "mediator",
        "nginx",
        "ntp",
        "ossbss",
        "pbx",
        "prosody",
        "pushd",
        "qos",
        "rateomat",
        "redis",
        "reminder",
        "rsyslog",
        "rtpproxy",
        "security",
        "sems",
        "sshd",
        "voisniff",
        "www_admin",
        "ngcpd",
    }


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("kamailio.lb.security.dos_ban_time", 300),
        ("kamailio.lb.security.dos_reqs_density_per_unit", 50),
        ("kamailio.lb.security.failed_auth_ban_time", 3600),
        ("kamailio.lb.port", 5060),
        ("kamailio.lb.tls.enable", False),
        ("kamailio.lb.max_forwards", 70),
        ("kamailio.proxy.fritzbox_prefixes", ()),
        ("kamailio.proxy.store_recentcalls", False),
        ("kamailio.proxy.recentcalls.expire", 3600),
        ("kamailio.proxy.dlg_timeout", 43200),
        ("sems.sbc.calltimer_max", 21600),
        ("kamailio.proxy.loop_detection.expire", 1),
        ("cleanuptools.delete_old_voicemails", 0),
        ("asterisk.voicemail.maxmsg", 30),
        ("cdrexport.fileprefix", "sipwise"),
        ("ossbss.provisioning.auto_allow_cli", True),
        ("ossbss.provisioning.auto_sync_cli", True),
        ("www_admin.subscriber.auto_allow_cli", False),
        ("www_admin.security.password_sip_autogenerate", False),
        ("www_admin.security.password_sip_expose_subadmin", True),
        ("www_admin.default_admin_settings.call_data", False),
        ("api.legacy_show_passwords", False),
        ("cleanuptools.acc_cleanup_days", 90),
        ("rtpproxy.minport", 30000),
        ("kamailio.lb.use_dns_cache", True),
        ("kamailio.proxy.early_rejects.callee_offline.announce_reason", "Offline"),
    ],
)
def test_defaults_that_were_settled(key: str, value: object, room: object) -> None:
    assert room.get(key) == value  # type: ignore[attr-defined]


def test_reject_causes(room: object) -> None:
    rejects = room.load().settings.kamailio.proxy.early_rejects  # type: ignore[attr-defined]
    assert rejects["callee_unknown"] == (404, "Not Found") and rejects["max_calls_in"].code == 486 and len(rejects) == 27
    room.write("config.yml", "kamailio: {proxy: {early_rejects: {callee_unknown: {announce_code: 604, announce_reason: Nobody}}}}\n")  # type: ignore[attr-defined]
    assert room.load().settings.kamailio.proxy.early_rejects["callee_unknown"] == (604, "Nobody")  # type: ignore[attr-defined]
    room.write("config.yml", 'kamailio: {proxy: {early_rejects: {callee_unknown: {announce_reason: "a\\r\\nX: y"}}}}\n')  # type: ignore[attr-defined]
    assert "one line" in room.problems()[0]  # type: ignore[attr-defined]


def test_only_settings_that_the_code_reads_are_said_to_be_in_use() -> None:
    assert IN_USE - reads() == set()


# -------------------------------------------------------------------------------------------------------- generated files
def test_the_reference_page_is_current() -> None:
    assert (TOP / "docs/settings.md").read_text() == markdown(), "run: ngcpctl config reference > docs/settings.md"


@pytest.mark.parametrize("name", ["config.yml", "constants.yml"])
def test_the_shipped_files_are_current(name: str) -> None:
    assert (TOP / "etc" / name).read_text() == defaults(name), f"run: ngcpctl config defaults {name} > etc/{name}"


def test_the_reference_page_has_every_key() -> None:
    page = markdown()
    for key in SCHEMA.keys.values():
        assert f"| `{key.path.split('.', 1)[1]}` |" in page, key.path
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in page.splitlines() if line.startswith("| `")}
    assert widths == {6, 3}


def test_the_shipped_configuration_is_all_defaults_and_binds_to_the_loopback_only() -> None:
    loaded = load(str(TOP / "etc"), {}, "anything")
    assert loaded.warnings == [] and loaded.notices == []
    assert [str(s) for s in sip_listeners(loaded.settings, loaded.node)] == [
        "udp:127.0.0.1:5060",
        "tcp:127.0.0.1:5060",
        "udp:[::1]:5060",
        "tcp:[::1]:5060",
    ]
    assert {b.address for b in loaded.node.addresses("rtp_ext")} == {"127.0.0.1", "::1"}
    assert loaded.settings.paths.state_dir == str(TOP / "var")


def test_the_shipped_files_give_every_key_its_default() -> None:
    empty: dict[str, object] = {}
    loaded = load(str(TOP / "etc"), {}, "anything")
    for key in SCHEMA.keys.values():
        node = key.default_node
        expected = None if isinstance(node, Scalar) and node.value is None else plain(node)
        source = loaded.settings.source(key.path)
        if source is None and expected is not None:
            empty[key.path] = expected
    assert empty == {}


def test_other_files_can_override_the_shipped_ones(tmp_path: Path) -> None:
    """What constants.yml has must not erase settings that belong to config.yml or config.local.yml."""
    directory = tmp_path / "etc"
    directory.mkdir()
    for name in ("config.yml", "network.yml", "constants.yml"):
        (directory / name).write_bytes((TOP / "etc" / name).read_bytes())
    (directory / "config.local.yml").write_text(
        "ngcpd: {database: {url: 'mysql+pymysql://a:b@c/d', threads: 3}, redis: {url: 'redis://h'}, control_socket: x.ctl}\n"
    )
    own = load(str(directory), {}, "x").settings.ngcpd
    assert (own.database.url, own.database.threads, own.redis.url) == ("mysql+pymysql://a:b@c/d", 3, "redis://h")
    assert own.control_socket == f"{tmp_path}/x.ctl"


@pytest.mark.parametrize(
    "text",
    [
        "yes",
        "010",
        "00",
        "~",
        "",
        " a",
        "a: b",
        "#x",
        "- x",
        "[H %s]",
        "true",
        "1e3",
        "'q'",
        'say "x"',
        "a #b",
        "*",
        "&a",
        "!x",
        "%",
        "@",
        "`",
        "null",
        "0x1f",
        "x:",
        "é",
        "a,b",
        "{}",
        "?",
        "2, 3, 4",
    ],
)
def test_written_values_come_back(text: str) -> None:
    report = Report()
    tree = parse(f"k: {scalar(text)}\nl: [{scalar(text)}, x]\n".encode(), "f", report)
    assert tree is not None and plain(tree) == {"k": text, "l": [text, "x"]}, report.errors
