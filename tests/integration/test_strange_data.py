"""What does not belong in the store, and a store that refuses: no worker dies of it, and nothing is said twice."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta

import pytest

from notifier.core.retry import WEBHOOK_SCHEDULE
from notifier.dispatcher import Dispatcher, Route
from notifier.errors import StoreError, StoreUnfit
from notifier.models import Delivery, Owed
from notifier.store.state import Commit


@pytest.fixture
async def owe(rig):
    await rig.store.sync_time()
    lease = await rig.store.take_lease("holder", timedelta(days=9))

    async def commit(*items: tuple[str, str]) -> None:
        owed = [
            Owed("backend", key, Delivery(id_, "x", "r", f'{{"id": "{id_}", "type": "x", "data": {{}}}}'))
            for key, id_ in items
        ]
        await rig.store.commit(lease, "", Commit(owed=owed))

    return commit


def got(rig):
    return [body["id"] for body in rig.sinks["backend"].got]


@pytest.mark.parametrize(
    "text",
    ["1 2\n{}", "1 x 0\n{}", "0 0 0\n{}", "0 0 0\nnot JSON", "0 0 0", '0 0 0\n{"id": 1}', "9 0 0\n\udcff"],
)
async def test_what_cannot_be_read_as_a_delivery_is_a_dead_letter_and_lets_the_next_pass(rig, owe, text):
    await rig.redis.rpush(rig.keys.lane("backend", "a"), text.encode(errors="surrogateescape"))
    await owe(("a", "a1"), ("b", "b1"))
    await rig.deliver()
    assert sorted(got(rig)) == ["a1", "b1"]
    [letter] = await rig.lanes.dead_letters("backend")
    assert letter.reason == "unreadable"
    assert letter.delivery.body.partition(" ")[2] == text.partition(" ")[2].replace("\udcff", "\ufffd")
    assert await rig.lanes.replay("backend", [letter]) == 1
    await rig.deliver()
    assert [letter.reason for letter in await rig.lanes.dead_letters("backend")] == ["unreadable"]
    assert len(got(rig)) == 2


async def test_what_is_no_delivery_of_ours_is_not_looked_at_again_and_again(rig, owe, monkeypatch):
    await owe(("a", "a1"))
    await rig.deliver()
    await rig.redis.rpush(rig.keys.lane("backend", "strange"), "rubbish")
    await rig.redis.zadd(rig.keys.lanes("backend"), {"strange": 2})
    stop, naps = asyncio.Event(), []

    async def note(seconds: float) -> None:
        naps.append(seconds)
        if len(naps) > 2:
            stop.set()
        await asyncio.sleep(0)

    monkeypatch.setattr(rig.still, "sleep", note)
    routes = {name: Route(sink, WEBHOOK_SCHEDULE, 4, None) for name, sink in rig.sinks.items()}
    await Dispatcher(routes, rig.lanes, rig.still, random.Random(1)).run(stop, timedelta())
    assert min(naps) >= 1


async def test_a_store_that_refuses_to_settle_makes_nothing_said_twice(rig, owe, monkeypatch):
    await owe(("a", "a1"), ("a", "a2"))
    settle, refusals = rig.lanes._settle, 20

    async def refuse(**kwargs):
        nonlocal refusals
        if refusals:
            refusals -= 1
            raise StoreError("NOPERM")
        return await settle(**kwargs)

    async def soon(seconds: float) -> None:
        await asyncio.sleep(0)

    monkeypatch.setattr(rig.lanes, "_settle", refuse)
    monkeypatch.setattr(rig.still, "sleep", soon)
    await rig.deliver()
    assert got(rig) == ["a1", "a2"]
    assert refusals == 0


@pytest.mark.parametrize("field", ["deaths", "failures", "next_at", "failing_since", "paused_until"])
async def test_a_health_that_somebody_else_wrote_is_an_error_that_says_where(rig, owe, field):
    await owe(("a", "a1"))
    await rig.redis.hset(rig.keys.sink("backend"), field, "rubbish")
    with pytest.raises(StoreUnfit, match="sink:backend"):
        await rig.lanes.health("backend")
