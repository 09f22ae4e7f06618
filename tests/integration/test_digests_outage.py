"""What a digest says of a time in which nobody looked, where outages and digests meet."""

from __future__ import annotations

from datetime import timedelta

from tests.integration.test_digests import REFUSED, begin, told, until

__all__ = ["begin"]  # a fixture


async def test_the_recovery_that_let_a_digest_be_told_is_no_outage_of_the_next(begin, account, monkeypatch):
    rig = await begin("skip_empty: true")
    await until(rig, 19, 8)
    account.answer = lambda _request, _page: REFUSED
    await until(rig, 19, 8, 58)
    await rig.poll(times=8)
    account.answer = lambda _request, _page: None
    asked = rig.poller._sink_facts

    async def takes_a_moment(sink: str):
        rig.clock.advance(0.02)  # so the report comes after the digest, as on any clock but this one
        return await asked(sink)

    monkeypatch.setattr(rig.poller, "_sink_facts", takes_a_moment)
    await rig.poll()
    before = len(told(rig))
    assert before, "the digest of the outage is told"
    end = rig.store.now() + timedelta(hours=24)
    while rig.store.now() < end:
        rig.clock.advance(240)
        await rig.poll()
    assert told(rig)[before:] == []
