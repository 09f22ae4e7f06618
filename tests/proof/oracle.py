"""What receivers and store say, against what the source showed.

The oracle knows nothing of how the notifier works. It has the source's own record of every answer, the
source as it is at the end, what each receiver took, and what lies in the store; and it says what was lost,
invented or told out of order, and where the store does not agree with itself.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from notifier.core import codec
from notifier.core.codec import Words
from notifier.models import ConnectionState, Kind
from notifier.poller.traversal import live_counts
from notifier.store.keys import Keys
from notifier.store.state import StateStore
from tests.e2e.oracle import Snapshot, differences, fold, out_of_sequence, step_of, told_by_connection
from tests.proof.tally import Verdict

Body = Mapping[str, Any]
Shown = Mapping[str, Sequence[Any]]  # entity id -> the statuses that it was shown with, in order


def shown_by(served: Iterable[bytes]) -> dict[str, list[Any]]:
    """The statuses of every entity in these answers, in order, each run of equal ones once."""
    shown: dict[str, list[Any]] = defaultdict(list)
    for body in served:
        try:
            answer = json.loads(body)
        except ValueError:
            continue
        for item in _items(answer.get("results", [answer]) if isinstance(answer, dict) else ()):
            for entity in (item, *_items(item.get("group_connections")), *_items(item.get("events"))):
                statuses = shown[str(entity.get("id"))]
                status = entity.get("status")
                if not statuses or statuses[-1] != status:
                    statuses.append(status)
    return shown


def _items(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def judge(
    *,
    before: Snapshot,
    after: Snapshot,
    shown: Shown,
    gone: Collection[str],
    history: Sequence[Body],
    arrived: Mapping[str, Sequence[Body]],
    dead: Mapping[str, Collection[str]] | None = None,
    buried: Collection[str] = (),
) -> Verdict:
    """The verdict on one epoch, at rest.

    ``before`` is the source at the baseline and ``after`` now; ``gone`` are ids of entities that really left
    it meanwhile. ``history`` is what was committed, oldest first. ``arrived`` is, by sink, what was taken, in
    order, repeats included; every sink is owed every transition. ``dead`` is, by sink, ids of dead letters;
    ``buried`` ids that were dead letters at some time: replayed, they come after what is later.
    """
    events = [body for body in history if not body["type"].startswith("notifier.")]
    steps = [*filter(_is_step, events)]
    verdict = Verdict(
        lost=_not_as_the_source(before, after, steps),
        invented=[*_out_of_thin_air(before, steps, shown, gone), *_twice(events), *_numbers(steps)],
    )
    place = {body["data"]["id"]: at for at, body in enumerate(events)}
    committed = {body["data"]["id"]: body for body in events}
    for sink, bodies in arrived.items():
        mine = [body for body in bodies if not body["type"].startswith("notifier.")]
        ids = [body["data"]["id"] for body in mine]
        on_time = [body for body in mine if body["data"]["id"] not in buried]
        missing = committed.keys() - set(ids) - set((dead or {}).get(sink, ()))
        verdict.lost += [f"{sink} never got {_words(committed[id_])}" for id_ in missing]
        verdict.invented += [
            f"{sink} got what was never committed: {_words(body)}"
            for body in mine
            if body["data"]["id"] not in committed
        ]
        verdict.invented += [f"{sink} got two bodies under {id_}" for id_ in _with_two_bodies(mine)]
        verdict.misordered += [
            f"{sink}: {id_}" for id_ in sorted(out_of_sequence([*filter(_is_step, on_time)]))
        ]
        verdict.misordered += [f"{sink}: alerts of {id_}" for id_ in sorted(_out_of_place(on_time, place))]
        verdict.repeats += len(ids) - len(set(ids))
    return verdict


def _is_step(body: Body) -> bool:
    """Whether it tells of a transition, not of an alert."""
    return not body["type"].startswith("alert.")


def _out_of_place(bodies: Iterable[Body], place: Mapping[str, int]) -> set[str]:
    """Connections of which a receiver first heard of alerts in another order than that of the history."""
    last: dict[str, int] = {}
    wrong, seen = set(), set()
    for body in bodies:
        id_, connection = body["data"]["id"], body["data"]["connection"]["id"]
        if _is_step(body) or id_ in seen or id_ not in place:
            continue
        seen.add(id_)
        if place[id_] < last.get(connection, -1):
            wrong.add(connection)
        last[connection] = place[id_]
    return wrong


def open_alerts(history: Iterable[Body]) -> tuple[set[str], list[str]]:
    """The entities with an open alert after all that was committed, and what makes no sense in between.

    For one rule.
    """
    alerts: set[str] = set()
    wrong = []
    for body in history:
        kind, _, what = body["type"].partition(".")
        if kind != "alert" or what not in {"opened", "resolved"}:
            continue
        id_ = body["data"]["entity"]["id"]
        if (what == "opened") is (id_ in alerts):
            wrong.append(f"{what}, and was {'open' if id_ in alerts else 'not'}: {id_}")
        (alerts.add if what == "opened" else alerts.discard)(id_)
    return alerts, wrong


def shown_alerts(alerts: Collection[str], pages: Iterable[Body]) -> list[str]:
    """What is wrong where people are shown these pages, and these entities have open alerts."""
    shown = Counter(
        one["data"]["entity"]["id"]
        for page in pages
        for one in page["data"].get("entries", [page])
        if one["data"]["alert"]["end"] is None
    )
    wrong = [f"shown as open {count} times: {id_}" for id_, count in shown.items() if count > 1]
    wrong += [f"shown as open, and is not: {id_}" for id_ in shown.keys() - set(alerts)]
    return wrong + [f"open, and not shown as such: {id_}" for id_ in set(alerts) - shown.keys()]


def _words(body: Body) -> str:
    kind, id_, was, now = step_of(body)
    return f"{kind} {id_} {was} -> {now} ({body['type']}, {body['data']['id']})"


def _not_as_the_source(before: Snapshot, after: Snapshot, events: Sequence[Body]) -> list[str]:
    """Connections in which someone who believed everything that was committed differs from the source."""
    try:
        believed = fold(before, told_by_connection(events))
    except (AssertionError, KeyError) as error:
        return [f"what was committed does not fold: {error!r}"]
    return [
        f"{id_} is {after.get(id_)}, told was {believed.get(id_)}" for id_ in differences(believed, after)
    ]


def _out_of_thin_air(
    before: Snapshot, events: Sequence[Body], shown: Shown, gone: Collection[str]
) -> list[str]:
    """Events whose ``to`` the source never showed, or not in that order, or that removed what was there."""
    wrong = []
    at: dict[str, int] = Counter()  # how far into what was shown of an entity its events have come
    for body in events:
        _, id_, was, now = step_of(body)
        if body["type"].endswith(".removed"):
            if id_ not in gone:
                wrong.append(f"was never gone: {_words(body)}")
            continue
        if was == now:
            continue
        seen = shown.get(id_, ())
        found = next((place for place in range(at[id_], len(seen)) if seen[place] == now), None)
        if found is None:
            wrong.append(f"was not shown: {_words(body)}; shown were {list(seen)[at[id_] :]}")
        else:
            at[id_] = found
    return wrong


def _twice(events: Sequence[Body]) -> list[str]:
    """Ids that come twice."""
    counts = Counter(body["data"]["id"] for body in events)
    return [f"committed {count} times: {id_}" for id_, count in counts.items() if count > 1]


def _numbers(events: Sequence[Body]) -> list[str]:
    """Sequences of connections with a gap."""
    sequences: dict[str, list[int]] = defaultdict(list)
    for body in events:
        sequences[body["data"]["connection"]["id"]].append(body["data"]["sequence"])
    return [
        f"{id_} has the sequence {numbers}"
        for id_, numbers in sequences.items()
        if numbers != list(range(numbers[0], numbers[0] + len(numbers)))
    ]


def _with_two_bodies(bodies: Iterable[Body]) -> set[str]:
    first: dict[str, Body] = {}
    return {body["data"]["id"] for body in bodies if first.setdefault(body["data"]["id"], body) != dict(body)}


async def examine(
    redis: Any, store: StateStore, keys: Keys, before: Snapshot, *, is_at_rest: bool = True
) -> list[str]:
    """What in the store does not agree with itself, at any instant; ``is_at_rest``: nothing may be owed.

    State = fold of the history over ``before``; the counts in meta are those of the state; every lane is in
    its sink's set and every member of it has a lane; no key but those of the layout, and none with a TTL.
    """
    meta = await store.meta()
    words, wrong = Words(meta.words), []
    states = {id_: codec.decode(value, words) async for id_, value in store.all_states()}
    history = reversed(await store.history(newest=1_000_000))
    events = [body for body in history if "entity" in body["data"] and _is_step(body)]
    try:
        believed = fold(before, told_by_connection(events))
    except (AssertionError, KeyError) as error:
        return [f"the history does not fold: {error!r}"]
    held = {id_: _live(id_, state) for id_, state in states.items() if state.removed_at is None}
    wrong += [
        f"state of {id_} is {held.get(id_)}, its history says {believed.get(id_)}"
        for id_ in differences(held, believed)
    ]
    counts: Counter[str] = Counter()
    for state in states.values():
        counts.update(live_counts(state))
    wrong += [
        f"meta counts {meta.counts.get(kind, 0)} of {kind}, the state has {counts[kind]}"
        for kind in (*Kind, "tombstone")
        if meta.counts.get(kind, 0) != counts[kind]
    ]
    return wrong + await _keys(redis, keys, is_at_rest=is_at_rest)


def _live(id_: str, state: ConnectionState) -> dict[str, Any]:
    children = {**state.group_connections, **state.milestones}
    live = {
        child: entity.fields.get("status") for child, entity in children.items() if entity.removed_at is None
    }
    return {id_: state.fields.get("status"), **live}


_LAYOUT = {"meta", "lease", "state", "history", "inbox", "names", "attempts"}
_LAYOUT |= {"alerts", "silences", "durations"}
_PER_SINK = ("sink:", "lanes:", "claims:", "lane:", "dead:")


async def _keys(redis: Any, keys: Keys, *, is_at_rest: bool) -> list[str]:
    wrong, lanes, waiting = [], set(), set()
    names = await redis.keys("*")
    async with redis.pipeline(transaction=False) as pipe:
        for key in names:
            pipe.ttl(key)
        ttls = await pipe.execute()
    for key, ttl in zip(names, ttls, strict=True):
        name = key.decode().removeprefix(keys.prefix)
        if name not in _LAYOUT and not name.startswith(_PER_SINK):
            wrong.append(f"{key.decode()} has no place in the layout")
        if ttl != -1:
            wrong.append(f"{name} has a TTL")
        if name.startswith("lane:"):
            lanes.add(name.removeprefix("lane:"))
        if name.startswith("lanes:"):
            sink = name.removeprefix("lanes:")
            waiting |= {f"{sink}:{lane.decode()}" for lane in await redis.zrange(key, 0, -1)}
    wrong += [f"lane {lane} is in no set: it would wait for ever" for lane in lanes - waiting]
    if is_at_rest:
        wrong += [f"lane {lane} is not empty" for lane in lanes]
        wrong += [f"lane {lane} is still listed" for lane in waiting]
    return wrong


def decoded(lines: Iterable[bytes]) -> list[dict[str, Any]]:
    """Bodies from their JSON."""
    return [msgspec.json.decode(line) for line in lines]
