"""Lanes, claims and settling: who may send what when, on fakeredis and on real servers."""

from __future__ import annotations

from datetime import timedelta

import pytest

from notifier.core.retry import Outcome, Verdict

S = timedelta(seconds=1)
HOLD = 15 * S
DELIVERED = Outcome(Verdict.DELIVERED)


def retry(delay=5 * S, reason="http_503"):
    return Outcome(Verdict.RETRY, reason, "later", delay)


def hold(delay=5 * S):
    return Outcome(Verdict.HOLD, "http_401", "the key is wrong", delay)


@pytest.fixture
def claim(rig):
    async def claim(most: int = 16, rate: float | None = None):
        batch = await rig.lanes.claim("backend", hold=HOLD, most=most, rate=rate)
        return list(batch.claims), batch.wait

    return claim


def ids(claimed):
    return [item.delivery.id for item in claimed[0]]


async def settle(rig, item, outcome=DELIVERED) -> bool:
    return await rig.lanes.settle(item, outcome, took_ms=1)


async def test_a_lane_gives_its_deliveries_one_by_one_and_in_order(rig, owe, claim):
    await owe(("a", "a1"), ("b", "b1"), ("a", "a2"))
    first = await claim()
    assert sorted(ids(first)) == ["a1", "b1"]
    assert ids(await claim()) == []
    for item in first[0]:
        assert await settle(rig, item)
    second = await claim()
    assert ids(second) == ["a2"]
    assert await settle(rig, second[0][0])
    assert await claim() == ([], None)
    assert not await rig.redis.keys("*lane*")


async def test_a_failing_lane_holds_up_no_other_and_keeps_its_order(rig, owe, claim, clock):
    await owe(("a", "a1"), ("b", "b1"))
    (a, b), _ = await claim()
    await settle(rig, a, retry(60 * S))
    await owe(("a", "a2"))
    await settle(rig, b)
    claimed, wait = await claim()
    assert claimed == []
    assert timedelta() < wait <= 60 * S
    clock.advance(61)
    assert ids(await claim()) == ["a1"]


async def test_a_claim_that_nobody_settles_ends_by_itself_and_counts(rig, owe, claim, clock):
    await owe(("a", "a1"))
    (lost,), _ = await claim()
    clock.advance(19)
    assert ids(await claim()) == []
    clock.advance(2)
    (again,), _ = await claim()
    assert (again.delivery.id, lost.claims, again.claims) == ("a1", 1, 2)
    assert not await settle(rig, lost)
    assert await settle(rig, again, retry())
    clock.advance(6)
    (third,), _ = await claim()
    assert (third.claims, third.attempts) == (1, 1)


async def test_a_settle_that_arrives_twice_changes_nothing_the_second_time(rig, owe, claim):
    await owe(("a", "a1"), ("a", "a2"))
    (item,), _ = await claim()
    assert await settle(rig, item)
    assert not await settle(rig, item)
    assert ids(await claim()) == ["a2"]


async def test_giving_a_claim_back_counts_for_nothing(rig, owe, claim):
    await owe(("a", "a1"))
    for _ in range(5):
        (item,), _ = await claim()
        assert (item.claims, item.attempts) == (1, 0)
        await rig.lanes.release(item)


async def test_a_suspect_is_left_where_it_is_until_it_is_asked_for_alone(rig, owe, claim, clock):
    await owe(("a", "suspect"))
    lanes = rig.lanes
    for _ in range(2):
        await lanes.claim("backend", hold=HOLD, most=1, rate=None)
        clock.advance(21)
    await owe(("b", "b1"))
    batch = await lanes.claim("backend", hold=HOLD, most=9, rate=None, suspected=2)
    assert ([item.delivery.id for item in batch.claims], batch.suspects) == (["b1"], 1)
    batch = await lanes.claim("backend", hold=HOLD, most=9, rate=None, suspected=2)
    assert (batch.claims, batch.suspects) == ((), 1)
    alone = await lanes.claim("backend", hold=HOLD, most=9, rate=None, suspected=2, alone=True)
    assert [(item.delivery.id, item.claims) for item in alone.claims] == [("suspect", 3)]


