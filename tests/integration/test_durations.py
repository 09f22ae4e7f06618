"""How long a status usually lasts at a carrier: what is counted, that it is counted once, and who is told."""

from __future__ import annotations

from typing import Any

import pytest

from notifier.store.state import Commit
from tests.support.account import SERVER_ERROR, group
from tests.support.alerts import NEEDS, SINKS, alerts, commands, reports, rule
from tests.support.configs import config_with
from tests.support.rig import Rig

NEED = ("carr_1", "needs_attention")


async def last(rig: Rig, account, polls: int, *, id_: str = "gc_1", then: str = "processing") -> None:
    """A group connection needs attention for so many polls."""
    account.set_status("conn_1", id_, "needs_attention")
    await rig.poll(times=polls)
    account.set_status("conn_1", id_, then)
    await rig.poll()


async def samples(rig: Rig) -> dict[tuple[str, str], tuple[int, ...]]:
    return await rig.store.durations()


async def known(rig: Rig, count: int, seconds: int = 60) -> None:
    """So many samples are in the store, written by a former poller: 1, 2, 3 ... times so many seconds."""
    rig.clock.advance(60)  # the lease of now is over
    lease = await rig.store.take_lease("former", rig.settings.interval)
    meta = await rig.store.meta()
    durations = {NEED: tuple(seconds * n for n in range(1, count + 1))}
    await rig.store.commit(lease, meta.version, Commit(durations=durations))
    await rig.store.give_back_lease("former")


def usual(rig: Rig, sink: str = "backend") -> list[Any]:
    """What each body about an alert says is usual."""
    return [body["data"].get("usual") for body in rig.sinks[sink].got if body["type"].startswith("alert.")]


async def test_each_time_is_a_sample_from_the_look_that_shows_it_to_the_look_that_does_not(make, account):
    rig = make(rule())
    await rig.poll(times=2)
    for polls in (3, 1, 7):
        await last(rig, account, polls)
    assert await samples(rig) == {NEED: (180, 60, 420)}


async def test_what_did_not_last_until_its_alert_opened_is_a_sample_too(make, account):
    rig = make(rule("for: 5m"))
    await rig.poll(times=2)
    await last(rig, account, 2)
    await last(rig, account, 9)
    assert await samples(rig) == {NEED: (120, 540)}
    assert [what for what, _ in await alerts(rig)] == ["opened", "resolved"]


async def test_two_rules_that_watch_the_same_give_one_sample(make, account):
    rig = make(rule() + rule("for: 5m", name="slow") + rule(name="third", notify="[hook]"))
    await rig.poll(times=2)
    await last(rig, account, 2)
    assert await samples(rig) == {NEED: (120,)}


async def test_entities_that_end_in_one_poll_are_a_sample_each(make, account):
    rig = make(rule())
    account["conn_1"]["group_connections"].append(group("more", carrier="carr_1"))
    await rig.poll(times=2)
    for id_ in ("gc_1", "more"):
        account.set_status("conn_1", id_, "needs_attention")
    await rig.poll(times=2)
    for id_ in ("gc_1", "more"):
        account.set_status("conn_1", id_, "completed")
    await rig.poll()
    assert await samples(rig) == {NEED: (120, 120)}


async def test_what_was_there_at_a_first_look_is_no_sample(make, account):
    rig = make(rule())
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "processing")
    await rig.poll()
    assert [what for what, _ in await alerts(rig)] == ["opened", "resolved"]
    assert await samples(rig) == {}


async def test_what_is_removed_is_no_sample(make, account):
    rig = make(rule())
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll()
    account["conn_1"]["group_connections"].pop(0)
    await rig.poll(times=3)
    assert [what for what, _ in await alerts(rig)] == ["opened", "resolved"]
    assert await samples(rig) == {}


