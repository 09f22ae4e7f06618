"""Which alerts people hear of together, and how a message lives on."""

from __future__ import annotations

from typing import Any

import pytest

from notifier.models import Part
from tests.support.account import connection, group
from tests.support.alerts import alerts, rule
from tests.support.rig import Rig


def entities(body: dict[str, Any]) -> list[str]:
    return [one["data"]["entity"]["id"] for one in body["data"].get("entries", [body])]


def messages(rig: Rig) -> list[list[str]]:
    """The entities of each message that was ever begun, as it is now."""
    return sorted(entities(body) for body in rig.sinks["ops"].shown.values())


def employers(account, count: int, carrier: str = "carr_g") -> None:
    """An account of so many employers with a group connection each, at this carrier ({n}: one each)."""
    account.listed = [
        connection(f"co_{n:02}", group(f"g_{n:02}", carrier=carrier.format(n=n))) for n in range(count)
    ]


def trouble(account, *numbers: int, status: str = "needs_attention") -> None:
    for n in numbers:
        account.set_status(f"co_{n:02}", f"g_{n:02}", status)


async def test_what_opens_on_one_connection_in_one_poll_is_one_message(make, account):
    rig = make(rule())
    await rig.poll(times=2)
    for id_ in ("gc_1", "gb_1"):
        account.set_status("conn_1", id_, "needs_attention")
    account.set_status("conn_2", "gc_2", "needs_attention")
    await rig.poll()
    assert messages(rig) == [["gb_1", "gc_1"], ["gc_2"]]
    assert len(rig.sinks["ops"].got) == 2
    assert sorted(await alerts(rig)) == [("opened", "gb_1"), ("opened", "gc_1"), ("opened", "gc_2")]


async def test_a_message_takes_newcomers_for_a_while_and_says_so_loudly(make, account):
    rig = make(rule("group_window: 10m"))
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll(times=9)
    account.set_status("conn_1", "gb_1", "needs_attention")
    await rig.poll()
    ((message, [(part, body)]),) = rig.sinks["ops"].threads.items()
    assert (part, entities(body)) == (Part.NEWS, ["gb_1"])
    assert messages(rig) == [["gc_1", "gb_1"]]
    account["conn_1"]["group_connections"].append(group("late"))
    account.set_status("conn_1", "late", "needs_attention")
    await rig.poll()
    assert messages(rig) == [["gc_1", "gb_1"], ["late"]]
    assert [*rig.sinks["ops"].links.values()] == [message]


async def test_an_end_is_said_in_the_thread_and_shown_in_the_message(make, account):
    rig = make(rule())
    await rig.poll(times=2)
    for id_ in ("gc_1", "gb_1"):
        account.set_status("conn_1", id_, "needs_attention")
    await rig.poll()
    account.set_status("conn_1", "gc_1", "completed")
    await rig.poll()
    [(message, [(part, body)])] = rig.sinks["ops"].threads.items()
    assert (part, body["type"], entities(body)) == (Part.REPLY, "alert.resolved", ["gc_1"])
    shown = rig.sinks["ops"].shown[message]["data"]
    assert (shown["opened"], shown["ended"]) == (1, 1)
    account.set_status("conn_1", "gb_1", "processing")
    await rig.poll()
    shown = rig.sinks["ops"].shown[message]["data"]
    ends = {one["data"]["entity"]["id"]: one["data"]["alert"]["end"] for one in shown["entries"]}
    assert ends == {"gc_1": "completed", "gb_1": "moved"}
    assert len(rig.sinks["ops"].got) == 3


async def test_what_opens_again_is_a_new_message_that_links_to_the_last(make, account):
    rig = make(rule())
    await rig.poll(times=2)
    for status in ("needs_attention", "processing", "needs_attention"):
        account.set_status("conn_1", "gc_1", status)
        await rig.poll()
    first, second = rig.sinks["ops"].shown
    assert rig.sinks["ops"].links == {second: first}
    ends = [body["data"]["alert"]["end"] for body in rig.sinks["ops"].shown.values()]
    assert ends == ["moved", None]
    assert rig.sinks["ops"].shown[second]["data"]["alert"]["occurrence"] == 2


async def test_five_employers_at_one_carrier_are_the_carriers_message(make, account):
    employers(account, 8)
    rig = make(rule())
    employers(account, 8)
    await rig.poll(times=2)
    trouble(account, 0, 1, 2, 3)
    await rig.poll()
    assert len(messages(rig)) == 4  # each may be the employer's own
    trouble(account, 4, 5)
    await rig.poll()
    assert messages(rig)[4] == ["g_04", "g_05"]
    trouble(account, 6)
    await rig.poll()
    assert messages(rig)[4] == ["g_04", "g_05", "g_06"]
    [body] = [one for one in rig.sinks["ops"].shown.values() if "entries" in one["data"]]
    assert body["data"]["by"] == "carrier"


async def test_what_opens_at_one_carrier_over_hours_stays_with_the_employers(make, account):
    rig = make(rule())
    employers(account, 8)
    await rig.poll(times=2)
    for n in range(8):
        trouble(account, n)
        await rig.poll(times=3)
    assert messages(rig) == [[f"g_{n:02}"] for n in range(8)]


