"""Load order, values, unknown and wrong keys, aliases, node. Configuration framework 2, 12, 13, 14."""

from __future__ import annotations

import os

import pytest

from ngcpd.config import ConfigError, Mark, find_directory, load
from ngcpd.config.schema import SCHEMA
from tests.config.room import NETWORK, Room


def lb(key: str, value: str) -> str:
    return f"kamailio: {{lb: {{{key}: {value}}}}}\n"


# ------------------------------------------------------------------------------------------------------------------ order
def test_precedence_of_the_files(room: Room) -> None:
    files = ["config.yml", "config.somewhere.yml", "config.local.yml", "network.yml", "config.d/50-a.yml", "config.d/60-b.yml", "constants.yml"]
    for port, name in enumerate(files, 6001):
        before = NETWORK if name == "network.yml" else ""
        room.write(name, before + lb("port", str(port)))
    for port, name in reversed(list(enumerate(files, 6001))):
        loaded = room.load()
        assert loaded.settings.kamailio.lb.port == port
        assert loaded.settings.source("kamailio.lb.port") == Mark(str(room.path / name), NETWORK.count("\n") + 1 if name == "network.yml" else 1, 23)
        room.write(name, NETWORK if name == "network.yml" else "")
    assert room.load().settings.kamailio.lb.port == 5060
    assert room.load().settings.source("kamailio.lb.port") is None


def test_config_d_is_read_in_name_order_without_hidden_and_other_files(room: Room) -> None:
    room.write("config.d/b.yml", lb("port", "6002"))
    room.write("config.d/a.yml", lb("port", "6001"))
    room.write("config.d/.z.yml", lb("port", "6003"))
    room.write("config.d/z.yml.dpkg-old", lb("port", "6004"))
    assert room.load().settings.kamailio.lb.port == 6002


def test_lists_are_joined_and_cannot_be_shortened(room: Room) -> None:
    key = "kamailio.lb.security.dos_whitelisted_ips"
    text = "kamailio: {lb: {security: {dos_whitelisted_ips: %s}}}\n"
    room.write("config.yml", text % "[192.0.2.1, 192.0.2.2]")
    room.write("config.local.yml", text % "[192.0.2.2, 192.0.2.3]")
    assert room.get(key) == ("192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.3")
    room.write("config.local.yml", text % "[]")
    assert room.get(key) == ("192.0.2.1", "192.0.2.2")
    room.write("config.local.yml", text % "192.0.2.9")
    assert room.get(key) == ("192.0.2.9",)


def test_a_null_before_a_list_is_no_item(room: Room) -> None:
    room.write("config.yml", lb("nattest_exception_ips", "~"))
    room.write("config.local.yml", lb("nattest_exception_ips", "[192.0.2.1]"))
    assert room.load().settings.kamailio.lb.nattest_exception_ips == ("192.0.2.1",)


def test_a_file_that_is_read_twice_counts_once(room: Room) -> None:
    room.write("config.local.yml", "kamailio: {lb: {security: {dos_whitelisted_ips: [192.0.2.1]}}}\n")
    os.symlink(room.path / "config.local.yml", room.path / "config.somewhere.yml")
    assert room.get("kamailio.lb.security.dos_whitelisted_ips") == ("192.0.2.1",)
    assert room.load(hostname="local").settings.get("kamailio.lb.security.dos_whitelisted_ips") == ("192.0.2.1",)


def test_scalars_survive_as_written(room: Room) -> None:
    room.write("config.yml", "www_admin: {cc_dial_prefix: 00, ac_dial_prefix: 010}\nreminder: {sip_fromuser: yes}\n")
    assert [room.get(k) for k in ("www_admin.cc_dial_prefix", "www_admin.ac_dial_prefix", "reminder.sip_fromuser")] == ["00", "010", "yes"]


def test_tilde_means_default(room: Room) -> None:
    room.write("config.yml", "kamailio: {lb: {port: ~, tls: ~, debug: }}\n")
    assert room.load().settings.kamailio.lb.port == 5060


