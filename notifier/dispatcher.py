"""What is owed -> sinks. Any number of replicas run this side by side.

One task per sink claims lanes that are due and gives each to an attempt of its own: send, let ``retry``
decide, settle. Sinks know nothing of lanes; a lane knows nothing of other lanes; a slow or dead sink fills
only its own places. Nothing is kept here that a crash could lose: a claim that is never settled ends by
itself, and the lane comes back.

A delivery whose claim ended twice without a settle may be what ended the worker. It is sent alone, with
nothing else under way here; if that claim ends without a settle too, it is poison and goes to the dead
letters.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import msgspec
import structlog

from notifier.clock import Clock
from notifier.core.results import AttemptResult
from notifier.core.retry import Outcome, Verdict, decide
from notifier.errors import DeliveryError, StoreError, TemporaryFailure
from notifier.sinks.contract import Attempt, Receipt, Sink
from notifier.store.lanes import Claim, Lanes

ALONE_CLAIM, POISON_CLAIM = 3, 4  # which claim in a row of one delivery
_LOOK_EVERY = timedelta(seconds=1)  # other replicas commit and settle too; nobody tells us
_STORE_RETRY = timedelta(seconds=1)
_SETTLE_TRIES = 3

_log = structlog.get_logger()


class Route(msgspec.Struct, frozen=True):
    """A sink with how the configuration wants it to be used."""

    sink: Sink
    schedule: Sequence[timedelta]
    concurrency: int
    rate: float | None


class Dispatcher:
    """Delivers until told to stop."""

    def __init__(
        self,
        routes: Mapping[str, Route],
        lanes: Lanes,
        clock: Clock,
        rng: random.Random,
        on_attempt: Callable[[AttemptResult], None] = lambda _: None,
    ) -> None:
        self._routes = routes
        self._lanes = lanes
        self._clock = clock
        self._rng = rng
        self._on_attempt = on_attempt
        self._wakes = {name: asyncio.Event() for name in routes}
        self._quiet = _Quiet()

    def wake(self, sinks: set[str]) -> None:
        """These sinks were given work: look at once."""
        for name in sinks & self._wakes.keys():
            self._wakes[name].set()

    async def run(self, stop: asyncio.Event, grace: timedelta) -> None:
        """Deliver until ``stop`` is set, then give attempts under way ``grace`` to end."""
        async with asyncio.TaskGroup() as tasks:
            for name, route in self._routes.items():
                tasks.create_task(self._serve(name, route, stop, grace))

    async def _serve(self, name: str, route: Route, stop: asyncio.Event, grace: timedelta) -> None:
        under_way: set[asyncio.Task[None]] = set()
        stopped = asyncio.create_task(stop.wait())
        try:
            async with asyncio.TaskGroup() as attempts:
                while not stop.is_set():
                    wake = self._wakes[name]
                    wake.clear()
                    claims, wait = await self._claim(name, route, route.concurrency - len(under_way))
                    for claim in claims:
                        task = attempts.create_task(self._attempt(claim, route))
                        under_way.add(task)
                        task.add_done_callback(under_way.discard)
                    await self._pause(wait, wake, stopped, under_way)
                await _drain(under_way, grace)
        finally:
            stopped.cancel()

    async def _claim(self, name: str, route: Route, places: int) -> tuple[list[Claim], timedelta]:
        """As many lanes as there are places, and how long until it is worth asking again."""
        if places <= 0:
            return [], _LOOK_EVERY
        try:
            claims, wait = await self._lanes.claim(
                name, hold=route.sink.deadline, most=places, rate=route.rate
            )
        except StoreError as error:
            _log.warning("claim.failed", sink=name, error=str(error))
            return [], _STORE_RETRY
        return claims, _LOOK_EVERY if wait is None else min(wait, _LOOK_EVERY)

    async def _pause(
        self,
        wait: timedelta,
        wake: asyncio.Event,
        stopped: asyncio.Task[bool],
        under_way: set[asyncio.Task[None]],
    ) -> None:
        """Until time has passed, an attempt ended (its lane may hold more), work came, or we stop."""
        if wait <= timedelta():
            await self._clock.sleep(0)
            return
        woken = asyncio.create_task(wake.wait())
        nap = asyncio.create_task(self._clock.sleep(wait.total_seconds()))
        try:
            await asyncio.wait({stopped, woken, nap, *under_way}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
            nap.cancel()

    # --- one attempt ---

    async def _attempt(self, claim: Claim, route: Route) -> None:
        """Send and settle; a cancelled attempt gives its claim back, so that a stop costs nothing."""
        try:
            if claim.claims >= POISON_CLAIM:
                await self._settle(claim, _POISON, 0.0)
            elif claim.claims == ALONE_CLAIM:
                async with self._quiet.alone():
                    renewed = await self._lanes.renew(claim, route.sink.deadline)
                    if renewed is not None:
                        await self._send_and_settle(renewed, route)
            else:
                async with self._quiet.shared():
                    await self._send_and_settle(claim, route)
        except asyncio.CancelledError:
            await self._give_back(claim)
            raise
        except StoreError as error:  # the claim ends by itself, and the delivery is sent again
            _log.warning("settle.failed", sink=claim.sink, delivery_id=claim.delivery.id, error=str(error))

    async def _send_and_settle(self, claim: Claim, route: Route) -> None:
        began = self._clock.monotonic()
        error, receipt = await self._send(claim, route)
        seconds = self._clock.monotonic() - began
        age = timedelta()
        if claim.first_us:
            age = timedelta(microseconds=max(0, self._lanes.now_us() - claim.first_us))
        outcome = decide(
            error,
            attempts=claim.attempts + 1,
            age=age,
            sink_failures=claim.failures + 1,
            schedule=route.schedule,
            rng=self._rng,
        )
        if error is None and receipt is not None:
            outcome = msgspec.structs.replace(outcome, status=receipt.status)
        await self._settle(claim, outcome, seconds)

    async def _send(self, claim: Claim, route: Route) -> tuple[DeliveryError | None, Receipt | None]:
        attempt = Attempt(claim.attempts + 1, self._clock.now())
        try:
            async with asyncio.timeout(route.sink.deadline.total_seconds()):
                return None, await route.sink.send(claim.delivery, attempt)
        except DeliveryError as error:
            return error, None
        except TimeoutError:
            return TemporaryFailure("timeout", "the attempt took longer than the sink's timeout"), None
        except Exception as error:  # noqa: BLE001 - a sink's defect costs only its own deliveries
            _log.exception("sink.defect", sink=claim.sink, delivery_id=claim.delivery.id)
            return TemporaryFailure("defect", f"the sink failed unexpectedly ({type(error).__name__})"), None

    async def _settle(self, claim: Claim, outcome: Outcome, seconds: float) -> None:
        for left in reversed(range(_SETTLE_TRIES)):
            try:
                is_ours = await self._lanes.settle(claim, outcome, took_ms=round(seconds * 1000))
                break
            except StoreError:
                if not left:
                    raise
                await self._clock.sleep(0.1)
        else:  # pragma: no cover - the loop ends by break or raise
            raise AssertionError
        self._on_attempt(AttemptResult(claim.sink, outcome, seconds))
        _log.log(
            logging.INFO if outcome.verdict is Verdict.DELIVERED else logging.WARNING,
            "delivery.attempted",
            sink=claim.sink,
            key=claim.key,
            delivery_id=claim.delivery.id,
            type=claim.delivery.type,
            rule=claim.delivery.rule,
            attempt=claim.attempts + 1,
            outcome=str(outcome.verdict),
            reason=outcome.reason or None,
            detail=outcome.message or None,
            status=outcome.status,
            ms=round(seconds * 1000),
            retry_s=round(outcome.delay.total_seconds()) if outcome.delay else None,
            settled=is_ours,
        )

    async def _give_back(self, claim: Claim) -> None:
        try:
            await asyncio.shield(self._lanes.release(claim))
        except StoreError as error:
            _log.warning("release.failed", sink=claim.sink, error=str(error))


_POISON = Outcome(
    Verdict.DEAD,
    "poison",
    "three attempts in a row began and never ended: the worker may have died of this delivery",
)


class _Quiet:
    """Lets many attempts run side by side, or one alone."""

    def __init__(self) -> None:
        self._running = 0
        self._changed = asyncio.Condition()
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def shared(self) -> AsyncIterator[None]:
        """Side by side with other shared ones, after whoever waits to be alone."""
        async with self._turn:
            self._running += 1
        try:
            yield
        finally:
            self._running -= 1
            async with self._changed:
                self._changed.notify_all()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """With nothing else running."""
        async with self._turn:
            async with self._changed:
                await self._changed.wait_for(lambda: self._running == 0)
            yield


async def _drain(tasks: set[asyncio.Task[None]], grace: timedelta) -> None:
    """Let attempts end by themselves for a while; then cancel them, which gives their claims back."""
    if tasks:
        _, late = await asyncio.wait(set(tasks), timeout=grace.total_seconds())
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
