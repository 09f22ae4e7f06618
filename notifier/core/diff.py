"""Stored state and observed item -> transitions. The heart of the notifier, and pure.

One connection at a time: :func:`diff` compares what was committed with what a response showed, and gives
the new state with one transition for each entity that moved. Order of lists never matters: entities are
matched by id, and transitions come out connection first, then by id.

Invariants: ``from`` is the committed status, ``to`` the observed one; a field that an observation does not
know (see ``notifier.models``) moves nothing and keeps its value; an entity is removed only where the caller
says that its absence is proven, and keeps its revision so that its return is ``reappeared``.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

from notifier.core.timestamps import is_same_moment
from notifier.models import (
    TRACKED,
    ConnectionState,
    EntityState,
    Kind,
    Observed,
    ObservedConnection,
    Transition,
    tracked,
)

ChildKey = tuple[Kind, str]
_EIN = "broker_federal_ein"


class Diff(msgspec.Struct, frozen=True):
    """``state`` equals the stored one where nothing tracked moved; then there are no transitions.

    ``forgotten_revision`` is the highest revision of the tombstones that were dropped (0: of none).
    """

    state: ConnectionState
    transitions: tuple[Transition, ...]
    forgotten_revision: int = 0


def first_state(seen: ObservedConnection) -> ConnectionState:
    """The state of a connection at a baseline: what is there, as it is, without a transition."""

    def children(kind: Kind, items: tuple[Observed, ...] | None) -> dict[str, EntityState]:
        return {item.id: EntityState(tracked(kind, item.fields)) for item in items or ()}

    return ConnectionState(
        fields=tracked(Kind.CONNECTION, seen.fields),
        group_connections=children(Kind.GROUP_CONNECTION, seen.group_connections),
        milestones=children(Kind.MILESTONE, seen.milestones),
    )


def missing_children(stored: ConnectionState, seen: ObservedConnection) -> frozenset[ChildKey]:
    """The live children that a whole, readable list of their parent no longer shows."""
    missing: set[ChildKey] = set()
    for kind, entities, items, is_whole in (
        (Kind.GROUP_CONNECTION, stored.group_connections, seen.group_connections, seen.groups_whole),
        (Kind.MILESTONE, stored.milestones, seen.milestones, seen.milestones_whole),
    ):
        if items is not None and is_whole:
            shown = {item.id for item in items}
            missing.update(
                (kind, id_)
                for id_, entity in entities.items()
                if entity.removed_at is None and id_ not in shown
            )
    return frozenset(missing)


def has_moved(stored: ConnectionState, seen: ObservedConnection) -> bool:
    """Whether :func:`diff` has anything to tell or take over of a live connection; quicker than asking it."""
    if any(True for _ in _changes(Kind.CONNECTION, stored.fields, seen.fields)):
        return True
    for kind, entities, items in (
        (Kind.GROUP_CONNECTION, stored.group_connections, seen.group_connections),
        (Kind.MILESTONE, stored.milestones, seen.milestones),
    ):
        for item in items or ():
            if item.fields:
                entity = entities.get(item.id)
                if entity is None or entity.removed_at is not None:
                    return True
                if any(True for _ in _changes(kind, entity.fields, item.fields)):
                    return True
                if _EIN in item.fields and _EIN not in entity.fields:
                    return True
    return False


def diff(
    stored: ConnectionState | None,
    seen: ObservedConnection,
    *,
    now: int,
    removable: Collection[ChildKey] = frozenset(),
    forget_before: int = 0,
    new_from: int = 0,
) -> Diff:
    """The transitions from ``stored`` (None: never seen) to ``seen``, and the state they lead to.

    ``now`` and ``forget_before`` are Unix seconds: removed children carry the first, and tombstones older
    than the second are dropped. ``removable`` names the children whose absence is proven. What is new begins
    its revisions above ``new_from``.
    """
    if stored is None:
        stored = ConnectionState({}, {}, {}, revision=new_from)
        verb: str | None = "added"
    elif stored.removed_at is not None:
        stored = _buried_with_parent(stored)
        verb = "reappeared"
    else:
        verb = None
    steps = _Steps(stored.sequence, new_from)
    fields, revision = steps.entity(
        Kind.CONNECTION, seen.id, stored.fields, seen.fields, stored.revision, verb=verb
    )
    removed_ids = frozenset(removable)
    groups = steps.children(
        Kind.GROUP_CONNECTION, stored.group_connections, seen.group_connections, removed_ids, now
    )
    milestones = steps.children(Kind.MILESTONE, stored.milestones, seen.milestones, removed_ids, now)
    forgotten = max(_forget(groups, forget_before), _forget(milestones, forget_before))
    state = ConnectionState(fields, groups, milestones, steps.sequence, revision)
    return Diff(state, tuple(steps.taken), forgotten)


def remove(stored: ConnectionState, id_: str, *, now: int) -> Diff:
    """The connection is gone: one transition, none for what was under it."""
    steps = _Steps(stored.sequence)
    revision = steps.take(
        Kind.CONNECTION, id_, "removed", stored.fields.get("status"), None, {}, stored.fields, stored.revision
    )
    state = msgspec.structs.replace(stored, sequence=steps.sequence, revision=revision, removed_at=now)
    return Diff(state, tuple(steps.taken))


class _Steps:
    """Collects the transitions of one connection and counts its sequence."""

    def __init__(self, sequence: int, new_from: int = 0) -> None:
        self.sequence = sequence
        self._new_from = new_from
        self.taken: list[Transition] = []

    def take(
        self,
        kind: Kind,
        id_: str,
        verb: str,
        from_status: Any,
        to_status: Any,
        changed: dict[str, list[Any]],
        fields: Mapping[str, Any],
        revision: int,
    ) -> int:
        """Record one transition; the entity's new revision."""
        self.sequence += 1
        self.taken.append(
            Transition(
                kind, id_, verb, from_status, to_status, changed, dict(fields), revision + 1, self.sequence
            )
        )
        return revision + 1

    def entity(
        self,
        kind: Kind,
        id_: str,
        old: Mapping[str, Any],
        seen: Mapping[str, Any],
        revision: int,
        *,
        verb: str | None = None,
    ) -> tuple[dict[str, Any], int]:
        """Tracked fields and revision of an entity after it was seen; ``verb`` where it was not there."""
        whole = {**old, **seen}
        known = tracked(kind, whole)
        if verb is not None:
            return known, self.take(kind, id_, verb, None, whole.get("status"), {}, whole, revision)
        changed = dict(_changes(kind, old, seen))
        if not changed:
            return {**known, **{name: old[name] for name in old if name in known}}, revision
        status = changed.pop("status", None)
        from_status, to_status = status or (old.get("status"), whole.get("status"))
        verb = "updated" if status is None else "status_changed"
        return known, self.take(kind, id_, verb, from_status, to_status, changed, whole, revision)

    def children(
        self,
        kind: Kind,
        old: Mapping[str, EntityState],
        seen: tuple[Observed, ...] | None,
        removable: frozenset[ChildKey],
        now: int,
    ) -> dict[str, EntityState]:
        """The children of one kind after their parent was seen; a missing list moves nothing."""
        shown = {item.id: item.fields for item in seen or ()}
        after: dict[str, EntityState] = {}
        for id_ in sorted(old.keys() | shown.keys()):
            before, fields = old.get(id_), shown.get(id_)
            if fields:  # an item that did not decode has no fields: seen, nothing more
                after[id_] = self._seen_child(kind, id_, before, fields)
            elif before is not None:
                is_gone = id_ not in shown and before.removed_at is None and (kind, id_) in removable
                after[id_] = self._gone_child(kind, id_, before, now) if is_gone else before
        return after

    def _seen_child(
        self, kind: Kind, id_: str, before: EntityState | None, fields: Mapping[str, Any]
    ) -> EntityState:
        if before is None:
            known, revision = self.entity(kind, id_, {}, fields, self._new_from, verb="added")
        else:
            verb = "reappeared" if before.removed_at is not None else None
            known, revision = self.entity(kind, id_, before.fields, fields, before.revision, verb=verb)
        return EntityState(known, revision)

    def _gone_child(self, kind: Kind, id_: str, before: EntityState, now: int) -> EntityState:
        status = before.fields.get("status")
        revision = self.take(kind, id_, "removed", status, None, {}, before.fields, before.revision)
        return EntityState(before.fields, revision, now)


