"""Who else at a carrier is affected, as people are told it, and what the poller counts for that."""

from __future__ import annotations

import random
from typing import Any

import pytest

from notifier.core.codec import Words
from notifier.errors import StoreUnavailable
from notifier.poller.counting import Counting
from tests.integration.test_alerts_together import employers, trouble
from tests.support.account import connection, group
from tests.support.alerts import SINKS, commands, reports, rule
from tests.support.configs import config_with
from tests.support.rig import Rig

ALONE = "group_by: none"


def affected(rig: Rig, sink: str = "ops") -> list[Any]:
    """What each new message or reply says of who else is affected: how many of how many."""
    entries = [one for body in rig.sinks[sink].got for one in body["data"].get("entries", [body])]
    found = [entry["data"].get("affected") for entry in entries if entry["type"] != "alert.summary"]
    return [one and (one["employers"], one["of"]) for one in found]


@pytest.fixture
def eight(make, account):
    """Rules -> a replica that watches eight employers with a group connection at one carrier."""

    def begin(rules: str = rule(ALONE), sinks: str = SINKS) -> Rig:
        rig = make(rules)
        employers(account, 8)
        rig = Rig(rig.redis, rig.clock, account, config_with(rules, sinks, "self_reports: []"))
        rig.delivers_at_once = True
        return rig

    return begin


@pytest.fixture
def passes(monkeypatch):
    """How often the whole state was read for a census so far."""
    taken, census = [], Counting.census

    async def counted(self, *given):
        taken.extend([1] if self._census is None else [])
        return await census(self, *given)

    monkeypatch.setattr(Counting, "census", counted)
    return lambda: len(taken)


async def test_the_second_employer_and_those_after_hear_of_how_many_there_are(eight, account):
    rig = eight()
    await rig.poll(times=2)
    for n in range(3):
        trouble(account, n)
        await rig.poll()
    assert affected(rig) == [None, (2, 8), (3, 8)]
    assert affected(rig, "backend") == [None] * 3  # not told to programs


async def test_a_reminder_says_how_many_there_are_by_then(eight, account):
    rig = eight(rule(f"{ALONE}, remind: 10m"))
    await rig.poll(times=2)
    trouble(account, 0)
    await rig.poll()
    trouble(account, 1, 2)
    await rig.poll(times=10)
    reminders = [
        body["data"].get("affected") for body in rig.sinks["ops"].got if body["type"] == "alert.reminder"
    ]
    assert reminders[0] == {"employers": 3, "of": 8}


async def test_alerts_that_ended_or_wait_and_employers_with_several_do_not_count_more(eight, account):
    rig = eight(rule(f"{ALONE}, for: 2m"))
    account["co_00"]["group_connections"].append(group("second", carrier="carr_g"))
    await rig.poll(times=2)
    trouble(account, 0, 1, 2)
    account.set_status("co_00", "second", "needs_attention")
    await rig.poll(times=3)
    assert affected(rig) == [(3, 8)] * 4
    trouble(account, 1, status="completed")
    trouble(account, 3)
    await rig.poll()
    trouble(account, 4)
    await rig.poll(times=2)
    opened = [body["data"]["affected"] for body in rig.sinks["ops"].got if body["type"] == "alert.opened"]
    assert opened[4:] == [{"employers": 3, "of": 8}]


async def test_each_rule_and_each_carrier_is_counted_alone(eight, account):
    rig = eight(
        rule(ALONE, notify="[ops]")
        + rule(ALONE, name="slow", what="while: {entity: group_connection, status: review}", notify="[ops]")
    )
    account.listed += [connection(f"other_{n}", group(f"o_{n}", carrier="carr_o")) for n in range(3)]
    await rig.poll(times=2)
    trouble(account, 0)
    trouble(account, 1, status="review")
    account.set_status("other_0", "o_0", "needs_attention")
    await rig.poll()
    assert affected(rig) == [None] * 3
    account.set_status("other_1", "o_1", "needs_attention")
    await rig.poll()
    assert affected(rig)[3:] == [(2, 3)]