def test_relative_paths_count_from_above_the_directory(room: Room) -> None:
    loaded = room.load()
    top = str(room.path.parent)
    assert loaded.settings.paths.state_dir == f"{top}/var"
    assert loaded.settings.paths.secrets_file == f"{top}/var/secrets.yml"
    assert loaded.settings.paths.control_socket == f"{top}/var/ngcpd.ctl"
    assert loaded.settings.paths.database_url == f"sqlite:///{top}/var/ngcpd.db"
    room.write("constants.yml", "ngcpd: {state_dir: /srv/x, secrets_file: keys.yml, database: {url: 'mysql+pymysql://u:p@h/d'}}\n")
    paths = room.load().settings.paths
    assert (paths.state_dir, paths.secrets_file, paths.database_url) == ("/srv/x", f"{top}/keys.yml", "mysql+pymysql://u:p@h/d")


def test_settings_are_frozen(room: Room) -> None:
    settings = room.load().settings
    with pytest.raises(AttributeError):
        settings.kamailio.lb.port = 1  # type: ignore[misc]
    with pytest.raises(TypeError):
        settings.kamailio.lb.extra_sockets["x"] = 1  # type: ignore[index]
    with pytest.raises(TypeError):
        settings.values["kamailio.lb.port"] = 1  # type: ignore[index]
    with pytest.raises(KeyError):
        settings.get("kamailio.lb.prot")


def test_passwords_do_not_show_in_a_printed_value(room: Room) -> None:
    room.write("constants.yml", "ngcpd: {database: {url: 'mysql+pymysql://u:hush@h/d'}, redis: {url: 'redis://:hush@h'}}\n")
    assert "hush" not in repr(room.load().settings)


# ------------------------------------------------------------------------------------------------------- wrong and unknown
def test_unknown_keys_are_warnings_with_place_and_nearest_name(room: Room) -> None:
    room.write("config.yml", "kamailio:\n  lb:\n    prot: 5060\n  porxy:\n    x: 1\nmediatr: {interval: 5}\nwholly_else: 1\n")
    assert room.warnings() == [
        "config.yml:3:5: unknown key kamailio.lb.prot; nearest valid name: kamailio.lb.port",
        "config.yml:4:3: unknown key kamailio.porxy; nearest valid name: kamailio.proxy",
        "config.yml:6:1: unknown key mediatr; nearest valid name: mediator",
        "config.yml:7:1: unknown key wholly_else",
    ]


def test_a_key_in_the_wrong_place_is_led_home(room: Room) -> None:
    room.write("config.yml", "kamailio:\n  dos_ban_time: 5\n")
    assert room.warnings() == ["config.yml:2:3: unknown key kamailio.dos_ban_time; nearest valid name: kamailio.lb.security.dos_ban_time"]


def test_unknown_keys_stay_readable_for_templates(room: Room) -> None:
    room.write("config.yml", "own: {thing: [a, 010]}\n")
    plain = room.load().settings.plain()
    assert isinstance(plain, dict) and plain["own"] == {"thing": ["a", "010"]}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("kamailio:\n  lb:\n    port: 70000\n", "config.yml:3:11: kamailio.lb.port: 70000 is out of range (allowed: an integer from 1 to 65535)"),
        ("kamailio:\n  lb:\n    debug: true\n", 'config.yml:3:12: kamailio.lb.debug: "true" is not yes or no; write yes (allowed: yes or no)'),
        (
            "kamailio:\n  lb:\n    use_dns_cache: yes\n",
            'config.yml:3:20: kamailio.lb.use_dns_cache: "yes" is not on or off; write on (allowed: on or off)',
        ),
        ("kamailio:\n  lb: text\n", "config.yml:2:7: kamailio.lb must be a map with keys such as start, port, tls, extra_sockets"),
        ("kamailio: [1]\n", "config.yml:1:11: kamailio must be a map with keys such as lb, proxy"),
        (
            "kamailio: {lb: {port: {a: 1}}}\n",
            "config.yml:1:23: kamailio.lb.port: a map where one value is expected (allowed: an integer from 1 to 65535)",
        ),
    ],
)
def test_wrong_values(room: Room, text: str, line: str) -> None:
    room.write("config.yml", text)
    assert room.problems() == [line]