async def test_a_fault_of_the_sink_pauses_it_keeps_everything_and_probes_with_one_lane(
    rig, owe, claim, clock
):
    await owe(*((f"k{n}", f"d{n}") for n in range(5)))
    (first, *others), _ = await claim()
    await settle(rig, first, hold(5 * S))
    for item in others:
        await settle(rig, item, hold(5 * S))
    assert (await rig.lanes.health("backend")).failures == 1  # side by side counts once
    assert ids(await claim()) == []
    clock.advance(6)
    (probe,), _ = await claim()
    assert ids(await claim()) == []
    await settle(rig, probe, hold(60 * S))
    clock.advance(30)
    assert ids(await claim()) == []
    clock.advance(31)
    (probe,), _ = await claim()
    assert probe.attempts == 0
    await settle(rig, probe)
    assert len(ids(await claim())) == 4
    health = await rig.lanes.health("backend")
    assert (health.failures, health.paused_until, health.dead) == (0, None, 0)


async def test_a_probe_whose_worker_died_is_followed_by_another(rig, owe, claim, clock):
    await owe(("a", "a1"), ("b", "b1"))
    for item in (await claim())[0]:
        await settle(rig, item, hold(5 * S))
    clock.advance(6)
    assert len(ids(await claim())) == 1
    clock.advance(21)
    assert len(ids(await claim())) == 1


async def test_the_first_success_after_failures_makes_waiting_lanes_due_spread_over_ten_seconds(
    rig, owe, claim, clock
):
    await owe(*((f"k{n}", f"d{n}") for n in range(20)))
    for _ in range(3):
        for item in (await claim(most=20))[0]:
            await settle(rig, item, retry(3600 * S))
        clock.advance(3601)
    (one, *rest), _ = await claim(most=20)
    for item in rest:
        await settle(rig, item, retry(3600 * S))
    await settle(rig, one)
    clock.advance(5)
    early = len(ids(await claim(most=20)))
    clock.advance(6)
    late = len(ids(await claim(most=20)))
    assert early + late == 19
    assert 5 <= early <= 14


async def test_waking_never_touches_a_lane_that_is_under_way(rig, owe, claim, clock):
    await owe(*((f"k{n}", f"d{n}") for n in range(3)))
    for _ in range(3):
        for item in (await claim())[0]:
            await settle(rig, item, retry(60 * S))
        clock.advance(61)
    (one, under_way, _), _ = await claim()
    await settle(rig, one)
    assert await settle(rig, under_way)


async def test_one_bad_message_among_good_ones_keeps_to_its_schedule(rig, owe, claim, clock):
    await owe(("bad", "bad1"))
    (bad,), _ = await claim()
    await settle(rig, bad, retry(3600 * S))
    for n in range(5):
        await owe(("good", f"g{n}"))
        (good,), _ = await claim()
        assert good.delivery.id == f"g{n}"
        await settle(rig, good)
        clock.advance(60)
    assert ids(await claim()) == []


async def test_a_rate_gives_one_lane_at_a_time(rig, owe, claim, clock):
    await owe(*((f"k{n}", f"d{n}") for n in range(3)))
    assert len(ids(await claim(rate=1.0))) == 1
    claimed, wait = await claim(rate=1.0)
    assert (claimed, wait) == ([], 1 * S)
    clock.advance(1)
    assert len(ids(await claim(rate=1.0))) == 1


async def test_a_dead_delivery_lies_in_the_dead_letters_and_lets_the_next_pass(rig, owe, claim):
    await owe(("a", "a1"), ("a", "a2"))
    (item,), _ = await claim()
    await settle(rig, item, Outcome(Verdict.DEAD, "http_400", "refused", status=400))
    (letter,) = await rig.lanes.dead_letters("backend")
    assert (letter.delivery.id, letter.reason, letter.attempts, letter.key) == ("a1", "http_400", 1, "a")
    assert ids(await claim()) == ["a2"]


