"""Chaos: replicas, the store's server, the network between them, the source and the receivers all fail at once.

Real processes: ``notifier run`` several times, each with a proxy of its own before a real server, a simulated
account that keeps changing, and three receivers: one well, one flaky, one dead at first. Every quarter of a
second something may be killed, stopped, cut off or told to end. In the end everything is left alone, and what
was told must be what happened, once, in order, and nothing else.

A connection is changed again only when its last change is committed: several changes between two polls are
told as one, which is right and would hide a loss here. The seed decides what is done, not when the machine
gets to it: a run cannot be repeated exactly.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from redis import Redis, exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from notifier.sandbox.journal import Entry
from notifier.store.keys import Keys
from tests.e2e.configs import webhook, write_config
from tests.e2e.kill_run import move
from tests.e2e.oracle import snapshot
from tests.e2e.stage import Stage
from tests.proof.chaos_faults import DECK, UNSETTLING, Faults, Later
from tests.proof.chaos_parts import Replica, Server, leaks
from tests.proof.chaos_receivers import Receiver, flaky, one_in, well
from tests.proof.chaos_verdict import Story, Told, tell
from tests.proof.proxy import Proxy
from tests.proof.tally import Proof, Tally, Verdict
from tests.support.process import end_processes_of, processes_of
from tests.support.servers import wait_until

TRANSITIONS = 20_000
TICK_S = 0.25
LEASE_S = 2.0
ANSWER_S = 1.0  # a receiver's time to answer; a claim ends 5 s after it
IN_A_ROW = 3  # faults without anything committed between them: a slow machine must get somewhere too
MOST_BEHIND = 400  # connections with something uncommitted: the same
PLACES = 8  # attempts at once, by replica and receiver
ATTEMPTS = 60  # nothing is given up
RULES = """\
  - name: everything-everywhere
    when: {}
    notify: [well, flaky, late]
  - name: the-notifier-itself
    when: {type: "notifier.*"}
    notify: [well]
