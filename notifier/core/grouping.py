"""Which newcomers at a place are told together, and in which message. Pure.

Those of an employer in one message, which takes more of them for ``group_window``; those of a carrier, once
five employers are concerned within ten minutes: then it is rather the carrier; all of a rule, where too many
messages would begin at once. What opens anew is never put into the message in which it ended.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta

import msgspec

from notifier.config import RuleConfig
from notifier.core.alerts import Alert, Phase, shifted
from notifier.core.book import Book
from notifier.core.messages import By, Message

STORM = 10  # more messages than this at once at one place are one
_BURST_EMPLOYERS, _BURST = 5, timedelta(minutes=10)
_Kind = tuple[str, By, str]  # rule, by what, its value


class Group(msgspec.Struct, frozen=True):
    """Newcomers that are told together, in a message that takes them (None: a new one)."""

    rule: str
    by: By
    value: str
    keys: tuple[str, ...]
    message: Message | None = None


class Grouping:
    """The newcomers of one place in one poll; ``alerts`` are all there are, the newcomers included."""

    def __init__(
        self, place: str, now: str, rules: Mapping[str, RuleConfig], alerts: Mapping[str, Alert], book: Book
    ) -> None:
        self._place = place
        self._now = now
        self._rules = rules
        self._alerts = alerts
        self._employers = self._opened_lately()
        self._messages = self._that_take(book)

    def groups(self, keys: Collection[str]) -> Iterator[Group]:
        """The newcomers ``keys``, each in one group, in their order."""
        kinds: dict[_Kind, list[str]] = defaultdict(list)
        for key in keys:
            kinds[self._kind(key)].append(key)
        new: dict[str, list[Group]] = defaultdict(list)
        for kind, members in kinds.items():
            group = self._group(kind, members)
            if group.message is None:
                new[kind[0]].append(group)
            else:
                yield group
        for rule, begun in new.items():
            if len(begun) <= STORM:
                yield from begun
            else:
                yield self._group((rule, By.STORM, ""), [key for group in begun for key in group.keys])

    def _group(self, kind: _Kind, keys: Collection[str]) -> Group:
        message = self._messages.get(kind)
        if message is not None and any(self._alerts[key].last.get(self._place) == message.id for key in keys):
            message = None
        return Group(*kind, tuple(keys), message)

    def _kind(self, key: str) -> _Kind:
        alert = self._alerts[key]
        wanted = self._rules[alert.rule].group_by if alert.rule in self._rules else "none"
        carrier = alert.subject.fields.get("carrier")
        if wanted == "none":
            return alert.rule, By.ENTITY, key
        if isinstance(carrier, str) and (
            wanted == "carrier" or len(self._employers[alert.rule, carrier]) >= _BURST_EMPLOYERS
        ):
            return alert.rule, By.CARRIER, carrier
        return alert.rule, By.EMPLOYER, _employer_of(alert)

    def _opened_lately(self) -> Mapping[tuple[str, str], set[str]]:
        """The employers at each carrier of whom an alert opened not long ago."""
        found: dict[tuple[str, str], set[str]] = defaultdict(set)
        since = shifted(self._now, -_BURST)
        for alert in self._alerts.values():
            carrier = alert.subject.fields.get("carrier")
            is_new = alert.phase is Phase.OPEN and not alert.existing and (alert.opened_at or "") >= since
            if is_new and isinstance(carrier, str) and self._place in alert.told:
                found[alert.rule, carrier].add(_employer_of(alert))
        return found

    def _that_take(self, book: Book) -> Mapping[_Kind, Message]:
        """The messages at this place whose window is open, and in which something lasts; the newest first."""
        found: dict[_Kind, Message] = {}
        for message in sorted(book.messages.values(), key=lambda one: (one.since, one.id)):
            if message.place != self._place or message.until <= self._now:
                continue
            lasts = any(
                (alert := self._alerts.get(key)) is not None
                and alert.phase is Phase.OPEN
                and (told := alert.told.get(self._place)) is not None
                and told.message == message.id
                for key in book.told_by(message.id)
            )
            if lasts:
                found[message.rule, message.by, message.value] = message
        return found


def _employer_of(alert: Alert) -> str:
    employer = alert.subject.above.get("employer")
    return employer if isinstance(employer, str) else alert.subject.connection
