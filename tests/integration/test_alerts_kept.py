"""What is kept back for a while: by an unstable alert, a silence, a snooze or a poll that was cut off."""

from __future__ import annotations

from typing import Any

import pytest

from notifier.core.alerts import UNTIL_IT_CHANGES
from notifier.sinks.wording import tell
from tests.integration.test_alerts_taken import take
from tests.integration.test_silences import silence
from tests.support.account import connection, group
from tests.support.alerts import alerts, rule
from tests.support.rig import Rig

OPEN, OVER = "needs_attention", "processing"
BOTH = (("conn_1", "gc_1"), ("conn_2", "gc_2"))
STUCK = rule(name="other", what="while: {entity: group_connection, status: stuck}")


async def begin(make, more: str = "") -> Rig:
    rig = make(rule(more))
    rig.delivers_at_once = True
    await rig.poll(times=2)
    return rig


async def turn(rig: Rig, account, *statuses: str, minutes: int = 5, who: Any = (("conn_1", "gc_1"),)) -> None:
    for status in statuses:
        for connection_, group_ in who:
            account.set_status(connection_, group_, status)
        await rig.poll(times=minutes)


def said(rig: Rig, after: int = 0) -> list[str]:
    return [body["type"].removeprefix("alert.") for body in rig.sinks["ops"].got][after:]


def last_page(rig: Rig) -> dict[str, Any]:
    page: dict[str, Any] = list(rig.sinks["ops"].shown.values())[-1]
    return page


@pytest.mark.parametrize("how", ["it comes to nothing", "its rule asks for more"])
async def test_a_wait_while_unstable_hides_no_end(make, account, how):
    rig = await begin(make, "for: 10m")
    for _ in range(2):
        await turn(rig, account, OPEN, minutes=12)
        await turn(rig, account, OVER, minutes=2)
    await turn(rig, account, OPEN, minutes=3)
    if how == "it comes to nothing":
        await turn(rig, account, OVER, minutes=60)
    else:
        rig.config = make(rule("for: 1d")).config
        rig.restart()
        await rig.poll(times=60)
    assert said(rig, 3) == ["resolved"]


@pytest.mark.parametrize(
    ("more", "last", "want"),
    [("", (OVER, OPEN), ["settled"] * 2), ("", (OVER,), ["resolved"] * 2), ("resolve: false", (OVER,), [])],
)
async def test_what_settles_together_is_said_of_each_beside_its_message(make, account, more, last, want):
    rig = await begin(make, more)
    await turn(rig, account, OPEN, OVER, OPEN, *last, who=BOTH)
    before = len(said(rig))
    await rig.poll(times=40)
    assert said(rig, before) == want


async def test_several_of_a_message_that_have_settled_are_said_to_have(make, account):
    rig = await begin(make)
    who = (("conn_1", "gc_1"), ("conn_1", "gb_1"))
    await turn(rig, account, OPEN, OVER, OPEN, OVER, OPEN, who=who)
    await rig.poll(times=40)
    assert "2 group connections have settled and need attention" in tell(rig.sinks["ops"].got[-1]).title


async def test_what_ended_and_began_again_in_a_silence_need_not_be_said(make, account):
    rig = await begin(make)
    await turn(rig, account, OPEN, minutes=2, who=BOTH)
    await silence(rig, 4, rule="needs")
    await rig.poll(times=2)
    await turn(rig, account, OVER, minutes=70, who=BOTH)
    await turn(rig, account, OPEN, minutes=200, who=BOTH)
    assert said(rig) == ["opened"] * 2


async def test_what_settles_in_a_silence_is_shown_then_and_said_after_it(make, account):
    rig = await begin(make)
    await turn(rig, account, OPEN, OVER, OPEN)
    before = len(said(rig))
    await silence(rig, 1, rule="needs")
    await rig.poll(times=50)
    assert said(rig, before) == []
    assert "unstable" not in tell(last_page(rig)).title
    rig.restart()
    await rig.poll(times=30)
    assert said(rig, before) == ["settled"]
    await rig.poll(times=30)
    assert said(rig, before) == ["settled"]