async def test_a_carriers_message_says_it_of_the_carrier(eight, account):
    rig = eight(rule("group_by: carrier"))
    await rig.poll(times=2)
    trouble(account, *range(5))
    await rig.poll()
    [body] = rig.sinks["ops"].got
    assert body["data"]["by"] == "carrier"
    assert affected(rig) == [(5, 8)] * 5


async def test_a_change_of_numbers_alone_edits_no_message(eight, account):
    rig = eight()
    await rig.poll(times=2)
    trouble(account, 0)
    await rig.poll()
    [first] = rig.sinks["ops"].shown
    before = rig.sinks["ops"].shown[first]
    trouble(account, 1)
    await rig.poll()
    assert rig.sinks["ops"].shown[first] is before


async def test_a_sink_that_is_not_to_know_carriers_is_not_told_who_is_affected_there(eight, account):
    rig = eight(
        rule(ALONE, notify="[ops, hook]"),
        SINKS.replace('channel: "#ops"', 'channel: "#ops", exclude: [carrier]'),
    )
    await rig.poll(times=2)
    trouble(account, 0, 1)
    await rig.poll()
    assert affected(rig) == [None] * 2
    assert affected(rig, "hook") == [(2, 8)] * 2


async def test_the_census_follows_what_comes_moves_and_goes(eight, account, passes):
    rig = eight()
    await rig.poll(times=2)
    trouble(account, 0, 1)
    await rig.poll()
    account.listed.append(connection("new", group("n", carrier="carr_g")))
    account["co_07"]["group_connections"][0]["carrier"] = "carr_other"
    account["co_06"]["employer"] = account["co_05"]["employer"]
    account.drop("co_04")
    account["co_03"]["group_connections"].clear()
    await rig.poll(times=3)
    trouble(account, 2)
    await rig.poll()
    assert affected(rig) == [(2, 8), (2, 8), (3, 5)]
    assert passes() == 1


async def test_a_census_is_taken_anew_after_a_restart_and_a_takeover(eight, account, passes):
    one = eight()
    two = Rig(one.redis, one.clock, account, one.config)
    two.sinks, two.delivers_at_once = one.sinks, True
    await one.poll(times=2)
    trouble(account, 0, 1)
    await one.poll()
    one.restart()
    trouble(account, 2)
    await one.poll()
    account.listed.append(connection("new", group("n", carrier="carr_g")))
    await two.poll()
    trouble(account, 3)
    await one.poll()  # its memory is of before the other's poll
    assert affected(one) == [(2, 8), (2, 8), (3, 8), (4, 9)]
    assert passes() == 3


async def test_a_census_ends_with_its_state(eight, account):
    rig = eight()
    await rig.poll(times=2)
    trouble(account, 0, 1)
    await rig.poll()
    account.listed = account.listed[:4]
    await rig.redis.hset(rig.keys.meta, "base_url", '"https://elsewhere.test"')  # so: a new baseline
    assert (await rig.poll()).baseline == "base_url"
    await rig.poll()
    trouble(account, 2)
    await rig.poll()
    assert affected(rig)[-1] == (3, 4)


async def test_a_reminder_of_what_was_there_at_the_first_look_says_it_too(eight, account):
    rig = eight(rule(f"{ALONE}, remind: 10m"))
    trouble(account, 0, 1, 2)
    await rig.poll(times=13)
    assert affected(rig)
    assert set(affected(rig)) == {(3, 8)}


async def test_a_connection_that_the_store_shows_twice_counts_once(eight, account, monkeypatch):
    rig = eight()
    await rig.poll(times=2)
    states = rig.store.all_states

    async def twice():
        async for item in states():
            yield item
            yield item

    monkeypatch.setattr(rig.store, "all_states", twice)
    trouble(account, 0, 1)
    await rig.poll()
    monkeypatch.undo()
    account["co_03"]["group_connections"][0]["carrier"] = "carr_other"
    trouble(account, 2)
    await rig.poll()
    assert affected(rig) == [(2, 8), (2, 8), (3, 7)]


