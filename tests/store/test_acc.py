"""Accounting events: leg strings, the way into table acc exactly once, and what the next start makes of calls that a crash left open."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from ngcpd.runtime.fake import InlineExecutor, MemoryDisk, SimClock
from ngcpd.store.acc import AccEvent, Accounting, _fitted, acc_home, fit, fit_call_id
from ngcpd.store.db import Database
from ngcpd.store.follower import Follower
from ngcpd.store.journal import Journal, JournalFull
from ngcpd.store.legs import DestinationLeg, LegError, SourceLeg, escape, unescape
from ngcpd.store.tables import metadata
from ngcpd.store.tables.accounting import acc, acc_mark
from tests.store.helpers import captured, lines_with
from tests.store.test_journal import Disk

# -------------------------------------------------------------------------------------------------------------------- legs
plain = st.text(st.characters(blacklist_characters="|", min_codepoint=32, max_codepoint=0x7E), max_size=60)
anything = st.text(st.characters(), max_size=60)
number = st.integers(0, 2**31 - 1)


def test_leg_strings_as_specified() -> None:
    source = SourceLeg("uu-id", "alice", "a.example", "43110", "ext|1", "c 2", 5, "au", "ar", True, "cfna", "192.0.2.1", 1.5, ("a", "", "c"), "lnp")
    assert source.encode() == "uu-id|alice|a.example|43110|ext%7C1|c%202|5|au|ar|1|cfna|192.0.2.1|1.500|a||c||||||||lnp|"
    target = DestinationLeg(True, "e%", "", 7, "011", "uu", "bob", "b.example", "43111", "in", 3, ("x",), "p")
    assert target.encode() == "1|e%25||7|011|uu|bob|b.example|43111|in|3|x||||||||||p|"
    assert SourceLeg().encode().count("|") == 24 and DestinationLeg().encode().count("|") == 22
    assert SourceLeg(user="a|b\r\nc\x00").encode().split("|")[1] == "a_b__c_"


@given(plain, plain, anything, anything, number, st.booleans(), st.floats(0, 4e9), st.lists(plain, min_size=10, max_size=10))
def test_source_leg_round_trip(user: str, cli: str, es: str, ec: str, account: int, clir: bool, init: float, gpp: list[str]) -> None:
    es, ec = (t.replace("\0", "").encode("utf-8", "ignore").decode() for t in (es, ec))
    leg = SourceLeg("u", user, "d", cli, es, ec, account, "", "", clir, "call", "::1", round(init, 3), tuple(gpp), "x")
    assert SourceLeg.decode(leg.encode()) == leg


@given(plain, plain, anything, number, st.integers(0, 2**31 - 1), st.booleans())
def test_destination_leg_round_trip(dialed: str, user: str, es: str, account: int, peer: int, split: bool) -> None:
    es = es.replace("\0", "").encode("utf-8", "ignore").decode()
    leg = DestinationLeg(split, es, "", account, dialed, "0", user, "d", "", "", peer)
    assert DestinationLeg.decode(leg.encode()) == leg


@given(*[anything] * 6)
def test_no_text_can_break_a_leg(user: str, domain: str, cli: str, external: str, gpp: str, lnp: str) -> None:
    text = SourceLeg(user=user, domain=domain, cli=cli, external_subscriber_id=external, gpp=(gpp,), lnp_prefix=lnp).encode()
    assert text.count("|") == 24
    text.encode()  # no lone surrogate left
    assert SourceLeg.decode(text).lnp_prefix == text.split("|")[23]


@pytest.mark.parametrize(
    ("text", "value"),
    [("a%20b", "a b"), ("%", "%"), ("a%2", "a%2"), ("%zz", "%zz"), ("%00", "%00"), ("%ff", "%ff"), ("%C3%BC", "ü"), ("ü%7C", "ü|"), ("", "")],
)
def test_unescape(text: str, value: str) -> None:
    assert unescape(text) == value


@given(anything)
def test_unescape_takes_anything(text: str) -> None:
    unescape(text)
    clean = text.replace("\0", "").encode("utf-8", "ignore").decode()
    assert unescape(escape(clean)) == clean


@given(st.text(st.sampled_from("|0a.9%"), max_size=60))
def test_any_leg_is_read_or_refused(text: str) -> None:
    for kind in (SourceLeg, DestinationLeg):
        try:
            kind.decode(text)
        except LegError:
            pass


COLUMNS = {
    "method": 16, "sip_code": 3, "sip_reason": 128, "from_tag": 128, "to_tag": 128, "src_leg": 10240, "dst_leg": 10240, "src_user": 64,
    "src_domain": 128, "dst_user": 64, "dst_ouser": 64, "dst_domain": 128,
}  # fmt: skip


@given(st.sampled_from([*COLUMNS, "callid"]), st.text(max_size=300) | st.text("ab", min_size=60, max_size=260), st.sampled_from((1.0, 1.00049)))
def test_an_event_fits_its_columns(name: str, text: str, time: float) -> None:
    good = AccEvent("BYE", "id", 1.0, "200", "OK", "a", "b", "x" * 10240, "y" * 10240, "u" * 64, "d" * 128, "u" * 64, "o" * 64, "d" * 128)
    assert _fitted(good) is good
    event = msgspec.structs.replace(good, time=time, **{name: text})
    fitted = _fitted(event)
    assert fitted == msgspec.structs.replace(
        good, time=round(time, 3), **{name: fit_call_id(text) if name == "callid" else fit(text, COLUMNS[name])}
    )
    assert getattr(_fitted(msgspec.structs.replace(good, **{name: "z" * 10241})), name) != "z" * 10241


def test_long_call_ids_stay_different() -> None:
    one, two = fit_call_id("x" * 300 + "1"), fit_call_id("x" * 300 + "2")
    assert one != two and len(one) == len(two) == 255
    assert fit_call_id("abc@host") == "abc@host"


# --------------------------------------------------------------------------------------------------------------- into acc
class House:
    """A daemon that can crash: database, journal, accounting, follower."""

    def __init__(self, url: str) -> None:
        self.clock = SimClock()
        self.disk = Disk()
        self.db = Database(url, InlineExecutor(), self.clock)
        self.closed = 0
        self.start()

    def start(self) -> None:
        self.clock._heap.clear()
        self.clock.advance(1)
        self.journal = Journal(self.disk, self.clock, InlineExecutor(), "/j", "self", segment_size=3000)
        self.journal.open()
        self.acc = Accounting(self.journal, self.clock)
        self.closed += self.acc.recover()
        self.follower = Follower(self.journal, "acc", acc_home(self.db, "self"), self.clock)
        self.follower.start()
        self.acc.start()

    crash = start

    def write(self, method: str, callid: str, code: str = "200", **more: Any) -> None:
        self.acc.write(AccEvent(method=method, callid=callid, time=self.clock.time(), sip_code=code, **more))

    def rows(self) -> list[Any]:
        self.clock.advance(0.2)
        return self.db.read_here(lambda conn: list(conn.execute(sa.select(acc).order_by(acc.c.id))))


@pytest.fixture
def house(store_url: str) -> Iterator[House]:
    made = House(store_url)
    yield made
    made.db.close()


@pytest.fixture
def memory_house() -> Iterator[House]:
    made = memory()
    yield made
    made.db.close()


def memory() -> House:
    engine = Database("sqlite://", InlineExecutor(), SimClock())
    metadata.create_all(engine.engine)
    made = House.__new__(House)
    made.clock, made.disk, made.db, made.closed = SimClock(), Disk(), engine, 0
    made.start()
    return made


def test_all_columns_arrive(house: House) -> None:
    event = AccEvent(
        method="INVITE", callid="c1", time=1_700_000_000.1239, sip_code="486", sip_reason="Busy Here", from_tag="f", to_tag="t",
        src_leg=SourceLeg(user="ü").encode(), dst_leg=DestinationLeg().encode(), src_user="alice", src_domain="a", dst_user="bob",
        dst_ouser="11", dst_domain="b",
    )  # fmt: skip
    house.acc.write(event)
    [row] = house.rows()
    assert row.time_hires == Decimal("1700000000.124") and str(row.time) == "2023-11-14 22:13:20"
    for name in msgspec.structs.asdict(event):
        if name != "time":
            assert getattr(row, name) == getattr(event, name), name


def test_hostile_values_arrive_cut_and_cleaned(house: House) -> None:
    text = "\udcff\x00😀'\"\\" + "x" * 20_000
    house.acc.write(
        AccEvent(
            method=text, callid=text, time=1_700_000_000.0, sip_code="20000", sip_reason=text, from_tag=text, to_tag=text, src_leg=text,
            dst_leg=text, src_user=text, src_domain=text, dst_user=text, dst_ouser=text, dst_domain=text,
        )
    )  # fmt: skip
    house.write("INVITE", "next")
    first, second = house.rows()
    assert first.src_user == ("__😀'\"\\" + "x" * 100)[:64] and first.sip_code == "200" and len(first.src_leg) == 10240
    assert second.callid == "next"


def test_crash_between_journal_and_table(house: House) -> None:
    house.write("INVITE", "c1", "486")
    house.crash()
    house.write("INVITE", "c2", "486")
    house.crash()
    assert [r.callid for r in house.rows()] == ["c1", "c2"]
    house.crash()
    assert [r.callid for r in house.rows()] == ["c1", "c2"]


def test_insert_and_mark_are_one_transaction(house: House) -> None:
    """The connection breaks before the commit, then during its answer: neither loses nor doubles rows."""
    failing = True

    def broken(conn: Any, cursor: Any, statement: str, *_: Any) -> None:
        if failing and "acc_mark" in statement and not statement.lstrip().upper().startswith("SELECT"):
            raise sa.exc.OperationalError(statement, {}, Exception(2013, "gone"), connection_invalidated=True)

    sa.event.listen(house.db.engine, "before_cursor_execute", broken)
    with captured() as lines:
        house.write("INVITE", "c1", "486")
        assert house.rows() == []
        failing = False
        house.clock.advance(5)
    sa.event.remove(house.db.engine, "before_cursor_execute", broken)
    assert [r.callid for r in house.rows()] == ["c1"]
    assert len(lines_with(lines, "info", "home away")) == 1
    mark = house.db.read_here(lambda conn: conn.execute(sa.select(acc_mark)).one())
    assert (mark.node, mark.stream, mark.epoch) == ("self", "acc", house.journal.epoch)


def test_commit_whose_answer_is_lost(house: House) -> None:
    lost = True

    home = house.follower.home
    original = home.apply  # type: ignore[attr-defined]

    def apply(records: Any, after: Any, upto: Any) -> Any:
        nonlocal lost
        done = original(records, after, upto)
        if lost:
            lost = False
            return done.addCallback(lambda _: 1 / 0)
        return done

    home.apply = apply  # type: ignore[method-assign]
    house.write("INVITE", "c1", "486")
    house.clock.advance(5)
    assert [r.callid for r in house.rows()] == ["c1"]


# ---------------------------------------------------------------------------------------------------------- crash recovery
def test_no_sign_of_life_is_newer_than_what_waits(memory_house: House) -> None:
    house = memory_house
    house.write("INVITE", "open")
    answered = house.clock.time()
    house.acc.before_beat = lambda: False
    house.clock.advance(7.5)
    house.crash()
    [closing] = [row for row in house.rows() if row.method == "BYE"]
    assert answered <= float(closing.time_hires) <= answered + 1.1


def test_open_calls_are_closed_with_the_last_moment_alive(house: House) -> None:
    house.write("INVITE", "ended", from_tag="f")
    house.write("INVITE", "open", from_tag="f1", to_tag="t1")
    house.write("INVITE", "failed", "486")
    answered = house.clock.time()
    house.clock.advance(7.5)
    house.write("BYE", "ended")
    house.clock.advance(2.2)
    last = answered + 9.0
    with captured() as lines:
        house.crash()
    assert len(lines_with(lines, "warning", "calls of an earlier run closed", "calls=1")) == 1
    rows = house.rows()
    [closing] = [r for r in rows if r.callid == "open" and r.method == "BYE"]
    assert (closing.sip_code, closing.sip_reason, closing.from_tag, closing.to_tag) == ("200", "timeout", "f1", "t1")
    assert last <= float(closing.time_hires) <= last + 0.7
    assert len([r for r in rows if r.method == "BYE"]) == 2
    house.crash()
    assert len(house.rows()) == len(rows) and house.closed == 1


def test_calls_are_closed_also_when_their_segments_are_long_gone(memory_house: House) -> None:
    house = memory_house
    house.write("INVITE", "old")
    for n in range(200):
        house.write("INVITE", f"c{n}")
        house.clock.advance(0.3)
        house.write("BYE", f"c{n}")
    house.clock.advance(1)
    assert len([n for n in house.disk.list("/j") if n.endswith(".journal")]) <= 2
    house.crash()
    assert house.closed == 1
    closing = house.rows()[-1]
    assert closing.callid == "old" and closing.sip_reason == "timeout"


def test_crash_within_an_instant_of_the_answer(memory_house: House) -> None:
    house = memory_house
    house.clock.advance(0.5)
    house.write("INVITE", "c1")
    answered = round(house.clock.time(), 3)
    house.crash()
    assert float(house.rows()[-1].time_hires) == answered


def test_recovery_interrupted_and_repeated(memory_house: House) -> None:
    house = memory_house
    for n in range(10):
        house.write("INVITE", f"c{n}")
    house.clock._heap.clear()
    house.clock.advance(1)
    journal = Journal(house.disk, house.clock, InlineExecutor(), "/j", "self")
    journal.open()
    house.disk.room = 400
    with pytest.raises(JournalFull):
        Accounting(journal, house.clock).recover()
    house.disk.room = None
    house.crash()
    byes = [r.callid for r in house.rows() if r.method == "BYE"]
    assert sorted(byes) == [f"c{n}" for n in range(10)]


def test_recovery_touches_no_timer_and_is_durable(memory_house: House) -> None:
    """It runs on a thread at start, where the reactor's timers are out of reach."""
    house = memory_house
    for n in range(50):
        house.write("INVITE", f"c{n}")

    class NoTimers(SimClock):
        def call_later(self, *_: Any) -> Any:
            raise AssertionError("timer set")

    clock = NoTimers(house.clock.time() + 1)
    journal = Journal(house.disk, clock, InlineExecutor(), "/j", "self", segment_size=1000)
    journal.open()
    before = house.disk.syncs
    assert Accounting(journal, clock).recover() == 50
    assert house.disk.syncs > before + 5  # each segment it filled, and the last
    assert not journal._dirty
    house.disk.sync_error = OSError(5, "Input/output error")
    house.write("INVITE", "late")
    journal = Journal(house.disk, NoTimers(house.clock.time() + 2), InlineExecutor(), "/j", "self")
    journal.open()
    with pytest.raises(OSError):
        Accounting(journal, clock).recover()


