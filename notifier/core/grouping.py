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
from notifier.core.alerts import Alert, Phase, Told, shifted
from notifier.core.book import Book
from notifier.core.messages import By, Message

STORM = 10  # more messages than this at once at one place are one
_BURST_EMPLOYERS, _BURST = 5, timedelta(minutes=10)
_Kind = tuple[str, By, str]  # rule, by what, its value


class Group(msgspec.Struct, frozen=True):
    """Newcomers that are told together, in a ``message`` that takes them (None: a new one).

    ``before`` is the last one that told of the same, if there was one.
    """

    rule: str
    by: By
    value: str
    keys: tuple[str, ...]
    message: Message | None = None
    before: str | None = None


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
        self._book = book
        self._last: dict[_Kind, Message] = {}  # the newest of each kind
        for message in sorted(book.messages.values(), key=lambda one: (one.since, one.id)):
            if message.place == place:
                self._last[message.rule, message.by, message.value] = message

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
            alone = [group for group in begun if group.by is By.ENTITY]  # as the rule wants it
            together = [group for group in begun if group.by is not By.ENTITY]
            if len(together) > STORM:
                keys = [key for group in together for key in group.keys]
                together = [self._group((rule, By.STORM, ""), keys)]
            yield from (*alone, *together)

    def _group(self, kind: _Kind, keys: Collection[str]) -> Group:
        ended_in = [self._alerts[key].last.get(self._place) for key in keys]
        message = self._last.get(kind)
        if message is None:
            return Group(*kind, tuple(keys), None, next(filter(None, ended_in), None))
        takes = message.until > self._now and message.id not in ended_in and self._lasts(message)
        return Group(*kind, tuple(keys), message if takes else None, message.id)

    def _lasts(self, message: Message) -> bool:
        """Whether anything that a message told of is still open."""
        alerts = (self._alerts.get(key) for key in self._book.told_by(message.id))
        return any(
            alert.phase is Phase.OPEN and alert.told.get(self._place, Told()).message == message.id
            for alert in alerts
            if alert is not None
        )

    def _kind(self, key: str) -> _Kind:
        alert = self._alerts[key]
        rule = self._rules.get(alert.rule)
        wanted = rule.group_by if rule else "employer"
        carrier = alert.subject.fields.get("carrier")
        found = rule.include_existing if alert.existing and rule else ""
        if found == "summary":  # the first look was told without this place
            return alert.rule, By.STORM, ""
        if wanted == "none" or found == "each":
            return alert.rule, By.ENTITY, key
        if isinstance(carrier, str) and (
            wanted == "carrier" or len(self._employers[alert.rule, carrier]) >= _BURST_EMPLOYERS
        ):
            return alert.rule, By.CARRIER, carrier
        return alert.rule, By.EMPLOYER, alert.subject.employer

    def _opened_lately(self) -> Mapping[tuple[str, str], set[str]]:
        """The employers at each carrier of whom an alert opened not long ago."""
        found: dict[tuple[str, str], set[str]] = defaultdict(set)
        since = shifted(self._now, -_BURST)
        for alert in self._alerts.values():
            carrier = alert.subject.fields.get("carrier")
            is_new = alert.phase is Phase.OPEN and not alert.existing and (alert.opened_at or "") >= since
            if is_new and isinstance(carrier, str) and self._place in alert.told:
                found[alert.rule, carrier].add(alert.subject.employer)
        return found
