"""What befalls a simulated deployment: changes at the source, faults of machines and network, people.

Every step is drawn from the trial's seed at its moment. What is done is told to the watch, which needs to
know when a repeat may be somebody's fault but the notifier's.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

import httpx
import msgspec

from notifier.store.lanes import Lanes
from notifier.store.state import StateStore
from tests.proof.simulated_store import SimulatedStore
from tests.proof.simulated_world import Link, Trap
from tests.proof.simulation_parts import KEYS, Replica
from tests.proof.simulation_watch import HOLD_S
from tests.support.account import connection, group, milestone

if TYPE_CHECKING:
    from tests.proof.simulation import Trial

STATUSES = ("pending", "processing", "needs_attention", "completed", "inactive", "brand_new")
STOP_WITHIN_S = 10.0
_OBSERVED_WITHIN_S = 150.0  # what a commit says was shown by the source so long ago at most
_TRAPS = ("commit", "commit", "settle", "claim", "lease", "send", "get", "HMGET")


class ForgetfulStore(SimulatedStore):
    """May forget its last second, when a commit with events has just been made."""

    on_events: Callable[[dict[bytes, Any]], None] | None = None

    def script(self, text: str, keys: Any, args: Any) -> Any:
        if self.on_events is None or keys[0] != KEYS.meta:
            return super().script(text, keys, args)
        before, count = self.copy(), self.call("XLEN", KEYS.history)
        answer = super().script(text, keys, args)
        if self.call("XLEN", KEYS.history) > count and self.on_events is not None:
            self.on_events(before)
        return answer


class Mutations:
    """The source moves."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._made = 0
        self.last_at = 0.0
        self.frozen_until_polls = 0  # so many Complete polls come first
        self.gone: set[str] = set()

    def happen(self) -> None:
        trial = self._trial
        if trial.watch.counts["polls complete"] < self.frozen_until_polls:
            return
        trial.watch.counts["mutations"] += 1
        self.last_at = trial.world.now
        rng, source = trial.rng, trial.source
        item = rng.choice(source.listed)
        match rng.randrange(12):
            case 0:
                self.appear()
            case 1 if len(source.listed) > 4:
                self._leave(item["id"], *(child["id"] for child in children(item)))
                source.drop(item["id"])
            case 2 if item["group_connections"]:
                self._leave(
                    item["group_connections"].pop(rng.randrange(len(item["group_connections"])))["id"]
                )
            case 3:
                item["group_connections"].append({**group(self._name("g")), "connection": item["id"]})
            case 4:
                item["events"].append(milestone(self._name("m"), rng.choice(STATUSES)))
            case 5:
                item["status"] = rng.choice(STATUSES)
            case 6:
                source.hidden.add(item["id"])
                trial.world.after(trial.span(6), source.hidden.discard, item["id"])
            case 7 if item["group_connections"]:
                rng.choice(item["group_connections"])["group_id"] = f"{rng.randrange(10**6)}"
            case _ if children(item):
                rng.choice(children(item))["status"] = rng.choice(STATUSES)

    def appear(self) -> None:
        self._trial.source.listed.append(
            connection(
                self._name("c"),
                group(self._name("g")),
                group(self._name("g")),
                milestones=[milestone(self._name("m"))],
            )
        )

    def _name(self, kind: str) -> str:
        self._made += 1
        return f"{kind}{self._made}"

    def _leave(self, *ids: str) -> None:
        self.gone |= set(ids)


def children(item: dict[str, Any]) -> list[dict[str, Any]]:
    return [*item["group_connections"], *item["events"]]


