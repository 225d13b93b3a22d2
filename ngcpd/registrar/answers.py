"""Answers of the edge and of the registrar: To-tag and Server field in one place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ngcpd.runtime.ports import Rng
from ngcpd.sip.message import reply

if TYPE_CHECKING:
    from ngcpd.sip.stack import ServerTransaction


class Answers:
    """Makes and sends final answers. `server` is the text of the Server field, "" = none."""

    def __init__(self, rng: Rng, server: str = "ngcpd") -> None:
        self._rng = rng
        self.server = server

    def send(self, tx: ServerTransaction, code: int, reason: str = "", fields: Sequence[tuple[str, str]] = ()) -> None:
        """Answer a request finally; "" takes the default reason of the code."""
        tx.respond(reply(tx.request, code, reason, to_tag=self._rng.token(6), fields=self._with_server(fields)))

    def challenge(self, tx: ServerTransaction, code: int, fields: Sequence[tuple[str, str]]) -> None:
        """Ask for credentials; nothing is kept of the request."""
        tx.refuse(code, fields=self._with_server(fields))

    def _with_server(self, fields: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
        return [*fields, ("Server", self.server)] if self.server else list(fields)
