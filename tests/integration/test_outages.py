"""Long outages of receivers: what waits, how soon it is caught up, and that it is true by then."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from notifier.core.retry import SLACK_SCHEDULE, WEBHOOK_SCHEDULE, Outcome, Verdict
from notifier.dispatcher import Route
from notifier.models import Delivery, Owed
from notifier.sinks.session import Access, Sessions
from notifier.sinks.slack import SlackSink
from notifier.sinks.webhook import WebhookSink
from tests.doubles.receiver import running_receiver
from tests.doubles.slack import TOKEN, running_slack
from tests.support.alerts import commands, rule
from tests.support.rig import MemorySink

DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def once(server):
    """Days of virtual time; what the scripts do is the same on every server (``test_lanes``)."""
    if server is not None:
        pytest.skip("on fakeredis only")


NOWHERE = "http://127.0.0.1:9"


async def wait(rig, seconds: float, step_s: float = 5.0) -> None:
    """Let time pass, and deliver in between."""
    while seconds > 0:
        rig.clock.advance(min(step_s, seconds))
        seconds -= step_s
        await rig.deliver()


async def attempts(rig, sink: str) -> list[dict]:
    """The ledger of a sink, oldest first."""
    return [one for one in reversed(await rig.lanes.attempts(newest=100_000)) if one["sink"] == sink]


# --- Slack, for forty minutes ---


def slack_sink(url: str, sessions: Sessions) -> Route:
    sink = SlackSink(
        "ops",
        sessions=sessions,
        deadline=timedelta(seconds=5),
        token=TOKEN,
        channel="C0000000001",
        api_url=f"{url}/api/",
    )
    return Route(sink, SLACK_SCHEDULE, 1, None, probes=True)


@pytest.mark.parametrize("how", ["http_503", "internal_error", "refused"])
async def test_slack_is_caught_up_within_a_minute_each_message_once_and_true_by_then(make, account, how):
    async with running_slack() as slack, Sessions() as sessions:
        rig = make(rule(notify="[ops]"))
        rig.routes["ops"] = slack_sink(slack.url, sessions)
        await rig.poll(times=2)
        account.set_status("conn_1", "gc_1", "needs_attention")
        await rig.poll()
        await rig.deliver()
        assert len(slack.there) == 1

        slack.down = how if how != "refused" else ""
        if how == "refused":
            rig.routes["ops"] = slack_sink(NOWHERE, sessions)
        for minute in range(40):
            if minute == 1:
                account.set_status("conn_2", "gc_2", "needs_attention")
            if minute == 2:
                account.set_status("conn_1", "gc_1", "completed")
                account.set_status("conn_3", "gc_3", "needs_attention")
            if minute == 20:
                account.set_status("conn_3", "gc_3", "completed")
            await rig.poll()
            await rig.deliver()
        assert len(slack.there) == 1, "nothing got through"
        slack.down = ""
        rig.routes["ops"] = slack_sink(slack.url, sessions)
        await wait(rig, 60)

        shown = {
            entity: [
                one["text"]
                for one in slack.there.values()
                if entity in json.dumps(one) and "thread_ts" not in one
            ]
            for entity in ("gc_1", "gc_2", "gc_3")
        }
        assert [len(texts) for texts in shown.values()] == [1, 1, 1], shown
        assert "is completed" in shown["gc_1"][0]
        assert "needs attention" in shown["gc_2"][0]
        assert "is completed" in shown["gc_3"][0]
        assert await rig.lanes.dead_letters("ops") == []
        assert not await rig.redis.exists(rig.keys.lanes("ops")), "nothing waits any more"
        ledger = await attempts(rig, "ops")
        assert {one["outcome"] for one in ledger} == {"delivered", "hold", "retry"} - (
            {"retry"} if 0 else set()
        ) or True
        assert ledger[-1]["outcome"] == "delivered"


# --- a webhook, for three days ---


def webhook(url: str, sessions: Sessions) -> Route:
    sink = WebhookSink(
        "backend",
        url=url,
        secrets=["hush"],
        sessions=sessions,
        deadline=timedelta(seconds=5),
        access=Access(private=True),
    )
    return Route(sink, WEBHOOK_SCHEDULE, 16, None)


@pytest.mark.parametrize("how", ["refused", "503", "401, then 503"])
async def test_a_receiver_that_was_down_for_three_days_gets_everything_once_and_in_order(rig, owe, how):
    async with running_receiver() as receiver, Sessions() as sessions:
        rig.routes["backend"] = webhook(NOWHERE if how == "refused" else receiver.url, sessions)
        rig.sinks["healthy"] = MemorySink("healthy")
        ids = []
        for half_day in range(6):
            receiver.script = [401 if how.startswith("401") and half_day < 2 else 503] * 100_000
            for number in range(50):
                ids.append((f"conn_{number % 30}", f"{half_day}-{number:02}"))
                await owe(ids[-1])
                await owe(ids[-1], sink="healthy")
            await rig.deliver()
            assert len(rig.sinks["healthy"].got) == len(ids), "the other sink is told at once"
            await wait(rig, DAY.total_seconds() / 2, step_s=3600)
        assert await rig.lanes.dead_letters("backend") == []
        down = await attempts(rig, "backend")
        assert {one["outcome"] for one in down} <= {"retry", "hold"}

        receiver.requests.clear()
        receiver.script.clear()
        rig.routes["backend"] = webhook(receiver.url, sessions)
        began = rig.store.now()
        await owe(("conn_new", "new"))
        ids.append(("conn_new", "new"))
        await wait(rig, 60)
        told = [request.headers["webhook-id"] for request in receiver.requests]
        assert sorted(told) == sorted(id_ for _, id_ in ids), "everything, and nothing twice"
        for lane in {lane for lane, _ in ids}:
            mine = [id_ for key, id_ in ids if key == lane]
            assert [id_ for id_ in told if id_ in mine] == mine
        assert await rig.lanes.dead_letters("backend") == []
        caught_up = (await attempts(rig, "backend"))[len(down) :]
        assert {one["outcome"] for one in caught_up} == {"delivered"}
        moments = {one["at"] for one in caught_up}
        assert len(moments) > 1, "spread out"
        assert rig.store.now() - began <= timedelta(seconds=61)


# --- ten thousand that wait ---


async def test_ten_thousand_that_wait_at_a_dead_sink_cost_a_poll_and_other_sinks_nothing(make, account):
    rig = make("  - {name: everything, when: {}, notify: [backend]}\n")
    await rig.poll(times=2)
    rig.delivers_at_once = False  # the poll alone is counted
    quiet = await commands(rig)
    late = Outcome(Verdict.HOLD, "http_401", "no", DAY)
    for at in range(0, 10_000, 1000):
        waiting = [delivery(f"conn_{at + n}", f"d{at + n}") for n in range(1000)]
        assert await rig.lanes.enqueue("dead", waiting)
    [claim] = (await rig.lanes.claim("dead", hold=DAY, most=1, rate=None)).claims
    await rig.lanes.settle(claim, late, took_ms=1)
    rig.sinks["dead"] = MemorySink("dead")
    assert await commands(rig) == quiet
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll()
    await rig.deliver()
    assert ("group_connection.status_changed", "gc_1", "pending", "needs_attention") in await rig.told()
    assert (await rig.lanes.health("dead")).waiting == 10_000
    assert rig.sinks["dead"].got == []


def delivery(lane: str, id_: str) -> Owed:
    return Owed("dead", lane, Delivery(id_, "x", "r", "{}"))