async def test_replayed_letters_go_behind_what_waits_and_only_once(rig, owe, claim):
    await owe(("a", "a1"), ("a", "a2"))
    (item,), _ = await claim()
    await settle(rig, item, Outcome(Verdict.DEAD, "http_400", "refused"))
    letters = await rig.lanes.dead_letters("backend")
    assert await rig.lanes.replay("backend", letters) == 1
    assert await rig.lanes.replay("backend", letters) == 0
    order = []
    while (claimed := await claim())[0]:
        order += ids(claimed)
        await settle(rig, claimed[0][0])
    assert order == ["a2", "a1"]
    assert await rig.lanes.dead_letters("backend") == []


async def test_an_operator_can_switch_a_sink_off_and_on(rig, owe, claim):
    await owe(("a", "a1"))
    await rig.lanes.switch_off("backend", "maintenance")
    assert await claim() == ([], None)
    await rig.lanes.switch_on("backend")
    assert ids(await claim()) == ["a1"]


async def test_resuming_tries_what_waits_at_once_but_not_what_is_under_way(rig, owe, claim):
    await owe(("a", "a1"), ("b", "b1"))
    (a, b), _ = await claim()
    await settle(rig, a, hold(60 * S))
    await rig.lanes.switch_on("backend")
    assert ids(await claim()) == ["a1"]
    assert await settle(rig, b)


async def test_dropping_a_sink_leaves_nothing_of_it(rig, owe, claim):
    await owe(("a", "a1"), ("b", "b1"))
    (item, _), _ = await claim()
    await settle(rig, item, Outcome(Verdict.DEAD, "http_400", "refused"))
    assert await rig.lanes.known_sinks() == {"backend"}
    await rig.lanes.drop("backend")
    assert await rig.lanes.known_sinks() == set()
    assert not [key for key in await rig.redis.keys("*") if b"backend" in key]


async def test_the_ledger_tells_every_attempt(rig, owe, claim, clock):
    await owe(("a", "a1"))
    await settle(rig, (await claim())[0][0], retry(5 * S))
    clock.advance(6)
    await settle(rig, (await claim())[0][0])
    ledger = await rig.lanes.attempts(newest=10)
    assert [(entry["attempt"], entry["outcome"], entry["reason"]) for entry in ledger] == [
        (2, "delivered", ""),
        (1, "retry", "http_503"),
    ]


async def test_a_sink_that_asked_for_rest_gives_nothing_until_then(rig, owe, claim, clock):
    await owe(("a", "a1"), ("b", "b1"))
    (first,), _ = await claim(most=1)
    throttled = Outcome(Verdict.RETRY, "ratelimited", "slow down", 30 * S, rest=30 * S)
    await settle(rig, first, throttled)
    claimed, wait = await claim()
    assert (claimed, wait) == ([], 30 * S)
    clock.advance(30)
    assert sorted(ids(await claim())) == ["a1", "b1"]


async def test_a_probe_that_was_given_back_is_made_again_at_once(rig, owe, claim, clock):
    await owe(("a", "a1"))
    await settle(rig, (await claim())[0][0], hold(5 * S))
    clock.advance(6)
    (probe,), _ = await claim()
    await rig.lanes.release(probe)
    assert ids(await claim()) == ["a1"]


async def test_poison_says_nothing_about_the_sink(rig, owe, claim, clock):
    await owe(("a", "a1"), ("b", "b1"))
    (a, b), _ = await claim()
    await settle(rig, b, hold(60 * S))
    await settle(rig, a, Outcome(Verdict.DEAD, "poison", "x"))
    assert (await rig.lanes.health("backend")).paused_until is not None
    assert ids(await claim()) == []


