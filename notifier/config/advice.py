"""What is allowed and yet surely not meant: rules that can never match, or are hidden by an earlier one.

Sound, not complete: what is said is true of every event; what is not said may still be odd.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any

from notifier.config.calendars import ABBREVIATED
from notifier.config.model import Config
from notifier.config.people import OWNER
from notifier.config.rules import RuleConfig, Selection, Target, When, While, is_among
from notifier.config.sinks import MessageSettings, SlackConfig
from notifier.config.words import EVENT_TYPES, REPORT_TYPES, STATUSES, closest, shown
from notifier.models import TRACKED, Kind

_REPORTS = frozenset(REPORT_TYPES)
_SELECTED = tuple(Selection.model_fields)
_LISTS = ("from_", "to", "field", *_SELECTED)
_STATUSES = ("from_", "to", "not_from", "not_to", "status", "not_status")
_KIND_OF_KEY = {
    "category": Kind.MILESTONE,
    "carrier": Kind.GROUP_CONNECTION,
    "carrier_name": Kind.GROUP_CONNECTION,
    "group_id": Kind.GROUP_CONNECTION,
}
_OF_ENTITIES = ("entity", "from_", "to", "employer", "employer_name", "connection", "field")


def warnings(config: Config) -> list[str]:
    """One line for each thing that is surely not meant."""
    return [
        *_rules(config),
        *_hidden(config),
        *_sinks(config),
        *_zones(config),
        *_digests(config),
        *_owners(config),
    ]


def _rules(config: Config) -> Iterator[str]:
    for index, rule in enumerate(config.rules):
        who = _who(index, rule)
        reason = _never(rule)
        if reason:
            yield f"{who} can never match: {reason}"
        yield from (f"{who} {misspelt}" for misspelt in _misspelt(_selection(rule)))
        yield from (f"{who} {twin}" for twin in _own_channels(config, rule))
        if rule.title or rule.message:
            yield from (f"{who} has words of its own: {reason}" for reason in _unread(config, rule))
        if _selection(rule).asks_names:
            if not config.source.enrich:
                yield f"{who} asks for a name, and source.enrich is false: no name is ever known"
            if not rule.fallback:
                yield f"{who} asks for a name and has no fallback: an unknown name means that nothing is sent"


def _own_channels(config: Config, rule: RuleConfig) -> Iterator[str]:
    """Places that are a sink's own channel by another name: each is told for itself."""
    for target in dict.fromkeys((*rule.notify, *rule.fallback)):
        sink = config.sinks.get(target.sink)
        if isinstance(sink, SlackConfig) and target.target == sink.channel is not None:
            place = f"{target.sink}#{sink.channel.removeprefix('#')}"
            yield f'names the sink\'s own channel, "{place}", as another place: write "{target.sink}"'


def _misspelt(asked: Selection) -> Iterator[str]:
    """Statuses that look like one that is documented, and are not it."""
    for key in _STATUSES:
        for status in getattr(asked, key, ()):
            if not isinstance(status, str) or status in STATUSES:
                continue
            if meant := closest(re.sub(r"[\s-]+", "_", status.strip().lower()), STATUSES):
                has = f'has "{key.rstrip("_")}": {shown(status)}'
                yield f'{has}, no status that Clasp documents; did you mean "{meant}"?'


def _unread(config: Config, rule: RuleConfig) -> Iterator[str]:
    """Why nobody reads the title and message of a rule, if so."""
    if all(not config.sinks[target.sink].is_for_people for target in (*rule.notify, *rule.fallback)):
        yield '"title" and "message" are for sinks for people, and it names none'
    if rule.when is not None and _asked_types(rule.when) <= _REPORTS:
        yield "what the notifier says of itself is told in other words than those of a rule"


def _selection(rule: RuleConfig) -> Selection:
    return rule.when or rule.while_ or Selection()


def _who(index: int, rule: RuleConfig) -> str:
    return f'rules[{index}] "{rule.name}"'


def _asked_types(when: When) -> frozenset[str]:
    if not when.type:
        return frozenset(EVENT_TYPES)
    known = (*EVENT_TYPES, *REPORT_TYPES)
    return frozenset(type_ for type_ in known if any(fnmatchcase(type_, glob) for glob in when.type))


