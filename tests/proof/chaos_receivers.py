"""Receivers of the chaos run: each answers as its mood is, and notes what it takes when it arrives."""

from __future__ import annotations

import asyncio
import random
import socket
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec
from aiohttp import web


class Answer(NamedTuple):
    """How a receiver answers. ``reset``: it breaks the connection off, and the answer is never heard."""

    status: int = 204
    delay_s: float = 0.0
    reset: bool = False
    retry_after: str | None = None


Mood = Callable[[str], Answer]


class Receiver:
    """A webhook receiver that listens once it is opened. ``mood`` maps an event's id to an answer.

    What it takes is noted when it arrives: (the header's id, the body). Equal bodies are kept once.
    """

    def __init__(self, name: str, mood: Mood, bodies: dict[bytes, bytes]) -> None:
        self.name = name
        self.mood = mood
        self.requests = 0
        self.taken: list[tuple[str, bytes]] = []
        self._bodies = bodies
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/clasp"
        self._runner: web.AppRunner | None = None

    @property
    def is_open(self) -> bool:
        return self._runner is not None

    async def open(self) -> None:
        app = web.Application()
        app.router.add_post("/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.SockSite(self._runner, self._socket).start()

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        self._socket.close()

    def told(self) -> list[dict[str, Any]]:
        """The bodies that it took, in order of arrival; equal ones are one object."""
        decoded = {id(body): msgspec.json.decode(body) for _, body in self.taken}
        return [decoded[id(body)] for _, body in self.taken]

    async def _handle(self, request: web.Request) -> web.Response:
        id_, body = request.headers["webhook-id"], await request.read()
        self.requests += 1
        answer = self.mood(id_)
        if 200 <= answer.status < 300:
            self.taken.append((id_, self._bodies.setdefault(body, body)))
        await asyncio.sleep(answer.delay_s)
        if answer.reset and request.transport is not None:
            request.transport.abort()
        headers = {"Retry-After": answer.retry_after} if answer.retry_after else None
        return web.Response(status=answer.status, headers=headers)


def well(rng: random.Random) -> Mood:
    return lambda _id: Answer(delay_s=rng.uniform(0, 0.02))


def flaky(rng: random.Random, too_slow_s: float, refuses: Callable[[str], bool]) -> Mood:
    """One answer in five is an error, late, or not heard; some events are refused for good."""
    troubles = (
        (0.05, Answer(500)),
        (0.04, Answer(503, delay_s=0.05)),
        (0.03, Answer(429)),
        (0.002, Answer(429, retry_after="1")),
        (0.03, Answer(503, reset=True)),
        (0.04, Answer(reset=True)),
        (0.005, Answer(delay_s=too_slow_s)),
    )

    def mood(id_: str) -> Answer:
        chance = rng.random()
        for part, answer in troubles:
            if chance < part:
                is_refused = answer.status == 204 and refuses(id_)
                return answer._replace(status=422) if is_refused else answer
            chance -= part
        return Answer(422) if refuses(id_) else Answer(delay_s=rng.uniform(0, 0.05))

    return mood


def one_in(count: int) -> Callable[[str], bool]:
    """Whether an id is among one in ``count``, always the same ones."""
    return lambda id_: zlib.crc32(id_.encode()) % count == 0
