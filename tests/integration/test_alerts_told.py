"""Which channels and programs hear of which alerts."""

from __future__ import annotations

import pytest

from tests.support.alerts import alerts, rule


@pytest.mark.parametrize("is_first", [True, False])
async def test_an_end_makes_room_for_what_opens_in_the_same_poll_whatever_the_order_of_rules(
    make, account, is_first
):
    stuck = rule(name="stuck", what="while: {entity: group_connection, status: stuck}")
    rig = make(stuck + rule() if is_first else rule() + stuck)
    await rig.poll(times=2)
    for status in ("needs_attention", "stuck"):
        account.set_status("conn_1", "gc_1", status)
        await rig.poll()
    await rig.deliver()
    told = [(body["type"], body["data"]["rule"]) for body in rig.sinks["ops"].got]
    assert told[0] == ("alert.opened", "needs")
    assert sorted(told[1:]) == [("alert.opened", "stuck"), ("alert.resolved", "needs")]  # of two messages


async def test_when_the_first_alert_ends_the_channel_hears_of_the_one_that_stood_behind_it(make, account):
    rest = rule(
        "for: 3m", name="open", what="while: {entity: group_connection, not_status: [pending, completed]}"
    )
    rig = make(rule() + rest)
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll(times=6)
    account.set_status("conn_1", "gc_1", "processing")
    await rig.poll(times=3)
    account.set_status("conn_1", "gc_1", "completed")
    await rig.poll()
    await rig.deliver()
    told = [(body["type"].partition(".")[2], body["data"]["rule"]) for body in rig.sinks["ops"].got]
    assert (told[0], told[3]) == (("opened", "needs"), ("resolved", "open"))
    assert sorted(told[1:3]) == [("opened", "open"), ("resolved", "needs")]  # of two messages
    told = [(body["type"].partition(".")[2], body["data"]["rule"]) for body in rig.sinks["backend"].got]
    assert told == [("opened", "needs"), ("opened", "open"), ("resolved", "needs"), ("resolved", "open")]
    ids = [body["data"]["id"] for body in [*rig.sinks["ops"].got, *rig.sinks["backend"].got]]
    assert len(set(ids)) == 4


async def test_both_alerts_of_an_entity_that_is_completed_end_and_nothing_opens(make, account):
    rest = rule(name="open", what="while: {entity: group_connection, not_status: [pending, completed]}")
    rig = make(rule() + rest)
    await rig.poll(times=2)
    for status in ("needs_attention", "completed"):
        account.set_status("conn_1", "gc_1", status)
        await rig.poll()
    assert await alerts(rig, "ops") == [("opened", "gc_1"), ("resolved", "gc_1")]


async def test_the_end_of_a_silence_hides_no_message_about_what_happened(make, account):
    still = rule(name="still", what="while: {entity: group_connection, unchanged: 5m}", notify="[ops]")
    urgent = "  - {name: urgent, when: {to: needs_attention}, severity: critical, notify: [ops]}\n"
    rig = make(still + urgent)
    await rig.poll(times=10)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll()
    await rig.deliver()
    last = {
        body["type"]: body["data"]
        for body in rig.sinks["ops"].got
        if body["data"].get("entity", {}).get("id") == "gc_1"
    }
    assert last["alert.resolved"]["to"] == last["group_connection.status_changed"]["to"] == "needs_attention"


async def test_one_place_hears_of_one_alert_of_an_entity_and_a_program_of_each(make, account):
    later = rule("for: 3m, severity: critical", name="later", notify='["ops#escalations", backend]')
    same = rule("for: 2m", name="same", notify="[ops, backend]")
    rig = make(rule() + same + later)
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll(times=6)
    await rig.deliver()
    told = [(body["data"]["rule"], body["type"]) for body in rig.sinks["ops"].got]
    assert told == [("needs", "alert.opened"), ("later", "alert.opened")]
    assert [body["data"]["rule"] for body in rig.sinks["backend"].got] == ["needs", "same", "later"]


async def test_a_moment_and_a_condition_make_one_message_in_a_poll(make, account):
    moment = "  - {name: moment, when: {entity: group_connection}, notify: [ops, backend]}\n"
    rig = make(rule() + moment)
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    account.set_status("conn_1", "gb_1", "processing")
    await rig.poll()
    await rig.deliver()
    assert sorted(body["type"] for body in rig.sinks["ops"].got) == [
        "alert.opened",
        "group_connection.status_changed",
    ]
    assert [body["type"] for body in rig.sinks["backend"].got] == [
        "group_connection.status_changed",
        "group_connection.status_changed",
        "alert.opened",
    ]


async def test_resolve_false_says_nothing_of_the_end(make, account):
    rig = make(rule("resolve: false"))
    await rig.poll(times=2)
    for status in ("needs_attention", "completed", "needs_attention"):
        account.set_status("conn_1", "gc_1", status)
        await rig.poll()
    assert await alerts(rig) == await alerts(rig, "ops") == [("opened", "gc_1")] * 2


async def test_a_name_that_is_not_known_sends_it_to_the_fallback(make, account):
    named = 'while: {entity: group_connection, status: needs_attention, carrier_name: "Guard*"}'
    rig = make(rule("fallback: [ops]", what=named, notify="[backend]"))
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll()
    assert (await alerts(rig), await alerts(rig, "ops")) == ([("opened", "gc_1")], [])
    account.names.pop("carriers")
    account["conn_2"]["group_connections"][0]["carrier"] = "carr_unknown"
    account.set_status("conn_2", "gc_2", "needs_attention")
    await rig.poll()
    assert await alerts(rig, "ops") == [("opened", "gc_2")]
    account.set_status("conn_2", "gc_2", "completed")
    await rig.poll()
    assert (await alerts(rig, "ops"))[1:] == [("resolved", "gc_2")]
