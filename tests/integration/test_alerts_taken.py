"""Alerts that somebody has taken, or wants to hear of later."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from notifier.core.alerts import UNTIL_IT_CHANGES, Taken, Taking, moment_text
from notifier.models import Part
from notifier.poller.inbox import TAKE
from notifier.sinks.slack_message import render, reply
from tests.support.account import group
from tests.support.alerts import REFUSED, alerts, rule
from tests.support.rig import Rig


async def take(
    rig: Rig, *entities: str, by: str | None = "Sam", minutes: float = 0, until: str | None = None
) -> None:
    """A person takes the alerts of these entities (``by`` None: gives them back)."""
    known = (await rig.store.alerts()).values()
    ids = tuple(alert.id for alert in known if alert.subject.id in entities)
    now = rig.store.now()
    end = moment_text(now + timedelta(minutes=minutes)) if minutes else until
    taking = Taking(ids, by and Taken(by, moment_text(now), end))
    await rig.store.write_inbox(TAKE, msgspec.to_builtins(taking))


def said(rig: Rig) -> list[tuple[Part, str]]:
    """What was said in threads."""
    return [(part, body["type"]) for thread in rig.sinks["ops"].threads.values() for part, body in thread]


def words(message: Any) -> str:
    return str(message.blocks)


async def opened(make, account, more: str = "") -> Rig:
    """A rig that has told of one alert, of gc_1."""
    rig = make(rule(more))
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll()
    await rig.deliver()
    return rig


async def test_who_has_an_alert_is_shown_and_said_beside_it_and_told_to_programs_once(make, account):
    rig = await opened(make, account)
    await take(rig, "gc_1")
    await rig.poll(times=3)
    assert await alerts(rig) == [("opened", "gc_1"), ("acknowledged", "gc_1")]
    assert said(rig) == [(Part.REPLY, "alert.acknowledged")]
    [page] = rig.sinks["ops"].shown.values()
    assert page["data"]["alert"]["acknowledged"]["by"] == "Sam"
    assert "Sam has it since" in words(render(page))
    [[(_, body)]] = rig.sinks["ops"].threads.values()
    assert "has been taken by Sam" in words(reply(body))


async def test_who_takes_what_somebody_has_has_it_and_it_can_be_given_back(make, account):
    rig = await opened(make, account)
    for by in ("Sam", "Alex", None):
        await take(rig, "gc_1", by=by)
        await rig.poll()
    kinds = ["opened", "acknowledged", "acknowledged", "released"]
    assert [what for what, _ in await alerts(rig)] == kinds
    [page] = rig.sinks["ops"].shown.values()
    assert page["data"]["alert"]["acknowledged"] is None


async def test_who_snoozes_what_they_have_has_it_since_they_took_it(make, account):
    rig = await opened(make, account)
    for minutes in (0, 0, 60):
        await take(rig, "gc_1", minutes=minutes)
        await rig.poll()
    await rig.deliver()
    [[(_, first), (_, second)]] = rig.sinks["ops"].threads.values()
    assert "has been taken by Sam" in words(reply(first))
    assert "has been snoozed by Sam" in words(reply(second))
    since = [body["data"]["alert"]["acknowledged"]["at"] for body in (first, second)]
    assert since[0] == since[1]


async def test_reminders_go_on_and_say_who_has_it_and_whether_anything_moved(make, account):
    rig = await opened(make, account, "remind: 10m")
    await take(rig, "gc_1")
    await rig.poll(times=10)
    account["conn_1"]["group_connections"][0]["group_id"] = "new"
    await rig.poll(times=10)
    await rig.deliver()
    reminders = [
        body for _, body in rig.sinks["ops"].threads.popitem()[1] if body["type"] == "alert.reminder"
    ]
    told = [words(reply(body)) for body in reminders]
    assert len(told) == 2
    assert "Sam has it since" in told[0]
    assert "nothing has moved since" in told[0]
    assert "it has moved since" in told[1]


async def test_a_snooze_keeps_reminders_back_then_it_is_said_once_and_reminders_go_on(make, account):
    rig = await opened(make, account, "remind: 10m")
    await take(rig, "gc_1", minutes=30)
    await rig.poll(times=29)
    assert [what for what, _ in await alerts(rig)] == ["opened", "acknowledged"]
    rig.restart()
    await rig.poll(times=2)
    assert [what for what, _ in await alerts(rig)][2:] == ["reminder"]
    [page] = rig.sinks["ops"].shown.values()
    assert page["data"]["alert"]["acknowledged"]["until"] is None
    await rig.poll(times=10)
    assert [what for what, _ in await alerts(rig)][2:] == ["reminder", "reminder"]


async def test_a_snooze_ends_with_a_word_though_the_rule_never_reminds(make, account):
    rig = await opened(make, account)
    await take(rig, "gc_1", minutes=30)
    await rig.poll(times=90)
    assert [what for what, _ in await alerts(rig, "ops")] == ["opened", "acknowledged", "reminder"]


async def test_a_snooze_until_it_changes_ends_when_something_of_it_moves(make, account):
    rig = await opened(make, account, "remind: 10m")
    await take(rig, "gc_1", until=UNTIL_IT_CHANGES)
    await rig.poll(times=60)
    assert [what for what, _ in await alerts(rig)] == ["opened", "acknowledged"]
    account["conn_1"]["group_connections"][0]["group_id"] = "new"
    await rig.poll()
    assert [what for what, _ in await alerts(rig)][2:] == ["reminder"]
    await rig.poll(times=10)
    assert [what for what, _ in await alerts(rig)][2:] == ["reminder", "reminder"]


async def test_the_end_of_what_is_snoozed_is_told_and_the_next_time_is_nobodys(make, account):
    rig = await opened(make, account)
    await take(rig, "gc_1", until=UNTIL_IT_CHANGES)
    await rig.poll()
    account.set_status("conn_1", "gc_1", "completed")
    await rig.poll(times=70)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll()
    assert [what for what, _ in await alerts(rig)] == ["opened", "acknowledged", "resolved", "opened"]
    assert rig.sinks["backend"].got[-1]["data"]["alert"]["acknowledged"] is None


async def test_several_that_are_taken_together_are_said_in_one_reply(make, account):
    rig = make(rule())
    await rig.poll(times=2)
    for id_ in ("gc_1", "gb_1"):
        account.set_status("conn_1", id_, "needs_attention")
    await rig.poll()
    await take(rig, "gc_1", "gb_1")
    await rig.poll()
    await rig.deliver()
    [[(_, body)]] = rig.sinks["ops"].threads.values()
    assert "2 group connections have been taken" in words(reply(body))
    assert words(reply(body)).count("Sam has it") == 2


@pytest.mark.parametrize("after", [0, 1])
async def test_a_poll_that_is_cut_off_takes_nothing_twice(make, account, commits_fail, after):
    rig = await opened(make, account)
    await take(rig, "gc_1")
    await take(rig, "gc_1", by=None)
    account.set_status("conn_2", "gc_2", "needs_attention")
    allow = commits_fail(rig, after)
    await rig.poll()
    allow(100)
    rig.restart()
    await rig.poll(times=2)
    told = [what for what, id_ in await alerts(rig) if id_ == "gc_1"]
    assert told == ["opened", "acknowledged", "released"]
    assert await rig.store.inbox() == []


async def test_alerts_are_taken_in_a_poll_that_saw_a_part_of_the_list(make, account):
    rig = await opened(make, account)
    await take(rig, "gc_1")
    account.answer = lambda _request, page: REFUSED if page else None
    await rig.poll()
    assert [what for what, _ in await alerts(rig)] == ["opened", "acknowledged"]


async def test_what_is_over_cannot_be_taken_and_what_is_unknown_stops_nothing(make, account):
    rig = await opened(make, account)
    await take(rig, "gc_1")
    await rig.store.write_inbox(TAKE, {"alerts": ["alert_unknown"], "taken": None})
    await rig.store.write_inbox(TAKE, {"alerts": 3})
    account.set_status("conn_1", "gc_1", "completed")
    account.set_status("conn_2", "gc_2", "needs_attention")
    await rig.poll()
    assert sorted(await alerts(rig)) == [("opened", "gc_1"), ("opened", "gc_2"), ("resolved", "gc_1")]
    assert await rig.store.inbox() == []


async def test_what_is_asked_for_while_the_whole_list_is_held_waits_until_alerts_are_watched(make, account):
    rig = await opened(make, account)
    await take(rig, "gc_1")
    mine, account.listed = account.listed, []
    account.listed = [{**mine[0], "id": "conn_foreign", "group_connections": [group("foreign")]}]
    await rig.poll(times=2)
    assert len(await rig.store.inbox()) == 1
    account.listed = mine
    await rig.poll()
    assert await rig.store.inbox() == []
    assert ("acknowledged", "gc_1") in await alerts(rig)


async def test_a_title_of_the_rules_own_does_not_hide_who_has_it(make, account):
    rig = await opened(make, account, "title: '{{ employer }} waits'")
    await take(rig, "gc_1")
    await rig.poll()
    await rig.deliver()
    [[(_, body)]] = rig.sinks["ops"].threads.values()
    assert "has been taken by Sam" in words(reply(body))
    [page] = rig.sinks["ops"].shown.values()
    assert "Acme Corp waits" in words(render(page))
