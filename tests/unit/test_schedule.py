"""Times of the week: each is due once, over holidays and changes of the clocks."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.config import At
from notifier.config.digests import parse_at
from notifier.core.calendars import Calendar
from notifier.core.schedule import Schedule

ZONES = [ZoneInfo(name) for name in ("UTC", "America/New_York", "Pacific/Apia", "America/Santiago")]
NEW_YORK = ZONES[1]
EVERY_DAY = frozenset(range(7))
HOLIDAYS = {date(2026, 11, 26), date(2026, 12, 25)}


def schedule(*at: str, days=EVERY_DAY, zone=NEW_YORK) -> Schedule:
    return Schedule(tuple(map(parse_at, at)), Calendar(zone, days, is_holiday=HOLIDAYS.__contains__))


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK)


def due(plan: Schedule, after: str, count: int) -> list[str]:
    """The next so many times, as clocks there show them."""
    found, at = [], local(after)
    for _ in range(count):
        at = plan.next_after(at)
        found.append(f"{at.astimezone(plan.calendar.zone):%a %d %H:%M}")
    return found


@pytest.mark.parametrize(
    ("plan", "after", "expected"),
    [
        (schedule("mon 09:00"), "2026-11-16T08:59", ["Mon 16 09:00", "Mon 23 09:00"]),
        (schedule("mon 09:00"), "2026-11-16T09:00", ["Mon 23 09:00", "Mon 30 09:00"]),
        (schedule("mon,thu 09:00"), "2026-11-17T00:00", ["Thu 19 09:00", "Mon 23 09:00", "Fri 27 09:00"]),
        (schedule("mon 09:00", "daily 17:30"), "2026-11-16T00:00", ["Mon 16 09:00", "Mon 16 17:30", "Tue 17 17:30"]),
        (schedule("daily 9:00", days=frozenset(range(5))), "2026-11-25T10:00", ["Fri 27 09:00", "Mon 30 09:00", "Tue 01 09:00"]),
        (schedule("sat 10:00", "mon 09:00", days=frozenset(range(5))), "2026-11-20T12:00", ["Mon 23 09:00", "Mon 23 10:00", "Mon 30 09:00"]),
        (schedule("thu 09:00"), "2026-11-26T12:00", ["Fri 27 09:00", "Thu 03 09:00"]),  # asked on the holiday itself
        (schedule("sun 02:30"), "2026-03-07T12:00", ["Sun 08 03:00", "Sun 15 02:30"]),  # the clocks skip it
        (schedule("sun 02:30", "sun 02:15", "sun 03:00"), "2026-03-08T00:00", ["Sun 08 03:00", "Sun 15 02:15"]),
    ],
)  # fmt: skip
def test_is_due_at_its_times_on_open_days(plan, after, expected):
    assert due(plan, after, len(expected)) == expected


def test_a_time_that_comes_twice_is_due_at_the_first():
    plan = schedule("sun 01:30")
    first = plan.next_after(local("2026-11-01T00:00"))
    assert first == datetime(2026, 11, 1, 5, 30, tzinfo=UTC)
    assert plan.next_after(first) == datetime(2026, 11, 8, 6, 30, tzinfo=UTC)


def test_a_day_that_a_zone_skips_is_due_when_the_next_begins():
    plan = schedule("fri 09:00", zone=ZoneInfo("Pacific/Apia"))
    found = plan.next_after(datetime(2011, 12, 29, 12, tzinfo=UTC))
    assert found.astimezone(plan.calendar.zone).isoformat()[:16] == "2011-12-31T00:00"


def test_is_never_due_where_no_day_is_open():
    closed = Calendar(NEW_YORK, EVERY_DAY, is_holiday=lambda _day: True)
    at = local("2026-11-16T00:00")
    assert Schedule((parse_at("daily 09:00"),), closed).next_after(at) is None
    assert Schedule((parse_at("daily 09:00"),), closed).last_before(at) == at - timedelta(days=7)


@pytest.mark.parametrize(
    ("plan", "at", "before"),
    [
        (schedule("mon 09:00"), "2026-11-23T09:00", "2026-11-16T09:00"),
        (schedule("mon 09:00"), "2026-11-02T09:00", "2026-10-26T09:00"),  # a week and an hour
        (schedule("daily 09:00"), "2026-11-24T09:00", "2026-11-23T09:00"),
        (schedule("mon,thu 09:00"), "2026-11-30T09:00", "2026-11-27T09:00"),
        (schedule("daily 09:00"), "2026-11-24T12:00", "2026-11-24T09:00"),
    ],
)
def test_knows_when_it_was_due_before(plan, at, before):
    assert plan.last_before(local(at)) == local(before)


TIMES = st.builds(At, st.frozensets(st.integers(0, 6), min_size=1), st.integers(0, 24 * 60 - 1))
PLANS = st.builds(
    lambda times, zone, days, closed: Schedule(
        tuple(times), Calendar(zone, days, is_holiday=lambda day: day.toordinal() % 11 in closed)
    ),
    st.lists(TIMES, min_size=1, max_size=4),
    st.sampled_from(ZONES),
    st.frozensets(st.integers(0, 6), min_size=1),
    st.frozensets(st.integers(0, 10), max_size=3),
)
MOMENTS = st.datetimes(datetime(2011, 1, 1), datetime(2031, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))


@given(PLANS, MOMENTS)
def test_times_follow_each_other_and_come_on_open_days(plan, at):
    for _ in range(8):
        later = plan.next_after(at)
        assert later > at
        shown = later.astimezone(plan.calendar.zone)
        is_asked = shown.hour * 60 + shown.minute in {time.minute for time in plan.times}
        assert plan.calendar.is_business_day(shown.date()) or not is_asked
        at = later


@given(PLANS, MOMENTS, st.integers(1, 20 * 24 * 60))
def test_no_time_is_passed_over_or_comes_twice_whenever_it_is_asked_for(plan, at, minutes):
    """From any moment between two times the next is the same, and it is not due before."""
    first = plan.next_after(at)
    asked = at + timedelta(minutes=minutes)
    assert plan.next_after(asked) == first if asked < first else plan.next_after(asked) > asked
    assert plan.next_after(first - timedelta(milliseconds=1)) == first
