"""As much of Redis as the notifier uses, in memory, with the real scripts in a real Lua.

Its time is given, so that leases, claims and the ids of streams follow virtual time, and it can be copied and
set back, as a server that lost its last second. It knows no command that the notifier does not use, and fails
loudly on any other. A test replays what it was asked in a simulation on a real server and compares the answers.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from lupa import lua51
from redis.exceptions import ResponseError

Reply = Any


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
