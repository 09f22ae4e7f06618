"""Machines and a network in virtual time, all in one thread: no socket, no sleep, no chance but a seed's.

Each machine has an event loop of its own, which runs only when the world steps it. A paused one is not
stepped, and finds its timers late afterwards; one that crashed is never stepped again, so that nothing it
would do while it dies happens. Time jumps to the next timer or message when nobody has anything to do.

A message takes a moment to arrive, is acted upon at that instant, and its answer takes a moment to come
back; a link may refuse, lose or delay either, and a trap may end or pause a machine at exactly one of these.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
from asyncio import events
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, Self

import msgspec
from redis.exceptions import RedisError

EPOCH = datetime(2020, 1, 1, tzinfo=UTC)
NEVER = float("inf")


class NumberedTask(asyncio.Task):
    """A task with a hash of its own making: asyncio keeps tasks in sets, whose order would be by address."""

    def __new__(cls, _coro: Any, *, loop: VirtualLoop, **_more: Any) -> Self:
        self = super().__new__(cls)
        self.number = next(loop.world.task_numbers)
        return self

    def __hash__(self) -> int:
        return self.number


class VirtualLoop(asyncio.BaseEventLoop):
    """An event loop without descriptors that runs what is due when it is stepped, unless it ``is_still``."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.world = world
        self.is_still = False
        self.set_task_factory(lambda loop, coro, **more: NumberedTask(coro, loop=loop, **more))
        self.set_exception_handler(lambda _loop, context: world.unheard.append(str(context)))

    def time(self) -> float:
        return self.world.now

    def next_at(self) -> float:
        """When there is something to do."""
        if self.is_still:
            return NEVER
        if self._ready:
            return self.world.now
        while self._scheduled and self._scheduled[0]._cancelled:
            heapq.heappop(self._scheduled)._scheduled = False
            self._timer_cancelled_count -= 1
        return self._scheduled[0]._when if self._scheduled else NEVER

    def step(self) -> None:
        """Run all that is due."""
        now, ready, timers = self.world.now, self._ready, self._scheduled
        events._set_running_loop(self)
        try:
            while self.next_at() <= now:
                while timers and timers[0]._when <= now:
                    timer = heapq.heappop(timers)
                    timer._scheduled = False
                    ready.append(timer)
                while ready and not self.is_still:
                    handle = ready.popleft()
                    if not handle._cancelled:
                        handle._run()
        finally:
            events._set_running_loop(None)


class World:
    """The time, what happens when, and the machines."""

    def __init__(self, seed: str) -> None:
        self.now = 0.0
        self.rng = random.Random(seed)
        self.machines: list[Machine] = []
        self.buried: list[Machine] = []
        self.task_numbers = itertools.count()
        self.unheard: list[str] = []  # exceptions that nobody looked at
        self._agenda: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = itertools.count()

    def after(self, seconds: float, happen: Callable[..., None], *args: Any) -> None:
        heapq.heappush(self._agenda, (self.now + seconds, next(self._order), happen, args))

    def run(self, until: float) -> None:
        """Let everything happen up to a moment."""
        agenda = self._agenda
        while True:
            at = agenda[0][0] if agenda else NEVER
            for machine in self.machines:
                at = min(at, machine.loop.next_at())
            if at > until:
                self.now = until
                return
            self.now = max(self.now, at)
            while agenda and agenda[0][0] <= self.now:
                _, _, happen, args = heapq.heappop(agenda)
                happen(*args)
            for machine in tuple(self.machines):
                if machine.loop.next_at() <= self.now:
                    machine.loop.step()

    def end(self) -> None:
        """Unwind what is left of all tasks, out of everybody's hearing."""
        for machine in (*self.machines, *self.buried):
            machine.is_dead, machine.loop.is_still = True, False
            for _ in range(50):
                tasks = [task for task in asyncio.all_tasks(machine.loop) if not task.done()]
                if not tasks:
                    break
                for task in tasks:
                    task.cancel()
                machine.loop.step()
                self.now += 1.0
            machine.loop.close()
        self.machines, self.buried, self._agenda = [], [], []


class Trap(msgspec.Struct):
    """What is to happen to a machine when its next ``what`` is sent, or has been acted upon (``is_late``)."""

    what: str
    is_late: bool
    spring: Callable[[], None]


