"""The poller's memory of alerts, of the messages that tell of them, and of how long they last. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from notifier.core.alerts import TO_A_PROGRAM, Alert, Phase
from notifier.core.durations import Durations, Pair, Seconds
from notifier.core.messages import Message
from notifier.core.quiet import Silence


class Book:
    """Alerts by key, messages and silences by id, as committed.

    ``owed`` are the keys of which somebody is yet to hear, ``seeking`` those open ones that seek their owner.
    """

    def __init__(
        self,
        alerts: Mapping[str, Alert],
        messages: Iterable[Message] = (),
        silences: Mapping[str, Silence] = {},
        durations: Mapping[Pair, Seconds] = {},
    ) -> None:
        self.durations = Durations(durations)
        self.silences = dict(silences)
        self.owed: set[str] = set()
        self.seeking: set[str] = set()
        self.messages = {message.id: message for message in messages}
        self._alerts: dict[str, Alert] = {}
        self._below: dict[str, set[str]] = {}
        self._told_by: dict[str, set[str]] = {}
        for key, alert in alerts.items():
            self._add(key, alert)
        self._next_due = self._earliest()

    def __len__(self) -> int:
        return len(self._alerts)

    def items(self) -> Iterable[tuple[str, Alert]]:
        """All of them, with their keys."""
        return self._alerts.items()

    def get(self, key: str) -> Alert | None:
        """One of them."""
        return self._alerts.get(key)

    def of(self, connection: str) -> dict[str, Alert]:
        """Those of a connection and of everything under it."""
        return {key: self._alerts[key] for key in sorted(self._below.get(connection, ()))}

    def due(self, now: str) -> set[str]:
        """The connections of which some alert's time has come."""
        if self._next_due is None or self._next_due > now:
            return set()
        return {
            alert.subject.connection
            for alert in self._alerts.values()
            if alert.due is not None and alert.due <= now
        }

    def told_by(self, message: str) -> Collection[str]:
        """The keys of the alerts that a message tells of, or told of."""
        return self._told_by.get(message, ())

    def hush(self, silences: Mapping[str, Silence | None]) -> None:
        """Take over silences as committed; one that is None has ended."""
        known = {**self.silences, **silences}
        self.silences = {id_: silence for id_, silence in known.items() if silence is not None}

    def put(self, written: Mapping[str, Alert | None], messages: Mapping[str, Message | None]) -> None:
        """Take over what was committed."""
        for id_, message in messages.items():
            if message is None:
                self.messages.pop(id_, None)
            else:
                self.messages[id_] = message
        for key, alert in written.items():
            before = self._alerts.pop(key, None)
            if before is not None:
                self._remove(key, before)
            if alert is not None:
                self._add(key, alert)
        if written:
            self._next_due = self._earliest()

    def _add(self, key: str, alert: Alert) -> None:
        self._alerts[key] = alert
        self._below.setdefault(alert.subject.connection, set()).add(key)
        for message in messages_of(alert):
            self._told_by.setdefault(message, set()).add(key)
        if alert.is_owed or not messages_told(alert) <= self.messages.keys():
            self.owed.add(key)
        if alert.seeks_owner and alert.phase is Phase.OPEN:
            self.seeking.add(key)

    def _remove(self, key: str, alert: Alert) -> None:
        self.owed.discard(key)
        self.seeking.discard(key)
        _take_out(self._below, alert.subject.connection, key)
        for message in messages_of(alert):
            _take_out(self._told_by, message, key)

    def _earliest(self) -> str | None:
        return min((alert.due for alert in self._alerts.values() if alert.due is not None), default=None)


def messages_of(alert: Alert) -> set[str]:
    """The messages that tell of an alert, or told of it."""
    return messages_told(alert) | {*alert.last.values()}


def messages_told(alert: Alert) -> set[str]:
    """The messages by which people know of an alert."""
    return {told.message for told in alert.told.values()} - {"", TO_A_PROGRAM}


def _take_out(index: dict[str, set[str]], name: str, key: str) -> None:
    keys = index[name]
    keys.discard(key)
    if not keys:
        del index[name]
