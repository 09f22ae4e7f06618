"""The body of a digest: what is open, and what happened since the last one. Pure.

It is one event for people and programs. The alerts that it names are bodies of their own, as messages about
alerts show them, each with how long it has lasted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from typing import Any

import msgspec

from notifier.config import Target
from notifier.core.alerts import Alert, What
from notifier.core.digests import Digest, Due
from notifier.core.durations import Durations
from notifier.core.events import Names, Origin, digest
from notifier.core.messages import By, Message
from notifier.core.pages import Pages
from notifier.core.past import Happened
from notifier.core.rules import Router
from notifier.models import Delivery, Owed

TYPE = "alert.digest"
_MOST_NAMED, _MOST_CARRIERS, _MOST_SPANS = 10, 5, 5
_LATE = timedelta(hours=1)


class Summary(msgspec.Struct, frozen=True):
    """A digest that is due, with what it tells: alerts that are open, oldest first, and what happened."""

    due: Due
    alerts: tuple[Alert, ...]
    happened: Happened

    @property
    def is_silent(self) -> bool:
        """Whether there is nothing to say, and that is not to be said."""
        return self.due.digest.asked.skip_empty and not self.alerts and self.happened.is_empty


def told_in(digest: Digest, alerts: Collection[Alert]) -> tuple[Alert, ...]:
    """The open alerts that a digest tells of, oldest first."""
    told = [alert for alert in alerts if digest.tells_of(alert.rule)]
    return tuple(sorted(told, key=lambda one: (one.since, one.subject.connection, one.subject.id, one.rule)))


def ids_named(summary: Summary) -> tuple[set[str], set[str]]:
    """The employers and carriers whose names a digest shows."""
    employers = {alert.subject.above.get("employer") for alert in summary.alerts[:_MOST_NAMED]}
    carriers = {alert.subject.fields.get("carrier") for alert in summary.alerts}
    return {id_ for id_ in employers if isinstance(id_, str)}, {
        id_ for id_ in carriers if isinstance(id_, str)
    }


class Digester:
    """Makes the duties of digests, with the names that are known."""

    def __init__(self, router: Router, origin: Origin, names: Names) -> None:
        self._router = router
        self._origin = origin
        self._names = names
        self._pages = Pages(router.conditions, router, origin, names, Durations())

    def owe(self, summary: Summary) -> Iterator[Owed]:
        """What each sink of a digest is owed: one delivery, in a lane of the digest's own."""
        name = summary.due.digest.name
        for target in summary.due.digest.asked.notify:
            body = self.body(summary, target)
            delivery = Delivery(body["data"]["id"], TYPE, name, json.dumps(body), target.target)
            yield Owed(target.sink, f"digest:{name}{target.target or ''}", delivery)

    def body(self, summary: Summary, target: Target) -> dict[str, Any]:
        """What a sink is told. The id is that of the digest and the time for which it is told."""
        due, found, origin = summary.due, summary.happened, self._origin
        name = due.digest.name
        id_ = "evt_" + digest("digest", origin.source, origin.epoch, name, due.at)
        late = _between(due.at, origin.seen_at)
        data = {
            "id": id_,
            "source": origin.source,
            "epoch": origin.epoch,
            "rule": name,
            "severity": "info",
            "digest": {"name": name, "due_at": due.at, "is_late": late > _LATE},
            "period": [found.since, origin.seen_at],
            "at_least": found.at_least,
            "opened": found.opened,
            "existing": found.existing,
            "ended": dict(found.ended),
            "median_s": found.median_s,
            "blind": [list(span) for span in found.blind[-_MOST_SPANS:]],
            "blind_s": int(sum((_between(*span) for span in found.blind), timedelta()).total_seconds()),
            "open": len(summary.alerts),
            "free": sum(alert.taken is None for alert in summary.alerts),
            **self._carriers(summary, target.sink),
            "entries": self._entries(summary, target, id_),
        }
        return {"type": TYPE, "timestamp": origin.seen_at, "data": data}

    def _carriers(self, summary: Summary, sink: str) -> dict[str, Any]:
        """How many are open at the carriers that have most, and how many elsewhere."""
        if self._router.hides(sink, "carrier"):
            return {}
        of = [alert.subject.fields.get("carrier") for alert in summary.alerts]
        most = Counter(id_ for id_ in of if isinstance(id_, str)).most_common(_MOST_CARRIERS)
        return {
            "carriers": [{"id": id_, "name": self._names.carrier(id_), "open": count} for id_, count in most],
            "elsewhere": len(of) - sum(count for _, count in most),
        }

    def _entries(self, summary: Summary, target: Target, id_: str) -> list[dict[str, Any]]:
        """The oldest, each as a reminder of it would say. No such event was sent, so none has its id."""
        now, name = self._origin.seen_at, summary.due.digest.name
        message = Message(id_, target.sink, target.target, name, By.NET, name, now, now)
        said = [(alert, What.REMINDER) for alert in summary.alerts[:_MOST_NAMED]]
        entries = self._pages.entries(message, said)
        for entry in entries:
            del entry["data"]["id"]
        return entries


def _between(begin: str, end: str) -> timedelta:
    return datetime.fromisoformat(end) - datetime.fromisoformat(begin)
