"""The pieces of a simulation: a worker's real parts on simulated edges, receivers in a mood, a source that moves.

A :class:`Replica` is wired as ``notifier.worker`` wires a process: the real poller, dispatcher, client of the
source, lanes and health; only what would touch a socket is simulated.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any

import httpx
import msgspec

from notifier.clasp.client import ClaspClient
from notifier.core.events import Names
from notifier.core.removals import Guard
from notifier.core.results import PollResult
from notifier.core.rules import Router
from notifier.dispatcher import Dispatcher, Route
from notifier.errors import StoreUnavailable
from notifier.models import Delivery, Part, Posted
from notifier.poller.look import Settings, Tools
from notifier.poller.loop import Hooks, Poller
from notifier.poller.names import NameBook
from notifier.sinks.contract import Attempt, Receipt
from notifier.sinks.transport import failure, refusal
from notifier.store.keys import Keys
from notifier.store.lanes import Lanes
from notifier.store.names import NameCache
from notifier.store.state import StateStore
from notifier.web.health import Health
from notifier.worker import GRACE
from tests.proof.simulated_client import StoreClient
from tests.proof.simulated_world import Machine, Network, World
from tests.proof.simulation_watch import Watch
from tests.support.account import BASE, Account
from tests.support.configs import config_with

DEADLINE = timedelta(seconds=15)
KEYS = Keys("test")
_QUICKLY_S = 5.0  # an answer that even a worker that is being stopped waits for
_PATIENCE_S = 5.0  # of the client of the store
_LEDGER = timedelta(days=30)


class Kinds(msgspec.Struct, frozen=True):
    """The classes that replicas are made of: the notifier's, or in a control, something worse."""

    dispatcher: type[Dispatcher] = Dispatcher
    store: type[StateStore] = StateStore


class Source(Account):
    """An account some of whose connections the list leaves out, though they are there."""

    def __init__(self, *connections: dict[str, Any], page_size: int) -> None:
        super().__init__(*connections, page_size=page_size)
        self.hidden: set[str] = set()

    def _page(self, start: int) -> httpx.Response:
        everything = self.listed
        self.listed = [item for item in everything if item["id"] not in self.hidden]
        try:
            return super()._page(start)
        finally:
            self.listed = everything


class Wire(httpx.AsyncBaseTransport):
    """The way to the source."""

    def __init__(self, network: Network, machine: Machine, source: Account) -> None:
        self._network = network
        self._machine = machine
        self._answer = source.transport().handler

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        try:
            return await self._network.call(
                self._machine, "source", "get", lambda: self._answer(request), patience=None
            )
        except OSError as error:
            raise httpx.ConnectError(str(error), request=request) from error


class Reply(msgspec.Struct, frozen=True):
    """A receiver's answer, and how many seconds it takes to come (None: it never does)."""

    status: int
    delay: float | None = 0.0
    rest: int | None = None


_ALWAYS = {"silent": Reply(0, None), "unauthorized": Reply(401)}


class Receiver:
    """One sink's other end. ``mood`` says how it answers."""

    def __init__(self, name: str, watch: Watch, rng: random.Random) -> None:
        self.name = name
        self.mood = "well"
        self.deadly = 0  # so many times a worker dies of the next message
        self._deadly_id = ""
        self._busy_until = 0.0
        self._watch = watch
        self._rng = rng

    def kills(self, id_: str) -> bool:
        """Whether a worker dies of sending this."""
        if not self.deadly or self._deadly_id not in {"", id_}:
            return False
        self.deadly -= 1
        self._deadly_id = id_ if self.deadly else ""
        return True

    def take(self, machine: Machine, delivery: Delivery, version: int) -> Reply:
        """A request arrives; ``version`` is that of the message that it shows, if it does."""
        reply = self._react(delivery.id)
        if reply.status == 200:
            quickly = reply.delay is not None and reply.delay < _QUICKLY_S
            body = delivery.body.encode()
            self._watch.took(machine, self.name, delivery.id, body, is_answered=quickly)
            if delivery.message is not None and delivery.part is Part.ROOT:
                self._watch.shows(machine, delivery.message, version, body)
        return reply

    def _react(self, id_: str) -> Reply:
        chance, now = self._rng.random(), self._watch.world.now
        if self.mood in _ALWAYS:
            return _ALWAYS[self.mood]
        match self.mood:
            case "dead":
                raise ConnectionRefusedError("refused")
            case "flaky":
                return Reply(503) if chance < 0.3 else Reply(200, None if chance < 0.45 else 0.0)
            case "slow":
                return Reply(200, 30 * chance)
            case "refusing" if chance < 0.2:
                self._watch.refused.add((self.name, id_))
                return Reply(400)
            case "throttling" if chance < 0.3 or now < self._busy_until:
                rest = 60 + int(chance * 200)
                self._busy_until = now + rest
                self._watch.asked[self.name, id_] = now + rest
                return Reply(429, rest=rest)
        return Reply(200, 0.2 * chance)


class SimulatedSink:
    """Keeps ``contract.Sink``, with the classification of errors of the webhook sink."""

    deadline = DEADLINE

    def __init__(self, network: Network, machine: Machine, receiver: Receiver, watch: Watch) -> None:
        self.name = receiver.name
        self._network = network
        self._machine = machine
        self._receiver = receiver
        self._watch = watch

    async def send(self, delivery: Delivery, attempt: Attempt) -> Receipt:
        machine = self._machine
        self._watch.sending(machine, self.name, delivery.id)
        if self._receiver.kills(delivery.id):
            self._watch.killed(self.name, delivery.id)
            machine.die()
            await asyncio.Event().wait()
        try:
            reply = await self._network.call(
                machine,
                f"sink:{self.name}",
                "send",
                lambda: self._receiver.take(machine, delivery, attempt.version),
                patience=None,
            )
        except OSError as error:
            raise failure(error, self.name) from None
        if reply.status == 200:
            is_root = delivery.part is Part.ROOT
            posted = Posted("C1", str(delivery.message), attempt.version) if is_root else None
            return Receipt(reply.status, posted=posted)
        wait = None if reply.rest is None else timedelta(seconds=reply.rest)
        raise refusal(reply.status, self.name, wait)

    async def probe(self) -> str:
        return "fine"

    async def close(self) -> None:
        return None


