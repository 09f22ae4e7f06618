"""Digests: a message at fixed times about what is open and what happened since the last one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema

from notifier.config.calendars import Zone, parse_days
from notifier.config.fields import ONE_OR_MORE, Model, Name, RuleName, Switch, text
from notifier.config.rules import Targets

_AT = re.compile(r"(?P<days>.*\S)\s+(?P<hour>[0-9]{1,2}):(?P<minute>[0-9]{2})", re.ASCII)
_HOURS, _MINUTES = 24, 60
_WEEK = frozenset(range(7))


@dataclass(frozen=True, slots=True)
class At:
    """A time of day on some days of the week: 0 (Monday) to 6, and minutes after midnight."""

    days: frozenset[int]
    minute: int


def parse_at(value: Any) -> At:
    """``mon 09:00``, ``mon,thu 09:00``, ``mon-fri 09:00`` or ``daily 09:00``. Raises ``ValueError``."""
    if isinstance(value, At):
        return value
    match = _AT.fullmatch(text(value))
    if match is None:
        raise ValueError('is not a time of the week; write days and a time: "mon 09:00" or "daily 09:00"')
    hour, minute = int(match["hour"]), int(match["minute"])
    if hour >= _HOURS or minute >= _MINUTES:
        raise ValueError("names no time of day; a day begins at 00:00 and ends with 23:59")
    if match["days"].lower() == "daily":
        return At(_WEEK, hour * _MINUTES + minute)
    days = frozenset[int]().union(*(parse_days(word.strip()) for word in match["days"].split(",")))
    return At(days, hour * _MINUTES + minute)


AtText = Annotated[
    At,
    PlainValidator(parse_at),
    PlainSerializer(repr),
    WithJsonSchema({"type": "string", "pattern": r"^.+ [0-9]{1,2}:[0-9]{2}$"}),
]


class DigestConfig(Model):
    """A message at fixed times: what is open, and what happened since the last one."""

    name: RuleName
    """Its name, once in a file. Under another name it begins anew."""

    at: Annotated[tuple[AtText, ...], *ONE_OR_MORE]
    """When: days of the week or `daily`, and a time of day: `mon 09:00`. A list for several."""

    calendar: Name | None = None
    """Whose time zone it is. On a day on which it is closed, the digest waits for the next that is open."""

    timezone: Zone | None = None
    """In place of a calendar: the time zone, and every day counts."""

    notify: Targets
    """Which sinks; `sink#channel` for another Slack channel than the sink's own."""

    rules: Annotated[tuple[RuleName, ...], *ONE_OR_MORE] = ()
    """Only the alerts of these rules. By default those of all rules with `while`."""

    skip_empty: Switch = False
    """Say nothing where nothing is open and nothing happened."""
