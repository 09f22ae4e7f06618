"""A source that answers everything but what it should, and then behaves again.

Each answer of the catalogues is given to a notifier that watches: as a page, for one connection whose removal is
to be confirmed, for names; and to one that has no baseline yet. While it lasts, two connections change. What may
be told of them, what the polls come to and what is reported is said by the catalogue; nothing else may happen.
Then the source behaves, a third connection changes, and everything must be as the source has it.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from typing import Any
from unittest import mock

import msgspec
import structlog
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from notifier.clasp import client as clasp_client
from notifier.clasp.answers import MAX_BODY
from notifier.core import codec
from notifier.poller import names
from tests.e2e.oracle import Snapshot, Step, statuses_of
from tests.proof import oracle
from tests.proof.hostile_cases import NAMED, Case, every_case
from tests.proof.hostile_lists import WITNESSES
from tests.proof.hostile_source import KEY, HostileRig, Source
from tests.proof.hostile_wire import Wire
from tests.proof.spread import spread
from tests.proof.tally import Proof, Tally, Verdict
from tests.support.clock import FakeClock
from tests.support.servers import binaries, running_server

POLLS = 4  # with the hostility: two absences, a confirmation, and more than three intervals of silence
MAX_PAGES = 120  # in place of 100,000, so that a list without end gets there
MAX_REQUESTS = 2 * MAX_PAGES  # of one poll
MAX_MEMORY = 5 * MAX_BODY
MAX_STEP_S = 2.5  # of CPU between two looks of the event loop: half a lease
_AFTERWARDS = ("conn_03", "gc_03_b")


class Trial(msgspec.Struct, frozen=True):
    """A case by its name; ``is_cold``: the worker has just been restarted and remembers nothing."""

    name: str
    is_cold: bool = False

    def __str__(self) -> str:
        return f"{self.name}{' (after a restart)' if self.is_cold else ''}"


class Stage:
    """One worker, its source, and what was wrong with its polls."""

    def __init__(self, redis: Any, case: Case, source: Source, wire: Wire | None) -> None:
        self.case, self.source, self.wire = case, source, wire
        self.rig = HostileRig(redis, FakeClock(), source, wire.url if wire else "")
        self.before: Snapshot = {}
        self.wrong: list[str] = []
        self.results: list[Any] = []

    def begin(self) -> None:
        """The hostility begins, and one connection on each page changes."""
        case, source = self.case, self.source
        source.hostility, source.hidden = case.hostility, case.hidden
        source.instead = {id_: make(source[id_]) for id_, make in case.instead.items()}
        if self.wire is not None:
            self.wire.script_for = lambda ask: case.script if case.is_at(ask) else None
            self.wire.is_shown = case.is_shown
        for id_ in WITNESSES:
            source.set_status(id_.replace("gc", "conn").removesuffix("_a"), id_, "needs_attention")

    def end(self) -> None:
        """The source behaves again."""
        self.source.be_honest()
        if self.wire is not None:
            self.wire.script_for = lambda _ask: None

    async def poll(self, times: int) -> list[Any]:
        found = []
        for _ in range(times):
            before = len(self.source.requests)
            found.append(await self.rig.poll())
            await self.rig.deliver()
            if (made := len(self.source.requests) - before) > MAX_REQUESTS:
                self.wrong.append(f"one poll made {made} requests")
        self.results += found
        return found


async def play(trial: Trial, redis: Redis) -> Verdict:
    """One trial on an empty store."""
    case, source = every_case()[trial.name], Source()
    await redis.flushall()
    async with AsyncExitStack() as stack:
        wire = await stack.enter_async_context(Wire(source).running()) if case.script else None
        stage = Stage(redis, case, source, wire)
        stack.push_async_callback(stage.rig.close)
        log = stack.enter_context(_logged())
        act = _first_look if case.place == "first look" else _watch
        try:
            with _costs(stage, is_measured=case.is_heavy and not trial.is_cold):
                await act(stage, trial)
            return await _verdict(stage, log)
        except Exception as error:  # noqa: BLE001 - whatever escapes is what is looked for
            return Verdict(broken=[*stage.wrong, f"{type(error).__name__} escaped: {error}"])


async def _watch(stage: Stage, trial: Trial) -> None:
    """The hostility meets a worker that has its baseline."""
    case, rig = stage.case, stage.rig
    await stage.poll(2)
    stage.before = statuses_of(stage.source.listed)
    if trial.is_cold:
        rig.restart()
    state = await rig.redis.hgetall(rig.keys.state)
    stage.begin()
    _compare_outcomes(stage, await stage.poll(POLLS))
    told = await rig.transitions()
    own = case.told_cold if trial.is_cold and case.told_cold else case.told
    expected = [*own, *(_moved(id_) for id_ in case.seen)]
    if _in_order(told) != _in_order(expected):
        stage.wrong.append(f"meanwhile was told {told}, not {expected}")
    if not expected and await rig.redis.hgetall(rig.keys.state) != state:
        stage.wrong.append("the state changed without a word")
    await _recover(stage)


async def _first_look(stage: Stage, _trial: Trial) -> None:
    """The hostility meets a worker that knows nothing yet."""
    case, rig = stage.case, stage.rig
    stage.begin()
    _compare_outcomes(stage, await stage.poll(case.first_polls or POLLS))
    if case.reason and (await rig.store.meta()).epoch:
        stage.wrong.append("a Partial snapshot made a baseline")
    if case.reason:
        stage.end()
        await stage.poll(1)
    stage.before = await _believed(rig)
    if case.reason and stage.before != statuses_of(stage.source.listed):
        stage.wrong.append(f"the baseline is {stage.before}")
    if told := await rig.transitions():
        stage.wrong.append(f"a first look told {told}")
    await _recover(stage)


async def _recover(stage: Stage) -> None:
    stage.end()
    stage.source.set_status(*_AFTERWARDS, "completed")
    for result in await stage.poll(3):
        if result.outcome != "complete":
            stage.wrong.append(f"no recovery: {result.outcome}, {result.reason}")
    told = [step for step in await stage.rig.transitions() if step[1] == _AFTERWARDS[1]]
    if stage.case.place != "first look" and told != [_moved(_AFTERWARDS[1], "completed")]:
        stage.wrong.append(f"of what changed afterwards was told {told}")


async def _believed(rig: HostileRig) -> Snapshot:
    """What a baseline took."""
    words = codec.Words((await rig.store.meta()).words)
    return {
        id_: oracle._live(id_, codec.decode(value, words))
        async for id_, value in rig.store.all_states()
        if not codec.is_tombstone(value)
    }


def _moved(id_: str, now: str = "needs_attention") -> tuple[str, str, Any, Any]:
    return "group_connection.status_changed", id_, "pending", now


def _in_order(steps: Sequence[Step]) -> list[str]:
    """For comparing: ``true`` is not 1, and what cannot be sorted is."""
    return sorted(map(json.dumps, steps))


# --- verdicts ---


def _compare_outcomes(stage: Stage, results: Sequence[Any]) -> None:
    reason = stage.case.reason
    for result in results:
        wanted = "partial" if reason else "complete"
        if result.outcome != wanted or not re.search(reason, result.reason):
            stage.wrong.append(f"{result.outcome} ({result.reason}) instead of {wanted} ({reason})")
            return


async def _verdict(stage: Stage, log: Sequence[Any]) -> Verdict:
    case, rig, source = stage.case, stage.rig, stage.source
    history = list(reversed(await rig.store.history(newest=100_000)))
    after = {**statuses_of(source.listed), **case.stays}
    gone: set[str] = set(case.left)
    if case.place == "first look":
        gone |= {id_ for under in stage.before.values() for id_ in under}
        gone -= {id_ for under in after.values() for id_ in under} - set(case.left)
    verdict = oracle.judge(
        before=stage.before,
        after=after,
        shown=oracle.shown_by(source.served),
        gone=gone,
        history=history,
        arrived={"backend": rig.sinks["backend"].got},
    )
    verdict.broken += stage.wrong
    if (believed := await _believed(rig)) != after:
        verdict.broken.append(f"in the end the state is {believed}")
    if case.is_foldable:
        verdict.broken += await oracle.examine(rig.redis, rig.store, rig.keys, stage.before)
    else:
        verdict.lost.clear()
    verdict.broken += _reports(case, await rig.reports()) + _names(case, history)
    strays = [*source.strays, *["the canary"] * (stage.wire.canaries if stage.wire else 0)]
    verdict.broken += [f"a request went to {stray}" for stray in strays]
    if KEY in repr((stage.results, log, history, rig.sinks["backend"].got)) or await _is_stored(rig.redis):
        verdict.broken.append("our key was shown")
    return verdict


def _reports(case: Case, told: Sequence[str]) -> list[str]:
    """Each thing is reported as often as it is to be, which is once at most."""
    expected = Counter(["notifier.baseline", *case.reports])
    if case.reason and "notifier.snapshot_held" not in case.reports:
        expected.update(["notifier.source_failing", "notifier.source_recovered"])
    got = Counter(told)
    for maybe in case.maybe:
        got[maybe] = min(got[maybe], 1) and expected[maybe]
    return [] if +got == expected else [f"reported was {dict(Counter(told))}, not {dict(expected)}"]


def _names(case: Case, history: Sequence[Any]) -> list[str]:
    """Names stand where they could be had, and none where not."""
    wrong = []
    for body in history:
        id_ = body["data"].get("entity", {}).get("id")
        if body["type"] != "group_connection.status_changed" or id_ not in (*WITNESSES, _AFTERWARDS[1]):
            continue
        found = body["data"]["carrier"]["name"], body["data"]["connection"]["employer"]["name"]
        if found != (NAMED if id_ == _AFTERWARDS[1] else case.names):
            wrong.append(f"the names with {id_} are {found}")
    return wrong


async def _is_stored(redis: Redis) -> bool:
    keys = await redis.keys("*")
    return any([KEY.encode() in (await redis.dump(key) or b"") for key in keys])


# --- costs ---


@contextmanager
def _logged() -> Iterator[list[Any]]:
    """Everything that is logged, whatever the level."""
    lines: list[Any] = []

    def take(_logger: Any, _name: str, event: Any) -> Any:
        lines.append(repr(event))
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[take], wrapper_class=structlog.make_filtering_bound_logger(0))
    try:
        yield lines
    finally:
        structlog.configure(**before)


@contextmanager
def _costs(stage: Stage, *, is_measured: bool) -> Iterator[None]:
    """Lists end soon. Bounded is the longest step of the loop or, ``is_measured``, which makes it slow, memory."""
    run, longest = asyncio.Handle._run, 0.0

    def timed(handle: asyncio.Handle) -> None:
        nonlocal longest
        began = time.thread_time()
        run(handle)
        longest = max(longest, time.thread_time() - began)

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(clasp_client, "MAX_PAGES", MAX_PAGES))
        stack.enter_context(mock.patch.object(names, "TIME_LIMIT_S", 60.0))  # a slow machine is no fault
        stack.enter_context(mock.patch.object(asyncio.Handle, "_run", timed))
        if is_measured:
            tracemalloc.start()
            stack.callback(tracemalloc.stop)
        yield
        if is_measured:
            if (peak := tracemalloc.get_traced_memory()[1]) > MAX_MEMORY:
                stage.wrong.append(f"it took {peak / 1e6:.0f} MB")
        elif longest > MAX_STEP_S:
            stage.wrong.append(f"the loop stood still for {longest:.1f} s of CPU")


# --- the proof ---


def work(trials: Sequence[Trial]) -> Tally:
    """These trials, one after another, on a server of their own."""
    tally = Tally()
    for trial, verdict in zip(trials, verdicts(trials), strict=True):
        tally.take(verdict, str(trial), faults=POLLS)
    return tally


def verdicts(trials: Sequence[Trial]) -> list[Verdict]:
    async def all_of_them(socket: str) -> list[Verdict]:
        async with Redis(unix_socket_path=socket, retry=Retry(NoBackoff(), 0)) as redis:
            return [await play(trial, redis) for trial in trials]

    with running_server(binaries()["bundled"]) as socket:
        return asyncio.run(all_of_them(socket))


def run(scale: float, seed: int, say: Callable[[str], None]) -> Tally:
    """At scale 1 every answer at every place, and those on a page once more after a restart.

    Below it, those on the second page are chosen from first.
    """
    rng = random.Random(seed)
    telling = [Trial(name) for name, case in every_case().items() if case.place == "page 2"]
    others = [Trial(name) for name, case in every_case().items() if case.place != "page 2"]
    cold = [Trial(trial.name, is_cold=True) for trial in telling if "wire" not in trial.name]
    rng.shuffle(telling)
    rest = [*others, *cold]
    rng.shuffle(rest)
    trials = [*telling, *rest]
    return spread(work, trials[: max(1, round(len(trials) * min(scale, 1.0)))], say)


PROOF = Proof(
    "hostile", "a source that answers everything but what it should", ("P1", "P2", "P3", "P6", "P24"), run
)
