"""Messages to and from the store that are dropped, late, doubled or cut: each of them, in each way.

Aimed trials hurt one message of a scene each: every message, of every kind, with every fault. Others hurt
several messages of one kind in a row, or whatever chance chooses. Then the faults stop, the same worker or a
new one runs to rest, and the oracle compares.

What must hold besides: no script is sent more often than its caller says, no delivery is poison for fewer
than three claims that were lost, no state is taken for lost, and each delivery is settled for good once.
"""

from __future__ import annotations

import copy
import random
from asyncio import Runner
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from itertools import cycle, zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import msgspec
from structlog.testing import capture_logs

from notifier.core.retry import Verdict as Settled
from notifier.poller import baseline, commits
from notifier.store.client import open_store
from notifier.store.lanes import DeadLetter, Lanes
from notifier.store.state import StateStore
from tests.e2e.oracle import Snapshot, statuses_of
from tests.proof import oracle
from tests.proof.lost_scenes import SCENES, Scene, account
from tests.proof.lost_stage import HISTORY, Post, Stage
from tests.proof.proxy import Fault, How
from tests.proof.spread import quietly, spread
from tests.proof.tally import Proof, Tally, Verdict
from tests.proof.virtual import VirtualLoop
from tests.support.configs import config_with
from tests.support.servers import binaries, running_server

ENDINGS = ("same", "stopped", "killed")  # what becomes of the workers when the faults stop
#: The client waits 5 s for a reply, and sends a commit or a settle again 0.1 s later.
FAULTS = (
    Fault(How.DROP_REQUEST),
    Fault(How.DROP_REPLY),
    Fault(How.LATE, messages=1),
    Fault(How.LATE, messages=2),
    Fault(How.LATE, messages=6),
    Fault(How.LATE, messages=20),
    Fault(How.LATE, 0.05),
    Fault(How.LATE, 7),
    Fault(How.LATE, 30),
    Fault(How.HOLD_REQUEST, 3),
    Fault(How.HOLD_REQUEST, 5.05),
    Fault(How.HOLD_REQUEST, 9),
    Fault(How.HOLD_REPLY, 4),
    Fault(How.HOLD_REPLY, 5.05),
    Fault(How.TWICE),
    Fault(How.TWICE, messages=1),
    Fault(How.TWICE, messages=3),
    Fault(How.TWICE, 6),
    Fault(How.SWALLOW),
    Fault(How.CUT_AFTER),
    Fault(How.CUT_IN_REQUEST),
    Fault(How.CUT_IN_REPLY),
)
_IN_A_ROW = (
    Fault(How.DROP_REQUEST),
    Fault(How.DROP_REPLY),
    Fault(How.LATE, messages=3),
    Fault(How.LATE, messages=15),
    Fault(How.LATE, 12),
    Fault(How.SWALLOW),
    Fault(How.HOLD_REQUEST, 8),
    Fault(How.TWICE, 2),
)
_RANDOM_TRIALS = 450
_TURN = 10  # one trial in so many is of chance
#: How many of the faults each message of a kind meets; of others one. Over all messages of a kind it is all.
_WRITES = ("commit", "settle", "give back", "xadd")
_SHARES = {"settle delivered": 4, "lease": 4, "hset names": 6, "script load": 6}
_KINDS_IN_A_ROW = ("commit", "settle", "claim", "lease", "time", "give back")
_POISON_CLAIMS = 3
_RULES = """
  - {name: everything, when: {}, notify: [backend, other]}
  - {name: reports, when: {type: "notifier.*"}, notify: [backend]}
"""


class Aim(msgspec.Struct, frozen=True):
    """Hurt ``count`` messages of ``kind`` (or whose kind begins so), from the ``first`` on."""

    kind: str
    first: int
    fault: Fault
    count: int = 1

    def __str__(self) -> str:
        return (
            f"{self.kind} {self.first}" + f" and {self.count - 1} more" * (self.count > 1) + f": {self.fault}"
        )


