from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ngcpd.runtime.fake import SimClock
from ngcpd.sip.wheel import GRAIN, SLOTS, Wheel


def test_never_early_and_at_most_one_grain_late() -> None:
    clock = SimClock()
    wheel = Wheel(clock)
    clock.advance(0.013)
    fired: list[float] = []
    start = clock.monotonic()
    wheel.after(0.5, lambda: fired.append(clock.monotonic() - start))
    clock.advance(2)
    assert fired[0] + 1e-9 >= 0.5 and fired[0] <= 0.55 + 1e-9
    assert wheel.pending == 0


def test_exact_on_the_grain() -> None:
    clock = SimClock()
    wheel = Wheel(clock)
    fired: list[float] = []
    for n in range(1, 200):
        wheel.after(n * GRAIN, lambda: fired.append(clock.monotonic()))
    clock.advance(20)
    assert [round(f / GRAIN, 6) for f in fired] == list(range(1, 200))


def test_cancel_twice_and_after_firing() -> None:
    clock = SimClock()
    wheel = Wheel(clock)
    fired: list[int] = []
    timer = wheel.after(1, fired.append, 1)
    other = wheel.after(1, fired.append, 2)
    assert timer.active()
    timer.cancel()
    timer.cancel()
    assert not timer.active() and wheel.pending == 1
    clock.advance(2)
    other.cancel()
    assert fired == [2] and wheel.pending == 0


def test_longer_than_a_turn() -> None:
    clock = SimClock()
    wheel = Wheel(clock)
    fired: list[float] = []
    for seconds in (51.15, 51.2, 51.25, 102.4, 3600.0):
        wheel.after(seconds, lambda: fired.append(round(clock.monotonic(), 3)))
    clock.advance(4000)
    assert fired == [51.15, 51.2, 51.25, 102.4, 3600.0]


def test_idle_wheel_has_no_clock_timer() -> None:
    clock = SimClock()
    wheel = Wheel(clock)
    assert clock.pending() == 0
    wheel.after(3, lambda: None)
    assert clock.pending() == 1
    clock.advance(5)
    assert clock.pending() == 0
    timer = wheel.after(3, lambda: None)
    timer.cancel()
    clock.advance(5)
    assert clock.pending() == 0


def test_at_most_twenty_wakeups_per_second() -> None:
    clock = SimClock()
    wheel = Wheel(clock)
    woken: set[float] = set()
    for n in range(1000):
        wheel.after(n / 1000, lambda: woken.add(clock.monotonic()))
    clock.advance(2)
    assert len(woken) <= 21


def test_earlier_timer_rearms() -> None:
    clock = SimClock()
    wheel = Wheel(clock)
    fired: list[str] = []
    wheel.after(10, fired.append, "late")
    clock.advance(1)
    wheel.after(0.1, fired.append, "early")
    clock.advance(0.2)
    assert fired == ["early"]
    clock.advance(10)
    assert fired == ["early", "late"]


def test_raising_callback_harms_no_other() -> None:
    clock = SimClock()
    wheel = Wheel(clock)
    fired: list[int] = []
    wheel.after(1, lambda: 1 / 0)
    wheel.after(1, fired.append, 1)
    wheel.after(2, fired.append, 2)
    clock.advance(3)
    assert fired == [1, 2] and wheel.errors == 1 and wheel.pending == 0


def test_timers_set_while_firing() -> None:
    clock = SimClock()
    wheel = Wheel(clock)
    fired: list[float] = []

    def again() -> None:
        fired.append(round(clock.monotonic(), 3))
        if len(fired) < 5:
            wheel.after(0, again)

    wheel.after(0, again)
    clock.advance(1)
    assert fired == [0.05, 0.1, 0.15, 0.2, 0.25]


def test_close_from_within_a_callback() -> None:
    clock = SimClock()
    wheel = Wheel(clock)
    fired: list[int] = []
    wheel.after(1, wheel.close)
    wheel.after(1, fired.append, 1)
    wheel.after(5, fired.append, 2)
    clock.advance(10)
    assert fired == [] and wheel.pending == 0 and clock.pending() == 0
    wheel.after(1, fired.append, 3)
    clock.advance(2)
    assert fired == [3]


def test_standstill_longer_than_a_turn() -> None:
    """The process was stopped: everything that fell due runs once, nothing is lost."""

    class Jumpy(SimClock):
        def jump(self, seconds: float) -> None:
            self.now += seconds

    clock = Jumpy()
    wheel = Wheel(clock)
    fired: list[float] = []
    for n in range(1, 300):
        wheel.after(n, fired.append, n)
    clock.advance(0.5)
    clock.jump(5 * SLOTS * GRAIN)
    clock.advance(0.1)
    assert sorted(fired) == [n for n in range(1, 300) if n <= clock.now]
    clock.advance(300)
    assert sorted(fired) == list(range(1, 300)) and wheel.pending == 0


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 120), st.floats(0, 5), st.booleans()), max_size=40))
def test_every_timer_fires_once_in_time(plan: list[tuple[float, float, bool]]) -> None:
    clock = SimClock()
    wheel = Wheel(clock)
    due: dict[int, float] = {}
    fired: dict[int, float] = {}
    cancelled = []
    for index, (seconds, wait, cancel) in enumerate(plan):
        due[index] = clock.monotonic() + seconds
        timer = wheel.after(seconds, lambda i=index: fired.setdefault(i, clock.monotonic()))  # type: ignore[misc]
        if cancel:
            timer.cancel()
            cancelled.append(index)
        clock.advance(wait)
    clock.advance(200)
    assert sorted(fired) == [i for i in range(len(plan)) if i not in cancelled]
    assert all(due[i] - 1e-5 <= at <= due[i] + GRAIN + 1e-3 for i, at in fired.items())
    assert wheel.pending == 0 and clock.pending() == 0
