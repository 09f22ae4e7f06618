"""What opens and ends again and again: people hear that it is unstable, and how it is once it has settled."""

from __future__ import annotations

import pytest

from notifier.models import Part
from notifier.sinks.slack_message import render
from tests.integration.test_alerts_taken import take
from tests.integration.test_silences import silence
from tests.support.alerts import REFUSED, alerts, commands, reports, rule
from tests.support.rig import Rig

OPEN, OVER = "needs_attention", "processing"


async def turn(rig: Rig, account, *statuses: str, minutes: int = 5) -> None:
    """The group connection takes these statuses, one after the other."""
    for status in statuses:
        account.set_status("conn_1", "gc_1", status)
        await rig.poll(times=minutes)


async def begin(make, account, more: str = "") -> Rig:
    rig = make(rule(more))
    await rig.poll(times=2)
    return rig


def said(rig: Rig) -> list[str]:
    """What people were told, root messages and replies, in order."""
    return [body["type"].removeprefix("alert.") for body in rig.sinks["ops"].got]


async def test_the_first_time_is_told_the_second_as_unstable_and_then_only_how_it_settled(make, account):
    rig = await begin(make, account)
    await turn(rig, account, OPEN, OVER, OPEN)
    await rig.deliver()
    assert said(rig) == ["opened", "resolved", "opened"]
    assert "is unstable and needs attention" in str(render(rig.sinks["ops"].got[2]).blocks)
    await turn(rig, account, OVER, OPEN, OVER, OPEN)
    await rig.deliver()
    assert said(rig) == ["opened", "resolved", "opened"]
    await rig.poll(times=30)
    await rig.deliver()
    assert said(rig)[3:] == ["settled"]
    _, thread = list(rig.sinks["ops"].threads.items())[-1]
    assert thread[-1][0] is Part.NEWS
    told = [what for what, _ in await alerts(rig)]
    assert told == ["opened", "resolved"] * 3 + ["opened"]  # a program hears of every step


@pytest.mark.parametrize("status", [OVER, "completed"])
async def test_where_it_settles_as_over_the_end_is_told(make, account, status):
    rig = await begin(make, account)
    await turn(rig, account, OPEN, OVER, OPEN, OVER, OPEN)
    await turn(rig, account, status, minutes=29)
    await rig.deliver()
    assert said(rig) == ["opened", "resolved", "opened"]
    await rig.poll(times=3)
    await rig.deliver()
    assert said(rig)[3:] == ["resolved"]
    last = rig.sinks["ops"].got[-1]["data"]["alert"]["end"]
    assert last == ("completed" if status == "completed" else "moved")


async def test_the_message_shows_how_things_stand_all_along(make, account):
    rig = await begin(make, account)
    rig.delivers_at_once = True
    await turn(rig, account, OPEN, OVER, OPEN)
    message = list(rig.sinks["ops"].shown)[-1]
    for status in (OVER, OPEN, OVER):
        await turn(rig, account, status)
        assert rig.sinks["ops"].shown[message]["data"]["entity"]["status"] == status
    assert "came 3 times" in str(render(rig.sinks["ops"].shown[message]).blocks)


async def test_it_settles_over_restarts_and_in_the_time_it_would_have_taken_without(make, account):
    rig = await begin(make, account)
    for status in (OPEN, OVER, OPEN, OVER, OPEN):
        await turn(rig, account, status)
        rig.restart()
    for _ in range(24):
        await rig.poll()
        rig.restart()
    await rig.deliver()
    assert said(rig) == ["opened", "resolved", "opened"]
    await rig.poll(times=2)
    await rig.deliver()
    assert said(rig)[3:] == ["settled"]


async def test_after_it_has_settled_the_next_step_is_told_at_once(make, account):
    rig = await begin(make, account)
    await turn(rig, account, OPEN, OVER, OPEN, OVER)
    await turn(rig, account, OPEN, minutes=31)
    await turn(rig, account, "completed", minutes=1)
    await rig.deliver()
    assert said(rig)[3:] == ["settled", "resolved"]