class Faults:
    """One method a kind of fault; :meth:`happen` draws one."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._rng = trial.rng
        self._world = trial.world
        self._watch = trial.watch
        self.lost: set[str] = set()  # ids of events whose commit the store forgot
        self.forgotten: list[
            tuple[float, float]
        ] = []  # the seconds that it forgot, and attempts begun in them

    def happen(self) -> None:
        kinds = (self.crash, self.crash, self.pause, self.outlast, self.stop, self.cut, self.cut, self.cut)
        kinds += (self.source_fault, self.mood, self.mood, self.person, self.step_clock, self.deadly)
        self._rng.choice((*kinds, self.forget))()

    def _some(self) -> Replica | None:
        alive = [
            item for item in self._trial.replicas.values() if item.stopped_at is None and not item.is_over
        ]
        return self._rng.choice(alive) if alive else None

    def _now_or_at_a_step(self, replica: Replica, do: Callable[[], None]) -> None:
        if self._rng.random() < 0.3:
            do()
        else:
            # Who stands still between its last look at the clock and a receiver sends late: that is a limit.
            what, chance = self._rng.choice(_TRAPS), self._rng.random()
            replica.machine.trap = Trap(what, chance < 0.5 or what == "send", do)

    def crash(self) -> None:
        if replica := self._some():
            self._now_or_at_a_step(replica, replica.machine.die)

    def pause(self) -> None:
        if replica := self._some():
            self._now_or_at_a_step(replica, partial(self._pause, replica, self._trial.span(4)))

    def _pause(self, replica: Replica, seconds: float) -> None:
        self._watch.fault(seconds, replica.machine.place, kind="pause")
        replica.machine.pause(seconds)

    def outlast(self) -> None:
        """The poller stands still in the middle of a poll, until another has taken its place, and goes on."""
        replica = self._trial.replicas.get(self._watch.poller)
        if replica is not None and replica.stopped_at is None:
            seconds = self._trial.lease.total_seconds() * self._rng.uniform(1.0, 4.0)
            pause = partial(self._pause, replica, seconds)
            replica.machine.trap = Trap(self._rng.choice(("commit", "commit", "get", "HMGET")), False, pause)

    def stop(self) -> None:
        """A rolling deploy: one after the other, as a supervisor does it."""
        for at, place in enumerate(self._trial.places):
            self._world.after(at * 2 * STOP_WITHIN_S, self._stop, place)

    def _stop(self, place: str) -> None:
        replica = self._trial.replicas.get(place)
        if replica is not None and replica.stopped_at is None and not replica.machine.is_dead:
            self._watch.counts["stop"] += 1
            replica.stop()
            self._world.after(STOP_WITHIN_S, self._must_have_stopped, replica)

    def _must_have_stopped(self, replica: Replica) -> None:
        began, place = self._world.now - STOP_WITHIN_S, replica.machine.place
        was_hit = any(until >= began and where in {"", place} for _, until, where in self._watch.faults)
        if not (replica.is_over or replica.machine.is_dead or was_hit):
            self._watch.say(f"{place} did not stop within {STOP_WITHIN_S:g} s")
        replica.machine.die()

    def cut(self) -> None:
        """A partition between one place, or all, and one target."""
        rng, seconds = self._rng, self._trial.span(4)
        places = [rng.choice(self._trial.places)] if rng.random() < 0.7 else self._trial.places
        target = rng.choice(("store", "store", "source", *(f"sink:{name}" for name in self._trial.receivers)))
        fault = rng.choice(("refused", "lost", "deaf", "deaf", "slow"))
        for place in places:
            link = Link(
                fault, open=rng.randint(1, 3), delay=rng.uniform(0.1, 4.0) if fault == "slow" else 0.0
            )
            self._trial.network.links[place, target] = link
            self._watch.fault(seconds, place, kind=f"cut {fault}")
            self._world.after(seconds, self._mend, place, target, link)

    def _mend(self, place: str, target: str, link: Link) -> None:
        links = self._trial.network.links
        if links.get((place, target)) is link:
            del links[place, target]

    def source_fault(self) -> None:
        rng, source = self._rng, self._trial.source
        chance = rng.choice((0.3, 1.0))
        answers: tuple[Callable[[], httpx.Response], ...] = (
            lambda: httpx.Response(500, text="<html>oops</html>"),
            lambda: httpx.Response(429, json={"type": "throttled"}, headers={"Retry-After": "3"}),
            lambda: httpx.Response(200, content=b'{"next": null, "results": [{"id": "c1", '),
            lambda: httpx.Response(200, content=b'{"next": null, "previous": null, "results": []}'),
            lambda: httpx.Response(401, json={"type": "unauthorized"}),
        )
        answer = rng.choice(answers)

        def forced(_request: httpx.Request, _page: int) -> httpx.Response | None:
            return answer() if rng.random() < chance else None

        source.answer = forced
        self._watch.counts["source fault"] += 1
        self._world.after(self._trial.span(6), self._trial.mend_source, forced)

    def mood(self) -> None:
        rng, receivers = self._rng, self._trial.receivers
        name, mood = rng.choice(
            (
                ("flaky", rng.choice(("flaky", "slow", "well"))),
                ("sick", rng.choice(("dead", "silent"))),
                ("moody", rng.choice(("throttling", "unauthorized", "refusing", "slow", "well"))),
            )
        )
        receivers[name].mood = mood
        self._watch.counts[f"mood {mood}"] += 1
        if name == "sick":
            self._world.after(self._trial.span(30), setattr, receivers[name], "mood", "well")

    def deadly(self) -> None:
        """A message of which a worker dies, and the next that tries, and the next."""
        self._watch.counts["deadly"] += 1
        self._trial.receivers[self._rng.choice(("flaky", "sick", "moody"))].deadly = self._rng.randint(1, 5)

    def step_clock(self) -> None:
        if replica := self._some():
            self._watch.counts["clock step"] += 1
            replica.machine.skew = timedelta(hours=self._rng.uniform(-6, 6))

    def person(self) -> None:
        """Pause a sink, and resume it later; replay dead letters; approve."""
        self._watch.counts["person"] += 1
        sink = self._rng.choice(list(self._trial.receivers))
        state, lanes = self._trial.by_hand()
        match self._rng.randrange(4):
            case 0:
                self._trial.do(lanes.switch_off(sink, "by hand"))
                self._watch.off[sink] = self._world.now
                self._world.after(self._trial.span(4), self._trial.resume, sink)
            case 1:
                self._trial.resume(sink)
            case 2:
                self.replay(sink, lanes)
            case 3:
                self._approve(state)

    def replay(self, sink: str, lanes: Lanes) -> None:
        letters = self._trial.do(lanes.dead_letters(sink))
        for letter in letters:
            self._watch.replayed[sink, letter.delivery.id] = self._world.now
        self._trial.do(lanes.replay(sink, letters))

    def _approve(self, state: StateStore) -> None:
        held = self._trial.do(state.meta()).held
        if held is not None and not held.approved:
            self._trial.do(state.write_inbox("approve", msgspec.to_builtins(held)))

    def forget(self) -> None:
        """The store will restart after a commit of events, without it; the source stands still around that."""
        self._trial.store.on_events = self._forget_soon

    def _forget_soon(self, before: dict[bytes, Any]) -> None:
        if self._world.now - self._trial.mutations.last_at > _OBSERVED_WITHIN_S:
            self._trial.store.on_events = None
            self._trial.mutations.frozen_until_polls = 10**9
            self._world.after(self._rng.uniform(0.05, 0.9), self._forget, before, self._world.now)

    def _forget(self, before: dict[bytes, Any], since: float) -> None:
        trial = self._trial
        now_known = history_ids(trial.store)
        trial.store.data = before
        self.lost |= now_known - history_ids(trial.store)
        self.forgotten.append((since - 1.0, self._world.now + HOLD_S))
        self._watch.fault(5.0, kind="store forgot")
        lease = before.get(KEYS.lease.encode(), {})
        self._watch.set_back((lease.get(b"number", b"").decode(), lease.get(b"holder", b"").decode()))
        trial.mutations.frozen_until_polls = self._watch.counts["polls complete"] + 6
        for place in trial.places:
            link = trial.network.links[place, "store"] = Link("refused")
            self._world.after(self._rng.uniform(0.1, 4.0), self._mend, place, "store", link)


def history_ids(store: SimulatedStore) -> set[str]:
    """Ids of the transitions that the store holds."""
    bodies = [json.loads(fields[1])["data"] for _, fields in store.call("XRANGE", KEYS.history, "-", "+")]
    return {body["id"] for body in bodies if "entity" in body}
