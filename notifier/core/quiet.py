"""When nobody is to be disturbed, and with what: the hours of sinks, and silences. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from notifier.config import Config, MessageSettings, parse_target
from notifier.core.alerts import Alert
from notifier.core.conditions import calendar_of

IsHushed = Callable[[str, Alert], bool]  # place, alert -> nobody is to be disturbed with it there now
#: What a silence may name, each with where an alert has it.
ASKED: Mapping[str, Callable[[Alert], Any]] = {
    "rule": lambda alert: alert.rule,
    "employer": lambda alert: alert.subject.above.get("employer"),
    "carrier": lambda alert: alert.subject.fields.get("carrier"),
    "connection": lambda alert: alert.subject.connection,
    "entity": lambda alert: alert.subject.id,
    "group_id": lambda alert: alert.subject.fields.get("group_id"),
    "category": lambda alert: alert.subject.fields.get("category"),
}


class Silence(msgspec.Struct, frozen=True):
    """For a while nobody is disturbed with the alerts that are as ``where`` says, in any place.

    ``where`` maps keys of ``ASKED`` to values, all of which must match. Moments are ISO 8601 in UTC.
    """

    id: str
    where: dict[str, str]
    since: str
    until: str
    by: str
    reason: str = ""

    def covers(self, alert: Alert) -> bool:
        """Whether an alert is one of those."""
        return all(key in ASKED and ASKED[key](alert) == value for key, value in self.where.items())


class Quiet:
    """The hours of a configuration's sinks for people."""

    def __init__(self, config: Config) -> None:
        self._sinks = {
            name: (calendar_of(config.calendars[sink.active.calendar]), sink.active.except_)
            for name, sink in config.sinks.items()
            if isinstance(sink, MessageSettings) and sink.active is not None
        }
        self._severities: dict[str, str] = {rule.name: rule.severity for rule in config.rules}

    def ends(self, sink: str, now: datetime) -> datetime | None:
        """When the hours begin in which a sink's readers may be disturbed; None where they may be now."""
        if sink not in self._sinks or self._sinks[sink][0].is_open(now):
            return None
        return self._sinks[sink][0].next_open(now)

    def at(self, now: str, silences: Iterable[Silence] = ()) -> IsHushed:
        """What is hushed at a moment (ISO 8601)."""
        moment = datetime.fromisoformat(now)
        closed = {
            name: spared for name, (calendar, spared) in self._sinks.items() if not calendar.is_open(moment)
        }
        silent = [silence for silence in silences if silence.until > now]

        def is_hushed(place: str, alert: Alert) -> bool:
            if any(silence.covers(alert) for silence in silent):
                return True
            sink = parse_target(place).sink
            return sink in closed and (self._severities.get(alert.rule, "info") != closed[sink])

        return is_hushed
