"""When a poll takes what is there without a word, and when it waits for a person."""

from __future__ import annotations

import pytest

from tests.support.account import SERVER_ERROR, connection, group


async def test_a_baseline_that_is_interrupted_goes_on_as_a_baseline(rig, many):
    many.answer = lambda _request, page: SERVER_ERROR if page >= 2 else None
    await rig.poll(times=2)
    rig.restart()
    many.set_status("conn_00", "gc_00_a", "completed")
    await rig.poll()
    many.answer = lambda _request, _page: None
    many.set_status("conn_01", "gc_01_a", "completed")
    await rig.poll(times=2)
    assert await rig.transitions() == []
    assert "notifier.baseline" in await rig.reports()


async def test_the_list_of_another_account_is_held_whole(rig, many):
    await rig.poll()
    mine = many.listed
    many.listed = [connection(f"conn_other_{n}", group(f"gc_other_{n}")) for n in range(12)]
    await rig.poll(times=5)
    many.answer = lambda _request, page: SERVER_ERROR if page else None  # and a part of it is no better
    await rig.poll(times=2)
    many.answer = lambda _request, _page: None
    many.listed = mine
    await rig.poll(times=2)
    assert await rig.transitions() == []
    assert (await rig.reports()).count("notifier.snapshot_held") == 1


async def test_the_list_of_another_account_is_held_whole_though_an_item_of_it_cannot_be_read(rig, many):
    await rig.poll()
    many.listed = [connection("conn_other", group("gc_other")), {"id": "conn_unreadable"}]
    await rig.poll()
    assert await rig.transitions() == []
    assert (await rig.reports())[-1] == "notifier.snapshot_held"


async def test_another_account_that_was_approved_is_a_new_baseline(rig, many):
    await rig.poll()
    many.listed = [connection(f"conn_other_{n}", group(f"gc_other_{n}")) for n in range(12)]
    await rig.poll()
    await rig.store.write_inbox("approve", {"since": "x", "ids": {}, "whole_snapshot": True})
    await rig.poll()
    many.set_status("conn_other_1", "gc_other_1", "completed")
    await rig.poll()
    assert [step[1] for step in await rig.transitions()] == ["gc_other_1"]


async def test_a_flushed_store_is_a_new_baseline_told_once(rig, many):
    await rig.poll(times=2)
    await rig.deliver()
    await rig.redis.flushall()
    many.set_status("conn_01", "gc_01_a", "completed")
    await rig.poll(times=3)
    assert await rig.transitions() == []
    assert await rig.reports() == ["notifier.baseline", "notifier.state_lost"]


async def test_a_state_of_another_size_than_recorded_is_lost_state(rig, many):
    await rig.poll()
    await rig.redis.hdel(rig.keys.state, "conn_05")
    await rig.poll(times=2)
    assert await rig.transitions() == []
    assert await rig.reports() == ["notifier.baseline", "notifier.state_lost"]


@pytest.mark.parametrize(
    ("change", "report"),
    [
        ({"api_version": "2023-08-25"}, "notifier.baseline"),
        ({"base_url": "https://other"}, "notifier.state_lost"),
    ],
)
async def test_another_version_or_account_address_is_a_new_baseline(rig, many, change, report):
    await rig.poll()
    rig.restart(**change)
    many.set_status("conn_01", "gc_01_a", "completed")
    await rig.poll()
    assert await rig.transitions() == []
    assert (await rig.reports())[1:] == [report]


async def test_another_account_that_is_empty_waits_for_a_person_and_is_a_baseline_once_approved(rig, many):
    await rig.poll()
    rig.restart(base_url="https://other")
    many.listed = []
    await rig.poll(times=3)
    rig.restart(base_url="https://other")
    await rig.poll()
    held = (await rig.store.meta()).held
    await rig.store.write_inbox("approve", held)
    await rig.poll()
    many.listed = [connection("conn_first", group("gc_first"))]
    await rig.poll()
    assert (await rig.reports())[1:] == ["notifier.snapshot_held", "notifier.baseline"]
    assert {step[1] for step in await rig.transitions()} == {"conn_first", "gc_first"}


async def test_what_was_held_after_a_flush_stays_held_after_a_restart(rig, many):
    await rig.poll()
    mine = many.listed
    await rig.redis.flushall()
    many.listed = []
    await rig.poll()
    rig.restart()  # it does not remember that anything was known
    await rig.poll(times=2)
    many.listed = mine
    await rig.poll(times=2)
    assert await rig.transitions() == []
    assert await rig.reports() == ["notifier.snapshot_held", "notifier.state_lost"]


async def test_an_empty_list_that_fills_again_ends_the_wait_by_itself(rig, many):
    await rig.poll()
    mine = many.listed
    rig.restart(api_version="2023-08-25")
    many.listed = []
    await rig.poll(times=2)
    many.listed = mine
    await rig.poll(times=2)
    assert (await rig.reports())[1:] == ["notifier.snapshot_held", "notifier.baseline"]
    assert (await rig.store.meta()).held is None
    assert await rig.transitions() == []
