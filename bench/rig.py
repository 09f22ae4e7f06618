"""A store on a real server, and the notifier's parts on it, for one benchmark."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, redirect_stderr
from datetime import timedelta
from pathlib import Path

import msgspec
from redis.asyncio import Redis

from bench.world import CLOCK
from notifier import log
from notifier.config import Config, load
from notifier.models import Delivery, Owed
from notifier.store.client import open_store
from notifier.store.keys import Keys
from notifier.store.lanes import Lanes
from notifier.store.state import Commit, Lease, StateStore
from tests.support.servers import binaries, running_server

SINK = "backend"
MONTH = timedelta(days=30)
_CONFIG = """
name: bench
source: {{base_url: "{base_url}", api_key: bench}}
sinks:
  backend: {{type: webhook, url: "http://127.0.0.1:1/", secrets: [x], allow_private_addresses: true}}
rules:
  - {{name: everything, when: {{}}, notify: [backend]}}
"""


class Rig(msgspec.Struct):
    """The store's parts, with a lease held. ``version`` is that of the last commit."""

    redis: Redis
    keys: Keys
    state: StateStore
    lanes: Lanes
    lease: Lease
    socket: str
    version: str = ""

    async def commit(self, change: Commit) -> None:
        """One chunk."""
        self.version = await self.state.commit(self.lease, self.version, change)

    async def owe(self, count: int, prefix: str = "lane") -> None:
        """So many deliveries of a usual size, each in a lane of its own."""
        for at in range(0, count, 100):
            names = [f"{prefix}-{number}" for number in range(at, min(at + 100, count))]
            await self.commit(Commit(owed=[Owed(SINK, name, delivery(name)) for name in names]))


def delivery(name: str) -> Delivery:
    """An event of a usual size: 930 bytes."""
    body = msgspec.json.encode(
        {"type": "group_connection.status_changed", "data": {"id": name, "x": "y" * 850}}
    )
    return Delivery(f"evt_{name}", "group_connection.status_changed", "everything", body.decode())


def server_binaries() -> dict[str, str]:
    """The servers of this machine by name: the bundled one, and Redis where it is installed."""
    names = {"bundled": "bundled valkey", "valkey": "valkey-server", "redis": "redis-server"}
    return {names[name]: path for name, path in binaries().items()}


@asynccontextmanager
async def rig(binary: str | None = None) -> AsyncIterator[Rig]:
    """A new server with nothing in it, and a client as the worker makes it."""
    # The benchmarks' server writes to its log as a real one would.
    flags = ("--appendonly", "yes", "--appendfsync", "everysec")
    path = binary or next(iter(binaries().values()))
    with running_server(path, *flags) as socket:
        async with open_store(f"unix://{socket}", Path.cwd(), {}, CLOCK) as redis:
            keys = Keys("bench")
            state = StateStore(redis, keys, CLOCK, history=MONTH)
            lanes = Lanes(redis, keys, state.now_us, ledger=MONTH)
            await state.sync_time()
            lease = await state.take_lease("bench", MONTH)
            assert lease is not None
            yield Rig(redis, keys, state, lanes, lease, socket)


def config(base_url: str) -> Config:
    """A usual configuration: every event to one webhook."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "notifier.yaml"
        path.write_text(_CONFIG.format(base_url=base_url))
        return load(path, {})


@contextmanager
def logging_to_nowhere() -> Iterator[None]:
    """The worker's own log lines, made in full as for a pipe, and thrown away."""
    with Path(os.devnull).open("w") as nowhere, redirect_stderr(nowhere):
        log.configure(log.LogLevel.INFO, json=True)
        yield
