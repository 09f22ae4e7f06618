"""Three replicas for some hours of virtual time, with everything going wrong, from one seed.

Each trial takes a baseline in peace, then lets the source change while machines crash, pause and are
deployed, links are cut, clocks are wrong, receivers sulk, people interfere and the store forgets its last
second. ``simulation_watch`` looks on. Then the faults stop: a dead sink may delay nobody, and within bounded
time all that happened must have been told, as ``oracle`` sees it. The same seed gives the same trial, to the
last request: ``python -m tests.proof simulation --seed N --scale 0.0005`` is one trial, that of seed N.
"""

from __future__ import annotations

import json
import logging
import random
import secrets
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import lru_cache, partial
from typing import Any
from unittest import mock

import msgspec
import structlog

from notifier import dispatcher
from notifier.models import is_report
from notifier.store.lanes import Lanes
from notifier.store.scripts import text as text_of
from notifier.store.state import StateStore
from tests.e2e.oracle import statuses_of
from tests.proof.oracle import examine, judge, open_alerts, shown_alerts, shown_by
from tests.proof.simulated_client import StoreClient
from tests.proof.simulated_world import EPOCH, NEVER, Machine, Network, World
from tests.proof.simulation_faults import Faults, ForgetfulStore, Mutations, history_ids
from tests.proof.simulation_parts import (
    KEYS,
    PEOPLE,
    Kinds,
    Receiver,
    Replica,
    Source,
    Surroundings,
    config_for,
)
from tests.proof.simulation_watch import Watch
from tests.proof.spread import spread
from tests.proof.tally import Proof, Tally, Verdict

TRIALS = 2000
SCRIPTS = ("commit", "lease", "claim", "settle", "replay", "resume", "enqueue", "drop")
_LATENCY = {"store": 0.004, "source": 0.3, "sink": 0.2}
_EPOCH_US = int(EPOCH.timestamp() * 1_000_000)
_SHORT = (timedelta(seconds=20), timedelta(minutes=1), timedelta(minutes=4), timedelta(minutes=10))
_LONG = (*_SHORT, timedelta(minutes=20), timedelta(minutes=30))
_INTERVALS = 45  # with faults
_REST_WITHIN_S = 5400.0  # the longest delay of a schedule and its jitter, a few times
_FACTS = ("source fault", "deadly", "stop", "clock step", "person", "crash", "pause", "store forgot")


class Flaw(msgspec.Struct, frozen=True):
    """A notifier with a guard taken out: words of a script and what stands in their place, or classes."""

    script: str = ""
    words: str = ""
    instead: str = ""
    kinds: Kinds = Kinds()


SOUND = Flaw()