async def test_what_is_over_is_not_told_what_is_usual(make, account):
    rig = make(rule())
    await rig.poll(times=2)
    await known(rig, 10)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll()
    account["conn_1"]["group_connections"].pop(0)  # removed with the status that it had
    await rig.poll(times=3)
    assert [one is None for one in usual(rig)] == [False, True]


@pytest.mark.parametrize("after", [rule(what=NEEDS.replace("needs_attention", "review")), reports()])
async def test_what_ends_with_its_rule_is_no_sample(make, account, after):
    rig = make(rule())
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll()
    rig.config = make(after).config
    rig.restart()
    await rig.poll(times=2)
    assert [what for what, _ in await alerts(rig)] == ["opened", "resolved"]
    account.set_status("conn_1", "gc_1", "processing")
    await rig.poll()
    assert await samples(rig) == {}


@pytest.mark.parametrize(
    "what",
    [
        "while: {entity: group_connection, not_status: [pending, processing]}",
        "while: {entity: group_connection, status: [needs_attention, completed]}",
        "while: {entity: group_connection, status: needs_attention, unchanged: 1m}",
        "while: {entity: [connection, milestone], not_status: processing}",
    ],
)
async def test_a_rule_that_does_not_ask_for_one_status_gives_none(make, account, what):
    rig = make(rule(what=what))
    await rig.poll(times=2)
    await last(rig, account, 5)
    assert await samples(rig) == {}


async def test_a_rule_that_came_to_match_by_something_else_than_the_status_gives_none(make, account):
    rig = make(rule(what='while: {entity: group_connection, status: needs_attention, group_id: "7"}'))
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll(times=9)
    account["conn_1"]["group_connections"][0]["group_id"] = "7"
    await rig.poll()
    await last(rig, account, 1)
    assert [what for what, _ in await alerts(rig)] == ["opened", "resolved"]
    assert await samples(rig) == {}


async def test_a_rule_that_asked_for_two_statuses_before_gives_none_of_the_second(make, account):
    two = "while: {entity: group_connection, status: [needs_attention, completed]}"
    rig = make(rule(what=two))
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "completed")
    await rig.poll(times=9)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll()
    rig.config = make(rule()).config
    rig.restart()
    await rig.poll()
    account.set_status("conn_1", "gc_1", "processing")
    await rig.poll()
    assert [what for what, _ in await alerts(rig)] == ["opened", "resolved"]
    assert await samples(rig) == {}


async def test_what_ends_otherwise_while_its_status_lasts_is_no_sample(make, account):
    rig = make(rule(what='while: {entity: group_connection, status: needs_attention, group_id: "00123"}'))
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll()
    account["conn_1"]["group_connections"][0]["group_id"] = "7"
    await rig.poll()
    assert [what for what, _ in await alerts(rig)] == ["opened", "resolved"]
    assert await samples(rig) == {}


@pytest.mark.parametrize("how", ["restarts", "takeovers"])
async def test_samples_are_the_same_with_restarts_and_takeovers_between_all_polls(make, account, how):
    one = make(rule("for: 2m"))
    other = Rig(one.redis, one.clock, account, one.config)
    for at in range(40):
        account.set_status("conn_1", "gc_1", "needs_attention" if at % 10 in {2, 3, 4, 8} else "pending")
        rig = other if how == "takeovers" and at % 2 else one
        rig.restart()
        await rig.poll()
    assert await samples(one) == {NEED: (180, 60) * 4}


@pytest.mark.parametrize("after", [0, 1])
async def test_a_poll_that_is_cut_off_adds_a_sample_once_or_never(make, account, commits_fail, after):
    rig = make(rule())
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "processing")
    allow = commits_fail(rig, after=after)
    assert (await rig.poll()).outcome == "failed"
    allow(100)
    await rig.poll(times=3)
    assert await samples(rig) == ({} if after else {NEED: (180,)})
    assert [what for what, _ in await alerts(rig)] == ["opened", "resolved"]


