"""SIGKILL against a worker at random moments, while its source changes: nothing may be lost or invented.

``python -m tests.e2e.kill_run --kills 200 --transitions 500 --seed 1`` prints how it goes and a summary; the
exit code is 1 if a transition is missing, invented, out of order or repeated under another id.

A connection is changed again only when its last change is committed (several changes between two polls are
told as one, which is right and would hide a loss here), but whether or not it is delivered: so lanes hold
more than one delivery when a worker dies. Claims of dead workers end after the sink's timeout and 5 s.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from redis import Redis
from redis.exceptions import ConnectionError as StoreGone

from notifier.sandbox import lifecycle
from notifier.store.keys import Keys
from tests.e2e.configs import webhook as webhook_sink
from tests.e2e.configs import write_config
from tests.e2e.oracle import Verdict, judge, snapshot
from tests.e2e.stage import Receiver, Stage
from tests.support.process import Worker, end_processes_of, processes_of
from tests.support.servers import wait_until

CONNECTIONS = 30
LIFE_S = (0.2, 2.6)  # a worker needs about one second until its first poll
SLOWEST_ANSWER_S = 0.05
REST_WITHIN_S = 60.0
MOST_GONE = 4


class KillRun:
    """One run in ``place``. ``say`` is told how it goes."""

    def __init__(self, place: Path, seed: int, say: Callable[[str], None]) -> None:
        self._place = place
        self._rng = random.Random(seed)
        self._seed = seed
        self._say = say
        self._keys = Keys("e2e")
        self._redis = Redis(unix_socket_path=str(place / "store" / "server.sock"))

    def run(self, kills: int, transitions: int) -> Verdict:
        with Stage(seed=self._seed, connections=CONNECTIONS) as stage:
            receiver = stage.receiver()
            sink = webhook_sink("backend", receiver, timeout="1s", retry="[1s, 1s, 1s, 1s]")
            config = write_config(self._place, stage, sink, source="  lease: 1s\n")
            before = snapshot(stage.world)
            with Worker(self._place, config) as first:
                first.until_polled()
            pauses = random.Random(self._seed)
            receiver.delay_s = lambda: pauses.uniform(0, SLOWEST_ANSWER_S)
            for number in range(1, kills + 1):
                self._one_life(stage, config, round(transitions * number / kills), number)
                if number % 10 == 0:
                    self._say(f"{number} kills, {len(stage.world.journal)} transitions, {_count(receiver)}")
            return self._rest(stage, config, receiver, before, transitions)

    def _one_life(self, stage: Stage, config: Path, target: int, number: int) -> None:
        """A worker lives for a moment; meanwhile the journal grows to ``target``, as far as it may."""
        end = time.monotonic() + self._rng.uniform(*LIFE_S)
        with Worker(self._place, config, name=f"life-{number % 3}"):
            while time.monotonic() < end:
                if len(stage.world.journal) < target:
                    self._change(stage, target)
                time.sleep(min(0.02, max(0.0, end - time.monotonic())))

    def _rest(self, stage: Stage, config: Path, receiver: Receiver, before: Any, target: int) -> Verdict:
        """The last worker runs until all has happened and nothing is owed; then the verdict."""
        self._say(f"the last worker: {len(stage.world.journal)} transitions, {_count(receiver)}")
        with Worker(self._place, config, name="last") as worker:
            worker.until_polled()
            wait_until(lambda: self._has_happened(stage, target), "all has happened", REST_WITHIN_S)
            try:
                wait_until(lambda: self._is_told(stage), "everything is delivered", REST_WITHIN_S)
            except AssertionError as error:  # the verdict says what is missing
                self._say(f"{error}; {worker.readiness()}; behind: {self._behind(stage)}")
            dead = self._redis.xlen(self._keys.dead("backend"))
            assert worker.stop() == 0, worker.err
        self._say(f"notices: {dict(Counter(receiver.notices()))}")
        self._say(f"dead letters: {dead}; left behind: {processes_of(self._place) or 'nothing'}")
        assert _same_under_an_id(receiver)
        return judge(before, stage.world, receiver.taken, receiver.told())

    # --- the world and what is committed of it ---

    def _change(self, stage: Stage, target: int) -> None:
        """Change every connection of a random few that has nothing uncommitted."""
        settled = self._settled(stage)
        self._rng.shuffle(settled)
        for id_ in settled[: self._rng.randint(1, 4)]:
            if len(stage.world.journal) >= target:
                return
            stage.do(
                lambda id_=id_: move(stage, self._rng, id_, lambda: self._gone_untold(stage) < MOST_GONE)
            )

    def _has_happened(self, stage: Stage, target: int) -> bool:
        """Go on changing; lives on a slow machine may have been too short for all of it."""
        if len(stage.world.journal) < target:
            self._change(stage, target)
            time.sleep(0.02)
        return len(stage.world.journal) >= target

    def _gone_untold(self, stage: Stage) -> int:
        """How many connections are gone and not yet told as removed: more than five would be held."""
        behind = self._behind(stage)
        return sum(entry.connection in behind for entry in stage.world.journal if entry.is_removed)

    def _settled(self, stage: Stage) -> list[str]:
        """Connections of which everything that happened is committed."""
        behind = self._behind(stage)
        return [id_ for id_ in stage.world.ids() if id_ not in behind]

    def _behind(self, stage: Stage) -> dict[str, tuple[int, int]]:
        """Connections of which fewer transitions are committed than happened: both counts."""
        committed = self._committed()
        return {
            id_: (committed[id_], count)
            for id_, count in _per_connection(stage).items()
            if committed[id_] < count
        }

    def _committed(self) -> Counter[str]:
        try:
            entries = self._redis.xrange(self._keys.history)
        except StoreGone:
            return Counter()
        events = [msgspec.json.decode(fields[b"event"]) for _, fields in entries]
        return Counter(event["data"]["connection"]["id"] for event in events if "entity" in event["data"])

    def _is_told(self, stage: Stage) -> bool:
        return not self._behind(stage) and not self._redis.zcard(self._keys.lanes("backend"))


def move(stage: Stage, rng: random.Random, id_: str, may_remove: Callable[[], bool]) -> None:
    """Let something happen to a connection, or now and then let one begin."""
    world, chance = stage.world, rng.random()
    options = lifecycle.moves(world.connection(id_))
    if chance < 0.03:
        world.add_connection()
    elif chance < 0.05 and may_remove():
        world.remove_connection(id_)
    elif options:
        step = rng.choice(options)
        world.change(id_, lambda item: lifecycle.apply(item, step, stage.clock.now(), world.new_id))
    else:
        group = rng.choice(world.connection(id_)["group_connections"])
        turned = "completed" if group["status"] == "needs_attention" else "needs_attention"
        world.set_group_status(id_, group["id"], turned)


def _per_connection(stage: Stage) -> Counter[str]:
    return Counter(entry.connection for entry in stage.world.journal)


def _count(receiver: Receiver) -> str:
    ids = {request.headers["webhook-id"] for request in receiver.taken}
    return f"{len(ids)} delivered, {len(receiver.taken) - len(ids)} repeats"


def _same_under_an_id(receiver: Receiver) -> bool:
    """Whether all requests of one id have the same body, and the id of the body."""
    bodies: dict[str, bytes] = {}
    return all(
        bodies.setdefault(request.headers["webhook-id"], request.body) == request.body
        and msgspec.json.decode(request.body)["data"]["id"] == request.headers["webhook-id"]
        for request in receiver.requests
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.kill_run", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--transitions", type=int, default=500)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    began = time.monotonic()
    with TemporaryDirectory(prefix="ntf-kill-", dir="/tmp") as place:
        run = KillRun(Path(place), given.seed, lambda text: print(text, flush=True))
        try:
            verdict = run.run(given.kills, given.transitions)
            left = processes_of(Path(place))
        finally:
            end_processes_of(Path(place))
    print(f"{given.kills} kills in {time.monotonic() - began:.0f} s: {verdict}", flush=True)
    for name in ("missing", "invented", "misordered", "unfolded"):
        for item in getattr(verdict, name)[:10]:
            print(f"  {name}: {item}")
    return 0 if verdict.is_good and not left else 1


if __name__ == "__main__":
    sys.exit(main())
