"""The control socket: what comes in, what goes out, who may speak, what is left behind."""

from __future__ import annotations

import datetime
import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol

from ngcpd.ops.control import CommandError, ControlBusy, ControlServer, Stream
from ngcpd.ops.control_connection import MAX_LINE, MAX_PENDING, MAX_QUEUED
from ngcpd.runtime import log as logs


@dataclass
class Point:
    x: int
    when: datetime.datetime


class Away(Exception):
    pass


class Peer(Protocol):
    """A client inside of the test's reactor."""

    def __init__(self) -> None:
        self.data = b""
        self.lines: list[dict[str, Any]] = []
        self.waiting: tuple[int, Deferred[None]] | None = None
        self.lost: Deferred[None] = Deferred()
        self.gone = False

    def dataReceived(self, data: bytes) -> None:
        *lines, self.data = (self.data + data).split(b"\n")
        self.lines += [json.loads(line) for line in lines]
        if self.waiting is not None and len(self.lines) >= self.waiting[0]:
            waiting, self.waiting = self.waiting, None
            waiting[1].callback(None)

    def connectionLost(self, reason: object = None) -> None:
        self.gone = True
        self.lost.callback(None)

    async def replies(self, count: int) -> list[dict[str, Any]]:
        """The next `count` replies."""
        if len(self.lines) < count:
            self.waiting = (count, Deferred())
            await self.waiting[1].addTimeout(10, reactor)
        taken, self.lines = self.lines[:count], self.lines[count:]
        return taken

    def send(self, *requests: object) -> None:
        for request in requests:
            self.transport.write((request if isinstance(request, bytes) else json.dumps(request).encode()) + b"\n")

    async def ask(self, cmd: str, **args: object) -> dict[str, Any]:
        self.send({"id": 7, "cmd": cmd, "args": args})
        (reply,) = await self.replies(1)
        assert reply.pop("id") == 7
        return reply


