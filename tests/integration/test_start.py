"""What keeps the daemon from starting: one clear line, the right exit status, nothing half-started."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.conftest import descendants
from tests.integration.sipp import bound
from tests.servers.daemon import DaemonProcess

CONFIG = 78


@pytest.fixture
def idle(tmp_path: Path) -> Iterator[DaemonProcess]:
    """A daemon that was not started."""
    made = DaemonProcess(tmp_path)
    yield made
    made.kill()


def refuses(daemon: DaemonProcess, status: int, *words: str, lines: int = 1, **environ: str) -> str:
    """It ends with `status` and says exactly one thing with all `words` (and, for a configuration, the sum); nothing of it is left."""
    before = set(descendants(os.getpid()))
    code, said = daemon.fails(30.0, **environ)
    assert code == status, said
    spoken = [line for line in said.splitlines() if " info " not in line]
    assert len(spoken) == lines, said
    assert any(all(word in line for word in words) for line in spoken), said
    assert "Traceback" not in said
    assert not bound(daemon.ip, daemon.port, "tcp") and not (daemon.state / "ngcpd.ctl").exists()
    assert set(descendants(os.getpid())) <= before
    return said


def test_wrong_yaml(idle: DaemonProcess) -> None:
    (idle.etc / "config.local.yml").write_text("kamailio:\n  lb: [unclosed\n")
    refuses(idle, CONFIG, "config.local.yml:", lines=2)
    assert not idle.state.exists()


def test_wrong_value(idle: DaemonProcess) -> None:
    (idle.etc / "config.local.yml").write_text("kamailio:\n  lb:\n    port: many\n")
    refuses(idle, CONFIG, "config.local.yml:3:11", "kamailio.lb.port", lines=2)


def test_missing_file(idle: DaemonProcess) -> None:
    (idle.etc / "network.yml").unlink()
    refuses(idle, CONFIG, "network.yml", "missing", lines=2)


def test_unknown_node(idle: DaemonProcess) -> None:
    refuses(idle, CONFIG, "NGCPD_NODE is elsewhere", "known are self", lines=2, NGCPD_NODE="elsewhere")


def test_unknown_key_is_a_warning(idle: DaemonProcess) -> None:
    idle.local["kamailio"]["lb"]["prot"] = 5062
    (idle.etc / "config.local.yml").write_text(json.dumps(idle.local, indent=1))
    idle.start()
    assert len(idle.lines(" warning ", "kamailio.lb.prot", "kamailio.lb.port")) == 1
    idle.stop()


@pytest.mark.parametrize("kind", ["udp", "tcp"])
def test_port_in_use(idle: DaemonProcess, kind: str) -> None:
    with socket.socket(type=socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM) as other:
        other.bind((idle.ip, idle.port))
        if kind == "tcp":
            other.listen()
        code, said = idle.fails()
        spoken = [line for line in said.splitlines() if " info " not in line]
        assert code == 1 and len(spoken) == 1 and f"{kind}:{idle.target}" in spoken[0] and "already in use" in spoken[0], said
        assert not bound(idle.ip, idle.port, "tcp" if kind == "udp" else "udp")
    idle.start()
    idle.stop()


def test_database_away(tmp_path: Path) -> None:
    """Nobody listens where MariaDB should be."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    made = DaemonProcess(tmp_path, ngcpd={"database": {"url": f"mysql+pymysql://ngcp:Hidden.1@127.0.0.1:{port}/ngcp"}})
    said = refuses(made, 1, "database cannot be reached", "ngcpd.database.url")
    assert "Hidden.1" not in said


def test_second_daemon_on_the_store(idle: DaemonProcess) -> None:
    """Another configuration with the same SQLite file."""
    idle.start()
    other = DaemonProcess(idle.directory / "other", ngcpd={"database": {"url": f"sqlite:///{idle.state / 'ngcpd.db'}"}})
    refuses(other, 1, f"pid {idle.pid}", str(idle.state / "ngcpd.db"))
    assert idle.counters()["store.available"] == 1
    idle.stop()


