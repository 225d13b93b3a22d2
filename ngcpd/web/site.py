"""The HTTPS site of administrators: klein routes, size limits, answers written to the wire."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from klein import Klein
from twisted.internet.defer import CancelledError, Deferred
from twisted.web.http import HTTPChannel
from twisted.web.server import Request, Site
from werkzeug.exceptions import HTTPException

from ngcpd.runtime.log import logger
from ngcpd.web.rest.api import Api
from ngcpd.web.rest.message import Answer, Message, fault
from ngcpd.web.tls import peer

log = logger("web")
BODY = 1 << 20
HELD = 512 << 20
"""Bytes that all large bodies together may have in memory; one that comes beyond that is answered 503."""
CSV = 64 << 20
IDLE = 60


class Room:
    """How much of bodies is in memory. `limits`: the longest body of each media type, those that are not named have `BODY`."""

    def __init__(self, limits: Mapping[str, int], most: int = HELD) -> None:
        self.limits = limits
        self.most = most
        self.held = 0

    @property
    def largest(self) -> int:
        return max(BODY, *self.limits.values())


class LimitedRequest(Request):
    """A request whose body is kept in memory up to a limit; what comes beyond is counted and thrown away, far beyond ends the connection."""

    limit = BODY
    taken = 0
    held = 0
    left = False
    crowded = False
    defaultContentType = None

    content: io.BytesIO
    room: Room

    def gone(self) -> None:
        """The client has hung up."""
        self.left = True

    def gotLength(self, length: int | None) -> None:
        channel: Any = self.channel
        self.room = channel.site.room
        kind = (self.requestHeaders.getRawHeaders(b"content-type") or [b""])[0].partition(b";")[0].strip().lower()
        self.limit = self.room.limits.get(kind.decode("latin-1"), BODY)
        self.content = io.BytesIO()
        self.notifyFinish().addBoth(self._release)
        if length is not None and length > 2 * self.room.largest:
            self._cut()

    def handleContentChunk(self, data: bytes) -> None:
        self.taken += len(data)
        if self.taken <= self.limit and not self.crowded:
            if self.taken > BODY:
                self._hold(len(data))
            self.content.write(data)
        elif self.taken > 2 * self.room.largest:
            self._cut()

    def _hold(self, count: int) -> None:
        self.held += count
        self.room.held += count
        if self.room.held > self.room.most:
            self.crowded = True
            self.content = io.BytesIO()
            self._release(None)

    def _release(self, _: object) -> None:
        self.room.held -= self.held
        self.held = 0

    def _cut(self) -> None:
        channel: Any = self.channel
        channel.loseConnection()

    @property
    def too_big(self) -> bool:
        return self.taken > self.limit

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Bodies are never parsed as forms here."""
        self.args = {}
        self.method, self.uri = command, path
        self.clientproto = version
        self.path = path.split(b"?", 1)[0]
        handle: Any = self.process
        handle()


class Channel(HTTPChannel):
    """Limits what a client may send before its request is complete."""

    maxHeaders = 100
    transport: Any

    def lineLengthExceeded(self, line: bytes) -> None:
        """A request line or a header beyond 16 KiB: told so, and the end of the connection. (The parent's way waits on TLS for its own producer.)"""
        body = fault(400, "The request line or a header is too long.").body
        head = f"HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        self.transport.write(head.encode() + body)
        channel: Any = self
        channel.loseConnection()


class AdminSite(Site):
    """Our channel, no access log of its own, no tracebacks."""

    protocol: Any = Channel
    room: Room
    displayTracebacks = False

    def log(self, request: Any) -> None:
        return


def site(api: Api, most: int = HELD) -> AdminSite:
    """The site that serves the REST interface; everything else is not there. `most`: bytes of large bodies in memory at a time."""
    app = Klein()

    @app.route("/api/")
    @app.route("/api", branch=True)
    def rest(request: Any) -> Any:
        return respond(request, api)

    @app.route("/", branch=True)
    def nothing(request: Any) -> Any:
        return write(request, fault(404, "Path not found"))

    @app.handle_errors(HTTPException)
    def unroutable(request: Any, failure: Any) -> Any:
        """A path that routes cannot hold, for example with a line break in it."""
        return write(request, fault(404, "Path not found"))

    make: Any = AdminSite
    made: AdminSite = make(app.resource(), requestFactory=LimitedRequest, timeout=IDLE)
    made.room = Room({"text/csv": CSV, **api.limits()}, most)
    return made


def respond(request: Any, api: Api) -> Any:
    """Let the interface answer a request."""
    if request.too_big:
        return write(request, fault(413, "The message body is too big."))
    if request.crowded:
        return write(request, fault(503, "Too many uploads at a time, try again later.", {"Retry-After": "5"}))
    try:
        path = request.path.decode("ascii")
        query = request.uri.partition(b"?")[2].decode("ascii")
    except UnicodeDecodeError:
        return write(request, fault(400, "The request URI is not valid."))
    headers = {
        name.decode("latin-1").lower(): values[0].decode("latin-1") for name, values in request.requestHeaders.getAllRawHeaders() if values
    }
    host = request.getClientAddress()
    message = Message(request.method.decode("ascii", "replace"), path, query, headers, request.content.getvalue(), getattr(host, "host", "-"))
    work: Deferred[Answer] = Deferred.fromCoroutine(api.answer(message, peer(request.channel.transport)))
    request.notifyFinish().addErrback(lambda failure: request.gone())
    work.addErrback(_broken, message)
    return work.addCallback(_send, request)


def _broken(failure: Any, message: Message) -> Answer:
    """A fault of ours: told as such, logged once, nothing of it to the client."""
    failure.trap(Exception)
    if failure.check(CancelledError):
        return fault(500, "Internal Server Error.")
    log.error(
        "request failed",
        method=message.method,
        path=message.path,
        kind=failure.type.__name__,
        why=failure.getErrorMessage(),
        at=failure.getTraceback(elideFrameworkCode=True),
    )
    return fault(500, "Internal Server Error.")


def _send(answer: Answer, request: Any) -> bytes:
    return b"" if request.left else write(request, answer)


def write(request: Any, answer: Answer) -> bytes:
    """Status, headers and body; klein finishes the request with the empty rest that is returned."""
    request.setResponseCode(answer.status)
    for replaced in (b"content-type", b"server"):
        request.responseHeaders.removeHeader(replaced)
    request.setHeader(b"server", b"ngcpd")
    if answer.body:
        request.setHeader(b"content-type", answer.kind.encode())
    for name, value in answer.headers:
        request.responseHeaders.addRawHeader(name.encode(), value.encode("utf-8"))
    request.setHeader(b"cache-control", b"no-store")
    request.setHeader(b"x-content-type-options", b"nosniff")
    if answer.status != 204:
        request.setHeader(b"content-length", str(len(answer.body)).encode())
    if request.method != b"HEAD" and answer.body:
        request.write(answer.body)
    return b""
