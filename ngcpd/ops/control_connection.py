"""One connection of the control socket: requests in, replies and streams out, nothing a client sends can do harm."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import json
import os
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.protocol import Protocol as Connection
from twisted.python.failure import Failure

from ngcpd.runtime.log import logger

log = logger("control")

MAX_LINE = 1 << 20
MAX_DEPTH = 32
MAX_CONNECTIONS = 64
MAX_PENDING = 32
MAX_QUEUED = 4 << 20
"""Bytes of further replies that a client may leave unread."""

Emit = Callable[[object], None]
Command = Callable[[dict[str, Any]], Any]
Peer = Callable[[Any], tuple[int, set[int]]]
"""User id and group ids of the process at the other end of a transport."""


class CommandError(Exception):
    """A command cannot be done; the text is for the client."""

    def __init__(self, message: str, code: str = "invalid") -> None:
        super().__init__(message)
        self.code = code


class Stream:
    """Result of a command that goes on: `start(emit, end)` begins and returns what stops it. `emit(item)` sends one item, `end(result)` the last."""

    def __init__(self, start: Callable[[Emit, Emit], Callable[[], None]]) -> None:
        self.start = start


def to_json(value: object) -> object:
    """What json.dumps does not know itself."""
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, datetime.datetime | datetime.date):
        return value.isoformat()
    if isinstance(value, frozenset | set):
        return sorted(value)
    if isinstance(value, Mapping):
        return dict(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    raise TypeError(f"a {type(value).__name__} cannot be sent")


def _constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def _depth(value: object, left: int = MAX_DEPTH) -> bool:
    """True when a decoded value is nested at most `left` levels deep."""
    if isinstance(value, dict):
        return left > 0 and all(_depth(v, left - 1) for v in value.values())
    if isinstance(value, list):
        return left > 0 and all(_depth(v, left - 1) for v in value)
    return True


def decode(line: bytes) -> tuple[object, str, dict[str, Any]]:
    """id, cmd and args of a request. CommandError (bad-request) for anything else."""
    try:
        request = json.loads(line.decode("utf-8"), parse_constant=_constant)
    except (ValueError, RecursionError) as error:
        raise CommandError("the request is not one JSON object on one line", "bad-request") from error
    if not isinstance(request, dict) or not _depth(request):
        raise CommandError("the request is not a JSON object, or is nested too deep", "bad-request")
    ident, cmd, args = request.get("id"), request.get("cmd"), request.get("args")
    if not (ident is None or isinstance(ident, str | int)) or isinstance(ident, bool) or not isinstance(cmd, str):
        raise CommandError("the request needs cmd (text) and id (number or text)", "bad-request")
    if args is None:
        args = {}
    if not isinstance(args, dict):
        raise CommandError("args must be an object", "bad-request")
    return ident, cmd, args


class ControlConnection(Connection):
    """One client."""

    factory: ControlFactory
    transport: Any

    def __init__(self) -> None:
        self.buffer = bytearray()
        self.scanned = 0
        self.pending = 0
        self.stops: list[Callable[[], None]] = []
        self.paused = False
        self.queued = 0
        self.closing = False

    # connection -------------------------------------------------------------------------------------------------------
    def connectionMade(self) -> None:
        self.factory.open.add(self)
        refusal = self._refusal()
        if refusal:
            self._reply(None, ok=False, error=refusal, code="denied")
            self.hang_up()
            return
        self.transport.registerProducer(self, True)

    def _refusal(self) -> str:
        if len(self.factory.open) > MAX_CONNECTIONS:
            log.limited("connections", 60.0, "control connection refused", reason="too many connections")
            return "too many connections"
        uid, groups = self.factory.peer(self.transport)
        if uid in (0, os.geteuid()) or (self.factory.gid is not None and self.factory.gid in groups):
            return ""
        log.limited(uid, 60.0, "control connection refused", uid=uid)
        return f"user id {uid} may not control this daemon"

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closing = True
        self.factory.open.discard(self)
        stops, self.stops = self.stops, []
        for stop in stops:
            stop()

    def hang_up(self) -> None:
        """Close after what is queued has been sent."""
        self.closing = True
        if self.transport is not None:
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    # IPushProducer: the transport says when a client does not read --------------------------------------------------------
    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False
        self.queued = 0

    def stopProducing(self) -> None:
        self.paused = True

    # requests ---------------------------------------------------------------------------------------------------------
    def dataReceived(self, data: bytes) -> None:
        if self.closing:
            return
        self.buffer += data
        while not self.closing:
            end = self.buffer.find(b"\n", self.scanned)
            if end < 0:
                self.scanned = len(self.buffer)
                break
            line = bytes(self.buffer[:end]).strip()
            del self.buffer[: end + 1]
            self.scanned = 0
            if len(line) > MAX_LINE:
                self._too_long()
                return
            if line:
                self._request(line)
        if len(self.buffer) > MAX_LINE:
            self._too_long()

    def _too_long(self) -> None:
        self.buffer.clear()
        self._reply(None, ok=False, error=f"the line is longer than {MAX_LINE} bytes", code="bad-request")
        self.hang_up()

    def _request(self, line: bytes) -> None:
        try:
            ident, cmd, args = decode(line)
        except CommandError as error:
            self._reply(None, ok=False, error=str(error), code=error.code)
            return
        command = self.factory.commands.get(cmd)
        if command is None:
            self._reply(ident, ok=False, error=f"there is no command {cmd[:60]}", code="unknown-command")
            return
        if self.pending >= MAX_PENDING:
            self._reply(ident, ok=False, error="too many requests at a time on this connection", code="unavailable")
            return
        self.pending += 1
        try:
            result = command(args)
        except Exception as error:  # noqa: BLE001 - boundary: what a command raises is answered, and logged when it was not meant for the client
            self._failed(ident, cmd, error)
            return
        if isinstance(result, Deferred):
            result.addCallbacks(self._result, self._errback, callbackArgs=(ident, cmd), errbackArgs=(ident, cmd))
        else:
            self._result(result, ident, cmd)

    def _result(self, result: object, ident: object, cmd: str) -> None:
        if isinstance(result, Stream):
            self._stream(result, ident, cmd)
            return
        self.pending -= 1
        self._reply(ident, cmd=cmd, ok=True, result=result)

    def _errback(self, failure: Failure, ident: object, cmd: str) -> None:
        self._failed(ident, cmd, failure.value or RuntimeError("failure without a value"))

    def _failed(self, ident: object, cmd: str, error: BaseException) -> None:
        self.pending -= 1
        if isinstance(error, CommandError):
            self._reply(ident, ok=False, error=str(error), code=error.code)
            return
        for kind, code in self.factory.errors.items():
            if isinstance(error, kind):
                self._reply(ident, ok=False, error=str(error) or code, code=code)
                return
        log.error("control command failed", cmd=cmd, reason=f"{type(error).__name__}: {error}", where=_where(error))
        self._reply(ident, ok=False, error="internal error, see the log of the daemon", code="internal")

    # streams ----------------------------------------------------------------------------------------------------------
    def _stream(self, stream: Stream, ident: object, cmd: str) -> None:
        if self.closing:
            self.pending -= 1
            return
        ended = False
        stops: list[Callable[[], None]] = []

        def emit(item: object) -> None:
            if not ended and not self.closing:
                self._reply(ident, cmd=cmd, ok=True, more=True, result=item)

        def end(result: object) -> None:
            nonlocal ended
            if ended or self.closing:
                return
            ended = True
            self.pending -= 1
            for stop in stops:
                if stop in self.stops:
                    self.stops.remove(stop)
            self._reply(ident, cmd=cmd, ok=True, result=result)

        try:
            stop = stream.start(emit, end)
        except Exception as error:  # noqa: BLE001 - boundary, as above
            ended = True
            self._failed(ident, cmd, error)
            return
        if not ended:
            stops.append(stop)
            self.stops.append(stop)

    # replies ----------------------------------------------------------------------------------------------------------
    def _reply(self, ident: object, *, cmd: str = "", **fields: object) -> None:
        if self.transport is None or not self.transport.connected:
            return
        try:
            text = json.dumps({"id": ident, **fields}, default=to_json, ensure_ascii=False, allow_nan=False)
        except (TypeError, ValueError) as error:
            log.error("control result cannot be sent", cmd=cmd, reason=str(error))
            text = json.dumps({"id": ident, "ok": False, "error": "internal error, see the log of the daemon", "code": "internal"})
        data = text.encode("utf-8", "replace") + b"\n"
        if self.paused:
            self.queued += len(data)
            if self.queued > MAX_QUEUED:
                log.warning("control connection dropped", reason="the client does not read")
                self.closing = True
                self.transport.unregisterProducer()
                self.transport.abortConnection()
                return
        self.transport.write(data)


def _where(error: BaseException) -> str:
    """File and line of an unexpected exception."""
    frame = error.__traceback__
    last = ""
    while frame is not None:
        last = f"{os.path.basename(frame.tb_frame.f_code.co_filename)}:{frame.tb_lineno}"
        frame = frame.tb_next
    return last


class ControlFactory(Factory):
    protocol = ControlConnection  # type: ignore[assignment]
    noisy = False

    def __init__(self, commands: Mapping[str, Command], errors: Mapping[type[Exception], str], gid: int | None, peer: Peer) -> None:
        self.commands = commands
        self.errors = errors
        self.gid = gid
        self.peer = peer
        self.open: set[ControlConnection] = set()


