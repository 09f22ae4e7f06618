"""The proof of moving lists at a small scale, and pollers that believe too much."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

import pytest

from notifier.clasp.client import ClaspClient
from notifier.core.absences import Absences
from notifier.core.removals import Guard
from tests.proof.django_lists import ORDERINGS, TRAVERSALS, Trial, watched
from tests.proof.spread import quiet_log
from tests.proof.tally import Tally

pytestmark = pytest.mark.real_redis
SEED = 9
BY_MODIFICATION = ORDERINGS.index(("-modified",))


def watch(*numbers: int, seed: int = SEED) -> tuple[Tally, Counter[str]]:
    """The trials in a process of their own: Django is configured in it, and ends with it."""
    fork = multiprocessing.get_context("fork")
    trials: Sequence[Trial] = [Trial(seed, number) for number in numbers]
    with quiet_log(), ProcessPoolExecutor(1, mp_context=fork) as pool:
        return pool.submit(watched, trials).result(100)


@pytest.mark.parametrize("seed", [SEED])
def test_a_django_list_that_moves_while_it_is_read_makes_no_false_removal_and_loses_no_change(seed):
    tally, came_to = watch(*range(len(ORDERINGS)), seed=seed)
    assert tally.is_clean, tally
    missed, twice = came_to.pop("missed"), came_to.pop("missed twice")
    assert missed > tally.trials, "the lists did not move enough to prove anything"
    assert twice, "two absences in a row would have proven a removal"
    assert sum(came_to.values()) == TRAVERSALS * tally.trials
    assert all(came_to[what] for what in ("complete", "held", "404", "goes in a circle")), came_to


async def is_gone(_self: ClaspClient, _id: str) -> None:
    return None


def test_control_a_poller_that_believes_one_absence_removes_what_is_there(monkeypatch):
    monkeypatch.setattr(Absences, "missed", lambda _self, keys, _at, _last_seen=None: set(keys))
    monkeypatch.setattr(ClaspClient, "connection", is_gone)
    tally, _ = watch(BY_MODIFICATION)
    assert any("was never gone" in line for line in tally.complaints), tally


def test_control_a_poller_that_believes_two_absences_without_asking_removes_what_is_there(monkeypatch):
    monkeypatch.setattr(ClaspClient, "connection", is_gone)
    tally, _ = watch(BY_MODIFICATION)
    assert any("was never gone" in line for line in tally.complaints), tally


@pytest.mark.parametrize("most", [2, 1000])
def test_control_a_guard_that_holds_too_early_or_never_is_seen(monkeypatch, most):
    monkeypatch.setattr(Guard, "limit", lambda _self, _known: most)
    tally, _ = watch(BY_MODIFICATION)
    assert tally.broken, tally
