"""Workers, a source, receivers and a store behind the proxy, on virtual time: where messages get lost.

The workers are the notifier's own parts on its own client of the store. Everything that they say to the store
passes :class:`Post`, which names each message, counts it, has a plan decide what happens to it, and keeps
what the verdict needs: how often a script was sent, which claims were lost.
"""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import redis as redis_py

from notifier import worker
from notifier.clasp.client import ClaspClient
from notifier.core.removals import Guard
from notifier.core.results import PollResult
from notifier.core.rules import Router
from notifier.dispatcher import Dispatcher, Route
from notifier.errors import PermanentFailure, StoreError
from notifier.poller.look import Settings, Tools
from notifier.poller.loop import Hooks, Poller
from notifier.poller.names import NameBook
from notifier.sinks.contract import Receipt
from notifier.store.client import open_store
from notifier.store.keys import Keys
from notifier.store.lanes import Lanes
from notifier.store.names import NameCache
from notifier.store.records import Records
from notifier.store.state import StateStore
from notifier.store.stores import Stores
from tests.proof.proxy import Fault, How
from tests.proof.resp2 import Request
from tests.proof.virtual import EPOCH, LoopClock, StillProxy, VirtualLoop
from tests.support.account import BASE, Account

NAME = "test"
HISTORY = timedelta(days=30)
INTERVAL_S = 5.0
LEASE = timedelta(seconds=5)
_SCHEDULE = (timedelta(seconds=1), timedelta(seconds=2))
_GRACE = timedelta(seconds=1)
_DELIVERY_ID = re.compile(rb'"id":"(\w+)"')  # in a body, which is JSON in JSON, the quotes are escaped
_MESSAGE_S = 50e-6  # what a message takes: no two scripts see the same time
_REST_WITHIN_S = 300.0
#: After these the client does not know whether its request was executed, or will be.
_LEAVES_OPEN = {How.DROP_REPLY, How.LATE, How.HOLD_REQUEST, How.HOLD_REPLY, How.CUT_IN_REPLY}

Plan = Callable[[str, int], Fault | None]  # of a message's kind, and how many of its kind came before


def kind_of(request: Request) -> str:
    """What a message is, in words: the script and what it is to do, or the command and the key."""
    words = request.words
    if request.name != "EVALSHA":
        subject = words[1].rpartition(b"}:")[2].partition(b":")[0] if len(words) > 1 else b""
        return f"{request.name} {subject.decode(errors='replace')}".strip().lower()
    count = int(words[2])
    first, args = words[3], words[3 + count :]
    if count == 8:  # see commit.lua
        return "commit"
    if count == 5:  # see settle.lua
        return f"settle {args[2].decode()}"
    if first.endswith(b":lease"):
        return "give back" if args[2] == b"0" else "lease"
    return "claim"


