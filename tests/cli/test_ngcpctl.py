"""ngcpctl as a process against a control socket with sample commands, and without one."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.utils import getProcessOutputAndValue

from ngcpd.ops.control import CommandError, ControlServer, Stream
from tests.config.room import Room

TOP = Path(__file__).resolve().parents[2]
REGISTRATION = {
    "user": "alice@example.org",
    "contact": "sip:alice@192.0.2.5:5070\x1b[31m",
    "transport": "udp",
    "received": "192.0.2.5:5070",
    "socket": "udp:127.0.0.1:5060",
    "user_agent": "phone",
    "expires": 55,
    "q": None,
    "nat": True,
    "permanent": False,
}
CALL = {
    "call_id": "abc@host",
    "state": "answered",
    "caller": "a@b",
    "callee": "c@d",
    "started": 1700000000.5,
    "answered": 1700000001.0,
    "duration": 3725.2,
}
CDR = {
    "id": 1,
    "call_id": "abc@host",
    "start_time": 1700000000.5,
    "duration": 2.25,
    "source": "a@b",
    "destination": "c@d",
    "call_status": "ok",
    "call_code": "200",
}


class Sample:
    """Commands that remember what they were asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.emit: Callable[[object], None] | None = None
        self.left: Deferred[None] = Deferred()
        self.answers: dict[str, object] = {
            "status": {"version": "1", "node": "self", "roles": ["lb", "proxy"], "uptime": 90061.0, "counters": {"calls": 3}},
            "registrations": [REGISTRATION, {**REGISTRATION, "user": "bob@example.org", "expires": None}],
            "calls": [CALL],
            "call.trace": {
                "call_id": "abc@host",
                "caller": "a@b",
                "stages": [{"stage": "C1 x", "looked_at": {"domain": "b"}, "verdict": "continue"}],
            },
            "route": [{"stage": "C1 x", "looked_at": {}, "verdict": "reject 403"}],
            "log.levels": {"sip": "info", "calls": "debug"},
            "log.set": {"sip": "debug"},
            "stop": {"stopping": True},
            "domain.list": [{"id": 1, "domain": "example.org", "reseller_id": 1}],
            "domain.add": {"id": 2, "domain": "new.example"},
            "subscriber.list": [],
            "subscriber.show": {"id": 3, "user": "alice@example.org", "aliases": ["431", "432"], "prefs": {"cli": ["431"]}},
            "subscriber.add": {"id": 3, "uuid": "u", "user": "alice@example.org"},
            "subscriber.delete": {"user": "alice@example.org"},
            "subscriber.password": {"user": "alice@example.org"},
            "pref.get": {"cli": ["431"], "allowed_clis": ["43*", "44*"]},
            "pref.set": {"cli": ["431"]},
            "lock.set": {"user": "alice@example.org", "level": None},
        }

    def commands(self) -> dict[str, Callable[[dict[str, Any]], Any]]:
        def make(name: str) -> Callable[[dict[str, Any]], Any]:
            def run(args: dict[str, Any]) -> Any:
                self.asked.append((name, args))
                return self.answers[name]

            return run

        return {**{name: make(name) for name in self.answers}, "cdrs": self.cdrs}

    def cdrs(self, args: dict[str, Any]) -> Any:
        self.asked.append(("cdrs", args))
        if args.get("last") == 13:
            raise CommandError("thirteen is refused", "invalid")
        if not args.get("follow"):
            return [CDR]

        def start(emit: Callable[[object], None], end: Callable[[object], None]) -> Callable[[], None]:
            self.emit = emit
            emit(CDR)
            return lambda: self.left.callback(None)

        return Stream(start)


@pytest.fixture
def path() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="ctl") as directory:
        yield f"{directory}/ngcpd.ctl"


ENVIRON = {**os.environ, "PYTHONPATH": str(TOP), "COLUMNS": "100", "TZ": "UTC"}


