"""The poller's memory of alerts, as committed: by key, by connection, by when they are due. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from notifier.core.alerts import Alert


class Book:
    """Alerts by key, as committed."""

    def __init__(self, alerts: Mapping[str, Alert]) -> None:
        self._alerts = dict(alerts)
        self._below: dict[str, set[str]] = {}
        for key, alert in self._alerts.items():
            self._below.setdefault(alert.subject.connection, set()).add(key)
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

    def put(self, written: Mapping[str, Alert | None]) -> None:
        """Take over what was committed."""
        for key, alert in written.items():
            before = self._alerts.pop(key, None)
            if before is not None:
                below = self._below[before.subject.connection]
                below.discard(key)
                if not below:
                    del self._below[before.subject.connection]
            if alert is not None:
                self._alerts[key] = alert
                self._below.setdefault(alert.subject.connection, set()).add(key)
        if written:
            self._next_due = self._earliest()

    def _earliest(self) -> str | None:
        return min((alert.due for alert in self._alerts.values() if alert.due is not None), default=None)
