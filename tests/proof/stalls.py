"""Whatever stands still shows: in readiness, in the metrics, and, where the poller still runs, by one notice.

Each scene stops one thing on a virtual clock and asks what a person would see within one interval of the
moment from which it counts: source, store, poller, dispatcher, a sink, another replica, a guard. The last
scenes end a part of the worker and look whether the worker ends with it, and says so.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any
from unittest import mock

import httpx
from redis import exceptions

from notifier import worker
from notifier.dispatcher import Dispatcher
from notifier.errors import PermanentFailure, SinkFault, StateMoved, TemporaryFailure
from notifier.poller.loop import OVERDUE_S, Poller
from notifier.store.keys import Keys
from notifier.store.lanes import Lanes
from notifier.store.names import NameCache
from notifier.store.records import Records
from notifier.store.state import StateStore
from notifier.store.stores import Stores
from tests.proof.spread import spread
from tests.proof.stall_stage import INTERVAL_S, Stage, expect, stuck
from tests.proof.tally import Proof, Tally, Verdict
from tests.support.account import connection
from tests.support.rig import INTERVAL

EACH = 25  # times a scene is played at full scale, each time with another account
# --- the source ---


async def source_down(stage: Stage) -> list[str]:
    await stage.poll()
    stage.account.answer = lambda _request, _page: httpx.Response(500)
    await stage.poll(2)
    wrong = expect((await stage.notices("source_failing") == 0, "two failed polls are told as a stall"))
    await stage.poll(2)
    wrong += stage.shows("stalled", "no complete snapshot") + stage.ages()
    await stage.poll(3)
    return wrong + expect((await stage.notices("source_failing") == 1, "not told exactly once"))


async def source_refuses(stage: Stage) -> list[str]:
    await stage.poll()
    stage.account.answer = lambda _request, _page: httpx.Response(401)
    await stage.poll()
    wrong = expect((await stage.notices("source_failing") == 1, "a refused key is not told at once"))
    await stage.poll(3)
    return wrong + stage.shows("stalled", "401") + stage.ages()


async def source_partial(stage: Stage) -> list[str]:
    """Every poll sees most of the list: that is no complete snapshot either."""
    stage.account.page_size = 3
    await stage.poll()
    stage.account.answer = lambda _request, page: httpx.Response(500) if page >= 3 else None
    await stage.poll(5)
    said = await stage.notices("source_failing")
    return (
        stage.shows("stalled", "no complete snapshot") + stage.ages() + expect((said == 1, "not told once"))
    )


async def source_never_seen(stage: Stage) -> list[str]:
    """A worker that starts while the source is down is not ready, and says so after three intervals."""
    stage.account.answer = lambda _request, _page: httpx.Response(503)
    await stage.poll()
    wrong = stage.shows("stalled", "no complete snapshot yet")
    await stage.poll(4)
    return wrong + expect((await stage.notices("source_failing") == 1, "not told once"))


# --- the store ---


async def store_away(stage: Stage) -> list[str]:
    await stage.poll()
    await stage.rig.deliver()
    with mock.patch.object(stage.rig.store, "_redis") as redis:
        redis.time.side_effect = exceptions.ConnectionError("gone")
        with mock.patch.object(stage.rig.store, "sync_time", partial(StateStore.sync_time, stage.rig.store)):
            await stage.poll()
            wrong = stage.shows("stalled", "the store") + expect(
                (stage.metric('notifier_polls_total{outcome="failed"}') == 1, "no failed poll is counted"),
                (stage.metric("notifier_leader ") == 0, "counts as the one that polls"),
            )
            await stage.poll(3)
            wrong += stage.ages()
    await stage.poll()
    return wrong + expect(
        (stage.health.readiness().status == "ready", f"is not ready again: {stage.health.readiness()}")
    )


async def store_flushed(stage: Stage) -> list[str]:
    await stage.poll()
    await stage.redis.flushall()
    await stage.poll(2)
    return expect((await stage.notices("state_lost") == 1, "lost state is not told once"))


async def state_moves(stage: Stage) -> list[str]:
    """Somebody else writes all the time: no poll is complete, and each ends as if it stood by."""
    await stage.poll()
    with mock.patch.object(stage.rig.store, "commit", side_effect=StateMoved("moved")):
        await stage.poll(4)
        return stage.shows("stalled", "no complete snapshot") + stage.ages()


# --- the poller ---


async def _poll_stuck(stage: Stage, owner: Any, name: str) -> list[str]:
    """A poll that never ends is shown here, by the replica that stands by, and by the metrics of both."""
    await stage.poll()
    other, watching = stage.replica()
    with stuck(owner, name) as reached:
        polling = asyncio.create_task(stage.rig.poller.poll_once())
        await reached.wait()
        stage.clock.advance(3 * INTERVAL_S + 1)
        wrong = stage.shows("stalled", "no complete snapshot") + stage.ages()
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)
    with mock.patch.object(StateStore, "take_lease", return_value=None):  # it was renewed all the time
        watching.polled(await other.poller.poll_once())
    return wrong + stage.shows("stalled", "no complete snapshot", watching) + stage.ages(watching)


async def poll_stuck_in_source(stage: Stage) -> list[str]:
    return await _poll_stuck(stage, stage.rig.poller._tools.source, "_ask")


async def poll_stuck_in_store(stage: Stage) -> list[str]:
    return await _poll_stuck(stage, stage.rig.store, "meta")


async def poll_stuck_in_health(stage: Stage) -> list[str]:
    return await _poll_stuck(stage, stage.rig.lanes, "health")


async def first_poll_stuck(stage: Stage) -> list[str]:
    with stuck(stage.rig.store, "meta") as reached:
        polling = asyncio.create_task(stage.rig.poller.poll_once())
        await reached.wait()
        stage.clock.advance(1)
        wrong = stage.shows("stalled", "nothing polled yet")
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)
    return wrong


# --- replicas ---


async def lease_of_a_dead_replica(stage: Stage) -> list[str]:
    """Its successor polls as soon as the lease has run out, and was never silent about the age."""
    await stage.poll()
    other, watching = stage.replica()
    stage.clock.advance(1)
    result = await other.poller.poll_once()
    watching.polled(result)
    wrong = expect(
        (result.outcome == "standby", "both poll"), (watching.readiness().role == "standby", "role")
    )
    stage.clock.advance(5)
    result = await other.poller.poll_once()
    watching.polled(result)
    wrong += expect((result.outcome == "complete", "nobody took over"))
    stage.clock.advance(3 * INTERVAL_S + 1)
    return wrong + stage.shows("stalled", "no complete snapshot", watching)


async def replica_that_holds_and_does_not_poll(stage: Stage) -> list[str]:
    await stage.poll()
    other, watching = stage.replica()
    for _ in range(5):
        await stage.rig.store.take_lease(stage.rig.poller._holder, INTERVAL * 2)
        stage.clock.advance(INTERVAL_S)
        watching.polled(await other.poller.poll_once())
    return stage.shows("stalled", "no complete snapshot", watching) + stage.ages(watching)


async def clock_of_the_store_set_back(stage: Stage) -> list[str]:
    """The holder died before; its lease ends in a distant future that holds nobody up."""
    await stage.poll()
    other, watching = stage.replica()
    stage.clock.advance(-500)
    watching.polled(await other.poller.poll_once())
    wrong = stage.shows("stalled", "no complete snapshot", watching)
    stage.clock.advance(-3000)
    result = await other.poller.poll_once()
    return wrong + expect((result.outcome == "complete", f"nobody took over: {result.outcome}"))


# --- what is owed ---


async def nobody_delivers(stage: Stage) -> list[str]:
    await stage.poll()
    await stage.rig.deliver()
    await stage.change()
    stage.clock.advance(OVERDUE_S)
    await stage.poll(2)
    return stage.shows("stalled", "what is owed to backend has waited") + expect(
        (await stage.notices("sink_failing") == 1, "not told once"),
        (stage.metric("notifier_problems") >= 1, "notifier_problems is 0"),
        (stage.metric('notifier_lanes_waiting{sink="backend"}') >= 1, "no lane waits"),
    )


async def claim_that_never_ends(stage: Stage) -> list[str]:
    """An attempt that hangs past its deadline: its claim ends, and nobody claims anew."""
    await stage.poll()
    await stage.rig.deliver()
    await stage.change()
    hold = stage.rig.sinks["backend"].deadline
    batch = await stage.rig.lanes.claim("backend", hold=hold, most=16, rate=None, suspected=2, alone=False)
    stage.clock.advance(hold.total_seconds() + 5 + OVERDUE_S)
    await stage.poll()
    return stage.shows("stalled", "what is owed to backend has waited") + expect((batch.claims, "no claim"))


async def _failing_sink(stage: Stage, error: Exception, *, rounds: int, changes: int = 1) -> None:
    await stage.poll()
    await stage.rig.deliver()
    stage.rig.sinks["backend"].errors = [error] * 1000
    for _ in range(changes):
        await stage.change()
    for _ in range(rounds):
        await stage.rig.deliver()
        stage.clock.advance(3600)
    await stage.poll()


async def sink_hangs(stage: Stage) -> list[str]:
    error = TemporaryFailure("timeout", "it did not answer within 15 s")
    await _failing_sink(stage, error, rounds=4)
    return stage.shows("degraded", "sink backend is failing") + expect(
        (stage.metric('notifier_sink_failing{sink="backend"}') == 1, "notifier_sink_failing is 0"),
        (stage.metric("notifier_problems") >= 1, "notifier_problems is 0"),
        (await stage.notices("sink_failing") == 1, "not told once"),
    )


async def sink_paused(stage: Stage) -> list[str]:
    await _failing_sink(stage, SinkFault("http_401", "it refuses us"), rounds=1)
    return stage.shows("degraded", "sink backend is failing") + expect(
        (stage.metric('notifier_sink_failing{sink="backend"}') == 1, "notifier_sink_failing is 0"),
        (await stage.notices("sink_failing") == 1, "not told once"),
    )


async def dead_letters(stage: Stage) -> list[str]:
    await _failing_sink(stage, PermanentFailure("http_400", "it refuses this event"), rounds=1)
    wrong = expect((await stage.notices("dead_letters") == 1, "not told in the poll after the death"))
    stage.rig.sinks["backend"].errors = []
    await stage.live(3)
    return (
        wrong
        + stage.shows("degraded", "dead letter")
        + expect(
            (stage.metric('notifier_dead_letters{sink="backend"}') >= 1, "notifier_dead_letters is 0"),
            (await stage.notices("dead_letters") == 1, "told more than once"),
        )
    )


# --- the guard ---


async def guard_tripped(stage: Stage) -> list[str]:
    await stage.live()
    stage.account.drop(*[item["id"] for item in stage.account.listed[: len(stage.account.listed) * 2 // 3]])
    await stage.poll()
    wrong = expect((await stage.notices("removals_held") == 1, "not told in the poll that saw it"))
    await stage.live(2)
    return (
        wrong
        + stage.shows("degraded", "removals are held")
        + expect(
            (stage.metric("notifier_problems") >= 1, "notifier_problems is 0"),
            (await stage.notices("removals_held") == 1, "told more than once"),
            (await stage.notices("source_failing") == 0, "taken for a source that fails"),
        )
    )


async def snapshot_held(stage: Stage) -> list[str]:
    await stage.poll()
    stage.account.listed = [connection(f"other{n}") for n in range(12)]
    await stage.poll()
    wrong = expect((await stage.notices("snapshot_held") == 1, "not told in the poll that saw it"))
    await stage.poll(4)
    return wrong + stage.shows("stalled", "no complete snapshot") + stage.ages()


# --- the parts of a worker ---

_PARTS = {"poller": (Poller, "run"), "dispatcher": (Dispatcher, "run"), "sweeper": (worker, "_sweep")}


async def _ends(name: str, *, by_error: bool, stage: Stage) -> list[str]:
    """The end of a part ends the worker, with an error that names it, and the others are ended too."""

    async def end(*_args: Any, **_kwargs: Any) -> None:
        await asyncio.sleep(0)
        if by_error:
            raise RuntimeError(f"a defect of the {name}")

    owner, method = _PARTS[name]
    keys, redis = Keys("test"), stage.redis
    state = StateStore(redis, keys, stage.rig.still, history=INTERVAL)
    lanes = Lanes(redis, keys, state.now_us, ledger=INTERVAL)
    stores = Stores(redis, state, lanes, NameCache(redis, keys, state.now_us), Records(redis, keys))
    await state.sync_time()
    others = [pair for part, pair in _PARTS.items() if part != name]
    with mock.patch.object(owner, method, end), stuck(*others[0]), stuck(*others[1]):
        working = worker._work(stage.rig.config, stores, stage.rig.still, asyncio.Event(), stage.health)
        try:
            await asyncio.wait_for(working, 5)
        except TimeoutError:
            return [f"the worker goes on without its {name}"]
        except ExceptionGroup as group:
            said = " ".join(str(error) for error in group.exceptions)
            return expect((name in said, f"the end does not name the {name}: {said}"))
    return [f"the worker ended without an error when its {name} did"]


Scene = Callable[[Stage], Coroutine[Any, Any, list[str]]]
SCENES: dict[str, Scene] = {
    scene.__name__.replace("_", " "): scene
    for scene in (
        source_down, source_refuses, source_partial, source_never_seen, store_away, store_flushed, state_moves,
        poll_stuck_in_source, poll_stuck_in_store, poll_stuck_in_health, first_poll_stuck,
        lease_of_a_dead_replica, clock_of_the_store_set_back, replica_that_holds_and_does_not_poll, nobody_delivers, claim_that_never_ends,
        sink_hangs, sink_paused, dead_letters, guard_tripped, snapshot_held,
    )
}  # fmt: skip
SCENES |= {
    f"the {name} {'fails' if by_error else 'ends'}": (
        lambda stage, name=name, by_error=by_error: _ends(name, by_error=by_error, stage=stage)
    )
    for name in _PARTS
    for by_error in (True, False)
}


async def play(name: str, seed: int) -> Verdict:
    """One scene, once."""
    stage = Stage(seed)
    try:
        return Verdict(broken=await SCENES[name](stage))
    finally:
        await stage.redis.aclose()


def _piece(trials: Sequence[tuple[str, int]]) -> Tally:
    tally = Tally()
    for name, seed in trials:
        tally.take(asyncio.run(play(name, seed)), f"stalls, scene {name!r}, seed {seed}")
    return tally


def run(scale: float, seed: int, say: Callable[[str], None]) -> Tally:
    """Every scene at least once, each time with another account."""
    times = max(1, round(EACH * scale))
    trials = [(name, seed + number) for number in range(times) for name in SCENES]
    return spread(_piece, trials, say, piece=max(40, len(SCENES)))


PROOF = Proof("stalls", "each part stands still, on a virtual clock", ("P26",), run)
