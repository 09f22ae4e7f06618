"""Durations as people write them: ``500ms``, ``1s``, ``10m``, ``24h``, ``30d``.

One whole number and one unit, so that nothing can be read in two ways.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

LONGEST = timedelta(days=3650)
_UNITS = {
    "d": timedelta(days=1),
    "h": timedelta(hours=1),
    "m": timedelta(minutes=1),
    "s": timedelta(seconds=1),
    "ms": timedelta(milliseconds=1),
}
_DURATION = re.compile(r"([0-9]{1,15})(ms|s|m|h|d|bd)", re.ASCII)
_HOW = "write a whole number and a unit: 500ms, 1s, 10m, 24h or 30d"


def parse_duration(value: Any) -> timedelta:
    """The duration that a text means; a ``timedelta`` is taken as it is. Raises ``ValueError``."""
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"is not a duration; {_HOW}")
    number, unit = int(match[1]), match[2]
    if unit == "bd":
        raise ValueError('business days ("3bd") are not available in this release; use days ("3d")')
    if number > LONGEST / _UNITS[unit]:
        raise ValueError(f"is longer than {format_duration(LONGEST)}")
    return number * _UNITS[unit]


def format_duration(duration: timedelta) -> str:
    """The shortest text that :func:`parse_duration` reads as this duration (to the millisecond)."""
    if not duration:
        return "0s"
    for unit, length in _UNITS.items():
        if duration % length == timedelta():
            return f"{duration // length}{unit}"
    return f"{duration // _UNITS['ms']}ms"
