"""Events -> deliveries, by the rules of the configuration.

Rules are read from top to bottom; one event goes to one sink once: the first rule that matches and names
the sink has it. A rule on a name that could not be looked up sends to its ``fallback`` sinks instead.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from string import Formatter
from typing import Any
from urllib.parse import quote

import msgspec

from notifier.config import Config, RuleConfig, Target, When, is_among
from notifier.config.people import OWNER
from notifier.core.alerts import Alert
from notifier.core.conditions import conditions, traits_of
from notifier.core.diff import is_same_json
from notifier.core.digests import digests
from notifier.core.events import Event, Names, told_body
from notifier.core.owners import NOBODY, Owner, Owners, Reach, mentioned
from notifier.core.quiet import Quiet
from notifier.core.selection import Traits, selects
from notifier.models import Delivery, Owed, is_report

SELF_REPORTS = "self_reports"


class Routed(msgspec.Struct, frozen=True):
    """The deliveries of one event, and the rules that needed a name that was not there."""

    owed: tuple[Owed, ...]
    nameless: tuple[str, ...]


class Router:
    """The rules of one configuration, ready to be applied.

    ``conditions`` are those with ``while``, ``digests`` what is told at fixed times; ``for_people`` are the
    sinks that take messages, not events, ``quiet`` says when not to disturb there. ``owners`` is the table of
    owners; None: nobody is asked for it.
    """

    def __init__(self, config: Config) -> None:
        self.conditions = conditions(config)
        self.digests = digests(config)
        self.quiet = Quiet(config)
        self._rules = config.rules
        self._self_reports = config.self_reports
        self._exclude = {name: frozenset(sink.exclude) for name, sink in config.sinks.items()}
        self.for_people = {name for name, sink in config.sinks.items() if sink.is_for_people}
        self._living = {name for name, sink in config.sinks.items() if sink.can_edit}
        self._links = config.links
        self.owners = Owners() if config.owners else None
        self._looks_up = config.source.enrich
        self._reach = reach_of(config)

    def knowing(self, owners: Owners) -> Router:
        """The same rules with another table of owners."""
        other = copy.copy(self)
        other.owners = owners
        return other

    def owner_of(self, traits: Traits) -> Owner | None:
        """Who owns an entity (``NOBODY``: nobody does); None where the configuration has no owners."""
        if self.owners is None:
            return None
        employer, external_id = (*traits.employer, None, None)[:2]
        return self.owners.of(employer, external_id, traits.carrier, traits.carrier_name) or NOBODY

    def owned(self, alert: Alert, names: Names) -> Alert:
        """An alert with its owner, who is found once: another table later moves no message."""
        if self.owners is None or (alert.owner is not None and not alert.seeks_owner):
            return alert
        traits, employer = traits_of(alert.subject, names), alert.subject.above.get("employer")
        lacks_employer = self.owners.by_external_id and not names.knows_employer(employer)
        lacks_carrier = self.owners.by_carrier_name and not names.knows_carrier(traits.carrier)
        seeks = self._looks_up and (lacks_employer or lacks_carrier)  # a row that says more may be there
        return msgspec.structs.replace(alert, owner=self.owner_of(traits), seeks_owner=seeks)

    def places(self, targets: Iterable[Target], owner: Owner | None) -> Iterator[Target]:
        """The targets, each once; in place of ``owner`` where that is."""
        yield from dict.fromkeys(self._place(target, owner) for target in targets)

    def _place(self, target: Target, owner: Owner | None) -> Target:
        return self._reach.of(owner) if target.sink == OWNER and self._reach else target

    def route(self, event: Event) -> Routed:
        """Who is owed this event, each sink once, and the owner."""
        taken: dict[str, Owed] = {}
        nameless = []
        owner = self.owner_of(traits_of_event(event.data))
        told: set[Target] = set()
        for rule in self._rules:
            verdict = rule.when is not None and _verdict(rule.when, event)
            if verdict is None:
                nameless.append(rule.name)
            targets: Sequence[Target] = rule.notify if verdict else rule.fallback if verdict is None else ()
            for target in targets:
                place = self._place(target, owner)
                if target.sink not in taken and place not in told and self.has_news(event, place.sink):
                    taken[target.sink] = self.owe(event, place, rule.name, rule, owner)
                    told.add(place)
        if is_report(event.type):
            for target in self._self_reports:
                if target.sink not in taken and target not in told:
                    taken[target.sink] = self.owe(event, target, SELF_REPORTS, None)
        return Routed(tuple(taken.values()), tuple(nameless))

    def is_for_people(self, sink: str) -> bool:
        """Whether a sink takes messages for people, not events for programs."""
        return sink in self.for_people

    def hides(self, sink: str, field: str) -> bool:
        """Whether a field never leaves to a sink."""
        return field in self._exclude[sink]

    def can_edit(self, sink: str) -> bool:
        """Whether a message, once posted there, can be changed and replied to."""
        return sink in self._living

    def has(self, sink: str) -> bool:
        """Whether the configuration has this sink."""
        return sink in self._exclude

    def has_news(self, event: Event, sink: str) -> bool:
        """Whether anything is left to tell this sink: an update of nothing but excluded fields is no news."""
        changed = event.data.get("changed")
        return not (event.type.endswith(".updated") and changed and self._exclude[sink].issuperset(changed))

    def owe(
        self, event: Event, target: Target, name: str, rule: RuleConfig | None, owner: Owner | None = None
    ) -> Owed:
        """One sink's delivery of an event, by a rule of this name (None: the configuration has none)."""
        # json.dumps with its defaults: a receiver that parses and dumps again gets the same bytes
        text = json.dumps(self.body(event, target.sink, name, rule, owner))
        delivery = Delivery(event.id, event.type, name, text, target.target)
        # One channel that cannot be posted to must not hold up the same connection's messages in another.
        key = event.connection if target.target is None else event.connection + target.target
        return Owed(target.sink, key, delivery)

    def body(
        self,
        event: Event,
        sink: str,
        name: str,
        rule: RuleConfig | None,
        owner: Owner | None = None,
        *,
        mentions: bool = True,
    ) -> dict[str, Any]:
        """What a sink is told of an event; with ``mentions``, if the rule has any."""
        severity = rule.severity if rule else "info"
        extra = self._for_reader(event, rule, owner) if sink in self.for_people else {}
        if not mentions:
            extra.pop("mention", None)
        return told_body(event, rule=name, severity=severity, exclude=self._exclude[sink], extra=extra)

    def _for_reader(self, event: Event, rule: RuleConfig | None, owner: Owner | None) -> dict[str, Any]:
        """What only messages for people carry: the rule's words, owner, mentions, links into own tools."""
        extra: dict[str, Any] = {}
        if owner and (owner.owner or owner.team):
            extra["owner"] = {"owner": owner.owner, "team": owner.team}
        if mentions := mentioned(rule, owner):
            extra["mention"] = mentions
        if rule is not None:
            is_about_entity = "entity" in event.data
            words = {
                "note": rule.note,
                "headline": rule.title if is_about_entity else None,
                "sentence": rule.message if is_about_entity else None,
            }
            extra |= {key: text for key, text in words.items() if text}
        employer = event.data.get("connection", {}).get("employer")
        links = {label: url for label, link in self._links.items() if (url := _filled(link, employer))}
        if links:
            extra["links"] = links
        return extra


