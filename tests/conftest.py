"""Fixtures for everybody: a virtual clock and real servers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from redis.asyncio import Redis

from tests.support.clock import FakeClock
from tests.support.servers import binaries, running_server


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(scope="session", params=binaries().items(), ids=lambda item: item[0])
def real_server(request) -> Iterator[str]:
    """The unix socket of a real server, one per binary and test session."""
    with running_server(request.param[1]) as path:
        yield path


@pytest.fixture
def real_redis_url(real_server: str) -> str:
    """The URL of a real server with nothing in it."""

    async def flush() -> None:
        async with Redis(unix_socket_path=real_server) as redis:
            await redis.flushall()

    asyncio.run(flush())
    return f"unix://{real_server}"
