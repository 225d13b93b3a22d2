"""`ngcpctl config ...`."""

from __future__ import annotations

from pathlib import Path

import pytest

from ngcpd.cli.configcmd import is_secret
from ngcpd.cli.ngcpctl import main
from ngcpd.config.reference import defaults, markdown
from tests.config.room import Room


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


@pytest.fixture
def ctl(room: Room, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> object:
    monkeypatch.delenv("NGCPD_NODE", raising=False)
    monkeypatch.delenv("NGCPD_LISTEN", raising=False)

    def run(*args: str) -> tuple[int, str, str]:
        code = main(["--config-dir", str(room.path), *args])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


def test_check_of_a_good_one(room: Room, ctl: object) -> None:
    room.write("config.yml", "kamailio: {lb: {prot: 1, udp_children: 2}}\n")
    code, out, err = ctl("config", "check")  # type: ignore[operator]
    assert code == 0
    assert err == f"{room.path}/config.yml:1:17: unknown key kamailio.lb.prot; nearest valid name: kamailio.lb.port (warning)\n"
    assert out.splitlines()[0] == f"{room.path}/config.yml:1:26: kamailio.lb.udp_children is accepted and has no effect (notice)"
    assert "the configuration is good; this is node self with db, lb, mgmt, proxy, rtp" in out


def test_check_of_wrong_ones(room: Room, ctl: object) -> None:
    room.write("config.yml", "kamailio: {lb: {port: x}}\nrtpproxy: {minport: y}\n")
    code, out, err = ctl("config", "check")  # type: ignore[operator]
    assert (code, out) == (78, "")
    assert [line.split(": ")[0] for line in err.splitlines()] == [f"{room.path}/config.yml:1:23", f"{room.path}/config.yml:2:21"]


def test_check_finds_conflict_markers_in_any_file(room: Room, ctl: object) -> None:
    room.write("templates/etc/foo.tt2", "a\n>>>>>>> 9fceb02d0ae598e95dc970b74767f19372d61af8\n")
    room.write("templates/etc/foo.tt2.dpkg-old", ">>>>>>> 9fceb02d\n")
    room.write(".git/ORIG", ">>>>>>> 9fceb02d\n")
    code, _, err = ctl("config", "check")  # type: ignore[operator]
    assert code == 78 and err.count("\n") == 1
    assert err.startswith(f"{room.path}/templates/etc/foo.tt2:2:1: conflict marker of a git merge")


def test_the_option_may_follow_the_command(room: Room, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check", "--config-dir", str(room.path)]) == 0
    assert str(room.path) in capsys.readouterr().out
    assert main(["config", "check", "--config-dir", "/nowhere"]) == 78
    assert "/nowhere: the configuration directory does not exist" in capsys.readouterr().err


def test_show(room: Room, ctl: object) -> None:
    room.write("config.yml", "www_admin: {cc_dial_prefix: 00}\nntp: {servers: [a, b]}\npbx: {port: 5099}\nown: {x: 010}\n")
    for key, value in (
        ("www_admin.cc_dial_prefix", "00\n"),
        ("ntp.servers", "a b\n"),
        ("kamailio.lb.port", "5060\n"),
        ("pbx.bindport", "5099\n"),
        ("pbx.port", "5099\n"),
        ("own.x", "010\n"),
        ("own", "own.x: 010\n"),
        ("qos", "qos.tos_rtp: 184\nqos.tos_sip: 184\n"),
    ):
        assert ctl("config", "show", key) == (0, value, ""), key  # type: ignore[operator]
    code, out, err = ctl("config", "show", "kamailio.lb.prot")  # type: ignore[operator]
    assert (code, out) == (1, "") and err == "ngcpctl: there is no key kamailio.lb.prot; nearest valid name: kamailio.lb.port\n"
    code, out, _ = ctl("config", "show")  # type: ignore[operator]
    assert code == 0 and "hosts.self.eth0.ip: 198.51.100.10\n" in out and "www_admin.cc_dial_prefix: 00\n" in out and "own.x: 010\n" in out
    room.write("config.yml", "a: [\n")
    assert ctl("config", "show", "qos")[0] == 78  # type: ignore[operator]


def test_show_hides_secrets(room: Room, ctl: object) -> None:
    room.write(
        "config.local.yml",
        "ngcpd: {database: {url: 'mysql+pymysql://u:hush@h/d'}}\nmysql: {reppassword: hush}\nldap: {rootpwd: hush}\n"
        "kamailio: {proxy: {dbrwpw: hush}}\n"
        "ossbss: {htpasswd: [{user: hush, pass: hush}]}\nchecktools: {snmpd: {communities: {hush: [localhost]}}}\nvouchers: {key: hush, iv: hush}\n"
        "own: {password: hush, deep: {api_token: hush}}\n",
    )
    _, out, _ = ctl("config", "show")  # type: ignore[operator]
    assert "hush" not in out and out.count("***") >= 10
    for key in ("ngcpd.database.url", "own", "own.deep", "own.password", "checktools.snmpd", "ossbss.htpasswd", "checktools.snmpd.communities"):
        _, out, _ = ctl("config", "show", key)  # type: ignore[operator]
        assert "hush" not in out and "***" in out, key


@pytest.mark.parametrize("path", ["cdrexport.dbpassword", "kamailio.lb.dbropw", "rateomat.billingdb.pass", "x.client_secret", "haproxy.admin_pass"])
def test_what_counts_as_secret(path: str) -> None:
    assert is_secret(path)


@pytest.mark.parametrize(
    "path",
    [
        "kamailio.lb.port",
        "sems.vsc.park_code",
        "ossbss.provisioning.pw_min_char",
        "api.legacy_show_passwords",
        "www_admin.security.password_min_length",
        "kamailio.lb.tls.sslcertkeyfile",
        "own",
    ],
)
def test_what_does_not(path: str) -> None:
    assert not is_secret(path)


def test_generated_pages(ctl: object) -> None:
    assert ctl("config", "reference") == (0, markdown(), "")  # type: ignore[operator]
    assert ctl("config", "defaults") == (0, defaults("config.yml"), "")  # type: ignore[operator]
    assert ctl("config", "defaults", "constants.yml") == (0, defaults("constants.yml"), "")  # type: ignore[operator]
