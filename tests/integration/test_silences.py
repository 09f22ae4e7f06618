"""Silences: nobody is disturbed, nothing is dropped, and the end is one message about what is left to tell."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from notifier.core.alerts import moment_text
from notifier.core.quiet import Silence
from tests.support.alerts import alerts, rule
from tests.support.rig import Rig


async def silence(rig: Rig, hours: float, id_: str = "sil_1", **where: str) -> None:
    """A person asks for it."""
    now = rig.store.now()
    asked = Silence(id_, where, moment_text(now), moment_text(now + timedelta(hours=hours)), "Sam")
    await rig.store.write_inbox("silence", msgspec.to_builtins(asked))


async def test_what_a_silence_covers_is_told_at_its_end_in_one_message(make, account):
    rig = make(rule())
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll()
    await silence(rig, 1, carrier="carr_1")
    account.set_status("conn_3", "gc_3", "needs_attention")  # in the poll that takes the silence over
    await rig.poll()
    account.set_status("conn_1", "gc_1", "completed")
    account.set_status("conn_5", "gc_5", "needs_attention")
    account.set_status("conn_2", "gc_2", "needs_attention")  # at another carrier
    await rig.poll()
    account.set_status("conn_5", "gc_5", "processing")
    await rig.poll(times=50)
    assert await alerts(rig, "ops") == [("opened", "gc_1"), ("opened", "gc_2")]
    assert len(await alerts(rig)) == 6
    assert list(await rig.store.silences()) == ["sil_1"]
    await rig.poll(times=15)
    [net] = rig.sinks["ops"].got[2:]
    data = net["data"]
    assert (net["type"], data["opened"], data["ended"], data["passed"]) == ("alert.net", 1, 1, 1)
    assert await rig.store.silences() == {}


async def test_a_silence_can_be_ended_and_lasts_over_restarts(make, account):
    rig = make(rule())
    await rig.poll(times=2)
    await silence(rig, 5, rule="needs", employer="er_conn_1")
    await rig.poll()
    rig.restart()
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll(times=3)
    assert await alerts(rig, "ops") == []
    await rig.store.write_inbox("expire", "sil_1")
    await rig.poll()
    assert await alerts(rig, "ops") == [("opened", "gc_1")]
    assert await rig.store.silences() == {}
    assert await rig.store.inbox() == []


async def test_a_silence_that_is_asked_for_before_the_baseline_counts_after_it(make, account):
    rig = make(rule())
    await rig.store.sync_time()
    await silence(rig, 5, connection="conn_1")
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    account.set_status("conn_2", "gc_2", "needs_attention")
    await rig.poll()
    assert await alerts(rig, "ops") == [("opened", "gc_2")]


@pytest.mark.parametrize("value", [None, 7, {"id": "x"}, {"id": "x", "where": {"carrier": 3}}])
async def test_what_is_no_silence_is_left_out_and_stops_nothing(make, account, value):
    rig = make(rule())
    await rig.poll(times=2)
    for what in ("silence", "expire", "frobnicate"):
        await rig.store.write_inbox(what, value)
    account.set_status("conn_1", "gc_1", "needs_attention")
    result = await rig.poll()
    assert result.outcome == "complete"
    assert await alerts(rig, "ops") == [("opened", "gc_1")]
    assert await rig.store.inbox() == []


async def test_an_unknown_key_covers_nothing(make, account):
    rig = make(rule())
    await rig.poll(times=2)
    await silence(rig, 5, later="x")
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll()
    assert await alerts(rig, "ops") == [("opened", "gc_1")]


async def test_silences_that_are_spoilt_are_said_and_lose_nothing(make, account):
    rig = make(rule())
    await rig.poll(times=2)
    await rig.redis.hset(rig.keys.silences, "odd", "not json")
    rig.restart()
    account.set_status("conn_1", "gc_1", "needs_attention")
    result = await rig.poll()
    assert (result.outcome, "silences" in result.reason) == ("failed", True)
    await rig.redis.delete(rig.keys.silences)
    await rig.poll()
    assert await alerts(rig, "ops") == [("opened", "gc_1")]
