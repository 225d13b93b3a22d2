"""The interface of a real daemon: its port and certificate, and that signalling honours a write within a second."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import time
from pathlib import Path
from typing import Any

import pytest

from tests.servers.daemon import DaemonProcess, running

pytestmark = pytest.mark.peer


class Rest:
    """Blocking calls to a daemon's interface."""

    def __init__(self, daemon: DaemonProcess) -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.load_verify_locations(daemon.directory / "var/web.crt")  # the self-signed certificate is the one in the state directory
        self.connection = http.client.HTTPSConnection(daemon.ip, 1443, context=context, timeout=20)
        self.headers = {"Authorization": "Basic " + base64.b64encode(b"administrator:administrator").decode(), "Content-Type": "application/json"}

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        named = {**self.headers, **{k.replace("_", "-"): v for k, v in headers.items()}}
        self.connection.request(method, path, None if body is None else json.dumps(body), named)
        answer = self.connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()

    def made(self, path: str, body: Any) -> int:
        status, headers, data = self("POST", path, body)
        assert status == 201, data
        return int(headers["location"].rpartition("/")[2])


def within_a_second(condition: Any) -> None:
    end = time.monotonic() + 1.0
    while not condition():
        assert time.monotonic() < end, "not in force after a second"
        time.sleep(0.02)


def test_a_write_is_in_force_within_a_second(tmp_path: Path) -> None:
    with running(tmp_path) as daemon:
        rest = Rest(daemon)
        contact = rest.made("/api/customercontacts/", {"reseller_id": 1, "email": "c@example.org"})
        body = {"contact_id": contact, "type": "sipaccount", "status": "active", "billing_profile_id": 1}
        customer = rest.made("/api/customers/", body)
        rest.made("/api/domains/", {"domain": "rest.example", "reseller_id": 1})
        number = {"cc": "43", "ac": "1", "sn": "7001"}
        users = [
            rest.made("/api/subscribers/", {"customer_id": customer, "domain": "rest.example", "username": name, "password": "s3cret-pw", **more})
            for name, more in (("ada", {}), ("ben", {"primary_number": number}))
        ]

        def verdicts() -> str:
            stages = daemon.control("route", caller="ada@rest.example", callee="4317001", source_ip="127.0.0.1")
            return " ".join(str(stage["verdict"]) for stage in stages)

        within_a_second(lambda: "480" in verdicts())  # ben exists and is offline
        registered = {"subscriber_id": users[1], "contact": "sip:ben@127.0.0.1:5999", "expires": "2030-01-01 00:00:00"}
        item = rest.made("/api/subscriberregistrations/", registered)
        assert [r["user"] for r in daemon.control("registrations")] == ["ben@rest.example"]
        within_a_second(lambda: "480" not in verdicts())
        lock = [{"op": "replace", "path": "/lock", "value": 2}]
        assert rest("PATCH", f"/api/subscribers/{users[0]}", lock, Content_Type="application/json-patch+json")[0] == 204
        within_a_second(lambda: "403" in verdicts())
        assert rest("DELETE", f"/api/subscribers/{users[1]}")[0] == 204
        within_a_second(lambda: daemon.control("registrations") == [])
        assert rest("GET", f"/api/subscriberregistrations/{item}")[0] == 404