def test_null_as_a_word_has_a_hint(room: Room) -> None:
    room.write("config.yml", lb("extra_sockets", "null"))
    assert "write ~ for no value" in room.problems()[0]


def test_all_problems_are_told_at_once(room: Room) -> None:
    room.write("config.yml", "kamailio: {lb: {port: x}}\n")
    room.write("config.local.yml", "rtpproxy: {minport: 5, maxport: y}\n")
    room.write("network.yml", NETWORK.replace("198.51.100.10", "198.51.100.300"))
    assert [line.split(" ")[0] for line in room.problems()] == [
        "config.local.yml:1:21:",
        "config.local.yml:1:33:",
        "config.yml:1:23:",
        "network.yml:6:16:",
    ]


def test_the_wrong_file_is_named_not_the_overridden_one(room: Room) -> None:
    room.write("config.yml", lb("port", "x"))
    room.write("config.local.yml", lb("port", "5070"))
    assert room.load().settings.kamailio.lb.port == 5070
    room.write("config.local.yml", lb("port", "y"))
    assert [p.split(":")[0] for p in room.problems()] == ["config.local.yml"]


def test_a_secret_value_is_not_repeated(room: Room) -> None:
    room.write("constants.yml", "ngcpd: {database: {url: 'hush hush'}}\n")
    (line,) = room.problems()
    assert "hush" not in line and "ngcpd.database.url" in line


def test_syntax_errors_of_several_files(room: Room) -> None:
    room.write("config.yml", "a: [\n")
    room.write("constants.yml", "M\u00fc: 1\n".encode("latin-1"))
    first, second = room.problems()
    assert first.startswith("config.yml:2:1: invalid file syntax") and second.startswith("constants.yml:1:2: byte 0xfc")


@pytest.mark.parametrize("name", ["config.yml", "network.yml", "constants.yml"])
def test_a_missing_file(room: Room, name: str) -> None:
    (room.path / name).unlink()
    assert any(line.startswith(f"{name}: this file is missing") for line in room.problems())


def test_a_directory_in_the_place_of_a_file(room: Room) -> None:
    (room.path / "config.yml").unlink()
    (room.path / "config.yml").mkdir()
    assert room.problems() == ["config.yml: cannot be read: is not a plain file"]


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(room: Room) -> None:
    os.mkfifo(room.path / "config.local.yml")
    os.symlink("/dev/zero", room.path / "config.somewhere.yml")
    assert room.problems() == [
        "config.local.yml: cannot be read: is not a plain file",
        "config.somewhere.yml: cannot be read: is not a plain file",
    ]


def test_no_directory(tmp_path: object) -> None:
    with pytest.raises(ConfigError, match="does not exist; name the right one with --config-dir"):
        load(f"{tmp_path}/none", {}, "x")
    with pytest.raises(ConfigError, match="is not a directory"):
        load(__file__, {}, "x")


def test_the_directory_without_a_choice_is_the_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr("ngcpd.config.loader.SYSTEM_DIRECTORY", f"{tmp_path}/none")
    assert find_directory(None).endswith("/etc") and os.path.exists(os.path.join(find_directory(None), "network.yml"))
    monkeypatch.setattr("ngcpd.config.loader.SYSTEM_DIRECTORY", str(tmp_path))
    assert find_directory(None) == str(tmp_path)


def test_versions_newer_than_known_are_refused(room: Room) -> None:
    room.write("constants.yml", "configuration_framework: {constants_version: 99, config_version: 1}\n")
    assert "newer than this ngcpd knows" in room.problems()[0]


@pytest.mark.parametrize("name", ["networking", "ha"])
def test_obsolete_sections_are_refused_with_a_hint(room: Room, name: str) -> None:
    room.write("config.yml", f"{name}: {{eip: 192.0.2.1}}\n")
    assert "network.yml" in room.problems()[0]


def test_old_sections_are_accepted(room: Room) -> None:
    room.write("config.yml", "www_csc: {start: yes, other: {deep: 1}}\nsipwise: {system_tester: {x: 1}}\ncluster_sets: {vie: {dispatcher_id: 51}}\n")
    assert room.warnings() == []


