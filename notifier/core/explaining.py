"""Why a rule took an event or did not: the keys of it that the event does not match. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from notifier.config import RuleConfig, When, While, is_among
from notifier.core.events import Event
from notifier.core.rules import matches_move, matches_type, traits_of_event
from notifier.core.selection import selects

_MOVES = ("from_", "to", "not_from", "not_to", "field")


def unmet(rule: RuleConfig, event: Event) -> tuple[str, ...]:
    """The keys that keep the rule from this event, in their order; of a ``while`` rule, time aside.

    A key that asks for a name which was not known says so.
    """
    if rule.when is not None:
        return tuple(_unmet_when(rule.when, event))
    return tuple(_unmet_while(rule.while_, event)) if rule.while_ is not None else ()


def _unmet_when(asked: When, event: Event) -> Iterator[str]:
    if not matches_type(asked, event.type):
        yield "type"
    for key in _MOVES:
        if key in asked.model_fields_set and not matches_move(_only(asked, key), event.data):
            yield key.rstrip("_")
    yield from _unselected(asked, event, {"type", *_MOVES})


def _unmet_while(asked: While, event: Event) -> Iterator[str]:
    after = event.data.get("to")
    if asked.status and not is_among(after, asked.status):
        yield "status"
    if is_among(after, asked.not_status):
        yield "not_status"
    yield from _unselected(asked, event, {"status", "not_status", "unchanged"})


def _unselected(asked: When | While, event: Event, others: set[str]) -> Iterator[str]:
    traits = traits_of_event(event.data)
    for key in (name for name in type(asked).model_fields if name in asked.model_fields_set - others):
        verdict = selects(asked.entity if key == "entity" else (), _only(asked, key), traits)
        if verdict is None:
            yield f"{key} (the name was not known)"
        elif not verdict:
            yield key


def _only(asked: When | While, key: str) -> When:
    """What asks for this key and nothing else."""
    return When.model_construct(**{key: getattr(asked, key)}) if key != "entity" else When.model_construct()
