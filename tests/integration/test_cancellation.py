"""A task that is cancelled while it talks to the store stays cancelled, at whatever moment that is.

Loops that end by being cancelled (the lease's keeper, attempts at a stop) would else go on for ever: one lost
cancellation, and a poll never ends while its lease is renewed.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.asyncio.connection import UnixDomainSocketConnection

from notifier.clock import SystemClock
from notifier.store.client import open_store
from tests.support.servers import binaries, running_server

TICKS = 200  # of the event loop; a command takes a dozen of them, or two dozen with a connection


@pytest.fixture(scope="module")
def path():
    with running_server(binaries()["bundled"]) as path:
        yield path


@pytest.fixture
async def redis(path):
    async with open_store(f"unix://{path}", Path(), {}, clock=SystemClock()) as redis:
        yield redis


async def lost(redis: Redis, what, before) -> list[int]:
    """After how many ticks a cancellation of ``what`` was lost; ``before`` is awaited before each try."""
    ticks = []
    for count in range(TICKS):
        await before(redis)
        task = asyncio.create_task(what(redis))
        for _ in range(count):
            await asyncio.sleep(0)
        if not task.cancel():
            assert count, "it was cancelled at one moment at least"
            return ticks
        await asyncio.wait({task})
        if not task.cancelled():
            ticks.append(count)
        assert await redis.echo(f"{count}") == f"{count}".encode(), "replies go to whom they are for"
    raise AssertionError("it never ends")


async def connected(redis: Redis) -> None:
    await redis.ping()


async def disconnected(redis: Redis) -> None:
    await redis.connection_pool.disconnect()


async def command(redis: Redis) -> None:
    await redis.eval("return 1", 0)


async def pipeline(redis: Redis) -> None:
    async with redis.pipeline(transaction=False) as pipe:
        pipe.hgetall("a")
        pipe.zcard("b")
        await pipe.execute()


@pytest.mark.parametrize("before", [connected, disconnected])
@pytest.mark.parametrize("what", [command, pipeline])
async def test_a_cancellation_is_never_lost(redis, what, before):
    assert await lost(redis, what, before) == []


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="asyncio.wait_for was mended in Python 3.12")
async def test_control_redis_py_by_itself_loses_it(path):
    redis = Redis(unix_socket_path=path, socket_timeout=5)
    assert redis.connection_pool.connection_class is UnixDomainSocketConnection
    try:
        assert await lost(redis, command, connected)
    finally:
        await redis.aclose()
