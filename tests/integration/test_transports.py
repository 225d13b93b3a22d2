"""Calls between phones of different transports and address families."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.sipp import Phones
from tests.integration.streamphone import TlsPhone
from tests.phones import media_of, sdp
from tests.servers.daemon import DOMAIN, DaemonProcess, running


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DaemonProcess]:
    """A daemon with TLS and IPv6."""
    directory = tmp_path_factory.mktemp("daemon")
    certificate, key = directory / "cert.pem", directory / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=sip.example", "-days", "2", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    os.chmod(key, 0o600)
    tls = {"enable": "yes", "sslcertfile": str(certificate), "sslcertkeyfile": str(key)}
    with running(directory, {"kamailio": {"lb": {"tls": tls}}}, ipv6=True) as made:
        made.domain()
        made.add(1002, 1003)
        yield made


def test_udp_caller_tls_callee(daemon: DaemonProcess, phones: Phones) -> None:
    callee = TlsPhone(daemon, 1003, daemon.address(13))
    callee.register()
    (binding,) = daemon.registrations(1003)
    assert binding["transport"] == "tls" and binding["socket"] == f"tls:{daemon.ip}:{daemon.port + 1}"
    caller = phones.call(1002, "testuser1003", connection=f"IP4 {daemon.ip}")
    invite = callee.take("INVITE")
    assert invite["via"].startswith(f"SIP/2.0/TLS {daemon.ip}:{daemon.port + 1};") and len(invite.headers["via"]) == 1
    assert invite.contact.split(";")[0].endswith(f"@{daemon.ip}:{daemon.port + 1}") and "transport=tls" in invite.contact
    assert media_of(invite.body)[0] == daemon.ip
    callee.reply(invite, "180 Ringing")
    callee.reply(invite, "200 OK", sdp(daemon.address(13), 6002))
    callee.take("ACK")
    callee.reply(callee.take("BYE"), "200 OK")
    caller.done()
    callee.close()
    (cdr,) = daemon.new_cdrs(1)
    assert (cdr["call_status"], cdr["source"], cdr["destination"]) == ("ok", f"testuser1002@{DOMAIN}", f"testuser1003@{DOMAIN}")


def test_ipv6_caller_ipv4_callee(daemon: DaemonProcess, phones: Phones) -> None:
    phones.register(1003)
    callee = phones.callee(1003, connection=f"IP4 {daemon.ip}")
    port = daemon.port + 4  # next to the daemon's own, which were free
    caller = phones.call(1002, "testuser1003", ip="::1", port=port, connection="IP6 ::1").done()
    callee.done()
    assert "c=IN IP4" not in caller.messages and "c=IN IP6" not in callee.messages
    (cdr,) = daemon.new_cdrs(1)
    assert (cdr["call_status"], cdr["source_ip"]) == ("ok", "::1")


def test_ipv6_tcp_registration(daemon: DaemonProcess, phones: Phones, tmp_path: Path) -> None:
    phones.register(1002, scenario="register_stay", ip="::1", port=daemon.port + 6, tcp=True)
