"""As much of Redis as the notifier uses, in memory, with the real scripts in a real Lua.

Its time is given, so that leases, claims and the ids of streams follow virtual time, and it can be copied and
set back, as a server that lost its last second. It knows no command that the notifier does not use, and fails
loudly on any other. A test replays what it was asked in a simulation on a real server and compares the answers.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Self

from lupa import lua51
from redis.exceptions import ResponseError

Reply = Any
Ask = Callable[[str, Callable[[], Reply], Sequence[Any]], Awaitable[Reply]]


def _bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else b"%.17g" % value


def _score(value: float) -> bytes:
    return b"%.17g" % value


def _entry_id(text: bytes, default: int) -> tuple[int, int]:
    ms, _, seq = text.partition(b"-")
    return int(ms), int(seq) if seq else default


class SimulatedStore:
    """The data, and one method a command (``c_NAME``) that takes and gives what the protocol does."""

    def __init__(self, now_us: Callable[[], int]) -> None:
        self._now_us = now_us
        self.data: dict[bytes, Any] = {}

    def copy(self) -> dict[bytes, Any]:
        return copy.deepcopy(self.data)

    def call(self, name: str, *args: Any) -> Reply:
        return getattr(self, f"c_{name.lower()}")(*map(_bytes, args))

    def script(self, text: str, keys: Sequence[Any], args: Sequence[Any]) -> Reply:
        """Run a script as EVAL does."""
        lua, compiled = _lua(), _compiled(text)

        def call(name: bytes, *given: Any) -> Any:
            return _to_lua(lua, self.call(name.decode(), *given))

        try:
            answer = compiled(call, lua.table(*map(_bytes, keys)), lua.table(*map(_bytes, args)))
        except lua51.LuaError as error:
            raise ResponseError(str(error)) from error
        return _from_lua(answer)

    def _at(self, key: bytes, empty: Callable[[], Any]) -> Any:
        return self.data.setdefault(key, empty())

    def _tidy(self, key: bytes) -> None:
        if not self.data.get(key, True):
            del self.data[key]

    # --- any ---

    def c_time(self) -> Reply:
        return [b"%d" % part for part in divmod(self._now_us(), 1_000_000)]

    def c_exists(self, key: bytes) -> int:
        return int(key in self.data)

    def c_keys(self, _pattern: bytes) -> list[bytes]:
        return list(self.data)

    def c_ttl(self, key: bytes) -> int:
        return -1 if key in self.data else -2

    # --- hashes ---

    def c_hget(self, key: bytes, field: bytes) -> bytes | None:
        return self.data.get(key, {}).get(field)

    def c_hmget(self, key: bytes, *fields: bytes) -> list[bytes | None]:
        held = self.data.get(key, {})
        return [held.get(field) for field in fields]

    def c_hgetall(self, key: bytes) -> list[bytes]:
        return [part for pair in self.data.get(key, {}).items() for part in pair]

    def c_hlen(self, key: bytes) -> int:
        return len(self.data.get(key, {}))

    def c_hexists(self, key: bytes, field: bytes) -> int:
        return int(field in self.data.get(key, {}))

    def c_hscan(self, key: bytes, _cursor: bytes, *_count: bytes) -> Reply:
        return [b"0", self.c_hgetall(key)]

    def c_hset(self, key: bytes, *pairs: bytes) -> int:
        held = self._at(key, dict)
        before = len(held)
        held.update(zip(pairs[::2], pairs[1::2], strict=True))
        return len(held) - before

    def c_hsetnx(self, key: bytes, field: bytes, value: bytes) -> int:
        return int(self._at(key, dict).setdefault(field, value) is value)

    def c_hincrby(self, key: bytes, field: bytes, by: bytes) -> int:
        held = self._at(key, dict)
        held[field] = b"%d" % (int(held.get(field, 0)) + int(by))
        return int(held[field])

    def c_hdel(self, key: bytes, *fields: bytes) -> int:
        held = self.data.get(key, {})
        gone = sum(held.pop(field, None) is not None for field in fields)
        self._tidy(key)
        return gone

    # --- lists ---

    def c_rpush(self, key: bytes, value: bytes) -> int:
        self._at(key, list).append(value)
        return len(self.data[key])

    def c_llen(self, key: bytes) -> int:
        return len(self.data.get(key, ()))

    def c_lindex(self, key: bytes, at: bytes) -> bytes | None:
        held = self.data.get(key, [])
        return held[int(at)] if int(at) < len(held) else None

    def c_lset(self, key: bytes, at: bytes, value: bytes) -> bytes:
        if key not in self.data:
            raise ResponseError("ERR no such key")
        self.data[key][int(at)] = value
        return b"OK"

    def c_lpop(self, key: bytes) -> bytes | None:
        held = self.data.get(key)
        value = held.pop(0) if held else None
        self._tidy(key)
        return value

    # --- sorted sets ---

    def _ordered(self, key: bytes) -> list[tuple[float, bytes]]:
        return sorted((score, member) for member, score in self.data.get(key, {}).items())

    def c_zadd(self, key: bytes, *args: bytes) -> int:
        held, is_new_only = self._at(key, dict), args[0] == b"NX"
        score, member = args[-2:]
        if is_new_only and member in held:
            return 0
        is_new = member not in held
        held[member] = float(score)
        return int(is_new)

    def c_zrem(self, key: bytes, member: bytes) -> int:
        gone = self.data.get(key, {}).pop(member, None) is not None
        self._tidy(key)
        return int(gone)

    def c_zscore(self, key: bytes, member: bytes) -> bytes | None:
        score = self.data.get(key, {}).get(member)
        return None if score is None else _score(score)

    def c_zcard(self, key: bytes) -> int:
        return len(self.data.get(key, {}))

    def c_zrange(self, key: bytes, first: bytes, last: bytes, *with_scores: bytes) -> list[bytes]:
        ordered = self._ordered(key)
        chosen = ordered[int(first) : int(last) + 1 or len(ordered)]
        if with_scores:
            return [part for score, member in chosen for part in (member, _score(score))]
        return [member for _, member in chosen]

    def c_zrangebyscore(self, key: bytes, low: bytes, high: bytes, *limit: bytes) -> list[bytes]:
        above, end = float(low.removeprefix(b"(")), float(high)
        is_open = low.startswith(b"(")
        found = [
            member
            for score, member in self._ordered(key)
            if above <= score <= end and not (is_open and score == above)
        ]
        return found[int(limit[1]) : int(limit[1]) + int(limit[2])] if limit else found

    # --- streams: {(ms, seq): flat fields} ---

    def c_xadd(self, key: bytes, _star: bytes, *fields: bytes) -> bytes:
        last_key = b"last:" + key
        last = self.data.get(key, {}).get(last_key, (0, 0))
        ms = max(self._now_us() // 1000, last[0])
        at = (ms, last[1] + 1 if ms == last[0] else 0)
        held = self._at(key, dict)
        held[last_key] = at
        held[at] = list(fields)
        return b"%d-%d" % at

    def _entries(self, key: bytes) -> list[tuple[tuple[int, int], list[bytes]]]:
        return [(at, fields) for at, fields in self.data.get(key, {}).items() if isinstance(at, tuple)]

    def c_xlen(self, key: bytes) -> int:
        return len(self._entries(key))

    def c_xrange(self, key: bytes, low: bytes, high: bytes, *count: bytes) -> Reply:
        first = (0, 0) if low == b"-" else _entry_id(low.removeprefix(b"("), 0)
        last = (1 << 62, 0) if high == b"+" else _entry_id(high, 1 << 62)
        found = [
            [b"%d-%d" % at, fields]
            for at, fields in self._entries(key)
            if first <= at <= last and not (low.startswith(b"(") and at == first)
        ]
        return found[: int(count[1])] if count else found

    def c_xrevrange(self, key: bytes, high: bytes, low: bytes, *count: bytes) -> Reply:
        found = self.c_xrange(key, low, high)[::-1]
        return found[: int(count[1])] if count else found

    def c_xdel(self, key: bytes, *ids: bytes) -> int:
        held = self.data.get(key, {})
        return sum(held.pop(_entry_id(id_, 0), None) is not None for id_ in ids)

    def c_xtrim(self, key: bytes, _minid: bytes, _about: bytes, oldest: bytes) -> int:
        old = [at for at, _ in self._entries(key) if at < _entry_id(oldest, 0)]
        for at in old:
            del self.data[key][at]
        return len(old)


@lru_cache(1)
def _lua() -> Any:
    return lua51.LuaRuntime(encoding=None)


@lru_cache
def _compiled(text: str) -> Any:
    head = b"return function(call, KEYS, ARGV) local redis = {call = call, pcall = call}; "
    return _lua().execute(head + text.encode() + b"\nend")


def _to_lua(lua: Any, reply: Reply) -> Any:
    if reply is None:
        return False
    return lua.table(*(_to_lua(lua, item) for item in reply)) if isinstance(reply, list) else reply


def _from_lua(value: Any) -> Reply:
    if isinstance(value, bytes):
        return value
    if value is None or value is False:
        return None
    if isinstance(value, int | float):
        return int(value)
    items = []
    while (item := value[len(items) + 1]) is not None:
        items.append(_from_lua(item))
    return items


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

    def register_script(self, text: str) -> Callable[..., Awaitable[Reply]]:
        name, as_run = self._scripts[text]

        async def run(keys: Sequence[Any], args: Sequence[Any]) -> Reply:
            return await self._ask(name, lambda: self._store.script(as_run, keys, args), (keys, args))

        return run

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
        return _Pipeline(self._store, self._ask)


class _Pipeline:
    """Commands that go in one packet."""

    def __init__(self, store: SimulatedStore, ask: Ask) -> None:
        self._store = store
        self._ask = ask
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

    async def execute(self) -> list[Reply]:
        commands = [command for _, command in self._todo]
        replies = await self._ask(
            "pipeline", lambda: [self._store.call(*command) for command in commands], commands
        )
        return [read(reply) for (read, _), reply in zip(self._todo, replies, strict=True)]


def _scored(flat: Sequence[bytes]) -> list[tuple[bytes, float]]:
    return [(member, float(score)) for member, score in zip(flat[::2], flat[1::2], strict=True)]


def _pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
