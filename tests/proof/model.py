"""The reference model: what may and must be told, from the answers that the source gave.

It reads the bytes that were served by itself, knows nothing of fingerprints, memory, commits or leases, and
keeps one thing: what a receiver that believed everything knows. What was shown must be told, exactly; what was
not shown may be told as removed only within bounds (two absences an interval apart and a 404, the guard).
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

CONNECTION, GROUP, MILESTONE = "connection", "group_connection", "milestone"
KINDS = (CONNECTION, GROUP, MILESTONE)
_LISTS = {GROUP: "group_connections", MILESTONE: "events"}
_TEXTS = {
    CONNECTION: ("employer", "broker_url"),
    GROUP: ("status", "carrier", "group_id", "initiated_at", "completed_at"),
    MILESTONE: ("status", "category"),
}
_NULLABLE = {"broker_url", "carrier", "group_id", "initiated_at", "completed_at"}
_SECOND = 2.0  # moments of removal are kept in whole seconds

Fields = dict[str, Any]
Child = tuple[str, str]  # kind, id


class Wrong(AssertionError):
    """A promise was broken; ``sort`` is the count of the verdict that it belongs to."""

    def __init__(self, sort: str, what: str) -> None:
        super().__init__(f"{sort}: {what}")
        self.sort = sort


def need(is_kept: object, sort: str, what: str) -> None:
    if not is_kept:
        raise Wrong(sort, what)


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are one; Python holds 1 and True for equal, JSON does not."""
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


# --- reading ---


class Reading(NamedTuple):
    """One connection in one answer: the fields that can be read, the children (without any: merely seen), and
    the kinds of children of which absence from it means something."""

    id: str
    fields: Fields
    children: dict[Child, Fields]
    whole: frozenset[str]


def read(item: Any) -> Reading | None:
    """What an item shows; None where it has no readable id."""
    if not _has_id(item):
        return None
    fields = _texts(CONNECTION, item)
    if "status" in item and item["status"] == item["status"]:  # NaN is no JSON
        fields["status"] = item["status"]
    children: dict[Child, Fields] = {}
    whole = set()
    for kind, name in _LISTS.items():
        items = item.get(name)
        if not isinstance(items, list):
            continue
        by_id = {child["id"]: child for child in items if _has_id(child)}
        if all(_has_id(child) and same(by_id[child["id"]], child) for child in items):
            whole.add(kind)
        for id_, child in by_id.items():
            known = _texts(kind, child)
            children[kind, id_] = known if "status" in known else {}
    return Reading(item["id"], fields, children, frozenset(whole))


def _has_id(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("id"), str) and bool(item["id"])


def _texts(kind: str, item: Mapping[str, Any]) -> Fields:
    return {name: item[name] for name in _TEXTS[kind] if name in item and _is_readable(name, item[name])}


def _is_readable(name: str, value: Any) -> bool:
    if value is None:
        return name in _NULLABLE
    return isinstance(value, str) and (not name.endswith("_at") or _moment(value) is not None)