def test_full_disk_is_the_callers_affair(memory_house: House) -> None:
    house = memory_house
    house.disk.room = 0
    with pytest.raises(JournalFull):
        house.write("INVITE", "c1")
    assert house.acc.open_calls == 0
    with captured():
        house.clock.advance(5)  # the signs of life fail too, quietly
    house.disk.room = None
    house.write("INVITE", "c1")
    assert house.acc.open_calls == 1
    house.acc.stop()


def test_unreadable_records_are_left_out(memory_house: House) -> None:
    house = memory_house
    house.journal.append("acc", b"not json")
    house.journal.append("alive", b"soon")
    house.journal.append("checkpoint", b"{}")
    house.write("INVITE", "c1", "486")
    with captured() as lines:
        assert [r.callid for r in house.rows()] == ["c1"]
        house.crash()
    assert len(lines_with(lines, "error", "put aside")) == 1
    assert len(lines_with(lines, "error", "cannot be read")) == 3


steps = st.lists(
    st.one_of(
        st.tuples(st.just("answer"), st.sampled_from("abcdef")),
        st.tuples(st.just("bye"), st.sampled_from("abcdef")),
        st.tuples(st.just("busy"), st.sampled_from("abcdef")),
        st.tuples(st.just("wait"), st.sampled_from(["0.01", "0.06", "1.7", "30"])),
        st.tuples(st.just("crash"), st.none()),
    ),
    max_size=25,
)


