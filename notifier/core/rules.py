"""Events -> deliveries, by the rules of the configuration.

Rules are read from top to bottom; one event goes to one sink once: the first rule that matches and names
the sink has it. A rule on a name that could not be looked up sends to its ``fallback`` sinks instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from string import Formatter
from typing import Any
from urllib.parse import quote

import msgspec

from notifier.config import Config, RuleConfig, Target, When, is_among
from notifier.core.diff import is_same_json
from notifier.core.events import Event, body
from notifier.models import Delivery, Owed, is_report

SELF_REPORTS = "self_reports"


class Routed(msgspec.Struct, frozen=True):
    """The deliveries of one event, and the rules that needed a name that was not there."""

    owed: tuple[Owed, ...]
    nameless: tuple[str, ...]


class Router:
    """The rules of one configuration, ready to be applied."""

    def __init__(self, config: Config) -> None:
        self._rules = config.rules
        self._self_reports = config.self_reports
        self._exclude = {name: frozenset(sink.exclude) for name, sink in config.sinks.items()}
        self._for_people = {name for name, sink in config.sinks.items() if sink.type == "slack"}
        self._links = config.links

    def route(self, event: Event) -> Routed:
        """Who is owed this event, each sink once."""
        taken: dict[str, Owed] = {}
        nameless = []
        for rule in self._rules:
            verdict = _verdict(rule.when, event)
            if verdict is None:
                nameless.append(rule.name)
            targets: Sequence[Target] = rule.notify if verdict else rule.fallback if verdict is None else ()
            for target in targets:
                if target.sink not in taken and self._has_news(event, target.sink):
                    taken[target.sink] = self._owed(event, target, rule.name, rule.severity, rule)
        if is_report(event.type):
            for target in self._self_reports:
                if target.sink not in taken:
                    taken[target.sink] = self._owed(event, target, SELF_REPORTS, "info", None)
        return Routed(tuple(taken.values()), tuple(nameless))

    def _has_news(self, event: Event, sink: str) -> bool:
        """Whether anything is left to tell this sink: an update of nothing but excluded fields is no news."""
        changed = event.data.get("changed")
        return not (event.type.endswith(".updated") and changed and self._exclude[sink].issuperset(changed))

    def _owed(
        self, event: Event, target: Target, rule: str, severity: str, source: RuleConfig | None
    ) -> Owed:
        extra = self._for_reader(event, source) if target.sink in self._for_people else None
        text = body(event, rule=rule, severity=severity, exclude=self._exclude[target.sink], extra=extra)
        delivery = Delivery(event.id, event.type, rule, text, target.target)
        # One channel that cannot be posted to must not hold up the same connection's messages in another.
        key = event.connection if target.target is None else event.connection + target.target
        return Owed(target.sink, key, delivery)

    def _for_reader(self, event: Event, rule: RuleConfig | None) -> Mapping[str, Any]:
        """What only messages for people carry: the rule's note, links into the operator's own tools."""
        extra: dict[str, Any] = {}
        if rule is not None and rule.note:
            extra["note"] = rule.note
        employer = event.data.get("connection", {}).get("employer")
        links = {label: url for label, link in self._links.items() if (url := _filled(link, employer))}
        if links:
            extra["links"] = links
        return extra


def _filled(template: str, employer: Mapping[str, Any] | None) -> str | None:
    """The link for this employer, or None where it needs an id that is not known."""
    if employer is None:
        return None
    needed = {name for _, name, _, _ in Formatter().parse(template) if name}
    values = {name: employer.get(name) for name in needed}
    if not all(isinstance(value, str) and value for value in values.values()):
        return None
    return template.format_map({name: quote(str(value), safe="") for name, value in values.items()})


def _verdict(when: When, event: Event) -> bool | None:
    """Whether the rule matches; None where everything does but a name that it asks for is not known."""
    if not _matches_type(when, event.type) or not _matches_entity(when, event.data):
        return False
    names = (
        (when.carrier_name, event.data.get("carrier", {}).get("name")),
        (when.employer_name, event.data.get("connection", {}).get("employer", {}).get("name")),
    )
    asked = [(globs, name) for globs, name in names if globs]
    if any(name is not None and not _any_glob(globs, name) for globs, name in asked):
        return False
    return None if any(name is None for _, name in asked) else True


def _matches_type(when: When, type_: str) -> bool:
    if when.type:
        return any(fnmatchcase(type_, glob) for glob in when.type)
    return not is_report(type_)  # what the notifier says of itself is asked for by type


def _matches_entity(when: When, data: Mapping[str, Any]) -> bool:
    entity = data.get("entity", {})
    connection = data.get("connection", {})
    employer = connection.get("employer", {})
    before, after = data.get("from"), data.get("to")
    is_move = not is_same_json(before, after)
    exact = (
        (when.entity, [entity.get("kind")]),
        (when.category, [entity.get("category")]),
        (when.carrier, [data.get("carrier", {}).get("id")]),
        (when.employer, [employer.get("id"), employer.get("external_id")]),
        (when.connection, [connection.get("id")]),
        (when.group_id, [entity.get("group_id")]),
        (when.from_, [before] if is_move else []),
        (when.to, [after] if is_move else []),
        (when.field, [*data.get("changed", ()), *(["status"] if is_move else [])]),
    )
    if any(asked and not any(is_among(value, asked) for value in values) for asked, values in exact):
        return False
    return not is_among(before, when.not_from) and not is_among(after, when.not_to)


def _any_glob(globs: Iterable[str], text: str) -> bool:
    """Names are matched without regard to case: people type them."""
    return any(fnmatchcase(text.casefold(), glob.casefold()) for glob in globs)
