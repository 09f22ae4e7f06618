"""What a poll means for alerts: which open, are reminded of and end, and who is told. Pure.

The book holds the alerts as they were last committed. A :class:`Watch` is one poll's work on it:
each look at a connection gives :class:`Turn` s, which go into the same commit as what was seen; the book
itself takes them over only once all of it is committed.

Every target knows of one alert of an entity at most: the first that opened and names it. A program, which
tells alerts apart by rule, hears of all that name it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec

from notifier.config import Target, parse_target
from notifier.core.alerts import (
    Alert,
    End,
    EntityKey,
    Look,
    Phase,
    Step,
    Subject,
    Timing,
    What,
    dismissed,
    observe,
    removed,
    tick,
)
from notifier.core.book import Book
from notifier.core.conditions import Condition, subjects
from notifier.core.events import Event, Names, Origin, alert_id, from_alert, summary
from notifier.core.rules import Router
from notifier.models import ConnectionState, Kind, Owed

_MOST_NAMED = 5  # carriers in a summary


class Turn(msgspec.Struct, frozen=True):
    """One alert after a look (None: it is forgotten), and what is said of it, to whom."""

    key: str
    alert: Alert | None
    connection: str
    entity: EntityKey
    event: Event | None = None
    owed: tuple[Owed, ...] = ()

    @property
    def tells_the_move(self) -> bool:
        """Whether it says what just happened to the entity, so that nobody need say it again beside it."""
        if self.event is None:
            return False
        is_end = self.event.type == "alert.resolved" and not self.event.data["alert"]["unchanged"]
        return is_end or self.event.type == "alert.opened"


class Fresh(msgspec.Struct, frozen=True):
    """Rules that have not had their first look: name -> what that look is called.

    ``done`` maps rules to their last look that came to its end. ``is_due``: this poll takes the looks.
    Otherwise these rules see only what begins to be as they ask, and none of their times comes.
    """

    rules: Mapping[str, str] = {}
    done: Mapping[str, str] = {}
    is_due: bool = False


class Watch:
    """One poll's looks. ``written`` grows with every turn; ``names`` may grow in between."""

    def __init__(
        self,
        book: Book,
        conditions: Collection[Condition],
        router: Router,
        origin: Origin,
        names: Names,
        fresh: Fresh = Fresh(),  # noqa: B008 - frozen
    ) -> None:
        self.written: dict[str, Alert | None] = {}
        self.names = names
        self._below: dict[str, dict[str, Alert | None]] = {}  # the same, by connection
        self._book = book
        self._conditions = conditions
        self._router = router
        self._origin = origin
        self._fresh = fresh
        self._look = Look(origin.seen_at, origin.seen_before)

    def seen(
        self, id_: str, stored: ConnectionState | None, state: ConnectionState, moved: Collection[EntityKey]
    ) -> Iterator[Turn]:
        """A connection was ``stored`` and was seen to be ``state``; ``moved`` names what changed."""
        has_open = any(alert.phase is Phase.OPEN for alert in self._of(id_).values())
        yield from self._look_at(id_, stored, state, moved, self._conditions, ends_first=has_open)

    def seen_first(self, id_: str, state: ConnectionState) -> Iterator[Turn]:
        """What a connection that is as before means to the rules that take their first look."""
        fresh = [one for one in self._conditions if one.rule.name in self._fresh.rules]
        yield from self._look_at(id_, state, state, (), fresh, ends_first=True)

    def _look_at(
        self,
        id_: str,
        stored: ConnectionState | None,
        state: ConnectionState,
        moved: Collection[EntityKey],
        conditions: Collection[Condition],
        *,
        ends_first: bool,
    ) -> Iterator[Turn]:
        """Ends come first: only then is it known which channels know of nothing else there."""
        has_ended = False
        for only_ends in (True, False) if ends_first else (False,):
            for condition in conditions:
                for key, before, step in self._steps(condition, id_, stored, state, moved):
                    if step.what is What.RESOLVED or not only_ends:
                        yield from self._take(condition, key, before, step)
                        has_ended |= step.what is What.RESOLVED
        if has_ended:
            yield from self.freed(id_)

    def passed(self, id_: str, unseen: Collection[EntityKey] | None) -> Iterator[Turn]:
        """Time has passed for a connection that was seen to be as before, but for what is ``unseen``.

        None: it was not seen at all. What is closed is forgotten in its time all the same.
        """
        fresh = self._fresh.rules
        known = {one.rule.name: one for one in self._conditions if one.rule.name not in fresh}
        order = {name: at for at, name in enumerate(known)}  # the first rule is the first to be told
        alerts = sorted(self._of(id_).items(), key=lambda item: (order.get(item[1].rule, -1), item[0]))
        for key, alert in alerts:
            condition = known.get(alert.rule)
            if alert.phase is Phase.CLOSED:
                yield from self._take(None, key, alert, tick(alert, Timing(), self._look.at))
            elif condition is not None and unseen is not None and _entity_of(alert) not in unseen:
                yield from self._take(condition, key, alert, Step(alert))

    def freed(self, id_: str) -> Iterator[Turn]:
        """Tell open alerts of a connection where another one, now over, stood before them."""
        for condition in self._conditions:
            for key, alert in self._of(id_).items():
                if alert.phase is Phase.OPEN and alert.rule == condition.rule.name:
                    targets = [
                        target
                        for target in self._targets(condition, alert, What.REMINDER)
                        if self._router.is_for_people(target.sink) and _text(target) not in alert.told
                    ]
                    if targets:
                        again = msgspec.structs.replace(alert, said=alert.said + 1)
                        yield self._tell(condition, key, again, alert.subject.status, What.OPENED, targets)

    def ended(self, key: str, alert: Alert, *, rule_is_gone: bool) -> Iterator[Turn]:
        """An alert without its rule, or whose entity is no longer in the state."""
        step = (dismissed if rule_is_gone else removed)(alert, self._look)
        yield from self._take(None, key, alert, step)

    def already(self) -> Iterator[tuple[Event, Owed]]:
        """The summaries of what the first looks of rules found, for each target that knows of it."""
        found: dict[str, list[Alert]] = {}
        for alert in {**dict(self._book.items()), **self.written}.values():
            first = alert and self._fresh.rules.get(alert.rule)
            if alert and first and alert.existing == first and alert.phase is Phase.OPEN:
                found.setdefault(alert.rule, []).append(alert)
        for condition in self._conditions:
            mine = found.get(condition.rule.name, [])
            if condition.rule.include_existing == "summary":
                yield from self._summary(condition, mine)

    def _summary(self, condition: Condition, found: Collection[Alert]) -> Iterator[tuple[Event, Owed]]:
        rule = condition.rule
        for target in sorted({target for alert in found for target in alert.told}):
            to = parse_target(target)
            if self._router.is_for_people(to.sink):
                mine = [alert for alert in found if target in alert.told]
                event = summary(rule.name, self._fresh.rules[rule.name], self._origin, self._counted(mine))
                yield event, self._router.owe(event, to, rule.name, rule)

    # --- one alert ---

    def _steps(
        self,
        condition: Condition,
        id_: str,
        stored: ConnectionState | None,
        state: ConnectionState,
        moved: Collection[EntityKey],
    ) -> Iterator[tuple[str, Alert | None, Step]]:
        """What a look means for the alerts of one rule: key, the alert before, and its step."""
        rule, asked = condition.rule.name, condition.asked
        first = self._fresh.rules.get(rule, "")
        is_blind = bool(first) and not self._fresh.is_due  # to what was so before
        known = {key: alert for key, alert in self._of(id_).items() if alert.rule == rule}
        were = condition.matching(id_, stored, self.names) if first and stored is not None else ()
        if state.removed_at is None:
            for subject in subjects(id_, state, moved, kinds=asked.entity):
                key = _key(rule, subject.kind, id_, subject.id)
                before = known.pop(key, None)
                was_so = (subject.kind, subject.id) in were
                if is_blind and was_so and before is None:
                    continue
                look = self._look
                if was_so and not is_blind:
                    look = msgspec.structs.replace(look, first=first, done=self._fresh.done.get(rule, ""))
                matches = condition.matches(subject, self.names) is not False
                yield key, before, observe(before, rule, condition.timing, subject, look, matches=matches)
        if is_blind and state.removed_at is None:
            return
        for key, alert in known.items():
            is_asked = alert.subject.kind in asked.entity
            yield key, alert, (removed if is_asked else dismissed)(alert, self._look)

    def _take(
        self, condition: Condition | None, key: str, before: Alert | None, step: Step
    ) -> Iterator[Turn]:
        """What a step comes to; and the next one, where its time has come as well."""
        while True:
            alert = step.alert
            if step.what is not None:
                yield self._told(condition, key, before, step, step.what)
                alert = self.written[key]
            elif alert != before:
                about = alert or before
                if about is not None:
                    self._write(key, about.subject.connection, alert)
                    alert = self.written[key]
                    yield Turn(key, alert, about.subject.connection, _entity_of(about))
            if alert is None or condition is None:
                return
            before, step = alert, tick(alert, condition.timing, self._look.at)
            if step == Step(alert):
                return

    def _told(
        self, condition: Condition | None, key: str, before: Alert | None, step: Step, what: What
    ) -> Turn:
        about = step.ended or step.alert
        assert about is not None  # noqa: S101 - what happens, happens to an alert
        if what is What.OPENED:
            about = msgspec.structs.replace(about, id=alert_id(about, self._origin), told=())
        targets = list(self._targets(condition, about, what))
        status_before = before.subject.status if before is not None else None
        turn = self._tell(condition, key, about, status_before, what, targets)
        if step.ended is not None:  # another wait has begun in its place
            self._write(key, turn.connection, step.alert)
            turn = msgspec.structs.replace(turn, alert=step.alert)
        return turn

    def _tell(
        self,
        condition: Condition | None,
        key: str,
        about: Alert,
        status_before: Any,
        what: What,
        targets: Collection[Target],
    ) -> Turn:
        """Say what happened to an alert, and note who knows of it."""
        event = from_alert(about, what, status_before, self._origin, self.names)
        counts = condition is not None and condition.rule.include_existing == "summary"
        is_counted = counts and what is What.OPENED and about.existing == self._fresh.rules.get(about.rule)
        owed = tuple(
            self._router.owe(event, target, about.rule, condition.rule if condition else None)
            for target in targets
            if not (is_counted and self._router.is_for_people(target.sink))
        )
        names = () if what is What.RESOLVED else (*about.told, *(_text(target) for target in targets))
        after = msgspec.structs.replace(about, told=tuple(dict.fromkeys(names)))
        self._write(key, about.subject.connection, after)
        return Turn(key, self.written[key], about.subject.connection, _entity_of(about), event, owed)

    def _targets(self, condition: Condition | None, alert: Alert, what: What) -> Iterator[Target]:
        """Who is told: of an end, whoever knows of the alert; of the rest, whoever the rule names."""
        elsewhere = self._told_by_others(alert)
        if condition is None or what is What.RESOLVED:
            is_told = condition is None or condition.rule.resolve
            for target in map(parse_target, alert.told):
                is_left = alert.end is End.RULE and self._router.is_for_people(target.sink)
                goes_on = is_left and _text(target) in elsewhere  # by another rule
                if is_told and self._router.has(target.sink) and not goes_on:
                    yield target
            return
        if alert.existing and condition.rule.include_existing == "no":
            return
        is_certain = condition.matches(alert.subject, self.names)
        if is_certain is False:  # by a name that became known only now
            return
        for target in condition.rule.notify if is_certain else condition.rule.fallback:
            if not self._router.is_for_people(target.sink) or _text(target) not in elsewhere:
                yield target

    def _told_by_others(self, alert: Alert) -> set[str]:
        """The targets that know of another open alert of the same entity."""
        kind, id_, connection = alert.subject.kind, alert.subject.id, alert.subject.connection
        names = (condition.rule.name for condition in self._conditions if condition.rule.name != alert.rule)
        keys = (_key(name, kind, connection, id_) for name in names)
        others = (self.written[key] if key in self.written else self._book.get(key) for key in keys)
        return {target for other in others if other and other.phase is Phase.OPEN for target in other.told}

    def _write(self, key: str, connection: str, alert: Alert | None) -> None:
        if alert is not None and alert.phase is Phase.CLOSED:  # it only counts occurrences from now on
            alert = msgspec.structs.replace(alert, subject=_bare(alert.subject))
        self.written[key] = alert
        self._below.setdefault(connection, {})[key] = alert

    def _of(self, id_: str) -> dict[str, Alert]:
        alerts = {**self._book.of(id_), **self._below.get(id_, {})}
        return {key: alert for key, alert in alerts.items() if alert is not None}

    def _counted(self, alerts: Collection[Alert]) -> str:
        """How many there are, and at which carriers."""
        carriers = Counter(
            self.names.carrier(id_) or id_
            for alert in alerts
            if isinstance(id_ := alert.subject.fields.get("carrier"), str)
        )
        named = [f"{name} {count}" for name, count in carriers.most_common(_MOST_NAMED)]
        rest = len(carriers) - len(named)
        whose = f": {', '.join(named)}{f' and {rest} more' if rest else ''}" if named else ""
        kinds = {alert.subject.kind for alert in alerts}
        noun = kinds.pop().replace("_", " ") if len(kinds) == 1 else "entity"
        is_one, needs = len(alerts) == 1, {alert.subject.status for alert in alerts} == {"needs_attention"}
        if not is_one:
            noun = "entities" if noun == "entity" else f"{noun}s"
        verb = ("needs" if is_one else "need") + " attention" if needs else "is" if is_one else "are"
        what = f"already {verb}" if needs else f"{verb} already as this rule asks"
        return f"{len(alerts):,} {noun} {what}{whose}."


def _key(rule: str, kind: Kind, connection: str, id_: str) -> str:
    return json.dumps([rule, kind, connection, id_])


def _bare(subject: Subject) -> Subject:
    """What a list of alerts shows of an entity, and nothing more."""
    fields = {name: subject.fields[name] for name in ("status", "carrier") if name in subject.fields}
    return msgspec.structs.replace(subject, fields=fields, above={"employer": subject.above.get("employer")})


def _entity_of(alert: Alert) -> EntityKey:
    return alert.subject.kind, alert.subject.id


def _text(target: Target) -> str:
    return target.sink if target.target is None else f"{target.sink}#{target.target.removeprefix('#')}"
