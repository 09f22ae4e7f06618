"""What the notifier uses of ``redis.asyncio.Redis``, on the store in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Self

import msgspec

from tests.proof.simulated_store import Reply, SimulatedStore

Ask = Callable[[str, Callable[[], Reply], Sequence[Any]], Awaitable[Reply]]


class StoreClient:
    """What the notifier uses of ``redis.asyncio.Redis``.

    ``ask`` carries a request to the store, with its name and arguments for whoever watches. ``scripts`` has,
    by its text, a script's name and the text that is run in its place.
    """

    def __init__(self, store: SimulatedStore, ask: Ask, scripts: Mapping[str, tuple[str, str]]) -> None:
        self._store = store
        self._ask = ask
        self._scripts = scripts

    async def _do(self, name: str, *args: Any) -> Reply:
        return await self._ask(name, lambda: self._store.call(name, *args), args)

    def register_script(self, text: str) -> _Script:
        return _Script(self._store, self._ask, *self._scripts[text])

    async def time(self) -> tuple[int, int]:
        seconds, micros = await self._do("TIME")
        return int(seconds), int(micros)

    async def keys(self, pattern: str) -> list[bytes]:
        return await self._do("KEYS", pattern)

    async def ttl(self, key: Any) -> int:
        return await self._do("TTL", key)

    async def hgetall(self, key: str) -> dict[bytes, bytes]:
        return _pairs(await self._do("HGETALL", key))

    async def hlen(self, key: str) -> int:
        return await self._do("HLEN", key)

    async def hmget(self, key: str, fields: Iterable[str]) -> list[bytes | None]:
        return await self._do("HMGET", key, *fields)

    async def hscan(self, key: str, cursor: int, count: int) -> tuple[int, dict[bytes, bytes]]:
        cursor, flat = await self._do("HSCAN", key, cursor, "COUNT", count)
        return int(cursor), _pairs(flat)

    async def hscan_iter(self, key: str, match: str, count: int) -> AsyncIterator[tuple[bytes, bytes]]:
        assert match.endswith("*")
        _, flat = await self._do("HSCAN", key, 0, "COUNT", count)
        for field, value in _pairs(flat).items():
            if field.startswith(match[:-1].encode()):
                yield field, value

    async def hset(self, key: str, *pair: Any, mapping: Mapping[str, Any] | None = None) -> int:
        return await self._do(
            "HSET", key, *pair, *(part for item in (mapping or {}).items() for part in item)
        )

    async def xadd(self, key: str, fields: Mapping[str, Any]) -> bytes:
        return await self._do("XADD", key, "*", *(part for item in fields.items() for part in item))

    async def xrange(self, key: str, min: str = "-", max: str = "+", count: int = 10**6) -> Reply:  # noqa: A002
        found = await self._do("XRANGE", key, min, max, "COUNT", count)
        return [(id_, _pairs(fields)) for id_, fields in found]

    async def xrevrange(self, key: str, count: int) -> Reply:
        found = await self._do("XREVRANGE", key, "+", "-", "COUNT", count)
        return [(id_, _pairs(fields)) for id_, fields in found]

    async def zrange(self, key: Any, first: int, last: int) -> list[bytes]:
        return await self._do("ZRANGE", key, first, last)

    def pipeline(self, transaction: bool) -> _Pipeline:
        return _Pipeline(self._store, self._ask, dict(self._scripts.values()))


class _Script(msgspec.Struct, frozen=True):
    """A script of the store, called by its name: all have been loaded."""

    store: SimulatedStore
    ask: Ask
    sha: str
    as_run: str

    async def __call__(self, keys: Sequence[Any], args: Sequence[Any]) -> Reply:
        return await self.ask(self.sha, lambda: self.store.script(self.as_run, keys, args), (keys, args))


class _Pipeline:
    """Commands, or calls of one script, that go in one packet."""

    def __init__(self, store: SimulatedStore, ask: Ask, scripts: Mapping[str, str]) -> None:
        self._store = store
        self._ask = ask
        self._scripts = scripts
        self._calls: list[tuple[str, Sequence[Any], Sequence[Any]]] = []
        self._todo: list[tuple[Callable[[Reply], Reply], tuple[Any, ...]]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    def _add(self, *command: Any, read: Callable[[Reply], Reply] = lambda reply: reply) -> None:
        self._todo.append((read, command))

    def ttl(self, key: Any) -> None:
        self._add("TTL", key)

    def hmget(self, key: str, fields: Iterable[str]) -> None:
        self._add("HMGET", key, *fields)

    def zcard(self, key: str) -> None:
        self._add("ZCARD", key)

    def xlen(self, key: str) -> None:
        self._add("XLEN", key)

    def zrange(self, key: str, first: int, last: int, withscores: bool) -> None:
        assert withscores
        self._add("ZRANGE", key, first, last, "WITHSCORES", read=_scored)

    def evalsha(self, name: str, count: int, *words: Any) -> None:
        self._calls.append((name, words[:count], words[count:]))

    async def execute(self, raise_on_error: bool = True) -> list[Reply]:
        if self._calls:
            (name,) = {name for name, _, _ in self._calls}
            text, given = self._scripts[name], [(keys, args) for _, keys, args in self._calls]
            return await self._ask(name, lambda: [self._store.script(text, *one) for one in given], given)
        commands = [command for _, command in self._todo]
        replies = await self._ask(
            "pipeline", lambda: [self._store.call(*command) for command in commands], commands
        )
        return [read(reply) for (read, _), reply in zip(self._todo, replies, strict=True)]


def _scored(flat: Sequence[bytes]) -> list[tuple[bytes, float]]:
    return [(member, float(score)) for member, score in zip(flat[::2], flat[1::2], strict=True)]


def _pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