class Machine:
    """One process at a place: its loop, and its clocks, which are wrong. Also a notifier's ``Clock``."""

    def __init__(self, world: World, place: str, *, skew: timedelta, rate: float) -> None:
        self.world = world
        self.place = place
        self.loop = VirtualLoop(world)
        self.is_paused = False
        self.is_dead = False
        self.on_death: Callable[[], None] = lambda: None
        self.trap: Trap | None = None
        self.skew = skew
        self._rate = rate
        self._started_s = world.now
        self._outbox: list[Callable[[], None]] = []
        world.machines.append(self)

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self.loop.create_task(work)

    def die(self) -> None:
        """Like SIGKILL: not another instruction. What it had sent is still under way."""
        if not self.is_dead:
            self.is_dead = self.loop.is_still = True
            self.world.machines.remove(self)
            self.world.buried.append(self)
            self.on_death()

    def pause(self, seconds: float) -> None:
        """Like SIGSTOP, and SIGCONT afterwards."""
        if not (self.is_paused or self.is_dead):
            self.is_paused = self.loop.is_still = True
            self.world.after(seconds, self.go_on)

    def go_on(self) -> None:
        self.is_paused, self.loop.is_still = False, self.is_dead
        held, self._outbox = self._outbox, []
        for send in held:
            if not self.is_dead:
                send()

    def send(self, send: Callable[[], None]) -> None:
        """Send now, or where it was paused just before, when it goes on; never where it is dead."""
        if self.is_paused:
            self._outbox.append(send)
        elif not self.is_dead:
            send()

    def now(self) -> datetime:
        return EPOCH + self.skew + timedelta(seconds=self.world.now)

    def monotonic(self) -> float:
        return 1000.0 + (self.world.now - self._started_s) * self._rate

    async def sleep(self, seconds: float) -> None:
        # A microsecond late, as any sleep is: one that ends early by a rounding would begin again for ever.
        await asyncio.sleep(seconds / self._rate + 1e-6 if seconds > 0 else 0)


class Link(msgspec.Struct):
    """How it stands between a place and a target.

    ``refused``: nothing listens. ``lost``: what is sent never arrives. ``deaf``: what is sent on connections
    that are open (``open`` of them) arrives, but no answer comes back, and no new connection is made.
    ``slow``: each way takes up to ``delay`` seconds.
    """

    fault: str = ""
    open: int = 0
    delay: float = 0.0


class Request(msgspec.Struct, frozen=True):
    """Something on its way from a machine to a target, and the future of its answer."""

    machine: Machine
    target: str
    what: str
    act: Callable[[], Any]
    patience: float | None
    future: asyncio.Future[Any]


class Network:
    """Carries requests and answers; ``latency`` is the longest way in seconds, by the target's kind."""

    def __init__(self, world: World, latency: dict[str, float]) -> None:
        self._world = world
        self._latency = latency
        self.links: dict[tuple[str, str], Link] = {}

    def call(
        self, machine: Machine, target: str, what: str, act: Callable[[], Any], *, patience: float | None
    ) -> asyncio.Future[Any]:
        """The answer of ``act`` at ``target``, or its exception.

        An answer with a ``delay`` comes so much later, or never where that is None. Whoever waits gives up
        after ``patience`` (TimeoutError); without one, it is for the caller to give up, and a request that
        was given up before it arrived has no effect.
        """
        request = Request(machine, target, what, act, patience, machine.loop.create_future())
        self._spring(request, is_late=False)
        machine.send(lambda: self._send(request))
        return request.future

    def _spring(self, request: Request, *, is_late: bool) -> None:
        trap = request.machine.trap
        if trap is not None and trap.what == request.what and trap.is_late is is_late:
            request.machine.trap = None
            trap.spring()

    def _link(self, request: Request) -> Link:
        return self.links.get((request.machine.place, request.target), _GOOD)

    def _send(self, request: Request) -> None:
        link = self._link(request)
        if link.fault == "refused":
            self._world.after(0.001, _end, request.future, None, ConnectionRefusedError("refused"))
        elif link.fault == "lost" or (link.fault == "deaf" and link.open <= 0):
            self._never(request)
        else:
            self._world.after(self._way(request, link), self._arrive, request)
            if link.fault == "slow":
                self._never(request)

    def _arrive(self, request: Request) -> None:
        if request.patience is None and request.future.done():
            return  # the connection was closed before
        answer = error = None
        try:
            answer = request.act()
        except (OSError, RedisError) as raised:  # it is the answer
            error = raised
        self._spring(request, is_late=True)
        link = self._link(request)
        delay = getattr(answer, "delay", 0.0)
        if link.fault in {"lost", "deaf"} or delay is None:
            link.open -= link.fault == "deaf"
            self._never(request)
        else:
            self._world.after(self._way(request, link) + delay, _end, request.future, answer, error)

    def _way(self, request: Request, link: Link) -> float:
        longest = link.delay or self._latency[request.target.partition(":")[0]]
        return longest * (0.1 + 0.9 * self._world.rng.random())

    def _never(self, request: Request) -> None:
        if request.patience is not None:
            self._world.after(request.patience, _end, request.future, None, TimeoutError("no answer"))


_GOOD = Link()


def _end(future: asyncio.Future[Any], answer: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(answer)