async def test_a_commit_whose_reply_was_lost_adds_a_sample_once(make, account, monkeypatch):
    rig = make(rule())
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "processing")
    script, answers = rig.store._commit, []

    async def twice(**given):
        answers.append(await script(**given))
        answers.append(await script(**given))
        return answers[-1]

    monkeypatch.setattr(rig.store, "_commit", twice)
    await rig.poll()
    assert [answer[0] for answer in answers] == [b"committed", b"repeated"] * 2
    assert await samples(rig) == {NEED: (120,)}


async def test_only_the_newest_are_kept(make, account):
    rig = make(rule())
    await rig.poll(times=2)
    await known(rig, 50)
    await last(rig, account, 1)
    await last(rig, account, 2)
    assert (await samples(rig))[NEED] == (*range(180, 3001, 60), 60, 120)


async def test_what_is_usual_is_told_from_ten_samples_on_while_an_alert_lasts(make, account):
    rig = make(rule("remind: 1h"))
    await rig.poll(times=2)
    for polls in (1, 1, 1, 2, 2, 4, 4, 4, 9):
        await last(rig, account, polls)
    await last(rig, account, 30)
    assert usual(rig) == [None] * 20
    await rig.poll(times=61)  # or it were unstable
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll(times=61)
    account.set_status("conn_1", "gc_1", "processing")
    await rig.poll()
    said = {"median_s": 180, "p90_s": 540, "samples": 10}
    await rig.deliver()
    assert usual(rig)[20:] == [said, said, None]
    assert usual(rig, "ops")[-3:] == [said, said, None]


async def test_what_is_usual_is_known_after_a_restart_and_at_this_carrier_only(make, account):
    rig = make(rule())
    await rig.poll(times=2)
    await known(rig, 11)
    rig.restart()
    account.set_status("conn_1", "gc_1", "needs_attention")
    account.set_status("conn_2", "gc_2", "needs_attention")
    await rig.poll()
    await rig.deliver()
    assert usual(rig) == [{"median_s": 360, "p90_s": 600, "samples": 11}, None]


async def test_nothing_usual_is_told_of_an_alert_that_has_had_two_statuses(make, account):
    rig = make(
        rule("remind: 2m", what="while: {entity: group_connection, status: [needs_attention, review]}")
    )
    await rig.poll(times=2)
    await known(rig, 10)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "review")
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll(times=2)
    await rig.deliver()
    assert [one is None for one in usual(rig)] == [False, True, True]


async def test_a_sink_that_is_not_to_know_carriers_is_not_told_what_is_usual_there(make, account):
    rig = make(rule())
    hiding = SINKS.replace("{type: console", "{type: console, exclude: [carrier]")
    rig = Rig(rig.redis, rig.clock, account, config_with(rule(), hiding, "self_reports: []"))
    await rig.poll(times=2)
    await known(rig, 10)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll()
    await rig.deliver()
    assert usual(rig) == [None]
    assert usual(rig, "ops") != [None]


@pytest.mark.parametrize("field", ["odd", '["carr_1","needs_attention"]'])
async def test_samples_that_are_spoilt_are_left_out_and_hold_up_nothing(make, account, field):
    rig = make(rule())
    await rig.poll(times=2)
    await rig.redis.hset(rig.keys.durations, field, "not json")
    rig.restart()
    await last(rig, account, 2)
    assert await samples(rig) == {NEED: (120,)}


async def test_a_poll_in_which_nothing_changed_asks_nothing_more_for_samples(make, account):
    plain = make(reports())
    await plain.poll(times=4)
    without = await commands(plain)
    await plain.redis.flushall()
    rig = make(rule("remind: 1h"))
    await rig.poll(times=2)
    await last(rig, account, 2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll(times=2)
    assert await commands(rig) == without
    assert await samples(rig) == {NEED: (120,)}


async def test_a_source_that_cannot_be_read_gives_no_samples(make, account):
    rig = make(rule())
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll()
    account.answer = lambda _request, _page: SERVER_ERROR
    await rig.poll(times=3)
    assert await samples(rig) == {}
