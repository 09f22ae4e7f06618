"""The proof of cut files at a small scale, and what it says of stores that write otherwise."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from notifier.core import events
from notifier.poller.baseline import Baseline
from notifier.store.state import Commit, StateStore
from tests.proof import cuts
from tests.proof.cut_recording import Recording, record
from tests.proof.cuts import Cut, try_cuts
from tests.proof.spread import quiet_log, quietly
from tests.proof.tally import Tally
from tests.support.servers import binaries

pytestmark = pytest.mark.real_redis
SEED = 7


@pytest.mark.parametrize("seed", [SEED])
def test_a_file_cut_anywhere_keeps_state_and_history_together_and_the_rest_is_found_again(seed):
    tally = cuts.run(0.004, seed, quietly)
    assert tally.is_clean, tally
    assert tally.trials > 50
    assert tally.repeats > 50, "the cuts undid nothing that had been told"


def recorded() -> Recording:
    with quiet_log():
        return record(binaries()["bundled"], SEED)


def tried(recording: Recording, places: Sequence[int], later: int = 0) -> Tally:
    with quiet_log():
        return try_cuts(recording, [Cut(at, recording.moment_at(at) + later, goes_on=True) for at in places])


def some_edges(recording: Recording, count: int) -> list[int]:
    """Ends of commands in the last commits, where a store that writes otherwise may be torn."""
    start = recording.commits[-20][0]
    ends = [command.end for command in recording.commands if command.start >= start]
    return random.Random(SEED).sample(ends, count)


def test_control_state_and_deliveries_in_two_writes_are_torn(monkeypatch):
    whole = StateStore.commit

    async def in_two(self: StateStore, lease: Any, expected: str, change: Commit) -> str:
        first = msgspec.structs.replace(change, history=(), owed=())
        version = await whole(self, lease, expected, first)
        rest = Commit(history=change.history, owed=change.owed)
        return version if rest.is_empty else await whole(self, lease, version, rest)

    monkeypatch.setattr(StateStore, "commit", in_two)
    recording = recorded()
    told = [(start, end) for start, end, moment in recording.commits[-12:] if moment]
    tally = tried(recording, [(start + end) // 2 for start, end in told])
    assert tally.broken, "the state went on without its history, and nobody saw it"
    assert tally.lost


def test_control_ids_that_depend_on_when_a_change_was_found_do_not_come_back(monkeypatch):
    def dated(step: Any, connection_id: str, origin: Any) -> str:
        return events._hash(origin.epoch, connection_id, step.id, step.revision, origin.seen_at)

    monkeypatch.setattr(events, "event_id", dated)
    recording = recorded()
    tally = tried(recording, some_edges(recording, 12))
    assert tally.lost
    assert tally.invented


def test_control_a_baseline_that_counts_as_one_before_it_is_whole_tells_what_was_there(monkeypatch):
    def too_early(self: Baseline) -> dict[str, Any]:
        return {
            "epoch": "early",
            "baseline": "",
            "base_url": self._settings.base_url,
            "api_version": self._settings.api_version,
            "counts": {"connection": len(self._shown) - len(self._pending)},
        }

    monkeypatch.setattr(Baseline, "_mark", too_early)
    recording = recorded()
    baseline = [end for _, end, moment in recording.commits if not moment]
    tally = tried(recording, baseline[:-2])
    assert tally.lost
    assert tally.broken
