"""What people hear of alerts where commits are lost, rules come back, sinks change and pages go."""

from __future__ import annotations

import pytest

from tests.integration.test_alerts_together import employers, messages, trouble
from tests.support.alerts import SINKS, alerts, reports, rule
from tests.support.configs import config_with

RETURNS = {"changed": rule("for: 3m"), "taken out": reports()}


@pytest.mark.parametrize("how", RETURNS)
async def test_a_rule_that_comes_back_tells_what_it_finds(make, account, how):
    rig = make(rule())
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll(times=2)
    rig.config = make(RETURNS[how]).config
    rig.restart()
    await rig.poll()
    for n in (2, 3):
        account.set_status(f"conn_{n}", f"gc_{n}", "needs_attention")
    if how == "taken out":
        await rig.poll()
    rig.config = make(rule()).config
    rig.restart()
    await rig.poll(times=5)
    told = [what for what in await alerts(rig, "ops") if what[0] in {"summary", "opened"}]
    assert len(told) >= 2
    assert any("3 group" in text or text in {"gc_2", "gc_3"} for _, text in told[1:])


async def test_a_storm_is_green_only_where_all_is_completed_and_names_what_lasts_first(make, account):
    rig = make(rule())
    employers(account, 30, "carr_{n}")
    await rig.poll(times=2)
    trouble(account, *range(30))
    await rig.poll()
    trouble(account, *range(20), status="completed")
    await rig.poll()
    [body] = rig.sinks["ops"].shown.values()
    assert body["data"]["needs_attention"]
    assert [one["type"] for one in body["data"]["entries"][:10]] == ["alert.opened"] * 10
    trouble(account, *range(20, 30), status="processing")
    await rig.poll()
    [body] = rig.sinks["ops"].shown.values()
    assert (body["data"]["ended"], body["data"]["end"]) == (30, "moved")


async def test_an_end_that_was_not_told_is_shown_and_what_opens_then_is_told(make, account, commits_fail):
    rig = make(rule())
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll()
    [first] = rig.sinks["ops"].shown
    account.set_status("conn_1", "gc_1", "processing")
    allow = commits_fail(rig, after=1)
    await rig.poll()
    allow(100)
    rig.restart()
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll()
    assert await alerts(rig, "ops") == [("opened", "gc_1"), ("opened", "gc_1")]
    ends = {id_: body["data"]["alert"]["end"] for id_, body in rig.sinks["ops"].shown.items()}
    assert ends.pop(first) == "moved"
    assert [*ends.values()] == [None]


async def test_a_sink_that_becomes_another_kind_goes_on(make, account):
    rig = make(rule(notify="[ops]"))
    program = config_with(
        rule(notify="[ops]"), SINKS.replace('slack, token: xoxb-1, channel: "#ops"', "console")
    )
    people, rig.config = rig.config, program
    rig.restart()
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll()
    rig.config = people
    rig.restart()
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "completed")
    await rig.poll()
    assert all(not alert.told for alert in (await rig.store.alerts()).values())
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll()
    assert messages(rig) == [["gc_1"]]
    rig.config = program
    rig.restart()
    account["conn_1"]["group_connections"][0]["group_id"] = "new"
    await rig.poll(times=2)
    rig.config = people
    rig.restart()
    account.set_status("conn_1", "gc_1", "completed")
    await rig.poll(times=2)
    [shown] = rig.sinks["ops"].shown.values()
    assert shown["data"]["alert"]["end"] == "completed"


async def test_a_sink_that_comes_back_hears_of_the_end(make, account):
    rig = make(rule())
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll()
    here = rig.config
    rig.config = config_with(rule(notify="[backend]"), "\n  backend: {type: console}\n")
    rig.restart()
    account.set_status("conn_1", "gc_1", "completed")
    await rig.poll(times=3)
    rig.config = here
    rig.restart()
    await rig.poll()
    assert await alerts(rig, "ops") == [("opened", "gc_1"), ("resolved", "gc_1")]


async def test_a_page_that_was_deleted_is_made_anew(make, account):
    rig = make(rule())
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll()
    [message] = await rig.store.messages(["ops"])
    await rig.redis.hdel(rig.keys.sink("ops"), f"page:{message.id}")
    rig.restart()
    await rig.poll()
    account.set_status("conn_1", "gc_1", "completed")
    await rig.poll()
    assert await alerts(rig, "ops") == [("opened", "gc_1")] * 2 + [("resolved", "gc_1")]


async def test_what_was_there_and_is_over_before_it_was_counted_is_not_told(make, account, commits_fail):
    employers(account, 12, "carr_{n}")
    rig = make(rule())
    employers(account, 12, "carr_{n}")
    trouble(account, *range(12))
    await rig.poll()
    allow = commits_fail(rig, after=1)
    await rig.poll()
    trouble(account, *range(11), status="completed")
    allow(100)
    rig.restart()
    await rig.poll(times=2)
    assert await alerts(rig, "ops") == [
        ("summary", "1 group connection already needs attention: Guardian 1.")
    ]


async def test_a_summary_names_no_carrier_to_a_sink_that_must_not_know_it(make, account):
    account.set_status("conn_1", "gc_1", "needs_attention")
    rig = make(rule())
    sinks = SINKS.replace('channel: "#ops"', 'channel: "#ops", exclude: [carrier]')
    rig.config = config_with(rule(), sinks, "self_reports: []")
    rig.restart()
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll(times=2)
    assert await alerts(rig, "ops") == [("summary", "1 group connection already needs attention.")]


async def test_what_a_message_does_not_show_costs_no_edit(make, account):
    rig = make(rule(what="while: {entity: connection, status: processing}", notify="[ops]"))
    await rig.poll(times=2)
    account["conn_1"]["status"] = "other"
    await rig.poll()
    account["conn_1"]["status"] = "processing"
    await rig.poll()
    before = {one.id: one.version for one in await rig.store.messages(["ops"])}
    account.set_status("conn_1", "gc_1", "completed")
    await rig.poll()
    assert {one.id: one.version for one in await rig.store.messages(["ops"])} == before
