"""Digests: told once for each of their times, over restarts and outages, with what happened since the last."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from notifier.core import schedule
from notifier.errors import StoreUnavailable
from notifier.poller import digesting
from notifier.sinks.slack_message import render
from tests.integration.test_silences import silence
from tests.support.alerts import NEEDS, REFUSED, SINKS, alerts, rule
from tests.support.configs import config_with
from tests.support.rig import Rig

DAILY = "  - {name: daily, at: daily 09:00, timezone: UTC, notify: [ops, backend]%s}\n"


def digests(more: str = "", text: str = DAILY) -> str:
    return "\ndigests:\n" + text % (more and f", {more}")


@pytest.fixture
def begin(make):
    """A replica with these digests that has looked twice, at noon on a Wednesday."""

    async def begin(more: str = "", rules: str = "", text: str = DAILY, **settings: Any) -> Rig:
        rig = make(rules or rule(), digests(more, text), **settings)
        await rig.store.sync_time()
        await until(rig, 18, 12, polls=False)
        await rig.poll(times=2)
        return rig

    return begin


async def until(rig: Rig, day: int, hour: int, minute: int = 0, *, polls: bool = True) -> None:
    """Let time pass until shortly before this moment of November, and look there."""
    ahead = datetime(2026, 11, day, hour, minute, tzinfo=UTC) - rig.store.now()
    assert ahead > timedelta()
    rig.clock.advance(ahead.total_seconds() - 60)
    if polls:
        await rig.poll()


def told(rig: Rig, sink: str = "ops") -> list[dict[str, Any]]:
    """The data of the digests that a sink has got."""
    return [body["data"] for body in rig.sinks[sink].got if body["type"] == "alert.digest"]


def trouble(account, *which: int, status: str = "needs_attention") -> None:
    for n in which:
        account.set_status(f"conn_{n}", f"gc_{n}", status)


async def test_a_digest_tells_what_is_open_and_what_happened_since_the_last(begin, account):
    rig = await begin()
    meta = await rig.store.meta()
    assert (list(meta.watched), list(meta.digests)) == (["needs"], ["daily"])  # both by the first look
    trouble(account, 0, 1, 2, 3)
    await until(rig, 18, 14)
    trouble(account, 0, status="completed")
    await until(rig, 18, 15)
    trouble(account, 1, status="processing")
    await until(rig, 18, 17)
    trouble(account, 5)
    for hour in range(18, 24):  # so that nobody was away for long
        await until(rig, 18, hour)
    assert told(rig) == []
    trouble(account, 4)  # what the same poll sees is told as well
    await until(rig, 19, 9)
    [first] = told(rig)
    assert ("opened", "gc_4") in await alerts(rig, "ops")
    assert (first["opened"], first["existing"], first["open"]) == (6, 0, 4)
    assert first["ended"] == {"completed": 1, "moved": 1, "removed": 0, "rule": 0}
    assert first["median_s"] == 2 * 3600  # of one hour and three
    assert first["carriers"] == [
        {"id": "carr_0", "name": "Guardian", "open": 2},
        {"id": "carr_1", "name": "Guardian", "open": 2},
    ]
    assert [one["data"]["entity"]["id"] for one in first["entries"]] == ["gc_2", "gc_3", "gc_5", "gc_4"]
    assert not any("id" in one["data"] for one in first["entries"])  # no such event was sent
    assert first["period"][1] == "2026-11-19T09:00:00.000Z"
    assert not first["digest"]["is_late"]
    trouble(account, 2, 3, 4, 5, status="completed")
    await until(rig, 19, 12)
    await until(rig, 20, 9)
    second = told(rig)[1]
    assert (second["opened"], second["open"], second["ended"]["completed"]) == (0, 0, 4)
    assert second["period"][0] == first["period"][1]
    assert told(rig, "backend")[1]["id"] == second["id"] != first["id"]


async def test_the_first_digest_begins_where_watching_did_or_a_turn_before(begin, make):
    rig = await begin()
    baseline = (await rig.store.history(newest=100))[-1]
    assert baseline["type"] == "notifier.baseline"
    await until(rig, 19, 9)
    assert told(rig)[0]["period"][0] == baseline["timestamp"]
    assert not told(rig)[0]["at_least"]
    rig.config = make(rule(), digests(text=DAILY.replace("name: daily", "name: other"))).config
    rig.restart()
    await until(rig, 19, 13)
    assert "other" in (await rig.store.meta()).digests
    await until(rig, 20, 9)
    assert told(rig)[-1]["period"][0] == "2026-11-19T09:00:00.000Z"
    assert [one["digest"]["name"] for one in told(rig)] == ["daily", "other"]
    assert list((await rig.store.meta()).digests) == ["other"]  # what has left the configuration is forgotten


async def test_what_was_there_at_the_first_look_is_counted_apart(make, account):
    trouble(account, 1, 2)
    rig = make(rule(), digests())
    await rig.poll(times=2)
    await until(rig, 19, 9)
    [data] = told(rig)
    assert (data["opened"], data["existing"], data["open"], data["median_s"]) == (0, 2, 2, None)
    assert "2 were there already" in render(rig.sinks["ops"].got[-1]).text


async def test_each_time_is_told_once_over_restarts_takeovers_and_quiet_polls(begin, account, redis_client):
    rig = await begin()
    other = Rig(redis_client, rig.clock, account, rig.config)
    other.sinks = rig.sinks
    await until(rig, 19, 9)
    for replica in (rig, other, rig):
        rig.clock.advance(10)  # the lease of the other has ended
        replica.restart()
        await replica.poll(times=2)
        await replica.deliver()
    assert len(told(rig)) == 1
    await until(rig, 20, 9, polls=False)
    await other.poll()
    await rig.deliver()
    assert [one["digest"]["due_at"][:10] for one in told(rig)] == ["2026-11-19", "2026-11-20"]


@pytest.mark.parametrize("after", [0, 1])
async def test_a_poll_that_was_cut_off_before_its_last_commit_told_nothing(
    begin, account, commits_fail, after
):
    rig = await begin()
    trouble(account, 1)
    allow = commits_fail(rig, after)
    await until(rig, 19, 9)
    assert told(rig) == []
    allow(100)
    rig.restart()
    await rig.poll(times=2)
    [data] = told(rig)
    assert (data["opened"], data["open"]) == (1, 1)
    assert data["digest"]["due_at"] == "2026-11-19T09:00:00.000Z"


async def test_a_commit_whose_reply_was_lost_tells_once(begin, account, monkeypatch):
    rig = await begin()
    commit = rig.store.commit

    async def losing(*given):
        await commit(*given)
        raise StoreUnavailable("the reply was lost")

    monkeypatch.setattr(rig.store, "commit", losing)
    await until(rig, 19, 9)
    monkeypatch.setattr(rig.store, "commit", commit)
    await rig.poll(times=3)
    assert len(told(rig)) == 1


async def test_after_an_outage_over_several_times_one_digest_tells_of_all_of_it_and_that_it_is_late(
    begin, account
):
    rig = await begin()
    await until(rig, 19, 9)
    trouble(account, 1)
    await until(rig, 19, 10)
    await until(rig, 22, 12)  # three times have passed
    await rig.poll(times=3)
    first, second = told(rig)
    assert second["period"] == [first["period"][1], "2026-11-22T12:00:00.000Z"]
    assert second["digest"] == {"name": "daily", "due_at": "2026-11-20T09:00:00.000Z", "is_late": True}
    assert (second["opened"], second["open"]) == (1, 1)
    assert "This comes late: it was due 2026-11-20 09:00 UTC" in render(rig.sinks["ops"].got[-1]).text
    await until(rig, 23, 9)
    assert told(rig)[2]["digest"]["due_at"] == "2026-11-23T09:00:00.000Z"


async def test_time_passes_only_when_everything_was_seen(begin, account):
    rig = await begin()
    account.answer = lambda _request, _page: REFUSED
    await until(rig, 19, 9)
    await until(rig, 19, 9, 30)
    assert told(rig) == []
    account.answer = lambda _request, _page: None
    await until(rig, 19, 10)
    [data] = told(rig)
    assert not data["digest"]["is_late"]  # not by more than an hour
    [span] = [span for span in data["blind"] if span[1] == "2026-11-19T10:00:00.000Z"]
    assert span[0] < "2026-11-19T09:00:00.000Z"


async def test_says_when_the_source_could_not_be_read_and_when_nobody_looked(begin, account):
    rig = await begin()
    account.answer = lambda _request, _page: REFUSED
    await rig.poll(times=24)
    account.answer = lambda _request, _page: None
    await rig.poll(times=2)
    await until(rig, 18, 15)
    trouble(account, 1)  # what is seen after a gap shows that there was one
    await until(rig, 18, 16)
    await rig.poll()
    await until(rig, 19, 9)
    assert told(rig)[0]["blind"] == [
        ["2026-11-18T12:02:00.000Z", "2026-11-18T12:26:00.000Z"],
        ["2026-11-18T15:00:00.000Z", "2026-11-18T16:00:00.000Z"],
        ["2026-11-18T16:01:00.000Z", "2026-11-19T09:00:00.000Z"],
    ]
    assert told(rig)[0]["blind_s"] == (24 + 60 + 16 * 60 + 59) * 60
    text = "from 2026-11-18 16:01 UTC for 16 h 59 min (in all 18 h 23 min)"
    assert text in str(render(rig.sinks["ops"].got[-1]).blocks)


async def test_a_history_that_does_not_reach_back_or_is_too_long_is_said(begin, account, monkeypatch):
    rig = await begin(history=timedelta(hours=12))
    await until(rig, 19, 9)
    await until(rig, 20, 9)
    assert [one["at_least"] for one in told(rig)] == [False, True]  # the first begins with watching
    assert "At least 0 opened" in render(rig.sinks["ops"].got[-1]).text
    rig.restart(history=timedelta(days=30))
    monkeypatch.setattr(digesting, "_MOST_READ", 2)
    for status in ("needs_attention", "completed") * 2:
        trouble(account, 1, status=status)
        await rig.poll()
    await until(rig, 21, 9)
    assert told(rig)[2]["at_least"]


async def test_only_the_alerts_of_its_rules_are_told(begin, account):
    other = rule(name="busy", what=NEEDS.replace("needs_attention", "processing"), notify="[backend]")
    rig = await begin("rules: [busy]", rule() + other)
    trouble(account, 1)
    trouble(account, 2, 3, status="processing")
    await until(rig, 18, 14)
    trouble(account, 2, status="needs_attention")
    await until(rig, 19, 9)
    [data] = told(rig)
    assert (data["opened"], data["open"], data["ended"]["moved"]) == (2, 1, 1)
    assert [one["data"]["entity"]["id"] for one in data["entries"]] == ["gc_3"]


async def test_nothing_is_said_of_nothing_where_that_is_asked_for(begin, account):
    rig = await begin("skip_empty: true", interval=timedelta(hours=3))
    await until(rig, 18, 15)
    await until(rig, 19, 9)
    assert told(rig) == []
    await until(rig, 20, 9)
    trouble(account, 1)
    await until(rig, 20, 12)
    trouble(account, 1, status="completed")
    await until(rig, 20, 13)
    await until(rig, 21, 9)
    trouble(account, 2)
    await until(rig, 21, 12)
    await until(rig, 22, 9)
    await until(rig, 23, 9)
    assert [one["opened"] for one in told(rig)] == [1, 1, 0]  # nothing happened, but something is open
    data = told(rig)[0]  # nothing is open, but something happened
    assert (data["opened"], data["open"], data["period"][0]) == (1, 0, "2026-11-20T09:00:00.000Z")


async def test_something_is_said_of_nothing_where_nobody_looked(begin):
    rig = await begin("skip_empty: true")
    await until(rig, 19, 9)
    assert len(told(rig)) == 1


async def test_digests_that_are_due_together_have_their_own_periods(begin, account):
    both = DAILY + DAILY.replace("name: daily", "name: weekly").replace("at: daily", "at: fri").replace(
        "%s", ""
    )
    rig = await begin(text=both)
    trouble(account, 1)
    await until(rig, 18, 14)
    await until(rig, 19, 9)
    trouble(account, 2)
    await until(rig, 20, 9)
    assert [(one["digest"]["name"], one["opened"]) for one in told(rig)] == [
        ("daily", 1),
        ("daily", 1),
        ("weekly", 2),
    ]


async def test_what_is_not_ours_in_the_history_is_passed_over(begin, account):
    rig = await begin()
    trouble(account, 1)
    await until(rig, 18, 14)
    for event in (b"{", b"[]", b'{"type": 1}'):
        await rig.redis.xadd(rig.keys.history, {"event": event})
    await rig.redis.xadd(rig.keys.history, {"other": "x"})
    await until(rig, 19, 9)
    assert told(rig)[0]["opened"] == 1


async def test_goes_to_the_channel_that_is_named_and_keeps_to_itself_what_the_sink_excludes(
    make, account, redis_client
):
    text = '  - {name: daily, at: daily 09:00, timezone: UTC, notify: ["ops#dental", backend]%s}\n'
    sinks = SINKS.replace("{type: console}", "{type: console, exclude: [carrier]}")
    plain = make(rule())
    rig = Rig(redis_client, plain.clock, account, config_with(rule(), sinks, digests(text=text)))
    await rig.poll(times=2)
    trouble(account, 1)
    await until(rig, 19, 9)
    [attempt] = await redis_client.lrange(rig.keys.lane("ops", "digest:daily#dental"), 0, -1)
    assert b'"target":"#dental"' in attempt
    await rig.deliver()
    assert told(rig)[0]["carriers"]
    [data] = told(rig, "backend")
    assert "carriers" not in data
    assert "carr_" not in str(data["entries"])


async def test_nothing_is_open_is_said_kindly(begin):
    rig = await begin(interval=timedelta(hours=3))  # so that nobody was away for long
    await until(rig, 19, 9)
    text = render(rig.sinks["ops"].got[-1]).text
    assert "daily: nothing is open" in text
    assert "All is well" in text


async def test_other_times_count_from_when_they_are_read_and_lose_nothing_of_the_period(begin, make):
    rig = await begin()
    await until(rig, 19, 9)
    rig.config = make(rule(), digests(text=DAILY.replace("09:00", "11:00"))).config
    rig.restart()
    await until(rig, 19, 13)  # past the new time of the day: that was not one yet
    assert len(told(rig)) == 1
    await until(rig, 20, 11)
    first, second = told(rig)
    assert second["period"][0] == first["period"][1]


async def test_silences_and_hours_do_not_hold_a_digest_up_and_what_they_hush_counts_as_open(make, account):
    rig = make(rule(), digests())
    await rig.poll(times=2)
    await silence(rig, 90, rule="needs")
    trouble(account, 1)
    await rig.poll()
    await until(rig, 19, 9)
    [data] = told(rig)
    assert data["open"] == 1


async def test_a_quiet_poll_asks_redis_for_nothing_more_and_counts_no_time(make, monkeypatch):
    async def asked_by(rig: Rig) -> list[str]:
        """The commands of a quiet poll."""
        rig.delivers_at_once = False
        await rig.poll(times=3)
        found: list[str] = []
        execute = type(rig.redis).execute_command

        async def noting(redis, *given, **more):
            found.append(str(given[0]))
            return await execute(redis, *given, **more)

        with monkeypatch.context() as patch:
            patch.setattr(type(rig.redis), "execute_command", noting)
            patch.setattr(schedule.Schedule, "next_after", lambda *_given: found.append("time was counted"))
            assert (await rig.poll()).outcome == "complete"
        return found

    rig = make(rule())
    plain = await asked_by(rig)
    rig.config = make(rule(), digests()).config
    rig.restart()
    assert await asked_by(rig) == plain
    assert len(plain) > 3


async def test_times_and_holidays_are_those_of_the_only_calendar(make):
    text = "  - {name: west, at: 'mon,thu 09:00', notify: [ops]%s}\n"
    office = "calendars: {office: {timezone: America/New_York, holidays: 2026-11-26}}\n"  # the Thursday
    rig = make(rule(), digests(text=text) + office)
    await rig.poll(times=2)
    for day, hour in ((19, 13), (19, 14), (23, 14), (26, 14), (26, 20), (27, 14)):
        await until(rig, day, hour)
    assert [one["digest"]["due_at"] for one in told(rig)] == [
        "2026-11-19T14:00:00.000Z",
        "2026-11-23T14:00:00.000Z",
        "2026-11-27T14:00:00.000Z",
    ]