class Post:
    """Sees every message. With a ``plan`` it has them hurt; ``hits`` are those that were."""

    def __init__(self, loop: VirtualLoop, clock: LoopClock) -> None:
        self.plan: Plan | None = None
        self.seen: Counter[str] = Counter()  # by kind, while there is a plan
        self.hits: list[tuple[str, int, Fault]] = []
        self.lost_claims: Counter[tuple[str, str]] = Counter()  # sink and delivery: claims for nobody
        self._sent: Counter[tuple[str, bytes]] = Counter()  # scripts without an answer: kind, and every byte
        self._most: Counter[tuple[str, bytes]] = Counter()  # the highest count of each
        self._open: set[int] = set()  # requests whose reply will not, or may not, be seen
        self._keep: list[Request] = []  # so that no two of them ever have one id
        self._loop = loop
        self._clock = clock

    def choose(self, request: Request) -> Fault | None:
        self._loop.pass_time(_MESSAGE_S)
        if request.name == "EVALSHA":
            key = kind_of(request), request.raw
            self._sent[key] += 1
            self._most[key] = max(self._most[key], self._sent[key])
        if self.plan is None:
            return None
        kind = kind_of(request)
        fault = self.plan(kind, self.seen[kind])
        if fault is not None:
            self.hits.append((kind, self.seen[kind], fault))
            self._keep.append(request)
            if fault.how in _LEAVES_OPEN:
                self._open.add(id(request))
        self.seen[kind] += 1
        return fault

    def answer(self, request: Request, reply: bytes) -> bytes:
        """The store's time is the virtual one."""
        if request.name == "TIME":
            since = self._clock.now() - EPOCH
            words = (
                str(int(EPOCH.timestamp()) + since.days * 86_400 + since.seconds),
                str(since.microseconds),
            )
            return b"*2\r\n" + b"".join(b"$%d\r\n%s\r\n" % (len(word), word.encode()) for word in words)
        if request.name == "EVALSHA":
            key = kind_of(request), request.raw
            is_unknown = reply.startswith(b"-NOSCRIPT")
            if is_unknown or id(request) not in self._open:
                # Answered: the same bytes later are no repetition. TIME may set the clock back by a message.
                self._sent[key] = max(0, self._sent[key] - 1)
            if kind_of(request) == "claim" and not is_unknown:
                self._note_claims(request, reply)
        return reply

    def _note_claims(self, request: Request, reply: bytes) -> None:
        ids = _DELIVERY_ID.findall(reply)
        if id(request) in self._open:
            sink = request.words[3].rpartition(b":")[2].decode()
            self.lost_claims.update((sink, id_.decode()) for id_ in ids)
        if ids:
            self._open.add(id(request))  # executed once more, it is for nobody
            self._keep.append(request)

    def too_often(self) -> list[str]:
        """Scripts that a client sent more often than it may."""
        return [
            f"one {kind} was sent {times} times"
            for (kind, _), times in self._most.items()
            if times > (3 if kind == "commit" else 1)
        ]

    @property
    def lost_releases(self) -> int:
        """Claims that may not have been given back at a stop."""
        return sum(kind == "settle release" for kind, _, _ in self.hits)

    def was_late(self, kind: str) -> bool:
        """Whether a message of this kind was made to arrive late."""
        return any(hit == kind and fault.how in {How.LATE, How.HOLD_REQUEST} for hit, _, fault in self.hits)


