"""What messages show of alerts: the bodies from which people's sinks make their words. Pure.

A message about one alert shows that alert's event; one about several shows their events side by side. What is
left out where there are many is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from notifier.core.alerts import Alert, End, What
from notifier.core.census import Affected
from notifier.core.conditions import Condition
from notifier.core.durations import Durations
from notifier.core.events import Names, Origin, from_alert
from notifier.core.messages import By, Message
from notifier.core.owners import MOST_MENTIONED, mentioned
from notifier.core.rules import Router

_MOST_ENTRIES = 20  # side by side
_FOR_NOBODY = (What.ACKNOWLEDGED, What.RELEASED, What.RESOLVED)  # is said, and mentions nobody
_MOST_NAMED = 5  # carriers in a summary
Occurrence = tuple[Alert, What]  # an alert, and what is to be said of it


class Pages:
    """Makes the bodies; ``names`` may grow in between. ``affected`` is known by the time they are made."""

    def __init__(
        self,
        conditions: Collection[Condition],
        router: Router,
        origin: Origin,
        names: Names,
        durations: Durations,
    ) -> None:
        self.affected = Affected()
        self._rules = {condition.rule.name: condition.rule for condition in conditions}
        self._router = router
        self._origin = origin
        self._names = names
        self._durations = durations

    def show(
        self, message: Message, said: Sequence[Occurrence], passed: int = 0, *, is_reply: bool = False
    ) -> dict[str, Any]:
        """The body of a message or reply that says this; ``passed``: so many came and went unsaid."""
        if message.by is By.FIRST_LOOK and not is_reply:
            hides_carriers = self._router.hides(message.sink, "carrier")
            counted = {"message": self._counted(said, hides_carriers), **self._mention(said, owners=False)}
            return self._body(message, "alert.summary", counted)
        if len(said) == 1 and not passed:
            body = self._entry(message, *said[0], mentions=True)
            return {**body, "data": {**body["data"], "message_id": message.id}}
        ended = [alert for alert, what in said if what is What.RESOLVED]
        lasting = [one for one in said if one[1] is not What.RESOLVED]
        first = [*lasting, *((alert, What.RESOLVED) for alert in ended)][:_MOST_ENTRIES]
        facts = {
            "by": message.by,
            "opened": len(lasting),
            "needs_attention": all(alert.subject.status == "needs_attention" for alert, _ in lasting),
            "ended": len(ended),
            "end": _worst(ended),
            "passed": passed,
            "kinds": sorted({alert.subject.kind for alert, _ in said}),
            "entries": self.entries(message, first),
            **self._mention(said),
        }
        return self._body(message, "alert.net" if message.by is By.NET else "alert.group", facts)

    def entries(self, message: Message, said: Iterable[Occurrence]) -> list[dict[str, Any]]:
        """What a message says of each of these alone."""
        return [self._entry(message, alert, what) for alert, what in said]

    def _entry(self, message: Message, alert: Alert, what: What, *, mentions: bool = False) -> dict[str, Any]:
        usual, affected = self._durations.usual(alert), self.affected.told(alert)
        event = from_alert(alert, what, alert.was, self._origin, self._names, usual)
        if affected:
            event = msgspec.structs.replace(event, data={**event.data, "affected": affected})
        rule, is_news = self._rules.get(alert.rule), mentions and what not in _FOR_NOBODY
        return self._router.body(event, message.sink, alert.rule, rule, alert.owner, mentions=is_news)

    def _mention(self, said: Collection[Occurrence], *, owners: bool = True) -> dict[str, list[str]]:
        """Whom a message about several mentions, for what of it lasts."""
        lasting = [alert for alert, what in said if what not in _FOR_NOBODY]
        everybody = [
            one
            for alert in lasting
            for one in mentioned(self._rules.get(alert.rule), alert.owner if owners else None)
        ]
        found = list(dict.fromkeys(everybody))[:MOST_MENTIONED]
        return {"mention": found} if found else {}

    def _body(self, message: Message, type_: str, facts: Mapping[str, Any]) -> dict[str, Any]:
        rule = self._rules.get(message.rule)
        data = {
            "source": self._origin.source,
            "epoch": self._origin.epoch,
            "rule": message.rule,
            "severity": rule.severity if rule else "info",
            "message_id": message.id,
            **({"note": rule.note} if rule and rule.note else {}),
            **facts,
        }
        return {"type": type_, "timestamp": self._origin.seen_at, "data": data}

    def _counted(self, said: Collection[Occurrence], hides_carriers: bool) -> str:  # noqa: FBT001
        """How many there were, how many still are, and at which carriers."""
        lasting = [alert for alert, what in said if what is not What.RESOLVED]
        carriers = Counter(
            self._names.carrier(id_) or id_
            for alert in lasting
            if not hides_carriers and isinstance(id_ := alert.subject.fields.get("carrier"), str)
        )
        named = [f"{name} {count}" for name, count in carriers.most_common(_MOST_NAMED)]
        rest = len(carriers) - len(named)
        whose = f": {', '.join(named)}{f' and {rest} more' if rest else ''}" if named else ""
        kinds = {alert.subject.kind for alert, _ in said}
        one = kinds.pop().replace("_", " ") if len(kinds) == 1 else "entity"
        many = "entities" if one == "entity" else f"{one}s"
        noun = one if len(said) == 1 else many
        needs = {alert.subject.status for alert in lasting} == {"needs_attention"}
        is_one = len(lasting) == 1
        if not lasting:
            return f"Of {len(said):,} {noun} that were there when this rule began, all are over."
        verb = ("needs" if is_one else "need") + " attention" if needs else "is" if is_one else "are"
        if len(lasting) < len(said):
            still = f"still {verb}" if needs else f"{verb} still as this rule asks"
            return f"{len(lasting):,} of {len(said):,} {noun} {still}{whose}."
        what = f"already {verb}" if needs else f"{verb} already as this rule asks"
        return f"{len(said):,} {noun} {what}{whose}."


def _worst(ended: Collection[Alert]) -> End | None:
    """How several alerts ended, in one word: completed only where all are."""
    how = {alert.end for alert in ended}
    return next((end for end in (End.MOVED, End.REMOVED, End.RULE, End.COMPLETED) if end in how), None)
