"""What was told against what happened: the receiver's record and the simulated world's journal.

A step is (kind, id, from, to). The notifier tells the steps of one change in a fixed order (the connection,
its group connections by id, its milestones by id); the journal writes them as it finds them, so each change
is put into that order first.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any

import msgspec

from notifier.sandbox.journal import Entry
from notifier.sandbox.world import World
from tests.doubles.receiver import Request

KINDS = ("connection", "group_connection", "milestone")
Step = tuple[str, str, Any, Any]
Snapshot = dict[str, dict[str, Any]]  # connection id -> entity id -> status


class Verdict(msgspec.Struct, frozen=True):
    """How the telling went; ``unfolded`` are connections whose told steps do not lead to what is there."""

    transitions: int
    delivered: int
    repeats: int
    missing: list[Step]
    invented: list[Step]
    misordered: list[str]
    unfolded: list[str]

    @property
    def is_good(self) -> bool:
        return not (self.missing or self.invented or self.misordered or self.unfolded)

    def __str__(self) -> str:
        return (
            f"{self.transitions} transitions, {self.delivered} delivered, {self.repeats} repeats, "
            f"{len(self.missing)} missing, {len(self.invented)} invented, {len(self.misordered)} misordered, "
            f"{len(self.unfolded)} not as the source"
        )


def happened(journal: Iterable[Entry]) -> dict[str, list[Step]]:
    """The steps of each connection, in the order in which they are to be told."""
    steps: dict[str, list[Step]] = defaultdict(list)
    for _, change in groupby(journal, key=lambda entry: (entry.connection, entry.at)):
        for entry in sorted(change, key=lambda entry: (KINDS.index(entry.kind), entry.id)):
            steps[entry.connection].append((entry.kind, entry.id, entry.from_status, entry.to_status))
    return steps


def step_of(body: Mapping[str, Any]) -> Step:
    """The step that an event tells."""
    data = body["data"]
    return data["entity"]["kind"], data["entity"]["id"], data["from"], data["to"]


def snapshot(world: World) -> Snapshot:
    """The status of everything there is."""
    return statuses_of(world.connections())


def statuses_of(items: Iterable[Mapping[str, Any]]) -> Snapshot:
    """The same of connections as the API shows them."""
    return {item["id"]: _statuses(item) for item in items}


def _statuses(item: Mapping[str, Any]) -> dict[str, Any]:
    children = {child["id"]: child["status"] for child in (*item["group_connections"], *item["events"])}
    return {item["id"]: item["status"], **children}


def told_by_connection(bodies: Iterable[Mapping[str, Any]]) -> dict[str, list[Step]]:
    """The steps of each connection in the order of their first arrival."""
    steps: dict[str, list[Step]] = defaultdict(list)
    for body in bodies:
        steps[body["data"]["connection"]["id"]].append(step_of(body))
    return steps


def fold(before: Snapshot, told: Mapping[str, Sequence[Step]]) -> Snapshot:
    """What a receiver believes that started with ``before`` and believed everything it was told."""
    after = {id_: dict(statuses) for id_, statuses in before.items()}
    for id_, steps in told.items():
        for kind, entity, was, now in steps:
            if now is None and kind == "connection":
                after.pop(id_, None)
            elif now is None:
                after[id_].pop(entity, None)
            else:
                known = after.setdefault(id_, {})
                assert known.get(entity) == was, f"{entity}: told from {was}, known as {known.get(entity)}"
                known[entity] = now
    return after


def differences(one: Snapshot, other: Snapshot) -> list[str]:
    """The connections in which they differ."""
    return sorted(id_ for id_ in one.keys() | other.keys() if one.get(id_) != other.get(id_))


def judge(before: Snapshot, world: World, taken: Sequence[Request], bodies: list[dict[str, Any]]) -> Verdict:
    """Every transition told, in order, none invented, none twice but under the same id.

    ``taken`` are all requests that were answered with 2xx, ``bodies`` the transitions among them, each id
    once.
    """
    expected, told = happened(world.journal), told_by_connection(bodies)
    missing: Counter[Step] = Counter()
    invented: Counter[Step] = Counter()
    misordered = set()
    for id_ in expected.keys() | told.keys():
        want, got = expected.get(id_, []), told.get(id_, [])
        missing += Counter(want) - Counter(got)
        invented += Counter(got) - Counter(want)
        if Counter(want) == Counter(got) and want != got:
            misordered.add(id_)
    misordered |= out_of_sequence(msgspec.json.decode(request.body) for request in taken)
    try:
        unfolded = differences(fold(before, told), snapshot(world))
    except (AssertionError, KeyError) as error:
        unfolded = [str(error)]
    transitions = [item for item in taken if b'{"type": "notifier.' not in item.body[:20]]
    return Verdict(
        transitions=sum(map(len, expected.values())),
        delivered=len(bodies),
        repeats=len(transitions) - len(bodies),
        missing=list(missing.elements()),
        invented=list(invented.elements()),
        misordered=sorted(misordered),
        unfolded=unfolded,
    )


def out_of_sequence(bodies: Iterable[Mapping[str, Any]]) -> set[str]:
    """Connections of which something arrived, also as a repeat, after something later."""
    arrived: dict[str, list[int]] = defaultdict(list)
    for body in bodies:
        if "sequence" in body["data"]:
            arrived[body["data"]["connection"]["id"]].append(body["data"]["sequence"])
    return {id_ for id_, numbers in arrived.items() if any(a > b for a, b in pairwise(numbers))}
