"""What a poll must never tell: a source, a store and data that misbehave."""

from __future__ import annotations

import httpx
import pytest

from notifier.errors import PermanentFailure
from notifier.poller import traversal
from tests.support.account import SERVER_ERROR, connection, group
from tests.support.configs import config_with
from tests.support.rig import Rig


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


async def test_an_unreadable_connection_that_two_pages_show_alike_is_no_fault(rig, many):
    await rig.poll()
    many.listed += [{"id": "conn_odd"}, connection("conn_new", group("gc_new")), {"id": "conn_odd"}]
    assert (await rig.poll()).outcome == "complete"


async def test_a_new_connection_shown_once_unreadable_and_once_whole_is_told_and_the_list_not_complete(
    rig, many
):
    await rig.poll()
    many.listed += [{"id": "conn_new"}, connection("conn_new", group("gc_new"))]
    result = await rig.poll()
    assert result.outcome == "partial"
    assert {step[1] for step in await rig.transitions()} == {"conn_new", "gc_new"}


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
    for event in reversed(await rig.store.history(newest=1000)):
        if "entity" in event["data"]:
            folded[event["data"]["entity"]["id"]] = event["data"]["to"]
    assert folded == {"gc_00_a": "processing", "gc_01_a": "needs_attention", "gc_02_a": "completed"}


async def test_a_message_about_itself_that_dies_is_not_told_of(rig, many):
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


async def test_a_meta_that_somebody_else_wrote_to_is_reported_and_changes_nothing(rig, many):
    await rig.poll()
    await rig.redis.hset(rig.keys.meta, "counts", "{broken")
    result = await rig.poll()
    assert (result.outcome, "cannot be read" in result.reason) == ("failed", True)
    await rig.redis.delete(rig.keys.meta)
    await rig.poll(times=2)
    assert await rig.transitions() == []
    assert (await rig.reports())[-1] == "notifier.state_lost"


def failing_from(page: int):
    return lambda _request, number: SERVER_ERROR if number >= page else None


async def test_an_addition_in_a_partial_snapshot_of_known_items_is_told(rig, many):
    await rig.poll(times=2)
    many.listed.insert(0, connection("conn_new", group("gc_new")))
    many.answer = failing_from(2)
    await rig.poll()
    assert [step[:2] for step in await rig.transitions()] == [
        ("connection.added", "conn_new"),
        ("group_connection.added", "gc_new"),
    ]


async def test_a_sighting_in_a_partial_snapshot_ends_an_absence(rig, many):
    await rig.poll(times=2)
    everything = list(many.listed)
    many.by_id["conn_00"] = httpx.Response(404, json={"type": "not_found", "message": "gone"})
    many.drop("conn_00")
    await rig.poll()
    many.listed = everything
    many.answer = failing_from(2)
    await rig.poll()
    many.answer = lambda _request, _page: None
    many.drop("conn_00")
    await rig.poll()
    assert await rig.transitions() == []
    await rig.poll()
    assert [step[0] for step in await rig.transitions()] == ["connection.removed"]


@pytest.mark.parametrize("mistake", [{"api_version": "1999-01-01"}, {"base_url": "https://wrong"}])
async def test_a_mistake_that_was_mended_before_anything_was_read_costs_no_baseline(rig, many, mistake):
    right = {name: getattr(rig.settings, name) for name in mistake}
    await rig.poll(times=2)
    rig.restart(**mistake)
    many.answer = lambda _request, _page: httpx.Response(
        400, json={"type": "validation_error", "message": "no"}
    )
    await rig.poll(times=2)
    many.set_status("conn_01", "gc_01_a", "needs_attention")
    many.answer = lambda _request, _page: None
    rig.restart(**right)
    await rig.poll()
    assert [step[1] for step in await rig.transitions()] == ["gc_01_a"]


async def test_an_empty_new_account_that_was_approved_is_taken_though_the_first_look_fails(rig, many):
    await rig.poll()
    many.listed = [connection("conn_other", group("gc_other"))]
    await rig.poll()
    await rig.store.write_inbox("approve", {"since": "x", "ids": {}, "whole_snapshot": True})
    many.answer = failing_from(0)
    await rig.poll()
    many.answer, many.listed = (lambda _request, _page: None), []
    result = await rig.poll()
    assert (result.outcome, (await rig.store.meta()).counts["connection"]) == ("complete", 0)


