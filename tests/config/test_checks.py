"""Checks across settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from ngcpd.config import sip_listeners
from tests.config.room import NETWORK, Room
from tests.runtime.certificates import make_certificate


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "kamailio: {proxy: {min_expires: 7200}}",
            "config.yml:1:33: kamailio.proxy.min_expires (7200) must not be larger than kamailio.proxy.default_expires (3600)",
        ),
        ("kamailio: {proxy: {max_expires: 100}}", "kamailio.proxy.default_expires (3600) must not be larger than kamailio.proxy.max_expires (100)"),
        ("sems: {sbc: {session_timer: {min_timer: 60}}}", "sems.sbc.session_timer.min_timer: 60 is out of range (allowed: an integer >= 90)"),
        ("sems: {sbc: {session_timer: {session_expires: 9000}}}", "session_expires (9000) must not be larger than"),
        ("kamailio: {lb: {security: {failed_auth_attempts: 0}}}", "failed_auth_attempts: 0 is out of range (allowed: an integer >= 1)"),
        ("rtpproxy: {minport: 40001}", "rtpproxy.minport (40001) must not be larger than rtpproxy.maxport (40000)"),
        ("rtpproxy: {minport: 30001, maxport: 30002}", "has no room for one pair"),
        ("sems: {lowport: 50001}", "sems.lowport (50001) must not be larger than sems.highport (50000)"),
        (
            "kamailio: {lb: {port: 30500}}",
            "kamailio.lb.port: port 30500 lies within the media ports 30000 to 40000 of the same address 198.51.100.10",
        ),
        ("sems: {bindport: 5062}", "sems.bindport: udp port 5062 on 127.0.0.1 is already used by kamailio.proxy.port"),
        (
            "www_admin: {http_admin: {port: 1444}}",
            "autoprov.server.port: tcp port 1444 on 198.51.100.10 is already used by www_admin.http_admin.port",
        ),
        (
            "kamailio: {lb: {extra_sockets: {a: 'udp:198.51.100.10:5060'}}}",
            "kamailio.lb.extra_sockets.a: udp port 5060 on 198.51.100.10 is already used by kamailio.lb.port",
        ),
        (
            "kamailio: {lb: {extra_sockets: {a: 'udp:198.51.100.10:5064', b: 'udp:198.51.100.10:5064'}}}",
            "extra_sockets.b: udp port 5064 on 198.51.100.10 is already used by",
        ),
        (
            "kamailio: {lb: {extra_sockets: {a: 'tcp:198.51.100.10:1443'}}}",
            "www_admin.http_admin.port: tcp port 1443 on 198.51.100.10 is already used by kamailio.lb.extra_sockets.a",
        ),
        (
            "kamailio: {lb: {extra_sockets: {a: 'udp:203.0.113.1:5064'}}}",
            "config.yml:1:33: kamailio.lb.extra_sockets.a: 203.0.113.1 is not an address of this node in network.yml",
        ),
        (
            "kamailio: {lb: {extra_sockets: {a: 'udp:198.51.100.10'}}}",
            'config.yml:1:36: kamailio.lb.extra_sockets: a: "udp:198.51.100.10" is not transport:address:port',
        ),
        (
            "ngcpd: {sip: {listen: ['udp:127.0.0.1:5060', 'udp:127.0.0.1:5060']}}",
            "ngcpd.sip.listen[1]: udp port 5060 on 127.0.0.1 is already used by ngcpd.sip.listen[0]",
        ),
    ],
)
def test_refused(room: Room, text: str, says: str) -> None:
    room.write("config.yml", text + "\n")
    found = room.problems()
    assert any(says in line for line in found), found


def test_the_media_range_of_another_address_does_not_matter(room: Room) -> None:
    room.write("config.yml", "kamailio: {lb: {extra_sockets: {a: 'udp:127.0.0.1:30500'}}}\n")
    assert [s.label for s in sip_listeners(room.load().settings, room.load().node)][-1] == "a"


def test_extra_sockets(room: Room) -> None:
    room.write("network.yml", NETWORK.replace("netmask: 255.255.255.0, type", "netmask: 255.255.255.0, advertised_ip: [203.0.113.5], type"))
    room.write("config.yml", "kamailio: {lb: {extra_sockets: {port_5064: 'udp:198.51.100.10:5064', inner: 'tcp:127.0.0.1:5064'}}}\n")
    found = sip_listeners(room.load().settings, room.load().node)
    assert [(s.label, str(s), s.advertised) for s in found if s.label] == [
        ("port_5064", "udp:198.51.100.10:5064", "203.0.113.5"),
        ("inner", "tcp:127.0.0.1:5064", None),
    ]


def test_the_override_of_listeners(room: Room) -> None:
    room.write("config.yml", "ngcpd: {sip: {listen: ['udp:127.0.0.1:15060', 'tcp:[::1]:15060']}}\n")
    loaded = room.load()
    assert [str(s) for s in sip_listeners(loaded.settings, loaded.node)] == ["udp:127.0.0.1:15060", "tcp:[::1]:15060"]
    loaded = room.load(NGCPD_LISTEN="127.0.0.9")
    assert [str(s) for s in sip_listeners(loaded.settings, loaded.node)] == ["udp:127.0.0.9:5060", "tcp:127.0.0.9:5060"]


TLS = "kamailio: {lb: {tls: {enable: yes, sslcertfile: %s, sslcertkeyfile: %s}}}\n"


def test_certificates_are_looked_at_when_tls_is_on(room: Room, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    made, foreign = make_certificate(tmp_path / "a"), make_certificate(tmp_path / "b")
    certificate, key, other = made.certificate, made.key, foreign.key
    room.write("config.yml", TLS % (certificate, key))
    loaded = room.load()
    assert [str(s) for s in sip_listeners(loaded.settings, loaded.node)][-1] == "tls:198.51.100.10:5061"
    for files, says in (
        (("/nowhere.pem", key), "sslcertfile: /nowhere.pem cannot be read: No such file or directory"),
        ((certificate, "/nowhere.key"), "sslcertkeyfile: /nowhere.key cannot be read: No such file or directory"),
        ((key, key), "has no readable PEM certificate"),
        ((certificate, certificate), "has no readable PEM private key"),
        ((certificate, other), "is not the key of the certificate"),
    ):
        room.write("config.yml", TLS % files)
        (line,) = room.problems()
        assert says in line and line.startswith("config.yml:1:"), line
    room.write("config.yml", (TLS % ("/nowhere.pem", key)).replace("enable: yes", "enable: no"))
    assert room.load().settings.kamailio.lb.tls.enable is False