def test_second_daemon_in_the_state_directory(idle: DaemonProcess) -> None:
    idle.start()
    other = DaemonProcess(idle.directory / "other", ngcpd={"database": {"url": f"sqlite:///{idle.directory / 'another.db'}"}})
    text = (other.etc / "constants.yml").read_text().replace("state_dir: ./var", f"state_dir: {idle.state}")
    (other.etc / "constants.yml").write_text(text)
    code, said = other.fails()
    assert code == 1 and f"pid {idle.pid}" in said and len([line for line in said.splitlines() if " info " not in line]) == 1, said
    assert idle.counters()["store.available"] == 1
    idle.stop()


def test_secrets_that_others_can_read(idle: DaemonProcess) -> None:
    idle.start()
    idle.stop()
    secrets = idle.state / "secrets.yml"
    assert secrets.stat().st_mode & 0o777 == 0o600
    secrets.chmod(0o640)
    refuses(idle, CONFIG, "secrets.yml", "chmod 600", lines=2)


def test_lost_key(idle: DaemonProcess) -> None:
    idle.start()
    idle.stop()
    secrets = idle.state / "secrets.yml"
    text = secrets.read_text()
    secrets.write_text("\n".join(line for line in text.splitlines() if not line.startswith("sip_password_key")) + "\n")
    said = refuses(idle, CONFIG, "sip_password_key", "missing", lines=2)
    assert not [line.split("'")[1] for line in text.splitlines() if "'" in line and line.split("'")[1] in said]


def test_state_directory_not_writable(idle: DaemonProcess) -> None:
    """A file is in the way (the tests may run as root, whom permissions do not stop)."""
    idle.state.write_text("")
    refuses(idle, CONFIG, str(idle.state), lines=2)


def test_tls_without_certificate(tmp_path: Path) -> None:
    made = DaemonProcess(tmp_path, {"kamailio": {"lb": {"tls": {"enable": "yes", "sslcertfile": "/nowhere/cert.pem"}}}})
    said = refuses(made, CONFIG, "kamailio.lb.tls.sslcertfile", "/nowhere/cert.pem", lines=2)
    assert "Traceback" not in said


def test_unusable_certificate(tmp_path: Path) -> None:
    """It is there and no certificate."""
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificate.write_text("nothing\n")
    key.write_text("nothing\n")
    tls = {"enable": "yes", "sslcertfile": str(certificate), "sslcertkeyfile": str(key)}
    made = DaemonProcess(tmp_path / "d", {"kamailio": {"lb": {"tls": tls}}})
    refuses(made, CONFIG, "kamailio.lb.tls.sslcertfile", str(certificate), lines=2)


def test_address_of_another_machine(tmp_path: Path) -> None:
    made = DaemonProcess(tmp_path, hosts={"self": "192.0.2.77"})
    made.ip = "127.0.0.1"
    code, said = made.fails()
    spoken = [line for line in said.splitlines() if " info " not in line]
    assert code == 1 and len(spoken) == 1 and "udp:192.0.2.77:5060" in said and "network.yml" in said, said


def test_redis_away(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    made = DaemonProcess(tmp_path, ngcpd={"redis": {"url": f"redis://:Hidden.2@127.0.0.1:{port}/0"}})
    said = refuses(made, 1, "Redis cannot be reached", "ngcpd.redis.url", lines=2)  # the log of the client before
    assert "Hidden.2" not in said


def test_no_media_ports(tmp_path: Path) -> None:
    """All are taken by somebody else."""
    made = DaemonProcess(tmp_path, {"rtpproxy": {"minport": 30000, "maxport": 30003}})
    taken = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(4)]
    try:
        for n, other in enumerate(taken):
            other.bind((made.ip, 30000 + n))
        refuses(made, 1, "no free media ports", made.ip, "30000-30003")
    finally:
        for other in taken:
            other.close()


def test_config_check(idle: DaemonProcess) -> None:
    idle.command = (*idle.command, "--check")
    code, said = idle.fails()
    assert code == 0 and "the configuration is good" in said and not idle.state.exists()
