"""What it takes to be told as removed, and what comes back."""

from __future__ import annotations

import httpx
import pytest

from tests.support.account import SERVER_ERROR, connection, group, milestone
from tests.support.rig import Rig


async def test_a_connection_is_removed_after_two_absences_and_a_404(rig, many):
    await rig.poll(times=2)
    many.drop("conn_03")
    await rig.poll()
    assert await rig.transitions() == []
    await rig.poll()
    assert await rig.transitions() == [("connection.removed", "conn_03", "processing", None)]
    await rig.poll(times=3)
    assert len(await rig.transitions()) == 1


async def test_a_connection_that_still_answers_by_id_is_not_removed(rig, many):
    await rig.poll()
    many.by_id["conn_03"] = httpx.Response(200, json=many["conn_03"])
    many.drop("conn_03")
    await rig.poll(times=8)
    assert await rig.transitions() == []


async def test_what_answers_by_id_is_an_observation_like_any_other(rig, many):
    await rig.poll()
    moved = {**many["conn_03"], "status": "inactive"}
    many.by_id["conn_03"] = httpx.Response(200, json=moved)
    many.drop("conn_03")
    await rig.poll(times=4)
    assert await rig.transitions() == [("connection.status_changed", "conn_03", "processing", "inactive")]


@pytest.mark.parametrize("answer", [SERVER_ERROR, httpx.Response(404, text="<html>gateway</html>")])
async def test_an_unclear_answer_by_id_removes_nothing(rig, many, answer):
    await rig.poll()
    many.by_id["conn_03"] = answer
    many.drop("conn_03")
    await rig.poll(times=4)
    assert await rig.transitions() == []


async def test_absences_a_restart_apart_are_counted_anew(rig, many):
    await rig.poll()
    many.drop("conn_03")
    await rig.poll()
    rig.restart()
    await rig.poll()
    assert await rig.transitions() == []
    await rig.poll()
    assert [step[0] for step in await rig.transitions()] == ["connection.removed"]


async def test_a_connection_that_comes_back_is_reappeared_on_the_same_sequence(rig, many):
    await rig.poll()
    gone = many["conn_03"]
    many.drop("conn_03")
    await rig.poll(times=2)
    many.listed.append(gone)
    await rig.poll()
    assert [step[:2] for step in await rig.transitions()] == [
        ("connection.removed", "conn_03"),
        ("connection.reappeared", "conn_03"),
        ("group_connection.reappeared", "gc_03_a"),
        ("group_connection.reappeared", "gc_03_b"),
        ("milestone.reappeared", "ms_03"),
    ]
    bodies = [body["data"] for body in rig.sinks["backend"].got if "sequence" in body["data"]]
    assert [data["sequence"] for data in bodies] == [1, 2, 3, 4, 5]


async def test_a_group_connection_is_removed_after_two_observations_without_it(rig, many):
    await rig.poll()
    many["conn_03"]["group_connections"].pop()
    await rig.poll()
    assert await rig.transitions() == []
    await rig.poll()
    assert await rig.transitions() == [("group_connection.removed", "gc_03_b", "pending", None)]
    await rig.poll(times=2)
    assert len(await rig.transitions()) == 1


async def test_a_missing_list_of_children_removes_nothing(rig, many):
    await rig.poll()
    del many["conn_03"]["group_connections"]
    many["conn_04"]["events"] = None
    await rig.poll(times=4)
    assert await rig.transitions() == []


async def test_an_empty_list_while_anything_is_known_removes_nothing_and_is_told_once(rig, many):
    await rig.poll()
    everything, many.listed = many.listed, []
    await rig.poll(times=5)
    many.listed = everything
    await rig.poll(times=2)
    assert await rig.transitions() == []
    assert await rig.reports() == ["notifier.baseline", "notifier.removals_held"]


async def test_a_quarter_that_vanishes_is_held_while_other_changes_flow(rig, many):
    many.listed += [connection(f"conn_x{n}", group(f"gc_x{n}")) for n in range(20)]
    await rig.poll()
    many.drop(*(f"conn_x{n}" for n in range(8)))
    many.set_status("conn_01", "gc_01_a", "needs_attention")
    await rig.poll(times=4)
    assert [step[1] for step in await rig.transitions()] == ["gc_01_a"]
    assert await rig.reports() == ["notifier.baseline", "notifier.removals_held"]
    meta = await rig.store.meta()
    assert sorted(meta.held.ids["connection"]) == sorted(f"conn_x{n}" for n in range(8))


async def test_an_approval_lets_exactly_what_was_shown_through(rig, many):
    many.listed += [connection(f"conn_x{n}", group(f"gc_x{n}")) for n in range(20)]
    await rig.poll()
    many.drop(*(f"conn_x{n}" for n in range(8)))
    await rig.poll(times=2)
    held = (await rig.store.meta()).held
    await rig.store.write_inbox("approve", {"since": held.since, "ids": held.ids})
    await rig.poll(times=3)
    assert sorted(step[:2] for step in await rig.transitions()) == sorted(
        ("connection.removed", f"conn_x{n}") for n in range(8)
    )
    meta = await rig.store.meta()
    assert meta.held is None
    assert meta.counts["connection"] == 24
    assert await rig.redis.xlen(rig.keys.inbox) == 0


