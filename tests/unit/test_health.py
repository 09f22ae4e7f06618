from __future__ import annotations

from datetime import timedelta

import aiohttp
import pytest

from notifier.core.reports import SinkFacts
from notifier.core.results import AttemptResult, PollResult
from notifier.core.retry import Outcome, Verdict
from notifier.errors import ConfigError
from notifier.web.health import Health
from notifier.web.server import serve

COMPLETE = PollResult("complete", connections=3, complete_age_s=1.0, known={"connection": 3})


@pytest.fixture
def health(clock):
    return Health(clock, timedelta(seconds=60))


def test_is_not_ready_before_the_first_poll(health):
    assert health.readiness().status == "stalled"


def test_is_ready_after_a_complete_poll_and_stalled_three_intervals_later(health, clock):
    health.polled(COMPLETE)
    assert health.readiness().status == "ready"
    clock.advance(170)
    assert health.readiness().status == "ready"
    clock.advance(15)
    stalled = health.readiness()
    assert stalled.status == "stalled"
    assert "no complete snapshot" in stalled.problems[0]


def test_partial_polls_do_not_renew_readiness_and_their_reason_is_shown(health, clock):
    health.polled(COMPLETE)
    for _ in range(4):
        clock.advance(60)
        health.polled(PollResult("partial", "Clasp answered 500"))
    assert health.readiness().status == "stalled"
    assert "Clasp answered 500" in health.readiness().problems[0]


def test_what_needs_a_person_is_told_and_does_not_stall(health):
    health.polled(PollResult("complete", complete_age_s=0.0, problems=("sink ops has 2 dead letters",)))
    readiness = health.readiness()
    assert (readiness.status, readiness.problems) == ("degraded", ("sink ops has 2 dead letters",))


def test_a_store_that_does_not_answer_stalls(health):
    health.polled(COMPLETE)
    health.polled(PollResult("failed", "connection refused"))
    assert health.readiness().status == "stalled"
    health.polled(COMPLETE)
    assert health.readiness().status == "ready"


def test_a_standby_is_ready_as_long_as_the_other_polls(health, clock):
    health.polled(PollResult("standby", complete_age_s=20.0))
    assert (health.readiness().status, health.readiness().role) == ("ready", "standby")
    health.polled(PollResult("standby", complete_age_s=200.0))
    assert health.readiness().status == "stalled"


async def test_the_three_pages_are_served(health):
    health.attempted(AttemptResult("ops", Outcome(Verdict.RETRY, "http_503"), 0.2))
    async with serve(health, "127.0.0.1", 0) as root, aiohttp.ClientSession() as session:
        assert (await session.get(f"{root}/healthz")).status == 200
        assert (await session.get(f"{root}/readyz")).status == 503
        health.polled(
            PollResult(
                "complete", complete_age_s=0.0, known={"connection": 3}, sinks={"ops": SinkFacts(dead=2)}
            )
        )
        ready = await session.get(f"{root}/readyz")
        assert (ready.status, (await ready.json())["status"]) == (200, "ready")
        text = await (await session.get(f"{root}/metrics")).text()
        for line in (
            'notifier_polls_total{outcome="complete"} 1.0',
            'notifier_known{kind="connection"} 3.0',
            'notifier_dead_letters{sink="ops"} 2.0',
            'notifier_attempts_total{outcome="retry",reason="http_503",sink="ops"} 1.0',
        ):
            assert line in text
        assert (await session.get(f"{root}/")).status == 404
        with pytest.raises(ConfigError, match="cannot listen"):
            async with serve(health, "127.0.0.1", int(root.rsplit(":", 1)[1])):
                pass
