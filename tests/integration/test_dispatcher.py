"""The dispatcher on real lanes: what it sends alone, gives up, gives back."""

from __future__ import annotations

import asyncio
import random
from datetime import timedelta

import pytest

from notifier.core.retry import WEBHOOK_SCHEDULE
from notifier.dispatcher import Dispatcher, Route
from notifier.errors import PermanentFailure, SinkFault, StoreUnavailable, TemporaryFailure
from notifier.models import Delivery, Owed, Part
from notifier.sinks.contract import Receipt
from notifier.store.lanes import CLAIM_MARGIN
from notifier.store.state import Commit

HOLD = timedelta(seconds=15)


class Gate:
    """A sink that reports who is in it and lets nobody out before it is told to."""

    def __init__(self, name: str = "backend") -> None:
        self.name = name
        self.deadline = HOLD
        self.inside: list[str] = []
        self.most_at_once = 0
        self.entered = asyncio.Event()
        self.open = asyncio.Event()
        self.cancelled: list[str] = []
        self.sent: list[str] = []

    async def send(self, delivery, attempt) -> Receipt:
        self.inside.append(delivery.id)
        self.most_at_once = max(self.most_at_once, len(self.inside))
        self.entered.set()
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled.append(delivery.id)
            raise
        finally:
            self.inside.remove(delivery.id)
        self.sent.append(delivery.id)
        return Receipt()

    async def probe(self) -> str:
        return ""

    async def close(self) -> None:
        return None


def dispatcher(rig, *sinks, concurrency=4):
    routes = {sink.name: Route(sink, WEBHOOK_SCHEDULE, concurrency, None) for sink in sinks}
    return Dispatcher(routes, rig.lanes, rig.still, random.Random(1))


async def test_everything_arrives_in_order_per_lane(rig, owe):
    await owe(*((f"k{n % 7}", f"{n:03}") for n in range(100)))
    await rig.deliver()
    assert sorted(rig.got()) == [f"{n:03}" for n in range(100)]
    for lane in range(7):
        mine = [id_ for id_ in rig.got() if int(id_) % 7 == lane]
        assert mine == sorted(mine)


async def test_a_temporary_failure_is_sent_again_with_the_same_id(rig, owe, clock):
    await owe(("a", "a1"), ("a", "a2"))
    rig.sinks["backend"].errors = [TemporaryFailure("http_503", "busy")]
    await rig.deliver()
    assert rig.got() == []
    clock.advance(7)
    await rig.deliver()
    assert rig.got() == ["a1", "a2"]


async def test_the_fault_of_a_message_costs_that_message(rig, owe):
    await owe(("a", "a1"), ("a", "a2"))
    rig.sinks["backend"].errors = [PermanentFailure("http_400", "no")]
    await rig.deliver()
    assert rig.got() == ["a2"]
    (letter,) = await rig.lanes.dead_letters("backend")
    assert (letter.delivery.id, letter.reason) == ("a1", "http_400")


async def test_the_fault_of_a_sink_costs_nothing(rig, owe, clock):
    await owe(*((f"k{n}", f"d{n}") for n in range(40)))
    rig.sinks["backend"].errors = [SinkFault("http_401", "key") for _ in range(30)]
    for _ in range(30):
        await rig.deliver()
        clock.advance(75)
    assert sorted(rig.got()) == sorted(f"d{n}" for n in range(40))
    assert await rig.lanes.dead_letters("backend") == []


async def test_a_defect_of_a_sink_is_a_temporary_failure(rig, owe, clock):
    await owe(("a", "a1"))
    rig.sinks["backend"].errors = [ZeroDivisionError()]
    await rig.deliver()
    clock.advance(7)
    await rig.deliver()
    assert rig.got() == ["a1"]


async def test_a_slow_sink_delays_no_other(rig, owe):
    gate = Gate("slow")
    await owe(("a", "s1"), sink="slow")
    await owe(("a", "a1"))
    stop = asyncio.Event()
    running = asyncio.create_task(dispatcher(rig, gate, rig.sinks["backend"]).run(stop, timedelta(seconds=5)))
    await gate.entered.wait()
    while rig.got() != ["a1"]:
        await asyncio.sleep(0)
    assert gate.inside == ["s1"]
    gate.open.set()
    stop.set()
    await running


@pytest.mark.parametrize("places", [3, 40])
async def test_as_many_attempts_at_once_as_the_sink_allows_and_no_more(rig, owe, places):
    gate = Gate()
    await owe(*((f"k{n}", f"d{n}") for n in range(60)))
    stop = asyncio.Event()
    running = asyncio.create_task(dispatcher(rig, gate, concurrency=places).run(stop, timedelta(seconds=5)))
    async with asyncio.timeout(30):
        while len(gate.inside) < places:
            await asyncio.sleep(0)
    gate.open.set()
    while await rig.is_due():
        await asyncio.sleep(0)
    stop.set()
    await running
    assert len(gate.sent) == 60
    assert gate.most_at_once == places


