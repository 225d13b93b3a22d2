"""Registrations and calls between SIPp phones through the real daemon, and what is recorded of them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.sipp import Phones
from tests.servers.daemon import DOMAIN, DaemonProcess

USERS = (1001, 1002, 1003, 1004)


@pytest.fixture(scope="module", autouse=True)
def users(daemon: DaemonProcess) -> None:
    daemon.add(1001, 1002, 1004)
    daemon.add(1003, aliases=(993,))


def shown(cdr: dict[str, Any]) -> dict[str, Any]:
    """What is compared of a CDR."""
    names = ("source", "source_cli", "source_clir", "destination", "destination_user_dialed", "call_type", "call_status", "call_code", "source_ip")
    return {name: cdr[name] for name in names}


def expected(phones: Phones, status: str, code: str, dialled: str = "testuser1003", **more: Any) -> dict[str, Any]:
    """The CDR of 1002 -> 1003."""
    return {
        "source": f"testuser1002@{DOMAIN}",
        "source_cli": "4311002",
        "source_clir": 0,
        "destination": f"testuser1003@{DOMAIN}",
        "destination_user_dialed": dialled,
        "call_type": "call",
        "call_status": status,
        "call_code": code,
        "source_ip": phones.ip(1002),
        **more,
    }


@pytest.mark.parametrize("tcp", [False, True], ids=["udp", "tcp"])
def test_register_again_query_remove(daemon: DaemonProcess, phones: Phones, tcp: bool) -> None:
    phones.register(1001, scenario="register", tcp=tcp)
    assert daemon.registrations(1001) == []


@pytest.mark.parametrize("dialled", ["testuser1003", "4311003", "431993"], ids=["user", "number", "alias"])
def test_std_call(daemon: DaemonProcess, phones: Phones, dialled: str) -> None:
    phones.register(1003)
    (binding,) = daemon.registrations(1003)
    assert binding["contact"].startswith(f"sip:testuser1003@{phones.ip(1003)}:5060") and not binding["nat"]
    callee = phones.callee(1003, connection=f"IP4 {daemon.ip}")
    phones.call(1002, dialled, connection=f"IP4 {daemon.ip}", pause=300).done()
    callee.done()
    (cdr,) = daemon.new_cdrs(1)
    assert shown(cdr) == expected(phones, "ok", "200", dialled)
    assert 0.3 <= cdr["duration"] < 3.0 and cdr["duration"] != int(cdr["duration"])
    assert cdr["init_time"] < cdr["start_time"] and cdr["start_time"] != int(cdr["start_time"])


def test_callee_ends(daemon: DaemonProcess, phones: Phones) -> None:
    phones.register(1003)
    callee = phones.callee(1003, "callee_ends", pause=250)
    phones.call(1002, "testuser1003", "call_stays").done()
    callee.done()
    (cdr,) = daemon.new_cdrs(1)
    assert shown(cdr) == expected(phones, "ok", "200") and cdr["duration"] >= 0.25


def test_busy(daemon: DaemonProcess, phones: Phones) -> None:
    phones.register(1003)
    callee = phones.callee(1003, "callee_refuses", status="486 Busy Here")
    phones.call(1002, "testuser1003", "call_fails", code=486, reason="Busy Here").done()
    callee.done()
    (cdr,) = daemon.new_cdrs(1)
    assert shown(cdr) == expected(phones, "busy", "486") and cdr["duration"] == 0


def test_offline(daemon: DaemonProcess, phones: Phones) -> None:
    phones.call(1002, "testuser1004", "call_fails", code=480, reason="Offline").done()
    (cdr,) = daemon.new_cdrs(1)
    assert shown(cdr) == expected(phones, "noanswer", "480", "testuser1004", destination=f"testuser1004@{DOMAIN}") and cdr["duration"] == 0


def test_cancel(daemon: DaemonProcess, phones: Phones) -> None:
    phones.register(1003)
    callee = phones.callee(1003, "callee_cancelled")
    phones.call(1002, "testuser1003", "call_cancelled").done()
    callee.done()
    (cdr,) = daemon.new_cdrs(1)
    assert shown(cdr) == expected(phones, "cancel", "487") and cdr["duration"] == 0


def test_no_answer(daemon: DaemonProcess, phones: Phones) -> None:
    """It rings until `fr_inv_timer`."""
    phones.register(1003)
    callee = phones.callee(1003, "callee_cancelled")
    phones.call(1002, "testuser1003", "call_fails", code=408, reason="Request Timeout").done()
    callee.done()
    (cdr,) = daemon.new_cdrs(1)
    assert shown(cdr) == expected(phones, "timeout", "408") and cdr["duration"] == 0


def test_no_reply(daemon: DaemonProcess, phones: Phones) -> None:
    """Nobody is there: `fr_timer`."""
    phones.register(1003)
    phones.call(1002, "testuser1003", "call_fails", code=408, reason="Request Timeout").done()
    (cdr,) = daemon.new_cdrs(1)
    assert shown(cdr) == expected(phones, "timeout", "408") and cdr["duration"] == 0


def test_unknown_callee(daemon: DaemonProcess, phones: Phones) -> None:
    """An unknown user is tried at the peers; there are none."""
    phones.call(1002, "testuser9999", "call_fails", code=503, reason="PSTN Termination Currently Unavailable").done()
    (cdr,) = daemon.new_cdrs(1)
    assert (cdr["call_status"], cdr["call_code"], cdr["destination_user_dialed"]) == ("other", "503", "testuser9999")


def test_tcp_caller_udp_callee(daemon: DaemonProcess, phones: Phones) -> None:
    phones.register(1003)
    callee = phones.callee(1003)
    caller = phones.call(1002, "testuser1003", tcp=True).done()
    callee.done()
    assert "transport=tcp" in caller.messages.lower() and f"Via: SIP/2.0/UDP {daemon.target}" in callee.messages
    (cdr,) = daemon.new_cdrs(1)
    assert shown(cdr) == expected(phones, "ok", "200")