class Receiver:
    """A sink that answers as ``plans`` says, by entity and status: an error, or seconds until it is well.

    The last answer repeats where it is final. What it takes is in ``got``, whoever still waits for it.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.deadline = timedelta(seconds=3)
        self.got: list[dict[str, Any]] = []
        self.plans: dict[tuple[str, Any], list[Exception | float]] = defaultdict(list)

    async def send(self, delivery, _attempt) -> Receipt:
        body = json.loads(delivery.body)
        answers = self.plans[body["data"].get("entity", {}).get("id"), body["data"].get("to")]
        answer = answers[0] if answers else 0.0
        if answers and not isinstance(answer, PermanentFailure):
            answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        self.got.append(body)
        await asyncio.sleep(answer)
        return Receipt(status=200)

    async def probe(self) -> str:
        return ""

    async def close(self) -> None:
        return None


class Worker:
    """One worker, from its start to its stop or its death."""

    def __init__(self, stage: Stage) -> None:
        self.results: list[PollResult] = []
        self._stage = stage
        self._stop = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    @property
    def completed(self) -> int:
        return sum(1 for result in self.results if result.outcome == "complete")

    async def stop(self) -> None:
        """As after SIGTERM."""
        self._stop.set()
        await self._task

    async def kill(self) -> None:
        """As after SIGKILL: nothing it says in its end reaches the store."""
        self._stage.proxy.refuse()
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._stage.proxy.refuse(False)

    @property
    def failure(self) -> BaseException | None:
        """What ended it although nobody asked."""
        return self._task.exception() if self._task.done() and not self._task.cancelled() else None

    async def _run(self) -> None:
        stage, keys, clock = self._stage, Keys(NAME), self._stage.clock
        async with open_store(f"unix://{stage.proxy.path}", Path("/"), {}, clock) as redis:
            state = StateStore(redis, keys, clock, history=HISTORY)
            lanes = Lanes(redis, keys, state.now_us, ledger=HISTORY)
            names = NameCache(redis, keys, state.now_us)
            while not await _is_timed(state):  # as the worker does before its parts begin
                await clock.sleep(0.5)
            source = ClaspClient(
                base_url=BASE,
                api_key="key",
                api_version="2026-04-24",
                page_size=100,
                timeout=timedelta(seconds=30),
                clock=clock,
                rng=stage.rng,
                transport=stage.account.transport(),
            )
            routes = {sink.name: Route(sink, _SCHEDULE, 4, None) for sink in stage.sinks}
            dispatcher = Dispatcher(routes, lanes, clock, stage.rng)
            tools = Tools(source, state, NameBook(source, names, enabled=True), Router(stage.config), clock)
            hooks = Hooks(dispatcher.wake, self.results.append, lambda: None)
            poller = Poller(tools, _settings(), lanes, tuple(routes), LEASE, hooks)
            try:
                async with asyncio.TaskGroup() as parts:
                    parts.create_task(poller.run(self._stop))
                    parts.create_task(dispatcher.run(self._stop, _GRACE))
                    parts.create_task(
                        worker._sweep(
                            Stores(redis, state, lanes, names, Records(redis, keys)), clock, self._stop
                        )
                    )
            finally:
                await source.close()


async def _is_timed(state: StateStore) -> bool:
    try:
        await state.sync_time()
    except StoreError:
        return False
    return True


def _settings() -> Settings:
    return Settings(
        name=NAME,
        base_url=BASE,
        api_version="2026-04-24",
        interval=timedelta(seconds=INTERVAL_S),
        guard=Guard(0.05, 1),
        history=HISTORY,
        request_budget=50,
        untracked=frozenset({"broker_federal_ein"}),
    )


class Stage:
    """Everything of one trial. ``store`` looks at the store itself, past the proxy, in no time."""

    def __init__(self, upstream: str, proxy_path: str, account: Account, config: Any, seed: int) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self.account = account
        self.config = config
        self.rng = random.Random(seed)
        self.clock = LoopClock(loop)
        self.keys = Keys(NAME)
        self.post = Post(loop, self.clock)
        self.proxy = StillProxy(upstream, proxy_path, self.post.choose, self.post.answer)
        self.sinks = [Receiver(name) for name in config.sinks]
        self.store = redis_py.Redis(unix_socket_path=upstream)
        self.workers: list[Worker] = []  # all that ever were
        self.running: list[Worker] = []
        self.deaths = 0  # of workers: each may cost a claim

    def __getitem__(self, name: str) -> Receiver:
        return next(sink for sink in self.sinks if sink.name == name)

    async def start(self) -> Worker:
        started = Worker(self)
        self.workers.append(started)
        self.running.append(started)
        return started

    async def end(self, ending: Worker, *, kill: bool = False) -> None:
        self.running.remove(ending)
        self.deaths += kill
        await (ending.kill() if kill else ending.stop())

    async def until(self, is_so: Callable[[], bool], what: str, within_s: float = _REST_WITHIN_S) -> None:
        """Let time pass until it is so, or fail saying what never was."""
        end = self.clock.monotonic() + within_s
        while not is_so():
            assert self.clock.monotonic() < end, f"not within {within_s:g} s: {what}"
            await self.clock.sleep(0.25)

    def meta(self, field: str) -> Any:
        value = self.store.hget(self.keys.meta, field)
        return json.loads(value) if value else None

    def owes_nothing(self) -> bool:
        return not any(self.store.exists(self.keys.lanes(sink.name)) for sink in self.sinks)

    async def rest(self) -> None:
        """Let whole workers see everything at least four times, and deliver all of it."""
        await self.until(lambda: not self.proxy.parked, "what is late arrives")
        began = {id(one): one.completed for one in self.running}
        await self.until(
            lambda: sum(one.completed - began[id(one)] for one in self.running) >= 4 and self.owes_nothing(),
            "four polls, and nothing is owed",
        )

    async def close(self) -> None:
        with suppress(Exception):  # it has been judged
            for one in self.running:
                await one.stop()
        await self.proxy.close()
        self.store.close()
