"""What workers do while their messages to the store are lost: one scene for each thing that they do.

Time, changes and receivers are those of the scene; what is lost, late or doubled comes from outside. A scene
goes on at its own times and does not wait for a worker, but where a person would.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

import msgspec

from notifier.core.removals import Held
from notifier.errors import PermanentFailure, SinkFault, StoreError, TemporaryFailure
from notifier.store.client import open_store
from notifier.store.keys import Keys
from notifier.store.state import StateStore
from tests.proof.lost_stage import HISTORY, INTERVAL_S, NAME, Stage
from tests.support.account import Account, connection, group, milestone


def _busy() -> TemporaryFailure:
    return TemporaryFailure("http_503", "busy", status=503)


class Scene(msgspec.Struct, frozen=True):
    """``act`` begins when a first worker has its baseline and nothing is owed, or, without, on nothing at all.

    ``gone`` are the ids that leave the source.
    """

    act: Callable[[Stage], Awaitable[None]]
    gone: Collection[str] = ()
    has_baseline: bool = True
    has_many_pollers: bool = False


def account() -> Account:
    """Seven connections on three pages."""
    return Account(
        *(
            connection(
                f"conn_{n}",
                group(f"gc_{n}_a"),
                group(f"gc_{n}_b"),
                milestones=[milestone(f"ms_{n}")],
            )
            for n in range(1, 8)
        )
    )


async def first_run(stage: Stage) -> None:
    """A store with nothing in it, not even scripts; a baseline in chunks; a change."""
    stage.store.script_flush()
    await stage.start()
    await stage.until(lambda: stage.meta("epoch"), "a baseline", within_s=120)
    stage.account.set_status("conn_1", "gc_1_a", "processing")
    await stage.clock.sleep(INTERVAL_S + 1)


async def changes(stage: Stage) -> None:
    """Two rounds of changes in two chunks each: known and new statuses, a new connection with new names."""
    source = stage.account
    source.set_status("conn_1", "gc_1_a", "processing")
    source.set_status("conn_1", "gc_1_b", "carrier_thinks")
    source["conn_2"]["status"] = "completed"
    source["conn_3"]["events"].append(milestone("ms_3_x", "needs_attention", "payroll_verified"))
    source.listed.append(connection("conn_8", group("gc_8_a", "new_here", carrier="carr_B")))
    await stage.clock.sleep(INTERVAL_S + 1)
    source.set_status("conn_1", "gc_1_a", "pending")
    source.set_status("conn_2", "gc_2_a", "carrier_sleeps")
    source.set_status("conn_8", "gc_8_a", "needs_attention")
    await stage.clock.sleep(INTERVAL_S + 1)


async def delivery(stage: Stage) -> None:
    """Retries, a pause and its probe, a dead letter, several deliveries in a lane, a stop in an attempt."""
    source, first = stage.account, stage["backend"]
    first.plans["gc_1_a", "processing"] = [_busy(), _busy()]
    first.plans["gc_2_a", "processing"] = [PermanentFailure("http_400", "no", status=400)]
    for n in (1, 2, 3):
        source.set_status(f"conn_{n}", f"gc_{n}_a", "processing")
        source.set_status(f"conn_{n}", f"gc_{n}_b", "processing")
    await stage.clock.sleep(INTERVAL_S + 3)
    first.plans["gc_3_a", "completed"] = [SinkFault("http_401", "who are you", status=401)]
    first.plans["gc_4_a", "completed"] = [2.5]
    for n in (3, 4):
        source.set_status(f"conn_{n}", f"gc_{n}_a", "completed")
        source.set_status(f"conn_{n}", f"gc_{n}_b", "completed")
    before = len(first.got)
    await stage.until(lambda: len(first.got) > before, "the slow attempt begins", within_s=60)
    await stage.end(stage.running[0])
    await stage.start()
    await stage.clock.sleep(INTERVAL_S)


async def removal(stage: Stage) -> None:
    """A connection and a child that go, then many at once, which a person approves."""
    source = stage.account
    source.drop("conn_7")
    source["conn_6"]["group_connections"].pop()
    await stage.clock.sleep(3 * INTERVAL_S + 1)
    source.drop("conn_4", "conn_5")
    await stage.until(lambda: stage.meta("held"), "the removals are held", within_s=120)
    await approve(stage)
    await stage.clock.sleep(3 * INTERVAL_S + 1)


async def approve(stage: Stage) -> None:
    """As ``notifier approve``, until it says that it was done."""
    held = msgspec.convert(stage.meta("held"), Held)
    while True:
        async with open_store(f"unix://{stage.proxy.path}", Path("/"), {}, stage.clock) as redis:
            try:
                store = StateStore(redis, Keys(NAME), stage.clock, history=HISTORY)
                await store.write_inbox("approve", held)
            except StoreError:
                await stage.clock.sleep(1)
            else:
                return


async def replicas(stage: Stage) -> None:
    """Two workers; the one that polls stops, and later the one that took over dies."""
    source = stage.account
    await stage.start()
    source.set_status("conn_1", "gc_1_a", "processing")
    source.set_status("conn_2", "gc_2_a", "carrier_waits")
    await stage.clock.sleep(INTERVAL_S + 1)
    source.set_status("conn_1", "gc_1_a", "completed")
    await stage.end(stage.running[0])
    source.set_status("conn_2", "gc_2_a", "carrier_runs")
    await stage.clock.sleep(INTERVAL_S + 1)
    await stage.start()
    source.set_status("conn_3", "gc_3_a", "carrier_stops")
    source.set_status("conn_3", "gc_3_b", "completed")
    await stage.clock.sleep(2)
    await stage.end(stage.running[0], kill=True)
    await stage.clock.sleep(2 * INTERVAL_S)


async def waiting(stage: Stage) -> None:
    """Two changes and then nothing, for as long as three claims in a row hold a lane."""
    stage.account.set_status("conn_1", "gc_1_a", "processing")
    stage.account.set_status("conn_2", "gc_2_a", "processing")
    await stage.clock.sleep(INTERVAL_S + 27)


SCENES = {
    "first_run": Scene(first_run, has_baseline=False),
    "changes": Scene(changes),
    "delivery": Scene(delivery),
    "waiting": Scene(waiting),
    "removal": Scene(removal, gone=("conn_7", "gc_6_b", "conn_4", "conn_5")),
    "replicas": Scene(replicas, has_many_pollers=True),
}