class Trial(msgspec.Struct, frozen=True):
    """A scene with what is lost in it; without an aim chance decides, from ``seed``."""

    scene: str
    aim: Aim | None = None
    ending: str = "same"
    seed: int = 0

    def __str__(self) -> str:
        return f"{self.scene}, {self.aim or 'at random'}, {self.ending}, seed {self.seed}"

    def plan(self) -> Callable[[str, int], Fault | None]:
        if self.aim is not None:
            aim = self.aim
            return lambda kind, at: (
                aim.fault if kind == aim.kind and aim.first <= at < aim.first + aim.count else None
            )
        rng = random.Random(self.seed)
        left, one_in = rng.choice((3, 6, 12, 25)), rng.choice((4, 8, 16))
        kinds = rng.choice(("", "", "", "commit", "settle", "claim", "lease"))

        def by_chance(kind: str, _at: int) -> Fault | None:
            nonlocal left
            if not left or not kind.startswith(kinds) or rng.random() * one_in >= 1:
                return None
            left -= 1
            fault = rng.choice(FAULTS)
            if fault.messages:
                return msgspec.structs.replace(fault, messages=rng.randint(1, 30))
            return fault

        return by_chance


# --- one trial ---


def attempt(trial: Trial, upstream: str, directory: str) -> tuple[Verdict, Post | None]:
    """Play one trial on a server of its own; what was wrong, and what was hurt."""
    posts: list[Post] = []
    with (
        mock.patch.object(commits, "CHUNK", 2),
        mock.patch.object(baseline, "CHUNK", 2),
        capture_logs() as logs,
        Runner(loop_factory=VirtualLoop) as runner,
    ):
        try:
            verdict = runner.run(_play(trial, upstream, directory, posts))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what this trial found
            verdict = Verdict(broken=[f"{type(error).__name__}: {error}"])
    verdict.broken += [
        f"{line['event']}: {line}" for line in logs if line["log_level"] in {"error", "critical"}
    ]
    return verdict, posts[0] if posts else None


async def _play(trial: Trial, upstream: str, directory: str, posts: list[Post]) -> Verdict:
    scene = SCENES[trial.scene]
    stage = Stage(upstream, f"{directory}/p", account(), _config(), trial.seed)
    posts.append(stage.post)
    stage.store.flushall()
    await stage.proxy.start()
    try:
        before = copy.deepcopy(statuses_of(stage.account.listed))
        if scene.has_baseline:
            await stage.start()
            await stage.until(lambda: stage.meta("epoch") and stage.owes_nothing(), "the baseline")
        epoch = stage.meta("epoch")
        stage.post.plan = trial.plan()
        await scene.act(stage)
        stage.post.plan = None
        if trial.ending != "same":
            for worker in tuple(stage.running):
                await stage.end(worker, kill=trial.ending == "killed")
            await stage.start()
        await stage.rest()
        return await _judge(stage, scene, before, epoch)
    finally:
        await stage.close()


@cache
def _config():
    return config_with(_RULES, "  backend: {type: console}\n  other: {type: console}\n")


async def _judge(stage: Stage, scene: Scene, before: Snapshot, epoch: str | None) -> Verdict:
    async with open_store(f"unix://{stage.proxy.path}", Path("/"), {}, stage.clock) as redis:
        store = StateStore(redis, stage.keys, stage.clock, history=HISTORY)
        lanes = Lanes(redis, stage.keys, store.now_us, ledger=HISTORY)
        await store.sync_time()
        dead = {sink.name: await lanes.dead_letters(sink.name) for sink in stage.sinks}
        history = (await store.history(newest=1_000_000))[::-1]
        verdict = oracle.judge(
            before=before,
            after=statuses_of(stage.account.listed),
            shown=oracle.shown_by(stage.account.served),
            gone=scene.gone,
            history=history,
            arrived={sink.name: sink.got for sink in stage.sinks},
            dead={name: {letter.delivery.id for letter in letters} for name, letters in dead.items()},
        )
        verdict.broken += await oracle.examine(redis, store, stage.keys, before)
        ledger = await lanes.attempts(newest=1_000_000)
        deaths = {sink.name: (await lanes.health(sink.name)).deaths for sink in stage.sinks}
    verdict.broken += _of_deliveries(stage, dead, deaths, ledger)
    if not scene.has_many_pollers:  # two workers may say the same at the same moment
        verdict.broken += stage.post.too_often()
    verdict.broken += [f"a worker ended by itself: {one.failure!r}" for one in stage.workers if one.failure]
    starts = [
        body["type"] for body in history if body["type"] in {"notifier.baseline", "notifier.state_lost"}
    ]
    if len(starts) != 1 or (epoch and stage.meta("epoch") != epoch):
        verdict.broken.append(f"the state was taken for lost: {starts}")
    if not scene.has_many_pollers and not stage.post.was_late("commit"):
        verdict.broken += [
            f"nobody else writes, but {result.reason}"
            for worker in stage.workers
            for result in worker.results
            if "the state is at version" in result.reason
        ]
    return verdict


