"""The cache of names: a hash whose values carry their own expiry."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import Any

import msgspec

from notifier.core.events import Names
from notifier.store.client import translated
from notifier.store.formats import microseconds
from notifier.store.keys import Keys
from notifier.store.scripts import Client

_OF_NAMES = ("carrier:", "employer:")
_json = msgspec.json.Encoder()


class NameCache:
    """Values by key, until they expire."""

    def __init__(self, redis: Client, keys: Keys, now_us: Callable[[], int]) -> None:
        self._redis = redis
        self._key = keys.names
        self.now_us = now_us

    async def get(self, keys: Sequence[str]) -> dict[str, Any]:
        """The values that are there and have not expired. A value may be None: known to be absent."""
        if not keys:
            return {}
        with translated("reading names"):
            values = await self._redis.hmget(self._key, list(keys))
        found = {}
        for key, value in zip(keys, values, strict=True):
            if value is not None:
                expires_us, content = msgspec.json.decode(value)
                if expires_us > self.now_us():
                    found[key] = content
        return found

    async def known(self, employers: Collection[str], carriers: Collection[str]) -> Names:
        """The names of these ids, as far as the cache has them."""
        return names_of(await self.get(name_keys(employers, carriers)))

    async def everything(self) -> Names:
        """Every name that the cache has."""
        with translated("reading names"):
            keys = [key.decode() for key in await self._redis.hkeys(self._key)]
        return names_of(await self.get([key for key in keys if key.startswith(_OF_NAMES)]))

    async def put(self, entries: Mapping[str, Any], lifetime: timedelta) -> None:
        """Remember these for ``lifetime``."""
        if entries:
            expires_us = self.now_us() + microseconds(lifetime)
            with translated("writing names"):
                await self._redis.hset(
                    self._key,
                    mapping={key: _json.encode([expires_us, value]) for key, value in entries.items()},
                )

    async def sweep(self) -> int:
        """Drop what has expired; how many those were."""
        expired, cursor = [], 0
        while True:
            with translated("sweeping names"):
                cursor, batch = await self._redis.hscan(self._key, cursor, count=1000)
            expired += [key for key, value in batch.items() if msgspec.json.decode(value)[0] <= self.now_us()]
            if cursor == 0:
                break
        if expired:
            with translated("sweeping names"):
                await self._redis.hdel(self._key, *expired)
        return len(expired)


def name_keys(employers: Collection[str], carriers: Collection[str]) -> list[str]:
    """Under what the cache keeps the names of these ids. Carriers first."""
    return [*(f"carrier:{id_}" for id_ in carriers), *(f"employer:{id_}" for id_ in employers)]


def names_of(found: Mapping[str, Any]) -> Names:
    """What the cache holds under these keys, as names."""
    employers, carriers = {}, {}
    for key, value in found.items():
        kind, _, id_ = key.partition(":")
        if kind == "carrier":
            carriers[id_] = value and value[0]
        else:
            employers[id_] = (value[0], value[1]) if value else (None, None)
    return Names(employers, carriers)
