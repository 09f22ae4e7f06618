"""From a page's bytes to "nothing changed": the poller's hot path against ``orjson.loads`` of the same bytes.

Measured is what a poll really runs, :func:`traverse`: the envelope, the fingerprints, and for what is not
known decoding, comparing with the stored state and the diff; the store is a dict, for round trips are not
the question here. Times are those of the thread, page by page in turn with the floor.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Iterable, Sequence
from time import thread_time
from typing import cast

from bench.table import Row
from bench.timing import Pair, medians
from bench.world import UNTRACKED, KnownStates, Replay, changed, connections, pages_of, reordered
from notifier.clasp.decode import read
from notifier.core import codec
from notifier.core.codec import Words
from notifier.core.diff import diff, first_state
from notifier.core.view import Learned, View
from notifier.models import ConnectionState
from notifier.poller.traversal import Complete, Seen, traverse, without_fields
from notifier.store.state import StateStore


class Account:
    """What a poller knows of the account that it has seen last: view, states, words."""

    def __init__(self, texts: Sequence[bytes]) -> None:
        self.words = Words()
        self.store = KnownStates({})
        for text in texts:
            item = without_fields(read(text), UNTRACKED)
            self.store.values[item.id] = codec.encode(first_state(item), self.words)
        self.view = View("v")

    async def look(self, source: Replay) -> tuple[Pair, Seen]:
        """One traversal and what it teaches, against the floor."""
        began = thread_time()
        store = cast("StateStore", self.store)  # all that it is asked for are states
        seen, outcome = await traverse(source, self.view, store, self.words, UNTRACKED)
        after = self._diffed(seen)
        taken = {id_: one.fingerprint for id_, one in seen.changed.items() if one.fingerprint is not None}
        self.view.update("v", Learned(seen.same | taken, is_whole=True))
        took = thread_time() - began - source.floor_s - source.aside_s
        assert outcome == Complete(), outcome
        for id_, state in after.items():
            self.store.values[id_] = codec.encode(state, self.words)
        return Pair(source.floor_s, took), seen

    def _diffed(self, seen: Seen) -> dict[str, ConnectionState]:
        now = int(time.monotonic())
        return {
            id_: diff(sighting.stored, sighting.seen, now=now).state for id_, sighting in seen.changed.items()
        }


async def run(*, quick: bool) -> Iterable[Row]:
    """Nothing changed, 1 % changed, every item's bytes changed."""
    count, times = (20_000, 3) if quick else (100_000, 5)
    texts = connections(count)
    account = Account(texts)
    still = Replay(pages_of(texts))
    other = Replay(pages_of(changed(texts, 0.01)))
    await account.look(still)
    gc.collect()
    gc.freeze()
    fresh = Replay(pages_of(texts), is_new=True)
    each = [(await account.look(fresh))[0] for _ in range(times)]
    await account.look(still)
    unchanged = [(await account.look(still))[0] for _ in range(times)]
    moved = [await _moved(account, source, count) for source in ([other, still] * 3)[:times]]
    gc.unfreeze()
    few = count // 10
    turned = await _turned(texts[:few])
    return [
        _row("page bytes -> nothing changed, pages as before", unchanged, count, 0.06),
        _row("nothing changed, every item looked at", each, count, 0.35),
        _row("1 % changed, on every page one", moved, count, 0.40),
        _row("all bytes differ, nothing tracked did", turned, few, 1.5),
    ]


async def _turned(texts: Sequence[bytes]) -> list[Pair]:
    """Looks at connections whose keys stand in another order each time."""
    account = Account(texts)
    sources = [Replay(pages_of(texts)), Replay(pages_of(reordered(texts)))]
    pairs = []
    for source in sources * 2:
        pair, seen = await account.look(source)
        assert len(seen.same) == len(texts), len(seen.same)
        pairs.append(pair)
    return pairs


async def _moved(account: Account, source: Replay, count: int) -> Pair:
    pair, seen = await account.look(source)
    assert len(seen.changed) == count // 100, len(seen.changed)
    return pair


def _row(what: str, pairs: list[Pair], count: int, goal: float) -> Row:
    floor, measured, ratio = medians(pairs)
    return Row(what, f"{floor / count * 1e6:.2f} us", f"{measured / count * 1e6:.2f} us", ratio, goal)
