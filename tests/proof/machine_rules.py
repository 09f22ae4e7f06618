"""What may happen in a run of the state machine, and how every run ends.

A rule is one thing that happens: to the account, to what it shows of it, to a poller, a store, a sink, to time.
Most of what can go wrong shows in a poll, so changes of the source are followed by polls, good and bad ones.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial, wraps
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.e2e.oracle import statuses_of
from tests.proof.machine_source import (
    BY_ID,
    CHILDREN,
    DISTORTIONS,
    FAULTS,
    FIELDS,
    IDS,
    ODD,
    STATUSES,
    Fault,
    fresh,
)
from tests.proof.machine_stage import MEANWHILE, SINK_ERRORS, Bench, Replica, Stage
from tests.proof.model import need, same
from tests.support.account import group, milestone
from tests.support.rig import INTERVAL

_DAY = 86_400
_CALM_POLLS = 3
_TIMES = (1, 20, 60, 600, 10_800, _DAY + 60, 29 * _DAY, 30 * _DAY - 90, 31 * _DAY)

_places = st.integers(0, 7)
_MOVED = "moved"  # a good poll, before which some status moves
_polls = st.lists(
    st.one_of(st.just(""), st.just(_MOVED), st.sampled_from(FAULTS), st.sampled_from(("", "", *MEANWHILE))),
    max_size=3,
)
_few = st.lists(_places, min_size=1, max_size=3)
_many = st.lists(_places, min_size=3, max_size=8, unique=True)


def then_polls(**draws: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Any]:
    """A rule that changes the source, and is followed by polls: most of what can go wrong shows there."""

    def made(change: Callable[..., None]) -> Any:
        @wraps(change)
        def step(self: Machine, polls: list[str], **drawn: Any) -> None:
            change(self, **drawn)
            for page, what in enumerate(polls):
                self._poll_with(what, page)

        return rule(polls=_polls, **draws)(step)

    return made


class Machine(RuleBasedStateMachine):
    """One run."""

    bench: Bench

    def __init__(self) -> None:
        super().__init__()
        self.bench.runs += 1
        self.bench.do(self.bench.redis.flushall())
        self.stage = Stage(self.bench.redis)
        self.bench.do(self.stage.first.store.sync_time())
        self.source = self.stage.source
        self.seen_held: list[Any] = []
        self.moves = 0

    def fault(self, times: int = 1) -> None:
        """Something went wrong, so many times."""
        self.bench.faults += times

    # --- the account ---

    @initialize(size=st.sampled_from((7, 6, 5, 4, 2, 0)), what=st.sampled_from(("", "", *FAULTS)))
    def begin(self, size: int, what: str) -> None:
        for at, id_ in enumerate(IDS[:size]):
            self.source.truth[id_] = fresh(id_, at + 1)
        self._poll_with(what, 1)

    def _pick(self, place: int) -> str | None:
        ids = list(self.source.truth)
        return ids[place % len(ids)] if ids else None

    @then_polls(places=_few, what=st.sampled_from((*STATUSES, *ODD)), where=st.integers(0, 4))
    def status_changes(self, places: list[int], what: Any, where: int) -> None:
        for place in places:
            self._move(place, where, what)

    def _move(self, place: int, where: int, what: Any) -> None:
        if id_ := self._pick(place):
            item = self.source.truth[id_]
            children = [*item["group_connections"], *item["events"]]
            if where and children and isinstance(what, str):
                children[where % len(children)]["status"] = what or "pending"
            else:
                item["status"] = what

    @then_polls(place=_places, name=st.sampled_from(sorted(FIELDS)), which=_places)
    def field_changes(self, place: int, name: str, which: int) -> None:
        if id_ := self._pick(place):
            item = self.source.truth[id_]
            for entity in (item, *item["group_connections"], *item["events"]):
                if name in entity:
                    entity[name] = FIELDS[name][which % len(FIELDS[name])]
                    break

    @then_polls(place=_places, seed_=_places, is_old=st.booleans())
    def connection_comes(self, place: int, seed_: int, is_old: bool) -> None:
        """A new one, or one that was there before: as it was, or changed."""
        were = [id_ for id_ in self.source.last_seen if id_ not in self.source.truth]
        id_ = were[place % len(were)] if is_old and were else IDS[place]
        if id_ not in self.source.truth:
            was = self.source.last_seen.get(id_)
            self.source.truth[id_] = was if was and seed_ % 2 else fresh(id_, seed_)

    @then_polls(places=_few)
    def connections_leave(self, places: list[int]) -> None:
        for place in places:
            self.source.leave(self._pick(place))

    @then_polls(places=_many, really=st.booleans())
    def many_vanish(self, places: list[int], really: bool) -> None:
        """They leave, or are merely not shown."""
        self.fault(not really)
        for place in places:
            if really:
                self.source.leave(IDS[place])
            else:
                self.source.hidden.add(IDS[place])

    @then_polls(place=_places, child=st.sampled_from(CHILDREN), is_group=st.booleans())
    def child_comes_or_leaves(self, place: int, child: str, is_group: bool) -> None:
        if id_ := self._pick(place):
            item = self.source.truth[id_]
            name = "group_connections" if is_group else "events"
            rest = [one for one in item[name] if not one["id"].endswith(f"_{child}")]
            new = group(f"gc_{child}", connection=id_) if is_group else milestone(f"ms_{child}")
            item[name] = rest if len(rest) < len(item[name]) else [new, *rest]

    @then_polls(
        place=_places, is_child=st.booleans(), seconds=st.sampled_from(_TIMES), restarts=st.booleans()
    )
    def goes_and_returns(self, place: int, is_child: bool, seconds: int, restarts: bool) -> None:
        """Long enough away to be told as removed; back after a while."""
        id_ = self._pick(place)
        if id_ is None:
            return
        held_back = self.source.truth[id_]["group_connections"]
        if is_child:
            self.source.truth[id_]["group_connections"] = held_back[1:]
        else:
            self.source.leave(id_)
        for _ in range(2):
            self._poll(self.stage.first)
        self.stage.clock.advance(seconds)
        if restarts:
            self.stage.first.restart()
        self.source.truth.setdefault(id_, self.source.last_seen.get(id_, {}))["group_connections"] = held_back

    @then_polls(place=_places, other=_places)
    def child_moves(self, place: int, other: int) -> None:
        """A group connection reappears under another parent."""
        source, target = self._pick(place), self._pick(other)
        if source and target and self.source.truth[source]["group_connections"]:
            moved = self.source.truth[source]["group_connections"].pop()
            kept = self.source.truth[target]["group_connections"]
            if all(one["id"] != moved["id"] for one in kept):
                kept.append({**moved, "connection": target})

    @then_polls(places=_many, name=st.sampled_from(("group_connections", "events")))
    def many_children_leave(self, places: list[int], name: str) -> None:
        for place in places:
            if id_ := self._pick(place):
                self.source.truth[id_][name] = []

    @then_polls(by=st.integers(1, 5))
    def lists_are_reordered(self, by: int) -> None:
        items = list(self.source.truth.items())
        by %= max(1, len(items))
        self.source.truth = dict([*items[by:], *items[:by]])
        for _, item in items:
            item["group_connections"].reverse()
            item["events"].reverse()

    # --- its lies ---

    @then_polls(place=_places, how=st.sampled_from(DISTORTIONS))
    def item_is_distorted(self, place: int, how: str) -> None:
        if id_ := self._pick(place):
            self.fault()
            self.source.distorted[id_] = how

    @then_polls(places=_few)
    def hidden_ones_come_back(self, places: list[int]) -> None:
        self.source.hidden -= {IDS[place] for place in places}

    @then_polls(place=_places, how=st.sampled_from(BY_ID))
    def by_id(self, place: int, how: str) -> None:
        self.fault()
        self.source.by_id[IDS[place]] = how

    @then_polls(places=_many)
    def lies_end(self, places: list[int]) -> None:
        for place in places:
            self.source.by_id.pop(IDS[place], None)
            self.source.distorted.pop(IDS[place], None)

    @then_polls(is_on=st.booleans(), how=st.sampled_from(("", "only its id")))
    def another_account(self, is_on: bool, how: str) -> None:
        others = [fresh(f"other_{n}", n) for n in range(3)]
        if how:
            others.append({"id": "other_3"})
        self.fault(is_on)
        self.source.others = others if is_on else None

    # --- the poller ---

    def _poll(self, replica: Replica, wait_s: float = INTERVAL.total_seconds()) -> None:
        self.bench.polls += 1
        self.stage.clock.advance(wait_s)
        self.bench.do(self.stage.poll(replica))
        self.source.meanwhile = self.source.fault = None
        if self.stage.meta.held is not None:
            self.seen_held.append(self.stage.meta.held)

    def _poll_with(self, what: str, page: int, *, other: bool = False) -> None:
        replica = self.stage.replicas[other]
        if what == _MOVED:
            self.moves += 1
            self._move(self.moves, self.moves, STATUSES[self.moves % len(STATUSES)])
        elif what in MEANWHILE:
            self.fault()
            self.source.meanwhile = (page, partial(self.stage.meanwhile, what, replica))
        elif what:
            self.fault()
            self.source.fault = Fault(what, page)
        self._poll(replica)

    @rule(times=st.integers(1, 3))
    def poll(self, times: int) -> None:
        for _ in range(times):
            self._poll(self.stage.first)

    @rule(wait_s=st.sampled_from((1, 30, 59, 60, 61)))
    def poll_soon(self, wait_s: int) -> None:
        self._poll(self.stage.first, wait_s)

    @rule(polls=_polls)
    def other_replica_polls(self, polls: list[str]) -> None:
        self.fault()
        for page, what in enumerate(["", *polls]):
            self._poll_with(what, page, other=True)

    @rule(other=st.booleans())
    def poller_restarts(self, other: bool) -> None:
        self.fault()
        self.stage.replicas[other].restart()

    @rule(name=st.sampled_from(("api_version", "base_url")), which=st.booleans(), other=st.booleans())
    def settings_change(self, name: str, which: bool, other: bool) -> None:
        self.fault()
        value = {
            "api_version": ("2026-04-24", "2023-08-25"),
            "base_url": ("https://clasp.test", "https://b.test"),
        }
        self.stage.replicas[other].restart(**{name: value[name][which]})

    @rule()
    def store_is_flushed(self) -> None:
        self.fault()
        self.bench.do(self.stage.flush())

    @rule(is_stale=st.booleans())
    def approve(self, is_stale: bool) -> None:
        """What is held now; or what a person was shown at some time, and only now says yes to."""
        held = (
            self.seen_held[len(self.seen_held) // 2] if is_stale and self.seen_held else self.stage.meta.held
        )
        if held is not None:
            self.bench.do(self.stage.approve(held))

    @rule(seconds=st.sampled_from(_TIMES))
    def time_passes(self, seconds: int) -> None:
        self.stage.clock.advance(seconds)

    # --- the sinks ---

    @rule(
        plan=st.lists(st.sampled_from((*SINK_ERRORS, "taken but", "")), max_size=4),
        later_s=st.sampled_from(_TIMES),
    )
    def deliver(self, plan: list[str], later_s: int) -> None:
        """What is due now, with these errors, and what is due later."""
        self.fault(sum(map(bool, plan)))
        receiver = self.stage.first.sinks["backend"]
        receiver.plan = plan
        for _ in range(2):
            self.bench.do(self.stage.deliver())
            self.stage.clock.advance(later_s)
        receiver.plan = []

    @rule(error=st.sampled_from(tuple(SINK_ERRORS)), polls=_polls)
    def sink_is_down(self, error: str, polls: list[str]) -> None:
        """For a while, in which the poller goes on."""
        receiver = self.stage.first.sinks["backend"]
        for page, what in enumerate(polls):
            self._poll_with(what, page)
            receiver.plan = [error] * 20
            self.bench.do(self.stage.deliver())
            self.fault()
        receiver.plan = []

    @rule(sink=st.sampled_from(("backend", "log")), is_off=st.booleans())
    def operator_switches(self, sink: str, is_off: bool) -> None:
        lanes = self.stage.first.lanes
        self.bench.do(lanes.switch_off(sink, "maintenance") if is_off else lanes.switch_on(sink))

    @rule()
    def dead_letters_are_replayed(self) -> None:
        self.bench.do(self.stage.replay("backend"))

    # --- the end ---

    def teardown(self) -> None:
        if sys.exc_info()[0] is None:
            self._mend()
            self._come_to_rest()
        self.bench.removed += self.stage.judge.removed
        self.bench.repeats += sum(receiver.repeats for receiver in self.stage.first.sinks.values())

    def _mend(self) -> None:
        """Three clean polls an interval apart, and everything that is held approved; then they agree."""
        self.source.mend()
        was_held = False
        for at in range(_CALM_POLLS + 3):
            if not self.source.truth and self.stage.judge.is_due(self.stage.first.place):
                self.source.truth[IDS[0]] = fresh(IDS[0], 1)  # an empty list is no baseline
            self._poll(self.stage.first)
            held = self.stage.meta.held
            is_waiting = held is not None and not held.approved
            was_held |= is_waiting
            if is_waiting:
                self.bench.do(self.stage.approve(held))
            elif at + 1 >= _CALM_POLLS and self._is_as_the_source():
                return
            elif at + 1 >= _CALM_POLLS and not was_held:
                break
        known, truth = self.stage.judge.model.statuses(), statuses_of(self.source.truth.values())
        need(
            False,
            "lost",
            f"what was told leads to {known}, the source shows {truth}; held {self.stage.meta.held}",
        )

    def _is_as_the_source(self) -> bool:
        return same(self.stage.judge.model.statuses(), statuses_of(self.source.truth.values()))

    def _come_to_rest(self) -> None:
        """Every sink is well again: what is owed, dead letters too, arrives, and nothing is left."""
        stage = self.stage
        for sink in stage.first.sinks:
            self.bench.do(stage.replay(sink))
            self.bench.do(stage.first.lanes.switch_on(sink))
        for _ in range(4):
            self.bench.do(stage.deliver())
            stage.clock.advance(3600)
        for sink in stage.first.sinks:
            health = self.bench.do(stage.first.lanes.health(sink))
            need(not health.waiting and not health.dead, "lost", f"{sink} at rest: {health}")
