"""The life of an alert: the real poller and scripts, an account in memory, virtual time."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import fakeredis
import pytest

from tests.support.account import SERVER_ERROR, Account, connection, group, milestone
from tests.support.alerts import REFUSED, SINKS, alerts, commands, reports, rule
from tests.support.clock import FakeClock
from tests.support.configs import config_with
from tests.support.rig import Rig


async def test_an_alert_opens_is_told_once_and_ends(make, account):
    rig = make(rule())
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll(times=3)
    assert await alerts(rig) == [("opened", "gc_1")]
    account.set_status("conn_1", "gc_1", "completed")
    await rig.poll(times=2)
    assert await alerts(rig) == await alerts(rig, "ops") == [("opened", "gc_1"), ("resolved", "gc_1")]


async def test_the_bodies_say_since_when_how_it_ended_and_which_occurrence_it_was(make, account):
    rig = make(rule('note: "Look.", severity: critical'))
    await rig.poll(times=2)
    for status in ("needs_attention", "processing", "needs_attention"):
        account.set_status("conn_1", "gc_1", status)
        await rig.poll()
    await rig.deliver()
    opened, resolved, again = rig.sinks["backend"].got
    alert = opened["data"]["alert"]
    assert alert["since_after"] < alert["since"] == alert["opened_at"] == opened["timestamp"]
    assert (alert["existing"], alert["occurrence"], alert["end"]) == (False, 1, None)
    assert list(opened["data"])[:5] == ["id", "source", "epoch", "rule", "severity"]
    assert opened["data"]["carrier"] == {"id": "carr_1", "name": "Guardian"}
    assert opened["data"]["connection"]["employer"]["external_id"] == "48213"
    assert (opened["data"]["from"], opened["data"]["to"]) == ("pending", "needs_attention")
    assert (again["data"]["from"], again["data"]["to"]) == ("processing", "needs_attention")
    assert (resolved["data"]["from"], resolved["data"]["to"]) == ("needs_attention", "processing")
    assert resolved["data"]["alert"] == {
        **alert,
        "end": "moved",
        "ended_at": resolved["data"]["alert"]["ended_at"],
    }
    assert again["data"]["alert"]["id"] != alert["id"]
    assert again["data"]["alert"]["occurrence"] == 2
    assert len({body["data"]["id"] for body in (opened, resolved, again)}) == 3
    assert "broker_federal_ein" not in str(rig.sinks["backend"].got)
    assert rig.sinks["ops"].got[0]["data"]["note"] == "Look."
    assert "note" not in opened["data"]


async def test_what_lasts_too_short_is_never_told(make, account):
    rig = make(rule("for: 10m"))
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll(times=9)
    account.set_status("conn_1", "gc_1", "processing")
    await rig.poll()
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll(times=10)
    assert await alerts(rig) == []
    await rig.poll()
    assert await alerts(rig) == [("opened", "gc_1")]


async def test_time_does_not_pass_while_the_source_cannot_be_read(make, account):
    rig = make(rule("for: 10m, remind: 10m"))
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll()
    account.answer = lambda _request, _page: SERVER_ERROR
    await rig.poll(times=30)
    assert await alerts(rig) == []
    account.answer = lambda _request, _page: None
    await rig.poll()
    assert await alerts(rig) == [("opened", "gc_1")]


async def test_a_group_connection_that_is_not_shown_does_not_come_of_age(make, account):
    rig = make(rule("for: 5m"))
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll()
    hidden = account["conn_1"]["group_connections"]
    account["conn_1"]["group_connections"] = None  # cannot be read: neither there nor gone
    await rig.poll(times=2)
    account["conn_1"]["group_connections"] = hidden[1:]
    rig.clock.advance(3600)
    await rig.poll()
    assert await alerts(rig) == []  # absent once: is it there? nobody knows
    await rig.poll(times=2)
    assert await alerts(rig) == []  # removed


async def test_an_open_alert_of_what_is_removed_ends_as_removed(make, account):
    rig = make(rule())
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    account.set_status("conn_2", "gc_2", "needs_attention")
    await rig.poll()
    account["conn_1"]["group_connections"].pop(0)
    account.drop("conn_2")
    await rig.poll(times=3)
    await rig.deliver()
    ends = [body["data"] for body in rig.sinks["backend"].got if body["type"] == "alert.resolved"]
    assert sorted((end["entity"]["id"], end["alert"]["end"], end["from"], end["to"]) for end in ends) == [
        ("gc_1", "removed", "needs_attention", None),
        ("gc_2", "removed", "needs_attention", None),
    ]


@pytest.mark.parametrize("every", [1, 3])
async def test_restarts_change_nothing(make, account, every):
    rig = make(rule("for: 5m, remind: 10m"))
    for at in range(60):
        if at == 3:
            account.set_status("conn_1", "gc_1", "needs_attention")
        if at == 40:
            account.set_status("conn_1", "gc_1", "processing")
        if at % every == 0:
            rig.restart()
        await rig.poll()
    expected = [("opened", "gc_1"), *[("reminder", "gc_1")] * 3, ("resolved", "gc_1")]
    assert await alerts(rig) == await alerts(rig, "ops") == expected


RULES = (
    rule("for: 5m, remind: 7m")
    + rule("remind: 11m, resolve: false", name="at-once", notify='["ops#other", backend]')
    + rule(
        "remind: 9m",
        name="still",
        what="while: {entity: [connection, milestone], not_status: completed, unchanged: 6m}",
    )
    + "  - {name: moments, when: {to: needs_attention}, notify: [ops]}\n"
)


@pytest.mark.parametrize("seed", range(2))
async def test_random_lives_are_told_alike_with_restarts_and_takeovers_between_all_polls(seed):
    async def play(how: str) -> list[Any]:
        rng = random.Random(seed)
        account = Account(
            *(connection(f"c{n}", group(f"g{n}"), milestones=[milestone(f"m{n}")]) for n in range(3))
        )
        config, clock = config_with(RULES, SINKS, "self_reports: []"), FakeClock()
        redis = fakeredis.FakeAsyncRedis()
        replicas = [Rig(redis, clock, account, config) for _ in range(2)]
        for at in range(80):
            _live(account, rng, at)
            poller = replicas[at % 2 if how == "takeovers" else 0]
            if how == "restarts":
                poller.restart()
            clock.advance(60)
            await poller.poller.poll_once()
            await replicas[0].deliver()
        sinks = replicas[0].sinks
        return [
            *map(_essence, sinks["backend"].got),
            *sorted(map(_essence, sinks["ops"].got), key=str),  # messages do not wait for each other
            *sorted(map(_essence, sinks["ops"].shown.values()), key=str),
        ]

    told = await play("")
    assert len({body[0] for body in told}) >= 5
    assert len(told) > 60
    assert await play("restarts") == told
    assert await play("takeovers") == told


def _essence(body: dict[str, Any]) -> Any:
    """A body without what differs between any two epochs."""
    data = body["data"]
    entries = [_essence(one) for one in data.get("entries", ())]
    entity, since = data.get("entity", {}).get("id"), data.get("alert", {}).get("since")
    return body["type"], body["timestamp"], data["rule"], entity, since, data.get("message"), entries


def _live(account: Account, rng: random.Random, at: int) -> None:
    """Something may happen to the account between two polls; now and then it cannot be read."""
    account.answer = (
        (lambda _request, _page: REFUSED) if rng.random() < 0.1 else (lambda _request, _page: None)
    )
    if rng.random() < 0.4:
        item = rng.choice(account.listed)
        entity = rng.choice([*item["group_connections"], *item["events"]])
        entity["status"] = rng.choice(["pending", "needs_attention", "completed", "processing"])
    if rng.random() < 0.1:
        rng.choice(account.listed)["events"].append(milestone(f"m{at}", "processing"))
    if rng.random() < 0.05:
        account.listed.append(connection(f"c{at}", group(f"g{at}", "needs_attention")))


async def test_a_takeover_goes_on_where_the_other_stood(make, account):
    one = make(rule("for: 5m, remind: 10m"))
    other = make(rule("for: 5m, remind: 10m"))
    other.clock = one.clock
    two = Rig(one.redis, one.clock, account, one.config)
    await one.poll(times=2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await one.poll()
    await two.poll(times=6)
    assert await alerts(two) == [("opened", "gc_1")]
    await one.poll(times=10)
    account.set_status("conn_1", "gc_1", "completed")
    await two.poll()
    said = [what for rig in (two, one) for what, _ in await alerts(rig)]
    assert sorted(said) == ["opened", "reminder", "resolved"]


async def test_a_closed_alert_holds_no_more_than_a_list_of_alerts_shows(make, account):
    rig = make(rule(), untracked=frozenset())
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll()
    assert "broker_federal_ein" in str(await rig.redis.hvals(rig.keys.alerts))
    account.set_status("conn_1", "gc_1", "completed")
    await rig.poll()
    [closed] = (await rig.store.alerts()).values()
    assert closed.subject.fields == {"status": "completed", "carrier": "carr_1", "group_id": "00123"}


async def test_unchanged_counts_from_the_last_move_of_anything_below(make, account):
    rig = make(rule(what="while: {entity: connection, not_status: completed, unchanged: 20m}"))
    await rig.poll(times=2)
    for _ in range(3):
        await rig.poll(times=10)
        account["conn_1"]["events"].append(milestone(f"ms_{len(account['conn_1']['events'])}"))
    await rig.poll(times=15)
    said = await alerts(rig)
    assert ("opened", "conn_1") not in said
    assert {("opened", f"conn_{n}") for n in (0, 2, 3, 4, 5)} <= set(said)
    assert await alerts(rig, "ops") == said  # nothing of it was there already
    await rig.poll(times=10)
    assert ("opened", "conn_1") in await alerts(rig)
    account.set_status("conn_1", "gc_1", "processing")
    await rig.poll()
    assert (await alerts(rig))[-1] == ("resolved", "conn_1")
    await rig.poll(times=22)
    assert (await alerts(rig))[-1] == ("opened", "conn_1")


async def test_times_are_counted_in_the_hours_of_a_calendar(make, account):
    office = 'calendars: {office: {timezone: UTC, hours: "09:00-17:00"}}'
    rig = make(rule("for: 15m, calendar: office"), office)
    await rig.store.sync_time()
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    opened = None
    for _ in range(5 * 24 * 12):  # five days
        rig.clock.advance(240)
        await rig.poll()
        if opened is None and await alerts(rig):
            opened = rig.store.now()
            break
    assert opened is not None
    alert = rig.sinks["backend"].got[-1]["data"]["alert"]
    assert opened.weekday() < 5
    assert 9 <= opened.hour < 17
    assert alert["since"] < alert["opened_at"]


async def test_what_is_found_again_after_the_store_lost_its_last_commits_has_the_same_ids(make, account):
    rig = make(rule("remind: 2m"))
    await rig.poll(times=2)
    for status in ("needs_attention", "completed", "needs_attention"):
        account.set_status("conn_1", "gc_1", status)
        before = {
            key: (await rig.redis.type(key), await rig.redis.dump(key)) for key in await rig.redis.keys()
        }
        await rig.poll(times=1)
        await rig.deliver()
        first = [
            (body["type"], body["data"]["id"], body["data"]["alert"]["id"])
            for body in rig.sinks["backend"].got
        ]
        await rig.redis.flushall()
        for key, (_, value) in before.items():
            await rig.redis.restore(key, 0, value)
        rig.sinks["backend"].got.clear()
        rig.restart()
        await rig.poll()
        await rig.deliver()
        again = [
            (body["type"], body["data"]["id"], body["data"]["alert"]["id"])
            for body in rig.sinks["backend"].got
        ]
        assert again == first[-len(again) :]
        assert len(again) == 1
        rig.sinks["backend"].got.clear()


async def test_a_poll_in_which_nothing_changed_asks_the_store_nothing_more_for_alerts(make, account):
    plain = make(reports())
    await plain.poll(times=4)
    without = await commands(plain)
    await plain.redis.flushall()
    rig = make(rule("for: 10m, remind: 1h"))
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll(times=2)
    assert await commands(rig) == without


async def test_an_alert_hash_that_is_spoilt_is_said_and_loses_nothing(make, account):
    rig = make(rule())
    await rig.poll(times=2)
    await rig.redis.hset(rig.keys.alerts, "odd", "not json")
    rig.restart()
    account.set_status("conn_1", "gc_1", "needs_attention")
    result = await rig.poll()
    assert result.outcome == "failed"
    assert "alerts" in result.reason
    await rig.redis.hdel(rig.keys.alerts, "odd")
    await rig.poll()
    assert await alerts(rig) == [("opened", "gc_1")]


async def test_closed_alerts_are_forgotten_after_thirty_days(make, account):
    rig = make(rule())
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll()
    account.set_status("conn_1", "gc_1", "completed")
    await rig.poll()
    assert len(await rig.store.alerts()) == 1
    rig.clock.advance(timedelta(days=30).total_seconds())
    await rig.poll()
    assert await rig.store.alerts() == {}


async def test_closed_alerts_of_what_is_gone_are_forgotten_too(make, account):
    rig = make(rule())
    await rig.poll(times=2)
    for n in (1, 2):
        account.set_status(f"conn_{n}", f"gc_{n}", "needs_attention")
    await rig.poll()
    account.drop("conn_1")
    account.set_status("conn_2", "gc_2", "completed")
    await rig.poll(times=3)
    rig.config = make(reports()).config
    rig.restart()
    await rig.poll()
    assert len(await rig.store.alerts()) == 2
    rig.clock.advance(timedelta(days=30).total_seconds())
    await rig.poll()
    assert await rig.store.alerts() == {}
