"""Many calls in a row and at the same time."""

from __future__ import annotations

from tests.integration.sipp import Phones
from tests.servers.daemon import DOMAIN, DaemonProcess

CALLS, RATE = 200, 20
CALLER, CALLEE = 1032, 1033


def test_many_calls(daemon: DaemonProcess, phones: Phones) -> None:
    """Each is challenged, answered, ended and recorded; nothing is left of them."""
    daemon.add(CALLER, CALLEE)
    phones.register(CALLEE)
    daemon.skip_cdrs()
    callee = phones.callee(CALLEE, calls=CALLS)
    row = phones.row(CALLER, f"testuser{CALLEE}@{DOMAIN}")
    caller = phones.run("call", CALLER, rows=[row], calls=CALLS, options=("-r", str(RATE)), pause=500)
    caller.done()
    callee.done()
    cdrs = daemon.new_cdrs(CALLS)
    assert {(c["call_status"], c["call_code"], c["source"], c["destination"]) for c in cdrs} == {
        ("ok", "200", f"testuser{CALLER}@{DOMAIN}", f"testuser{CALLEE}@{DOMAIN}")
    }
    assert len({c["call_id"] for c in cdrs}) == CALLS and all(0.5 <= c["duration"] < 3.0 for c in cdrs)
    daemon.settle()
