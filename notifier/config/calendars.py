"""Calendars: when people are at work."""

from __future__ import annotations

import re
from collections.abc import Collection
from contextlib import suppress
from datetime import date
from itertools import pairwise
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator, PlainValidator, WithJsonSchema, model_validator

from notifier.config.fields import ONE_OR_MORE, Model, text
from notifier.config.words import UnknownWord

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_HOURS = re.compile(r"([0-9]{1,2}):([0-9]{2})-([0-9]{1,2}):([0-9]{2})", re.ASCII)
_HOUR_MIN, _DAY_MIN = 60, 24 * 60
#: What people call the zones of North America, with where the clocks change as they expect.
ABBREVIATED = {
    name: zone
    for letter, zone in {
        "E": "America/New_York",
        "C": "America/Chicago",
        "M": "America/Denver",
        "P": "America/Los_Angeles",
    }.items()
    for name in (f"{letter}T", f"{letter}ST", f"{letter}DT")
}
_NO_REGIONS = ("Etc/", "US/", "posix/", "right/")
_LEAST_WEEKLY_MIN = 300  # so that ten days of open hours (see references) come within a year
_COUNTRY = re.compile(r"([A-Z]{2})(-[A-Z0-9]{1,4})?", re.ASCII)


def _zone(value: Any) -> ZoneInfo:
    if isinstance(value, ZoneInfo):
        return value
    name = text(value)
    try:
        if name in available_timezones():
            return ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError):
        pass
    raise UnknownWord("time zone", name, available_timezones(), _zone_meant(name, available_timezones()))


def _zone_meant(name: str, known: set[str]) -> str | None:
    """The zone of a region, by its abbreviation (``EST5``) or by the name of its city (``New York``)."""
    abbreviated = ABBREVIATED.get(name.upper().rstrip("0123456789"))
    if abbreviated is not None:
        return abbreviated
    city = re.sub(r"\s+", "_", name.strip()).lower()
    places = sorted(zone for zone in known if "/" in zone and not zone.startswith(_NO_REGIONS))
    return next((zone for zone in places if zone.rpartition("/")[2].lower() == city), None)


def parse_days(value: Any) -> frozenset[int]:
    """``mon`` or ``mon-fri`` -> 0 (Monday) to 6. Raises ``ValueError``."""
    word = text(value)
    first, dash, last = word.lower().partition("-")
    for day in (first, last if dash else first):
        if day not in _DAYS:
            raise UnknownWord("day of the week", day, _DAYS)
    begin, end = _DAYS.index(first), _DAYS.index(last or first)
    if end < begin:
        raise ValueError("goes backwards; a week begins with mon: write [sat-sun, mon] for sat to mon")
    return frozenset(range(begin, end + 1))


def _hours(value: Any) -> tuple[int, int]:
    """``09:00-17:30`` -> minutes of the day."""
    match = _HOURS.fullmatch(text(value))
    if match is None:
        raise ValueError("is not a span of hours; write 09:00-17:30")
    hour, minute, end_hour, end_minute = map(int, match.groups())
    begin, end = hour * _HOUR_MIN + minute, end_hour * _HOUR_MIN + end_minute
    if max(minute, end_minute) >= _HOUR_MIN or end > _DAY_MIN:
        raise ValueError("names no time of day; a day ends at 24:00")
    if begin >= end:
        raise ValueError("ends before it begins; for a night write [00:00-06:00, 22:00-24:00]")
    return begin, end


def _apart(hours: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
    ordered = tuple(sorted(hours))
    if any(earlier[1] > later[0] for earlier, later in pairwise(ordered)):
        raise ValueError("holds spans that overlap")
    return ordered


def _holiday(value: Any) -> date | str:
    """A date, or a country whose public holidays are meant (``US``, ``US-CA``)."""
    word = text(value)
    if word[:1].isdigit():
        try:
            return date.fromisoformat(word)
        except ValueError:
            raise ValueError("is not a date; write 2026-12-24") from None
    match = _COUNTRY.fullmatch(word)
    import holidays  # noqa: PLC0415 - hundreds of countries: only for who asks

    countries = holidays.list_supported_countries()
    if match is None or match[1] not in countries:
        known = [code for code in countries if _COUNTRY.fullmatch(code)]
        raise UnknownWord("country with public holidays", word, known, _country_meant(word, known))
    if match[2] and match[2][1:] not in countries[match[1]]:
        parts = [f"{match[1]}-{part}" for part in countries[match[1]]]
        raise UnknownWord("part of a country", word, parts)
    return word


def _country_meant(word: str, known: Collection[str]) -> str | None:
    """The country by its code of three letters (``USA``), or in small ones (``us``)."""
    import holidays  # noqa: PLC0415

    code = word.upper()
    if re.fullmatch(r"[A-Z]{3}", code, re.ASCII):
        with suppress(NotImplementedError, AttributeError):
            code = str(holidays.country_holidays(code).country)
    return code if code in known else None


Zone = Annotated[ZoneInfo, PlainValidator(_zone), WithJsonSchema({"type": "string"})]
Days = Annotated[
    frozenset[int],
    PlainValidator(parse_days),
    WithJsonSchema({"type": "string", "pattern": f"^({'|'.join(_DAYS)})(-({'|'.join(_DAYS)}))?$"}),
]
Hours = Annotated[
    tuple[int, int], PlainValidator(_hours), WithJsonSchema({"type": "string", "pattern": _HOURS.pattern})
]
Holiday = Annotated[date | str, PlainValidator(_holiday), WithJsonSchema({"type": "string"})]


class CalendarConfig(Model):
    """When people are at work. Rules with `while` count their times by it."""

    timezone: Zone
    """The time zone of its hours and days: `America/New_York`."""

    days: Annotated[tuple[Days, ...], *ONE_OR_MORE] = (frozenset(range(5)),)
    """Days of the week: `mon-fri`, or a list such as `[mon-thu, sat]`."""

    hours: Annotated[tuple[Hours, ...], *ONE_OR_MORE, AfterValidator(_apart)] = ((0, _DAY_MIN),)
    """Hours of such a day: `09:00-17:30`, or a list of spans. By default the whole day."""

    holidays: Annotated[tuple[Holiday, ...], *ONE_OR_MORE] = ()
    """Days off: a country (`US`), a part of one (`US-CA`), dates (`2026-12-24`), or a list of these."""

    @model_validator(mode="after")
    def _is_open_at_times(self) -> CalendarConfig:
        days = frozenset[int]().union(*self.days)
        if len(days) * sum(end - begin for begin, end in self.hours) < _LEAST_WEEKLY_MIN:
            raise ValueError("is open for less than five hours a week")
        return self
