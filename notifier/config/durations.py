"""Durations as people write them: ``500ms``, ``1s``, ``10m``, ``24h``, ``30d``; and business days, ``3bd``.

One whole number and one unit, so that nothing can be read in two ways.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

LONGEST = timedelta(days=3650)
_MOST_BUSINESS_DAYS = 500  # two years
_UNITS = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}
_DURATION = re.compile(r"([0-9]{1,15})(ms|s|m|h|d|bd)", re.ASCII)
_HOW = "write a whole number and a unit: 500ms, 1s, 10m, 24h or 30d"
_HOW_LONG = _HOW.replace(" or 30d", ", 30d, or 3bd for business days")


def parse_duration(value: Any, how: str = _HOW) -> timedelta:
    """The duration that a text means; a ``timedelta`` is taken as it is. Raises ``ValueError``."""
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"is not a duration; {how}")
    number, unit = int(match[1]), match[2]
    if unit == "bd":
        raise ValueError('counts business days, which only rules with "while" know; use days ("3d")')
    if number > LONGEST / _UNITS[unit]:
        raise ValueError(f"is longer than {format_duration(LONGEST)}")
    return number * _UNITS[unit]


@dataclass(frozen=True, slots=True)
class BusinessDays:
    """So many days on which people work."""

    count: int


def parse_span(value: Any) -> timedelta | BusinessDays:
    """A duration, or business days (``3bd``). Raises ``ValueError``."""
    if isinstance(value, BusinessDays):
        return value
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None or match[2] != "bd":
        return parse_duration(value, _HOW_LONG)
    if int(match[1]) > _MOST_BUSINESS_DAYS:
        raise ValueError(f"is more than {_MOST_BUSINESS_DAYS} business days")
    return BusinessDays(int(match[1]))


def format_duration(duration: timedelta) -> str:
    """The shortest text that :func:`parse_duration` reads as this duration (to the millisecond)."""
    if not duration:
        return "0s"
    for unit, length in _UNITS.items():
        if duration % length == timedelta():
            return f"{duration // length}{unit}"
    return f"{duration // _UNITS['ms']}ms"
