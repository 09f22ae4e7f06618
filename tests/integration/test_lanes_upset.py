"""Lanes to which something happens at a bad moment, on fakeredis and on real servers."""

from __future__ import annotations

from datetime import timedelta

from notifier.store.records import Records

HOLD = timedelta(seconds=15)


async def claim_the_only_place(rig):
    return (await rig.lanes.claim("backend", hold=HOLD, most=1, rate=None, concurrency=1)).claims


async def test_a_clock_that_is_set_back_makes_no_dead_worker_hold_the_only_place(rig, owe, clock):
    await owe(("a", "a1"))
    assert len(await claim_the_only_place(rig)) == 1, "by a worker that dies"
    clock.advance(-3600)
    await owe(("b", "b1"), ("c", "c1"))
    [claim] = await claim_the_only_place(rig)
    assert claim.key == "b"
    assert await claim_the_only_place(rig) == (), "which is under way"


async def test_a_sink_that_is_dropped_beside_a_commit_keeps_what_is_owed_after_it_and_nothing_else(rig, owe):
    await owe(("a", "a1"), ("b", "b1"))
    await rig.lanes.switch_off("backend", "maintenance")
    execute, owed = rig.redis.execute_command, []

    async def beside(*command, **more):
        answer = await execute(*command, **more)
        rig.redis.execute_command = execute
        owed.append(f"c{len(owed)}")
        await owe((owed[-1], owed[-1]))  # by a worker whose configuration still has the sink
        rig.redis.execute_command = beside
        return answer

    rig.redis.execute_command = beside
    await rig.lanes.drop("backend")
    rig.redis.execute_command = execute
    lists = {key.decode() for key in await rig.redis.keys("*:lane:backend:*")}
    assert lists == {
        rig.keys.lane("backend", key.decode())
        for key in await rig.redis.zrange(rig.keys.lanes("backend"), 0, -1)
    }
    assert lists == {rig.keys.lane("backend", owed[-1])}


async def test_a_lane_whose_key_is_no_text_is_no_reason_not_to_tell_what_waits(rig):
    await rig.store.sync_time()
    now = rig.store.now_us() // 2 * 2
    await rig.redis.zadd(rig.keys.lanes("backend"), {b"\xff\xfe": now + 3_600_000_000})
    records = Records(rig.redis, rig.keys)
    assert await records.retrying("backend", now) is None
    assert await records.waiting("backend", "conn", ()) == []
