"""The notifier without a process: real poller, dispatcher and scripts on a given store and account."""

from __future__ import annotations

import asyncio
import json
import random
from datetime import timedelta
from typing import Any

import msgspec

from notifier.clasp.client import ClaspClient
from notifier.core.removals import Guard
from notifier.core.retry import WEBHOOK_SCHEDULE
from notifier.core.rules import Router
from notifier.dispatcher import Dispatcher, Route
from notifier.models import Part, Posted
from notifier.poller.look import Settings, Tools
from notifier.poller.loop import Hooks, Poller
from notifier.poller.names import NameBook
from notifier.poller.roster import roster_of
from notifier.sinks.contract import Receipt
from notifier.sinks.session import Sessions
from notifier.store.keys import Keys
from notifier.store.lanes import Lanes
from notifier.store.names import NameCache
from notifier.store.state import StateStore
from tests.support.account import BASE, Account
from tests.support.configs import config_with

INTERVAL = timedelta(seconds=60)


class StillClock:
    """The virtual time of ``clock``, which only the test moves: a sleep ends by being cancelled."""

    def __init__(self, clock) -> None:
        self.now = clock.now
        self.monotonic = clock.monotonic

    async def sleep(self, seconds: float) -> None:
        if seconds > 0:
            await asyncio.Event().wait()
        await asyncio.sleep(0)


class VirtualTimeStore(StateStore):
    """Takes the test's clock for the store's, so that leases and claims can run out."""

    async def sync_time(self) -> None:
        epoch_us = 1_795_000_000_000_000
        self._offset_us = epoch_us


class MemorySink:
    """Takes everything, or raises what it was told to; never a mock of a sink that exists.

    ``got`` holds what is news there, in order: bodies of events, of messages when they are posted, of replies;
    ``targets`` where each of them went.
    ``shown`` is what each living message shows now, by its id, ``threads`` what was said beside it: part and
    body; ``links`` the message that it links to.
    """

    def __init__(self, name: str = "backend") -> None:
        self.name = name
        self.deadline = timedelta(seconds=15)
        self.got: list[dict[str, Any]] = []
        self.targets: list[str | None] = []
        self.shown: dict[str, dict[str, Any]] = {}
        self.threads: dict[str, list[tuple[Part, dict[str, Any]]]] = {}
        self.links: dict[str, str] = {}
        self.errors: list[Exception] = []

    async def send(self, delivery, attempt) -> Receipt:
        if self.errors:
            raise self.errors.pop(0)
        body = json.loads(delivery.body)
        if delivery.part is Part.ROOT:
            self.shown[delivery.message] = body
            posted = Posted("C1", attempt.posted.ts if attempt.posted else delivery.id, attempt.version)
            if attempt.posted is None:
                self.got.append(body)
                self.targets.append(delivery.target)
            if attempt.previous:
                self.links[delivery.message] = attempt.previous.ts.rpartition(".")[0]
            return Receipt(status=200, posted=posted)
        if delivery.message:
            self.threads.setdefault(delivery.message, []).append((delivery.part, body))
        self.got.append(body)
        self.targets.append(delivery.target)
        return Receipt(status=200)

    async def probe(self) -> str:
        return "fine"

    async def close(self) -> None:
        return None


