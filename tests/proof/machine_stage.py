"""The stage of the state machine: two replicas on one store and one source, receivers, and what is owed.

After every poll and every delivery it reads what is new in the history, has the poll judged, and counts for
each sink that every event ever committed was taken, waits or is a dead letter, exactly once.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import msgspec
from redis.asyncio import Redis

from notifier.core.removals import Guard, Held
from notifier.errors import PermanentFailure, SinkFault, TemporaryFailure
from notifier.sinks.contract import Receipt
from notifier.store.state import Meta
from tests.proof.machine_judge import Body, Judge, Look
from tests.proof.machine_source import Door, Source
from tests.proof.model import need
from tests.proof.oracle import examine
from tests.support.clock import FakeClock
from tests.support.configs import config_with
from tests.support.rig import INTERVAL, MemorySink, Rig

GUARD = Guard(0.05, 2)
HISTORY = timedelta(days=30)
_FOR_EVER = timedelta(days=36_500)
_CONFIG = config_with(
    rules="  - {name: all, when: {}, notify: [backend, log]}\n"
    '  - {name: own, when: {type: "notifier.*"}, notify: [backend, log]}\n',
    sinks="  backend: {type: console}\n  log: {type: console}\n",
)
MEANWHILE = ("takeover", "cut", "flush", "fence", "approve", "leave")
SINK_ERRORS: dict[str, Callable[[], Exception]] = {
    "temporary": lambda: TemporaryFailure("http_503", "later"),
    "throttled": lambda: TemporaryFailure(
        "http_429", "wait", retry_after=timedelta(minutes=5), throttled=True
    ),
    "unreachable": lambda: TemporaryFailure("refused", "nobody there", unreachable=True),
    "permanent": lambda: PermanentFailure("http_400", "no"),
    "fault": lambda: SinkFault("http_401", "who are you"),
    "defect": lambda: RuntimeError("a bug in a sink"),
}


class Receiver(MemorySink):
    """Takes everything but what it was told to refuse; ``taken but`` is an error after it had taken it."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.plan: list[str] = []
        self.acknowledged: Counter[str] = Counter()
        self.repeats = 0

    async def send(self, delivery: Any, attempt: Any) -> Receipt:
        error = self.plan.pop(0) if self.plan else ""
        if error in SINK_ERRORS:
            failure = SINK_ERRORS[error]()
            raise failure
        body = json.loads(delivery.body)
        need(body["data"]["id"] == delivery.id, "broken", f"a delivery {delivery.id} tells {body}")
        self.got.append(body)
        if error == "taken but":
            self.repeats += 1
            raise TemporaryFailure("timeout", "it took it and did not say so")
        self.acknowledged[delivery.id] += 1
        return Receipt(status=200)


class Replica(Rig):
    """A worker. ``knew`` is how many connections it knew after its last poll in this life."""

    def __init__(self, redis: Redis, clock: FakeClock, source: Source) -> None:
        self.door = Door(source)
        super().__init__(redis, clock, self.door, _CONFIG, guard=GUARD, history=HISTORY)  # type: ignore[arg-type]
        self.store._history = _FOR_EVER  # the stream's ids are of the server's time, ours is virtual
        self.sinks = {name: Receiver(name) for name in self.config.sinks}
        self.knew = 0
        self.polling: asyncio.Future[Any] | None = None

    @property
    def place(self) -> tuple[str, str]:
        """What a baseline is bound to."""
        return self.settings.base_url, self.settings.api_version

    def restart(self, **settings: Any) -> None:
        super().restart(**settings)
        self.knew = 0

    async def is_due(self) -> bool:
        """Whether a sink that may be sent to has a lane that is due or under way."""
        for sink in self.sinks:
            paused, off, rests = await self.redis.hmget(
                self.keys.sink(sink), "paused_until", "off", "next_at"
            )
            lanes = await self.redis.zrange(self.keys.lanes(sink), 0, -1, withscores=True)
            now = self.store.now_us()
            is_open = off is None and max(int(paused or 0), int(rests or 0)) <= now
            if any(int(due) % 2 or (due <= now and is_open) for _, due in lanes):
                return True
        return False