async def test_the_longer_of_two_rests_counts(rig, owe, claim, clock):
    await owe(("a", "a1"), ("b", "b1"))
    (a, b), _ = await claim()
    await settle(rig, a, Outcome(Verdict.RETRY, "http_429", "", 600 * S, rest=600 * S))
    await settle(rig, b, Outcome(Verdict.RETRY, "http_429", "", 5 * S, rest=1 * S))
    clock.advance(10)
    assert ids(await claim()) == []


async def test_what_is_no_delivery_costs_the_others_nothing(rig, owe, claim):
    await rig.redis.zadd(rig.keys.lanes("backend"), {"0": 2, "empty": 2})
    await rig.redis.rpush(rig.keys.lane("backend", "0"), "rubbish")
    await owe(("a", "a1"))
    claimed, _ = await claim()
    assert [(item.delivery.id, item.claims, item.delivery.is_unreadable) for item in claimed] == [
        ("", 1, True),
        ("a1", 1, False),
    ]
    assert await rig.redis.zscore(rig.keys.lanes("backend"), "empty") is None


# --- what all workers together have under way ---


async def claim_of_two(rig, most: int = 16):
    batch = await rig.lanes.claim("backend", hold=HOLD, most=most, rate=None, concurrency=2)
    return list(batch.claims), batch.wait


async def test_all_workers_together_have_no_more_under_way_than_the_sink_allows(rig, owe):
    await owe(*((f"k{n}", f"d{n}") for n in range(5)))
    (first,), _ = await claim_of_two(rig, most=1)
    assert len((await claim_of_two(rig))[0]) == 1
    claimed, wait = await claim_of_two(rig)
    assert (claimed, wait) == ([], S), "another worker has the places; it is asked again soon"
    assert await settle(rig, first)
    (second,), _ = await claim_of_two(rig)
    await rig.lanes.release(second)
    assert len((await claim_of_two(rig))[0]) == 1


async def test_the_places_of_a_dead_worker_are_free_when_its_claims_have_ended(rig, owe, clock):
    await owe(("a", "a1"), ("b", "b1"))
    dead, _ = await claim_of_two(rig)
    clock.advance(19)
    assert (await claim_of_two(rig))[0] == []
    clock.advance(2)
    again, _ = await claim_of_two(rig)
    assert len(again) == 2
    assert not any([await settle(rig, item) for item in dead]), "and their settles give no places back"
    assert await rig.redis.zcard(rig.keys.claims("backend")) == 2


@pytest.mark.parametrize("outcome", [DELIVERED, retry(), hold(), Outcome(Verdict.DEAD, "http_422", "no")])
async def test_every_end_of_an_attempt_gives_its_place_back(rig, owe, outcome):
    await owe(("a", "a1"))
    [item], _ = await claim_of_two(rig)
    assert await settle(rig, item, outcome)
    assert not await rig.redis.exists(rig.keys.claims("backend"))


async def test_where_nothing_gets_through_one_lane_at_a_time_is_tried_before_its_turn(rig, owe, claim, clock):
    await owe(*((f"k{n}", f"d{n}") for n in range(4)))
    late = Outcome(Verdict.RETRY, "http_503", "busy", 300 * S, probe=30 * S)
    for _ in range(3):  # it fails, but does not count as failing yet: each waits for its own turn
        items, _ = await claim()
        for item in items:
            await settle(rig, item, late)
        clock.advance(301)
    items, _ = await claim()
    assert len(items) == 4
    for item in items:
        await settle(rig, item, late)
    clock.advance(31)
    [probe], _ = await claim()
    await settle(rig, probe, late)
    clock.advance(31)
    [again], _ = await claim()
    await settle(rig, again)
    clock.advance(11)
    assert len((await claim())[0]) == 3, "the first success makes the others due"


async def test_a_receiver_that_says_when_is_not_tried_before(rig, owe, claim, clock):
    await owe(("a", "a1"))
    for _ in range(5):
        [item], _ = await claim()
        await settle(rig, item, Outcome(Verdict.RETRY, "http_503", "busy", 300 * S))
        clock.advance(299)
        assert (await claim())[0] == []
        clock.advance(2)