def _narrowed(when: When) -> Iterator[tuple[str, frozenset[str]]]:
    """The types that are left after each key of the rule, with a word on the key."""
    left = _asked_types(when)
    steps: list[tuple[str, Callable[[str], bool]]] = [
        (f'"{key.rstrip("_")}" is not known of what the notifier says of itself', lambda t: t not in _REPORTS)
        for key in _OF_ENTITIES
        if getattr(when, key)
    ]
    if when.entity:
        steps.append(('"type" and "entity" exclude each other', lambda t: _kind(t) in when.entity))
    steps += [
        (f'"{key}" is only of a {kind}', lambda t, kind=kind: _kind(t) == kind)  # type: ignore[misc]
        for key, kind in _KIND_OF_KEY.items()
        if getattr(when, key)
    ]
    if when.field:
        steps.append(('no event that is left changes this "field"', lambda t: _can_change(t, when.field)))
    if when.from_:
        steps.append(('no event that is left has a "from" like this', lambda t: _can_come(t, when.from_)))
    if when.to:
        steps.append(('no event that is left has a "to" like this', lambda t: _can_go(t, when.to)))
    for reason, keeps in steps:
        left = frozenset(filter(keeps, left))
        yield reason, left


def _kind(type_: str) -> str:
    return type_.partition(".")[0]


def _verb(type_: str) -> str:
    return type_.partition(".")[2]


def _can_change(type_: str, fields: tuple[str, ...]) -> bool:
    """Events that only say that an entity is there, or gone, list no changes but that of the status."""
    verb = _verb(type_)
    others = set(fields) - {"status"}
    tracked = set(TRACKED[Kind(_kind(type_))]) if type_ not in _REPORTS else set()
    return ("status" in fields and verb != "updated") or (
        verb in {"updated", "status_changed"} and not others.isdisjoint(tracked)
    )


def _can_come(type_: str, statuses: tuple[Any, ...]) -> bool:
    verb = _verb(type_)
    return verb != "updated" and (verb not in {"added", "reappeared"} or None in statuses)


def _can_go(type_: str, statuses: tuple[Any, ...]) -> bool:
    verb = _verb(type_)
    return verb != "updated" and (verb != "removed" or None in statuses)


def _never(rule: RuleConfig) -> str:
    """Why nothing can match, or nothing."""
    if rule.when is not None:
        return _never_at(rule.when)
    return _never_while(rule.while_) if rule.while_ is not None else ""


def _never_at(when: When) -> str:
    for name, asked, refused in (("from", when.from_, when.not_from), ("to", when.to, when.not_to)):
        if _is_refused(asked, refused):
            return f'"{name}" and "not_{name}" exclude each other'
    if when.from_ and when.to and all(is_among(status, (old,)) for old in when.from_ for status in when.to):
        return '"from" and "to" are the same status'
    return next((reason for reason, left in _narrowed(when) if not left), "")


def _is_refused(asked: tuple[Any, ...], refused: tuple[Any, ...]) -> bool:
    """Whether all that is asked for is refused as well."""
    return bool(asked) and all(is_among(status, refused) for status in asked)


def _never_while(asked: While) -> str:
    if _is_refused(asked.status, asked.not_status):
        return '"status" and "not_status" exclude each other'
    left = set(asked.entity)
    for key, kind in _KIND_OF_KEY.items():
        if getattr(asked, key):
            left &= {kind}
            if not left:
                return f'"{key}" is only of a {kind}'
    return ""


def _types(when: When) -> frozenset[str]:
    left = _asked_types(when)
    for _, left in _narrowed(when):  # noqa: B007  -- the last is meant
        pass
    return left


def _hidden(config: Config) -> Iterator[str]:
    for later, rule in enumerate(config.rules):
        if _never(rule):
            continue
        for target in rule.notify:
            for earlier, other in enumerate(config.rules[:later]):
                if _hides(config, other, rule, target):
                    what = "event" if rule.when is not None else "alert"
                    yield (
                        f'{_who(later, rule)} never reaches the sink "{target.sink}": '
                        f"{_who(earlier, other)} stands above it and has every {what} that it matches"
                    )
                    break


def _hides(config: Config, other: RuleConfig, rule: RuleConfig, target: Target) -> bool:
    """Whether a target never hears of a rule because of one above it."""
    if other.when is not None and rule.when is not None:
        is_named = target.sink in {named.sink for named in other.notify}
        return is_named and covers(other.when, rule.when)
    if other.while_ is None or rule.while_ is None or target not in other.notify:
        return False
    if target.sink != OWNER and not config.sinks[target.sink].is_for_people:
        return False  # a program hears of every alert
    return _is_sooner(other, rule) and _covers(other.while_, rule.while_)


def _is_sooner(other: RuleConfig, rule: RuleConfig) -> bool:
    """Whether, where both match, the first of two rules surely opens no later."""
    if other.while_ is None or other.while_.unchanged is not None or other.include_existing == "no":
        return False
    if other.for_ is None:
        return other.calendar is None
    mine, its = rule.for_, other.for_
    is_longer = isinstance(mine, timedelta) and isinstance(its, timedelta) and its <= mine
    return rule.calendar == other.calendar and (mine == its or is_longer)


def _covers(wide: While, narrow: While) -> bool:
    return (
        set(narrow.entity) <= set(wide.entity)
        and all(_is_implied(getattr(wide, key), getattr(narrow, key)) for key in (*_SELECTED, "status"))
        and _is_kept_out(wide.not_status, narrow.status, narrow.not_status)
    )


