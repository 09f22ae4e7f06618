"""When a snooze ends."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

import pytest

from notifier.cli.alerts import snooze_end
from notifier.core.calendars import Calendar
from notifier.errors import ConfigError

NEW_YORK = ZoneInfo("America/New_York")
EVERY_DAY = Calendar(NEW_YORK, frozenset(range(7)))
OFFICE = Calendar(NEW_YORK, hours=((10 * 60, 17 * 60),), is_holiday=lambda day: day == date(2026, 11, 30))
EARLY = Calendar(NEW_YORK, hours=((6 * 60, 14 * 60),))
FRIDAY_NIGHT = datetime(2026, 11, 28, 3, 30, tzinfo=UTC)  # 22:30 on Friday in New York


@pytest.mark.parametrize(
    ("until", "calendar", "want"),
    [
        ("tomorrow", EVERY_DAY, datetime(2026, 11, 28, 9)),
        ("tomorrow", OFFICE, datetime(2026, 12, 1, 10)),  # Monday is a holiday
        ("tomorrow", EARLY, datetime(2026, 11, 30, 6)),
        ("2026-12-03", OFFICE, datetime(2026, 12, 3, 10)),
        ("2026-12-05", OFFICE, datetime(2026, 12, 5, 9)),  # a Saturday: nobody opens
        ("2026-12-03", EVERY_DAY, datetime(2026, 12, 3, 9)),
        ("2026-12-03T14:15", OFFICE, datetime(2026, 12, 3, 14, 15)),
        ("2026-12-03T00:00", OFFICE, datetime(2026, 12, 3)),
        ("2026-12-03T14:15Z", OFFICE, datetime(2026, 12, 3, 9, 15)),
    ],
)
def test_a_word_or_date_means_a_moment_where_people_are(until, calendar, want):
    assert snooze_end(until, None, FRIDAY_NIGHT, calendar) == want.replace(tzinfo=NEW_YORK)


def test_a_duration_counts_from_now():
    assert snooze_end(None, "90m", FRIDAY_NIGHT, OFFICE) == datetime(2026, 11, 28, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("until", "for_"),
    [("2026-11-27", None), ("9999-12-31", None), (None, "0s"), (None, "91d"), (None, "1y"), ("10:00", None)],
)
def test_what_is_no_moment_ahead_is_refused(until, for_):
    with pytest.raises(ConfigError):
        snooze_end(until, for_, FRIDAY_NIGHT, OFFICE)


@pytest.mark.parametrize("until", ["yesterday", "9 am", ""])
def test_what_is_no_moment_is_told_what_to_write(until):
    with pytest.raises(ConfigError) as refused:
        snooze_end(until, None, FRIDAY_NIGHT, OFFICE)
    said = str(refused.value)
    assert said == f"--until {until}: write change, tomorrow, 2026-12-01 or 2026-12-01T09:00"


def test_a_calendar_that_is_never_open_has_no_morning():
    never = Calendar(NEW_YORK, is_holiday=lambda _: True)
    with pytest.raises(ConfigError, match="never open"):
        snooze_end("tomorrow", None, FRIDAY_NIGHT, never)


def test_morning_is_nine_where_the_calendar_opens_at_night():
    night = Calendar(NEW_YORK, frozenset(range(7)))
    end = snooze_end("tomorrow", None, FRIDAY_NIGHT, night)
    assert end.astimezone(NEW_YORK).time() == time(9)
