"""Who may register and call: credentials, domains, addresses, locks; and how fast a change of these acts."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.integration.sipp import Phones
from tests.servers.daemon import DOMAIN, DaemonProcess, Refused, password, until

CALLER, CALLEE, DOOMED = 1022, 1023, 1024


@pytest.fixture(scope="module", autouse=True)
def users(daemon: DaemonProcess) -> None:
    daemon.add(CALLER, CALLEE, DOOMED)
    daemon.skip_cdrs()


def verdict(daemon: DaemonProcess, caller: int = CALLER, callee: int = CALLEE, source_ip: str = "127.0.0.1") -> Any:
    """What would become of such a call."""
    stages = daemon.control("route", caller=f"testuser{caller}@{DOMAIN}", callee=f"testuser{callee}@{DOMAIN}", source_ip=source_ip)
    return stages[-1]["verdict"]


def acts(daemon: DaemonProcess, word: str, **what: Any) -> None:
    """The change just made decides calls within a second."""
    until(lambda: word in str(verdict(daemon, **what)), 1.0, lambda: f"{word}: {verdict(daemon, **what)}")


def refused(daemon: DaemonProcess, phones: Phones, code: int, reason: str, status: str = "other") -> dict[str, Any]:
    """CALLER calls CALLEE, is challenged and then refused; the CDR."""
    phones.call(CALLER, f"testuser{CALLEE}", "call_fails", code=code, reason=reason).done()
    (cdr,) = daemon.new_cdrs(1)
    assert (cdr["call_status"], cdr["call_code"], cdr["duration"]) == (status, str(code), 0)
    assert (cdr["source"], cdr["destination_user_dialed"]) == (f"testuser{CALLER}@{DOMAIN}", f"testuser{CALLEE}")
    return cdr


def test_allowed_ips(daemon: DaemonProcess, phones: Phones) -> None:
    """A range of addresses; `ignore_allowed_ips` opens it again."""
    daemon.prefer(CALLER, allowed_ips=["1.2.3.4"])
    acts(daemon, "403 Unauthorized IP detected")
    phones.register(CALLER, scenario="register_allowip")
    assert daemon.registrations(CALLER) == []
    refused(daemon, phones, 403, "Unauthorized IP detected")
    daemon.prefer(CALLER, ignore_allowed_ips="1")
    acts(daemon, "480 Offline")
    phones.register(CALLER)
    refused(daemon, phones, 480, "Offline", "noanswer")
    daemon.prefer(CALLER, allowed_ips=[], ignore_allowed_ips="")
    acts(daemon, "480 Offline")


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_locked_caller(daemon: DaemonProcess, phones: Phones, level: int) -> None:
    daemon.lock(CALLER, level)
    if level == 1:  # foreign calls only
        acts(daemon, "480 Offline")
        refused(daemon, phones, 480, "Offline", "noanswer")
        until(lambda: "403 Caller locked" in str(verdict(daemon, callee=99999)), 1.0, lambda: str(verdict(daemon, callee=99999)))
    else:
        acts(daemon, "403 Caller locked")
        refused(daemon, phones, 403, "Caller locked")
    daemon.lock(CALLER, 0)
    acts(daemon, "480 Offline")


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_locked_callee(daemon: DaemonProcess, phones: Phones, level: int) -> None:
    daemon.lock(CALLEE, level)
    if level < 3:
        acts(daemon, "480 Offline")
        refused(daemon, phones, 480, "Offline", "noanswer")
    else:
        acts(daemon, "403 Callee locked")
        cdr = refused(daemon, phones, 403, "Callee locked")
        assert cdr["destination"] == f"testuser{CALLEE}@{DOMAIN}"
    daemon.lock(CALLEE, 0)
    acts(daemon, "480 Offline")


def test_wrong_password(daemon: DaemonProcess, phones: Phones) -> None:
    """It is challenged again and not recorded."""
    phones.call(CALLER, f"testuser{CALLEE}", "call_fails", secret="wrong", code=407, reason="Proxy Authentication Required").done()
    assert daemon.new_cdrs(0) == []


def test_new_password(daemon: DaemonProcess, phones: Phones) -> None:
    user = f"testuser{DOOMED}"
    daemon.note_secret(user, DOMAIN, "Other.Secret-77")
    daemon.control("subscriber.password", user=f"{user}@{DOMAIN}", password="Other.Secret-77")
    until(lambda: _registers(phones, DOOMED, "Other.Secret-77"), 1.0)
    assert not _registers(phones, DOOMED, "")
    daemon.control("subscriber.password", user=f"{user}@{DOMAIN}", password=password(DOOMED))
    until(lambda: _registers(phones, DOOMED, ""), 1.0)


def _registers(phones: Phones, n: int, secret: str) -> bool:
    run = phones.run("register_stay", n, rows=[phones.row(n, secret=secret)])
    return run.process.wait(20) == 0


def test_unknown_user(daemon: DaemonProcess, phones: Phones) -> None:
    """Nobody learns which users exist."""
    options = {"user": "testuser8888", "secret": "wrong", "code": 407, "reason": "Proxy Authentication Required"}
    phones.call(CALLER, f"testuser{CALLEE}", "call_fails", **options).done()
    assert daemon.new_cdrs(0) == []


def test_foreign_domain_called(daemon: DaemonProcess, phones: Phones) -> None:
    phones.call(CALLER, "someone@elsewhere.test", "call_fails", code=403, reason="Relaying Denied").done()
    (cdr,) = daemon.new_cdrs(1)
    assert (cdr["call_code"], cdr["destination_user_dialed"]) == ("403", "someone")


def test_foreign_domain_calls(daemon: DaemonProcess, phones: Phones) -> None:
    options = {"domain": "elsewhere.test", "code": 403, "reason": "Relaying Denied"}
    phones.call(CALLER, f"testuser{CALLEE}", "call_refused", **options).done()
    (cdr,) = daemon.new_cdrs(1)
    assert cdr["call_code"] == "403"


def test_preference_acts_on_the_next_call(daemon: DaemonProcess, phones: Phones) -> None:
    """Without asking in between: set, wait less than a second, call."""
    phones.register(CALLEE)
    callee = phones.callee(CALLEE)
    phones.call(CALLER, f"testuser{CALLEE}").done()
    callee.done()
    daemon.new_cdrs(1)
    set_at = time.monotonic()
    daemon.lock(CALLEE, 3)

    def locked() -> bool:
        run = phones.call(CALLER, f"testuser{CALLEE}", "call_fails", code=403, reason="Callee locked")
        return run.process.wait(20) == 0

    until(locked, 1.0)
    assert time.monotonic() - set_at < 2.0
    daemon.lock(CALLEE, 0)
    acts(daemon, f"sip:testuser{CALLEE}@")


def test_deleted_subscriber(daemon: DaemonProcess, phones: Phones) -> None:
    """Its registration goes, nobody gets in with its credentials, but the call it is in goes on."""
    phones.register(DOOMED, CALLEE)
    callee = phones.callee(DOOMED)
    caller = phones.call(CALLER, f"testuser{DOOMED}", pause=2500)
    until(lambda: "answered" in [c["state"] for c in daemon.control("calls")], 5.0)
    daemon.control("subscriber.delete", user=f"testuser{DOOMED}@{DOMAIN}")
    until(lambda: not [b for b in daemon.registrations() if "testuser1024" in b["contact"]], 1.0)
    with pytest.raises(Refused, match="there is no subscriber"):
        daemon.control("subscriber.show", user=f"testuser{DOOMED}@{DOMAIN}")
    assert not _registers(phones, DOOMED, "")
    assert "answered" in [c["state"] for c in daemon.control("calls")]
    caller.done()
    callee.done()
    cdr = until(lambda: next((c for c in daemon.cdrs() if c["call_id"] == caller.call_id), None), 10.0)
    assert (cdr["call_status"], cdr["destination"]) == ("ok", f"testuser{DOOMED}@{DOMAIN}") and cdr["duration"] >= 2.5
