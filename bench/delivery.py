"""Webhooks through the real dispatcher, lanes and sink, to a receiver process on loopback.

The floor at 0 ms is a client with a pool of as many connections that signs, writes the same bytes and reads
each answer to the end of its head: a signature holds the second of its attempt, so that nobody can make it
beforehand. Beside it stands the HTTP client that the sink uses, alone, with nothing of ours but the guard. At
20 ms the floor is arithmetic: so many at once, each taking 20 ms.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import random
import statistics
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from http import HTTPStatus
from urllib.parse import urlsplit

from yarl import URL

from bench.rig import SINK, Rig, delivery, logging_to_nowhere, rig
from bench.roles import role
from bench.table import Row
from bench.timing import Pair, medians
from bench.world import CLOCK
from notifier.core.results import AttemptResult
from notifier.core.retry import WEBHOOK_SCHEDULE, Verdict
from notifier.dispatcher import Dispatcher, Route
from notifier.sinks.contract import Attempt
from notifier.sinks.formats import format_of
from notifier.sinks.session import USER_AGENT, Access, Sessions
from notifier.sinks.webhook import WebhookSink

_DELAY_MS = 20
_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - of the specification's examples


def _slow_row(what: str, rates: list[float]) -> Row:
    most, rate = 64 / (_DELAY_MS / 1000), statistics.median(rates)
    named = f"64 at once, receiver at {_DELAY_MS} ms, {what}"
    return Row(named, f"{most:,.0f}/s", f"{rate:,.0f}/s", rate / most, 0.7, at_least=True)


async def run(*, quick: bool) -> Iterable[Row]:
    """32 at once at 0 ms: the sink alone and everything; 64 at once at 20 ms."""
    count, times = (1000, 2) if quick else (4000, 5)
    client, alone, through, late, late_alone = [], [], [], [], []
    with logging_to_nowhere():
        async with rig() as store:
            with role("receiver", 0) as url:
                await _raw(url, count, 32)
                for _ in range(times):
                    client.append(Pair(await _raw(url, count, 32), await _client_alone(url, count, 32)))
                    alone.append(Pair(await _raw(url, count, 32), await _sink_alone(url, count, 32)))
                    through.append(Pair(await _raw(url, count, 32), await _dispatched(store, url, count, 32)))
            with role("receiver", _DELAY_MS) as url:
                for _ in range(times):
                    late_alone.append(await _sink_alone(url, count, 64))
                    late.append(await _dispatched(store, url, count, 64))
    return [
        _row("32 at once, receiver at 0 ms, the HTTP client alone", client, None),
        _row("32 at once, receiver at 0 ms, the sink alone", alone),
        _row("32 at once, receiver at 0 ms, lanes and sink", through, None),
        _slow_row("the sink alone", late_alone),
        _slow_row("lanes and sink", late),
    ]


def _row(what: str, pairs: list[Pair], goal: float | None = 0.25) -> Row:
    floor, measured, ratio = medians(pairs)
    return Row(what, f"{floor:,.0f}/s", f"{measured:,.0f}/s", ratio, goal, at_least=True)


async def _raw(url: str, count: int, at_once: int) -> float:
    """Requests a second of the least client there can be: a task each, a pool of connections."""
    where = urlsplit(url)
    body = delivery("lane-0").body.encode()
    head = (
        f"POST /hook HTTP/1.1\r\nHost: {where.netloc}\r\nUser-Agent: {USER_AGENT}\r\n"
        "Accept-Encoding: identity\r\ncontent-type: application/json\r\nAccept: */*\r\n"
        f"Content-Length: {len(body)}\r\nwebhook-id: evt_lane-0\r\nwebhook-timestamp: "
    )
    key = b"k" * 24

    def request() -> bytes:
        second = int(CLOCK.now().timestamp())
        signed = hmac.digest(key, f"evt_lane-0.{second}.".encode() + body, hashlib.sha256)
        signature = f"{second}\r\nwebhook-signature: v1,{base64.b64encode(signed).decode()}\r\n\r\n"
        return (head + signature).encode() + body

    idle: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()
    places = asyncio.Semaphore(at_once)

    async def post() -> None:
        async with places:
            pair = idle.popleft() if idle else await asyncio.open_connection(where.hostname, where.port)
            pair[1].write(request())
            head = await pair[0].readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200 ")
            idle.append(pair)

    began = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(count):
            tasks.create_task(post())
    took = time.perf_counter() - began
    for _, writer in idle:
        writer.close()
    return count / took


def _webhook(url: str, sessions: Sessions) -> WebhookSink:
    return WebhookSink(
        SINK,
        url=f"{url}/hook",
        secrets=[_SECRET],
        sessions=sessions,
        deadline=timedelta(seconds=15),
        access=Access(private=True),
    )


async def _client_alone(url: str, count: int, at_once: int) -> float:
    """Requests a second of the sink's HTTP session, with the same bytes, signed beforehand."""
    owed = delivery("lane-0")
    signed = format_of("standard", [_SECRET])(owed, int(CLOCK.now().timestamp()))
    where = URL(f"{url}/hook")
    async with Sessions() as sessions:
        session = sessions.get(allow_private=True)

        async def post() -> None:
            async with session.post(where, data=signed.body, headers=signed.headers) as reply:
                assert reply.status == HTTPStatus.OK

        return await _rate(post, count, at_once)


async def _sink_alone(url: str, count: int, at_once: int) -> float:
    """Deliveries a second without lanes."""
    owed = delivery("lane-0")
    async with Sessions() as sessions:
        sink = _webhook(url, sessions)

        async def send() -> None:
            await sink.send(owed, Attempt(1, CLOCK.now()))

        return await _rate(send, count, at_once)


async def _rate(do: Callable[[], Awaitable[None]], count: int, at_once: int) -> float:
    """How often a second it is done, by so many side by side."""
    left = iter(range(count))

    async def one() -> None:
        for _ in left:
            await do()

    began = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(at_once)))
    return count / (time.perf_counter() - began)


async def _dispatched(store: Rig, url: str, count: int, at_once: int) -> float:
    """Deliveries a second, from the first claim to the last settle."""
    await store.owe(count)
    sessions, stop, done = Sessions(), asyncio.Event(), 0

    def settled(result: AttemptResult) -> None:
        nonlocal done
        assert result.outcome.verdict is Verdict.DELIVERED, result
        done += 1
        if done == count:
            stop.set()

    route = Route(_webhook(url, sessions), WEBHOOK_SCHEDULE, at_once, None)
    dispatcher = Dispatcher({SINK: route}, store.lanes, CLOCK, random.Random(0), settled)
    began = time.perf_counter()
    async with asyncio.timeout(120):
        await dispatcher.run(stop, timedelta(seconds=5))
    took = time.perf_counter() - began
    await sessions.close()
    return count / took
