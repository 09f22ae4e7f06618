"""What a poll means for alerts: which open, are reminded of and end, and who is to hear of it. Pure.

The book holds the alerts as they were last committed. A :class:`Watch` is one poll's work on it:
each look at a connection gives :class:`Turn` s, which go into the same commit as what was seen; the book
itself takes them over only once all of it is committed.

Programs are told at once, event by event, of each rule's alerts. For people it is only noted in the alert
who is to know of it: by which message, and when, is decided at the end of the poll (``desk``). A place hears
of one alert of an entity at most: the first that opened and names it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import msgspec

from notifier.config import Target, parse_target
from notifier.config.people import OWNER
from notifier.core.alerts import (
    TO_A_PROGRAM,
    Alert,
    EntityKey,
    Look,
    Phase,
    Taking,
    Timing,
    Told,
    What,
    bare,
)
from notifier.core.book import Book
from notifier.core.conditions import Condition, subjects
from notifier.core.course import Step, dismissed, observe, removed, take, tick
from notifier.core.durations import Sample, sample
from notifier.core.events import Event, Names, Origin, alert_id, from_alert
from notifier.core.messages import first_look_id, place_of
from notifier.core.quiet import IsHushed
from notifier.core.rules import Router
from notifier.models import ConnectionState, Kind, Owed


class Turn(msgspec.Struct, frozen=True):
    """One alert after a look (None: it is forgotten), and what happened to it.

    ``owed`` is what programs are told of it, ``places`` are where people hear of it now.
    """

    key: str
    alert: Alert | None
    connection: str
    entity: EntityKey
    event: Event | None = None
    owed: tuple[Owed, ...] = ()
    places: tuple[str, ...] = ()

    @property
    def tells_the_move(self) -> bool:
        """Whether it says what just happened to the entity, so that nobody need say it again beside it."""
        if self.event is None:
            return False
        is_end = self.event.type == "alert.resolved" and not self.event.data["alert"]["unchanged"]
        return is_end or self.event.type == "alert.opened"


class Fresh(msgspec.Struct, frozen=True):
    """Rules that have not had their first look: name -> what that look is called.

    ``is_due``: this poll takes the looks. Otherwise these rules see only what begins to be as they ask, and
    none of their times comes.
    """

    rules: Mapping[str, str] = {}
    is_due: bool = False


class Watch:
    """One poll's looks. ``written`` grows with every turn; ``names`` may grow in between.

    ``samples``, of what has ended, are one for each entity, however many rules watch it.
    """

    def __init__(
        self,
        book: Book,
        conditions: Collection[Condition],
        router: Router,
        origin: Origin,
        names: Names,
        fresh: Fresh,
        is_hushed: IsHushed,
    ) -> None:
        self.written: dict[str, Alert | None] = {}
        self.samples: dict[tuple[str, str], Sample] = {}  # by connection and entity
        self.names = names
        self._below: dict[str, dict[str, Alert | None]] = {}  # the same, by connection
        self._book = book
        self._conditions = conditions
        self._by_rule = {condition.rule.name: condition for condition in conditions}
        self._router = router
        self._origin = origin
        self._fresh = fresh
        self._is_hushed = is_hushed
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
        ended: set[EntityKey] = set()
        for only_ends in (True, False) if ends_first else (False,):
            for condition in conditions:
                for key, before, step in self._steps(condition, id_, stored, state, moved):
                    if step.what is What.RESOLVED or not only_ends:
                        yield from self._take(condition, key, before, step)
                    if step.what is What.RESOLVED and before is not None:
                        ended.add(_entity_of(before))
        if ended:
            yield from self.freed(id_, ended)

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
            is_seen = unseen is not None and _entity_of(alert) not in unseen
            if alert.phase is Phase.CLOSED and (is_seen or alert.unstable is None):
                yield from self._take(None, key, alert, tick(alert, Timing(), self._look.at))
            elif alert.phase is not Phase.CLOSED and condition is not None and is_seen:
                yield from self._take(condition, key, alert, Step(alert))

    def freed(self, id_: str, entities: Collection[EntityKey]) -> Iterator[Turn]:
        """Note who is to know of open alerts of these entities, where one that is over stood before them."""
        for condition in self._conditions:
            for key, alert in self._of(id_).items():
                is_of_it = alert.rule == condition.rule.name and _entity_of(alert) in entities
                if alert.phase is Phase.OPEN and is_of_it:
                    yield from self._tell_more(condition, key, alert, alert)

    def found(self, keys: Iterable[str]) -> Iterator[Turn]:
        """The owners of these open alerts, where what had to be looked up for that is known by now."""
        for key in keys:
            alert = self._now(key)
            condition = self._by_rule.get(alert.rule) if alert and alert.phase is Phase.OPEN else None
            if alert is None or condition is None:
                continue
            owned = self._router.owned(alert, self.names)
            if not owned.seeks_owner and condition.matches(alert.subject, self.names) is not None:
                places = [*self._router.places([Target(OWNER)], owned.owner)]
                yield from self._tell_more(condition, key, alert, owned, places)

    def _tell_more(
        self, condition: Condition, key: str, before: Alert, alert: Alert, owners: Collection[Target] = ()
    ) -> Iterator[Turn]:
        """An alert, and those of its rule's places (only ``owners``, if given) that do not know of it yet."""
        new = {
            place_of(target): Told()
            for target in self._targets(condition, alert)
            if self._router.is_for_people(target.sink)
            and place_of(target) not in alert.told
            and (not owners or target in owners)
        }
        after = msgspec.structs.replace(alert, told={**alert.told, **new})
        if after != before:
            connection = alert.subject.connection
            self._write(key, connection, after)
            yield Turn(key, self.written[key], connection, _entity_of(alert))

    def ended(self, key: str, alert: Alert, *, rule_is_gone: bool) -> Iterator[Turn]:
        """An alert without its rule, or whose entity is no longer in the state."""
        step = (dismissed if rule_is_gone else removed)(alert, self._look)
        yield from self._take(None, key, alert, step)

    def asked(self, takings: Iterable[Taking]) -> list[Alert]:
        """The open alerts that people have taken or given back."""
        ids = {id_ for taking in takings for id_ in taking.alerts}
        return [alert for _, alert in self._open(ids)] if ids else []

    def taken(self, taking: Taking) -> Iterator[Turn]:
        """A person has taken alerts, or given them back; what is over by now is left out."""
        for key, alert in self._open(taking.alerts):
            condition = self._by_rule.get(alert.rule)
            if condition is not None:
                step = take(alert, taking.taken, condition.timing, self._look.at)
                yield from self._take(condition, key, alert, step)

    def _open(self, ids: Collection[str]) -> list[tuple[str, Alert]]:
        """The open alerts with these ids, by key."""
        alerts = {**dict(self._book.items()), **self.written}
        return [
            (key, alert)
            for key, alert in sorted(alerts.items())
            if alert is not None and alert.phase is Phase.OPEN and alert.id in ids
        ]

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
            for subject in subjects(id_, state, moved, kinds=asked.entity, stored=stored):
                key = _key(rule, subject.kind, id_, subject.id)
                before = known.pop(key, None)
                was_so = (subject.kind, subject.id) in were
                if is_blind and was_so and before is None:
                    continue
                look = self._look
                if was_so and not is_blind:
                    look = msgspec.structs.replace(look, is_first=True)
                if taken := sample(before, asked, subject, look.at):
                    self.samples.setdefault((id_, subject.id), taken)
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
        """Note and say what happened to an alert."""
        about = step.ended or step.alert
        assert about is not None  # noqa: S101 - what happens, happens to an alert
        if what is What.OPENED:
            about = msgspec.structs.replace(about, id=alert_id(about, self._origin))
        about = self._router.owned(about, self.names)
        is_said = what is not What.RESOLVED or condition is None or condition.rule.resolve
        targets = self._who_knows(about) if what is What.RESOLVED else [*self._targets(condition, about)]
        people = [target for target in targets if self._router.is_for_people(target.sink)]
        programs = [target for target in targets if target not in people]
        status_before = about.was if what is What.OPENED or before is None else before.subject.status
        usual = self._book.durations.usual(about)
        event = from_alert(about, what, status_before, self._origin, self.names, usual)
        rule = condition.rule if condition else None
        owed = tuple(self._router.owe(event, target, about.rule, rule) for target in programs if is_said)
        after = (
            about if step.ended is None else step.alert or about
        )  # another wait may have begun in its place
        after = self._knowing(condition, after, what, people, programs)
        self._write(key, about.subject.connection, after)
        places = (place_of(target) for target in people if is_said)
        now = tuple(place for place in places if not self._is_hushed(place, about))
        return Turn(key, self.written[key], about.subject.connection, _entity_of(about), event, owed, now)

    def _who_knows(self, alert: Alert) -> list[Target]:
        """Where an alert was told of, by events or by messages, as the sink there takes them now."""
        found = []
        for place, told in alert.told.items():
            target = parse_target(place)
            if self._router.has(target.sink):
                was_program = told.message == TO_A_PROGRAM
                if was_program is not self._router.is_for_people(target.sink):
                    found.append(target)
        return found

    def _knowing(
        self,
        condition: Condition | None,
        alert: Alert,
        what: What,
        people: Collection[Target],
        programs: Collection[Target],
    ) -> Alert:
        """The alert with what is known of it after this; what people are to be told is yet to come."""
        messages = {place: told for place, told in alert.told.items() if told.message != TO_A_PROGRAM}
        if what is What.RESOLVED:
            return msgspec.structs.replace(alert, told=messages)
        last = {}
        if what is What.OPENED:  # what they knew was of the time before
            over = {place: told for place, told in messages.items() if not told.hushed}
            last = {place: told.message for place, told in over.items() if told.message}
            messages = {place: told for place, told in messages.items() if told.hushed}
        first = ""
        if condition is not None and alert.existing and condition.rule.include_existing == "summary":
            first = self._fresh.rules.get(alert.rule, "")
        new = {
            place_of(target): Told(first and first_look_id(place_of(target), alert.rule, first))
            for target in people
        }
        known = {place_of(target): Told(TO_A_PROGRAM) for target in programs}
        return msgspec.structs.replace(alert, told={**new, **messages, **known}, last={**alert.last, **last})

    def _targets(self, condition: Condition | None, alert: Alert) -> Iterator[Target]:
        """Whom the rule names for an alert."""
        if condition is None or (alert.existing and condition.rule.include_existing == "no"):
            return
        alert = self._router.owned(alert, self.names)
        is_certain = condition.matches(alert.subject, self.names)
        if is_certain is False:  # by a name that became known only now
            return
        elsewhere = self._told_by_others(alert)
        named = condition.rule.notify if is_certain else condition.rule.fallback
        for target in self._router.places(named, alert.owner):
            if not self._router.is_for_people(target.sink) or place_of(target) not in elsewhere:
                yield target

    def _told_by_others(self, alert: Alert) -> set[str]:
        """The targets that know of another open alert of the same entity."""
        kind, id_, connection = alert.subject.kind, alert.subject.id, alert.subject.connection
        names = (condition.rule.name for condition in self._conditions if condition.rule.name != alert.rule)
        keys = (_key(name, kind, connection, id_) for name in names)
        others = map(self._now, keys)
        return {target for other in others if other and other.phase is Phase.OPEN for target in other.told}

    def _write(self, key: str, connection: str, alert: Alert | None) -> None:
        if alert is not None and alert.phase is Phase.CLOSED:  # it only counts occurrences from now on
            alert = msgspec.structs.replace(alert, subject=bare(alert.subject))
        before = self._book.get(key)
        if alert is not None and before is not None and _looks(alert) != _looks(before):
            alert = msgspec.structs.replace(alert, stale=True)
        self.written[key] = alert
        self._below.setdefault(connection, {})[key] = alert

    def _now(self, key: str) -> Alert | None:
        return self.written[key] if key in self.written else self._book.get(key)

    def _of(self, id_: str) -> dict[str, Alert]:
        alerts = {**self._book.of(id_), **self._below.get(id_, {})}
        return {key: alert for key, alert in alerts.items() if alert is not None}


def _key(rule: str, kind: Kind, connection: str, id_: str) -> str:
    return json.dumps([rule, kind, connection, id_])


def _looks(alert: Alert) -> tuple[Any, ...]:
    """What messages show of an alert that goes on."""
    return alert.phase, alert.unstable, alert.owner, alert.subject.fields, alert.subject.above


def _entity_of(alert: Alert) -> EntityKey:
    return alert.subject.kind, alert.subject.id
