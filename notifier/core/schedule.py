"""Times of the week: when something is due next. Pure, and aware of holidays and of changes of the clocks.

A day on which the calendar is closed waits for the next that is open; what meets there is due once. A time
of day that the clocks skip is due when they go on, one that they show twice at the first.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime, timedelta

import msgspec

from notifier.config import At
from notifier.core.calendars import Calendar

_FAR = 800  # days: with fewer than one open day in two years a calendar is not one
_DAY, _WEEK = timedelta(days=1), timedelta(days=7)


class Schedule(msgspec.Struct, frozen=True):
    """Times of the week in a calendar's time zone, on its open days. All moments are aware."""

    times: tuple[At, ...]
    calendar: Calendar

    def next_after(self, at: datetime) -> datetime | None:
        """When it is due next, after ``at``; in UTC. None where that is never."""
        day = at.astimezone(self.calendar.zone).date()
        waiting = self._closed_before(day)  # days of the week whose time has not come yet
        for _ in range(_FAR):
            waiting.add(day.weekday())
            if self.calendar.is_business_day(day):
                later = [moment for moment in self._moments(day, waiting) if moment > at]
                if later:
                    return min(later)
                waiting = set()
            day += _DAY
        return None

    def last_before(self, at: datetime) -> datetime:
        """When it was due last, before ``at``; a week before, where it was not for so long."""
        last = at - _WEEK
        due = self.next_after(last - _DAY)
        while due is not None and due < at:
            last, due = due, self.next_after(due)
        return last

    def _closed_before(self, day: date) -> set[int]:
        """The days of the week between the open day before and this day."""
        closed: set[int] = set()
        while len(closed) < _WEEK.days and not self.calendar.is_business_day(day := day - _DAY):
            closed.add(day.weekday())
        return closed

    def _moments(self, day: date, weekdays: Collection[int]) -> list[datetime]:
        """When it is due on a day that stands for these days of the week."""
        return [self._moment(day, time.minute) for time in self.times if not time.days.isdisjoint(weekdays)]

    def _moment(self, day: date, minute: int) -> datetime:
        local = datetime(day.year, day.month, day.day, minute // 60, minute % 60, tzinfo=self.calendar.zone)
        while (moment := local.astimezone(UTC)).astimezone(self.calendar.zone) != local:
            local += timedelta(minutes=1)  # the clocks skip it
        return moment