def _changes(kind: Kind, old: Mapping[str, Any], seen: Mapping[str, Any]) -> Iterable[tuple[str, list[Any]]]:
    """Tracked fields that are known now and whose value differs from the committed one, with both values.

    A field that was absent so far counts as null. Federal EINs are an exception: they are absent until a
    sink asks for them, which is no change of theirs.
    """
    for name in TRACKED[kind]:
        if name in seen and (name in old or name != _EIN):
            before = old.get(name)
            if not _is_same(name, before, seen[name]):
                yield name, [before, seen[name]]


def _is_same(name: str, old: Any, new: Any) -> bool:
    return is_same_json(old, new) or (name.endswith("_at") and is_same_moment(old, new))


def is_same_json(old: Any, new: Any) -> bool:
    """Any JSON may stand in a connection's status; Python holds 1 and True for equal, JSON does not."""
    if isinstance(old, str) and isinstance(new, str):
        return old == new
    if old is None or new is None:
        return old is new
    return json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True)


def highest_revision(state: ConnectionState) -> int:
    """Of a connection and everything under it."""
    children = (*state.group_connections.values(), *state.milestones.values())
    return max([state.revision, *(child.revision for child in children)])


def _buried_with_parent(stored: ConnectionState) -> ConnectionState:
    """A removed connection's children count as removed with it."""

    def buried(entities: Mapping[str, EntityState]) -> dict[str, EntityState]:
        return {
            id_: entity
            if entity.removed_at is not None
            else msgspec.structs.replace(entity, removed_at=stored.removed_at)
            for id_, entity in entities.items()
        }

    return msgspec.structs.replace(
        stored,
        group_connections=buried(stored.group_connections),
        milestones=buried(stored.milestones),
        removed_at=None,
    )


def _forget(entities: dict[str, EntityState], before: int) -> int:
    """Drop tombstones that are older than ``before``; the highest revision among them (0: none)."""
    old = [
        id_
        for id_, entity in entities.items()
        if entity.removed_at is not None and entity.removed_at < before
    ]
    return max((entities.pop(id_).revision for id_ in old), default=0)