async def test_a_stop_gives_attempts_under_way_back_and_counts_them_for_nothing(rig, owe):
    gate = Gate()
    await owe(("a", "a1"))
    stop = asyncio.Event()
    running = asyncio.create_task(dispatcher(rig, gate).run(stop, timedelta(0)))
    await gate.entered.wait()
    stop.set()
    await running
    assert gate.cancelled == ["a1"]
    (claim,) = (await rig.lanes.claim("backend", hold=HOLD, most=9, rate=None)).claims
    assert (claim.claims, claim.attempts) == (1, 0)


async def test_a_stop_ends_though_the_store_answers_nothing(rig, owe, monkeypatch):
    gate = Gate()
    await owe(("a", "a1"))
    stop = asyncio.Event()
    running = asyncio.create_task(dispatcher(rig, gate).run(stop, timedelta(0)))
    await gate.entered.wait()
    monkeypatch.setattr("notifier.dispatcher.LAST_WORD_S", 0.01)
    for name in ("_settle", "_claim"):
        monkeypatch.setattr(rig.lanes, name, say_nothing)
    stop.set()
    async with asyncio.timeout(20):
        await running
    assert gate.cancelled == ["a1"]


async def test_a_poller_stops_though_the_store_answers_nothing(rig, monkeypatch):
    await rig.store.sync_time()
    stop = asyncio.Event()
    stop.set()
    monkeypatch.setattr("notifier.poller.loop.LAST_WORD_S", 0.01)
    monkeypatch.setattr(rig.store, "_lease", say_nothing)
    async with asyncio.timeout(20):
        await rig.poller.run(stop)


async def say_nothing(**_kwargs) -> None:
    await asyncio.Event().wait()


async def die_under_way(rig, clock, times: int, sinks=("backend",)) -> None:
    """Claim everything and never settle, as a worker does that is killed."""
    for _ in range(times):
        for sink in sinks:
            await rig.lanes.claim(sink, hold=HOLD, most=9, rate=None)
        clock.advance(21)


async def test_a_delivery_whose_claim_ended_twice_is_sent_alone(rig, owe, clock):
    await owe(("a", "suspect"))
    await die_under_way(rig, clock, 2)
    await owe(*((f"k{n}", f"d{n}") for n in range(3)))
    gate = Gate()
    stop = asyncio.Event()
    running = asyncio.create_task(dispatcher(rig, gate, concurrency=9).run(stop, timedelta(seconds=5)))
    seen = []
    gate.open.set()
    original = gate.send

    async def watching(delivery, attempt):
        seen.append((delivery.id, list(gate.inside)))
        return await original(delivery, attempt)

    gate.send = watching
    rig.sinks = {"backend": gate}
    while await rig.is_due():
        await asyncio.sleep(0)
    stop.set()
    await running
    assert dict(seen)["suspect"] == []
    assert sorted(id_ for id_, _ in seen) == ["d0", "d1", "d2", "suspect"]
    assert all("suspect" not in inside for _, inside in seen)


async def test_a_third_claim_that_ends_without_a_settle_is_poison(rig, owe, clock):
    await owe(("a", "poison"), ("a", "next"))
    await die_under_way(rig, clock, 3)
    await rig.deliver()
    assert rig.got() == ["next"]
    (letter,) = await rig.lanes.dead_letters("backend")
    assert (letter.delivery.id, letter.reason) == ("poison", "poison")


async def test_two_deaths_and_a_success_are_forgotten(rig, owe, clock):
    await owe(("a", "a1"))
    await die_under_way(rig, clock, 2)
    await rig.deliver()
    assert rig.got() == ["a1"]


async def test_many_suspects_are_sent_one_by_one_and_none_of_them_is_taken_for_poison(rig, owe, clock):
    await owe(*((f"k{n}", f"d{n}") for n in range(9)))
    await die_under_way(rig, clock, 2)
    gate = Gate()
    rig.sinks = {"backend": gate}
    stop = asyncio.Event()
    running = asyncio.create_task(dispatcher(rig, gate, concurrency=9).run(stop, timedelta(seconds=5)))
    for _ in range(9):
        await gate.entered.wait()
        gate.entered.clear()
        assert len(gate.inside) == 1
        clock.advance(14)  # slower than their claims would last, taken together
        gate.open.set()
        while gate.inside:
            await asyncio.sleep(0)
        gate.open.clear()
    while await rig.is_due():
        await asyncio.sleep(0)
    stop.set()
    await running
    assert await rig.lanes.dead_letters("backend") == []


async def test_suspects_of_different_sinks_are_not_under_way_together(rig, owe, clock, monkeypatch):
    gates = [Gate("one"), Gate("two")]
    rig.sinks = {gate.name: gate for gate in gates}
    for name in rig.sinks:
        await owe(("a", f"suspect of {name}"), sink=name)
    await die_under_way(rig, clock, 2, tuple(rig.sinks))
    claim, looked, alone = rig.lanes.claim, set(), []

    async def watched(sink: str, **more):
        if more["alone"]:
            alone.append(sink)
        batch = await claim(sink, **more)
        looked.add(sink)
        return batch

    monkeypatch.setattr(rig.lanes, "claim", watched)
    stop = asyncio.Event()
    both = dispatcher(rig, *gates)
    running = asyncio.create_task(both.run(stop, timedelta(seconds=5)))
    while len(looked) < 2 or not any(gate.inside for gate in gates):
        await asyncio.sleep(0)
    await asyncio.sleep(0)
    first, other = sorted(gates, key=lambda gate: not gate.inside)
    assert (alone, other.inside) == ([first.name], [])
    await owe(("b", "fresh"), sink=other.name)  # what is no suspect does not wait
    both.wake({other.name})
    await other.entered.wait()
    assert other.inside == ["fresh"]
    for gate in gates:
        gate.open.set()
    while await rig.is_due():
        await asyncio.sleep(0)
    stop.set()
    await running
    assert [await rig.lanes.dead_letters(name) for name in rig.sinks] == [[], []]


