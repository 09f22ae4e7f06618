"""What a rule with `while` finds when it is new, other than before, or after a baseline."""

from __future__ import annotations

from notifier.core.removals import Guard
from tests.support.account import connection, group, milestone
from tests.support.alerts import REFUSED, alerts, reports, rule


async def test_what_was_there_before_is_one_message_for_people_and_an_event_each_for_programs(make, account):
    for n in range(5):
        account.set_status(f"conn_{n}", f"gc_{n}", "needs_attention")
    rig = make(rule("for: 10m"))
    await rig.poll(times=4)
    assert sorted(await alerts(rig)) == [("opened", f"gc_{n}") for n in range(5)]
    [(what, message)] = await alerts(rig, "ops")
    assert what == "summary"
    assert message == "5 group connections already need attention: Guardian 5."
    assert all(body["data"]["alert"]["existing"] for body in rig.sinks["backend"].got)
    account.set_status("conn_3", "gc_3", "completed")
    await rig.poll()
    assert (await alerts(rig, "ops"))[1:] == [("resolved", "gc_3")]
    account.set_status("conn_5", "gc_5", "needs_attention")
    await rig.poll(times=12)
    assert (await alerts(rig, "ops"))[2:] == [("opened", "gc_5")]


async def test_include_existing_each_tells_each_and_no_tells_none_until_it_began_anew(make, account):
    account.set_status("conn_1", "gc_1", "needs_attention")
    each, no = "include_existing: each", "include_existing: no, remind: 2m"
    rig = make(rule(each, name="each", notify="[ops]") + rule(no, name="no", notify="[backend]"))
    await rig.poll(times=8)
    assert await alerts(rig, "ops") == [("opened", "gc_1")]
    assert await alerts(rig) == []
    account.set_status("conn_1", "gc_1", "completed")
    await rig.poll()
    assert await alerts(rig) == []
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll()
    assert await alerts(rig) == [("opened", "gc_1")]


async def test_what_happens_between_a_baseline_and_the_first_look_is_new(make, account):
    account.set_status("conn_0", "gc_0", "needs_attention")
    rig = make(rule("include_existing: no") + rule(name="sum", notify="[ops]"))
    await rig.poll()
    account.set_status("conn_0", "gb_0", "needs_attention")
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll(times=2)
    assert sorted(await alerts(rig)) == [("opened", "gb_0"), ("opened", "gc_1")]
    summary = ("summary", "1 group connection already needs attention: Guardian 1.")
    assert sorted(await alerts(rig, "ops")) == [*sorted(await alerts(rig)), summary]


async def test_what_moves_before_a_new_rule_could_see_everything_is_new_to_it(make, account):
    rig = make(rule("include_existing: no", notify="[backend]"))
    await rig.poll()
    account.set_status("conn_0", "gc_0", "needs_attention")
    account.answer = lambda _request, page: REFUSED if page else None
    await rig.poll()
    assert await alerts(rig) == [("opened", "gc_0")]
    account.answer = lambda _request, _page: None
    await rig.poll(times=3)
    assert await alerts(rig) == [("opened", "gc_0")]


async def test_a_rule_that_is_new_finds_what_is_there_and_one_that_is_gone_ends_what_it_told(make, account):
    account.set_status("conn_1", "gc_1", "needs_attention")
    rig = make(reports())
    await rig.poll(times=2)
    rig.config = make(rule("include_existing: each")).config
    rig.restart()
    await rig.poll(times=2)
    assert await alerts(rig) == await alerts(rig, "ops") == [("opened", "gc_1")]
    rig.config = make(reports()).config
    rig.restart()
    await rig.poll(times=2)
    assert (await alerts(rig))[1:] == (await alerts(rig, "ops"))[1:] == [("resolved", "gc_1")]
    assert rig.sinks["ops"].got[-1]["data"]["alert"]["end"] == "rule"


async def test_a_rule_with_another_name_goes_on_in_its_messages(make, account):
    rig = make(rule())
    await rig.poll(times=2)
    for n in (1, 2):
        account.set_status(f"conn_{n}", f"gc_{n}", "needs_attention")
    await rig.poll()
    rig.config = make(rule(name="renamed")).config
    rig.restart()
    await rig.poll(times=2)
    assert (await alerts(rig, "ops"))[2:] == []
    account.set_status("conn_1", "gc_1", "completed")
    await rig.poll()
    assert (await alerts(rig, "ops"))[2:] == [("resolved", "gc_1")]
    assert {body["data"]["rule"] for body in rig.sinks["ops"].shown.values()} == {"renamed"}
    assert sorted((await alerts(rig))[2:]) == [
        *[("opened", f"gc_{n}") for n in (1, 2)],
        *[("resolved", f"gc_{n}") for n in (1, 1, 2)],
    ]


