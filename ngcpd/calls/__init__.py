"""The B2B call engine: what happens to an INVITE once routing has decided (call processing 1.2, 3.10, 4.1, 4.4).

A call is one dialog with the caller and, per fork branch, one or more early dialogs with the callee; a `Pair` bridges one caller-side
dialog with one callee-side dialog. `engine.Calls` is the door. `call.Call` sets a call up, `branch.BranchLeg` is the INVITE to one contact;
`indialog` relays what happens inside a call, `acks` the ACK of a 2xx, `ending` says BYE; `dialog` knows where the next request goes,
`fields` what may cross, `media` puts the relay between, `reliable` is 100rel, `records` writes the accounting rows.
"""

from ngcpd.calls.engine import Calls
from ngcpd.calls.model import CallSettings

__all__ = ["CallSettings", "Calls"]