class Rig:
    """A server with sample commands."""

    def __init__(self, path: str) -> None:
        self.pending: list[Deferred[object]] = []
        self.streams: list[Callable[[object], None]] = []
        self.ends: list[Callable[[object], None]] = []
        self.stopped = 0
        self.server = ControlServer(path, self.commands(), reactor, errors={Away: "unavailable"})
        self.peers: list[Peer] = []

    def commands(self) -> dict[str, Callable[[dict[str, Any]], Any]]:
        def later(args: dict[str, Any]) -> Deferred[object]:
            self.pending.append(Deferred())
            return self.pending[-1]

        def refuse(args: dict[str, Any]) -> object:
            raise CommandError("no such call", "not-found")

        def away(args: dict[str, Any]) -> object:
            raise Away("the database is away")

        def stream(args: dict[str, Any]) -> Stream:
            def start(emit: Callable[[object], None], end: Callable[[object], None]) -> Callable[[], None]:
                self.streams.append(emit)
                self.ends.append(end)
                for n in range(args.get("first", 0)):
                    emit(n)
                return self._stop

            return Stream(start)

        return {
            "echo": lambda args: args,
            "later": later,
            "refuse": refuse,
            "away": away,
            "bug": lambda args: 1 // 0,
            "odd": lambda args: {"d": Decimal("1.50"), "p": Point(1, datetime.datetime(2026, 1, 2)), "s": frozenset("ba"), "t": (1, 2)},
            "unsendable": lambda args: object(),
            "nan": lambda args: float("nan"),
            "stream": stream,
            "big": lambda args: "x" * args["size"],
            "badstream": lambda args: Stream(lambda emit, end: 1 // 0),
        }

    def _stop(self) -> None:
        self.stopped += 1

    async def connect(self) -> Peer:
        peer = await connectProtocol(UNIXClientEndpoint(reactor, self.server.path), Peer())
        self.peers.append(peer)
        return peer


@pytest.fixture
def path(tmp_path: Path) -> Iterator[str]:
    # the name of a UNIX socket has at most 107 bytes, so not below pytest's own long directories
    with tempfile.TemporaryDirectory(prefix="ctl") as directory:
        yield f"{directory}/ngcpd.ctl"


@pytest.fixture
def log_lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(logs.sink, "write", lines.append)
    return lines


def with_rig(test: Callable[[Rig], Any]) -> Callable[[str], Any]:
    """Run a test on a started server; afterwards nothing may be left."""

    async def run(path: str) -> None:
        rig = Rig(path)
        rig.server.start()
        try:
            await test(rig)
        finally:
            for peer in rig.peers:
                if not peer.gone:
                    peer.transport.loseConnection()
                    await peer.lost
            await rig.server.stop()
        assert not os.path.lexists(path) and not os.path.lexists(path + ".lock")
        assert not rig.server.factory.open

    def wrapper(path: str) -> Any:
        return ensureDeferred(run)(path)

    wrapper.__name__ = test.__name__
    wrapper.__doc__ = test.__doc__
    return wrapper


# --------------------------------------------------------------------------------------------------------------- requests
@with_rig
async def test_a_request_and_its_reply(rig: Rig) -> None:
    peer = await rig.connect()
    peer.send({"id": "a", "cmd": "echo", "args": {"x": [1, "é"]}}, {"cmd": "echo"}, {"id": None, "cmd": "echo", "args": None})
    assert await peer.replies(3) == [
        {"id": "a", "ok": True, "result": {"x": [1, "é"]}},
        {"id": None, "ok": True, "result": {}},
        {"id": None, "ok": True, "result": {}},
    ]


@with_rig
async def test_requests_in_pieces_and_several_at_once(rig: Rig) -> None:
    peer = await rig.connect()
    line = b'{"id": 1, "cmd": "echo"}\r\n\n{"id": 2, "cmd": "echo"}\n'
    for n in range(len(line)):
        peer.transport.write(line[n : n + 1])
    peer.transport.write(line)
    assert [r["id"] for r in await peer.replies(4)] == [1, 2, 1, 2]


@with_rig
async def test_results_that_json_does_not_know(rig: Rig) -> None:
    reply = await (await rig.connect()).ask("odd")
    assert reply["result"] == {"d": "1.50", "p": {"x": 1, "when": "2026-01-02T00:00:00"}, "s": ["a", "b"], "t": [1, 2]}


@with_rig
async def test_late_results_come_back_under_their_id(rig: Rig) -> None:
    peer = await rig.connect()
    peer.send({"id": 1, "cmd": "later"}, {"id": 2, "cmd": "later"}, {"id": 3, "cmd": "echo"})
    assert (await peer.replies(1))[0]["id"] == 3
    rig.pending[1].callback("two")
    rig.pending[0].errback(CommandError("gone", "conflict"))
    assert await peer.replies(2) == [{"id": 2, "ok": True, "result": "two"}, {"id": 1, "ok": False, "error": "gone", "code": "conflict"}]


@with_rig
async def test_a_result_after_the_client_left_harms_nothing(rig: Rig) -> None:
    peer = await rig.connect()
    peer.send({"id": 1, "cmd": "later"}, {"id": 2, "cmd": "echo"})
    await peer.replies(1)
    peer.transport.loseConnection()
    await peer.lost
    rig.pending[0].callback("nobody hears it")
    assert (await (await rig.connect()).ask("echo"))["ok"]


@with_rig
async def test_a_connection_has_so_many_open_requests(rig: Rig) -> None:
    peer = await rig.connect()
    peer.send(*({"id": n, "cmd": "later"} for n in range(MAX_PENDING + 1)))
    (reply,) = await peer.replies(1)
    assert reply["id"] == MAX_PENDING and reply["code"] == "unavailable"
    for d in rig.pending:
        d.callback(None)
    await peer.replies(MAX_PENDING)
    assert (await peer.ask("echo"))["ok"]


# ----------------------------------------------------------------------------------------------------------------- errors
@pytest.mark.parametrize(
    "line",
    [
        b"hello",
        b"[]",
        b"1",
        b"null",
        b'{"id": 1}',
        b'{"cmd": 5}',
        b'{"id": {}, "cmd": "echo"}',
        b'{"id": true, "cmd": "echo"}',
        b'{"id": 1.5, "cmd": "echo"}',
        b'{"cmd": "echo", "args": []}',
        b'{"cmd": "echo", "args": {"x": NaN}}',
        b'{"cmd": "echo", "args": {"x": ' + b"[" * 40 + b"]" * 40 + b"}}",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"id": ' + b"9" * 5000 + b', "cmd": "echo"}',
        b"\xff\xfe",
        b'{"cmd": "echo"',
        b"\x00",
    ],
)
@ensureDeferred
async def test_malformed_requests_are_answered(path: str, line: bytes) -> None:
    rig = Rig(path)
    rig.server.start()
    try:
        peer = await rig.connect()
        peer.send(line)
        (reply,) = await peer.replies(1)
        assert (reply["ok"], reply["code"], reply["id"]) == (False, "bad-request", None)
        assert (await peer.ask("echo"))["ok"]
    finally:
        await rig.server.stop()


