"""The control socket: JSON lines over a UNIX socket in the state directory, spoken by `ngcpctl`.

Request  {"id": 1, "cmd": "calls", "args": {}}          `id` is a number, text or null and comes back; `args` may be missing.
Reply    {"id": 1, "ok": true, "result": ...}
         {"id": 1, "ok": false, "error": "no such call", "code": "not-found"}
Stream   {"id": 1, "ok": true, "more": true, "result": item} any number of times, then a reply as above; it ends when the client hangs up.

A command is a function of its arguments (a dict): it returns the result, a Deferred of it, or a `Stream`; it raises `CommandError` to be told
to the client. Other exceptions are logged and answered "internal error", except those named in `errors` (type -> code), whose text is told.
Codes: bad-request, unknown-command, not-found, invalid, conflict, unavailable, denied, internal.

Commands of the daemon; times are seconds since the epoch, durations seconds, numbers E.164 text, a user is "user@domain"; extra fields may follow:

| cmd | args | result |
|---|---|---|
| status | | {version, node, roles: [..], pid, uptime, config_dir, listeners: ["udp:127.0.0.1:5060" ..], counters: {name: number}} |
| registrations | user? | [{user, contact, transport, received ("ip:port" or null), socket, user_agent, expires, q, nat, permanent}] |
| | | expires: seconds left, null = permanent |
| registration.add | user, contact, q (number), nat (bool), path ("" or Path values) | {user, ruid, contact}: a permanent registration |
| registration.remove | user, contact? (none = all of the user) | {user, removed: count}; code not-found |
| calls | | [{call_id, state, caller, callee, started, answered (or null), duration}] |
| call.trace | call_id | {call_id, caller, callee, state, stages: [{stage, looked_at: {name: value}, verdict}]} or not-found |
| cdrs | last (default 20), follow | [{id, call_id, start_time, duration, source, destination, call_status, call_code}], oldest first |
| | | with follow: a Stream of such items, the last ones first, then every new one |
| log.levels | | {room: level} |
| log.set | room ("*" = all), level | {room: level} of all rooms; code invalid |
| reload | | {live: [key], restart: [key], unused: [key], warnings: [text]}; code invalid with all problems: nothing changed |
| stop | | {stopping: true}; the daemon stops after the reply |
| domain.list | | [{id, domain, reseller_id}] |
| domain.add | domain | {id, domain} |
| subscriber.list | domain? | [{id, uuid, user, status, number}] |
| subscriber.show | user | {id, uuid, user, status, number, aliases: [..], lock, prefs: {name: [..]}, registrations: count} |
| subscriber.add | user, password, number: {cc, ac, sn} or null, aliases: [{cc, ac, sn}] | {id, uuid, user} |
| subscriber.delete | user | {user} |
| pref.get | user, name? | {name: [values]} |
| pref.set | user, name, values: [..] ([] removes) | {name: [values]} |
| subscriber.password | user, password | {user} |
| lock.set | user, level: 0..5 or null | {user, level} |
| resource.names | | [name] of all declared resources (docs/rest.md) |
| resource.list | resource, query: {filter: text} | {total, page, rows, items: [document]} |
| resource.show | resource, id | document |
| resource.create | resource, values: {field: value} | document |
| resource.set | resource, id, values: {field: value}, others stay | document |
| resource.delete | resource, id | {id, deleted: true} |
| route | caller, callee, source_ip? | [{stage, looked_at, verdict}]: what would happen to such a call, nothing is sent |
"""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import pwd
import stat
import struct
from collections.abc import Mapping
from socket import SO_PEERCRED, SOL_SOCKET
from typing import Any, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError

from ngcpd.ops.control_connection import Command, CommandError, ControlFactory, Emit, Stream
from ngcpd.runtime.log import logger

__all__ = ["Command", "CommandError", "ControlBusy", "ControlServer", "Emit", "Stream", "lock"]

log = logger("control")

GROUP = "ngcpd"
_SO_PEERGROUPS = 59


class UnixReactor(Protocol):
    """What of a reactor is used here."""

    def listenUNIX(self, address: str, factory: ControlFactory, backlog: int = ..., mode: int = ..., wantPID: bool = ...) -> Any:
        """A listening port with `stopListening`."""