async def test_a_snooze_that_ends_in_a_silence_is_said_after_it_once(make, account):
    rig = await begin(make)
    await turn(rig, account, OPEN, minutes=1)
    await take(rig, "gc_1", minutes=30)
    await rig.poll()
    before = len(said(rig))
    await silence(rig, 1, rule="needs")
    await rig.poll(times=120)
    assert said(rig, before) == ["reminder"]


@pytest.mark.parametrize("is_late", [True, False])
async def test_a_snooze_until_it_changes_misses_no_change(make, account, is_late):
    rig = await begin(make)
    await turn(rig, account, OPEN, minutes=1)
    await take(rig, "gc_1", until=UNTIL_IT_CHANGES)
    if is_late:  # the rule changes as well
        await rig.poll(times=2)
        rig.config = make(rule("remind: 30d")).config
        rig.restart()
    account["conn_1"]["group_connections"][0]["group_id"] = "999"
    await rig.poll(times=3)
    assert said(rig)[-1] == "reminder"  # which also says who has it
    assert said(rig).count("reminder") == 1


async def test_taking_an_alert_mentions_nobody(make, account):
    rig = await begin(make, "mention: [here]")
    await turn(rig, account, OPEN, minutes=1)
    await take(rig, "gc_1")
    await rig.poll()
    assert [body["data"].get("mention") for body in rig.sinks["ops"].got] == [["here"], None]


@pytest.mark.parametrize("is_unstable", [True, False])
async def test_a_poll_that_was_cut_off_leaves_no_message_behind_the_times(
    make, account, commits_fail, is_unstable
):
    rig = await begin(make)
    await turn(rig, account, *([OPEN, OVER, OPEN, OVER] if is_unstable else [OPEN]))
    if is_unstable:
        account.set_status("conn_1", "gc_1", OPEN)
    account["conn_1"]["group_connections"][0]["group_id"] = "999"
    allow = commits_fail(rig, after=1)
    await rig.poll()
    allow(1000)
    rig.restart()
    await rig.poll(times=3)
    page = last_page(rig)
    assert (page["type"], page["data"]["entity"]["group_id"]) == ("alert.opened", "999")


@pytest.mark.parametrize("each", ["include_existing: each", ""])
async def test_what_a_first_look_finds_again_after_a_month_is_told_under_new_ids(make, account, each):
    rig = await begin(make, each)
    await turn(rig, account, OPEN, minutes=2)
    rig.clock.advance(31 * 86_400)
    await rig.poll()
    whole = rig.config
    rig.config = make(STUCK).config
    rig.restart()
    await rig.poll(times=2)
    rig.config = whole
    rig.restart()
    await rig.poll(times=3)
    opened = [body["data"]["id"] for body in rig.sinks["backend"].got if body["type"] == "alert.opened"]
    assert len(opened) == len(set(opened)) == 2
    assert len(rig.sinks["ops"].shown) == 2


async def test_an_approval_is_not_used_twice_because_somebody_took_an_alert_before(make, account):
    rig = await begin(make)
    await turn(rig, account, OPEN, minutes=1)
    mine, other = account.listed, [connection(f"x_{n}", group(f"gx_{n}")) for n in range(6)]
    account.listed = other
    await rig.poll(times=2)
    held = (await rig.store.meta()).held
    await take(rig, "gc_1")
    await rig.store.write_inbox("approve", {"since": held.since, "whole_snapshot": True})
    await rig.poll(times=2)
    account.listed = mine
    await rig.poll(times=3)
    assert (await rig.store.meta()).held is not None
    assert ("acknowledged", "gc_1") not in await alerts(rig)


async def test_a_reminder_of_a_poll_that_was_cut_off_is_said_by_the_next(make, account, commits_fail):
    rig = await begin(make, "remind: 10m")
    await turn(rig, account, OPEN, minutes=10)
    allow = commits_fail(rig, after=1)
    await rig.poll()
    assert ("reminder", "gc_1") in await alerts(rig)  # a program has heard of it
    allow(1000)
    rig.restart()
    await rig.poll()
    assert said(rig) == ["opened", "reminder"]