@with_rig
async def test_a_line_without_end_is_cut_off(rig: Rig) -> None:
    peer = await rig.connect()
    peer.transport.write(b"x" * (MAX_LINE + 10))
    (reply,) = await peer.replies(1)
    assert reply["code"] == "bad-request" and "longer than" in reply["error"]
    await peer.lost


@with_rig
async def test_commands_that_fail(rig: Rig) -> None:
    peer = await rig.connect()
    assert await peer.ask("refuse") == {"ok": False, "error": "no such call", "code": "not-found"}
    assert await peer.ask("away") == {"ok": False, "error": "the database is away", "code": "unavailable"}
    assert (await peer.ask("nothing"))["code"] == "unknown-command"


@ensureDeferred
async def test_unexpected_failures_are_logged_and_not_told(path: str, log_lines: list[str]) -> None:
    rig = Rig(path)
    rig.server.start()
    try:
        peer = await rig.connect()
        for cmd in ("bug", "unsendable", "nan", "badstream"):
            assert await peer.ask(cmd) == {"ok": False, "error": "internal error, see the log of the daemon", "code": "internal"}
        peer.send({"id": 1, "cmd": "later"}, {"id": 2, "cmd": "echo"})
        await peer.replies(1)
        rig.pending[0].errback(KeyError("hidden"))
        assert (await peer.replies(1))[0]["code"] == "internal"
    finally:
        await rig.server.stop()
    assert [line for line in log_lines if "cmd=bug" in line and "ZeroDivisionError" in line and "test_control.py:" in line]
    assert len(log_lines) == 5


# ---------------------------------------------------------------------------------------------------------------- streams
@with_rig
async def test_a_stream_goes_on_until_the_client_leaves(rig: Rig) -> None:
    peer = await rig.connect()
    peer.send({"id": 5, "cmd": "stream", "args": {"first": 2}})
    assert await peer.replies(2) == [{"id": 5, "ok": True, "more": True, "result": n} for n in (0, 1)]
    rig.streams[0]({"row": 1})
    assert (await peer.replies(1))[0]["result"] == {"row": 1}
    other = await rig.connect()
    peer.transport.loseConnection()
    await peer.lost
    await other.ask("echo")
    assert rig.stopped == 1
    rig.streams[0]("nobody")


@with_rig
async def test_a_stream_that_ends_itself(rig: Rig) -> None:
    peer = await rig.connect()
    peer.send({"id": 5, "cmd": "stream", "args": {}}, {"id": 6, "cmd": "echo"})
    await peer.replies(1)
    rig.streams[0](1)
    rig.ends[0]("done")
    rig.ends[0]("twice")
    rig.streams[0](2)
    assert [(r["result"], r.get("more")) for r in await peer.replies(2)] == [(1, True), ("done", None)]
    peer.transport.loseConnection()
    await peer.lost
    assert rig.stopped == 0


@ensureDeferred
async def test_a_client_that_does_not_read_is_dropped(path: str, log_lines: list[str]) -> None:
    rig = Rig(path)
    rig.server.start()
    try:
        peer = await rig.connect()
        peer.send({"id": 5, "cmd": "stream", "args": {"first": 1}})
        await peer.replies(1)
        peer.transport.pauseProducing()
        sent = 0
        while not any("does not read" in line for line in log_lines):
            rig.streams[0]("x" * 65_536)
            sent += 65_536
            assert sent < MAX_QUEUED + (2 << 20)
        other = await rig.connect()
        assert (await other.ask("echo"))["ok"]
        peer.transport.resumeProducing()
        await peer.lost
        assert rig.stopped == 1
    finally:
        await rig.server.stop()


@with_rig
async def test_a_large_result_comes_whole(rig: Rig) -> None:
    reply = await (await rig.connect()).ask("big", size=8 << 20)
    assert len(reply["result"]) == 8 << 20


# ----------------------------------------------------------------------------------------------------------- the file system
@with_rig
async def test_the_socket_is_for_its_owner(rig: Rig) -> None:
    assert stat.S_IMODE(os.stat(rig.server.path).st_mode) == (0o600 if rig.server.gid is None else 0o660)
    assert stat.S_IMODE(os.stat(rig.server.path + ".lock").st_mode) == 0o600


@ensureDeferred
async def test_a_group_gets_the_socket(path: str) -> None:
    import grp

    name = grp.getgrgid(os.getgid()).gr_name
    server = ControlServer(path, {}, reactor, group=name)
    server.start()
    try:
        found = os.stat(path)
        assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o660, os.getgid())
    finally:
        await server.stop()