async def ctl(*args: str) -> tuple[str, str, int]:
    """stdout, stderr and exit status of ngcpctl."""
    out, err, code = await getProcessOutputAndValue(sys.executable, ["-m", "ngcpd.cli.ngcpctl", *args], env=ENVIRON, path=str(TOP))
    return out.decode(), err.decode(), code


def served(test: Callable[[Sample, Callable[..., Any]], Any]) -> Callable[[str], Any]:
    """Run a test with a server on a socket; `run(*args)` is ngcpctl on it and must succeed without a word on stderr."""

    async def body(path: str) -> None:
        sample = Sample()
        server = ControlServer(path, sample.commands(), reactor)
        server.start()

        async def run(*args: str) -> str:
            out, err, code = await ctl("--socket", path, *args)
            assert (err, code) == ("", 0)
            return out

        try:
            await test(sample, run)
        finally:
            await server.stop()

    def wrapper(path: str) -> Any:
        return ensureDeferred(body)(path)

    wrapper.__name__ = test.__name__
    return wrapper


@served
async def test_status(sample: Sample, run: Callable[..., Any]) -> None:
    assert await run("status") == "version  1\nnode     self\nroles    lb, proxy\nuptime   1 d 01:01:01\n\ncalls  3\n"
    assert json.loads(await run("--json", "status")) == sample.answers["status"] == json.loads(await run("status", "--json"))


@served
async def test_registrations(sample: Sample, run: Callable[..., Any]) -> None:
    lines = (await run("registrations", "--user", "alice@example.org")).splitlines()
    assert lines[0].split() == ["USER", "CONTACT", "TRANSPORT", "RECEIVED", "EXPIRES", "Q", "NAT", "AGENT"]
    assert "\\x1b[31m" in lines[1] and "55 s" in lines[1] and "never" in lines[2] and "\x1b" not in lines[1]
    assert sample.asked == [("registrations", {"user": "alice@example.org"})]


@served
async def test_calls_and_trace(sample: Sample, run: Callable[..., Any]) -> None:
    assert "abc@host  answered  a@b     c@d     2023-11-14 22:13:20  01:02:05" in await run("calls")
    out = await run("call", "trace", "abc@host")
    assert "  1. C1 x: continue\n       domain = b\n" in out
    sample.answers["calls"] = []
    assert await run("calls") == "no calls\n"
    assert await run("route", "a@b", "431", "--source-ip", "192.0.2.1") == "  1. C1 x: reject 403\n"
    assert sample.asked[1] == ("call.trace", {"call_id": "abc@host"})
    assert sample.asked[-1] == ("route", {"caller": "a@b", "callee": "431", "source_ip": "192.0.2.1"})


@served
async def test_cdrs(sample: Sample, run: Callable[..., Any]) -> None:
    assert "1   2023-11-14 22:13:20  2.25      a@b     c@d          ok      200   abc@host" in await run("cdrs", "--last", "5")
    assert sample.asked == [("cdrs", {"last": 5})]


@served
async def test_log_and_stop(sample: Sample, run: Callable[..., Any]) -> None:
    assert await run("log", "levels") == "sip    info\ncalls  debug\n"
    await run("log", "set", "sip", "debug")
    assert await run("stop") == "the daemon stops\n"
    assert sample.asked[1:] == [("log.set", {"room": "sip", "level": "debug"}), ("stop", {})]


