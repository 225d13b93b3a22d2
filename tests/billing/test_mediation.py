"""Mediation: acc rows become CDRs, once each, whatever the order and wherever it is interrupted."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ngcpd.billing.mediation import base_call_id, call_status, candidates, mediate, period_start, recent_cdrs
from ngcpd.billing.providers import Providers
from ngcpd.runtime.fake import InlineExecutor, SimClock
from ngcpd.store.db import Database
from ngcpd.store.legs import DestinationLeg, SourceLeg
from ngcpd.store.tables import metadata
from ngcpd.store.tables.accounting import acc, acc_backup, acc_trash, call_info, cdr
from ngcpd.store.tables.routing import peer_group, peer_host

T0 = 1_700_000_000
SRC = SourceLeg("0", "alice", "a.example", "43110", init_time=T0 - 5.25).encode()
DST = DestinationLeg(dialed="43111", user="bob", domain="a.example").encode()


def row(callid: str, method: str, code: str, at: float | str, **more: Any) -> dict[str, Any]:
    when = Decimal(str(at))
    made: dict[str, Any] = {
        "method": method,
        "callid": callid,
        "sip_code": code,
        "sip_reason": "",
        "from_tag": "f",
        "to_tag": "t",
        "time": datetime.datetime.fromtimestamp(int(when), datetime.UTC),
        "time_hires": when,
        "src_leg": SRC,
        "dst_leg": DST,
        "dst_user": "bob",
        "dst_ouser": "43111",
        "dst_domain": "a.example",
        "src_user": "alice",
        "src_domain": "a.example",
    }
    return made | more


def put(db: Database, *rows: dict[str, Any]) -> None:
    db.run_here(lambda conn: conn.execute(sa.insert(acc), list(rows)))


def count(db: Database, table: sa.Table) -> int:
    return db.read_here(lambda conn: conn.scalar(sa.select(sa.func.count()).select_from(table)) or 0)


def run(db: Database, limit: int = 100, **options: Any) -> int:
    return db.run_here(lambda conn: mediate(conn, limit, Providers(), **options)).calls


def cdrs(db: Database) -> list[dict[str, Any]]:
    return list(reversed(db.read_here(recent_cdrs, 1000)))


@pytest.fixture
def db(store_url: str) -> Iterator[Database]:
    made = Database(store_url, InlineExecutor(), SimClock(T0 + 100))
    yield made
    made.close()


def test_answered_call(db: Database) -> None:
    source = SourceLeg(
        "uuid-a", "alice", "a.example", "43110", "ext|sub%", "ext con", 17, "authu", "realm", True, "cfu", "192.0.2.1", T0 - 5.25,
        ("g0", "", "g2"), "L1",
    )  # fmt: skip
    target = DestinationLeg(
        True, "es", "ec", 18, "011", "uuid-b", "bob", "b.example", "43111", "in.example", 0, tuple(f"d{n}" for n in range(10)), "L2"
    )
    legs = {"src_leg": source.encode(), "dst_leg": target.encode()}
    put(db, row("c1", "INVITE", "200", T0 + 1.125, **legs))
    assert run(db) == 0  # in progress
    put(db, row("c1", "BYE", "200", T0 + 31.25), row("c1", "BYE", "200", T0 + 32))
    assert run(db) == 1
    [made] = cdrs(db)
    expected = {
        "source_user_id": "uuid-a", "source_user": "alice", "source_domain": "a.example", "source_cli": "43110",
        "source_external_subscriber_id": "ext|sub%", "source_external_contract_id": "ext con", "source_account_id": 17,
        "peer_auth_user": "authu", "peer_auth_realm": "realm", "source_clir": True, "call_type": "cfu", "source_ip": "192.0.2.1",
        "init_time": Decimal("1699999994.750"), "source_gpp0": "g0", "source_gpp1": None, "source_gpp2": "g2", "source_gpp9": None,
        "source_lnp_prefix": "L1", "split": True, "destination_external_subscriber_id": "es", "destination_external_contract_id": "ec",
        "destination_account_id": 18, "destination_user_dialed": "011", "destination_user_id": "uuid-b", "destination_user": "bob",
        "destination_domain": "b.example", "destination_user_in": "43111", "destination_domain_in": "in.example", "destination_gpp7": "d7",
        "destination_lnp_prefix": "L2", "call_status": "ok", "call_code": "200", "start_time": Decimal("1700000001.125"),
        "duration": Decimal("30.125"), "call_id": "c1", "rating_status": "unrated", "export_status": "unexported",
        "source_provider_id": "0", "destination_provider_id": "0", "source_customer_cost": None, "rated_at": None,
    }  # fmt: skip
    assert {k: made[k] for k in expected} == expected
    assert (count(db, acc), count(db, acc_backup), count(db, acc_trash)) == (0, 3, 0)
    assert run(db) == 0
    assert len(cdrs(db)) == 1


@pytest.mark.parametrize(
    ("code", "status"),
    [("486", "busy"), ("480", "noanswer"), ("487", "cancel"), ("408", "timeout"), ("404", "offline"), ("403", "other"), ("202", "other")],
)
def test_failed_call(db: Database, code: str, status: str) -> None:
    put(db, row("c1", "INVITE", code, T0 + 2))
    assert run(db) == 1
    [made] = cdrs(db)
    assert (made["call_status"], made["call_code"], made["duration"], made["start_time"]) == (status, code, 0, T0 + 2)
    assert call_status(code) == status


def test_several_invites_of_one_call_id(db: Database) -> None:
    """A call to a busy phone and its forward under one Call-ID: two CDRs, and none before the forward has ended."""
    forward = SourceLeg("0", "bob", "a.example", call_type="cfb", init_time=T0).encode()
    put(db, row("c1", "INVITE", "486", T0 + 1), row("c1", "INVITE", "200", T0 + 2, src_leg=forward))
    assert run(db) == 0
    put(db, row("c1", "BYE", "200", T0 + 12.5))
    assert run(db) == 1
    assert [(c["call_type"], c["call_status"], c["duration"]) for c in cdrs(db)] == [("call", "busy", 0), ("cfb", "ok", Decimal("10.5"))]


def test_further_legs_are_calls_of_their_own(db: Database) -> None:
    put(db, row("c1", "INVITE", "200", T0), row("c1_b2b-1", "INVITE", "200", T0), row("c1_b2b-1", "BYE", "200", T0 + 3))
    assert run(db) == 1
    assert [c["call_id"] for c in cdrs(db)] == ["c1_b2b-1"]
    put(db, row("c1", "BYE", "200", T0 + 3), row("c1x", "INVITE", "404", T0), row("c1_b2b-1x", "INVITE", "404", T0))
    run(db)
    assert {c["call_id"] for c in db.read_here(recent_cdrs, 10, call_id="c1_b2b-1_pbx-1")} == {"c1", "c1_b2b-1", "c1_b2b-1x"}
    assert base_call_id("x_b2b-1_pbx-1_b2b-1") == "x"
    assert [c["call_id"] for c in db.read_here(recent_cdrs, 2)] == ["c1_b2b-1x", "c1x"]


def test_duplicate_rows_count_once(db: Database) -> None:
    put(db, *[row("c1", "INVITE", "200", T0)] * 2, *[row("c1", "BYE", "200", T0 + 1)] * 2)
    assert run(db) == 1
    assert len(cdrs(db)) == 1
    assert (count(db, acc), count(db, acc_backup)) == (0, 4)


def test_bye_before_answer_gives_no_negative_duration(db: Database) -> None:
    put(db, row("c1", "INVITE", "200", T0 + 5), row("c1", "BYE", "200", T0 + 4.999))
    assert run(db) == 1
    assert cdrs(db)[0]["duration"] == 0


@pytest.mark.parametrize(
    "bad",
    [
        {"src_leg": SRC[:-1].rsplit("|", 1)[0] + "|"},
        {"dst_leg": ""},
        {"src_leg": None},
        {"src_leg": SRC.replace("|call|", "|nonsense|")},
        {"src_leg": SourceLeg(init_time=T0).encode().replace(f"{T0}.000", "99999999999")},
        {"dst_leg": DST.replace("0|||0|", "0|||abc|")},
    ],
)
def test_unreadable_rows_go_to_the_trash(db: Database, bad: dict[str, Any]) -> None:
    put(db, row("bad", "INVITE", "200", T0, **bad), row("bad", "INVITE", "486", T0), row("bad", "BYE", "200", T0 + 1))
    put(db, row("good", "INVITE", "486", T0))
    outcome = db.run_here(lambda conn: mediate(conn, 100, Providers()))
    assert outcome.calls == 2 and [c for c, _ in outcome.trashed] == ["bad"]
    assert (count(db, acc), count(db, acc_backup), count(db, acc_trash)) == (0, 1, 3)
    assert [c["call_id"] for c in cdrs(db)] == ["good"]


def test_bye_without_invite_waits_and_is_given_up(db: Database) -> None:
    put(db, row("c1", "BYE", "200", T0 + 100))
    assert run(db, orphan_age=3600) == 0
    assert count(db, acc) == 1
    assert run(db, orphan_age=-10) == 1
    assert (count(db, acc), count(db, acc_trash)) == (0, 1)
    assert not cdrs(db)


def test_calls_in_progress_do_not_stand_in_the_way(db: Database) -> None:
    for n in range(30):
        put(db, row(f"open{n}", "INVITE", "486", T0), row(f"open{n}", "INVITE", "200", T0))
    put(db, row("done", "INVITE", "486", T0))
    assert db.read_here(candidates, 5) == ["done"]
    assert run(db, 5) == 1
    assert run(db, 5) == 0


def test_oversized_fields_are_cut_to_their_columns(db: Database) -> None:
    source = SourceLeg("0", "u" * 300, "d" * 300, "9" * 300, "é" * 300, init_time=T0, gpp=("g" * 400,)).encode()
    put(db, row("c1", "INVITE", "486", T0, src_leg=source))
    assert run(db) == 1
    [made] = cdrs(db)
    assert (len(made["source_user"]), len(made["source_cli"]), made["source_external_subscriber_id"]) == (255, 64, "é" * 255)


def test_final_codes_are_counted(db: Database) -> None:
    hour = T0 - T0 % 3600
    put(db, *[row(f"a{n}", "INVITE", "486", hour + n) for n in range(3)])
    put(db, row("b", "INVITE", "404", hour + 3599), row("c", "INVITE", "486", hour + 3600))
    run(db)
    put(db, row("d", "INVITE", "486", hour + 10))
    run(db)
    found = db.read_here(lambda conn: {(r.sip_code, r.period): r.amount for r in conn.execute(sa.select(call_info))})
    at = datetime.datetime.fromtimestamp(hour, datetime.UTC).replace(tzinfo=None)
    assert found == {("486", at): 4, ("404", at): 1, ("486", at + datetime.timedelta(hours=1)): 1}
    day = datetime.datetime(2023, 11, 14)
    assert period_start(Decimal(T0), "day") == day and period_start(Decimal(T0), "month") == day.replace(day=1)


def test_peers_as_providers(db: Database) -> None:
    stamp = {"created_at": datetime.datetime(2024, 1, 1), "modified_at": datetime.datetime(2024, 1, 1)}

    def peers(conn: sa.Connection) -> list[int]:
        from ngcpd.store.tables.tenancy import contact, contract, product

        some = conn.execute(sa.insert(contact).values(**stamp)).inserted_primary_key[0]
        kind = conn.execute(sa.insert(product).values({"class": "sippeering", "handle": "P", "name": "p"})).inserted_primary_key[0]
        ids = []
        for n in (1, 2):
            terms = conn.execute(sa.insert(contract).values(contact_id=some, product_id=kind, **stamp)).inserted_primary_key[0]
            group = conn.execute(sa.insert(peer_group).values(name=f"g{n}", contract_id=terms, **stamp)).inserted_primary_key[0]
            host = conn.execute(
                sa.insert(peer_host).values(group_id=group, name="h", ip=f"192.0.2.{n}", host="shared.example", **stamp)
            ).inserted_primary_key[0]
            ids += [terms, host]
        return ids

    first, first_host, second, second_host = db.run_here(peers)
    providers = Providers()

    def look(conn: sa.Connection) -> list[str]:
        providers.prepare(conn, ["0", "unknown"])
        return [
            providers.source(SourceLeg(domain="192.0.2.2")),
            providers.source(SourceLeg(domain="shared.example")),
            providers.source(SourceLeg(domain="else.example")),
            providers.source(SourceLeg(user_id="unknown", domain="192.0.2.2")),
            providers.destination(DestinationLeg(peer_host_id=second_host, domain="192.0.2.1")),
            providers.destination(DestinationLeg(peer_host_id=999, domain="192.0.2.1")),
            providers.destination(DestinationLeg(domain="192.0.2.1")),
        ]

    assert db.read_here(look) == [str(second), str(first), "0", "0", str(second), "0", str(first)]
    assert providers.double == {"shared.example"}
    assert first_host != second_host


def test_two_runs_at_once_on_mariadb(mariadb_store: str) -> None:
    """A second process that reads while the first has not committed yet must find nothing left to do."""
    import threading

    from tests.servers.stores import empty

    empty(mariadb_store)
    db = Database(mariadb_store, InlineExecutor(), SimClock(T0 + 100))
    put(db, *[row(f"c{n}", "INVITE", "486", T0 + n) for n in range(50)])
    first_read = threading.Event()

    def slow(conn: sa.Connection) -> int:
        done = mediate(conn, 100, Providers()).calls
        first_read.set()
        other.join(0.3)  # the other one is waiting for the rows by now, or would be done wrongly
        return done

    results: list[int] = []

    def second() -> None:
        first_read.wait(10)
        results.append(db.run_here(lambda conn: mediate(conn, 100, Providers(), only=[f"c{n}" for n in range(50)]).calls))

    other = threading.Thread(target=second)
    other.start()
    assert db.run_here(slow) == 50
    other.join(20)
    assert results == [0]
    assert count(db, cdr) == 50 and count(db, acc_backup) == 50 and count(db, acc) == 0
    db.close()


# ------------------------------------------------------------------------------------------------------------- properties
class Crash(Exception):
    pass


def memory() -> Database:
    made = Database("sqlite://", InlineExecutor(), SimClock(T0 + 100_000))
    metadata.create_all(made.engine)
    return made


legs = st.sampled_from([SRC, SourceLeg("u1", "carol", init_time=T0).encode(), "broken|leg|"])
invites = st.tuples(st.just("INVITE"), st.sampled_from(["200", "200", "486", "404", "503"]), st.integers(0, 60_000), legs)
byes = st.tuples(st.just("BYE"), st.just("200"), st.integers(0, 60_000), st.just(""))
calls = st.lists(st.tuples(st.sampled_from(["a", "b", "c", "d"]), st.one_of(invites, invites, byes)), max_size=14)


def build(steps: list[tuple[str, tuple[str, str, int, str]]]) -> list[dict[str, Any]]:
    return [row(c, m, code, Decimal(T0) + Decimal(ms) / 1000, src_leg=leg) for c, (m, code, ms, leg) in steps]


def summary(db: Database) -> tuple[Counter[Any], dict[str, Counter[Any]]]:
    made = Counter((c["call_id"], c["call_code"], c["start_time"], c["duration"], c["source_user"]) for c in cdrs(db))
    places = {}
    for table in (acc, acc_backup, acc_trash):
        rows = db.read_here(lambda conn, t=table: conn.execute(sa.select(t)).all())
        places[table.name] = Counter((r.callid, r.method, r.sip_code, r.time_hires, r.src_leg) for r in rows)
    return made, places


def model(rows: list[dict[str, Any]]) -> tuple[Counter[Any], dict[str, Counter[Any]]]:
    """What has to come out, said again without SQL. Rows that lie long back, so a BYE alone is given up."""
    made: Counter[Any] = Counter()
    places: dict[str, Counter[Any]] = {"acc": Counter(), "acc_backup": Counter(), "acc_trash": Counter()}
    for callid in {r["callid"] for r in rows}:
        mine = [r for r in rows if r["callid"] == callid]
        distinct = {(r["method"], r["sip_code"], r["time_hires"], r["src_leg"]) for r in mine}
        answers = [d for d in distinct if d[0] == "INVITE"]
        ends = [d[2] for d in distinct if d[0] == "BYE"]
        if answers and not ends and any(d[1] == "200" for d in answers):
            place = "acc"
        elif not answers or any(d[3].startswith("broken") for d in answers):
            place = "acc_trash"
        else:
            place = "acc_backup"
            for _, code, at, leg in answers:
                duration = max(Decimal(0), min(ends) - at) if code == "200" else Decimal(0)
                made[(callid, code, at, duration, "carol" if "carol" in leg else "alice")] += 1
        places[place].update((callid, r["method"], r["sip_code"], r["time_hires"], r["src_leg"]) for r in mine)
    return made, places


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(calls, st.randoms(use_true_random=False), st.integers(1, 5))
def test_every_row_ends_in_one_place_and_every_invite_in_one_cdr(steps: Any, rng: Any, limit: int) -> None:
    rows = build(steps)
    rng.shuffle(rows)
    db = memory()
    if rows:
        put(db, *rows)
    while run(db, limit):
        pass
    once = summary(db)
    assert once == model(rows)
    assert run(db) == 0
    assert summary(db) == once
    db.close()


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(calls, st.lists(st.integers(1, 9), max_size=6), st.integers(1, 4))
def test_a_crash_at_any_statement_changes_nothing(steps: Any, crashes: list[int], limit: int) -> None:
    rows = build(steps)
    db = memory()
    if rows:
        put(db, *rows)
    left = 0

    def count_down(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise Crash

    sa.event.listen(db.engine, "after_cursor_execute", count_down)
    for at in crashes:
        left = at
        try:
            run(db, limit)
        except Crash:
            pass
        left = 0
    while run(db, limit):
        left = 0
    assert summary(db) == model(rows)
    db.close()
