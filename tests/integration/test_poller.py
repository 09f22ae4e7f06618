"""What a poll tells: the real poller and scripts against an account in memory."""

from __future__ import annotations

import pytest

from notifier.errors import StoreUnavailable
from tests.support.account import connection, group, milestone


async def test_the_first_poll_is_a_baseline_without_transitions(rig, many):
    result = await rig.poll()
    assert (result.outcome, result.baseline) == ("complete", "first_run")
    assert await rig.transitions() == []
    assert await rig.reports() == ["notifier.baseline"]
    assert (await rig.store.meta()).counts == {
        "connection": 12,
        "group_connection": 24,
        "milestone": 12,
        "tombstone": 0,
    }


async def test_a_group_connection_that_turns_to_needs_attention_is_told_once(rig, many):
    await rig.poll()
    many.set_status("conn_05", "gc_05_b", "needs_attention")
    await rig.poll(times=3)
    assert await rig.transitions() == [
        ("group_connection.status_changed", "gc_05_b", "pending", "needs_attention")
    ]


async def test_the_body_says_what_a_receiver_needs(rig, many):
    await rig.poll()
    many.set_status("conn_05", "gc_05_b", "needs_attention")
    await rig.poll()
    await rig.deliver()
    body = rig.sinks["backend"].got[-1]
    data = body["data"]
    assert data["carrier"] == {"id": "carr_A", "name": "Guardian"}
    assert data["connection"]["employer"] == {"id": "er_conn_05", "name": "Acme Corp", "external_id": "48213"}
    assert data["entity"] == {
        "kind": "group_connection",
        "id": "gc_05_b",
        "status": "needs_attention",
        "group_id": "00123",
        "initiated_at": "2026-01-02T03:04:05Z",
        "completed_at": None,
    }
    assert list(data)[:6] == ["id", "source", "epoch", "sequence", "rule", "severity"]
    assert (data["source"], data["sequence"], data["rule"]) == ("test", 1, "everything")
    earlier, later = data["observed_between"]
    assert earlier < later == body["timestamp"]


async def test_several_changes_between_two_polls_are_one_net_change(rig, many):
    await rig.poll()
    many.set_status("conn_01", "gc_01_a", "needs_attention")
    many.set_status("conn_01", "gc_01_a", "completed")
    many["conn_01"]["events"].append(milestone("ms_new", "needs_attention", "carrier_sync_updated"))
    await rig.poll()
    assert await rig.transitions() == [
        ("group_connection.status_changed", "gc_01_a", "pending", "completed"),
        ("milestone.added", "ms_new", None, "needs_attention"),
    ]


async def test_a_status_that_goes_and_comes_back_is_told_both_times(rig, many):
    await rig.poll()
    for status in ("processing", "pending", "processing"):
        many.set_status("conn_01", "gc_01_a", status)
        await rig.poll()
    assert [step[2:] for step in await rig.transitions()] == [
        ("pending", "processing"),
        ("processing", "pending"),
        ("pending", "processing"),
    ]


async def test_untracked_changes_tell_and_write_nothing(rig, many):
    await rig.poll(times=2)
    before = await rig.redis.hgetall(rig.keys.state)
    for item in many.listed:
        item["brand_new_field"] = {"deep": [1, 2]}
        item["group_connections"].reverse()
    await rig.poll(times=2)
    assert await rig.transitions() == []
    assert await rig.redis.hgetall(rig.keys.state) == before


async def test_a_restart_loses_and_repeats_nothing(rig, many):
    await rig.poll()
    many.set_status("conn_01", "gc_01_a", "processing")
    await rig.poll()
    rig.restart()
    many.set_status("conn_02", "gc_02_a", "completed")
    await rig.poll(times=2)
    assert [step[1] for step in await rig.transitions()] == ["gc_01_a", "gc_02_a"]


@pytest.mark.parametrize("survives", [0, 1, 2])
async def test_a_crash_between_two_chunks_loses_and_repeats_nothing(rig, account, survives):
    account.page_size = 100
    account.listed = [connection(f"conn_{n:03}", group(f"gc_{n:03}")) for n in range(250)]
    await rig.poll()
    for item in account.listed:
        item["group_connections"][0]["status"] = "completed"
    commit, calls = rig.store.commit, 0

    async def dying(*args):
        nonlocal calls
        calls += 1
        if calls > survives:
            raise StoreUnavailable("the process ends here")
        return await commit(*args)

    rig.store.commit = dying
    assert (await rig.poll()).outcome == "failed"
    rig.store.commit = commit
    rig.restart()
    await rig.poll(times=2)
    told = await rig.transitions()
    assert sorted(step[1] for step in told) == [f"gc_{n:03}" for n in range(250)]
    assert (await rig.store.meta()).counts["connection"] == 250
    assert await rig.reports() == ["notifier.baseline"]


@pytest.mark.parametrize("survives", [0, 1, 2])
async def test_a_baseline_that_crashes_between_chunks_goes_on_as_a_baseline(rig, account, survives):
    account.page_size = 100
    account.listed = [connection(f"conn_{n:03}", group(f"gc_{n:03}")) for n in range(250)]
    commit, calls = rig.store.commit, 0

    async def dying(*args):
        nonlocal calls
        calls += 1
        if calls > survives:
            raise StoreUnavailable("the process ends here")
        return await commit(*args)

    rig.store.commit = dying
    assert (await rig.poll()).outcome == "failed"
    rig.store.commit = commit
    rig.restart()
    account.drop("conn_000")
    account["conn_001"]["group_connections"][0]["status"] = "completed"
    await rig.poll(times=3)
    assert await rig.transitions() == []
    assert (await rig.store.meta()).counts["connection"] == await rig.store.size() == 249
    assert await rig.reports() == ["notifier.baseline"]


async def test_a_lost_reply_to_the_last_commit_changes_nothing(rig, many, monkeypatch):
    await rig.poll()
    many.set_status("conn_01", "gc_01_a", "completed")
    script = rig.store._commit

    async def lossy(**kwargs):
        await script(**kwargs)
        raise StoreUnavailable("the reply was lost")

    rig.store._commit = lossy
    monkeypatch.setattr("notifier.store.state._TRIES", 1)  # and the worker dies before it asks again
    assert (await rig.poll()).outcome == "failed"
    rig.store._commit = script
    await rig.poll(times=2)
    assert [step[1] for step in await rig.transitions()] == ["gc_01_a"]