async def test_children_that_vanish_en_masse_are_held_alone(rig, many):
    await rig.poll()
    for item in many.listed:
        item["group_connections"] = item["group_connections"][:1]
    many["conn_01"]["events"].append(milestone("ms_new"))
    await rig.poll(times=4)
    assert [step[0] for step in await rig.transitions()] == ["milestone.added"]
    assert await rig.reports() == ["notifier.baseline", "notifier.removals_held"]


async def test_a_partial_snapshot_that_shows_few_of_what_is_held_removes_none_of_it(rig, many):
    await rig.poll()
    for item in many.listed:
        item["group_connections"] = item["group_connections"][:1]
    await rig.poll(times=2)
    many.answer = lambda _request, page: SERVER_ERROR if page else None
    await rig.poll(times=2)
    assert await rig.transitions() == []


async def test_a_child_that_was_seen_by_id_meanwhile_is_not_removed(rig, many):
    await rig.poll()
    whole = {**many["conn_03"], "group_connections": list(many["conn_03"]["group_connections"])}
    without = {**whole, "group_connections": whole["group_connections"][:1]}
    many.listed[3] = without
    await rig.poll()
    many.drop("conn_03")
    many.by_id["conn_03"] = httpx.Response(200, json=whole)
    await rig.poll(times=2)
    many.listed.append(without)
    await rig.poll()
    assert await rig.transitions() == []
    await rig.poll()
    assert [step[0] for step in await rig.transitions()] == ["group_connection.removed"]


async def test_a_child_that_another_replica_saw_meanwhile_is_not_removed(rig, many, redis_client, clock):
    await rig.poll(times=2)
    lost = many["conn_00"]["group_connections"].pop()
    await rig.poll()
    await rig.deliver()
    other = Rig(redis_client, clock, many)
    many["conn_00"]["group_connections"].append(lost)
    many.answer = lambda _request, page: SERVER_ERROR if page else None
    assert (await other.poll()).outcome == "partial"
    many.answer = lambda _request, _page: None
    many["conn_00"]["group_connections"].pop()
    await rig.poll()
    assert await rig.transitions() == []
    await rig.poll()
    assert [step[0] for step in await rig.transitions()] == ["group_connection.removed"]


async def test_tombstones_are_forgotten_after_the_history_and_the_size_still_fits(rig, many, clock):
    await rig.poll()
    many.drop("conn_03")
    await rig.poll(times=2)
    assert (await rig.store.meta()).counts["tombstone"] == 1
    clock.advance(31 * 86_400)
    await rig.poll()
    assert (await rig.store.meta()).counts["tombstone"] == 0
    assert await rig.store.size() == 11
    await rig.poll(times=2)
    assert await rig.reports() == ["notifier.baseline"]


async def test_what_was_forgotten_and_comes_back_as_it_was_is_told_under_new_ids(rig, many, clock):
    await rig.poll()
    new, child = connection("conn_new", group("gc_new")), group("gc_03_new")
    for _ in range(2):
        many.listed.append(new)
        many["conn_03"]["group_connections"].append(child)
        await rig.poll()
        many.drop("conn_new")
        many["conn_03"]["group_connections"].remove(child)
        await rig.poll(times=2)
        clock.advance(31 * 86_400)
        many.set_status("conn_03", "gc_03_a", f"at {clock.now()}")
        await rig.poll()
    await rig.deliver()
    ids = [body["data"]["id"] for body in rig.sinks["backend"].got]
    types = [body["type"] for body in rig.sinks["backend"].got]
    assert (types.count("connection.added"), types.count("group_connection.added")) == (2, 4)
    assert len(set(ids)) == len(ids)


async def test_a_removal_says_when_the_entity_was_last_there(rig, many, clock):
    await rig.poll(times=2)
    last_there = (await rig.store.meta()).complete_at
    many.drop("conn_03")
    many["conn_04"]["group_connections"].pop()
    await rig.poll(times=4)
    await rig.deliver()
    bounds = {b["data"]["entity"]["id"]: b["data"]["observed_between"] for b in rig.sinks["backend"].got[1:]}
    assert {bounds["conn_03"][0], bounds["gc_04_b"][0]} == {last_there}


async def test_a_removal_after_a_restart_does_not_pretend_to_know_when(rig, many):
    await rig.poll()
    many.drop("conn_03")
    await rig.poll()
    rig.restart()
    await rig.poll(times=2)
    await rig.deliver()
    assert rig.sinks["backend"].got[-1]["data"]["observed_between"][0] is None
