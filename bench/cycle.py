"""A whole poll of an account where nothing changed, against fetching the same pages and doing nothing.

The sandbox runs as a process of its own on loopback and the store is a real server: the poll holds the
lease, reads the store, fetches, looks at every item, and commits that it has seen everything.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable

import httpx
import msgspec

from bench.rig import Rig, config, logging_to_nowhere, rig
from bench.roles import KEY, role
from bench.table import Row
from bench.timing import Pair, medians
from bench.world import CLOCK, PAGE
from notifier.core.rules import Router
from notifier.poller.look import Tools
from notifier.poller.loop import Hooks, Poller
from notifier.poller.names import NameBook
from notifier.store.names import NameCache
from notifier.worker import settings, source_client


async def run(*, quick: bool) -> Iterable[Row]:
    """CPU and wall time."""
    count, times = (5_000, 3) if quick else (30_000, 5)
    with role("sandbox", count) as base_url, logging_to_nowhere():
        async with rig() as store, httpx.AsyncClient(trust_env=False, timeout=30) as client:
            client.headers["Authorization"] = f"Bearer {KEY}"
            urls = await _urls(client, base_url)
            assert len(urls) == -(-count // PAGE)
            poller = _poller(store, base_url)
            await store.state.give_back_lease("bench")
            first = await poller.poll_once()
            assert (first.outcome, first.connections) == ("complete", count), first
            cpu, wall = [], []
            for _ in range(times):
                before = _now()
                for url in urls:
                    await client.get(url)
                between = _now()
                result = await poller.poll_once()
                after = _now()
                assert (result.connections, result.changed) == (count, 0), result
                cpu.append(Pair(between[0] - before[0], after[0] - between[0]))
                wall.append(Pair(between[1] - before[1], after[1] - between[1]))
    return [_row("whole poll, nothing changed: CPU", cpu, count), _row("the same: wall", wall, count)]


def _now() -> tuple[float, float]:
    return time.process_time(), time.perf_counter()


async def _urls(client: httpx.AsyncClient, base_url: str) -> list[str]:
    """The addresses of all pages."""
    urls = [f"{base_url}/connections?page_size={PAGE}"]
    while (link := msgspec.json.decode((await client.get(urls[-1])).content)["next"]) is not None:
        urls.append(link)
    return urls


def _poller(store: Rig, base_url: str) -> Poller:
    used = config(base_url)
    source = source_client(used, CLOCK, random.Random(0))
    names = NameBook(source, NameCache(store.redis, store.keys, store.state.now_us), enabled=True)
    tools = Tools(source, store.state, names, Router(used), CLOCK)
    hooks = Hooks(lambda _sinks: None, lambda _result: None, lambda: None)
    return Poller(tools, settings(used), store.lanes, tuple(used.sinks), used.source.lease, hooks)


def _row(what: str, pairs: list[Pair], count: int) -> Row:
    floor, measured, ratio = medians(pairs)
    return Row(what, f"{floor / count * 1e6:.1f} us", f"{measured / count * 1e6:.1f} us", ratio, 1.15)
