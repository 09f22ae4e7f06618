"""What happened, for whoever asks afterwards: the history of events and the ledger of attempts.

Both are streams whose ids are the store's time, so a span of time is read without reading what lies outside.
What cannot be read is passed over: another wrote it, or another release.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from datetime import datetime
from typing import Any

import msgspec

from notifier.models import Delivery
from notifier.store.client import translated
from notifier.store.formats import iso_of
from notifier.store.keys import POSTED, Keys
from notifier.store.scripts import Client

_AT_ONCE = 500
_LOOKED_AT = 20  # lanes, of which most may be under way


class Waiting(msgspec.Struct, frozen=True):
    """A delivery in its lane: how many stand before it, and when the first of them is sent next.

    ``is_under_way``: the first is being sent; it counts as failed if nothing is heard by then.
    """

    id: str
    type: str
    before: int
    next_at: str
    is_under_way: bool


class Retrying(msgspec.Struct, frozen=True):
    """How many lanes of a sink wait after an attempt that failed; and of one of them where it goes, and why.

    ``target`` is None for the sink's own channel; ``reason`` is '' where the ledger does not tell.
    """

    lanes: int
    target: str | None
    reason: str


class Records:
    """The history and the ledger of one deployment."""

    def __init__(self, redis: Client, keys: Keys) -> None:
        self._redis = redis
        self._keys = keys

    async def events(
        self, since: datetime | None, until: datetime | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """The events that were committed in a span of time, oldest first."""
        async for _, record in self.entries(since, until):
            yield record

    def entries(
        self, since: datetime | None, until: datetime | None = None, *, after: str = ""
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """The same with the id of each one's entry, and only what comes ``after`` one, if that is given."""
        start = f"({after}" if after else _id_of(since, "-")
        return self._between(self._keys.history, b"event", start, until)

    async def attempts(
        self, since: datetime | None, until: datetime | None = None
    ) -> AsyncIterator[dict[str, Any]]:
        """The attempts that ended in a span of time, oldest first."""
        start = _id_of(since, "-")
        async for _, record in self._between(self._keys.attempts, b"attempt", start, until):
            yield record

    async def event(self, id_: str) -> dict[str, Any] | None:
        """One event of the history; the newest are looked through first."""
        end = "+"
        while True:
            with translated("reading the history"):
                entries = await self._redis.xrevrange(self._keys.history, max=end, count=_AT_ONCE)
            for entry, fields in entries:
                end = f"({entry.decode()}"
                event = _readable(fields.get(b"event"))
                if event is not None and event.get("data", {}).get("id") == id_:
                    return event
            if not entries:
                return None

    async def waiting(self, sink: str, connection: str, messages: Collection[str]) -> list[Waiting]:
        """What waits in the lanes of a connection and of messages, lane by lane."""
        with translated("reading lanes"):
            known = await self._redis.zrange(self._keys.lanes(sink), 0, -1, withscores=True)
        found = []
        for key, score in ((key.decode(errors="replace"), int(score)) for key, score in known):
            if not key.startswith(connection) and key not in messages:
                continue
            with translated("reading a lane"):
                values = await self._redis.lrange(self._keys.lane(sink, key), 0, -1)
            for before, value in enumerate(values):
                if delivery := _delivery(value):
                    waiting = Waiting(delivery.id, delivery.type, before, iso_of(score), score % 2 == 1)
                    found.append(waiting)
        return found

    async def shown(self, sink: str, messages: Collection[str]) -> set[str]:
        """Those of these messages that were sent."""
        asked = [*messages]
        if not asked:
            return set()
        with translated("reading messages"):
            found = await self._redis.hmget(self._keys.sink(sink), [POSTED + id_ for id_ in asked])
        return {id_ for id_, posted in zip(asked, found, strict=True) if posted is not None}

    async def retrying(self, sink: str, now_us: int) -> Retrying | None:
        """What waits for another attempt at a sink that may well take other things; None: nothing does."""
        lanes, after = self._keys.lanes(sink), f"({now_us}"
        with translated("reading lanes"):
            waiting = await self._redis.zcount(lanes, after, "+inf")
            waiting -= await self._redis.zcount(self._keys.claims(sink), after, "+inf")
            last = await self._redis.zrevrange(lanes, 0, _LOOKED_AT - 1, withscores=True)
        for name, score in last if waiting > 0 else ():
            key = name.decode(errors="replace")
            if int(score) % 2 == 1:
                continue  # it is being sent
            with translated("reading a lane"):
                head = await self._redis.lindex(self._keys.lane(sink, key), 0)
            delivery = _delivery(head or b"")
            if delivery is not None:
                return Retrying(waiting, delivery.target, await self._reason(sink, key))
        return None

    async def _reason(self, sink: str, key: str) -> str:
        """Why the newest attempt of a lane failed."""
        with translated("reading the ledger"):
            entries = await self._redis.xrevrange(self._keys.attempts, count=_AT_ONCE)
        for _, fields in entries:
            record = _readable(fields.get(b"attempt")) or {}
            if (record.get("sink"), record.get("key")) == (sink, key):
                return str(record.get("reason") or "")
        return ""

    async def _between(
        self, stream: str, field: bytes, start: str, until: datetime | None
    ) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        end = _id_of(until, "+")
        while True:
            with translated("reading what happened"):
                entries = await self._redis.xrange(stream, min=start, max=end, count=_AT_ONCE)
            for entry, fields in entries:
                start = f"({entry.decode()}"
                record = _readable(fields.get(field))
                if record is not None:
                    yield entry.decode(), record
            if not entries:
                return


def _id_of(moment: datetime | None, otherwise: str) -> str:
    return otherwise if moment is None else str(max(0, int(moment.timestamp() * 1000)))


def _readable(text: bytes | None) -> dict[str, Any] | None:
    try:
        record = msgspec.json.decode(text or b"")
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("data", {}), dict) else None


def _delivery(value: bytes) -> Delivery | None:
    """A delivery as it lies in a lane (see claim.lua)."""
    try:
        return msgspec.json.decode(value.partition(b"\n")[2], type=Delivery)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