class Trial:
    """One seed. ``run`` gives the verdict; ``watch`` has the trace and what was counted."""

    def __init__(self, seed: int, flaw: Flaw = SOUND) -> None:
        self.world = World(f"world {seed}")
        self.rng = random.Random(f"faults {seed}")
        self.places = ["a", "b", "c"]
        self.interval = self.rng.choice((60.0, 120.0, 180.0, 240.0))
        self.lease = timedelta(seconds=self.interval / self.rng.choice((1, 1, 2)))
        self._flaw = flaw
        schedules = {"well": _SHORT, "flaky": _LONG, "sick": _LONG, "moody": _SHORT, PEOPLE: _SHORT}
        self.watch = Watch(self.world, schedules)
        self.network = Network(self.world, _LATENCY)
        self.source = Source(page_size=5)
        self.mutations = Mutations(self)
        for _ in range(8):
            self.mutations.appear()
        self.receivers = {name: Receiver(name, self.watch, self.rng) for name in schedules}
        self.store = ForgetfulStore(lambda: _EPOCH_US + int(self.world.now * 1_000_000))
        self.faults = Faults(self)
        self.replicas: dict[str, Replica] = {}
        self._around = Surroundings(
            world=self.world,
            network=self.network,
            watch=self.watch,
            source=self.source,
            receivers=self.receivers,
            client=self._client,
            config=_config(tuple(schedules)),
            interval=timedelta(seconds=self.interval),
            lease=self.lease,
            schedules=schedules,
            kinds=flaw.kinds,
        )
        self._ends = NEVER  # of the time of faults

    def span(self, intervals: float) -> float:
        """A time from one second to so many intervals: short ones as often as long ones."""
        longest = intervals * self.interval
        return min(longest ** self.rng.random(), max(1.0, self._ends - self.world.now))

    # --- the parts ---

    def _client(self, ask: Callable[..., Any]) -> StoreClient:
        return StoreClient(self.store, ask, _scripts(self._flaw))

    def start(self, place: str) -> None:
        """A new process, with clocks that are wrong in a way of their own."""
        rng = self.rng
        skew, rate = timedelta(hours=rng.uniform(-6, 6)), 1 + rng.uniform(-0.001, 0.001)
        machine = Machine(self.world, place, skew=skew, rate=rate)
        machine.on_death = partial(self._died, place)
        self.replicas[place] = Replica(self._around, machine, random.Random(rng.random()))

    def _died(self, place: str) -> None:
        replica = self.replicas[place]
        self.watch.died(replica.machine)
        if not replica.is_over:
            self.watch.fault(0.0, place, kind="crash")
        self.world.after(self.rng.uniform(0.5, self.interval / 2), self.start, place)

    def by_hand(self) -> tuple[StateStore, Lanes]:
        """The store as a person's command uses it, from a place that nothing happens to."""

        async def ask(_name: str, act: Callable[[], Any], _args: Any) -> Any:
            return act()

        machine = _Desk(self.world)
        redis = self._client(ask)
        state = StateStore(redis, KEYS, machine, history=timedelta(days=30))
        self.do(state.sync_time())
        return state, Lanes(redis, KEYS, state.now_us, ledger=timedelta(days=30))

    @staticmethod
    def do(work: Coroutine[Any, Any, Any]) -> Any:
        """The result of what needs no event loop, because nothing in it waits."""
        try:
            work.send(None)
        except StopIteration as done:
            return done.value
        raise AssertionError("it waits for something")

    def resume(self, sink: str) -> None:
        self.do(self.by_hand()[1].switch_on(sink))
        self.watch.off.pop(sink, None)
        self.watch.waive(sink)

    def mend_source(self, answer: Any = None) -> None:
        if answer is None or self.source.answer is answer:
            self.source.answer = lambda _request, _page: None

    # --- the course of a trial ---

    def run(self) -> Verdict:
        with _in_virtual_time(self.rng.random(), self.interval):
            try:
                return self._run()
            finally:
                self.world.end()

    def _run(self) -> Verdict:
        for place in self.places:
            self.start(place)
        self._until(lambda: self.watch.complete_at > 0, 3 * self.interval, "there is a baseline")
        before = json.loads(json.dumps(statuses_of(self.source.listed)))
        self._ends = self.world.now + _INTERVALS * self.interval
        for happen, count in (
            (self.faults.happen, self.rng.randint(25, 45)),
            (self.mutations.happen, self.rng.randint(20, 60)),
        ):
            for _ in range(count):
                self.world.after(self.rng.uniform(0, self._ends - self.world.now), happen)
        self._look_at_health()
        self.world.run(self._ends)
        self._end_faults()
        self._nobody_waits_for_a_dead_sink()
        for receiver in self.receivers.values():
            receiver.mood = "well"
        polls = self.watch.counts["polls complete"]
        self._until(
            lambda: self.watch.counts["polls complete"] >= polls + 5 and self._is_at_rest(),
            5 * self.interval + _REST_WITHIN_S,
            "everything comes to rest",
        )
        return self._verdict(before)

    def _until(self, condition: Callable[[], bool], seconds: float, what: str) -> None:
        end = self.world.now + seconds
        while not condition():
            if self.world.now >= end:
                self.watch.say(f"not within {seconds:.0f} s: {what}")
                return
            self.world.run(self.world.now + self.interval / 2)

    def _is_at_rest(self) -> bool:
        return not any(key.startswith(f"{KEYS.prefix}lane:".encode()) for key in self.store.data)

    def _look_at_health(self) -> None:
        """Whoever is asked says that nothing was seen for three intervals, while that is so."""
        silent_s = self.world.now - self.watch.complete_at
        for place, replica in self.replicas.items():
            machine = replica.machine
            if machine.is_dead or machine.is_paused:
                continue
            if replica.has_failed:
                self.watch.say(f"{place} ended: {replica.has_failed!r}")
                machine.die()
            elif silent_s > 3.1 * self.interval and replica.health.readiness().status != "stalled":
                self.watch.say(f"{place} is {replica.health.readiness()} after {silent_s:.0f} s of silence")
        self.world.after(self.interval / 2, self._look_at_health)

    def _end_faults(self) -> None:
        self.network.links.clear()
        self.mend_source()
        self.source.hidden.clear()
        self.store.on_events = None
        for replica in self.replicas.values():
            replica.machine.trap = None
            replica.machine.go_on()
        for sink, receiver in self.receivers.items():
            receiver.deadly = 0
            self.resume(sink)

    def _nobody_waits_for_a_dead_sink(self) -> None:
        """One sink is dead and two are ill, all else is well: polls keep their beat, and a change arrives."""
        for name, moods in (("sick", ("dead", "silent")), ("flaky", ("slow",)), ("moody", ("unauthorized",))):
            self.receivers[name].mood = self.rng.choice(moods)
        self.world.run(self.world.now + 4 * self.interval + 60)  # claims and leases of the dead have ended
        polls = self.watch.counts["polls complete"]
        self.mutations.appear()
        new = self.source.listed[-1]["id"]
        self.world.run(self.world.now + 3.5 * self.interval)
        if self.watch.counts["polls complete"] < polls + 3:
            self.watch.say("polls lost their beat beside a dead sink")
        if not any(new.encode() in body for _, _, body in self.watch.bodies["well"]):
            self.watch.say("a well sink waits beside a dead one")

    # --- the verdict ---

    def _verdict(self, before: dict[str, Any]) -> Verdict:
        state, lanes = self.by_hand()
        history = list(reversed(self.do(state.history(newest=10**6))))
        letters = {sink: self.do(lanes.dead_letters(sink)) for sink in self.receivers}
        dead_ids = {sink: self._set_aside(sink, letters[sink]) for sink in self.receivers}
        verdict = judge(
            before=before,
            after=statuses_of(self.source.listed),
            shown=shown_by(self.source.served),
            gone=self.mutations.gone,
            history=history,
            arrived={sink: self._arrived(sink, dead_ids[sink]) for sink in self.receivers if sink != PEOPLE},
            dead=dead_ids,
        )
        redis = self._client(_at_once)
        verdict.broken += self.watch.broken + self.world.unheard
        verdict.broken += self._alerts(history, letters[PEOPLE])
        verdict.broken += self.do(examine(redis, state, KEYS, before))
        verdict.broken += [
            f"dead at {sink} without a reason: {letter.delivery.id} ({letter.reason}: {letter.message})"
            for sink, dead in letters.items()
            for letter in dead
            if not self.watch.justified(sink, letter.delivery.id, letter.reason)
        ]
        verdict.lost += [
            f"forgotten and not found again: {id_}" for id_ in self.faults.lost - history_ids(self.store)
        ]
        is_told = any(body["type"] == "notifier.dead_letters" for body in history)
        if not is_told and any(
            not is_report(item.delivery.type) for dead in letters.values() for item in dead
        ):
            verdict.broken.append("nobody was told of dead letters")
        for place, replica in self.replicas.items():
            if (status := replica.health.readiness()).status == "stalled":
                verdict.broken.append(f"{place} at rest is {status}")
        verdict.repeats = self.watch.counts["repeats"]
        return verdict

    def _alerts(self, history: Sequence[Any], dead: Sequence[Any]) -> list[str]:
        """Open is what needs attention at the source, and that is what people are shown, each once."""
        children = {
            child["id"]: child["status"]
            for item in self.source.listed
            for child in (*item["group_connections"], *item["events"])
        }
        needs = {id_ for id_, status in children.items() if status == "needs_attention"}
        alerts, wrong = open_alerts(history)
        wrong += [f"open, but does not need attention: {id_}" for id_ in alerts - needs]
        wrong += [f"needs attention, and is not open: {id_}" for id_ in needs - alerts]
        if any(letter.delivery.message for letter in dead):
            return wrong  # what was to be shown lies there
        return wrong + shown_alerts(alerts, [json.loads(body) for _, body in self.watch.shown.values()])

    def _arrived(self, sink: str, dead: set[str]) -> list[dict[str, Any]]:
        """What a sink took, without replays, and without what was taken in a second that the store forgot,
        where it came again or died later."""
        taken = self.watch.bodies[sink]
        last = {id_: NEVER if id_ in dead else at for at, id_, _ in taken}
        return [
            json.loads(body)
            for at, id_, body in taken
            if at < self.watch.replayed.get((sink, id_), NEVER)
            and not any(since < at < min(until, last[id_]) for since, until in self.faults.forgotten)
        ]

    def _set_aside(self, sink: str, letters: Sequence[Any]) -> set[str]:
        """Ids that lie in the dead letters, or were replayed from there and arrived then."""
        replayed, taken = self.watch.replayed, self.watch.bodies[sink]
        arrived = {id_ for at, id_, _ in taken if at >= replayed.get((sink, id_), NEVER)}
        return arrived | {letter.delivery.id for letter in letters}


