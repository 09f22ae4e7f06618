"""Calendars: when people are at work, and how long a business day is. Pure, and always aware of time zones.

A calendar has days of the week, hours of the day in its own time zone, and holidays. It says whether a moment
is open, when it opens next, and what is so many business days after a moment. All moments are aware
datetimes; what comes out is in UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import msgspec

_FAR = 800  # days: with fewer than one open day in two years a calendar is not one
_DAY_MIN = 24 * 60


class Calendar(msgspec.Struct, frozen=True):
    """``days`` are 0 (Monday) to 6; ``hours`` ascending pairs of minutes of the day, the second excluded.

    ``is_holiday`` says which dates are closed whatever day they are.
    """

    zone: ZoneInfo
    days: frozenset[int] = frozenset(range(5))
    hours: tuple[tuple[int, int], ...] = ((0, _DAY_MIN),)
    is_holiday: Callable[[date], bool] = lambda _day: False

    def is_business_day(self, day: date) -> bool:
        """Whether people work on this date."""
        return day.weekday() in self.days and not self.is_holiday(day)

    def is_open(self, at: datetime) -> bool:
        """Whether people are at work at this moment."""
        return any(begin <= at < end for begin, end in self._windows(at, 1))

    def next_open(self, at: datetime) -> datetime | None:
        """``at`` where it is open, else when it opens next; None where that is never."""
        return next((max(at, begin) for begin, end in self._windows(at, _FAR) if end > at), None)

    def next_closed(self, at: datetime) -> datetime | None:
        """``at`` where it is closed, else when it closes; None where that is never."""
        closed = at
        for begin, end in self._windows(at, _FAR):
            if begin > closed:
                return closed
            closed = max(closed, end)
        return None if closed > at + timedelta(days=_FAR - 2) else closed

    def add_days(self, at: datetime, count: int) -> datetime | None:
        """``count`` business days later, at the same time of day; None where there are not so many.

        A moment on a day that is none counts as the opening of the next.
        """
        local = at.astimezone(self.zone)
        days = self._business_days(local.date())
        first = next(days, None)
        if first is None:
            return None
        minutes, rest = self.hours[0][0], timedelta()
        if first == local.date():
            minutes = local.hour * 60 + local.minute
            rest = timedelta(seconds=local.second, microseconds=local.microsecond)
        day: date | None = first
        for _ in range(count):
            day = next(days, None)
        return None if day is None else self._moment(day, minutes) + rest

    def add_time(self, at: datetime, span: timedelta) -> datetime | None:
        """When it is open and was for ``span`` since ``at``; None where that is never."""
        left = span
        for begin, end in self._windows(at, _FAR):
            start = max(begin, at)
            if start + left < end:
                return start + left
            left -= max(end - start, timedelta())
        return None

    def _business_days(self, start: date) -> Iterator[date]:
        """Business days from ``start`` on; ends where none comes for a long time."""
        day, idle = start, 0
        while idle < _FAR and day < date.max - timedelta(days=1):
            idle += 1
            if self.is_business_day(day):
                idle = 0
                yield day
            day += timedelta(days=1)

    def _windows(self, at: datetime, days: int) -> Iterator[tuple[datetime, datetime]]:
        """Open times from the day of ``at`` on, for so many days, in order."""
        first = at.astimezone(self.zone).date()
        for offset in range(days):
            day = first + timedelta(days=offset)
            if self.is_business_day(day):
                for begin, end in self.hours:
                    yield self._moment(day, begin), self._moment(day, end)

    def _moment(self, day: date, minute: int) -> datetime:
        """A time of day in UTC; one that the clocks skip is as much later."""
        days, minute = divmod(minute, _DAY_MIN)
        local = datetime(day.year, day.month, day.day, minute // 60, minute % 60, tzinfo=self.zone)
        return (local + timedelta(days=days)).astimezone(UTC)
