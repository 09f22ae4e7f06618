"""An alert from the first look to its end: what opens, what is reminded of, what ends, and when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.clock import from_iso, iso
from notifier.core.alerts import Alert, End, Look, Phase, Subject, Timing, What
from notifier.core.course import Step, dismissed, observe, removed, tick
from notifier.models import Kind

START = datetime(2026, 11, 25, 9, 0, tzinfo=UTC)
RULE = "group-needs-attention"
AT_ONCE = Timing()


def at(minutes: float) -> str:
    return iso(START + timedelta(minutes=minutes))


def after(minutes: float):
    return lambda moment: iso(from_iso(moment) + timedelta(minutes=minutes))


def subject(status: str, revision: int, *, moved: bool) -> Subject:
    return Subject(Kind.GROUP_CONNECTION, "gc_1", "conn_1", {"status": status}, {}, revision, moved)


class Watch:
    """A rule on needs_attention with one entity, looked at every minute; knows what happened."""

    def __init__(self, timing: Timing = AT_ONCE, *, is_first: bool = False) -> None:
        self.timing = timing
        self.alert: Alert | None = None
        self.happened: list[tuple[float, What]] = []
        self.minute = 0.0
        self._is_first = is_first

    def see(self, status: str, minute: float, revision: int = 1, *, moved: bool = False) -> None:
        look = Look(at(minute), at(self.minute) if minute else None, self._is_first and not minute)
        seen = subject(status, revision, moved=moved)
        matches = status == "needs_attention"
        self._take(observe(self.alert, RULE, self.timing, seen, look, matches=matches), minute)
        self.tick(minute)

    def tick(self, minute: float) -> None:
        if self.alert:
            self._take(tick(self.alert, self.timing, at(minute)), minute)
        self.minute = minute

    def _take(self, step: Step, minute: float) -> None:
        self.alert = step.alert
        if step.what:
            self.happened.append((minute, step.what))


def test_without_a_wait_it_opens_at_the_look_that_shows_it_and_says_how_precisely_that_is_known():
    watch = Watch()
    watch.see("pending", 0)
    watch.see("needs_attention", 5)
    assert watch.happened == [(5, What.OPENED)]
    assert (watch.alert.since_after, watch.alert.since, watch.alert.opened_at) == (at(0), at(5), at(5))
    watch.see("needs_attention", 6)
    watch.tick(1000)
    assert len(watch.happened) == 1


def test_with_for_it_opens_at_the_first_look_after_it_held_so_long():
    watch = Watch(Timing(hold=after(10)))
    watch.see("needs_attention", 1)
    watch.tick(10.9)
    assert watch.happened == []
    watch.tick(12)
    assert watch.happened == [(12, What.OPENED)]
    assert watch.alert.since == at(1)


def test_what_is_over_before_its_time_is_never_told_and_the_wait_begins_anew():
    watch = Watch(Timing(hold=after(10)))
    watch.see("needs_attention", 1)
    watch.see("processing", 8)
    assert watch.alert is None
    watch.see("needs_attention", 9)
    watch.tick(18)
    assert watch.happened == []
    watch.tick(19)
    assert watch.happened == [(19, What.OPENED)]


def test_what_is_over_at_the_look_after_its_time_is_never_told():
    watch = Watch(Timing(hold=after(10)))
    watch.see("needs_attention", 1)
    watch.see("processing", 60)
    assert watch.happened == []


@pytest.mark.parametrize(
    ("status", "end"), [("completed", End.COMPLETED), ("processing", End.MOVED), ("new word", End.MOVED)]
)
def test_the_end_says_how_it_ended(status, end):
    watch = Watch()
    watch.see("needs_attention", 1)
    watch.see(status, 7)
    assert watch.happened == [(1, What.OPENED), (7, What.RESOLVED)]
    assert (watch.alert.phase, watch.alert.end, watch.alert.subject.status) == (Phase.CLOSED, end, status)
    assert watch.alert.ended_at == at(7)


def test_what_was_removed_is_not_completed():
    watch = Watch()
    watch.see("needs_attention", 1)
    step = removed(watch.alert, Look(at(9), at(8)))
    assert (step.what, step.alert.end, step.alert.subject.status) == (
        What.RESOLVED,
        End.REMOVED,
        "needs_attention",
    )
    assert removed(step.alert, Look(at(10), at(9))) == Step(step.alert)


def test_reminders_come_at_their_interval_until_the_end():
    watch = Watch(Timing(remind=after(60)))
    watch.see("needs_attention", 0)
    for minute in (59, 61, 70, 125, 400):
        watch.tick(minute)
    watch.see("completed", 401)
    watch.tick(900)
    what = [(minute, str(what)) for minute, what in watch.happened]
    assert what == [(0, "opened"), (61, "reminder"), (125, "reminder"), (400, "reminder"), (401, "resolved")]
    assert watch.alert.said == 5


def test_what_was_there_at_the_first_look_opens_at_once_and_is_told_as_at_least():
    watch = Watch(Timing(hold=after(10)), is_first=True)
    watch.see("needs_attention", 0)
    assert watch.happened == [(0, What.OPENED)]
    assert (watch.alert.existing, watch.alert.since_after) == (True, None)


def test_silence_is_counted_from_the_last_move_and_from_the_first_look_where_none_was_seen():
    watch = Watch(Timing(quiet=after(100)), is_first=True)
    watch.see("needs_attention", 0)
    watch.see("needs_attention", 50, moved=True)
    watch.tick(149)
    assert watch.happened == []
    watch.tick(151)
    assert watch.happened == [(151, What.OPENED)]
    assert not watch.alert.existing


def test_a_move_ends_the_alert_about_silence_and_the_next_silence_is_a_new_one():
    watch = Watch(Timing(quiet=after(100)))
    watch.see("needs_attention", 0)
    watch.tick(100)
    watch.see("needs_attention", 130, moved=True)
    assert [str(what) for _, what in watch.happened] == ["opened", "resolved"]
    assert watch.alert.phase is Phase.PENDING
    watch.tick(230)
    assert watch.happened[-1] == (230, What.OPENED)
    assert watch.alert.times == (at(100), at(230))


def test_occurrences_are_remembered_for_thirty_days_and_then_forgotten():
    watch = Watch()
    day = 24 * 60
    for n in range(3):
        watch.see("needs_attention", n * 10 * day + 1)
        watch.see("processing", n * 10 * day + 2)
    watch.see("needs_attention", 28 * day)
    assert len(watch.alert.times) == 4
    watch.see("processing", 28 * day + 1)
    watch.see("needs_attention", 35 * day)
    assert len(watch.alert.times) == 4  # the first is too old
    watch.see("completed", 35 * day + 1)
    watch.tick(65 * day - 1)
    assert watch.alert is not None
    watch.tick(65 * day)
    assert watch.alert is None


def test_a_wait_that_comes_to_nothing_keeps_what_is_remembered():
    watch = Watch(Timing(hold=after(10)))
    watch.see("needs_attention", 0)
    watch.tick(10)
    watch.see("processing", 20)
    watch.see("needs_attention", 30)
    watch.see("processing", 35)
    assert watch.alert.phase is Phase.CLOSED
    watch.see("needs_attention", 40)
    watch.tick(50)
    assert watch.alert.times == (at(10), at(50))


def test_a_rule_that_is_gone_ends_what_it_opened_and_forgets_what_waits():
    watch = Watch()
    watch.see("needs_attention", 0)
    step = dismissed(watch.alert, Look(at(5), at(4)))
    assert (step.what, step.alert.end) == (What.RESOLVED, End.RULE)
    waiting = Watch(Timing(hold=after(10)))
    waiting.see("needs_attention", 0)
    assert dismissed(waiting.alert, Look(at(5), at(4))) == Step(None)


steps = st.lists(
    st.tuples(st.sampled_from(["needs_attention", "processing", "completed"]), st.integers(1, 300)),
    min_size=1,
    max_size=30,
)
timings = st.builds(
    lambda quiet, hold, remind: Timing(*(after(one) if one else None for one in (quiet, hold, remind))),
    *[st.sampled_from([0, 5, 60, 500])] * 3,
)


@given(timings, steps, st.booleans())
def test_a_restart_between_any_two_looks_changes_nothing(timing, looks, is_first):
    watch, restarted = Watch(timing, is_first=is_first), Watch(timing, is_first=is_first)
    minute, last = 0, ""
    for revision, (status, pause) in enumerate(looks):
        for each in (watch, restarted):
            each.see(status, minute, revision, moved=bool(status != last and minute))
        if restarted.alert is not None:
            restarted.alert = msgspec.json.decode(msgspec.json.encode(restarted.alert), type=Alert)
        assert restarted.alert == watch.alert
        minute, last = minute + pause, status
    assert restarted.happened == watch.happened


@given(timings, steps)
def test_openings_and_endings_alternate_and_nothing_is_said_of_what_is_not_open(timing, looks):
    watch, minute = Watch(timing), 0
    for revision, (status, pause) in enumerate(looks):
        watch.see(status, minute, revision, moved=True)
        minute += pause
    is_open = False
    for _, what in watch.happened:
        assert is_open is not (what is What.OPENED)
        is_open = what is not What.RESOLVED
    assert is_open is (watch.alert is not None and watch.alert.phase is Phase.OPEN)
