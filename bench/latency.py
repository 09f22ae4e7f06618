"""From a commit's return to the first attempt at the sink: idle, and with 10,000 lanes waiting for a retry.

The poller wakes the dispatcher after a commit, and so does this. The last figure is the hardest moment: the
waiting lanes come due all the while, fail again, and each success of a new one finds the sink failing.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable
from datetime import timedelta

from bench.rig import SINK, Rig, delivery, logging_to_nowhere, rig
from bench.table import Row
from bench.timing import percentile
from bench.world import CLOCK
from notifier.core.retry import WEBHOOK_SCHEDULE
from notifier.dispatcher import Dispatcher, Route
from notifier.errors import TemporaryFailure
from notifier.models import Delivery, Owed
from notifier.sinks.contract import Attempt, Receipt
from notifier.store.state import Commit

_WAITING = 10_000
_PAUSE_S = 0.01


class Target:
    """Takes what is new and notes when; what waited fails again."""

    def __init__(self) -> None:
        self.name = SINK
        self.deadline = timedelta(seconds=15)
        self.at: dict[str, float] = {}
        self.failed = 0

    async def send(self, owed: Delivery, _attempt: Attempt) -> Receipt:
        """Note the moment."""
        if owed.id.startswith("evt_waiting"):
            self.failed += 1
            raise TemporaryFailure("http_503", "busy")
        self.at.setdefault(owed.id, time.perf_counter())
        return Receipt(200)

    async def probe(self) -> str:
        """Fine."""
        return "fine"

    async def close(self) -> None:
        """Nothing."""


async def run(*, quick: bool) -> Iterable[Row]:
    """The 99th percentile in milliseconds."""
    count, waiting = (200, _WAITING // 5) if quick else (500, _WAITING)
    with logging_to_nowhere():
        async with rig() as store:
            idle, _ = await _measured(store, count, "idle")
            await store.owe(waiting, "waiting")
            await _postpone(store, waiting, 600, 600)
            quiet, _ = await _measured(store, count, "quiet")
            await _postpone(store, waiting, 0, 20)
            busy, failed = await _measured(store, count, "busy")
    return [
        _row("commit -> first attempt, idle", idle, 50),
        _row(f"the same, {waiting:,} lanes waiting for a retry", quiet, 250),
        _row(f"the same, {failed:,} retries failing meanwhile", busy, 250),
    ]


def _row(what: str, seconds: list[float], goal: float) -> Row:
    middle, slowest = percentile(seconds, 0.5) * 1000, percentile(seconds, 0.99) * 1000
    return Row(what, "-", f"median {middle:.1f} ms, p99 {slowest:.1f} ms", slowest, goal, unit="ms")


async def _postpone(store: Rig, count: int, first_s: int, last_s: int) -> None:
    """Spread the next attempts of the waiting lanes from ``first_s`` to ``last_s`` from now."""
    now, span = store.state.now_us(), max(1, last_s - first_s) * 1_000_000
    due = {f"waiting-{n}": (now + first_s * 1_000_000 + n * span // count) & ~1 for n in range(count)}
    await store.redis.zadd(store.keys.lanes(SINK), due, xx=True)


async def _measured(store: Rig, count: int, prefix: str) -> tuple[list[float], int]:
    target, stop = Target(), asyncio.Event()
    route = Route(target, WEBHOOK_SCHEDULE, 16, None)
    dispatcher = Dispatcher({SINK: route}, store.lanes, CLOCK, random.Random(0))
    running = asyncio.create_task(dispatcher.run(stop, timedelta(seconds=5)))
    committed: dict[str, float] = {}
    for number in range(count):
        name = f"{prefix}-{number}"
        await store.commit(Commit(owed=[Owed(SINK, name, delivery(name))]))
        committed[f"evt_{name}"] = time.perf_counter()
        dispatcher.wake({SINK})
        await CLOCK.sleep(_PAUSE_S)
    async with asyncio.timeout(30):
        while len(target.at) < count:
            await CLOCK.sleep(_PAUSE_S)
    stop.set()
    await running
    return [max(0.0, target.at[id_] - at) for id_, at in committed.items()], target.failed