class Surroundings(msgspec.Struct, frozen=True):
    """What replicas live among."""

    world: World
    network: Network
    watch: Watch
    source: Source
    receivers: Mapping[str, Receiver]
    client: Callable[[Callable[..., Any]], StoreClient]  # of the store, by what carries its requests
    config: Any
    interval: timedelta
    lease: timedelta
    schedules: Mapping[str, Sequence[timedelta]]
    kinds: Kinds


class _InOrder(NameBook):
    """Looks up in an order that does not depend on the hashes of strings, which differ between processes."""

    async def look_up(
        self, employers: Collection[str], carriers: Collection[str], budget: int, spare: int = 0
    ) -> tuple[Names, int]:
        return await super().look_up(sorted(employers), sorted(carriers), budget, spare)


class Replica:
    """One process, from its start to its end."""

    def __init__(self, around: Surroundings, machine: Machine, rng: random.Random) -> None:
        self.machine = machine
        self.health = Health(machine, around.interval)
        self.stopped_at: float | None = None
        self._around = around
        self._stop = asyncio.Event()
        redis = around.client(self._ask)
        self._store = around.kinds.store(redis, KEYS, machine, history=_LEDGER)
        lanes = Lanes(redis, KEYS, self._store.now_us, ledger=_LEDGER)
        source = ClaspClient(
            base_url=BASE,
            api_key="key",
            api_version="2026-04-24",
            page_size=100,
            timeout=timedelta(seconds=30),
            clock=machine,
            rng=rng,
            transport=Wire(around.network, machine, around.source),
        )
        names = _InOrder(source, NameCache(redis, KEYS, self._store.now_us), enabled=True)
        sinks = {
            name: SimulatedSink(around.network, machine, receiver, around.watch)
            for name, receiver in around.receivers.items()
        }
        routes = {
            name: Route(sink, around.schedules[name], 1 if name == "moody" else 8, None)
            for name, sink in sinks.items()
        }
        self._dispatcher = around.kinds.dispatcher(routes, lanes, machine, rng, self.health.attempted)
        self._poller = Poller(
            Tools(source, self._store, names, Router(around.config), machine),
            _settings(around.interval),
            lanes,
            tuple(sinks),
            around.lease,
            Hooks(self._dispatcher.wake, self._polled, lambda: None),
        )
        self._work = machine.start(self._run())

    @property
    def is_over(self) -> bool:
        return self._work.done()

    @property
    def has_failed(self) -> BaseException | None:
        """Why it ended without being told to."""
        if not self._work.done():
            return None
        error = self._work.exception()
        return error or (None if self._stop.is_set() else RuntimeError("it ended by itself"))

    def stop(self) -> None:
        """SIGTERM."""
        self.stopped_at = self.machine.world.now
        self.machine.loop.call_soon(self._stop.set)

    async def _run(self) -> None:
        while not self._stop.is_set():
            try:
                await self._store.sync_time()
                break
            except StoreUnavailable as error:
                self._polled(PollResult("failed", str(error)))
                await self.machine.sleep(5.0)
        async with asyncio.TaskGroup() as parts:
            parts.create_task(self._must_run(self._poller.run(self._stop)))
            parts.create_task(self._must_run(self._dispatcher.run(self._stop, GRACE)))

    async def _must_run(self, part: Any) -> None:
        await part
        if not self._stop.is_set():
            raise RuntimeError("a part ended by itself")

    def _polled(self, result: PollResult) -> None:
        self.health.polled(result)
        self._around.watch.counts[f"polls {result.outcome}"] += 1

    async def _ask(self, name: str, act: Callable[[], Any], args: Sequence[Any]) -> Any:
        def watched() -> Any:
            answer = act()
            self._around.watch.asked_store(self.machine, name, args, answer)
            return answer

        return await self._around.network.call(self.machine, "store", name, watched, patience=_PATIENCE_S)


def _settings(interval: timedelta) -> Settings:
    return Settings(
        name="test",
        base_url=BASE,
        api_version="2026-04-24",
        interval=interval,
        guard=Guard(0.05, 5),
        history=_LEDGER,
        request_budget=50,
        untracked=frozenset({"broker_federal_ein"}),
    )


PEOPLE = "people"
_RULES = """\
  - {{name: everything, when: {{}}, notify: [{programs}]}}
  - {{name: reports, when: {{type: "notifier.*"}}, notify: [{programs}]}}
  - name: needs
    while: {{entity: [group_connection, milestone], status: needs_attention}}
    include_existing: each
    notify: [{programs}, {people}]
"""


def config_for(sinks: Sequence[str]) -> Any:
    """Everything goes to every sink; people hear of alerts."""
    programs = [name for name in sinks if name != PEOPLE]
    rules = _RULES.format(programs=", ".join(programs), people=PEOPLE)
    kinds = dict.fromkeys(programs, "{type: console}")
    kinds[PEOPLE] = '{type: slack, token: xoxb-1, channel: "#people"}'
    return config_with(rules, "".join(f"  {name}: {kind}\n" for name, kind in kinds.items()))
