"""The store of one deployment: its parts, on one client, for the worker and for every command."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import msgspec
from redis.asyncio import Redis

from notifier.clock import Clock
from notifier.config import Config
from notifier.store.client import open_store
from notifier.store.keys import Keys
from notifier.store.lanes import Lanes
from notifier.store.names import NameCache
from notifier.store.records import Records
from notifier.store.state import StateStore


class Stores(msgspec.Struct, frozen=True):
    """The store's parts, on one client."""

    redis: Redis
    state: StateStore
    lanes: Lanes
    names: NameCache
    records: Records


@asynccontextmanager
async def stores(config: Config, env: Mapping[str, str], clock: Clock) -> AsyncIterator[Stores]:
    """The store of a configuration, while the context lasts."""
    keys = Keys(config.name)
    async with open_store(config.store.get_secret_value(), config.directory, env, clock=clock) as redis:
        state = StateStore(redis, keys, clock, history=config.history)
        lanes = Lanes(redis, keys, state.now_us, ledger=config.history)
        yield Stores(redis, state, lanes, NameCache(redis, keys, state.now_us), Records(redis, keys))
