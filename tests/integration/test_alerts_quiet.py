"""Hours in which nobody is to be disturbed: nothing is dropped, and what is told after is what is left to tell."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from notifier.models import Part
from notifier.sinks.slack_message import render
from tests.support.alerts import NEEDS, alerts, rule
from tests.support.configs import config_with
from tests.support.rig import Rig

OFFICE = '\ncalendars: {office: {timezone: UTC, days: mon-sun, hours: "09:00-17:00"}}'
SINKS = """
  backend: {type: console}
  ops: {type: slack, token: xoxb-1, channel: "#ops", active: ACTIVE}
"""


@pytest.fixture
def at_work(make):
    """A replica whose Slack sink has office hours; it is at work, and has looked twice."""

    async def begin(rules: str = "", active: str = "office") -> Rig:
        plain = make(rule())
        config = config_with(rules or rule(), SINKS.replace("ACTIVE", active), f"self_reports: []{OFFICE}")
        rig = Rig(plain.redis, plain.clock, plain.account, config)
        rig.delivers_at_once = True
        await rig.store.sync_time()
        await until(rig, 12)
        await rig.poll(times=2)
        return rig

    return begin


async def until(rig: Rig, hour: int) -> None:
    """Let time pass until this hour of the day, with a poll now and then."""
    while (now := rig.store.now()).hour != hour:
        ahead = datetime(now.year, now.month, now.day, hour, tzinfo=UTC) - now
        wait = ahead if ahead > timedelta() else ahead + timedelta(days=1)
        rig.clock.advance(min(wait.total_seconds() + 1, 3600.0))
        await rig.poll()


def news(rig: Rig) -> list[dict[str, Any]]:
    return rig.sinks["ops"].got


async def test_what_happens_at_night_is_one_message_in_the_morning(at_work, account):
    rig = await at_work()
    for n in (0, 1, 2):
        account.set_status(f"conn_{n}", f"gc_{n}", "needs_attention")
    await rig.poll()
    assert len(news(rig)) == 3
    await until(rig, 18)
    account.set_status("conn_0", "gc_0", "completed")  # over
    for n in (3, 4):
        account.set_status(f"conn_{n}", f"gc_{n}", "needs_attention")  # newly open
    account.set_status("conn_5", "gc_5", "needs_attention")
    await rig.poll()
    account.set_status("conn_5", "gc_5", "processing")  # came and went
    account.set_status("conn_2", "gc_2", "processing")
    await rig.poll()
    account.set_status("conn_2", "gc_2", "needs_attention")  # went and came: nothing to tell
    await rig.poll()
    await until(rig, 8)
    assert len(news(rig)) == 3
    await until(rig, 9)
    [net] = news(rig)[3:]
    data = net["data"]
    assert (net["type"], data["opened"], data["ended"], data["passed"]) == ("alert.net", 2, 1, 1)
    ids = [one["data"]["entity"]["id"] for one in data["entries"]]
    assert ids == ["gc_3", "gc_4", "gc_0"]
    assert len(await alerts(rig)) == 3 + 1 + 2 + 2 + 2  # a program hears of each at once
    await rig.poll(times=5)
    assert len(news(rig)) == 4


async def test_what_ends_after_it_was_told_in_the_morning_is_said_beside_that_message(at_work, account):
    rig = await at_work()
    await until(rig, 20)
    for n in (3, 4):
        account.set_status(f"conn_{n}", f"gc_{n}", "needs_attention")
    await until(rig, 9)
    account.set_status("conn_3", "gc_3", "completed")
    await rig.poll()
    [(message, [(part, body)])] = rig.sinks["ops"].threads.items()
    assert (part, body["type"], body["data"]["entity"]["id"]) == (Part.REPLY, "alert.resolved", "gc_3")
    assert (
        rig.sinks["ops"].shown[message]["data"]["opened"] == 2
    )  # what the night brought stays as it was told


async def test_a_single_thing_is_told_as_ever(at_work, account):
    rig = await at_work()
    await until(rig, 18)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await until(rig, 9)
    assert await alerts(rig, "ops") == [("opened", "gc_1")]
    await until(rig, 18)
    account.set_status("conn_1", "gc_1", "completed")
    await rig.poll()
    [shown] = rig.sinks["ops"].shown.values()
    assert shown["data"]["alert"]["end"] == "completed"  # what is there shows how things are
    assert len(news(rig)) == 1
    await until(rig, 9)
    assert await alerts(rig, "ops") == [("opened", "gc_1"), ("resolved", "gc_1")]


async def test_what_came_and_went_alone_is_not_told(at_work, account):
    rig = await at_work()
    await until(rig, 18)
    for status in ("needs_attention", "processing"):
        account.set_status("conn_1", "gc_1", status)
        await rig.poll()
    await until(rig, 9)
    await rig.poll()
    assert news(rig) == []
    assert all(not alert.told for alert in (await rig.store.alerts()).values())


async def test_how_many_came_and_went_is_told(at_work, account):
    rig = await at_work()
    await until(rig, 18)
    for status in ("needs_attention", "processing"):
        for n in (1, 2):
            account.set_status(f"conn_{n}", f"gc_{n}", status)
        await rig.poll()
    await until(rig, 9)
    [net] = news(rig)
    assert (net["data"]["passed"], net["data"]["entries"]) == (2, [])
    assert "2 came and went" in render(net).text


async def test_critical_alerts_are_spared(at_work, account):
    rules = rule("severity: critical", name="critical") + rule(
        name="mild", what=NEEDS.replace("needs_attention", "processing")
    )
    rig = await at_work(rules, "{calendar: office, except: critical}")
    await until(rig, 18)
    account.set_status("conn_1", "gc_1", "needs_attention")
    account.set_status("conn_2", "gc_2", "processing")
    await rig.poll()
    assert await alerts(rig, "ops") == [("opened", "gc_1")]
    await until(rig, 9)
    assert await alerts(rig, "ops") == [("opened", "gc_1"), ("opened", "gc_2")]


async def test_a_message_about_a_moment_is_not_left_out_for_an_alert_that_waits(at_work, account):
    rig = await at_work(rule() + "  - {name: moment, when: {to: needs_attention}, notify: [ops]}\n")
    await until(rig, 18)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll()
    assert [body["data"]["rule"] for body in news(rig)] == ["moment"]
    await until(rig, 9)
    assert [body["data"]["rule"] for body in news(rig)] == ["moment", "needs"]


async def test_reminders_disturb_nobody_at_night(at_work, account):
    rig = await at_work(rule("remind: 2h"))
    account.set_status("conn_1", "gc_1", "needs_attention")
    await until(rig, 13)
    await until(rig, 8)
    said = await alerts(rig, "ops")
    assert said == [("opened", "gc_1"), ("reminder", "gc_1")]  # at 13 and 15 h
    assert len(await alerts(rig)) > 8


@pytest.mark.parametrize("hour", [18, 23, 3])
async def test_restarts_at_night_change_nothing(at_work, account, hour):
    rig = await at_work()
    await until(rig, 18)
    for n in (3, 4):
        account.set_status(f"conn_{n}", f"gc_{n}", "needs_attention")
    await rig.poll()
    await until(rig, hour)
    rig.restart()
    await until(rig, 9)
    [net] = news(rig)
    assert net["data"]["opened"] == 2


async def test_a_night_costs_a_poll_in_which_nothing_changes_no_write(at_work, account):
    rig = await at_work()
    for n in (0, 1):
        account.set_status(f"conn_{n}", f"gc_{n}", "needs_attention")
    await rig.poll()
    await until(rig, 18)
    for status in ("completed", "needs_attention"):  # it is over, and is not
        account.set_status("conn_0", "gc_0", status)
        await rig.poll()
    account.set_status("conn_1", "gc_1", "completed")
    account.set_status("conn_2", "gc_2", "needs_attention")
    await rig.poll()
    before = await rig.store.alerts(), await rig.store.messages(["ops"])
    attempts = len(await rig.lanes.attempts(newest=1000))
    await rig.poll(times=3)
    assert (await rig.store.alerts(), await rig.store.messages(["ops"])) == before
    assert len(await rig.lanes.attempts(newest=1000)) == attempts
    await until(rig, 9)
    [net] = news(rig)[2:]
    assert (net["data"]["opened"], net["data"]["ended"]) == (1, 1)