def _moment(text: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


# --- what is known ---


class Step(NamedTuple):
    """What is to be told of one entity; ``moved`` names the fields that changed beside the status."""

    kind: str
    id: str
    verb: str
    was: Any
    now: Any
    moved: tuple[str, ...] = ()


def step_of(body: Mapping[str, Any]) -> Step:
    data = body["data"]
    kind, _, verb = body["type"].partition(".")
    need(kind == data["entity"]["kind"], "broken", f"{body['type']} about a {data['entity']['kind']}")
    return Step(kind, data["entity"]["id"], verb, data["from"], data["to"], tuple(sorted(data["changed"])))


@dataclass
class Entity:
    """``gone_at``: when it was told as removed, or None while it is there."""

    fields: Fields
    gone_at: float | None = None


@dataclass
class Connection:
    own: Entity
    children: dict[Child, Entity] = field(default_factory=dict)
    sequence: int = 0


class Model:
    """What was told, folded; by connection."""

    def __init__(self, history_s: float) -> None:
        self.known: dict[str, Connection] = {}
        self._history_s = history_s

    def begin(self, readings: Iterable[Reading]) -> None:
        """A baseline: what is there, as it is. What is shown twice counts as it was shown first."""
        self.known = {}
        for shown in readings:
            children = {child: Entity(fields) for child, fields in shown.children.items()}
            self.known.setdefault(shown.id, Connection(Entity(shown.fields), children))

    @property
    def live(self) -> set[str]:
        return {id_ for id_, known in self.known.items() if known.own.gone_at is None}

    def live_children(self, id_: str) -> set[Child]:
        known = self.known.get(id_)
        if known is None or known.own.gone_at is not None:
            return set()
        return {child for child, entity in known.children.items() if entity.gone_at is None}

    def count(self, kind: str) -> int:
        if kind == CONNECTION:
            return len(self.live)
        return sum(child[0] == kind for id_ in self.live for child in self.live_children(id_))

    def statuses(self) -> dict[str, dict[str, Any]]:
        """What is there, as the oracle writes it."""
        return {
            id_: {
                id_: self.known[id_].own.fields.get("status"),
                **{
                    child[1]: self.known[id_].children[child].fields.get("status")
                    for child in self.live_children(id_)
                },
            }
            for id_ in self.live
        }

    def missing_below(self, shown: Reading) -> set[Child]:
        """The children that a whole list should have shown."""
        return {
            child
            for child in self.live_children(shown.id)
            if child[0] in shown.whole and child not in shown.children
        }

    # --- what must be told of what was shown ---

    def steps(self, shown: Reading, now: float) -> list[Step]:
        """All of it, without removals; what is long forgotten is told as ``added`` here."""
        known = self.known.get(shown.id)
        if known is None and not shown.fields:
            return []
        steps = [self._step((CONNECTION, shown.id), known and known.own, None, shown.fields, now)]
        buried = known.own.gone_at if known else None
        for child, fields in shown.children.items():
            before = known.children.get(child) if known else None
            steps.append(fields and self._step(child, before, buried, fields, now))
        return [step for step in steps if step]

    def _step(
        self, entity: Child, before: Entity | None, buried: float | None, fields: Fields, now: float
    ) -> Step | None:
        old = before.fields if before else {}
        status = fields.get("status", old.get("status"))
        if before is None:
            return Step(*entity, "added", None, status)
        gone_at = before.gone_at if before.gone_at is not None else buried
        if gone_at is not None and self._is_old(gone_at, now):
            return Step(*entity, "added", None, fields.get("status"))
        if gone_at is not None:
            return Step(*entity, "reappeared", None, status)
        moved = sorted(name for name in fields if not _is_equal(name, old.get(name), fields[name]))
        if not moved:
            return None
        verb = "status_changed" if "status" in moved else "updated"
        others = tuple(name for name in moved if name != "status")
        return Step(*entity, verb, old.get("status"), status, others)

    def may_be_forgotten(self, id_: str, now: float) -> bool:
        """Whether a connection was removed so long ago that nobody need know that it was ever there."""
        known = self.known.get(id_)
        return known is not None and known.own.gone_at is not None and self._is_old(known.own.gone_at, now)

    def _is_old(self, gone_at: float, now: float) -> bool:
        return now - gone_at >= self._history_s - _SECOND

    def in_our_words(self, shown: Reading, step: Step, now: float) -> Step:
        """A told step; after the history it is left open whether an entity was remembered."""
        known = self.known.get(shown.id)
        if step.verb != "reappeared" or known is None:
            return step
        entity = known.own if step.kind == CONNECTION else known.children.get((step.kind, step.id))
        gone_at = entity and (entity.gone_at if entity.gone_at is not None else known.own.gone_at)
        if gone_at is None or not self._is_old(gone_at, now):
            return step
        status = step.now if step.kind != CONNECTION or "status" in shown.fields else None
        return step._replace(verb="added", now=status)

    # --- believing ---

    def take(self, id_: str, told: Collection[Mapping[str, Any]], shown: Reading | None, now: float) -> None:
        """Believe what was told of one connection, of which ``shown`` was seen."""
        steps = [step_of(body) for body in told]
        if any(step.kind == CONNECTION and step.verb == "added" for step in steps):
            self.known[id_] = Connection(Entity({}))
        known = self.known.get(id_)
        if known is None:
            return
        numbers = [body["data"]["sequence"] for body in told]
        expected = list(range(known.sequence + 1, known.sequence + 1 + len(told)))
        need(numbers == expected, "invented", f"{id_}: sequence {numbers} after {known.sequence}")
        known.sequence += len(told)
        for step in steps:
            if step.verb == "added":
                known.children.pop((step.kind, step.id), None)
        if shown is not None:
            self._see(known, shown)
        for step in steps:
            if step.verb == "removed":
                entity = known.own if step.kind == CONNECTION else known.children[step.kind, step.id]
                entity.gone_at = now

    @staticmethod
    def _see(known: Connection, shown: Reading) -> None:
        if known.own.gone_at is not None:
            for entity in known.children.values():
                entity.gone_at = known.own.gone_at if entity.gone_at is None else entity.gone_at
        known.own = Entity({**known.own.fields, **shown.fields})
        for child, fields in shown.children.items():
            if fields:
                old = known.children.get(child)
                known.children[child] = Entity({**(old.fields if old else {}), **fields})


def _is_equal(name: str, old: Any, new: Any) -> bool:
    if same(old, new):
        return True
    return name.endswith("_at") and _moment(old) is not None and _moment(old) == _moment(new)
