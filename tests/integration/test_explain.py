"""`notifier explain`: who was told of an event, and if not, why not."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import timedelta
from typing import Any

import pytest

from notifier.errors import PermanentFailure, TemporaryFailure
from notifier.sinks.preview import PreviewSink
from notifier.store.records import Records
from tests.support.alerts import rule
from tests.support.commands import ON_A_SERVER
from tests.support.configs import config_with
from tests.support.rig import Rig

pytestmark = ON_A_SERVER
BUSY = TemporaryFailure("http_503", "busy")
REFUSED = PermanentFailure("invalid_blocks", "no")
ALL = "  - {name: all, when: {}, notify: [backend]}\n"
MOVED = "group_connection.status_changed"


async def event_of(rig: Rig, type_: str = MOVED, entity: str = "gc_1") -> str:
    """The id of the newest event of a type."""
    ids = [
        one["data"]["id"]
        for one in await rig.store.history(newest=1000)
        if one["type"] == type_ and one["data"].get("entity", {}).get("id") == entity
    ]
    return ids[0]


@pytest.fixture
def explained(shell):
    """What is said of the newest event of a type at a sink."""

    async def explained(rig: Rig, sink: str, type_: str = MOVED) -> dict[str, Any]:
        told = await shell.json(rig, "explain", await event_of(rig, type_))
        return {one["sink"]: one for one in told["sinks"]}[sink]

    return explained


async def trouble(rig: Rig, status: str = "needs_attention") -> None:
    """Something happens to a group connection."""
    rig.account.set_status("conn_1", "gc_1", status)
    await rig.poll()


@pytest.fixture
async def needs(make):
    """A rule that tells a program and people, which has had its first look."""
    rig = make(rule())
    await rig.poll(2)
    return rig


async def test_a_message_that_slack_does_not_take_waits(needs, explained):
    needs.sinks["ops"].errors = [BUSY]
    await trouble(needs)
    for type_ in (MOVED, "alert.opened"):
        told = await explained(needs, "ops", type_)
        assert told["state"].startswith("waits, with 0 before it in its lane: its lane is sent next at ")
        assert [(one["kind"], one["outcome"]) for one in told["attempts"]] == [("post", "retry")]


async def test_a_message_that_slack_refused_is_a_dead_letter(needs, explained):
    needs.sinks["ops"].errors = [REFUSED]
    await trouble(needs)
    [letter] = await needs.lanes.dead_letters("ops")
    told = await explained(needs, "ops")
    assert told["state"].startswith("not told: given up at ")
    assert f"`notifier dead replay ops {letter.id}` sends it again" in told["state"]
    await needs.lanes.replay("ops", [letter])
    await needs.deliver()
    told = await explained(needs, "ops")
    assert (told["state"], [one["outcome"] for one in told["attempts"]]) == ("told", ["dead", "delivered"])


async def test_a_message_that_was_refused_is_told_by_the_next_that_shows_it(needs, explained):
    needs.sinks["ops"].errors = [REFUSED]
    await trouble(needs)
    opened = await explained(needs, "ops", "alert.opened")
    assert opened["state"].startswith("not told: given up at ")
    await trouble(needs, "completed")
    told = await explained(needs, "ops", "alert.opened")
    assert (told["state"], [one["kind"] for one in told["attempts"]]) == ("told", ["post", "post"])


async def test_where_an_operator_paused_the_sink_it_waits_for_that(needs, explained, shell):
    await shell(needs, "sinks", "pause", "ops", "--why", "upkeep")
    needs.delivers_at_once = False
    await trouble(needs)
    state = (await explained(needs, "ops"))["state"]
    assert state == "waits, with 0 before it in its lane: the sink is paused by an operator (upkeep)"


async def test_what_nobody_was_told_is_not_told_by_a_later_alert(make, explained, shell):
    rig = make(rule())
    await rig.poll(2)
    await trouble(rig, "processing")
    event = await event_of(rig)
    for _ in range(2):
        told = await shell.json(rig, "explain", event)
        assert {one["state"] for one in told["sinks"] if one["sink"] != "hook"} == {
            "not told: no rule that names it matches"
        }
        assert all(one["attempts"] == [] for one in told["sinks"])
        await trouble(rig)


async def test_a_program_is_told_of_a_move_by_the_event_of_its_alert(needs, explained):
    await trouble(needs)
    told = await explained(needs, "backend")
    assert (told["state"], [one["type"] for one in told["attempts"]]) == ("told", ["alert.opened"])


async def test_a_repeat_that_is_refused_leaves_told_what_was_told(make, explained, shell):
    rig = make(ALL)
    await rig.poll(2)
    await trouble(rig)
    assert (await explained(rig, "backend"))["state"] == "told"
    await shell(rig, "replay", "backend", "--since", "2020-01-01", "--yes")
    rig.sinks["backend"].errors = [PermanentFailure("http_409", "seen already")] * 9
    rig.clock.advance(60)
    await rig.deliver()
    state = (await explained(rig, "backend"))["state"]
    assert state.startswith("told; sent once more, it was given up at ")
    assert "http_409: seen already" in state


async def test_what_waits_for_a_sink_of_another_name_is_named(make, explained):
    rig = make(ALL)
    await rig.poll(2)
    rig.delivers_at_once = False
    await trouble(rig)
    rig.config = config_with(
        ALL.replace("backend", "other"), "  other: {type: console}\n", "self_reports: []\n"
    )
    assert (await explained(rig, "backend"))["state"].startswith("waits, ")
    assert (await explained(rig, "other"))["state"].startswith("no attempt on record: all is newer")


async def test_an_update_of_what_a_sink_excludes_is_no_news_there(make, explained):
    plain = make(ALL)
    sinks = "  backend: {type: console}\n  other: {type: console, exclude: []}\n"
    config = config_with(ALL.replace("[backend]", "[backend, other]"), sinks)
    rig = Rig(plain.redis, plain.clock, plain.account, config, untracked=frozenset())
    rig.delivers_at_once = True
    await rig.poll(2)
    rig.account["conn_1"]["group_connections"][0]["broker_federal_ein"] = "98-7654321"
    await rig.poll()
    told = await explained(rig, "backend", "group_connection.updated")
    assert told["state"] == "not told: nothing changed but what it excludes (broker_federal_ein)"
    assert (await explained(rig, "other", "group_connection.updated"))["state"] == "told"


async def test_a_sink_in_preview_was_not_told(make, explained):
    rig = make(ALL)
    rig.sinks["backend"] = PreviewSink("backend", is_for_people=False, deadline=timedelta(seconds=9))
    await rig.poll(2)
    await trouble(rig)
    assert (await explained(rig, "backend"))["state"].startswith("not told: the sink was in preview")


async def test_what_is_delivered_while_it_is_asked_for_is_told(make, shell, monkeypatch):
    rig = make(ALL)
    await rig.poll(2)
    rig.delivers_at_once = False
    await trouble(rig)
    loop, waiting = asyncio.get_running_loop(), Records.waiting

    async def delivered_after(self, *given):
        found = await waiting(self, *given)
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(rig.deliver(), loop))
        return found

    monkeypatch.setattr(Records, "waiting", delivered_after)
    assert "  backend: told\n" in await shell(rig, "explain", await event_of(rig))


async def test_each_event_of_an_alert_has_the_deliveries_that_carry_it(make, explained, shell):
    rig = make(rule("remind: 2m"))
    await rig.poll(2)
    await trouble(rig)
    await rig.poll(4)
    await trouble(rig, "completed")
    kinds = {}
    for type_ in ("alert.opened", "alert.reminder", "alert.resolved"):
        told = await explained(rig, "ops", type_)
        assert told["state"] == "told"
        kinds[type_] = [(one["kind"], one["type"]) for one in told["attempts"]]
    assert kinds == {
        "alert.opened": [("post", "alert.opened")],
        "alert.reminder": [("reply", "alert.reminder")],
        "alert.resolved": [("edit", "alert.resolved"), ("reply", "alert.resolved")],
    }
    reminders = [
        one["data"]["id"] for one in await rig.store.history(newest=99) if one["type"] == "alert.reminder"
    ]
    sent = [(await shell.json(rig, "explain", id_))["sinks"][1]["attempts"] for id_ in reminders]
    assert [len(attempts) for attempts in sent] == [1, 1]
    assert sent[0] != sent[1]
    assert "  reply of alert.reminder  attempt 1  delivered (" in await shell(rig, "explain", reminders[0])


async def test_the_beginning_and_the_end_of_an_alert_are_told_of_their_moves(make, explained):
    rig = make(rule("for: 2m"))
    await rig.poll(2)
    await trouble(rig)
    assert (await explained(rig, "ops"))["state"].startswith(
        "not told yet: the alert of needs is pending since "
    )
    await rig.poll(3)
    begun = await explained(rig, "ops")
    assert (begun["state"], [one["kind"] for one in begun["attempts"]]) == ("told", ["post"])
    await trouble(rig, "completed")
    ended = await explained(rig, "ops")
    assert (ended["state"], [one["kind"] for one in ended["attempts"]]) == ("told", ["edit", "reply"])


async def test_what_joins_a_message_is_told_by_a_reply(make, explained):
    rig = make(rule("group_by: carrier"))
    await rig.poll(2)
    rig.account.set_status("conn_3", "gc_3", "needs_attention")
    await rig.poll()
    await trouble(rig)
    told = await explained(rig, "ops", "alert.opened")
    assert [one["kind"] for one in told["attempts"]] == ["edit", "reply"]
    rig.account.set_status("conn_5", "gc_5", "needs_attention")
    await rig.poll()
    assert (await explained(rig, "ops", "alert.opened")) == told, "what came later is not of it"


async def test_what_joins_a_message_beside_others_is_told_by_the_same_reply(make, explained):
    rig = make(rule("group_by: carrier"))
    await rig.poll(2)
    rig.account.set_status("conn_3", "gc_3", "needs_attention")
    await rig.poll()
    rig.account.set_status("conn_5", "gc_5", "needs_attention")
    await trouble(rig)
    told = await explained(rig, "ops", "alert.opened")
    assert [(one["kind"], one["type"]) for one in told["attempts"]] == [
        ("edit", "alert.group"),
        ("reply", "alert.group"),
    ]


async def test_what_the_notifier_says_of_itself_is_explained(make, shell):
    rig = make('  - {name: own, when: {type: "notifier.*"}, notify: [backend]}\n')
    await rig.poll(2)
    [event] = [one["data"]["id"] for one in await rig.store.history(newest=9)]
    sinks = {one["sink"]: one for one in (await shell.json(rig, "explain", event))["sinks"]}
    assert (sinks["backend"]["state"], sinks["ops"]["state"]) == ("told", "not told: no rule names it")
    assert [one["kind"] for one in sinks["backend"]["attempts"]] == ["event"]


NIGHT = (
    "calendars: {office: {timezone: UTC, hours: '16:00-22:00', days: mon-sun}}\n"
    "owners: {file: FILE}\nself_reports: []\n"
)
ACTIVE = '  ops: {type: slack, token: xoxb-1, channel: "#ops", active: {calendar: office}}\n'


@pytest.fixture
async def hushed(make, table):
    """A rule that tells owners, at a sink whose readers are not to be disturbed."""
    plain = make(rule())
    config = config_with(rule(notify="[owner]"), ACTIVE, NIGHT.replace("FILE", str(table)))
    rig = Rig(plain.redis, plain.clock, plain.account, config)
    rig.delivers_at_once = True
    await rig.poll(2)
    await trouble(rig)
    return rig


async def test_what_quiet_hours_keep_back_says_until_when(hushed, explained):
    for type_ in (MOVED, "alert.opened"):
        assert (await explained(hushed, "ops", type_))["state"] == (
            "kept back: there is news of needs, and ops has quiet hours until 2026-11-18T16:00:00.000Z"
        )


async def test_an_end_that_is_kept_back_says_so_though_the_message_shows_it(make, explained, shell):
    rig = make(rule(notify="[ops]"))
    await rig.poll(2)
    await trouble(rig)
    await shell(rig, "silence", "add", "--where", "rule=needs", "--for", "5m")
    await trouble(rig, "completed")
    state = (await explained(rig, "ops", "alert.resolved"))["state"]
    assert state.startswith(
        "shown by an edit; kept back: there is news of needs, and there is a silence until "
    )
    await rig.poll(6)
    assert (await explained(rig, "ops", "alert.resolved"))["state"] == "told"


async def test_what_a_silence_keeps_back_says_which(make, explained, shell):
    rig = make(rule())
    await rig.poll(2)
    said = await shell(rig, "silence", "add", "--where", "rule=needs", "--for", "2h", "--by", "Sam")
    id_, until = re.fullmatch(r"(\w+): silent until (\S+); .*\s*", said).groups()
    await trouble(rig)
    for sink in ("ops", "backend"):
        told = (await explained(rig, sink))["state"]
        kept = f"kept back: there is news of needs, and there is a silence until {until} ({id_}, by Sam)"
        assert told == (kept if sink == "ops" else "told")


async def test_what_another_rule_tells_of_is_not_owed_once_more(make, explained, shell):
    rig = make(rule(notify="[ops]") + rule(name="also", notify="[ops]"))
    await rig.poll(2)
    await trouble(rig)
    also = [
        one["data"]["id"]
        for one in await rig.store.history(newest=99)
        if one["type"] == "alert.opened" and one["data"]["rule"] == "also"
    ]
    sinks = {one["sink"]: one["state"] for one in (await shell.json(rig, "explain", *also))["sinks"]}
    assert sinks["ops"].startswith("not told: an alert of another rule about the same is told there")
    assert (await explained(rig, "ops"))["state"] == "told"


async def test_who_was_told_is_known_long_after_the_alert_has_come_again(make, shell):
    rig = make(rule("remind: 2m", notify="[backend, ops, hook]"))
    await rig.poll(2)
    for _ in range(4):
        await trouble(rig)
        rig.clock.advance(3600)
        await rig.poll(2)
        await trouble(rig, "completed")
        rig.clock.advance(7200)
    for one in await rig.store.history(newest=99):
        if "entity" in one["data"]:
            for sink in (await shell.json(rig, "explain", one["data"]["id"]))["sinks"]:
                assert sink["state"] == "told", (one["type"], sink)
                assert all(attempt["at"] == one["timestamp"] for attempt in sink["attempts"])


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            REFUSED,
            r"told; not told at sam@example\.com: given up at .* \(invalid_blocks: no\); `notifier dead replay ops .*",
        ),
        (BUSY, r"told; at another place it waits, with 0 before it in its lane: .*"),
    ],
)
async def test_a_place_of_a_sink_that_has_heard_nothing_is_named(owned, explained, error, told):
    rig = owned(rule(notify="[ops, owner]"))
    await rig.poll(2)
    send = rig.sinks["ops"].send

    async def sending(delivery, attempt):
        if delivery.target:
            raise error
        return await send(delivery, attempt)

    rig.sinks["ops"].send = sending
    await trouble(rig)
    for type_ in (MOVED, "alert.opened"):
        assert re.fullmatch(told, (await explained(rig, "ops", type_))["state"])


async def test_an_alert_event_of_a_later_release_is_explained_as_far_as_it_can_be(needs, shell):
    await trouble(needs)
    [record] = [one for one in await needs.store.history(newest=9) if one["type"] == "alert.opened"]
    later = {**record, "type": "alert.moved_away", "data": {**record["data"], "id": "evt_later"}}
    await needs.redis.xadd(needs.keys.history, {"event": json.dumps(later)})
    assert (await shell.json(needs, "explain", "evt_later"))["type"] == "alert.moved_away"
