"""The store's own suite runs on fakeredis and on every real server of the machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import fakeredis
import pytest
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from notifier.errors import StoreUnavailable
from notifier.models import Delivery, Owed
from notifier.store.state import Commit
from tests.support.account import Account, connection, group, milestone
from tests.support.alerts import OWNERS, SINKS, TO_OWNER
from tests.support.clock import FakeClock
from tests.support.commands import Shell
from tests.support.configs import config_with
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
def shell(server) -> Shell:
    """Commands on the same server, which is a real one."""
    return Shell(server)


@pytest.fixture
def account() -> Account:
    return Account()


@pytest.fixture
def rig(redis_client, clock, account) -> Rig:
    return Rig(redis_client, clock, account)


@pytest.fixture
async def owe(rig):
    """Commit deliveries, each given as (lane key, id)."""
    await rig.store.sync_time()
    version = ""

    async def commit(*items: tuple[str, str], sink: str = "backend") -> None:
        nonlocal version
        lease = await rig.store.take_lease("holder", timedelta(days=9))
        owed = [
            Owed(sink, key, Delivery(id_, "x", "r", f'{{"id": "{id_}", "type": "x", "data": {{}}}}'))
            for key, id_ in items
        ]
        version = await rig.store.commit(lease, version, Commit(owed=owed))

    return commit


@pytest.fixture
def settles_fail(rig, monkeypatch):
    """Have so many settles fail with an error; what is left of them is the list's length."""

    def fail(times: int, error: Exception) -> list[Exception]:
        left, settle = [error] * times, rig.lanes._settle

        async def failing(**kwargs):
            if left:
                raise left.pop()
            return await settle(**kwargs)

        async def soon(_seconds: float) -> None:
            await asyncio.sleep(0)

        monkeypatch.setattr(rig.lanes, "_settle", failing)
        monkeypatch.setattr(rig.still, "sleep", soon)
        return left

    return fail


@pytest.fixture
def commits_fail(monkeypatch):
    """Have a replica's commits fail after so many; what comes back allows so many more."""

    def fail(rig: Rig, after: int) -> Callable[[int], None]:
        left, commit = [after], rig.store.commit

        async def failing(*given):
            left[0] -= 1
            if left[0] < 0:
                raise StoreUnavailable("gone")
            return await commit(*given)

        monkeypatch.setattr(rig.store, "commit", failing)
        return lambda times: left.__setitem__(0, times)

    return fail


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


@pytest.fixture
def make(redis_client, account):
    """A replica with these rules, a webhook and a Slack sink, on an account of six connections."""
    account.listed = [
        connection(f"conn_{n}", group(f"gc_{n}", carrier=f"carr_{n % 2}"), group(f"gb_{n}")) for n in range(6)
    ]

    def make(rules: str, extra: str = "", **settings: Any) -> Rig:
        config = config_with(rules, SINKS, f"self_reports: []\n{extra}")
        rig = Rig(redis_client, FakeClock(), account, config, **settings)
        rig.delivers_at_once = True
        return rig

    return make


@pytest.fixture
def table(tmp_path) -> Path:
    path = tmp_path / "owners.csv"
    path.write_text(OWNERS)
    return path


@pytest.fixture
def owned(make, table) -> Callable[..., Rig]:
    """A replica whose owners are in the table; where nobody owns a thing it is told at ``fallback``."""

    def owned(rules: str = TO_OWNER, fallback: str = "ops#unowned") -> Rig:
        return make(rules, f'owners: {{file: "{table}", sink: ops, fallback: "{fallback}"}}\n')

    return owned
