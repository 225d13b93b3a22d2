"""`ngcpctl import`: rules, report, resuming, dry runs; on both engines."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import sqlalchemy as sa

from ngcpd.provisioning import query, units
from ngcpd.provisioning.caller import OPERATOR
from ngcpd.provisioning.env import Env, Rules
from ngcpd.provisioning.registry import standard
from ngcpd.provisioning.resource import Work
from ngcpd.runtime.fake import SeededRng, SimClock
from ngcpd.store.credentials import Argon, Vault, digest_hashes
from ngcpd.store.tables.features import voicemail_box
from ngcpd.store.tables.identity import number, subscriber
from ngcpd.store.tables.preferences import preference_value
from ngcpd.store.tables.runtime import changes, import_run
from ngcpd.store.tables.tenancy import journal
from tests.moving.conftest import Node
from tests.servers.daemon import ROOT, until

HEADER = "customer_id,domain,username,password,cc,ac,sn,alias_numbers,display_name\n"
MINE = subscriber.c.username.like("u%")


def line(customer: int, name: str, n: int, password: str = "secret-12") -> str:
    return f"{customer},load.example,{name},{password},43,1,{n:05d},43-2-{n:05d} 43--3{n:05d},Name {n}\n"


def test_good_and_refused_lines(node: Node) -> None:
    """What is right is made with everything a subscriber has; what is wrong is told by its line, and nothing of it is kept."""
    customer = node.customer()
    rows = [line(customer, f"u{n}", n) for n in range(40)]
    rows[3] = line(customer, "u3", 3, "x")  # line 5
    rows[10] = line(customer, "u0", 10)  # line 12: the name of line 2
    rows[20] = line(customer, "u20", 0)  # line 22: numbers of line 2
    rows[21] = f"{customer},load.example,u21\n"  # line 23
    rows[22] = line(999, "u22", 22)  # line 24
    rows[23] = f"{customer},load.example,u23,secret-12,43,1,a7,,\n"  # line 25
    rows[24] = f"{customer},other.example,u24,secret-12,,,,,\n"  # line 26
    path = node.file("s.csv", HEADER + "".join(rows))
    before = node.count(changes)
    assert node.ctl("import", path, "--dry-run") == 3
    assert "33 could be made, 7 refused" in node.out
    rehearsed = Path(f"{path}.errors").read_text()
    assert node.count(subscriber, MINE) == 0 and node.count(changes) == before and node.count(import_run, import_run.c.what == "subscribers") == 0
    assert node.ctl("import", path) == 3
    assert "33 made, 7 refused" in node.out
    report = Path(f"{path}.errors").read_text()
    assert report == rehearsed
    assert report.splitlines() == [
        "line,field,error",
        "5,password,Password shorter than 6 characters",
        "12,username,Subscriber already exists.",
        "22,primary_number,number 43100000 is taken",
        '23,,"has 3 cells, the header has 9"',
        "24,customer_id,Invalid 'customer_id'",
        "25,primary_number_sn,Invalid subscriber number",
        "26,domain,Invalid 'domain'",
    ]
    assert node.count(subscriber, MINE) == 33 and node.count(voicemail_box) == 33
    assert node.count(number, number.c.is_primary.is_(True)) == 33 and node.count(number) == 99
    one = node.rows(sa.select(subscriber).where(subscriber.c.username == "u7"))[0]
    assert one.ha1 == digest_hashes("u7", "load.example", "secret-12").ha1 and one.webpassword_hash is None
    prefs = dict(node.rows(sa.select(preference_value.c.attribute, preference_value.c.value).where(preference_value.c.owner_id == one.id)))
    assert prefs["cli"] == "43100007" and prefs["display_name"] == "Name 7" and prefs["account_id"] == str(customer)
    assert ("subscriber", str(one.id)) in {tuple(r) for r in node.rows(sa.select(changes.c.kind, changes.c.key))}
    written = node.rows(sa.select(journal).where(journal.c.resource_name == "subscribers", journal.c.resource_id == one.id))
    assert len(written) == 1 and written[0].operation == "create" and "secret-12" not in written[0].content
    assert "secret-12" not in node.out + node.err + report

    assert node.ctl("import", path) == 3 and "imported before: 33 made, 7 refused" in node.out
    assert node.ctl("import", path, "--restart") == 3 and "0 made, 40 refused" in node.out
    assert node.count(subscriber, MINE) == 33


def test_the_same_as_by_rest(lone: Node) -> None:
    """An imported subscriber differs from one that was made by REST in nothing but its names."""
    customer = lone.customer()
    rng, clock = SeededRng(1), SimClock(1_700_000_000.0)
    env = Env(clock, rng, Vault(bytes(32), rng), Argon(rng, time_cost=1, memory_cost=8, parallelism=1), Rules())
    body = {
        "customer_id": customer,
        "domain": "load.example",
        "username": "u1",
        "password": "secret-12",
        "status": "locked",
        "email": "u1@load.example",
        "external_id": "x1",
        "primary_number": {"cc": "43", "ac": "1", "sn": "77001"},
        "alias_numbers": [{"cc": "43", "ac": "1", "sn": "77002"}],
    }

    def by_rest(conn: sa.Connection) -> tuple[int, dict[str, object]]:
        work = Work(conn, env, OPERATOR, standard())
        key = units.create(work, standard()["subscribers"], body)
        return key, query.read(work, standard()["subscribers"], key)

    def read(conn: sa.Connection, key: int) -> dict[str, object]:
        return query.read(Work(conn, env, OPERATOR, standard()), standard()["subscribers"], key)

    first, expected = lone.database.run_here(by_rest)
    lone.database.run_here(lambda conn: units.remove(Work(conn, env, OPERATOR, standard()), standard()["subscribers"], first))
    assert lone.ctl("import", "subscribers", lone.file("one.json", json.dumps(body) + "\n")) == 0, lone.err
    second = lone.rows(sa.select(sa.func.max(subscriber.c.id)))[0][0]
    found = lone.database.read_here(read, second)
    assert {k: v for k, v in found.items() if k not in ("id", "uuid")} == {k: v for k, v in expected.items() if k not in ("id", "uuid")}
    kinds = {k for k, key in lone.rows(sa.select(changes.c.kind, changes.c.key)) if key == str(first)}
    assert kinds & {"subscriber"} == {k for k, key in lone.rows(sa.select(changes.c.kind, changes.c.key)) if key == str(second)} & {"subscriber"}


def test_ready_hashes(lone: Node) -> None:
    """Digest and Argon2 hashes of another system are stored as they are; beside a password they are refused."""
    customer = lone.customer()
    hashes = digest_hashes("u1", "load.example", "unknown-here")
    web = Argon(SeededRng(1), time_cost=1, memory_cost=8, parallelism=1).hash("web-pass-1")
    header = "customer_id;domain;username;password;ha1;ha1_sha256;webpassword_hash\n"
    rows = [
        f"{customer};load.example;u1;;{hashes.ha1};{hashes.ha1_sha256};{web}",
        f"{customer};load.example;u2;secret-12;{hashes.ha1};;",
        f"{customer};load.example;u3;;nonsense;;",
        f"{customer};load.example;u4;;;{hashes.ha1_sha256};",
        f"{customer};load.example;u5;;;;",
    ]
    path = lone.file("h.csv", header + "\n".join(rows))
    assert lone.ctl("import", path) == 3
    assert [entry.split(",")[:2] for entry in Path(f"{path}.errors").read_text().splitlines()[1:]] == [
        ["3", "ha1"],
        ["4", "ha1"],
        ["5", "ha1_sha256"],
        ["6", "password"],
    ]
    one = lone.rows(sa.select(subscriber).where(subscriber.c.username == "u1"))[0]
    assert (one.ha1, one.ha1_sha256, one.webpassword_hash, one.sip_password_enc) == (hashes.ha1, hashes.ha1_sha256, web, None)


def test_what_only_the_database_refuses_spoils_no_other_line(node: Node) -> None:
    """A fault that shows only when all are made together is found by halving."""
    customer = node.customer()
    assert node.ctl("import", "systemcontacts", node.file("c2.json", '{"email": "r@r.example"}\n')) == 0, node.err
    contact = node.rows(sa.text("SELECT max(id) FROM contact"))[0][0]
    contract = f'{{"contact_id": {contact}, "type": "reseller", "status": "active", "billing_profile_id": 1}}\n'
    assert node.ctl("import", "contracts", node.file("rc.json", contract)) == 0, node.err
    contract_id = node.rows(sa.text("SELECT max(id) FROM contract"))[0][0]
    body = f'{{"contract_id": {contract_id}, "name": "second", "status": "active"}}\n'
    assert node.ctl("import", "resellers", node.file("r.json", body)) == 0, node.err
    reseller = node.rows(sa.text("SELECT max(id) FROM reseller"))[0][0]
    assert node.ctl("import", "domains", node.file("d2.csv", f"domain,reseller_id\nsecond.example,{reseller}\n")) == 0, node.err
    rows = [line(customer, f"u{n}", n) for n in range(9)]
    rows[4] = rows[4].replace("load.example", "second.example")
    path = node.file("s.csv", HEADER + "".join(rows))
    assert node.ctl("import", path) == 3
    assert Path(f"{path}.errors").read_text().splitlines()[1:] == ["6,domain,belongs to another reseller than the customer"]
    assert node.count(subscriber, MINE) == 8


def test_a_wrong_header_is_told_before_anything_is_made(lone: Node) -> None:
    customer = lone.customer()
    for header, said in (
        ("customer_id,domain,usernam,password\n", "column 3: 'usernam' is no field here; nearest valid name: username"),
        ("customer_id,domain,username,username\n", "column 4: username is there twice"),
        ("domain,username,password\n", "there is no column customer_id"),
        ("\n", "the file is empty"),
    ):
        assert lone.ctl("import", lone.file("bad.csv", header + f"{customer},load.example,u1,secret-12\n")) == 2
        assert said in lone.err
    assert lone.ctl("import", "nosuchthing", lone.file("bad.csv", HEADER)) == 2
    assert "subscribers" in lone.err
    path = lone.file("bad.json", f'{{"customer_id": {customer}, "domain": "load.example", "usrname": "u1"}}\nnonsense\n[]\n')
    assert lone.ctl("import", path) == 3
    told = Path(f"{path}.errors").read_text()
    assert "nearest valid name: username" in told and "2,,is no JSON" in told and "3,,is no JSON object" in told
    assert lone.count(subscriber, MINE) == 0


def test_killed_and_carried_on(node: Node) -> None:
    """After SIGKILL in the middle the same command makes the rest: everything once, each refused line told once."""
    customer = node.customer()
    total, bad = 1400, 14
    rows = [line(customer, f"u{n}", n, "x" if n % 100 == 50 else "secret-12") for n in range(total)]
    path = node.file("s.csv", HEADER + "".join(rows))
    command = [sys.executable, "-m", "ngcpd.cli.ngcpctl", "import", str(path), "-c", str(node.etc)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": str(ROOT)})
    try:
        until(lambda: node.count(subscriber, MINE) >= 100, 30)
        process.send_signal(signal.SIGKILL)
    finally:
        process.wait(10)
    made = node.count(subscriber, MINE)
    assert 100 <= made < total - bad
    assert node.ctl("import", path) == 3
    assert f"{made} were made before" in node.err
    assert f"{total - bad} made, {bad} refused" in node.out
    assert node.count(subscriber, MINE) == total - bad
    names = [row[0] for row in node.rows(sa.select(subscriber.c.username).where(MINE))]
    assert len(set(names)) == total - bad
    told = [int(entry.split(",")[0]) for entry in Path(f"{path}.errors").read_text().splitlines()[1:]]
    assert told == [n + 2 for n in range(total) if n % 100 == 50]