class Bench:
    """A server and an event loop, for all runs of a process."""

    def __init__(self, path: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.redis = Redis(unix_socket_path=path)
        self.runs = self.faults = self.repeats = self.removed = self.polls = 0

    def close(self) -> None:
        self.loop.run_until_complete(self.redis.aclose())
        self.loop.close()

    def do(self, act: Awaitable[Any]) -> Any:
        return self.loop.run_until_complete(act)


class Stage:
    """Everything that one run of the machine plays with."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.clock = FakeClock()
        self.source = Source()
        self.replicas = [Replica(redis, self.clock, self.source) for _ in range(2)]
        self.first = self.replicas[0]
        self.judge = Judge(GUARD, INTERVAL.total_seconds(), HISTORY.total_seconds())
        self.meta = Meta()
        self.approvals: list[Held] = []
        self._history: dict[str, Body] = {}  # every event since the last flush, by id, in order
        self._lanes: dict[str, list[str]] = {}  # sink -> ids in the order in which they were owed
        self._read_upto = "-"
        self._once_dead: set[tuple[str, str]] = set()
        self._ids: set[str] = set()

    # --- polls ---

    async def poll(self, replica: Replica) -> None:
        """One poll, judged."""
        at_first, began, knew = self.meta, self.clock.monotonic(), replica.knew
        may_begin = bool(self.approvals) or self.judge.is_due(replica.place)
        replica.door.answers.clear()
        approvals = list(self.approvals)
        polling = asyncio.ensure_future(replica.poller.poll_once())
        replica.polling = polling
        try:
            result = await polling
            outcome = result.outcome
        except asyncio.CancelledError:
            outcome = "cut off"
            replica.restart()
        before, self.meta = self.meta, await replica.store.meta()
        told = await self._news()
        if outcome in {"complete", "partial"} and self.meta.version != before.version:
            del self.approvals[: len(approvals)]
        look = Look(
            began,
            self.clock.monotonic(),
            list(replica.door.answers),
            outcome,
            told,
            before,
            self.meta,
            approvals,
            replica.place,
            knew,
            before is not at_first,
        )
        if self.judge.poll(look):
            replica.knew = self.meta.counts.get("connection", 0)
        elif look.is_disturbed and outcome in {"complete", "partial"} and not may_begin:
            replica.knew = at_first.counts.get("connection", 0)  # it read this, and had nothing to commit
        await self.check()

    async def meanwhile(self, what: str, replica: Replica) -> None:
        """Something of ``MEANWHILE``, in the middle of a poll of this replica."""
        if what == "takeover":
            self.clock.advance(20)
            await self.poll(next(one for one in self.replicas if one is not replica))
        elif what == "cut" and replica.polling is not None:
            replica.polling.cancel()
            await asyncio.sleep(0)
        elif what == "flush":
            await self.flush()
        elif what == "fence":
            await self.redis.hincrby(replica.keys.lease, "number", 1)
            await self.redis.hset(replica.keys.lease, mapping={"holder": "another", "until": 0})
        elif what == "approve" and self.meta.held is not None:
            await self.approve(self.meta.held)
        elif what == "leave":
            self.source.leave(next(iter(self.source.truth), None))

    async def _news(self) -> list[Body]:
        """What the history has got since it was last read."""
        entries = await self.redis.xrange(self.first.keys.history, min=self._read_upto)
        told = [msgspec.json.decode(fields[b"event"]) for _, fields in entries]
        if entries:
            self._read_upto = f"({entries[-1][0].decode()}"
        for body in told:
            id_ = body["data"]["id"]
            need(id_ not in self._ids, "invented", f"committed twice: {body['type']} {id_}")
            self._ids.add(id_)
            self._history[id_] = body
        return told

    async def flush(self) -> None:
        """The store is emptied; what was owed is gone with it."""
        await self.redis.flushall()
        self.meta = Meta()
        self.approvals.clear()
        self.judge.flushed()
        self._history.clear()
        self._read_upto = "-"
        for receiver in self.first.sinks.values():
            receiver.acknowledged.clear()
            receiver.got.clear()

    async def approve(self, held: Held) -> None:
        """As ``notifier approve`` does."""
        await self.first.store.write_inbox("approve", msgspec.to_builtins(held))
        self.approvals.append(held)

    # --- what must hold at every instant ---

    async def check(self) -> None:
        """State = what was told; every event is taken, waits, or is dead; order."""
        if self.meta.epoch:
            wrong = await examine(
                self.redis,
                _Untold(self.first.store),
                self.first.keys,
                self.judge.model.statuses(),
                is_at_rest=False,
            )
            need(not wrong, "broken", "; ".join(wrong[:3]))
        for sink, (waiting, dead) in (await self._queues()).items():
            self._count(sink, self.first.sinks[sink], waiting, dead)

    async def _queues(self) -> dict[str, tuple[list[str], list[str]]]:
        """Ids of what waits for each sink, and of its dead letters."""
        keys, sinks = self.first.keys, list(self.first.sinks)
        async with self.redis.pipeline(transaction=False) as pipe:
            for sink in sinks:
                pipe.zrange(keys.lanes(sink), 0, -1)
                pipe.xrange(keys.dead(sink))
            found = await pipe.execute()
            lanes = dict(zip(sinks, found[::2], strict=True))
            for sink in sinks:
                for lane in lanes[sink]:
                    pipe.lrange(keys.lane(sink, lane.decode()), 0, -1)
            waiting = iter(await pipe.execute())
        return {
            sink: (
                [json.loads(item.partition(b"\n")[2])["id"] for _ in lanes[sink] for item in next(waiting)],
                [json.loads(fields[b"letter"])["delivery"]["id"] for _, fields in dead],
            )
            for sink, dead in zip(sinks, found[1::2], strict=True)
        }

    def _count(self, sink: str, receiver: Receiver, waiting: list[str], died: list[str]) -> None:
        """Each event that was ever committed is in one place."""
        count = Counter(receiver.acknowledged)
        count.update(waiting)
        count.update(died)
        self._once_dead |= {(sink, id_) for id_ in died}
        owed = {id_ for id_, body in self._history.items() if not _is_about(body, sink)}
        for id_ in owed:
            need(count[id_] >= 1, "lost", f"{sink}: {id_} was neither taken nor waits nor is dead")
        for id_, times in count.items():
            need(id_ in owed, "invented", f"{sink}: {id_} was never committed")
            need(times == 1, "broken", f"{sink}: {id_} is there {times} times")
        self._order(sink, receiver)

    def _order(self, sink: str, receiver: Receiver) -> None:
        """Of one connection everything arrives as it was committed; what was dead once may come later."""
        place = {id_: at for at, id_ in enumerate(self._history)}
        last: dict[str, int] = {}
        for body in receiver.got:
            id_ = body["data"]["id"]
            if (sink, id_) not in self._once_dead:
                lane = body["data"].get("connection", {}).get("id", "notifier")
                need(
                    place[id_] >= last.get(lane, -1), "misordered", f"{sink}: {body['type']} {id_} of {lane}"
                )
                last[lane] = place[id_]

    # --- deliveries ---

    async def deliver(self) -> None:
        await self.first.deliver()
        await self.check()

    async def replay(self, sink: str) -> None:
        """All dead letters of a sink again."""
        letters = await self.first.lanes.dead_letters(sink)
        await self.first.lanes.replay(sink, letters)
        await self.check()


class _Untold:
    """The store to the oracle's eye, with the history folded already."""

    def __init__(self, store: Any) -> None:
        self.meta = store.meta
        self.all_states = store.all_states

    async def history(self, *, newest: int) -> list[Body]:
        return []


def _is_about(body: Body, sink: str) -> bool:
    """That a sink fails is not told to that sink."""
    return body["type"] == "notifier.sink_failing" and f'"{sink}"' in body["data"]["message"]
