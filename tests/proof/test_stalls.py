"""Stalls at a small scale, and a notifier that does not notice them."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from notifier import worker
from notifier.poller import loop
from notifier.web import health
from notifier.web.health import Health
from tests.proof.spread import quietly
from tests.proof.stalls import SCENES, play, run

SEED = 20261123


def wrong(*names: str) -> dict[str, list[str]]:
    """What is missing in these scenes."""
    return {name: asyncio.run(play(name, SEED)).broken for name in names}


def test_everything_that_stands_still_shows():
    tally = run(1 / 25, SEED, quietly)
    assert tally.is_clean, f"seed {SEED}: {tally}"
    assert tally.trials == tally.faults == len(SCENES) >= 12


STUCK = (
    "poll stuck in source",
    "poll stuck in store",
    "poll stuck in health",
    "replica that holds and does not poll",
)
SILENT = ("source down", "source partial", "snapshot held", "state moves", *STUCK)
FOR_A_PERSON = ("sink hangs", "sink paused", "dead letters", "guard tripped")
TOLD = ("source down", "source refuses", "store flushed", "snapshot held", *FOR_A_PERSON)
OWED = ("nobody delivers", "claim that never ends")


def test_control_readiness_that_only_knows_what_polls_told_misses_a_poll_that_never_ends(monkeypatch):
    age = lambda self: None if self._last is None else self._last.complete_age_s  # noqa: E731
    monkeypatch.setattr(Health, "_complete_age_s", age)
    assert all(wrong(*STUCK[:3]).values())


def test_control_without_the_limit_of_three_intervals_silence_is_readiness(monkeypatch):
    monkeypatch.setattr(health, "SILENT_INTERVALS", 10**9)
    assert all(wrong(*SILENT).values())


def test_control_without_the_limit_of_three_intervals_silence_is_not_told(monkeypatch):
    monkeypatch.setattr(loop, "SILENT_INTERVALS", 10**9)
    assert all(wrong("source down", "source partial", "source never seen").values())


def test_control_without_problems_nobody_is_asked_to_look(monkeypatch):
    monkeypatch.setattr(loop, "_problems", lambda _facts: ())
    assert all(wrong(*FOR_A_PERSON).values())


def test_control_without_reports_nobody_is_told(monkeypatch):
    monkeypatch.setattr(loop, "decide", lambda told, _facts: (dict(told), []))
    assert all(wrong(*TOLD).values())


def test_control_with_a_report_in_every_poll_it_is_told_too_often(monkeypatch):
    original = loop.decide
    monkeypatch.setattr(loop, "decide", lambda _told, facts: original({}, facts))
    assert all(wrong("source down", "dead letters", "guard tripped").values())


def test_control_without_a_limit_what_is_owed_waits_unseen(monkeypatch):
    monkeypatch.setattr(loop, "OVERDUE_S", 10**9)
    assert all(wrong(*OWED).values())


def test_control_a_store_that_fails_and_counts_as_a_standby_is_not_seen(monkeypatch):
    original = Health.polled

    def mild(self, result):
        original(self, msgspec.structs.replace(result, outcome=result.outcome.replace("failed", "standby")))

    monkeypatch.setattr(Health, "polled", mild)
    assert wrong("store away")["store away"]


@pytest.mark.parametrize("part", ["poller", "dispatcher", "sweeper"])
def test_control_a_part_whose_end_is_overlooked_leaves_a_worker_that_only_looks_alive(monkeypatch, part):
    original = worker._must_run

    async def forgiving(running, stop, name):
        try:
            await running
        except RuntimeError:
            await stop.wait()
        await stop.wait()

    real_wait_for = asyncio.wait_for
    assert not any(wrong(f"the {part} fails", f"the {part} ends").values())
    monkeypatch.setattr(worker, "_must_run", forgiving)
    monkeypatch.setattr(asyncio, "wait_for", lambda work, _seconds: real_wait_for(work, 0.1))
    assert all(wrong(f"the {part} fails", f"the {part} ends").values())
    assert original is not forgiving
