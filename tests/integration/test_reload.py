"""`ngcpctl reload` and SIGHUP of a real daemon: new certificates for new connections while old ones go on, and what is refused."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.certificates import make_certificate
from tests.servers.daemon import ROOT, DaemonProcess, Refused, merged, running, until

OPTIONS = (
    "OPTIONS sip:{0}:5061;transport=tls SIP/2.0\r\nVia: SIP/2.0/TLS {0}:9;branch=z9hG4bK{1}\r\nFrom: <sip:a@b>;tag=1\r\n"
    "To: <sip:{0}>\r\nCall-ID: {1}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
)


class Tls:
    """A connection that stays open, and the certificate it was shown."""

    def __init__(self, host: str, port: int) -> None:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.host = host
        self.socket = context.wrap_socket(socket.create_connection((host, port), timeout=20))
        self.certificate = self.socket.getpeercert(binary_form=True)

    def options(self, branch: str) -> str:
        self.socket.sendall(OPTIONS.format(self.host, branch).encode())
        data = b""
        while b"\r\n\r\n" not in data:
            part = self.socket.recv(4096)
            assert part, "the daemon has closed the connection"
            data += part
        return data.decode().split("\r\n")[0]

    def close(self) -> None:
        self.socket.close()


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Directories with the certificates of SIP and of the sites."""
    both = tmp_path_factory.mktemp("sip"), tmp_path_factory.mktemp("web")
    for place in both:
        make_certificate(place)
    return both


def settings(places: tuple[Path, Path]) -> dict[str, Any]:
    sip, web = places
    return {
        "kamailio": {"lb": {"tls": {"enable": "yes", "sslcertfile": f"{sip}/cert.pem", "sslcertkeyfile": f"{sip}/key.pem"}}},
        "www_admin": {"http_admin": {"sslcertfile": f"{web}/cert.pem", "sslcertkeyfile": f"{web}/key.pem"}},
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, places: tuple[Path, Path]) -> Iterator[DaemonProcess]:
    with running(tmp_path_factory.mktemp("reload"), settings(places)) as made:
        yield made


def write(server: DaemonProcess, text: str | None = None, **more: Any) -> None:
    """The overlay, as it was with `more`, or any text."""
    (server.etc / "config.local.yml").write_text(text if text is not None else json.dumps(merged(server.local, more), indent=1))


def ngcpctl(server: DaemonProcess, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ngcpd.cli.ngcpctl", *words, "--socket", str(server.state / "ngcpd.ctl")]
    return subprocess.run(command, capture_output=True, text=True, env=server.environ(), cwd=ROOT, timeout=60)


def test_new_certificates_for_new_connections(server: DaemonProcess, places: tuple[Path, Path]) -> None:
    write(server)
    old = Tls(server.ip, 5061)
    web = http.client.HTTPSConnection(server.ip, 1443, context=ssl._create_unverified_context(), timeout=20)
    web.request("GET", "/api/openapi.json")
    web.getresponse().read()
    shown = web.sock.getpeercert(binary_form=True)
    assert old.options("one").endswith("200 OK")
    for place in places:
        make_certificate(place)
    assert Tls(server.ip, 5061).certificate == old.certificate, "files that were replaced act only from the reload on"
    done = ngcpctl(server, "reload")
    assert (done.returncode, done.stdout, done.stderr) == (0, "nothing has changed\n", "")
    fresh = Tls(server.ip, 5061)
    assert fresh.certificate != old.certificate and fresh.options("two").endswith("200 OK")
    assert old.options("three").endswith("200 OK"), "the old connection goes on"
    used = web.sock
    web.request("GET", "/api/openapi.json")
    web.getresponse().read()
    assert web.sock is used and used.getpeercert(binary_form=True) == shown
    new = Tls(server.ip, 1443)
    assert new.certificate not in (shown, fresh.certificate)
    # files that do not work change nothing
    (places[0] / "key.pem").write_text("nonsense")
    with pytest.raises(Refused, match=r"sslcertkeyfile: .* has no readable PEM private key") as refusal:
        server.control("reload")
    assert refusal.value.code == "invalid" and Tls(server.ip, 5061).certificate == fresh.certificate
    make_certificate(places[0])
    (places[1] / "cert.pem").write_text("nonsense")
    before = Tls(server.ip, 5061).certificate
    with pytest.raises(Refused, match="HTTPS: "):
        server.control("reload")
    assert Tls(server.ip, 5061).certificate == before and Tls(server.ip, 1443).certificate == new.certificate, "neither of the two, if one is bad"
    make_certificate(places[1])
    server.control("reload")
    assert Tls(server.ip, 5061).certificate != before
    for each in (old, fresh, new):
        each.close()


def test_hanging_up_reloads(server: DaemonProcess) -> None:
    """SIGHUP; a file with a fault is told in the log with its place and the settings stay."""
    pid = server.pid
    write(server, ngcpd={"log": {"level": "warning", "rooms": {"app": "info", "edge": "debug"}}, "directory": {"cache": 1000}})
    before = len(server.log)
    server.send_signal(signal.SIGHUP)
    line = until(lambda: [text for text in server.log[before:].splitlines() if "configuration read again" in text], 10.0)[0]
    assert "ngcpd.log.rooms" in line and "ngcpd.log.level" in line and "restart=ngcpd.directory.cache" in line
    assert server.control("log.levels")["edge"] == "debug" and server.control("log.levels")["sip"] == "warning"
    write(server, "ngcpd:\n  log:\n    level: loud\n")
    server.send_signal(signal.SIGHUP)
    found = until(lambda: [text for text in server.log[before:].splitlines() if "refused" in text], 10.0)[0]
    assert "config.local.yml:3:12: ngcpd.log.level" in found
    assert server.control("log.levels")["edge"] == "debug"
    write(server, "ngcpd: {log: \n  [")
    done = ngcpctl(server, "reload")
    assert done.returncode == 1 and "the old settings stay: " in done.stderr and "config.local.yml:2:" in done.stderr
    write(server)
    done = ngcpctl(server, "reload")
    assert done.returncode == 0 and "ngcpd.log.level: in force\n" in done.stdout
    assert server.control("log.levels")["edge"] == "info" and server.control("status")["pid"] == pid
