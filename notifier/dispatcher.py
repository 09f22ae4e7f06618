"""What is owed -> sinks. Any number of replicas run this side by side.

One task per sink claims lanes that are due and gives each to an attempt of its own: send, let ``retry``
decide, settle. Sinks know nothing of lanes; a lane knows nothing of other lanes; a slow or dead sink fills
only its own places. Nothing is kept here that a crash could lose: a claim that is never settled ends by
itself, and the lane comes back.

A delivery whose claim ended twice without a settle is a suspect: it may be what ended the worker. It is
claimed only when this worker has nothing else under way at that sink, and no suspect of another sink, and
sent alone; if that claim ends without a settle too, it is poison and goes to the dead letters. A worker that
lives settles what it sent, however long the store is away, so that only the end of a worker makes a suspect.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta

import msgspec
import structlog

from notifier.clock import Clock
from notifier.core.results import AttemptResult
from notifier.core.retry import Outcome, Verdict, decide
from notifier.errors import DeliveryError, PermanentFailure, StoreError, StoreUnfit, TemporaryFailure
from notifier.models import Delivery, Part, Posted
from notifier.sinks.contract import Attempt, Receipt, Sink
from notifier.store.client import LAST_WORD_S
from notifier.store.lanes import CLAIM_MARGIN, Claim, Lanes

SUSPECT = 2  # claims in a row that ended without a settle; the next is made alone, one more is poison
_LOOK_EVERY = timedelta(seconds=1)  # other replicas commit and settle too; nobody tells us
_STORE_RETRY = timedelta(seconds=1)
_CLAIMED_AT_ONCE = 16  # more would start, end and settle as one crowd, and their places stand empty meanwhile

_log = structlog.get_logger()


class Route(msgspec.Struct, frozen=True):
    """A sink with how the configuration wants it to be used.

    ``probes``: where nothing gets through at all, one delivery at a time is tried again before its turn, so
    that the end of an outage is noticed soon.
    """

    sink: Sink
    schedule: Sequence[timedelta]
    concurrency: int
    rate: float | None
    probes: bool = False


class _Held(msgspec.Struct, frozen=True):
    """A claim, the sink that it was made for, and until when (monotonic) its attempt may begin."""

    claim: Claim
    sink: Sink
    begin_before_s: float


class _TooLate(Exception):
    """The process stood still since it claimed, or the store was slow: nothing was sent.

    Another worker may have sent this, and more, by now, or would before the attempt ends.
    """


class _Claimed(msgspec.Struct, frozen=True):
    """What a look at the lanes gave: claims, how long until the next look, suspects that are due."""

    claims: tuple[_Held, ...]
    wait: timedelta
    suspects: int


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
        self._routes = dict(routes)
        self._lanes = lanes
        self._clock = clock
        self._rng = rng
        self._on_attempt = on_attempt
        self._wakes = {name: asyncio.Event() for name in routes}
        self._unsettled = dict.fromkeys(routes, 0)
        self._suspicion = asyncio.Lock()  # held while a suspect is under way: one at a time, of all sinks

    def wake(self, sinks: set[str]) -> None:
        """These sinks were given work: look at once."""
        for name, wake in self._wakes.items():  # in the order of the configuration, not of a set
            if name in sinks:
                wake.set()

    def renew(self, name: str, sink: Sink) -> None:
        """Send by this sink what is claimed from now on; what was claimed before ends by the one before.

        A claim lasts as long as the deadline of the sink that it was made for.
        """
        self._routes[name] = msgspec.structs.replace(self._routes[name], sink=sink)

    async def run(self, stop: asyncio.Event, grace: timedelta) -> None:
        """Deliver until ``stop`` is set; attempts under way may end until ``grace`` after it."""
        async with asyncio.TaskGroup() as tasks:
            for name in self._routes:
                tasks.create_task(self._serve(name, stop, grace))

    async def _serve(self, name: str, stop: asyncio.Event, grace: timedelta) -> None:
        under_way: set[asyncio.Task[None]] = set()
        wake = self._wakes[name]
        stopped = asyncio.create_task(self._moment_of(stop))

        def ended(task: asyncio.Task[None]) -> None:
            under_way.discard(task)
            wake.set()  # a place is free, and the lane may hold more

        try:
            async with asyncio.TaskGroup() as attempts:

                def start(claims: Sequence[_Held]) -> None:
                    for claim in claims:
                        task = attempts.create_task(self._attempt(claim))
                        under_way.add(task)
                        task.add_done_callback(ended)

                while not stop.is_set():
                    wake.clear()
                    places = self._routes[name].concurrency - len(under_way)
                    claimed = await self._claim(name, places, alone=False)
                    start(claimed.claims)
                    if not claimed.suspects:
                        await self._pause(claimed.wait, wake, stopped)
                    elif self._suspicion.locked():  # the suspect of another sink could take this one with it
                        await self._pause(_LOOK_EVERY, wake, stopped)
                    else:
                        async with self._suspicion:
                            if await _all_ended(under_way, stopped):
                                start(await self._claim_suspect(name, stopped))
                                await _all_ended(under_way, stopped)
                        self.wake({*self._wakes})  # another sink's suspect may have waited for this one
                since_stop_s = self._clock.monotonic() - await stopped  # a claim may have held us up
                await _drain(under_way, max(0.0, grace.total_seconds() - since_stop_s))
        finally:
            stopped.cancel()

    async def _moment_of(self, stop: asyncio.Event) -> float:
        """When it is set, on the monotonic clock."""
        await stop.wait()
        return self._clock.monotonic()

    async def _claim(self, name: str, places: int, *, alone: bool) -> _Claimed:
        """Lanes for the free places, not all at once; or one suspect ``alone``."""
        if places <= 0:
            return _Claimed((), _LOOK_EVERY, 0)
        if self._unsettled[name]:
            return _Claimed((), _STORE_RETRY, 0)  # the store was away: first what was sent is settled
        route, began = self._routes[name], self._clock.monotonic()
        try:
            batch = await self._lanes.claim(
                name,
                hold=route.sink.deadline,
                most=min(places, _CLAIMED_AT_ONCE),
                rate=route.rate,
                suspected=SUSPECT,
                alone=alone,
                concurrency=route.concurrency,
            )
        except StoreError as error:
            _log.warning("claim.failed", sink=name, error=str(error))
            return _Claimed((), _STORE_RETRY, 0)
        begin_before_s = began + CLAIM_MARGIN.total_seconds()
        claims = tuple(_Held(claim, route.sink, begin_before_s) for claim in batch.claims)
        wait = _LOOK_EVERY if batch.wait is None else min(batch.wait, _LOOK_EVERY)
        return _Claimed(claims, wait, batch.suspects)

    async def _claim_suspect(self, name: str, stopped: asyncio.Task[float]) -> tuple[_Held, ...]:
        suspect = await self._claim(name, 1, alone=True)
        if not suspect.claims:  # a rate makes it wait; others would only take its turn
            await self._pause(suspect.wait, asyncio.Event(), stopped)
            suspect = await self._claim(name, 1, alone=True)
        return suspect.claims

    async def _pause(self, wait: timedelta, wake: asyncio.Event, stopped: asyncio.Task[float]) -> None:
        """Until time has passed, an attempt ended, work came, or we stop."""
        if wait <= timedelta():
            await self._clock.sleep(0)
            return
        woken = asyncio.create_task(wake.wait())
        nap = asyncio.create_task(self._clock.sleep(wait.total_seconds()))
        try:
            await asyncio.wait({stopped, woken, nap}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            woken.cancel()
            nap.cancel()

    # --- one attempt ---

    async def _attempt(self, held: _Held) -> None:
        """Send and settle; a cancelled attempt gives its claim back, so that a stop costs nothing."""
        claim = held.claim
        try:
            if claim.claims > SUSPECT + 1:
                await self._settle(claim, _POISON, 0.0)
            elif claim.delivery.is_unreadable:
                await self._settle(claim, _UNREADABLE, 0.0)
            else:
                await self._send_and_settle(held)
        except _TooLate:
            await self._give_back(claim)
        except asyncio.CancelledError:
            _log.info("attempt.cut_off", sink=claim.sink, delivery_id=claim.delivery.id)  # it may come again
            await self._give_back(claim)
            raise
        except StoreError as error:  # what is to be shown could not be read; nothing was sent
            _log.warning("message.unread", sink=claim.sink, delivery_id=claim.delivery.id, error=str(error))
            await self._give_back(claim)

    async def _send_and_settle(self, held: _Held) -> None:
        claim, began = held.claim, self._clock.monotonic()
        error, receipt = await self._send(held)
        seconds = self._clock.monotonic() - began
        age = timedelta()
        if claim.first_us:
            age = timedelta(microseconds=max(0, self._lanes.now_us() - claim.first_us))
        outcome = decide(
            error,
            attempts=claim.attempts + 1,
            age=age,
            sink_failures=claim.failures + 1,
            schedule=self._routes[claim.sink].schedule,
            rng=self._rng,
            probes=self._routes[claim.sink].probes,
        )
        if error is None and receipt is not None:
            said = {"status": receipt.status, "reason": receipt.reason, "place": receipt.place}
            outcome = msgspec.structs.replace(outcome, **said)
        posted = receipt.posted if receipt else None
        unsure = claim.may_repeat or (isinstance(error, TemporaryFailure) and error.may_have_arrived)
        await self._settle(claim, outcome, seconds, posted, may_repeat=unsure)

    async def _job(self, claim: Claim) -> tuple[Delivery, Attempt] | None:
        """What is to be sent, and what a sink needs to know for it; None where it is shown already."""
        delivery = claim.delivery
        attempt = Attempt(claim.attempts + 1, self._clock.now(), claim.may_repeat)
        if delivery.message is None:
            return delivery, attempt
        shown = await self._lanes.shown(claim.sink, delivery)
        version = shown.page.message.version if shown.page else 0
        if delivery.part is Part.ROOT:
            if shown.page is None or (shown.posted and shown.posted.version >= version):
                return None
            delivery = msgspec.structs.replace(delivery, body=bytes(shown.page.show).decode())
        posted = {"posted": shown.posted, "previous": shown.previous, "version": version}
        return delivery, msgspec.structs.replace(attempt, **posted)

    async def _send(self, held: _Held) -> tuple[DeliveryError | None, Receipt | None]:
        claim, sink = held.claim, held.sink
        try:
            job = await self._job(claim)
        except StoreUnfit as spoilt:  # somebody wrote to what the message shows
            return PermanentFailure("unreadable", str(spoilt)), None
        if job is None:
            return None, None
        if self._clock.monotonic() > held.begin_before_s:
            raise _TooLate
        delivery, attempt = job
        try:
            async with asyncio.timeout(sink.deadline.total_seconds()):
                return None, await sink.send(delivery, attempt)
        except DeliveryError as error:
            return error, None
        except TimeoutError:
            return TemporaryFailure("timeout", "the attempt took longer than the sink's timeout"), None
        except Exception as error:  # noqa: BLE001 - a sink's defect costs only its own deliveries
            _log.exception("sink.defect", sink=claim.sink, delivery_id=claim.delivery.id)
            return TemporaryFailure("defect", f"the sink failed unexpectedly ({type(error).__name__})"), None

    async def _settle(
        self,
        claim: Claim,
        outcome: Outcome,
        seconds: float,
        posted: Posted | None = None,
        *,
        may_repeat: bool = False,
    ) -> None:
        is_ours = await self._lanes_settle(claim, outcome, seconds, posted, may_repeat=may_repeat)
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

    async def _lanes_settle(
        self, claim: Claim, outcome: Outcome, seconds: float, posted: Posted | None, *, may_repeat: bool
    ) -> bool:
        """Settle, as often as it takes while the store does not; False where the claim was lost."""
        delay_s, is_waiting = 0.1, False
        try:
            while True:
                try:
                    took_ms = round(seconds * 1000)
                    return await self._lanes.settle(
                        claim, outcome, took_ms=took_ms, posted=posted, may_repeat=may_repeat
                    )
                except StoreError as error:  # away, or it refuses: sending on would only say things twice
                    self._unsettled[claim.sink] += not is_waiting
                    is_waiting = True
                    _log.warning(
                        "settle.waits", sink=claim.sink, delivery_id=claim.delivery.id, error=str(error)
                    )
                    await self._clock.sleep(delay_s)
                    delay_s = min(delay_s * 2, _STORE_RETRY.total_seconds())
        finally:
            self._unsettled[claim.sink] -= is_waiting

    async def _give_back(self, claim: Claim) -> None:
        try:
            async with asyncio.timeout(LAST_WORD_S):
                await self._lanes.release(claim)
        except (StoreError, TimeoutError) as error:  # the claim ends by itself
            _log.warning("release.failed", sink=claim.sink, error=str(error) or "the store does not answer")


_POISON = Outcome(
    Verdict.DEAD,
    "poison",
    "three attempts in a row began and never ended: the worker may have died of this delivery",
)
_UNREADABLE = Outcome(
    Verdict.DEAD,
    "unreadable",
    "what lies in the lane is no delivery of this release; its text is in the letter",
)


async def _all_ended(tasks: set[asyncio.Task[None]], stopped: asyncio.Task[float]) -> bool:
    """Wait until nothing is under way any more; False where the stop came first."""
    while tasks and not stopped.done():
        await asyncio.wait({stopped, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    return not stopped.done()


async def _drain(tasks: set[asyncio.Task[None]], seconds: float) -> None:
    """Let attempts end by themselves for a while; then cancel them, which gives their claims back."""
    if tasks:
        _, late = await asyncio.wait(set(tasks), timeout=seconds)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