class Rig:
    """One replica. ``poll`` lets an interval pass and polls once; ``deliver`` runs the dispatcher to rest.

    ``delivers_at_once``: after each poll, as where messages are told that go on changing.
    """

    delivers_at_once = False

    def __init__(
        self,
        redis,
        clock,
        account: Account,
        config: Any = None,
        name: str = "test",
        source_url: str = BASE,
        **settings: Any,
    ) -> None:
        self.redis = redis
        self.source_url = source_url
        self.clock = clock
        self.account = account
        self.keys = Keys(name)
        self.config = config or config_with()
        self.still = StillClock(clock)
        # The server dates the history by its own clock: whatever that says, nothing of it is trimmed.
        self.store = VirtualTimeStore(redis, self.keys, self.still, history=timedelta(days=36_500))
        self.lanes = Lanes(redis, self.keys, self.store.now_us, ledger=timedelta(days=30))
        self.routes: dict[str, Route] = {}  # in place of these sinks and what is usual
        self.sinks = {sink: MemorySink(sink) for sink in self.config.sinks}
        self.settings = msgspec.structs.replace(
            Settings(
                name=name,
                base_url=BASE,
                api_version="2026-04-24",
                interval=INTERVAL,
                guard=Guard(0.05, 5),
                history=timedelta(days=30),
                request_budget=50,
                untracked=frozenset({"broker_federal_ein"}),
            ),
            **settings,
        )
        self.results: list[Any] = []
        self.poller = self._poller()

    def _poller(self) -> Poller:
        source = ClaspClient(
            base_url=self.source_url,
            api_key="key",
            api_version="2026-04-24",
            page_size=100,
            timeout=timedelta(seconds=30),
            clock=self.clock,
            rng=random.Random(0),
            transport=self.account.transport(),
        )
        cache = NameCache(self.redis, self.keys, self.store.now_us)
        self.names = NameBook(source, cache, enabled=self.config.source.enrich)
        roster = roster_of(self.config, self.still, Sessions())
        tools = Tools(source, self.store, self.names, Router(self.config), self.still, roster)
        hooks = Hooks(lambda _sinks: None, self.results.append, lambda: None)
        return Poller(tools, self.settings, self.lanes, tuple(self.config.sinks), timedelta(seconds=5), hooks)

    def restart(self, **settings: Any) -> None:
        """A new process: nothing in memory survives."""
        self.settings = msgspec.structs.replace(self.settings, **settings)
        self.poller = self._poller()

    async def poll(self, times: int = 1):
        result = None
        for _ in range(times):
            self.clock.advance(INTERVAL.total_seconds())
            result = await self.poller.poll_once()
            if self.delivers_at_once:
                await self.deliver()
        return result

    async def deliver(self, patience: int = 0) -> None:
        """Run the dispatcher until nothing is due; with ``patience``, or nothing settles for so many looks.

        A claim that never ends looks like one that is under way.
        """
        stop = asyncio.Event()
        routes = {
            name: Route(sink, WEBHOOK_SCHEDULE, 16, None) for name, sink in self.sinks.items()
        } | self.routes
        dispatcher = Dispatcher(routes, self.lanes, self.still, random.Random(0))
        await self.store.sync_time()
        running = asyncio.create_task(dispatcher.run(stop, timedelta(seconds=1)))
        try:
            before, looks = -1, 0
            while await self.is_due() and not (patience and looks > patience):
                await asyncio.sleep(0)
                assert not running.done(), running.exception()
                if patience:
                    settled = await self.redis.xlen(self.keys.attempts)
                    before, looks = settled, looks + 1 if settled == before else 0
        finally:
            stop.set()
            await running

    async def is_due(self) -> bool:
        """Whether a lane is due or under way (a claim's score is odd)."""
        for sink in self.sinks:
            paused_until = int(await self.redis.hget(self.keys.sink(sink), "paused_until") or 0)
            lanes = await self.redis.zrange(self.keys.lanes(sink), 0, -1, withscores=True)
            now = self.store.now_us()  # the test moves it while the store is asked
            if any(int(due) % 2 or (due <= now and paused_until <= now) for _, due in lanes):
                return True
        return False

    def got(self, sink: str = "backend") -> list[str]:
        """The ids at the top of the bodies that the sink has got so far."""
        return [body["id"] for body in self.sinks[sink].got]

    async def told(self, sink: str = "backend") -> list[tuple[str, str, Any, Any]]:
        """Deliver, and what the sink has got so far: (type, entity id, from, to)."""
        await self.deliver()
        return [
            (
                body["type"],
                body["data"].get("entity", {}).get("id"),
                body["data"].get("from"),
                body["data"].get("to"),
            )
            for body in self.sinks[sink].got
        ]

    async def transitions(self, sink: str = "backend") -> list[tuple[str, str, Any, Any]]:
        """The same without what the notifier says of itself."""
        return [item for item in await self.told(sink) if not item[0].startswith("notifier.")]

    async def reports(self, sink: str = "backend") -> list[str]:
        """What the notifier said of itself so far."""
        return [item[0] for item in await self.told(sink) if item[0].startswith("notifier.")]