async def test_a_storm_is_one_message_and_an_event_each_for_programs(make, account):
    rig = make(rule())
    employers(account, 30, "carr_{n}")
    await rig.poll(times=2)
    trouble(account, *range(30))
    await rig.poll()
    [body] = rig.sinks["ops"].shown.values()
    assert (body["data"]["by"], body["data"]["opened"], len(body["data"]["entries"])) == ("storm", 30, 20)
    assert len(await alerts(rig)) == 30
    trouble(account, *range(30), status="completed")
    await rig.poll()
    [body] = rig.sinks["ops"].shown.values()
    assert (body["data"]["opened"], body["data"]["ended"]) == (0, 30)
    assert len(rig.sinks["ops"].got) == 2  # and one reply


async def test_alone_means_alone_and_a_carrier_may_be_asked_for(make, account):
    rig = make(
        rule("group_by: none", notify="[ops]") + rule("group_by: carrier", name="c", notify='["ops#c"]')
    )
    employers(account, 12)
    await rig.poll(times=2)
    trouble(account, *range(12))
    await rig.poll()
    assert sorted(len(one) for one in messages(rig)) == [1] * 12 + [12]


async def test_a_poll_cut_off_before_people_were_told_is_made_good(make, account, commits_fail):
    rig = make(rule())
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    allow = commits_fail(rig, after=1)
    await rig.poll()
    assert (await alerts(rig), await alerts(rig, "ops")) == ([("opened", "gc_1")], [])
    allow(100)
    rig.restart()
    await rig.poll()
    assert await alerts(rig, "ops") == [("opened", "gc_1")]
    account.set_status("conn_1", "gc_1", "completed")
    allow(1)
    await rig.poll()
    allow(100)
    rig.restart()
    await rig.poll()
    assert await alerts(rig, "ops") == [("opened", "gc_1"), ("resolved", "gc_1")]


@pytest.mark.parametrize("is_over", [True, False])
async def test_what_came_and_went_before_anybody_was_told_is_told_as_it_is(
    make, account, commits_fail, is_over
):
    rig = make(rule())
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    allow = commits_fail(rig, after=1)
    await rig.poll()
    account.set_status("conn_1", "gc_1", "completed" if is_over else "needs_attention")
    allow(100)
    rig.restart()
    await rig.poll()
    [body] = rig.sinks["ops"].got
    assert body["data"]["alert"]["end"] == ("completed" if is_over else None)


async def test_a_message_that_waits_shows_how_things_are_when_it_is_sent(make, account):
    rig = make(rule())
    rig.delivers_at_once = False
    await rig.poll(times=2)
    for status in ("needs_attention", "completed"):
        account.set_status("conn_1", "gc_1", status)
        await rig.poll()
    await rig.deliver()
    opened, resolved = rig.sinks["ops"].got
    assert opened["data"]["alert"]["end"] == resolved["data"]["alert"]["end"] == "completed"
    attempts = await rig.lanes.attempts(newest=10)
    assert [one["outcome"] for one in attempts if one["sink"] == "ops"] == ["delivered"] * 3


async def test_messages_in_which_all_is_over_are_forgotten_in_time(make, account):
    rig = make(rule())
    await rig.poll(times=2)
    for status in ("needs_attention", "completed"):
        account.set_status("conn_1", "gc_1", status)
        await rig.poll()
    assert len(await rig.store.messages(["ops"])) == 1
    rig.clock.advance(40 * 86_400)
    account.set_status("conn_2", "gc_2", "needs_attention")
    await rig.poll()
    [message] = await rig.store.messages(["ops"])
    assert message.value == "er_conn_2"
    fields = await rig.redis.hkeys(rig.keys.sink("ops"))
    assert sorted(field.decode().partition(":")[0] for field in fields) == ["page", "posted"]


async def test_an_incoming_webhook_hears_of_many_ends_at_once_in_one_message(make, account):
    rig = make(rule(notify="[hook]"))
    employers(account, 12, "carr_{n}")
    await rig.poll(times=2)
    for n in range(12):
        trouble(account, n)
        await rig.poll()
    got = rig.sinks["hook"].got
    assert [entities(body) for body in got] == [[f"g_{n:02}"] for n in range(12)]
    trouble(account, *range(12), status="completed")
    await rig.poll()
    assert len(got) == 13
    assert (got[12]["type"], got[12]["data"]["ended"]) == ("alert.net", 12)


async def test_a_page_that_somebody_spoilt_costs_only_its_message(make, account):
    rig = make(rule())
    rig.delivers_at_once = False
    await rig.poll(times=2)
    for n in (1, 2):
        account.set_status(f"conn_{n}", f"gc_{n}", "needs_attention")
    await rig.poll()
    fields = await rig.redis.hkeys(rig.keys.sink("ops"))
    await rig.redis.hset(rig.keys.sink("ops"), fields[0], "not a page")
    await rig.deliver()
    assert len(rig.sinks["ops"].got) == 1
    [letter] = await rig.lanes.dead_letters("ops")
    assert letter.reason == "unreadable"