class ControlServer(Service):
    """Listens on `path` and runs `commands`.

    The socket has mode 0600, or 0660 and group ngcpd if that group exists and may be given. A lock file beside it (`path`.lock) keeps a
    second daemon out; a socket that a dead daemon left is removed. `start` raises `ControlBusy` or OSError.
    """

    def __init__(
        self,
        path: str,
        commands: Mapping[str, Command],
        reactor: UnixReactor,
        *,
        errors: Mapping[type[Exception], str] | None = None,
        group: str = GROUP,
    ) -> None:
        self.path = path
        self.reactor = reactor
        self.gid = _gid(group)
        self.factory = ControlFactory(commands, errors or {}, self.gid, peer)
        self._lock: int | None = None
        self._port: Any = None

    def start(self) -> None:
        """Lock, clean up, listen. Does nothing when it listens already."""
        if self._port is not None:
            return
        self._lock = lock(self.path + ".lock")
        try:
            if os.path.lexists(self.path):
                if not stat.S_ISSOCK(os.lstat(self.path).st_mode):
                    raise FileExistsError(errno.EEXIST, "is in the way and not a socket", self.path)
                os.unlink(self.path)
            before = os.umask(0o177)
            try:
                self._port = self.reactor.listenUNIX(self.path, self.factory, mode=0o600, wantPID=False)
            except CannotListenError as error:
                reason = error.socketError
                raise OSError(getattr(reason, "errno", None) or errno.EINVAL, f"cannot listen: {reason}", self.path) from error
            finally:
                os.umask(before)
            self._share()
        except BaseException:
            self._unlock()
            raise

    def _share(self) -> None:
        """Give the socket to the group, where there is one and the daemon may."""
        if self.gid is None:
            return
        try:
            os.chown(self.path, -1, self.gid)
            os.chmod(self.path, 0o660)
        except PermissionError:
            log.info("control socket stays with its owner", reason="this user cannot give it to the group")

    def stop(self) -> Deferred[None]:
        """Stop listening, hang up on all clients, remove socket and lock."""
        port, self._port = self._port, None
        for connection in list(self.factory.open):
            connection.hang_up()
        if port is None:
            self._unlock()
            return maybeDeferred(lambda: None)
        if not os.path.lexists(self.path):
            # closing the port removes the file and fails, for good, when somebody else has removed it already
            open(self.path, "x").close()
        closed: Deferred[None] = maybeDeferred(port.stopListening)
        # the lock goes last: closing removes the socket file, which must not be a successor's
        closed.addBoth(self._closed)
        return closed

    def _closed(self, result: object) -> None:
        self._unlock()

    def _unlock(self) -> None:
        descriptor, self._lock = self._lock, None
        if descriptor is not None:
            try:
                os.unlink(self.path + ".lock")
            except OSError:
                pass
            os.close(descriptor)

    # IService ---------------------------------------------------------------------------------------------------------
    def privilegedStartService(self) -> None:
        self.start()

    def startService(self) -> None:
        self.running = 1
        self.start()

    def stopService(self) -> Deferred[None]:
        self.running = 0
        return self.stop()


class ControlBusy(Exception):
    """Another daemon serves this path."""


def peer(transport: Any) -> tuple[int, set[int]]:
    """User id and group ids of the process at the other end."""
    sock = transport.getHandle()
    _pid, uid, gid = struct.unpack("iII", sock.getsockopt(SOL_SOCKET, SO_PEERCRED, struct.calcsize("iII")))
    groups = {gid}
    try:
        raw = sock.getsockopt(SOL_SOCKET, _SO_PEERGROUPS, 4096)
        groups |= set(struct.unpack(f"{len(raw) // 4}I", raw))
    except OSError:
        groups |= _groups_of(uid)
    return uid, groups


def _groups_of(uid: int) -> set[int]:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        return set()
    return set(os.getgrouplist(entry.pw_name, entry.pw_gid))


def _gid(group: str) -> int | None:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        return None


def lock(path: str) -> int:
    """Descriptor of the locked file, which has our pid in it. ControlBusy when a living process has it."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            pid = os.read(descriptor, 32).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise ControlBusy(f"another ngcpd (pid {pid or 'unknown'}) already serves {path.removesuffix('.lock')}; stop it first") from error
        try:
            same = os.path.samestat(os.fstat(descriptor), os.stat(path))
        except FileNotFoundError:
            same = False
        if same:
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())
            return descriptor
        # the one that had the lock removed the file between our open and our lock
        os.close(descriptor)
