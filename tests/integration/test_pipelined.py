"""Settles made side by side share a round trip, and each still stands for itself."""

from __future__ import annotations

import asyncio

import pytest
from redis import exceptions

from notifier.store import scripts
from notifier.store.pipelined import PipelinedScript
from tests.integration.test_lanes import DELIVERED, HOLD


class Trips(list):
    before = None


@pytest.fixture
def trips(rig, monkeypatch):
    """How many calls each pipeline carried, in their order; ``before`` runs while one is on its way."""
    found, pipeline = Trips(), rig.redis.pipeline

    def counting(**kwargs):
        pipe = pipeline(**kwargs)
        execute = pipe.execute

        async def executing(**given):
            found.append(len(pipe))
            if found.before is not None:
                await found.before()
            return await execute(**given)

        pipe.execute = executing
        return pipe

    monkeypatch.setattr(rig.redis, "pipeline", counting)
    return found


async def claimed(rig, owe, count):
    await owe(*((f"lane-{n}", f"d{n}") for n in range(count)))
    return (await rig.lanes.claim("backend", hold=HOLD, most=count, rate=None)).claims


def settle(rig, claim):
    return rig.lanes.settle(claim, DELIVERED, took_ms=1)


async def test_settles_side_by_side_share_a_round_trip(rig, owe, trips):
    first, *rest = await claimed(rig, owe, 251)
    assert await settle(rig, first)  # a server that does not know the script yet is told it by the way
    trips.clear()
    assert await asyncio.gather(*(settle(rig, claim) for claim in rest)) == [True] * 250
    assert trips == [100, 100, 50]
    assert not await rig.redis.keys("*lane*")


async def test_a_settle_alone_goes_at_once_and_others_gather_behind_it(rig, owe, trips):
    first, *rest = await claimed(rig, owe, 8)
    others = []

    async def more():
        if not others:
            others.extend(asyncio.create_task(settle(rig, claim)) for claim in rest)
            await asyncio.sleep(0)

    trips.before = more
    assert await settle(rig, first)
    assert await asyncio.gather(*others) == [True] * 7
    assert trips == [1, 7]


async def test_one_that_is_lost_or_wrong_says_nothing_about_the_others(rig, owe):
    claims = await claimed(rig, owe, 3)
    await rig.lanes.release(claims[1])
    await rig.redis.set("notifier:ours", "no list")
    broken = PipelinedScript(rig.redis, scripts.load(rig.redis, "settle"))
    assert await asyncio.gather(*(settle(rig, claim) for claim in claims)) == [True, False, True]
    wrong, unknown = await asyncio.gather(
        broken(keys=["notifier:ours"] * 5, args=["key", "1"]),
        broken(keys=["notifier:nothing"] * 5, args=["key", "1", "delivered", 1]),
        return_exceptions=True,
    )
    assert isinstance(wrong, exceptions.ResponseError)
    assert unknown == b"lost"


async def test_a_server_that_forgot_the_script_is_told_it_again(rig, owe):
    claims = await claimed(rig, owe, 4)
    assert await settle(rig, claims[0])
    await rig.redis.script_flush()
    assert await asyncio.gather(*(settle(rig, claim) for claim in claims[1:])) == [True] * 3


async def test_all_who_wait_are_told_that_the_store_is_away_and_may_try_again(rig, owe, trips):
    claims = await claimed(rig, owe, 3)

    async def away():
        trips.before = None
        raise exceptions.ConnectionError("gone")

    trips.before = away
    calls = [settle(rig, claim) for claim in claims]
    failed = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(error).__name__ for error in failed] == ["StoreUnavailable"] * 3
    assert await asyncio.gather(*(settle(rig, claim) for claim in claims)) == [True] * 3


async def test_whoever_is_cancelled_costs_the_others_nothing(rig, owe, trips):
    first, *claims = await claimed(rig, owe, 4)
    assert await settle(rig, first)
    tasks = [asyncio.create_task(settle(rig, claim)) for claim in claims]

    async def cancel():
        trips.before = None
        tasks[0].cancel()
        await asyncio.sleep(0)

    trips.before = cancel
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    assert await asyncio.gather(*tasks[1:]) == [True, True]
    assert not await rig.redis.keys("*lane*")  # what was sent is settled all the same