async def test_what_comes_again_after_an_hour_is_not_unstable(make, account):
    rig = await begin(make, account)
    await turn(rig, account, OPEN, OVER, minutes=31)
    await turn(rig, account, OPEN, OVER, minutes=1)
    await rig.deliver()
    assert said(rig) == ["opened", "resolved"] * 2
    assert rig.sinks["ops"].got[2]["data"]["alert"]["unstable"] is None


async def test_a_removal_is_told_at_once_though_it_was_unstable(make, account):
    rig = await begin(make, account)
    await turn(rig, account, OPEN, OVER, OPEN)
    items = account["conn_1"]["group_connections"]
    items[:] = [item for item in items if item["id"] != "gc_1"]
    await rig.poll(times=3)
    await rig.deliver()
    assert said(rig)[3:] == ["resolved"]


async def test_a_wait_for_the_time_of_the_rule_counts_as_keeping_still(make, account):
    rig = await begin(make, account, "for: 10m")
    for _ in range(4):
        await turn(rig, account, OPEN, minutes=12)
        await turn(rig, account, OVER, minutes=2)
    await rig.deliver()
    assert said(rig) == ["opened", "resolved", "opened"]
    await rig.poll(times=31)
    await rig.deliver()
    assert said(rig)[3:] == ["resolved"]


async def test_its_message_shows_that_it_has_opened_again_after_a_wait(make, account):
    rig = await begin(make, account, "for: 10m")
    rig.delivers_at_once = True
    for _ in range(2):
        await turn(rig, account, OPEN, minutes=12)
        await turn(rig, account, OVER, minutes=2)
    message = list(rig.sinks["ops"].shown)[-1]
    await turn(rig, account, OPEN, minutes=9)
    assert rig.sinks["ops"].shown[message]["type"] == "alert.resolved"
    await rig.poll(times=3)
    assert rig.sinks["ops"].shown[message]["type"] == "alert.opened"


async def test_a_wait_that_is_longer_than_it_takes_to_settle_tells_the_end(make, account):
    rig = await begin(make, account, "for: 10m")
    await turn(rig, account, OPEN, minutes=12)
    await turn(rig, account, OVER, minutes=2)
    await turn(rig, account, OPEN, minutes=12)
    await turn(rig, account, OVER, minutes=25)
    await turn(rig, account, OPEN, minutes=4)  # pending until 9 minutes from now
    await rig.deliver()
    assert said(rig) == ["opened", "resolved", "opened"]
    rig.restart()
    await rig.poll(times=2)
    await rig.deliver()
    assert said(rig)[3:] == ["resolved"]
    await rig.poll(times=5)
    await rig.deliver()
    assert said(rig)[4:] == ["opened"]


async def test_what_is_not_seen_does_not_settle(make, account):
    rig = await begin(make, account)
    await turn(rig, account, OPEN, OVER, OPEN, OVER)
    account.answer = lambda _request, _page: REFUSED
    await rig.poll(times=40)
    await rig.deliver()
    assert said(rig) == ["opened", "resolved", "opened"]
    account.answer = lambda _request, _page: None
    await rig.poll()
    await rig.deliver()
    assert said(rig)[3:] == ["resolved"]


@pytest.mark.parametrize("last", [(), (OVER,)])
async def test_a_rule_that_is_taken_out_ends_the_wait(make, account, last):
    rig = await begin(make, account)
    await turn(rig, account, OPEN, OVER, OPEN, *last)
    rig.config = make(rule(name="other", what="while: {entity: group_connection, status: stuck}")).config
    rig.restart()
    await rig.poll()
    await rig.deliver()
    assert said(rig)[3:] == ["resolved"]
    assert (await alerts(rig))[-1] == ("resolved", "gc_1")


@pytest.mark.parametrize("how", ["snoozed", "silenced", "unstable"])
async def test_a_quiet_poll_asks_the_store_nothing_more_for_what_is_kept_back(make, account, how):
    plain = make(reports())
    await plain.poll(times=4)
    without = await commands(plain)
    await plain.redis.flushall()
    rig = await begin(make, account)
    if how == "silenced":
        await silence(rig, 5, rule="needs")
    await turn(rig, account, *([OPEN, OVER, OPEN, OVER, OPEN] if how == "unstable" else [OPEN]))
    if how == "snoozed":
        await take(rig, "gc_1", minutes=300)
        await rig.poll(times=2)
    assert await commands(rig) == without
