"""``while`` rules, ready to be applied: what they ask of an entity, and how they count time. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from notifier.config import BusinessDays, CalendarConfig, Config, RuleConfig, While, is_among
from notifier.core.alerts import EntityKey, Subject, Timing, moment_text
from notifier.core.calendars import Calendar
from notifier.core.events import Names
from notifier.core.selection import Traits, selects
from notifier.models import ConnectionState, EntityState, Kind

_NEVER = "9999-12-31T00:00:00.000Z"
_WEEKDAYS = Calendar(ZoneInfo("UTC"))  # what a business day is where no calendar says it


class Condition(msgspec.Struct, frozen=True):
    """One ``while`` rule. ``tag`` changes with all of it that an alert's course depends on."""

    rule: RuleConfig
    asked: While
    timing: Timing
    tag: str

    def matching(self, id_: str, state: ConnectionState, names: Names) -> set[EntityKey]:
        """The live entities of a connection that are as the rule asks, or may be, for all that is known."""
        if state.removed_at is not None:
            return set()
        return {
            (subject.kind, subject.id)
            for subject in subjects(id_, state, (), kinds=self.asked.entity)
            if self.matches(subject, names) is not False
        }

    def matches(self, subject: Subject, names: Names) -> bool | None:
        """Whether an entity is as the rule asks, time aside; None where that hangs on a name not known."""
        return self.takes(subject.status, traits_of(subject, names))

    def takes(self, status: Any, traits: Traits) -> bool | None:
        """The same of a status, and of what else may be asked of an entity."""
        if self.asked.status and not is_among(status, self.asked.status):
            return False
        if is_among(status, self.asked.not_status):
            return False
        return selects(self.asked.entity, self.asked, traits)


def conditions(config: Config) -> tuple[Condition, ...]:
    """The ``while`` rules of a configuration, in their order."""
    calendars = {name: calendar_of(calendar) for name, calendar in config.calendars.items()}
    return tuple(
        Condition(
            rule,
            rule.while_,
            _timing(rule, rule.while_, calendars.get(rule.calendar or "")),
            _tag(rule, rule.while_, config.calendars.get(rule.calendar or "")),
        )
        for rule in config.rules
        if rule.while_ is not None
    )


def subjects(
    id_: str,
    state: ConnectionState,
    moved: Iterable[EntityKey],
    *,
    kinds: Iterable[Kind],
    stored: ConnectionState | None = None,
) -> Iterator[Subject]:
    """The live entities of a live connection, of these kinds.

    ``moved`` are those that just changed; ``stored`` is the connection as it was before.
    """
    moved = set(moved)
    for kind in kinds:
        if kind is Kind.CONNECTION:
            was = stored and stored.fields.get("status")
            yield Subject(kind, id_, id_, state.fields, state.fields, state.sequence, bool(moved), was)
            continue
        before = _children(stored, kind) if stored is not None else {}
        for child, entity in _children(state, kind).items():
            if entity.removed_at is None:
                is_moved = (kind, child) in moved
                was = before[child].fields.get("status") if child in before else None
                yield Subject(kind, child, id_, entity.fields, state.fields, entity.revision, is_moved, was)


def _children(state: ConnectionState, kind: Kind) -> Mapping[str, EntityState]:
    return state.group_connections if kind is Kind.GROUP_CONNECTION else state.milestones


def calendar_of(config: CalendarConfig) -> Calendar:
    """A calendar as the configuration words it."""
    dates = frozenset(day for day in config.holidays if isinstance(day, date))
    public = [_public(place) for place in config.holidays if isinstance(place, str)]

    def is_holiday(day: date) -> bool:
        return day in dates or any(day in days for days in public)

    return Calendar(config.timezone, frozenset().union(*config.days), config.hours, is_holiday)


def _public(place: str) -> Any:
    """The public holidays of a country or of a part of one."""
    import holidays  # noqa: PLC0415 - hundreds of countries: only for who asks

    country, _, part = place.partition("-")
    return holidays.country_holidays(country, subdiv=part or None)


def _timing(rule: RuleConfig, asked: While, calendar: Calendar | None) -> Timing:
    hold = rule.for_ if rule.for_ is not None or calendar is None else timedelta()  # at once, when it is open
    quiet, hold_by, remind = (
        None if span is None else _after(span, calendar) for span in (asked.unchanged, hold, rule.remind)
    )
    return Timing(quiet, hold_by, remind)


def _after(span: timedelta | BusinessDays, calendar: Calendar | None) -> Callable[[str], str]:
    """A moment -> the moment so much later, both as text."""

    def later(moment: str) -> str:
        at = datetime.fromisoformat(moment)
        if isinstance(span, BusinessDays):
            day = (calendar or _WEEKDAYS).add_days(at, span.count)
            end = day and (calendar or _WEEKDAYS).next_open(day)
        else:
            end = calendar.add_time(at, span) if calendar else at + span
        return _NEVER if end is None else moment_text(end)

    return later


def _tag(rule: RuleConfig, asked: While, calendar: CalendarConfig | None) -> str:
    spans = (asked, rule.for_, rule.remind, calendar)
    return hashlib.blake2b(repr(spans).encode(), digest_size=8).hexdigest()


def traits_of(subject: Subject, names: Names) -> Traits:
    """What may be asked of an entity."""
    fields, employer = subject.fields, subject.above.get("employer")
    name, external_id = names.employer(employer)
    carrier = fields.get("carrier") if subject.kind is Kind.GROUP_CONNECTION else None
    return Traits(
        subject.kind,
        fields.get("category"),
        carrier,
        fields.get("group_id"),
        subject.connection,
        (employer, external_id),
        names.carrier(carrier),
        name,
    )