def reach_of(config: Config) -> Reach | None:
    """Where owners are reached; None where the configuration leaves that open."""
    if config.owners is None:
        return None
    slack = {name: sink for name, sink in config.sinks.items() if sink.type == "slack"}
    name = config.owners.sink or next(iter(slack), None)
    if name is None:
        return None
    return Reach(name, slack[name].channel, config.owners.fallback or Target(name))


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
    if not matches_type(when, event.type) or not matches_move(when, event.data):
        return False
    return selects(when.entity, when, traits_of_event(event.data))


def traits_of_event(data: Mapping[str, Any]) -> Traits:
    """What may be asked of the entity that an event is about."""
    entity, carrier = data.get("entity", {}), data.get("carrier", {})
    connection = data.get("connection", {})
    employer = connection.get("employer", {})
    return Traits(
        entity.get("kind"),
        entity.get("category"),
        carrier.get("id"),
        entity.get("group_id"),
        connection.get("id"),
        (employer.get("id"), employer.get("external_id")),
        carrier.get("name"),
        employer.get("name"),
    )


def matches_type(when: When, type_: str) -> bool:
    """Whether a rule asks for events of this type."""
    if when.type:
        return any(fnmatchcase(type_, glob) for glob in when.type)
    return not is_report(type_)  # what the notifier says of itself is asked for by type


def matches_move(when: When, data: Mapping[str, Any]) -> bool:
    """Whether what moved is what a rule asks for."""
    before, after = data.get("from"), data.get("to")
    is_move = not is_same_json(before, after)
    exact = (
        (when.from_, [before] if is_move else []),
        (when.to, [after] if is_move else []),
        (when.field, [*data.get("changed", ()), *(["status"] if is_move else [])]),
    )
    if any(asked and not any(is_among(value, asked) for value in values) for asked, values in exact):
        return False
    return not is_among(before, when.not_from) and not is_among(after, when.not_to)