def covers(wide: When, narrow: When) -> bool:
    """Whether everything that ``narrow`` matches is surely matched by ``wide`` as well."""
    if not _types(narrow) <= _asked_types(wide):
        return False
    if wide.entity and not {_kind(type_) for type_ in _types(narrow)} <= set(wide.entity):
        return False
    return (
        all(_is_implied(getattr(wide, key), getattr(narrow, key)) for key in _LISTS)
        and _is_kept_out(wide.not_from, narrow.from_, narrow.not_from)
        and _is_kept_out(wide.not_to, narrow.to, narrow.not_to)
    )


def _is_implied(wide: tuple[Any, ...], narrow: tuple[Any, ...]) -> bool:
    return not wide or (bool(narrow) and all(is_among(value, wide) for value in narrow))


def _is_kept_out(refused: tuple[Any, ...], asked: tuple[Any, ...], also_refused: tuple[Any, ...]) -> bool:
    """Whether none of ``refused`` can stand where only ``asked`` may, and ``also_refused`` may not."""
    return all(
        is_among(status, also_refused) or (bool(asked) and not is_among(status, asked)) for status in refused
    )


def _sinks(config: Config) -> Iterator[str]:
    named = {target.sink for rule in config.rules for target in (*rule.notify, *rule.fallback)}
    if OWNER in named and config.owners is not None:
        named |= _of_owners(config)
    for index, rule in enumerate(config.rules):
        for target in rule.notify if rule.when is not None else ():
            sink = config.sinks.get(target.sink)
            if isinstance(sink, MessageSettings) and sink.active is not None:
                yield (
                    f'{_who(index, rule)} has "when", so it speaks at any time: '
                    f'the hours of the sink "{target.sink}" are for alerts, of rules with "while"'
                )
    named |= {target.sink for digest in config.digests for target in digest.notify}
    reported = {target.sink for target in config.self_reports}
    for name in config.sinks:
        if name not in named | reported:
            yield f"sinks.{name}: no rule, digest or self_reports names it: nothing is ever sent to it"
    if not reported and not any(rule.when and _types(rule.when) & _REPORTS for rule in config.rules):
        yield (
            "self_reports: nobody is told when the notifier itself is in trouble; "
            'name a sink there, or add a rule with when: {type: "notifier.*"}'
        )


def _zones(config: Config) -> Iterator[str]:
    """Zones whose clocks never change, though people who write them so mostly expect it."""
    named = {f"calendars.{name}": calendar.timezone for name, calendar in config.calendars.items()}
    named |= {
        f'digests[{at}] "{one.name}"': one.timezone for at, one in enumerate(config.digests) if one.timezone
    }
    for where, zone in named.items():
        if zone.key in ABBREVIATED:
            meant = f"{ABBREVIATED[zone.key]}, or a city without it"
            yield f'{where}: the time zone "{zone.key}" has no daylight saving time; write {meant}'


def _digests(config: Config) -> Iterator[str]:
    has_alerts = any(rule.while_ is not None for rule in config.rules)
    for index, digest in enumerate(config.digests):
        who = f'digests[{index}] "{digest.name}"'
        if not has_alerts:
            yield f'{who} tells of alerts, and no rule has "while": it has nothing to tell'
        calendar = config.calendar_of(digest)
        open_days = frozenset[int]().union(*calendar.days) if calendar else frozenset(range(7))
        if any(not at.days & open_days for at in digest.at):
            yield f"{who} names a day on which its calendar is always closed: it waits for the next open day"


def _of_owners(config: Config) -> set[str]:
    """The sinks that ``owner`` leads to."""
    slack = [name for name, sink in config.sinks.items() if sink.type == "slack"]
    fallback = config.owners and config.owners.fallback
    return {(config.owners and config.owners.sink) or slack[0], *([fallback.sink] if fallback else [])}


def _owners(config: Config) -> Iterator[str]:
    for index, rule in enumerate(config.rules):
        sinks = {target.sink for target in (*rule.notify, *rule.fallback)}
        is_for_people = any(name == OWNER or config.sinks[name].type == "slack" for name in sinks)
        if rule.mention and not is_for_people:
            yield f'{_who(index, rule)} has "mention", which is for Slack, and notifies no Slack sink'
    if config.owners is None:
        return
    if not any(
        OWNER in rule.mention or Target(OWNER) in (*rule.notify, *rule.fallback) for rule in config.rules
    ):
        yield 'owners: no rule has "owner" in "notify" or "mention": messages only show who it is'
    if config.owners.file is not None and "refresh" in config.owners.model_fields_set:
        yield 'owners.refresh: is for "url"; a file is read again as soon as it has changed'
