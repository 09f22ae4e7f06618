"""When nobody is to be disturbed, and with what. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from notifier.config import Config, parse_target
from notifier.core.alerts import Alert
from notifier.core.conditions import calendar_of

IsHushed = Callable[[str, Alert], bool]  # place, alert -> nobody is to be disturbed with it there now


class Quiet:
    """The hours of a configuration's sinks for people."""

    def __init__(self, config: Config) -> None:
        self._sinks = {
            name: (calendar_of(config.calendars[sink.active.calendar]), sink.active.except_)
            for name, sink in config.sinks.items()
            if sink.type == "slack" and sink.active is not None
        }
        self._severities: dict[str, str] = {rule.name: rule.severity for rule in config.rules}

    def at(self, now: str) -> IsHushed:
        """What is hushed at a moment (ISO 8601)."""
        moment = datetime.fromisoformat(now)
        closed = {
            name: spared for name, (calendar, spared) in self._sinks.items() if not calendar.is_open(moment)
        }

        def is_hushed(place: str, alert: Alert) -> bool:
            sink = parse_target(place).sink
            return sink in closed and (self._severities.get(alert.rule, "info") != closed[sink])

        return is_hushed
