"""What does not belong in the store, and a store that refuses: no worker dies of it, and nothing is said twice."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from notifier.core.retry import Outcome, Verdict
from notifier.errors import StoreError, StoreUnfit
from notifier.store import lanes


@pytest.mark.parametrize(
    "text",
    [
        "rubbish",
        "0 0 0\n" + "[" * 100_000,
        "0 0 99999999999999999999\n{}",
        "1 2\n{}",
        "1 x 0\n{}",
        "0 0 0\n{}",
        "0 0 0\nnot JSON",
        "0 0 0",
        '0 0 0\n{"id": 1}',
        "9 0 0\n\udcff",
    ],
)
async def test_what_cannot_be_read_as_a_delivery_is_a_dead_letter_and_lets_the_next_pass(rig, owe, text):
    await rig.redis.rpush(rig.keys.lane("backend", "a"), text.encode(errors="surrogateescape"))
    await owe(("a", "a1"), ("b", "b1"))
    await rig.deliver()
    assert sorted(rig.got()) == ["a1", "b1"]
    [letter] = await rig.lanes.dead_letters("backend")
    assert letter.reason == "unreadable"
    assert text[1:].replace("\udcff", "\ufffd") in letter.delivery.body
    assert await rig.lanes.replay("backend", [letter]) == 1
    await rig.deliver()
    assert [letter.reason for letter in await rig.lanes.dead_letters("backend")] == ["unreadable"]
    assert len(rig.got()) == 2


async def test_a_store_that_refuses_to_settle_makes_nothing_said_twice(rig, owe, settles_fail):
    await owe(("a", "a1"), ("a", "a2"))
    left = settles_fail(20, StoreError("NOPERM"))
    await rig.deliver()
    assert rig.got() == ["a1", "a2"]
    assert not left


async def test_what_this_release_cannot_read_is_replayed_as_it_was(rig, owe, monkeypatch):
    await owe(("a", "a1"))
    other_release = msgspec.json.Decoder(int)  # which knows no such thing
    monkeypatch.setattr(lanes, "_read_delivery", other_release)
    await rig.deliver()
    monkeypatch.undo()
    letters = await rig.lanes.dead_letters("backend")
    assert [letter.reason for letter in letters] == ["unreadable"]
    await rig.lanes.replay("backend", letters)
    await rig.deliver()
    assert rig.got() == ["a1"]


async def test_a_lane_that_somebody_takes_away_while_it_is_sent_is_no_error(rig, owe):
    await owe(("a", "a1"))
    [claim] = (await rig.lanes.claim("backend", hold=timedelta(seconds=9), most=9, rate=None)).claims
    await rig.redis.delete(rig.keys.lane("backend", "a"))
    for outcome in (Outcome(Verdict.DELIVERED), Outcome(Verdict.DEAD, "http_422", "no")):
        assert not await rig.lanes.settle(claim, outcome, took_ms=1)
    assert not await rig.lanes.release(claim)
    assert await rig.lanes.dead_letters("backend") == []
    assert await rig.redis.zcard(rig.keys.lanes("backend")) == 0


async def test_a_sink_whose_keys_are_spoilt_is_reported_and_stops_no_poll(rig, many):
    await rig.poll()
    await rig.redis.hset(rig.keys.sink("backend"), "failures", "rubbish")
    many.set_status("conn_01", "gc_01_a", "completed")
    result = await rig.poll()
    assert result.outcome == "complete"
    assert any("cannot be read" in problem for problem in result.problems)
    await rig.redis.delete(rig.keys.sink("backend"))
    assert len(await rig.transitions()) == 1


@pytest.mark.parametrize("field", ["deaths", "failures", "next_at", "failing_since", "paused_until"])
async def test_a_health_that_somebody_else_wrote_is_an_error_that_says_where(rig, owe, field):
    await owe(("a", "a1"))
    await rig.redis.hset(rig.keys.sink("backend"), field, "rubbish")
    with pytest.raises(StoreUnfit, match="sink:backend"):
        await rig.lanes.health("backend")