async def test_rubbish_in_the_inbox_is_passed_over_and_removed(rig, many):
    await rig.poll()
    await rig.redis.xadd(rig.keys.inbox, {"what": "approve", "value": "{broken"})
    await rig.redis.xadd(rig.keys.inbox, {"hello": "world"})
    many.drop("conn_01")
    assert (await rig.poll()).outcome == "complete"
    assert await rig.redis.xlen(rig.keys.inbox) == 0


async def test_a_confirmation_that_hangs_holds_up_no_other_news(rig, many):
    await rig.poll(times=2)
    for n in range(4):
        many.by_id[f"conn_0{n}"] = SERVER_ERROR
    many.drop("conn_00", "conn_01", "conn_02", "conn_03")
    await rig.poll()
    many.set_status("conn_05", "gc_05_a", "needs_attention")
    before = len(many.requests)
    await rig.poll()
    asked = [path for path in many.requests[before:] if path.startswith("/connections/")]
    assert len(set(asked)) == 1
    assert [step[1] for step in await rig.transitions()] == ["gc_05_a"]


async def test_two_sinks_that_fail_at_once_are_two_events(redis_client, clock, many):
    config = config_with(
        rules='  - {name: r, when: {type: "notifier.*"}, notify: [backend]}',
        sinks="  backend: {type: console}\n  b2: {type: console}\n  b3: {type: console}",
    )
    rig = Rig(redis_client, clock, many, config)
    await rig.poll()
    for sink in ("b2", "b3"):
        await redis_client.hset(rig.keys.sink(sink), mapping={"failures": 3, "message": "broken"})
    await rig.poll()
    await rig.deliver()
    failing = [
        body["data"]["id"] for body in rig.sinks["backend"].got if body["type"] == "notifier.sink_failing"
    ]
    assert len(set(failing)) == 2


async def test_a_state_that_moves_on_while_it_is_read_is_not_taken_for_lost(rig, many, monkeypatch):
    await rig.poll()
    many.set_status("conn_00", "gc_00_a", "a_word_that_is_new")
    other, read = Rig(rig.redis, rig.clock, many), rig.store.states

    async def read_too_late(ids):
        monkeypatch.setattr(rig.store, "states", read)
        assert (await other.poll()).events == 1  # our lease has ended
        return await read(ids)

    monkeypatch.setattr(rig.store, "states", read_too_late)
    assert (await rig.poll()).outcome == "standby"
    assert (await rig.poll(times=2)).baseline == ""
    assert await rig.transitions() == [
        ("group_connection.status_changed", "gc_00_a", "pending", "a_word_that_is_new")
    ]
    assert "notifier.state_lost" not in await rig.reports()


async def test_a_list_in_which_too_much_changed_at_once_is_taken_in_several_polls(rig, many, monkeypatch):
    monkeypatch.setattr(traversal, "MAX_CHANGED", 4)
    await rig.poll()
    for n in range(12):
        many.set_status(f"conn_{n:02}", f"gc_{n:02}_a", "processing")
    result = await rig.poll()
    assert (result.outcome, result.changed) == ("partial", 6)  # to the end of the page
    assert "the rest follows" in result.reason
    assert (await rig.poll()).changed == 6
    assert (await rig.poll()).outcome == "complete"
    assert len(await rig.transitions()) == 12


async def test_a_state_that_could_not_be_read_is_forgotten_once_another_polls(rig, many, redis_client, clock):
    await rig.poll()
    good = await redis_client.hgetall(rig.keys.state)
    await redis_client.hset(rig.keys.state, "conn_00", b"\x01rubbish")
    rig.restart()
    assert (await rig.poll()).outcome == "failed"
    other = Rig(redis_client, clock, many)
    clock.advance(10)
    await redis_client.hset(rig.keys.state, mapping=good)  # somebody put it right
    assert (await other.poller.poll_once()).baseline == ""
    assert (await rig.poller.poll_once()).outcome == "standby"
    assert (await rig.poll()).baseline == ""