@settings(max_examples=80, deadline=None)
@given(steps)
def test_every_answered_call_gets_exactly_one_end(plan: list[tuple[str, Any]]) -> None:
    house = memory()
    open_: dict[str, str] = {}
    wanted: list[tuple[str, str]] = []
    serial = 0
    with captured():
        for what, value in plan:
            if what == "wait":
                house.clock.advance(float(value))
            elif what == "crash":
                house.crash()
                wanted += [("BYE", c) for c in open_.values()]
                open_.clear()
            elif what == "busy":
                house.write("INVITE", value + "x", "486")
                wanted.append(("INVITE", value + "x"))
            elif what == "answer" and value not in open_:
                serial += 1
                open_[value] = f"{value}{serial}"
                house.write("INVITE", open_[value])
                wanted.append(("INVITE", open_[value]))
            elif what == "bye" and value in open_:
                wanted.append(("BYE", open_[value]))
                house.write("BYE", open_.pop(value))
        assert house.acc.open_calls == len(open_)
        assert [(r.method, r.callid) for r in house.rows()] == wanted
    house.db.close()


def test_memory_disk_is_enough() -> None:
    """Accounting needs nothing but the door of the disk."""
    clock = SimClock()
    journal = Journal(MemoryDisk(), clock, InlineExecutor(), "/j", "self")
    journal.open()
    assert Accounting(journal, clock).recover() == 0