@ensureDeferred
async def test_a_second_server_is_refused_and_does_no_harm(path: str) -> None:
    rig, second = Rig(path), Rig(path)
    rig.server.start()
    try:
        with pytest.raises(ControlBusy, match=rf"another ngcpd \(pid {os.getpid()}\) already serves {path}; stop it first"):
            second.server.start()
        assert (await (await rig.connect()).ask("echo"))["ok"]
    finally:
        await rig.server.stop()
    second.server.start()
    assert (await (await second.connect()).ask("echo"))["ok"]
    await second.server.stop()


@ensureDeferred
async def test_what_a_dead_daemon_left_is_removed(path: str) -> None:
    code = (
        "import socket,sys,fcntl,os\n"
        "f=os.open(sys.argv[1]+'.lock',os.O_RDWR|os.O_CREAT);fcntl.flock(f,fcntl.LOCK_EX);os.write(f,b'999')\n"
        "s=socket.socket(socket.AF_UNIX);s.bind(sys.argv[1]);os._exit(9)\n"
    )
    assert subprocess.run([sys.executable, "-c", code, path], check=False).returncode == 9
    assert os.path.exists(path)
    rig = Rig(path)
    rig.server.start()
    assert (await (await rig.connect()).ask("echo"))["ok"]
    await rig.server.stop()


@ensureDeferred
async def test_something_else_in_the_way_stays(path: str) -> None:
    Path(path).write_text("mine")
    with pytest.raises(FileExistsError, match="is in the way and not a socket"):
        Rig(path).server.start()
    assert Path(path).read_text() == "mine" and not os.path.exists(path + ".lock")


@ensureDeferred
async def test_a_path_that_is_too_long_or_nowhere(path: str) -> None:
    with pytest.raises(OSError, match="too long"):
        Rig(path + "x" * 120).server.start()
    with pytest.raises(FileNotFoundError):
        Rig("/nowhere/at/all.ctl").server.start()


@ensureDeferred
async def test_stop_without_start_twice_and_without_the_file(path: str) -> None:
    server = Rig(path).server
    await server.stop()
    server.start()
    server.start()
    os.unlink(path)
    await server.stopService()
    await server.stopService()
    server.privilegedStartService()
    server.startService()
    assert server.running and os.path.exists(path)
    await server.stopService()
    assert not os.path.exists(path)


@ensureDeferred
async def test_stopping_hangs_up_on_clients(path: str) -> None:
    rig = Rig(path)
    rig.server.start()
    peer = await rig.connect()
    await peer.ask("echo")
    peer.send({"id": 1, "cmd": "stream", "args": {"first": 1}})
    await peer.replies(1)
    await rig.server.stop()
    await peer.lost
    assert rig.stopped == 1


@pytest.mark.skipif(os.getuid() != 0, reason="needs root to become somebody else")
@ensureDeferred
async def test_another_user_is_refused_even_when_the_file_lets_it_in(log_lines: list[str]) -> None:
    with tempfile.TemporaryDirectory(prefix="ctl") as directory:
        os.chmod(directory, 0o755)
        path = f"{directory}/c"
        rig = Rig(path)
        rig.server.start()
        os.chmod(path, 0o666)
        code = (
            "import os,socket,sys\nos.setgroups([]);os.setgid(65534);os.setuid(65534)\n"
            "s=socket.socket(socket.AF_UNIX);s.connect(sys.argv[1])\n"
            "d=b''\nwhile True:\n  c=s.recv(4096)\n  if not c: break\n  d+=c\nprint(d.decode())\n"
        )
        from twisted.internet.utils import getProcessOutput

        try:
            out = await getProcessOutput(sys.executable, ["-c", code, path], errortoo=True)
        finally:
            await rig.server.stop()
        reply = json.loads(out)
        assert reply["code"] == "denied" and "user id 65534 may not control this daemon" in reply["error"]
        assert out.count(b"\n") <= 2
        assert len(log_lines) == 1 and "uid=65534" in log_lines[0]


def test_the_command_table_is_what_the_client_sends() -> None:
    """Every command that ngcpctl sends is in the table of the door."""
    import re

    import ngcpd.ops.control as control

    told = set(re.findall(r"^\| ([a-z]+(?:\.[a-z]+)?) \|", control.__doc__ or "", re.MULTILINE)) - {"cmd"}
    source = "".join((Path(control.__file__).parents[1] / "cli" / name).read_text() for name in ("commands.py", "resources.py"))
    sent = set(re.findall(r'client\.call\("([a-z.]+)"', source))
    assert sent == told and len(sent) == 28