"""
_KEYS = Keys("e2e")


class Size(msgspec.Struct, frozen=True):
    """How much of it: ``rate`` transitions a second, ``chance`` of a fault a tick, at least so many ``faults``.

    The flaky receiver refuses one event in ``refused``. A delivery is tried again after ``retry_s``, and all is
    delivered ``rest_s`` after the last fault.
    """

    transitions: int
    connections: int
    replicas: int
    faults: int
    rate: float
    chance: float
    refused: int
    rest_s: float
    retry_s: int = 1

    @classmethod
    def of(cls, scale: float) -> Size:
        """The run of 20,000 transitions, or a part of it; a small one has fewer replicas and more faults."""
        count = max(150, round(TRANSITIONS * scale))
        if count < 1000:
            return cls(count, 75, 2, faults=len(DECK), rate=25, chance=0.5, refused=40, rest_s=90)
        return cls(count, 2000, 3, faults=len(DECK), rate=75, chance=0.3, refused=400, rest_s=240)


class Chaos:
    """One run in ``place``. ``env`` is for the replicas; ``say`` is told how it goes."""

    def __init__(
        self,
        place: Path,
        seed: int,
        size: Size,
        say: Callable[[str], None],
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.replicas: list[Replica] = []
        self.faults: Faults
        self._place = place
        self._seed = seed
        self._size = size
        self._say = say
        self._env = dict(env or {})
        self._rng = random.Random(seed)
        self._later = Later()
        self._told = Progress()
        self._stack = ExitStack()
        self._wrong: list[str] = []

    def run(self) -> Told:
        """All of it; ``AssertionError`` where it gets nowhere."""
        with self._stack:
            self._set_up()
            wait_until(lambda: self._redis.hget(_KEYS.meta, "complete_at"), "the baseline is taken", 60)
            before = snapshot(self._stage.world)
            self._shake()
            self._calm_down()
            self._rest()
            unsettling = sum(self.faults.counts[kind] for kind in UNSETTLING)
            story = Story(
                before,
                snapshot(self._stage.world),
                self._stage.world.journal,
                self._receivers,
                {"flaky": one_in(self._size.refused)},
                explained=unsettling * PLACES * self._size.replicas,
                empties=self.faults.counts["source: empty"],
            )
            told = asyncio.run(tell(str(self._server.path), "e2e", story))
        told.verdict.broken += [*self._wrong, *leaks(self.replicas), *self._left_behind()]
        for replica in self.replicas:
            told.verdict.broken += [*replica.wrong, *replica.defects()]
        return told

    # --- setting up ---

    def _set_up(self) -> None:
        size, stack = self._size, self._stack
        self._server = Server(self._place, self._rng)
        stack.callback(self._server.kill)
        self._server.start()
        self._redis = Redis(
            unix_socket_path=str(self._server.path), socket_timeout=2, retry=Retry(NoBackoff(), 0)
        )
        stack.callback(self._redis.close)
        self._stage = stack.enter_context(Stage(seed=self._seed, connections=size.connections))
        self._receivers = self._open_receivers()
        proxies = []
        for number in range(size.replicas):
            proxy = Proxy(str(self._server.path), str(self._place / f"proxy-{number}.sock"))
            self._stage.do(proxy.start)
            stack.callback(self._stage.do, proxy.close)
            proxies.append(proxy)
            replica = Replica(number, self._place, self._config(number, proxy), self._env)
            stack.callback(replica.end_at_once)
            self.replicas.append(replica)
            replica.start()
        self.faults = Faults(
            self._rng,
            self._later,
            self._stage,
            self._server,
            self.replicas,
            proxies,
            self._receivers,
            LEASE_S,
        )

    def _open_receivers(self) -> list[Receiver]:
        bodies: dict[bytes, bytes] = {}
        moods = {
            "well": well(random.Random(self._seed)),
            "flaky": flaky(random.Random(self._seed), ANSWER_S + 0.4, one_in(self._size.refused)),
            "late": well(random.Random(self._seed)),
        }
        receivers = [Receiver(name, mood, bodies) for name, mood in moods.items()]
        for receiver in receivers:
            self._stack.callback(self._stage.do, receiver.close)
            if receiver.name != "late":
                self._stage.do(receiver.open)
        return receivers

    def _config(self, number: int, proxy: Proxy) -> Path:
        retry = f"[{', '.join([f'{self._size.retry_s}s'] * ATTEMPTS)}]"
        options = {"timeout": f"{ANSWER_S:g}s", "concurrency": PLACES, "retry": retry}
        config = write_config(
            self._place,
            self._stage,
            "".join(webhook(receiver.name, receiver, **options) for receiver in self._receivers),
            RULES,
            store=f"unix://{proxy.path}",
            source=f"  lease: {LEASE_S:g}s\n  timeout: 5s\n",
            name=f"replica-{number}.yaml",
        )
        config.write_text(config.read_text().replace("page_size: 5", "page_size: 100"))
        return config

    # --- the run ---

    def _shake(self) -> None:
        """Change the world and break things until enough of both is done."""
        size, journal = self._size, self._stage.world.journal
        began = next_chance = next_reading = time.monotonic()
        in_a_row = 0
        give_up = began + 60 + 3 * size.transitions / size.rate
        while len(journal) < size.transitions or self.faults.total() < size.faults:
            now = time.monotonic()
            if now > give_up:
                self._wrong.append(f"stalled: {self._so_far()}")
                return
            self._look()
            if self._change(size.rate * (now - began)):
                in_a_row = 0
            if len(journal) > 0.4 * size.transitions:
                self._raise_the_dead()
            if now >= next_chance:
                next_chance = now + TICK_S
                if in_a_row < IN_A_ROW and self._rng.random() < size.chance:
                    in_a_row += self.faults.deal()
            if now >= next_reading:
                next_reading = now + 2
                for replica in self.replicas:
                    replica.read()
                self._say(self._so_far())
            time.sleep(0.05)

    def _change(self, target: float) -> bool:
        """Change as many connections, of which everything is committed, as are due; whether it gets along."""
        world = self._stage.world
        has_moved = self._server.is_up and self._told.read(self._redis)
        due = min(target, self._size.transitions) - len(world.journal)
        if due > 0:
            free = [id_ for id_ in world.ids() if id_ not in self._told.behind]
            most = min(len(free), MOST_BEHIND - len(self._told.behind))
            chosen = self._rng.sample(free, max(0, min(most, max(1, int(due / 2)))))
            self._stage.do(lambda: self._move(chosen))
            self._told.note(world.journal)
        return has_moved or not self._told.behind

    def _move(self, chosen: Sequence[str]) -> None:
        for id_ in chosen:
            move(self._stage, self._rng, id_, self._may_remove)

    def _may_remove(self) -> bool:
        """Fewer are gone and not yet told as removed than the guard would hold."""
        self._told.note(self._stage.world.journal)
        return len(self._told.gone & self._told.behind) < max(4, self._size.connections // 50)

    def _raise_the_dead(self) -> None:
        late = self._receivers[-1]
        if not late.is_open:
            self._stage.do(late.open)

    def _look(self) -> None:
        """Do what is due, see to replicas that end, and start them anew."""
        self._later.do_what_is_due()
        for replica in self.replicas:
            if replica.has_just_ended():
                self._later.after(0, replica.start)

    def _calm_down(self) -> None:
        """Undo every fault, and have everything run."""
        self._stage.mend()
        self._raise_the_dead()
        wait_until(self._is_calm, "every replica runs", seconds=60)

    def _is_calm(self) -> bool:
        self._look()
        return not self._later and all(
            replica.state == "up" and replica.has_started for replica in self.replicas
        )

    def _rest(self) -> None:
        """Until nothing is owed; then all replicas end by themselves."""
        try:
            wait_until(self._is_at_rest, "everything is delivered", self._size.rest_s)
        except AssertionError as error:  # the verdict says what is missing
            self._wrong.append(f"{error}: {self._so_far()}")
        for replica in self.replicas:
            replica.read()
            replica.ask_to_end()
        wait_until(self._have_ended, "all replicas end", seconds=30)

    def _is_at_rest(self) -> bool:
        time.sleep(0.1)
        self._look()
        self._told.read(self._redis)
        try:
            owed = sum(self._redis.zcard(_KEYS.lanes(receiver.name)) for receiver in self._receivers)
        except exceptions.RedisError:  # it has just come back
            return False
        return not self._told.behind and not owed

    def _have_ended(self) -> bool:
        for replica in self.replicas:
            replica.has_just_ended()
        return all(replica.state == "down" for replica in self.replicas)

    def _left_behind(self) -> list[str]:
        """Processes and files that should be gone."""
        end = time.monotonic() + 2
        while (left := [*processes_of(self._place).values()]) and time.monotonic() < end:
            time.sleep(0.05)
        left += map(str, (self._place / "tmp").iterdir())
        return [f"left behind: {item}" for item in left]

    def _so_far(self) -> str:
        return (
            f"{len(self._stage.world.journal)} transitions, {len(self._told.behind)} connections not told, "
            f"taken {', '.join(f'{len(receiver.taken)} {receiver.name}' for receiver in self._receivers)}, "
            f"{self.faults.total()} faults"
        )


class Progress:
    """What is committed of what happened, read little by little.

    ``behind`` are connections of which something is not committed yet; ``gone`` those that were removed.
    """

    def __init__(self) -> None:
        self.behind: set[str] = set()
        self.gone: set[str] = set()
        self._ahead: Counter[str] = Counter()  # by connection: what happened, less what is committed
        self._noted = 0
        self._last = "0"

    def note(self, journal: Sequence[Entry]) -> None:
        """What happened since."""
        for entry in journal[self._noted :]:
            self._count(entry.connection, 1)
            if entry.is_removed:
                self.gone.add(entry.connection)
        self._noted = len(journal)

    def read(self, redis: Redis) -> bool:
        """What was committed since, and whether anything was; nothing where the store does not answer."""
        try:
            entries = redis.xrange(_KEYS.history, min=f"({self._last}")
        except exceptions.RedisError:
            return False
        for id_, fields in entries:
            self._last = id_.decode()
            data = msgspec.json.decode(fields[b"event"])["data"]
            if "entity" in data:
                self._count(data["connection"]["id"], -1)
        return bool(entries)

    def _count(self, id_: str, more: int) -> None:
        self._ahead[id_] += more
        (self.behind.add if self._ahead[id_] else self.behind.discard)(id_)


def run(scale: float, seed: int, say: Callable[[str], None]) -> Tally:
    """One run; each transition counts as a trial."""
    tally, size, replay = Tally(), Size.of(scale), f"seed {seed}"
    with TemporaryDirectory(prefix="ntf-chaos-", dir="/tmp") as directory:
        place = Path(directory)
        chaos = Chaos(place, seed, size, say)
        try:
            told = chaos.run()
        except AssertionError as error:
            tally.take(Verdict(broken=[str(error)]), replay)
            return tally
        finally:
            end_processes_of(place)
    tally.take(told.verdict, replay, faults=chaos.faults.total())
    tally.trials = size.transitions
    for line in report(chaos, told):
        say(line)
    return tally


def report(chaos: Chaos, told: Told) -> list[str]:
    """What was done, and what there is to know beside the verdict."""
    readings = [one for replica in chaos.replicas for life in replica.readings.values() for one in life]
    starts = sum(replica.starts for replica in chaos.replicas)
    sizes = [one.rss_mib for one in readings]
    most = max(one.descriptors for one in readings)
    return [
        f"{dict(chaos.faults.counts)}",
        f"repeats {told.repeats}, dead letters {told.dead}, notices {dict(told.notices)}",
        f"{told.leases} leases, {starts} starts, {min(sizes):.0f} to {max(sizes):.0f} MiB, {most} descriptors",
    ]


PROOF = Proof(
    "chaos",
    "three replicas, 20,000 transitions, three receivers; every quarter of a second something may fail",
    ("P5", "P8", "P9", "P10", "P11", "P14", "P15", "P17", "P19", "P27"),
    run,
)
