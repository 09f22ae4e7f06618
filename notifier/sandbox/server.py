"""The simulated API on a port, with a world that lives by itself.

Two tasks beside the server: the life cycle, which lets one thing happen every ``pace`` on average, and for
the demo a script that makes sure that there is something to see. Both stop with the server.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from datetime import timedelta
from typing import Self

from aiohttp import web

from notifier.clock import Clock
from notifier.errors import ConfigError
from notifier.sandbox.app import create_app
from notifier.sandbox.faults import Faults
from notifier.sandbox.limits import REQUESTS_AT_ONCE, REQUESTS_PER_S
from notifier.sandbox.world import World

DEMO = "demo"
_LONGEST_GAP = 3.0  # times the pace
_DEMO_LOOK_S = 3.0  # how long the demo waits for somebody to have read the whole list once
_DEMO_TROUBLE_S = 1.5  # after that; together less than five seconds
_DEMO_HELP_S = 12.0  # and so much later the trouble is over
_SHUTDOWN_S = 0.5


class SandboxServer:
    """Serves ``world`` until it is stopped; an async context manager, or ``start`` and ``stop``.

    ``port`` 0 takes a free one. ``pace`` is the average real time between two things that happen; None
    keeps the world still but for what is asked by hand. ``scenario="demo"`` brings a group connection to
    ``needs_attention`` within five seconds of the start (after the first whole reading of the list, if there
    is one by then), and out of it some time later.
    """

    def __init__(
        self,
        world: World,
        *,
        api_key: str,
        clock: Clock,
        host: str = "127.0.0.1",
        port: int = 0,
        pace: timedelta | None = None,
        scenario: str | None = None,
        rate_limit: int | None = REQUESTS_PER_S,
        at_once: int | None = REQUESTS_AT_ONCE,
        faults: Faults | None = None,
    ) -> None:
        self.world = world
        self.faults = Faults() if faults is None else faults
        if scenario not in {None, DEMO}:
            raise ConfigError(f"there is no scenario {scenario!r}; there is: {DEMO}")
        if pace is not None and pace <= timedelta(0):
            raise ConfigError("the pace must be longer than 0 s")
        self._clock = clock
        self._host, self._port = host, port
        self._pace = pace
        self._scenario = scenario
        self._was_read = asyncio.Event()
        self._base_url = ""
        self._tasks: list[asyncio.Task[None]] = []
        app = create_app(
            world,
            api_key=api_key,
            clock=clock,
            rate_limit=rate_limit,
            at_once=at_once,
            faults=self.faults,
            on_traversed=self._was_read.set,
        )
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_S)

    @property
    def base_url(self) -> str:
        """``http://127.0.0.1:41234``; empty until it is started."""
        return self._base_url

    async def start(self) -> str:
        """Listen and let the world live; the base URL. ConfigError where the address cannot be had."""
        await self._runner.setup()
        try:
            await web.TCPSite(self._runner, self._host, self._port).start()
        except (OSError, OverflowError) as error:
            await self._runner.cleanup()
            where = f"{self._host}:{self._port}"
            problem = f"the sandbox cannot listen on {where} ({error}); choose another port"
            raise ConfigError(problem) from error
        port = self._runner.addresses[0][1]
        host = f"[{self._host}]" if ":" in self._host else self._host
        self._base_url = f"http://{host}:{port}"
        if self._pace is not None:
            self._tasks.append(asyncio.create_task(self._live(self._pace.total_seconds())))
        if self._scenario == DEMO:
            self._tasks.append(asyncio.create_task(self._play_demo()))
        return self._base_url

    async def stop(self) -> None:
        """Stop the world and close the port. An error that ended one of its tasks is raised here."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await self._runner.cleanup()
        for task in tasks:
            with suppress(asyncio.CancelledError):
                await task

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.stop()

    async def _live(self, pace_s: float) -> None:
        """Let things happen at random, ``pace_s`` apart on average."""
        rng = random.Random(self.world.seed)
        while True:
            await self._clock.sleep(min(rng.expovariate(1 / pace_s), _LONGEST_GAP * pace_s))
            self.world.step()

    async def _play_demo(self) -> None:
        """Trouble once the list was read, and its end; nothing else happens to that connection meanwhile."""
        await self._until_read(_DEMO_LOOK_S)
        await self._clock.sleep(_DEMO_TROUBLE_S)
        connection, group = self.world.trouble()
        self.world.hold(connection)
        try:
            await self._clock.sleep(_DEMO_HELP_S)
            self.world.set_group_status(connection, group, "processing")
        except KeyError:
            pass  # it was removed by hand
        finally:
            self.world.release(connection)

    async def _until_read(self, longest_s: float) -> None:
        waits = [
            asyncio.create_task(self._was_read.wait()),
            asyncio.create_task(self._clock.sleep(longest_s)),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waits:
                task.cancel()
