from __future__ import annotations

import random
from datetime import timedelta

import pytest

from notifier.core.retry import SLACK_SCHEDULE, WEBHOOK_SCHEDULE, Verdict, decide
from notifier.errors import PermanentFailure, SinkFault, TemporaryFailure

S = timedelta(seconds=1)
DAY = timedelta(days=1)


def verdict(error, attempts=1, age=timedelta(), sink_failures=1, schedule=WEBHOOK_SCHEDULE, seed=0):
    return decide(
        error,
        attempts=attempts,
        age=age,
        sink_failures=sink_failures,
        schedule=schedule,
        rng=random.Random(seed),
    )


def test_no_error_is_delivered():
    assert verdict(None).verdict is Verdict.DELIVERED


def test_the_webhook_schedule_is_followed_with_up_to_a_fifth_of_jitter():
    for attempt, planned in enumerate(WEBHOOK_SCHEDULE, start=1):
        for seed in range(50):
            outcome = verdict(TemporaryFailure("http_503", "x"), attempt, seed=seed)
            assert outcome.verdict is Verdict.RETRY
            assert planned <= outcome.delay <= planned * 1.2


def test_after_the_schedule_the_delivery_is_dead():
    after = len(WEBHOOK_SCHEDULE) + 1
    assert verdict(TemporaryFailure("http_503", "x"), after, age=4 * DAY).verdict is Verdict.DEAD


def test_attempts_that_were_brought_forward_do_not_end_the_schedule_early():
    after = len(WEBHOOK_SCHEDULE) + 1
    assert verdict(TemporaryFailure("http_503", "x"), after, age=S).verdict is Verdict.RETRY


def test_slack_is_tried_for_three_days():
    assert timedelta(days=2, hours=23) < sum(SLACK_SCHEDULE, timedelta()) <= timedelta(days=3, hours=1)
    assert SLACK_SCHEDULE[:4] == (5 * S, 15 * S, 60 * S, 300 * S)


def test_an_empty_schedule_is_dead_at_once():
    assert verdict(TemporaryFailure("timeout", "x"), schedule=()).verdict is Verdict.DEAD


@pytest.mark.parametrize(
    ("asked", "at_least", "at_most"),
    [(1, 5, 6), (60, 60, 60), (7200, 3600, 3600)],
)
def test_retry_after_is_obeyed_up_to_an_hour(asked, at_least, at_most):
    outcome = verdict(TemporaryFailure("http_429", "x", retry_after=timedelta(seconds=asked)))
    assert timedelta(seconds=at_least) <= outcome.delay <= timedelta(seconds=at_most)


def test_the_fault_of_a_message_is_final():
    assert verdict(PermanentFailure("http_400", "x")).verdict is Verdict.DEAD


def test_the_fault_of_a_sink_holds_it_and_is_probed_ever_more_rarely_up_to_half_a_minute():
    delays = [verdict(SinkFault("http_401", "x"), sink_failures=n).delay for n in range(1, 9)]
    assert all(
        verdict(SinkFault("http_401", "x"), attempts=99, age=9 * DAY).verdict is Verdict.HOLD for _ in "x"
    )
    assert delays == sorted(delays)
    assert 5 * S <= delays[0] <= 6 * S
    assert 30 * S <= delays[-1] <= 36 * S


def test_a_sink_that_nobody_reaches_is_held_from_the_second_round_on():
    refused = TemporaryFailure("refused", "x", unreachable=True)
    assert verdict(refused, sink_failures=1).verdict is Verdict.RETRY
    assert verdict(refused, sink_failures=2).verdict is Verdict.HOLD
    assert verdict(TemporaryFailure("http_503", "x"), sink_failures=9).verdict is Verdict.RETRY


def test_a_receiver_that_throttles_everything_is_left_in_peace_for_so_long():
    throttled = TemporaryFailure("ratelimited", "x", retry_after=30 * S, throttled=True)
    assert verdict(throttled).rest == 30 * S
    assert verdict(TemporaryFailure("ratelimited", "x", throttled=True)).rest >= 5 * S
    assert verdict(TemporaryFailure("http_429", "x", retry_after=30 * S)).rest == timedelta()


def test_an_outage_is_felt_for_where_that_is_wanted_and_the_receiver_did_not_say_when():
    rng = random.Random(0)
    told = {"attempts": 4, "age": DAY, "sink_failures": 9, "schedule": WEBHOOK_SCHEDULE, "rng": rng}
    outcome = decide(TemporaryFailure("http_503", "x"), **told, probes=True)
    assert outcome.verdict is Verdict.RETRY
    assert 30 * S <= outcome.probe <= 36 * S
    assert outcome.delay >= 2 * 3600 * S, "its own turn stays as it was"
    assert not decide(TemporaryFailure("http_503", "x"), **told).probe
    asked = TemporaryFailure("http_503", "x", retry_after=60 * S)
    assert not decide(asked, **told, probes=True).probe
