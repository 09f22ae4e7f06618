"""Business hours and business days, over weekends, holidays and changes of the clocks."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.calendars import Calendar

NEW_YORK = ZoneInfo("America/New_York")
THANKSGIVING = date(2026, 11, 26)
OFFICE = Calendar(NEW_YORK, hours=((9 * 60, 17 * 60 + 30),), is_holiday=lambda day: day == THANKSGIVING)
NIGHTS = Calendar(NEW_YORK, frozenset(range(7)), hours=((0, 6 * 60), (22 * 60, 24 * 60)))
ALWAYS = Calendar(ZoneInfo("UTC"), frozenset(range(7)))
NEVER = Calendar(ZoneInfo("UTC"), is_holiday=lambda _day: True)


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK)


@pytest.mark.parametrize(
    ("at", "is_open"),
    [
        ("2026-11-25T08:59:59.999999", False),
        ("2026-11-25T09:00", True),
        ("2026-11-25T17:29:59", True),
        ("2026-11-25T17:30", False),
        ("2026-11-26T12:00", False),  # a holiday
        ("2026-11-28T12:00", False),  # a Saturday
    ],
)
def test_is_open_in_its_hours_on_its_days_only(at, is_open):
    assert OFFICE.is_open(local(at)) is is_open
    assert OFFICE.is_open(local(at).astimezone(ZoneInfo("Asia/Tokyo"))) is is_open


@pytest.mark.parametrize(
    ("at", "opens", "closes"),
    [
        ("2026-11-25T03:00", "2026-11-25T09:00", "2026-11-25T03:00"),
        ("2026-11-25T10:00", "2026-11-25T10:00", "2026-11-25T17:30"),
        ("2026-11-25T18:00", "2026-11-27T09:00", "2026-11-25T18:00"),
        ("2026-11-27T17:30", "2026-11-30T09:00", "2026-11-27T17:30"),
    ],
)
def test_says_when_it_opens_and_closes(at, opens, closes):
    assert OFFICE.next_open(local(at)) == local(opens)
    assert OFFICE.next_closed(local(at)) == local(closes)


def test_hours_that_touch_at_midnight_are_one_night():
    assert NIGHTS.next_closed(local("2026-11-25T23:00")) == local("2026-11-26T06:00")
    assert NIGHTS.next_open(local("2026-11-25T06:00")) == local("2026-11-25T22:00")


def test_always_never_closes_and_never_never_opens():
    at = local("2026-11-25T12:00")
    assert (ALWAYS.next_open(at), ALWAYS.next_closed(at)) == (at, None)
    assert (NEVER.next_open(at), NEVER.next_closed(at), NEVER.add_days(at, 1)) == (None, at, None)


@pytest.mark.parametrize(
    ("at", "count", "after"),
    [
        ("2026-11-24T15:00:07", 1, "2026-11-25T15:00:07"),
        ("2026-11-24T15:00", 3, "2026-11-30T15:00"),  # over Thanksgiving and a weekend
        ("2026-11-28T20:00", 1, "2026-12-01T09:00"),  # from a Saturday: from Monday's opening
        ("2026-11-28T20:00", 0, "2026-11-30T09:00"),
        ("2026-03-06T12:00", 1, "2026-03-09T12:00"),  # the clocks go forward in between
        ("2026-10-30T12:00", 1, "2026-11-02T12:00"),  # and back
    ],
)
def test_counts_business_days_at_the_same_time_of_day(at, count, after):
    assert OFFICE.add_days(local(at), count) == local(after)


def test_a_time_that_the_clocks_skip_is_as_much_later():
    every_day = Calendar(NEW_YORK, frozenset(range(7)))
    assert every_day.add_days(local("2026-03-07T02:30"), 1) == local("2026-03-08T03:30")


moments = st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1), timezones=st.just(UTC))
calendars = st.builds(
    Calendar,
    st.sampled_from([NEW_YORK, ZoneInfo("Europe/Berlin"), ZoneInfo("Australia/Lord_Howe"), ZoneInfo("UTC")]),
    st.frozensets(st.integers(0, 6), min_size=1),
    st.sampled_from([((0, 1440),), ((540, 1050),), ((0, 360), (1320, 1440)), ((120, 180),)]),
    st.sampled_from([lambda _day: False, lambda day: day.day == 1, lambda day: day.month == 12]),
)


@given(calendars, moments)
def test_what_it_says_of_opening_is_what_it_says_of_being_open(calendar, at):
    opens, closes = calendar.next_open(at), calendar.next_closed(at)
    assert opens is not None
    assert (opens == at) is calendar.is_open(at)
    assert opens >= at
    if opens > at:
        assert not calendar.is_open(at + (opens - at) / 2)
        assert calendar.is_open(opens) or opens.astimezone(calendar.zone).utcoffset() != at.utcoffset()
    if closes is not None:
        assert closes >= at
        assert not calendar.is_open(closes)
        assert closes == at or calendar.is_open(closes - timedelta(microseconds=1))


@given(calendars, moments, st.integers(0, 12), st.integers(0, 12))
def test_business_days_add_up(calendar, at, first, second):
    there = calendar.add_days(at, first)
    assert there is not None
    assert calendar.is_business_day(there.astimezone(calendar.zone).date())
    day = at.astimezone(calendar.zone).date()
    passed = (there.astimezone(calendar.zone).date() - day).days
    business = sum(calendar.is_business_day(day + timedelta(days=n)) for n in range(passed + 1))
    assert business == first + 1
    later = calendar.add_days(at, first + second)
    assert later is not None
    assert later >= there


@pytest.mark.parametrize(
    ("begin", "span", "end"),
    [
        ("2026-11-25T10:00", timedelta(minutes=15), "2026-11-25T10:15"),
        ("2026-11-25T17:20", timedelta(minutes=15), "2026-11-27T09:05"),  # Thanksgiving between
        (
            "2026-11-25T17:20",
            timedelta(minutes=10),
            "2026-11-27T09:00",
        ),  # at the close is at the next opening
        ("2026-11-25T20:00", timedelta(), "2026-11-27T09:00"),
        ("2026-11-25T12:00", timedelta(), "2026-11-25T12:00"),
        ("2026-11-23T09:00", timedelta(hours=17), "2026-11-25T09:00"),
    ],
)
def test_counts_only_the_time_in_which_it_is_open(begin, span, end):
    assert OFFICE.add_time(local(begin), span) == local(end)


def test_what_never_opens_counts_nothing():
    assert NEVER.add_time(local("2026-11-25T10:00"), timedelta()) is None


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)), st.timedeltas(timedelta(), timedelta(days=9))
)
def test_after_a_span_it_is_open_and_time_that_is_always_open_is_plain_time(begin, span):
    begin = begin.replace(tzinfo=UTC)
    end = OFFICE.add_time(begin, span)
    assert OFFICE.is_open(end)
    assert end - begin >= span
    assert ALWAYS.add_time(begin, span) == begin + span
    later = OFFICE.add_time(begin, span + timedelta(minutes=1))
    assert later > end
