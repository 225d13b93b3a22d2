"""The client's end of the control socket (`ngcpd.ops.control`). Blocking; for the command line."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

TIMEOUT = 30.0


class Unreachable(Exception):
    """The daemon cannot be spoken to; the text is one line for the operator."""


class Refused(Exception):
    """The daemon answered with an error."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class Client:
    """One connection. `call` gives the result of a command, `stream` its items."""

    def __init__(self, path: str, timeout: float = TIMEOUT) -> None:
        self.path = path
        self._next = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            self._socket.close()
            raise Unreachable(f"the daemon is not running (nobody listens on {path}); start it with: ngcpd") from None
        except PermissionError:
            self._socket.close()
            raise Unreachable(f"{path}: permission denied; run this as the user of the daemon, as root or in group ngcpd") from None
        except OSError as error:
            self._socket.close()
            raise Unreachable(f"{path}: {error.strerror or error}") from None
        self._lines = self._socket.makefile("rb")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._socket.close()

    def call(self, cmd: str, args: dict[str, Any] | None = None) -> Any:
        """The result of a command. Raises Refused and Unreachable."""
        result = None
        for final, item in self._exchange(cmd, args or {}):
            if final:
                result = item
        return result

    def stream(self, cmd: str, args: dict[str, Any]) -> Iterator[Any]:
        """The items of a command that goes on; waits for the next one as long as it takes."""
        for final, item in self._exchange(cmd, args, endless=True):
            if not final:
                yield item
            elif isinstance(item, dict) and item.get("error"):
                raise Refused(str(item["error"]), "unavailable")
            elif isinstance(item, list):
                yield from item

    def _exchange(self, cmd: str, args: dict[str, Any], endless: bool = False) -> Iterator[tuple[bool, Any]]:
        self._next += 1
        request = json.dumps({"id": self._next, "cmd": cmd, "args": args}).encode() + b"\n"
        try:
            self._socket.sendall(request)
        except OSError:
            pass  # the daemon may have refused us and said why; that is still to be read
        if endless:
            self._socket.settimeout(None)
        while True:
            reply = self._reply()
            if not reply.get("ok"):
                raise Refused(str(reply.get("error", "unknown error")), str(reply.get("code", "internal")))
            more = bool(reply.get("more"))
            yield not more, reply.get("result")
            if not more:
                return

    def _reply(self) -> dict[str, Any]:
        try:
            line = self._lines.readline()
        except TimeoutError:
            raise Unreachable(f"the daemon did not answer on {self.path} in time") from None
        except OSError:
            line = b""
        if not line.endswith(b"\n"):
            raise Unreachable("the daemon hung up; it may have been stopped")
        try:
            reply = json.loads(line)
        except ValueError:
            reply = None
        if not isinstance(reply, dict):
            raise Unreachable(f"what answers on {self.path} is not ngcpd")
        return reply
