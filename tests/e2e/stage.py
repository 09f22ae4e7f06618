"""What the command meets: a simulated Clasp API and receivers, served by a thread of the test's process.

The test itself stays synchronous: it moves the world by ``stage.do`` and reads what receivers were sent.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from typing import Any, Self, TypeVar

from aiohttp import web

from notifier.clock import SystemClock
from notifier.sandbox.build import build_world
from notifier.sandbox.faults import Faults
from notifier.sandbox.server import SandboxServer
from notifier.sandbox.world import World
from tests.doubles.receiver import Request

T = TypeVar("T")
API_KEY = "canary-api-key-4711"
SECRET = "whsec_Y2FuYXJ5LXdlYmhvb2stc2VjcmV0LTA4MTU="


class Receiver:
    """A webhook receiver. ``answer`` and ``delay_s`` say how it behaves from now on.

    ``requests`` are all that came; ``taken`` those that were answered with 2xx, in the order of the answers.
    """

    def __init__(self) -> None:
        self.url = ""
        self.answer: Callable[[Request], int] = lambda _request: 204
        self.delay_s: Callable[[], float] = lambda: 0.0
        self.requests: list[Request] = []
        self.taken: list[Request] = []
        self.most_at_once = self._at_once = 0

    async def handle(self, given: web.Request) -> web.Response:
        headers = {name.lower(): value for name, value in given.headers.items()}
        request = Request(given.method, given.path_qs, headers, await given.read())
        self.requests.append(request)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await asyncio.sleep(self.delay_s())
        finally:
            self._at_once -= 1
        status = self.answer(request)
        if 200 <= status < 300:
            self.taken.append(request)
        return web.Response(status=status)

    def bodies(self) -> list[dict[str, Any]]:
        """What was taken, every delivery once, in the order of its first arrival."""
        once = {request.headers["webhook-id"]: request for request in reversed(self.taken)}
        order = dict.fromkeys(request.headers["webhook-id"] for request in self.taken)
        return [json.loads(once[id_].body) for id_ in order]

    def told(self) -> list[dict[str, Any]]:
        """The transitions among them."""
        return [body for body in self.bodies() if not body["type"].startswith("notifier.")]

    def notices(self) -> list[str]:
        """What the notifier said of itself, by type."""
        return [body["type"] for body in self.bodies() if body["type"].startswith("notifier.")]


class Stage:
    """The API (``base_url``) with its ``world`` and ``faults``, and any number of receivers."""

    def __init__(self, *, seed: int = 7, connections: int = 12) -> None:
        self.clock = SystemClock()
        self.world: World = build_world(seed=seed, clock=self.clock, connections=connections)
        self.faults: Faults
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="stage", daemon=True)
        self._runners: list[web.AppRunner] = []
        self._server: SandboxServer

    def __enter__(self) -> Self:
        self._thread.start()
        self.do(self._start)
        return self

    def __exit__(self, *_exception: object) -> None:
        self.do(self._stop)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def base_url(self) -> str:
        return self._server.base_url

    def do(self, what: Callable[[], Any]) -> Any:
        """Call ``what`` where the servers run, so that no request sees half of it; its (awaited) result."""

        async def call() -> Any:
            result = what()
            return await result if asyncio.iscoroutine(result) else result

        return asyncio.run_coroutine_threadsafe(call(), self._loop).result(30)

    def fault(self, kind: str, **options: Any) -> None:
        """Put a fault in force, until :meth:`mend` unless ``times`` says otherwise."""
        self.do(lambda: self.faults.add(kind, **{"times": None, **options}))

    def mend(self) -> None:
        self.do(self.faults.clear)

    def receiver(self) -> Receiver:
        """A new receiver, listening."""
        receiver = Receiver()
        self.do(lambda: self._serve(receiver))
        return receiver

    def trouble(self) -> tuple[str, str]:
        """One group connection turns to needs_attention in one change: (its connection's id, its own)."""
        return self.do(self._trouble)

    def _trouble(self) -> tuple[str, str]:
        connection, group = next(
            (item, group)
            for item in self.world.connections()
            for group in item["group_connections"]
            if item["status"] != "needs_attention" and group["status"] in {"pending", "processing"}
        )
        self.world.set_group_status(connection["id"], group["id"], "needs_attention")
        return connection["id"], group["id"]

    async def _start(self) -> None:
        self._server = SandboxServer(self.world, api_key=API_KEY, clock=self.clock, rate_limit=None)
        self.faults = self._server.faults
        await self._server.start()

    async def _serve(self, receiver: Receiver) -> None:
        app = web.Application()
        app.router.add_post("/{path:.*}", receiver.handle)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.2)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self._runners.append(runner)
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/clasp"

    async def _stop(self) -> None:
        await self._server.stop()
        for runner in self._runners:
            await runner.cleanup()
