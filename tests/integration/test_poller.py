"""What a poll tells, and what it must never tell: the real poller and scripts against an account in memory."""

from __future__ import annotations

import httpx
import pytest

from tests.support.account import connection, group, milestone
from tests.support.configs import config_with
from tests.support.rig import Rig

SERVER_ERROR = httpx.Response(500, text="<html>oops</html>")


@pytest.fixture
def many(account):
    """Twelve connections with two group connections each."""
    account.listed = [
        connection(
            f"conn_{n:02}", group(f"gc_{n:02}_a"), group(f"gc_{n:02}_b"), milestones=[milestone(f"ms_{n:02}")]
        )
        for n in range(12)
    ]
    return account


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


# --- removal ---


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


# --- a source that misbehaves ---


async def test_a_partial_snapshot_counts_for_what_it_saw_and_means_nothing_for_the_rest(rig, many):
    await rig.poll()
    many.set_status("conn_00", "gc_00_a", "needs_attention")
    many.answer = lambda _request, page: SERVER_ERROR if page >= 1 else None
    result = await rig.poll(times=4)
    assert result.outcome == "partial"
    assert await rig.transitions() == [
        ("group_connection.status_changed", "gc_00_a", "pending", "needs_attention")
    ]
    many.answer = lambda _request, _page: None
    await rig.poll(times=2)
    assert len(await rig.transitions()) == 1


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


async def test_one_bad_item_costs_that_item_alone(rig, many):
    await rig.poll()
    many["conn_02"]["employer"] = {"not": "a string"}
    many["conn_02"]["group_connections"] = "gone"
    many["conn_04"]["group_connections"][0]["status"] = 17
    many.set_status("conn_01", "gc_01_a", "completed")
    await rig.poll(times=3)
    assert [step[1] for step in await rig.transitions()] == ["gc_01_a"]


async def test_an_item_without_an_id_makes_the_snapshot_partial(rig, many):
    await rig.poll()
    del many["conn_02"]["id"]
    result = await rig.poll(times=3)
    assert result.outcome == "partial"
    assert await rig.transitions() == []


async def test_unknown_statuses_pass_through_as_they_are_and_are_told_as_drift_once(rig, many):
    await rig.poll()
    many.set_status("conn_01", "gc_01_a", "on_fire")
    await rig.poll(times=3)
    assert await rig.transitions() == [("group_connection.status_changed", "gc_01_a", "pending", "on_fire")]
    assert await rig.reports() == ["notifier.baseline", "notifier.drift"]


async def test_a_connection_shown_twice_with_different_content_never_flaps(rig, many):
    await rig.poll()
    twin = {**many["conn_02"], "status": "completed"}
    many.listed.append(twin)
    await rig.poll(times=4)
    assert await rig.transitions() == []
    many.drop("conn_02")
    many.listed.append(twin)
    await rig.poll(times=2)
    assert await rig.transitions() == [("connection.status_changed", "conn_02", "processing", "completed")]


async def test_a_refused_key_is_told_at_once_and_its_end_too(rig, many):
    await rig.poll()
    many.answer = lambda _request, _page: httpx.Response(
        401, json={"type": "authentication_error", "message": "no"}
    )
    await rig.poll(times=2)
    many.answer = lambda _request, _page: None
    await rig.poll(times=2)
    assert await rig.reports() == [
        "notifier.baseline",
        "notifier.source_failing",
        "notifier.source_recovered",
    ]


async def test_no_ein_reaches_the_store_unless_a_sink_asks_for_it(rig, many):
    await rig.poll()
    many["conn_01"]["group_connections"][0]["broker_federal_ein"] = "98-7654321"
    many.set_status("conn_01", "gc_01_a", "completed")
    await rig.poll()
    for key in await rig.redis.keys("*"):
        dumped = await rig.redis.dump(key) if rig.redis.__class__.__module__.startswith("redis") else b""
        assert b"3456789" not in dumped
        assert b"98-76" not in dumped
    await rig.deliver()
    assert "7654321" not in str(rig.sinks["backend"].got)


async def test_a_sink_that_begins_to_ask_for_eins_causes_no_events(redis_client, clock, many):
    asking = config_with(sinks="  backend: {type: console, exclude: []}")
    rig = Rig(redis_client, clock, many, asking)
    await rig.poll()
    rig.restart(untracked=frozenset())
    await rig.poll(times=2)
    assert await rig.transitions() == []
    many["conn_01"]["group_connections"][0]["broker_federal_ein"] = "98-7654321"
    await rig.poll()
    assert [step[0] for step in await rig.transitions()] == ["group_connection.updated"]
    rig.restart(untracked=frozenset({"broker_federal_ein"}))
    await rig.poll(times=2)
    assert len(await rig.transitions()) == 1


async def test_only_one_of_two_replicas_polls_and_the_other_takes_over(rig, many, redis_client, clock):
    other = Rig(redis_client, clock, many)
    assert (await rig.poll()).outcome == "complete"
    assert (await other.poller.poll_once()).outcome == "standby"
    many.set_status("conn_01", "gc_01_a", "completed")
    clock.advance(60)
    assert (await other.poller.poll_once()).outcome == "complete"
    many.set_status("conn_01", "gc_01_a", "pending")
    clock.advance(60)
    assert (await rig.poller.poll_once()).outcome == "complete"
    assert [step[2:] for step in await rig.transitions()] == [
        ("pending", "completed"),
        ("completed", "pending"),
    ]


async def test_the_state_equals_the_fold_of_the_history(rig, many):
    await rig.poll()
    for step, status in enumerate(("processing", "needs_attention", "completed")):
        many.set_status(f"conn_0{step}", f"gc_0{step}_a", status)
        await rig.poll()
    folded = {}
    for _, event in reversed(await rig.store.history(newest=1000)):
        if "entity" in event["data"]:
            folded[event["data"]["entity"]["id"]] = event["data"]["to"]
    assert folded == {"gc_00_a": "processing", "gc_01_a": "needs_attention", "gc_02_a": "completed"}


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


async def test_a_message_about_itself_that_dies_is_not_told_of(rig, many):
    from notifier.errors import PermanentFailure

    await rig.poll()
    many.set_status("conn_01", "gc_01_a", "completed")
    await rig.poll()
    rig.sinks["backend"].errors = [PermanentFailure("http_400", "no"), PermanentFailure("http_400", "no")]
    await rig.deliver()  # the baseline's report and the event die
    for _ in range(3):
        rig.sinks["backend"].errors = [PermanentFailure("http_400", "no")]
        await rig.poll()
        await rig.deliver()
    health = await rig.lanes.health("backend")
    assert (health.deaths, health.dead) == (1, 3)  # one event, two reports: of the last nothing more is said
