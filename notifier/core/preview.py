"""What the rules of a configuration would say of the state as it is, were they all new. Pure.

The same looks and the same desk as in a poll, on a book in which there is nothing yet. Of rules with ``when``
there is nothing to say: they speak of what moves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from notifier.core.alerts import Alert, Phase
from notifier.core.book import Book
from notifier.core.census import Affected, Census
from notifier.core.desk import Desk, Looked
from notifier.core.events import Names, Origin
from notifier.core.messages import Page
from notifier.core.quiet import Silence
from notifier.core.rules import Router
from notifier.core.watch import Fresh, Watch
from notifier.models import ConnectionState


class Said(msgspec.Struct, frozen=True):
    """One message or event: where, by which rule, about how many alerts, and its body."""

    place: str
    rule: str
    alerts: int
    body: dict[str, Any]


class Standing(msgspec.Struct, frozen=True):
    """A rule with ``while``: how many alerts open now, and of these are told to nobody; how many wait."""

    rule: str
    open: int
    waiting: int
    untold: int


class Preview(msgspec.Struct, frozen=True):
    """``kept`` counts, by place, the alerts that are told later: nobody is to be disturbed there now."""

    said: tuple[Said, ...]
    standings: tuple[Standing, ...]
    kept: Mapping[str, int]


def first_look(
    router: Router,
    states: Mapping[str, ConnectionState],
    origin: Origin,
    names: Names,
    silences: Iterable[Silence] = (),
) -> Preview:
    """What a poll would say that finds these live connections, and in which every rule has its first look."""
    looks = {condition.rule.name: origin.seen_at for condition in router.conditions}
    is_hushed = router.quiet.at(origin.seen_at, silences)
    book = Book({})
    watch = Watch(book, router.conditions, router, origin, names, Fresh(looks, is_due=True), is_hushed)
    events = [
        Said(owed.sink, owed.delivery.rule, 1, msgspec.json.decode(owed.delivery.body))
        for id_, state in states.items()
        for turn in watch.seen_first(id_, state)
        for owed in turn.owed
    ]
    looked = Looked((), looks)
    desk = Desk(book, watch.written, router.conditions, router, origin, names, looked, is_hushed)
    desk.plan()
    affected = Affected(filter(None, watch.written.values()))
    affected.census = Census()
    for id_, state in states.items():
        affected.census.move(id_, None, state)
    telling = desk.tell(affected)
    alerts = [alert for alert in {**watch.written, **telling.alerts}.values() if alert is not None]
    told = Counter((place, known.message) for alert in alerts for place, known in alert.told.items())
    messages = []
    for text in telling.pages.values():
        page = msgspec.json.decode(text, type=Page)
        place, rule = page.message.place, page.message.rule
        messages.append(Said(place, rule, told[place, page.message.id], msgspec.json.decode(page.show)))
    standings = tuple(_standing(rule, alerts) for rule in looks)
    kept = Counter(place for alert in alerts for place, known in alert.told.items() if known.hushed)
    return Preview((*messages, *events), standings, kept)


def _standing(rule: str, alerts: Iterable[Alert]) -> Standing:
    mine = [alert for alert in alerts if alert.rule == rule]
    opened = [alert for alert in mine if alert.phase is Phase.OPEN]
    untold = sum(not alert.told for alert in opened)
    return Standing(rule, len(opened), len(mine) - len(opened), untold)
