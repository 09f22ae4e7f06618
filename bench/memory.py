"""What a connection costs in Redis (the hash ``state``) and in the worker (the poller's view).

``MEMORY USAGE`` with all samples is what the server says of the one key; the growth of ``used_memory`` is
what it really took. The worker's part is counted by tracemalloc: the view alone, and at the height of a poll.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Sequence

import msgspec

from bench.rig import rig, server_binaries
from bench.table import Row
from bench.world import UNTRACKED, connections, ids_of, pages_of, with_times
from notifier.clasp.decode import read
from notifier.core import codec
from notifier.core.codec import Words
from notifier.core.diff import first_state
from notifier.core.view import Learned, View
from notifier.poller.traversal import without_fields

_FLOOR = 107  # bytes: an id with 16 bytes of fingerprint in a hash, as measured on Redis 7


async def run(*, quick: bool) -> Iterable[Row]:
    """Redis with both styles of timestamps, on each server; the worker."""
    count = 20_000 if quick else 100_000
    texts = connections(count)
    rows = []
    for label, digits in (("microseconds", 6), ("whole seconds", 0)):
        words = Words()
        values = dict(_encoded(text, words) for text in with_times(texts, digits=digits))
        for name, binary in server_binaries().items():
            said, grown = await _stored(binary, values)
            what = f"Redis bytes a connection, {name}, {label}"
            text = f"{said:.0f} B; used_memory {grown:.0f} B"
            rows.append(Row(what, f"{_FLOOR} B", text, grown, 300, unit="B"))
    return rows + _worker(texts)


def _encoded(text: bytes, words: Words) -> tuple[str, bytes]:
    item = without_fields(read(text), UNTRACKED)
    return item.id, codec.encode(first_state(item), words)


async def _stored(binary: str, values: dict[str, bytes]) -> tuple[float, float]:
    """Bytes a connection: what the server says of the key, and what its memory grew by."""
    async with rig(binary) as store:
        redis, key, ids = store.redis, store.keys.state, list(values)
        before = (await redis.info("memory"))["used_memory"]
        for at in range(0, len(ids), 100):
            await redis.hset(key, mapping={id_: values[id_] for id_ in ids[at : at + 100]})
        said = await redis.memory_usage(key, samples=0) or 0
        after = (await redis.info("memory"))["used_memory"]
    return said / len(values), (after - before) / len(values)


def _worker(texts: Sequence[bytes]) -> list[Row]:
    """The view of so many connections, at rest and at the height of a poll."""
    pages, ids = pages_of(texts), iter(ids_of(texts))
    envelope = msgspec.json.Decoder(dict[str, msgspec.Raw])
    results = msgspec.json.Decoder(list[msgspec.Raw])
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    view, same = View("v"), {}
    for page in pages:
        for fingerprint, _ in view.scan(results.decode(envelope.decode(page)["results"]), set()):
            same["".join(next(ids))] = fingerprint
    copies = {
        id_.encode().decode(): fingerprint for id_, fingerprint in same.items()
    }  # ids of the view's own
    del same
    view.update("v", Learned(copies, is_whole=True))
    del copies
    rest = (tracemalloc.get_traced_memory()[0] - before) / len(texts)
    tracemalloc.reset_peak()
    hits: set[bytes] = set()
    for page in pages:
        assert not view.scan(results.decode(envelope.decode(page)["results"]), hits)
    assert not view.not_hit(hits)
    peak = (tracemalloc.get_traced_memory()[1] - before) / len(texts)
    tracemalloc.stop()
    return [
        Row("worker bytes a connection, at rest", "16 B", f"{rest:.0f} B", rest, 250, unit="B"),
        Row("the same, during a poll", "16 B", f"{peak:.0f} B", peak, None, unit="B"),
    ]