@pytest.mark.parametrize("fault", ["store", "state"])
async def test_where_no_census_can_be_taken_the_alert_is_told_without(eight, account, monkeypatch, fault):
    rig = eight()
    await rig.poll(times=2)
    trouble(account, 0, 1)
    states = rig.store.all_states

    async def failing():
        async for id_, value in states():
            yield id_, value if fault == "store" else b"\x01"
            if fault == "store":
                raise StoreUnavailable("gone")

    monkeypatch.setattr(rig.store, "all_states", failing)
    assert (await rig.poll()).outcome == "complete"
    assert affected(rig) == [None] * 2
    monkeypatch.undo()
    trouble(account, 2)
    await rig.poll()
    assert affected(rig)[2:] == [(3, 8)]


async def test_what_was_lost_with_a_failed_commit_is_not_counted(eight, account, commits_fail):
    rig = eight()
    await rig.poll(times=2)
    trouble(account, 0, 1)
    await rig.poll()
    allow = commits_fail(rig, after=1)
    account.listed.append(connection("new", group("n", carrier="carr_g")))
    trouble(account, 2)
    assert (await rig.poll()).outcome == "failed"
    allow(100)
    await rig.poll()
    assert affected(rig) == [(2, 8), (2, 8), (3, 9)]


async def test_one_employer_alone_and_a_first_look_take_no_census(eight, account, passes):
    rig = eight()
    trouble(account, 0, 1, 2)
    await rig.poll(times=3)
    trouble(account, 0, 1, status="completed")
    await rig.poll()
    assert passes() == 0
    trouble(account, 3)
    await rig.poll()
    assert (affected(rig)[-1], passes()) == ((2, 8), 1)


async def test_a_poll_in_which_nothing_changed_asks_nothing_more_for_a_census(eight, account):
    plain = eight(reports())
    await plain.poll(times=4)
    without = await commands(plain)
    await plain.redis.flushall()
    rig = eight(rule(f"{ALONE}, remind: 1h"))
    await rig.poll(times=2)
    trouble(account, 0, 1, 2)
    await rig.poll(times=2)
    assert affected(rig) == [(3, 8)] * 3
    assert await commands(rig) == without


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happens_the_census_is_one_that_is_taken_anew(eight, account, seed):
    rng = random.Random(seed)
    rig = eight()
    await rig.poll(times=2)
    trouble(account, 0, 1)
    await rig.poll()
    counting = rig.poller._memory.counting
    assert counting._census is not None
    for at in range(40):
        _happen(account, rng, at)
        await rig.poll()
        now = rig.poller._memory.counting
        assert now is counting
        fresh = await Counting().census(rig.store, Words((await rig.store.meta()).words))
        assert now._census.as_counts() == fresh.as_counts()


def _happen(account, rng: random.Random, at: int) -> None:
    item = rng.choice(account.listed)
    groups = item["group_connections"]
    what = rng.choice(["status", "carrier", "employer", "group", "no group", "new", "gone"])
    if what == "group":
        groups.append(group(f"more_{at}", carrier=rng.choice(["carr_g", "carr_h"])))
    elif what == "employer":
        item["employer"] = rng.choice(account.listed)["employer"]
    elif what == "new":
        account.listed.append(connection(f"new_{at}", group(f"n_{at}", carrier="carr_g")))
    elif what == "gone" and len(account.listed) > 4:
        account.drop(item["id"])
    elif groups and what == "no group":
        groups.pop()
    elif groups:
        one = rng.choice(groups)
        one["carrier"] = rng.choice(["carr_g", "carr_h"]) if what == "carrier" else one["carrier"]
        one["status"] = rng.choice(["needs_attention", "processing"])