def _of_deliveries(
    stage: Stage, dead: dict[str, list[DeadLetter]], deaths: dict[str, int], ledger: Sequence[dict]
) -> list[str]:
    """Each delivery ends once, and only what kills workers is poison."""
    final = Counter(
        (entry["sink"], entry["id"])
        for entry in ledger
        if entry["outcome"] in {Settled.DELIVERED, Settled.DEAD}
    )
    wrong = [f"settled for good {times} times: {what}" for what, times in final.items() if times > 1]
    for name, letters in dead.items():
        events = [letter for letter in letters if not letter.delivery.type.startswith("notifier.")]
        if len(events) != deaths[name]:
            wrong.append(f"{name} has {len(events)} dead letters, and counted {deaths[name]}")
        for letter in letters:
            ended = stage.post.lost_claims[name, letter.delivery.id] + stage.post.lost_releases + stage.deaths
            if letter.reason == "poison" and ended < _POISON_CLAIMS:
                wrong.append(
                    f"an innocent is poison at {name}, after {ended} lost claims: {letter.delivery.id}"
                )
    return wrong


# --- all trials ---


def measure() -> dict[str, Counter[str]]:
    """How many messages of each kind each scene has when nothing is lost."""
    seen = {}
    with (
        running_server(binaries()["bundled"]) as upstream,
        TemporaryDirectory(prefix="ntf-", dir="/tmp") as place,
    ):
        for name in SCENES:
            verdict, post = attempt(Trial(name, Aim("nothing", 0, FAULTS[0])), upstream, place)
            assert verdict.is_good, (name, verdict)
            assert post is not None
            seen[name] = post.seen
    return seen


def trials(seen: dict[str, Counter[str]], seed: int) -> list[Trial]:
    """Every trial. Each kind of message comes in turn, so that a few of them see every kind."""
    rng = random.Random(seed)
    kinds = [
        (not kind.startswith(_KINDS_IN_A_ROW), rng.random(), scene, kind, count)
        for scene, counts in seen.items()
        for kind, count in counts.items()
    ]
    turns = zip_longest(
        *([(scene, aim) for aim in _aims(kind, count, rng)] for *_, scene, kind, count in sorted(kinds))
    )
    found = [_trial(*aim, rng) for turn in turns for aim in turn if aim is not None]
    for at in range(_RANDOM_TRIALS):
        found.insert(at * _TURN, _trial(rng.choice(sorted(seen)), None, rng))
    return found


def _trial(scene: str, aim: Aim | None, rng: random.Random) -> Trial:
    return Trial(scene, aim, rng.choice(ENDINGS), rng.randrange(10**9))


def _aims(kind: str, count: int, rng: random.Random) -> list[Aim]:
    """Every message of a kind with its share of faults; several in a row; commits that all come late."""
    share = _SHARES.get(kind, len(FAULTS) if kind.startswith(_WRITES) else 1)
    faults = cycle(rng.sample(FAULTS, len(FAULTS)))
    aims = [Aim(kind, at, next(faults)) for at in range(count) for _ in range(share)]
    if kind.startswith(_KINDS_IN_A_ROW):
        aims += [
            Aim(kind, rng.randrange(count), rng.choice(_IN_A_ROW), rng.choice((2, 3, 4, 7))) for _ in range(6)
        ]
    if kind == "commit":  # whatever the next poll is about when it comes
        aims += [
            Aim(kind, at, Fault(How.LATE, messages=rng.randint(20, 45)), 3)
            for at in range(count)
            for _ in range(6)
        ]
    rng.shuffle(aims)
    return aims


def work(piece: Sequence[Trial]) -> Tally:
    """Play these trials, on one server."""
    tally = Tally()
    with (
        running_server(binaries()["bundled"]) as upstream,
        TemporaryDirectory(prefix="ntf-", dir="/tmp") as place,
    ):
        for trial in piece:
            verdict, post = attempt(trial, upstream, place)
            tally.take(verdict, str(trial), faults=len(post.hits) if post else 0)
    return tally


def run(scale: float, seed: int, say: Callable[[str], None] = quietly) -> Tally:
    """Play all trials, or the first part of them."""
    every = trials(measure(), seed)
    return spread(work, every[: max(1, round(len(every) * scale))], say)


PROOF = Proof(
    "lost_replies",
    "every message between worker and store dropped, late, doubled or cut, alone and in combination",
    ("P1", "P5", "P8", "P10", "P14", "P15", "P18", "P27"),
    run,
)
