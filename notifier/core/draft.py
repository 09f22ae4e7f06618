"""The alerts as a poll has made them: the book as committed, and what has changed since. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec

from notifier.core.alerts import Alert, Told
from notifier.core.book import Book, messages_of


class Draft:
    """What the poll has ``written``, and on top of it ``changed``: what is known of alerts from now on."""

    def __init__(self, book: Book, written: Mapping[str, Alert | None]) -> None:
        self.changed: dict[str, Alert] = {}
        self._book = book
        self._written = written

    def get(self, key: str) -> Alert | None:
        """An alert as it is now."""
        if key in self.changed:
            return self.changed[key]
        return self._written[key] if key in self._written else self._book.get(key)

    def __getitem__(self, key: str) -> Alert:
        alert = self.get(key)
        if alert is None:
            raise KeyError(key)
        return alert

    def items(self) -> Iterator[tuple[str, Alert]]:
        """All there are."""
        for key in {**dict(self._book.items()), **self._written}:
            alert = self.get(key)
            if alert is not None:
                yield key, alert

    def change(self, key: str, **fields: Any) -> None:
        """Set fields of an alert."""
        self.changed[key] = msgspec.structs.replace(self[key], **fields)

    def know(self, key: str, place: str, told: Told | None) -> None:
        """Note what a place knows of an alert from now on (None: it need not hear of it any more)."""
        others = {other: known for other, known in self[key].told.items() if other != place}
        self.change(key, told=others if told is None else {**others, place: told})

    def told_by(self) -> Mapping[str, Collection[str]]:
        """By message, the keys of changed alerts that it tells of, or told of."""
        found: dict[str, set[str]] = defaultdict(set)
        for key in {**self._written, **self.changed}:
            alert = self.get(key)
            for message in messages_of(alert) if alert is not None else ():
                found[message].add(key)
        return found