async def test_what_was_so_before_is_not_new_because_something_else_of_it_moved(make, account):
    for n in (1, 2):
        account.set_status(f"conn_{n}", f"gc_{n}", "needs_attention")
    account["conn_3"]["status"] = "needs_attention"
    both = "while: {entity: [group_connection, connection], status: needs_attention}"
    rig = make(
        rule("include_existing: no", name="no", what=both, notify="[backend]")
        + rule(what=both, notify="[ops]")
    )
    await rig.poll()
    account["conn_1"]["group_connections"][0]["group_id"] = "other"
    account["conn_3"]["events"].append(milestone("ms_new"))
    await rig.poll(times=2)
    assert await alerts(rig) == []
    assert await alerts(rig, "ops") == [("summary", "3 entities already need attention: Guardian 2.")]


async def test_a_rule_changed_in_the_middle_of_its_first_look_counts_what_was_found_before(
    make, account, monkeypatch, commits_fail
):
    for n in range(6):
        account.set_status(f"conn_{n}", f"gc_{n}", "needs_attention")
    monkeypatch.setattr("notifier.poller.watching.CHUNK", 2)
    monkeypatch.setattr("notifier.poller.commits.CHUNK", 2)
    rig = make(rule())
    await rig.poll()
    allow = commits_fail(rig, after=2)
    await rig.poll()
    allow(100)
    rig.config = make(rule("for: 3m")).config
    rig.restart()
    await rig.poll()
    rig.config = make(rule("for: 4m")).config
    rig.restart()
    await rig.poll(times=2)
    assert await alerts(rig, "ops") == [
        ("summary", "6 group connections already need attention: Guardian 6.")
    ]
    assert len(await alerts(rig)) == 6


async def test_a_rule_that_asks_for_something_else_keeps_what_still_matches(make, account):
    rig = make(rule())
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll()
    account.set_status("conn_2", "gc_2", "stuck")
    await rig.poll()
    both = "while: {entity: group_connection, status: [needs_attention, stuck]}"
    rig.config = make(rule(what=both)).config
    rig.restart()
    await rig.poll(times=2)
    assert await alerts(rig) == [("opened", "gc_1"), ("opened", "gc_2")]
    assert sorted(what for what, _ in await alerts(rig, "ops")) == ["opened", "summary"]
    rig.config = make(rule(what="while: {entity: group_connection, status: stuck}")).config
    rig.restart()
    await rig.poll(times=2)
    assert (await alerts(rig))[2:] == [("resolved", "gc_1")]


async def test_after_a_new_baseline_what_ended_meanwhile_is_told_and_the_rest_is_not_told_again(
    make, account
):
    rig = make(rule())
    await rig.poll(times=2)
    for n in (1, 2):
        account.set_status(f"conn_{n}", f"gc_{n}", "needs_attention")
    await rig.poll()
    account.set_status("conn_1", "gc_1", "completed")
    rig.restart(api_version="2027-01-01")
    await rig.poll(times=3)
    assert sorted(await alerts(rig, "ops")) == [("opened", "gc_1"), ("opened", "gc_2"), ("resolved", "gc_1")]


async def test_a_poll_cut_off_in_its_first_look_says_the_same_in_the_end(
    make, account, monkeypatch, commits_fail
):
    """One commit after another fails: what was begun is finished, nothing is told twice."""
    for n in range(6):
        account.set_status(f"conn_{n}", f"gc_{n}", "needs_attention")
    monkeypatch.setattr("notifier.poller.watching.CHUNK", 2)
    monkeypatch.setattr("notifier.poller.commits.CHUNK", 2)
    rig = make(rule())
    await rig.poll()
    allow = commits_fail(rig, after=0)
    for times in range(5):
        allow(times)
        rig.restart()
        await rig.poll()
    allow(100)
    await rig.poll(times=2)
    assert sorted(await alerts(rig)) == [("opened", f"gc_{n}") for n in range(6)]
    assert await alerts(rig, "ops") == [
        ("summary", "6 group connections already need attention: Guardian 6.")
    ]


async def test_day_one_with_three_thousand_employers_is_one_message_and_day_three_none(make, account):
    rig = make(rule("for: 10m, remind: 7d"), guard=Guard(1.0, 10_000))
    account.page_size = 100
    account.listed = [
        connection(
            f"co_{n}",
            group(f"g_{n}", "needs_attention" if n < 180 else "completed", carrier=f"carr_{n % 20}"),
        )
        for n in range(3000)
    ]
    await rig.poll(times=2)
    assert await alerts(rig, "ops") == [
        ("summary", "180 group connections already need attention: Guardian 180.")
    ]
    for _ in range(6):
        rig.clock.advance(8 * 3600)
        await rig.poll()
    assert len(await alerts(rig, "ops")) == 1
    assert len(await alerts(rig)) == 180