@served
async def test_writes(sample: Sample, run: Callable[..., Any]) -> None:
    await run("domain", "add", "new.example")
    assert "example.org" in await run("domain", "list")
    await run(
        "subscriber", "add", "sip:alice@example.org", "--password", "s3cret", "--number", "43-1-12345", "--alias", "372--55", "--alias", "1-2-3"
    )
    assert await run("subscriber", "list", "--domain", "example.org") == "no subscribers\n"
    out = await run("subscriber", "show", "alice@example.org")
    assert "aliases  431, 432\n" in out and "PREFERENCE  VALUE\ncli         431\n" in out
    await run("subscriber", "password", "alice@example.org", "--password", "n")
    await run("subscriber", "delete", "alice@example.org")
    assert "allowed_clis  43*, 44*\n" in await run("pref", "get", "alice@example.org")
    await run("pref", "set", "alice@example.org", "allowed_clis", "43*", "44*")
    await run("pref", "set", "alice@example.org", "cli")
    await run("lock", "set", "alice@example.org", "4")
    await run("lock", "set", "alice@example.org", "none")
    user = {"user": "alice@example.org"}
    assert [a for a in sample.asked if a[0] not in ("domain.list",)] == [
        ("domain.add", {"domain": "new.example"}),
        (
            "subscriber.add",
            {
                **user,
                "password": "s3cret",
                "number": {"cc": "43", "ac": "1", "sn": "12345"},
                "aliases": [{"cc": "372", "ac": "", "sn": "55"}, {"cc": "1", "ac": "2", "sn": "3"}],
            },
        ),
        ("subscriber.list", {"domain": "example.org"}),
        ("subscriber.show", user),
        ("subscriber.password", {**user, "password": "n"}),
        ("subscriber.delete", user),
        ("pref.get", user),
        ("pref.set", {**user, "name": "allowed_clis", "values": ["43*", "44*"]}),
        ("pref.set", {**user, "name": "cli", "values": []}),
        ("lock.set", {**user, "level": 4}),
        ("lock.set", {**user, "level": None}),
    ]


@ensureDeferred
async def test_a_password_from_standard_input(path: str) -> None:
    sample = Sample()
    server = ControlServer(path, sample.commands(), reactor)
    server.start()
    try:
        child = Child(["--socket", path, "subscriber", "add", "a@b", "--password", "-"], stdin=b"from stdin\n")
        assert await child.ended == 0
        out, err, code = await ctl("--socket", path, "subscriber", "add", "a@b")
        assert code == 2 and "--password" in err and out == ""
    finally:
        await server.stop()
    assert sample.asked == [("subscriber.add", {"user": "a@b", "password": "from stdin", "number": None, "aliases": []})]


class Child(ProcessProtocol):
    """ngcpctl with its output as it comes."""

    def __init__(self, args: list[str], stdin: bytes | None = None) -> None:
        self.out = b""
        self.err = b""
        self.stdin = stdin
        self.ended: Deferred[int | None] = Deferred()
        self.waiting: tuple[bytes, Deferred[None]] | None = None
        reactor.spawnProcess(self, sys.executable, [sys.executable, "-m", "ngcpd.cli.ngcpctl", *args], env=ENVIRON, path=str(TOP))

    def connectionMade(self) -> None:
        if self.stdin is not None:
            self.transport.write(self.stdin)
        self.transport.closeStdin()

    def outReceived(self, data: bytes) -> None:
        self.out += data
        self._look()

    def errReceived(self, data: bytes) -> None:
        self.err += data

    def _look(self) -> None:
        if self.waiting is not None and self.waiting[0] in self.out:
            waiting, self.waiting = self.waiting, None
            waiting[1].callback(None)

    async def says(self, text: bytes) -> None:
        found: Deferred[None] = Deferred()
        self.waiting = (text, found)
        self._look()
        await found.addTimeout(15, reactor)

    def processEnded(self, reason: Any) -> None:
        self.ended.callback(reason.value.exitCode)


@ensureDeferred
async def test_following_call_records(path: str) -> None:
    sample = Sample()
    server = ControlServer(path, sample.commands(), reactor)
    server.start()
    try:
        child = Child(["--socket", path, "cdrs", "--follow", "--last", "1"])
        await child.says(b"abc@host\n")
        assert sample.asked == [("cdrs", {"last": 1, "follow": True})] and sample.emit is not None
        sample.emit({**CDR, "id": 2, "call_id": "second"})
        await child.says(b"second\n")
        child.transport.signalProcess(signal.SIGINT)
        assert await child.ended == 0 and child.err == b""
        await sample.left.addTimeout(10, reactor)
        again = Child(["--socket", path, "--json", "cdrs", "--follow"])
        await again.says(b"\n")
        assert json.loads(again.out) == CDR
    finally:
        await server.stop()
    assert await again.ended == 1
    assert again.err == b"ngcpctl: the daemon hung up; it may have been stopped\n"


