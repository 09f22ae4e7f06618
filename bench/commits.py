"""A commit of 100 changed connections with their events, against the same commands without the script.

The floor writes the same commands, put into bytes beforehand, to a socket in one go and waits for the last
answer: no fence, no version, no client library.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterable, Sequence

import msgspec

from bench.rig import Rig, config, rig
from bench.table import Row
from bench.timing import medians, rounds
from bench.world import UNTRACKED, changed, connections
from notifier.clasp.decode import read
from notifier.core.book import Book
from notifier.core.codec import Words
from notifier.core.diff import diff, first_state
from notifier.core.events import Names, Origin
from notifier.core.rules import Router
from notifier.core.watch import Fresh, Watch
from notifier.models import ObservedConnection
from notifier.poller.commits import Change, Chunk, chunks
from notifier.poller.traversal import without_fields

_AT = "2026-11-23T22:01:07.120Z"


async def run(*, quick: bool) -> Iterable[Row]:
    """Commits a second."""
    chunk = _chunk()
    async with rig() as store:
        commands = _commands(store, chunk)
        raw = socket.socket(socket.AF_UNIX)
        raw.connect(store.socket)
        with raw, raw.makefile("rb") as answers:

            async def floor() -> float:
                began = time.perf_counter()
                for _ in range(20):
                    raw.sendall(commands.whole)
                    for _ in range(commands.count):
                        if answers.readline().startswith(b"$"):
                            answers.readline()
                return (time.perf_counter() - began) / 20

            async def measured() -> float:
                began = time.perf_counter()
                for _ in range(20):
                    await store.commit(msgspec.structs.replace(chunk.commit, meta={"counts": chunk.counts}))
                return (time.perf_counter() - began) / 20

            pairs = await rounds(5 if quick else 15, floor, measured)
    least, took, ratio = medians(pairs)
    per_s = (f"{1 / least:,.0f}/s", f"{1 / took:,.0f}/s")
    return [Row(f"commit of 100 changes, {chunk.events} events", *per_s, 1 / ratio, 0.4, at_least=True)]


def _chunk() -> Chunk:
    """A hundred connections with one transition each, told to one sink."""
    before = connections(100)
    words, changes = Words(), []
    for old, new in zip(before, changed(before, 1.0), strict=True):
        stored, seen = first_state(_item(old)), _item(new)
        changes.append(Change(seen.id, stored, diff(stored, seen, now=1)))
    origin = Origin("bench", "epoch", _AT, _AT)
    router = Router(config("https://clasp.test"))
    watch = Watch(Book({}), (), router, origin, Names(), Fresh(), router.quiet.at(_AT))
    [chunk] = chunks(changes, {"connection": 100}, words, origin, Names(), router, watch)
    return chunk


def _item(text: bytes) -> ObservedConnection:
    return without_fields(read(text), UNTRACKED)


class _Commands(msgspec.Struct, frozen=True):
    whole: bytes
    count: int


def _commands(store: Rig, chunk: Chunk) -> _Commands:
    """What the script does, as plain commands on keys of their own."""
    keys, commit = store.keys, chunk.commit
    asked: list[Sequence[str | bytes]] = [
        ("HSET", keys.meta + "-raw", "version", "x" * 24, "fence", "1"),
        ("HSET", keys.meta + "-raw", "counts", json.dumps(chunk.counts)),
        *(("HSET", keys.state + "-raw", id_, value) for id_, value in commit.states.items()),
        *(("XADD", keys.history + "-raw", "*", "event", entry) for entry in commit.history),
    ]
    for owed in commit.owed:
        value = b"0 0 0\n" + msgspec.json.encode(owed.delivery)
        asked.append(("RPUSH", keys.lane(owed.sink, owed.key) + "-raw", value))
        asked.append(("ZADD", keys.lanes(owed.sink) + "-raw", "NX", "1", owed.key))
    asked.append(("XTRIM", keys.history + "-raw", "MINID", "~", "1-0"))
    return _Commands(b"".join(map(_encoded, asked)), len(asked))


def _encoded(command: Sequence[str | bytes]) -> bytes:
    parts = [part.encode() if isinstance(part, str) else part for part in command]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)
