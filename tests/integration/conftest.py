"""The store's own suite runs on fakeredis and on every real server of the machine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import fakeredis
import pytest
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.support.account import Account, connection, group, milestone
from tests.support.rig import Rig
from tests.support.servers import binaries, running_server


@pytest.fixture(scope="session", params=["fake", *binaries()])
def server(request) -> Iterator[str | None]:
    """The socket of a private server; None stands for fakeredis."""
    if request.param == "fake":
        yield None
        return
    with running_server(binaries()[request.param]) as path:
        yield path


@pytest.fixture
async def redis_client(server) -> AsyncIterator[redis.asyncio.Redis]:
    if server is None:
        client = fakeredis.FakeAsyncRedis()
    else:
        client = redis.asyncio.Redis(unix_socket_path=server, retry=Retry(NoBackoff(), 0))
        await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
def account() -> Account:
    return Account()


@pytest.fixture
def rig(redis_client, clock, account) -> Rig:
    return Rig(redis_client, clock, account)


@pytest.fixture
def many(account):
    """Twelve connections with two group connections each."""
    account.listed = [
        connection(
            f"conn_{n:02}", group(f"gc_{n:02}_a"), group(f"gc_{n:02}_b"), milestones=[milestone(f"ms_{n:02}")]
        )
        for n in range(12)
    ]
    return account