@ensureDeferred
async def test_a_refusal_is_one_line(path: str) -> None:
    server = ControlServer(path, Sample().commands(), reactor)
    server.start()
    try:
        assert await ctl("--socket", path, "cdrs", "--last", "13") == ("", "ngcpctl: thirteen is refused\n", 1)
    finally:
        await server.stop()


@ensureDeferred
async def test_no_daemon(path: str, tmp_path: Path) -> None:
    out, err, code = await ctl("--socket", path, "status")
    assert (out, code) == ("", 1)
    assert err == f"ngcpctl: the daemon is not running (nobody listens on {path}); start it with: ngcpd\n"
    Room(tmp_path)
    _, err, code = await ctl("--config-dir", str(tmp_path / "etc"), "status")
    assert code == 1 and f"nobody listens on {tmp_path}/var/ngcpd.ctl" in err
    _, err, code = await ctl("--socket", "/" + "x" * 200, "status")
    assert code == 1 and err.count("\n") == 1 and "too long" in err


@ensureDeferred
async def test_something_else_on_the_socket(path: str) -> None:
    from twisted.internet.protocol import Factory, Protocol

    class Hello(Protocol):
        def connectionMade(self) -> None:
            self.transport.write(b"220 mail.example ESMTP\n")

    port = reactor.listenUNIX(path, Factory.forProtocol(Hello))
    try:
        _, err, code = await ctl("--socket", path, "status")
    finally:
        await port.stopListening()
    assert code == 1 and err == f"ngcpctl: what answers on {path} is not ngcpd\n"


@ensureDeferred
async def test_a_wrong_configuration_does_not_hide_the_way_in(tmp_path: Path) -> None:
    room = Room(tmp_path)
    room.write("config.yml", "a: [\n")
    _, err, code = await ctl("-c", str(room.path), "status")
    assert code == 78 and "config.yml:2:1: invalid file syntax" in err and "--socket PATH" in err


@pytest.mark.parametrize(
    "args",
    [
        ["--help"], ["status", "--help"], ["call", "--help"], ["call", "trace", "--help"], ["subscriber", "add", "--help"], ["config", "--help"],
        ["config", "check", "--help"], ["log", "set", "--help"], ["pref", "--help"], ["lock", "set", "--help"], ["--version"],
    ],
)  # fmt: skip
def test_help_everywhere(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    from ngcpd.cli.ngcpctl import main

    with pytest.raises(SystemExit) as caught:
        main(args)
    captured = capsys.readouterr()
    assert caught.value.code == 0 and captured.err == "" and ("usage: ngcpctl" in captured.out or "ngcpctl 0" in captured.out)


@pytest.mark.parametrize(
    "args",
    [
        [], ["nonsense"], ["call"], ["subscriber", "add"], ["subscriber", "add", "nobody", "--password", "x"], ["subscriber", "show", "a b@c"],
        ["subscriber", "add", "a@b", "--password", "x", "--number", "431234"], ["subscriber", "add", "a@b", "--password", "x", "--number", "0-1-2"],
        ["lock", "set", "a@b", "9"], ["log", "set", "sip", "loud"], ["cdrs", "--last", "-1"], ["cdrs", "--last", "x"],
        ["config", "defaults", "other.yml"],
    ],
)  # fmt: skip
def test_wrong_usage(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    from ngcpd.cli.ngcpctl import main

    with pytest.raises(SystemExit) as caught:
        main(args)
    captured = capsys.readouterr()
    assert caught.value.code == 2 and captured.out == "" and "usage: ngcpctl" in captured.err
