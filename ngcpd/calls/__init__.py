"""The B2B call engine: what happens to an INVITE once routing has decided (call processing 1.2, 3.10, 4.1, 4.4).

A call is one dialog with the caller and, per fork branch, one or more early dialogs with the callee; a `Pair` bridges one caller-side
dialog with one callee-side dialog. `engine.Calls` is the door; `call.Call` sets a call up; `indialog` relays what happens inside it.
"""

from ngcpd.calls.engine import Calls
from ngcpd.calls.model import CallSettings

__all__ = ["CallSettings", "Calls"]
