"""What reading a SIP message can raise."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ngcpd.sip.message import Request


class ParseError(ValueError):
    """Text from outside does not follow the grammar. The only exception the readers of this package raise.

    `reason` is fit to be the reason phrase of an answer (ASCII, no text of the sender in it), `code` its status. `request` is what could be read
    of a request that came as a whole message: set only when it can be answered, that is when its top Via is readable and it is no ACK. Other
    headers may be missing from it or malformed; `reply()` copes with that, its lazy accessors raise ParseError as ever.
    """

    def __init__(self, reason: str, code: int = 400, request: Request | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code
        self.request = request
