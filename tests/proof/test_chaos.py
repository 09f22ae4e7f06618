"""A short chaos run, and the same with notifiers that have a defect: the run must find it."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest

import notifier
from tests.proof.chaos import PROOF, TRANSITIONS, Chaos, Size
from tests.proof.chaos_faults import DECK
from tests.proof.spread import quietly
from tests.proof.tally import Verdict
from tests.support.process import end_processes_of

pytestmark = pytest.mark.timeout(400)  # a machine that is very busy: it ends within 20 s on a free one

SMALL = 150
#: Nothing fails but the flaky receiver, and its lanes are long when it is tried again: enough for a defect that
#: shows whenever an attempt fails, for some 18 attempts fail.
CALM = msgspec.structs.replace(
    Size.of(0), transitions=110, connections=20, faults=0, chance=0.0, rate=40, rest_s=60, retry_s=3
)
MARK = "0.0.0+patched"


@pytest.fixture
def place() -> Iterator[Path]:
    with TemporaryDirectory(prefix="ntf-chaos-", dir="/tmp") as directory:
        yield Path(directory)


def test_tells_every_transition_once_and_in_order_whatever_fails() -> None:
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}: python -m tests.proof chaos --scale {SMALL / TRANSITIONS} --seed {seed}")
    tally = PROOF.run(SMALL / TRANSITIONS, seed, quietly)
    assert tally.is_clean, tally
    assert tally.trials == SMALL
    assert tally.faults >= len(DECK), "each kind of fault happened"


def test_control_a_worker_that_settles_before_it_sends_is_found(place: Path) -> None:
    verdict = patched(
        place,
        "dispatcher.py",
        "        error, receipt = await self._send(held)\n",
        "        await self._settle(claim, Outcome(Verdict.DELIVERED), 0.0)\n"
        "        error, receipt = await self._send(held)\n",
    )
    assert any("flaky never got" in line for line in verdict.lost), verdict.lines()


def test_control_a_worker_that_retries_behind_what_waits_is_found(place: Path) -> None:
    verdict = patched(
        place,
        "store/lua/settle.lua",
        "  try(function() return {'LSET', lane, 0, delivery} end, 'LSET', lane, 0, kept)\n",
        "  redis.call('LPOP', lane)\n  redis.call('RPUSH', lane, kept)\n",
    )
    assert any(line.startswith("flaky:") for line in verdict.misordered), verdict.lines()


def patched(place: Path, file: str, old: str, new: str) -> Verdict:
    """The verdict on a run of a copy of the notifier in which ``old`` is ``new``."""
    copy = place / "patched"
    shutil.copytree(
        Path(notifier.__file__).parent, copy / "notifier", ignore=shutil.ignore_patterns("__pycache__")
    )
    replace(copy / "notifier" / file, old, new)
    replace(copy / "notifier" / "__init__.py", notifier.__version__, MARK)
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    chaos = Chaos(place, seed, CALM, quietly, {"PYTHONPATH": str(copy)})
    try:
        told = chaos.run()
    finally:
        end_processes_of(place)
    ran = {version for replica in chaos.replicas for version in replica.versions()}
    assert ran == {MARK}, "the copy is what ran"
    return told.verdict


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, f"{path} has changed: patch it otherwise"
    path.write_text(text.replace(old, new))
