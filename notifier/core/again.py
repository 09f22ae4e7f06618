"""Recorded events -> what one sink would get of them by the rules as they are now. Pure.

Events are given in the order in which they were committed: as when it was told, the end of an alert is for
who heard of it last.
"""

from __future__ import annotations

from notifier.config import Target
from notifier.core.conditions import Condition
from notifier.core.events import Event, sink_of_report
from notifier.core.rules import Router, traits_of_event
from notifier.models import Owed


class Again:
    """The history for one sink, event by event."""

    def __init__(self, router: Router, sink: str) -> None:
        self._router = router
        self._sink = sink
        self._conditions = {condition.rule.name: condition for condition in router.conditions}
        self._knows: dict[str, bool] = {}  # id of an alert -> whether the sink heard of it last

    def owed(self, event: Event) -> Owed | None:
        """The sink's delivery of an event; None: it gets none."""
        if event.type.startswith("alert."):
            return self._of_alert(event)
        if sink_of_report(event) == self._sink:
            return None
        return next((owed for owed in self._router.route(event).owed if owed.sink == self._sink), None)

    def _of_alert(self, event: Event) -> Owed | None:
        condition = self._conditions.get(event.data.get("rule", ""))
        if condition is None:
            return None
        id_, is_end = event.data["alert"]["id"], event.type == "alert.resolved"
        knows = self._knows.pop(id_, None) if is_end else None
        if knows is None:  # what was said of it before is not among the events
            knows = self._is_named(condition, event, is_end=is_end)
        if not is_end:
            self._knows[id_] = knows
        if not knows or (is_end and not condition.rule.resolve):
            return None
        return self._router.owe(event, Target(self._sink), condition.rule.name, condition.rule)

    def _is_named(self, condition: Condition, event: Event, *, is_end: bool) -> bool:
        """Whether the rule names the sink for an alert about what the event tells; of an end, before it."""
        rule, data = condition.rule, event.data
        status = data["from"] if is_end else data["entity"]["status"]
        verdict = condition.takes(status, traits_of_event(data))
        if verdict is False or (data["alert"]["existing"] and rule.include_existing == "no"):
            return False
        return Target(self._sink) in (rule.notify if verdict else rule.fallback)