async def _at_once(_name: str, act: Callable[[], Any], _args: Any) -> Any:
    return act()


class _Desk(msgspec.Struct):
    """The clock of a person's command."""

    world: World

    def monotonic(self) -> float:
        return self.world.now


@contextmanager
def _in_virtual_time(seed: float, interval: float) -> Iterator[None]:
    """Random names from the seed, no log, and looks at lanes as far apart as the hours ask for."""
    rng, log = random.Random(seed), structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        with (
            mock.patch.object(secrets, "token_hex", lambda size: rng.randbytes(size).hex()),
            mock.patch.object(dispatcher, "_LOOK_EVERY", timedelta(seconds=0.9 * interval)),
            mock.patch.object(dispatcher, "_STORE_RETRY", timedelta(seconds=interval / 10)),
        ):
            yield
    finally:
        structlog.configure(**log)


@lru_cache
def _config(sinks: tuple[str, ...]) -> Any:
    return config_for(sinks)


@lru_cache
def _scripts(flaw: Flaw) -> dict[str, tuple[str, str]]:
    scripts = {}
    for name in SCRIPTS:
        text = text_of(name)
        as_run = text
        if name == flaw.script:
            assert flaw.words in text, f"{name} has changed"
            as_run = text.replace(flaw.words, flaw.instead)
        scripts[text] = (name, as_run)
    return scripts


def trials(seeds: Sequence[int], flaw: Flaw = SOUND) -> Tally:
    """The trials of these seeds."""
    tally = Tally()
    for seed in seeds:
        trial = Trial(seed, flaw)
        verdict = trial.run()
        counts = trial.watch.counts
        faults = sum(count for kind, count in counts.items() if kind in _FACTS or kind.startswith("cut"))
        tally.take(verdict, f"--seed {seed} --scale {1 / TRIALS:g}", faults=faults)
    return tally


def run(scale: float, seed: int, say: Callable[[str], None]) -> Tally:
    """Trials of so many seeds from ``seed`` on."""
    return spread(trials, range(seed, seed + max(1, round(TRIALS * scale))), say, piece=20)


PROOF = Proof(
    "simulation",
    "three replicas for hours of virtual time, with everything going wrong",
    ("P1", "P2", "P5", "P7", "P9", "P10", "P11", "P14", "P15", "P16", "P17", "P18", "P19", "P26", "P27"),
    run,
)