def test_cluster_sets_are_checked(room: Room) -> None:
    room.write("config.yml", "cluster_sets:\n  vie: {dispatcher_id: x}\n")
    assert room.problems()[0].startswith("config.yml:2:24: cluster_sets.vie: dispatcher_id")


def test_settings_without_effect_are_notices_only_when_they_differ(room: Room) -> None:
    room.write("config.yml", lb("udp_children", "8"))
    assert room.notices() == []
    room.write("config.yml", lb("udp_children", "4"))
    assert room.notices() == ["config.yml:1:17: kamailio.lb.udp_children is accepted and has no effect"]
    assert room.warnings() == []


def test_features_that_do_not_exist_are_warned_about_when_switched_on(room: Room) -> None:
    room.write("config.yml", "pushd: {enable: no}\n")
    assert room.warnings() == []
    room.write("config.yml", "pushd: {enable: yes}\n")
    assert room.warnings() == ["config.yml:1:9: pushd.enable is accepted and has no effect: this release does not have the feature"]


# ---------------------------------------------------------------------------------------------------------------- aliases
@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("kamailio: {proxy: {fritzbox: {prefixes: ['112']}}}", "kamailio.proxy.fritzbox_prefixes", ("112",)),
        ("www_admin2: {http_admin: {port: 1500}}", "www_admin.http_admin.port", 1500),
        ("rate-o-mat: {loopinterval: 5}", "rateomat.loopinterval", 5),
        ("security: {ngcp-panel: {scripts: {restapi: {sslverify: no}}}}", "security.ngcp_panel.scripts.restapi.sslverify", False),
        ("rtpproxy: {enable: no}", "rtpproxy.enabled", False),
        ("faxserver: {enabled: no}", "faxserver.enable", False),
        ("kamailio: {proxy: {peer_probe: {available_threshold: 4}}}", "kamailio.proxy.peer_probe.available_treshold", 4),
        ("sems: {vsc: {speeddial_code: 51}}", "sems.vsc.speedial_code", "51"),
        ("kamailio: {proxy: {lnp: {enabled: yes}}}", "kamailio.proxy.lnp.enable", True),
        ("cdrexport: {full_filenames: no}", "cdrexport.full_names", False),
        ("pbx: {port: 5086}", "pbx.bindport", 5086),
        ("sems: {port: 5081}", "sems.bindport", 5081),
        ("kamailio: {store_recentcalls: yes}", "kamailio.proxy.store_recentcalls", True),
        ("recentcalls: {expire: 7200}", "kamailio.proxy.recentcalls.expire", 7200),
        ("deviceprovisioning: {port: 1454}", "autoprov.server.port", 1454),
        ("numbermanagement: {auto_allow_cli: 0}", "ossbss.provisioning.auto_allow_cli", False),
        ("features: {callthrough: 1}", "www_admin.callthru_features", True),
        ("security: {password_min_length: 8}", "www_admin.security.password_min_length", 8),
        ("nathelper: {sipping_from: 'sip:a@b'}", "kamailio.proxy.natping_from", "sip:a@b"),
    ],
)
def test_other_spellings(room: Room, text: str, key: str, value: object) -> None:
    room.write("config.local.yml", text + "\n")
    assert room.get(key) == value
    assert room.warnings() == []
    assert len(room.notices()) == 1 and "is another spelling of" in room.notices()[0]


def test_another_spelling_in_a_later_file_overrides(room: Room) -> None:
    room.write("config.yml", "pbx: {bindport: 5085}\nrtpproxy: {enabled: yes}\n")
    room.write("config.local.yml", "pbx: {port: 5099}\nrtpproxy: {enable: no}\n")
    assert room.get("pbx.bindport") == 5099 and room.get("rtpproxy.enabled") is False
    room.write("constants.yml", "pbx: {bindport: 5001}\nngcpd: {state_dir: ./var}\n")
    assert room.get("pbx.bindport") == 5001