async def test_a_store_that_is_away_while_attempts_end_makes_no_suspects(rig, owe, settles_fail):
    await owe(*((f"k{n}", f"d{n}") for n in range(4)))
    left = settles_fail(7, StoreUnavailable("away"))
    await rig.deliver()
    assert sorted(rig.got()) == ["d0", "d1", "d2", "d3"]
    assert not left


async def test_an_attempt_that_a_standstill_delayed_is_not_made(rig, owe, clock):
    await owe(("a", "a1"))
    claim = rig.lanes.claim
    stalls = 1

    async def claim_and_stand_still(*args, **kwargs):
        nonlocal stalls
        batch = await claim(*args, **kwargs)
        if batch.claims and stalls:
            stalls -= 1
            clock.advance(30)  # SIGSTOP, say: the claim has ended meanwhile
        return batch

    rig.lanes.claim = claim_and_stand_still
    await rig.deliver()
    assert rig.got() == ["a1"]
    assert stalls == 0
    assert [entry["outcome"] for entry in await rig.lanes.attempts(newest=9)] == ["delivered"]


async def test_an_attempt_that_the_store_delayed_is_not_made(rig, clock, redis_client):
    await rig.store.sync_time()
    lease = await rig.store.take_lease("holder", timedelta(days=9))
    reply = Delivery("d1", "x", "r", '{"id": "d1"}', None, "m1", Part.REPLY)
    await rig.store.commit(lease, "", Commit(owed=[Owed("backend", "m1", reply)]))
    claim, shown, send = rig.lanes.claim, rig.lanes.shown, rig.sinks["backend"].send
    claimed_at, sent_at, slow = [], [], [4.5, 4.5]  # each answer in time for the store, together too late

    async def claim_slowly(*args, **kwargs):
        batch = await claim(*args, **kwargs)
        if batch.claims:
            claimed_at.append(clock.monotonic())
            clock.advance(slow[0])
        return batch

    async def read_slowly(*args):
        clock.advance(slow.pop())
        slow.append(0)
        return await shown(*args)

    async def watched(delivery, attempt):
        sent_at.append(clock.monotonic())
        return await send(delivery, attempt)

    rig.lanes.claim, rig.lanes.shown, rig.sinks["backend"].send = claim_slowly, read_slowly, watched
    await rig.deliver()
    assert rig.got() == ["d1"]
    assert len(claimed_at) == 2
    assert sent_at[0] - claimed_at[-1] <= CLAIM_MARGIN.total_seconds()
    assert [entry["attempt"] for entry in await rig.lanes.attempts(newest=9)] == [1]


async def test_a_sink_that_is_renewed_sends_what_comes_next_and_the_old_one_ends_what_it_began(rig, owe):
    old, new = Gate(), Gate()
    new.open.set()
    await owe(("a", "a1"), ("a", "a2"), ("b", "b1"))
    stop = asyncio.Event()
    sending = dispatcher(rig, old, concurrency=1)
    running = asyncio.create_task(sending.run(stop, timedelta(seconds=5)))
    await old.entered.wait()
    began = list(old.inside)
    sending.renew("backend", new)
    old.open.set()
    while await rig.redis.exists(rig.keys.lanes("backend")):
        await asyncio.sleep(0)
    stop.set()
    await running
    assert (len(began), old.sent, len(new.sent)) == (1, began, 2)


async def test_a_deadline_that_is_renewed_holds_for_what_is_claimed_after_it(rig, owe, monkeypatch):
    await owe(("a", "a1"), ("b", "b1"))
    old, new = Gate(), Gate()
    new.deadline = 4 * HOLD
    sending, held, claim = dispatcher(rig, old, concurrency=1), {}, rig.lanes.claim

    async def claiming(*args, **more):
        batch = await claim(*args, **more)
        held.update({one.delivery.id: more["hold"] for one in batch.claims})
        sending.renew("backend", new)  # between the claim and what is sent by it
        return batch

    monkeypatch.setattr(rig.lanes, "claim", claiming)
    for gate in (old, new):
        gate.open.set()
    stop = asyncio.Event()
    running = asyncio.create_task(sending.run(stop, timedelta(seconds=5)))
    while await rig.redis.exists(rig.keys.lanes("backend")):
        await asyncio.sleep(0)
    stop.set()
    await running
    assert [[held[id_] for id_ in gate.sent] for gate in (old, new)] == [[old.deadline], [new.deadline]]
