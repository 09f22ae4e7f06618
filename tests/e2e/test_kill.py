"""SIGKILL at random moments: the bounded form of ``python -m tests.e2e.kill_run``."""

from __future__ import annotations

import random
from pathlib import Path

from tests.e2e.kill_run import KillRun


def test_loses_and_invents_nothing_when_the_worker_is_killed_again_and_again(place: Path) -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}: python -m tests.e2e.kill_run --kills 8 --transitions 40 --seed {seed}")
    verdict = KillRun(place, seed, print).run(kills=8, transitions=40)
    print(verdict)
    assert verdict.transitions >= 40
    assert verdict.is_good, verdict