def test_both_spellings_in_one_file(room: Room) -> None:
    room.write("config.yml", "pbx: {port: 5099, bindport: 5098}\n")
    assert room.get("pbx.bindport") == 5098
    assert room.warnings() == ["config.yml:1:7: pbx.port is another spelling of pbx.bindport, which this file gives too and which counts"]


def test_whole_sections_under_both_names_merge(room: Room) -> None:
    room.write("config.yml", "www_admin2: {http_admin: {port: 1, ssl_enable: no}}\nwww_admin: {http_admin: {port: 1500}}\n")
    assert room.get("www_admin.http_admin.port") == 1500 and room.get("www_admin.http_admin.ssl_enable") is False


def test_every_alias_leads_to_a_declared_place() -> None:
    for alias, path in SCHEMA.aliases.items():
        name = ".".join(path)
        assert ".".join(alias) not in SCHEMA.keys, alias
        assert name in SCHEMA.keys or any(k.startswith(name + ".") for k in SCHEMA.keys), path


# ------------------------------------------------------------------------------------------------------------------- node
TWO = """
hosts:
  sp1: {role: [lb, proxy, rtp], peer: sp2, interfaces: [lo], lo: {ip: 127.0.0.1, netmask: 255.0.0.0, type: [sip_ext, rtp_ext]}}
  sp2: {role: [db], peer: sp1, interfaces: [lo], lo: {ip: 127.0.0.1, netmask: 255.0.0.0, type: [sip_ext]}}
"""


def test_the_node_is_found_by_host_name(room: Room) -> None:
    room.write("network.yml", TWO)
    assert room.load(hostname="sp2").node.name == "sp2"
    assert room.load(hostname="sp2").node.roles == {"db"}
    assert room.load(hostname="sp2", NGCPD_NODE="sp1").node.name == "sp1"
    room.write("config.sp1.yml", lb("port", "5070"))
    assert room.load(hostname="sp2", NGCPD_NODE="sp1").settings.kamailio.lb.port == 5070
    assert room.load(hostname="sp2").settings.kamailio.lb.port == 5060


def test_a_node_that_is_not_in_the_file(room: Room) -> None:
    room.write("network.yml", TWO)
    assert room.problems(hostname="web01a") == [
        "network.yml: this node is not among the hosts: /etc/hostname says web01a, known are sp1, sp2; add it or set NGCPD_NODE"
    ]
    assert "NGCPD_NODE is sp9" in room.problems(NGCPD_NODE="sp9")[0]


def test_self_is_the_node_only_when_it_is_alone_and_none_is_named(room: Room) -> None:
    assert room.load(hostname="whatever").node.name == "self"
    assert room.load(hostname="").node.name == "self"
    assert "NGCPD_NODE is other" in room.problems(NGCPD_NODE="other")[0]
    more = NETWORK + TWO.replace("\nhosts:\n", "")
    room.write("network.yml", more)
    assert "this node is not among the hosts" in room.problems()[0]


def test_a_single_node_has_rtp_and_db_too(room: Room) -> None:
    assert room.load().node.roles == {"lb", "proxy", "mgmt", "rtp", "db"}


def test_listen_replaces_the_address_of_sip_and_media(room: Room) -> None:
    node = room.load(NGCPD_LISTEN="192.0.2.77").node
    assert [b.address for b in node.addresses("sip_ext")] == ["192.0.2.77"]
    assert [b.address for b in node.rtp_interfaces()["ext"]] == ["192.0.2.77"] == [b.address for b in node.rtp_interfaces()["default"]]
    assert [b.address for b in node.addresses("sip_int")] == ["127.0.0.1"]
    assert [(b.address, b.family) for b in room.load(NGCPD_LISTEN="2001:DB8::1").node.addresses("sip_ext")] == [("2001:db8::1", 6)]


@pytest.mark.parametrize("value", ["phone.example.org", "0.0.0.0", "::", "192.0.2.1:5060", "224.0.0.1", "192.0.2.1, 192.0.2.2"])
def test_listen_must_be_one_address(room: Room, value: str) -> None:
    (line,) = room.problems(NGCPD_LISTEN=value)
    assert line.startswith("NGCPD_LISTEN: ") and "give one address of this machine" in line
