"""The one commit: fence, version, id, all or nothing."""

from __future__ import annotations

from datetime import timedelta

import pytest

from notifier.errors import LeaseLost, StateMoved, StoreUnavailable
from notifier.models import Delivery, Owed
from notifier.store.keys import Keys
from notifier.store.state import Commit, StateStore

TTL = timedelta(seconds=5)
CHANGE = Commit(
    meta={"epoch": "e1", "counts": {"connection": 1}},
    states={"conn_1": b"\x01state"},
    history=['{"type": "x", "data": {}}'],
    owed=[Owed("backend", "conn_1", Delivery("evt_1", "x", "r", "{}"))],
)


@pytest.fixture(autouse=True)
async def _time(rig):
    await rig.store.sync_time()


async def everything(rig):
    return {
        key: await rig.redis.type(key) for key in sorted(await rig.redis.keys("*")) if b"lease" not in key
    }


async def test_a_commit_writes_state_meta_history_and_deliveries_together(rig):
    lease = await rig.store.take_lease("a", TTL)
    version = await rig.store.commit(lease, "", CHANGE)
    meta = await rig.store.meta()
    assert (meta.version, meta.epoch, meta.counts) == (version, "e1", {"connection": 1})
    assert await rig.store.states(["conn_1", "conn_2"]) == [b"\x01state", None]
    assert len(await rig.store.history(newest=9)) == 1
    claims = (await rig.lanes.claim("backend", hold=TTL, most=9, rate=None)).claims
    assert [item.delivery.id for item in claims] == ["evt_1"]


async def test_only_the_lease_holder_commits(rig, clock):
    old = await rig.store.take_lease("a", TTL)
    assert await rig.store.take_lease("b", TTL) is None
    clock.advance(6)
    new = await rig.store.take_lease("b", TTL)
    assert new.number > old.number
    with pytest.raises(LeaseLost):
        await rig.store.commit(old, "", CHANGE)
    assert await everything(rig) == {}
    await rig.store.commit(new, "", CHANGE)


async def test_an_expired_lease_that_nobody_took_still_commits(rig, clock):
    lease = await rig.store.take_lease("a", TTL)
    clock.advance(600)
    await rig.store.commit(lease, "", CHANGE)


async def test_a_lease_that_was_given_back_is_free_at_once_and_commits_no_more(rig):
    lease = await rig.store.take_lease("a", TTL)
    await rig.store.give_back_lease("a")
    assert await rig.store.take_lease("b", TTL) is not None
    with pytest.raises(LeaseLost):
        await rig.store.commit(lease, "", CHANGE)


async def test_giving_back_what_another_holds_does_nothing(rig):
    await rig.store.take_lease("a", TTL)
    await rig.store.give_back_lease("b")
    assert await rig.store.take_lease("b", TTL) is None


async def test_a_number_that_was_used_never_comes_back_when_the_lease_is_lost(rig):
    lease = await rig.store.take_lease("a", TTL)
    await rig.store.commit(lease, "", CHANGE)
    await rig.redis.delete(rig.keys.lease)
    assert (await rig.store.take_lease("b", TTL)).number > lease.number


async def test_a_commit_on_another_version_than_the_one_it_was_made_from_is_refused_whole(rig):
    lease = await rig.store.take_lease("a", TTL)
    version = await rig.store.commit(lease, "", CHANGE)
    before = await rig.redis.hgetall(rig.keys.state)
    for stale in ("", "somebody else's"):
        with pytest.raises(StateMoved):
            await rig.store.commit(lease, stale, Commit(states={"conn_9": b"\x01x"}))
    assert await rig.redis.hgetall(rig.keys.state) == before
    await rig.store.commit(lease, version, Commit(forgotten=["conn_1"]))
    assert await rig.store.size() == 0


async def test_a_commit_whose_reply_was_lost_happens_once(rig, monkeypatch):
    lease = await rig.store.take_lease("a", TTL)
    script, calls = rig.store._commit, []

    async def lossy(**kwargs):
        answer = await script(**kwargs)
        calls.append(answer)
        if len(calls) == 1:
            raise StoreUnavailable("the reply was lost")
        return answer

    monkeypatch.setattr(rig.store, "_commit", lossy)
    monkeypatch.setattr(rig.store._clock, "sleep", lambda _seconds: __import__("asyncio").sleep(0))
    await rig.store.commit(lease, "", CHANGE)
    assert [answer[0] for answer in calls] == [b"committed", b"repeated"]
    assert len(await rig.store.history(newest=9)) == 1
    assert await rig.redis.llen(rig.keys.lane("backend", "conn_1")) == 1


async def test_the_inbox_keeps_what_no_commit_has_applied(rig):
    lease = await rig.store.take_lease("a", TTL)
    await rig.store.write_inbox("approve", {"n": 1})
    entries = await rig.store.inbox()
    await rig.store.write_inbox("approve", {"n": 2})
    await rig.store.commit(lease, "", Commit(inbox_upto=entries[-1].id))
    assert [entry.value for entry in await rig.store.inbox()] == [{"n": 2}]


async def test_all_keys_carry_one_hash_tag(rig):
    lease = await rig.store.take_lease("a", TTL)
    await rig.store.write_inbox("approve", {})
    await rig.store.commit(lease, "", CHANGE)
    assert all(key.startswith(b"notifier:{test}:") for key in await rig.redis.keys("*"))


async def test_a_slow_answer_is_taken_for_the_time_in_the_middle_of_its_trip(
    redis_client, clock, monkeypatch
):
    async def slowly():
        clock.advance(2)
        answer = (2_000_000_000, 0)
        clock.advance(2)
        return answer

    monkeypatch.setattr(redis_client, "time", slowly)
    store = StateStore(redis_client, Keys("t"), clock, history=timedelta(days=1))
    await store.sync_time()
    assert store.now_us() == 2_000_000_002_000_000


async def test_the_history_is_read_back_page_by_page_no_further_than_needed(rig, redis_client):
    await rig.poll()
    for n in range(1100):
        at = f"2026-11-19T10:{n // 20:02}:00.000Z"
        event = f'{{"type": "x", "timestamp": "{at}", "data": {{"cause": "{n}"}}}}'
        await redis_client.xadd(rig.keys.history, {"event": event})

    async def read(since: str, most: int = 10_000) -> list[int]:
        return [int(record.data.cause) async for record in rig.store.records(since, most=most)]

    assert await read("2026-11-19T09:00:00.000Z", 1100) == [*range(1099, -1, -1)]
    assert await read("2026-11-19T10:00:00.000Z") == [*range(1099, 19, -1)]
    assert await read("2026-11-19T10:53:00.000Z") == [*range(1099, 1079, -1)]
    assert await read("2026-11-19T10:00:00.000Z", 700) == [*range(1099, 399, -1)]
    everything = [record.type async for record in rig.store.records("", most=10_000)]
    assert everything == ["x"] * 1100 + ["notifier.baseline"]
