"""A state machine of source, notifier and receivers: whatever happens in whatever order, nothing is invented.

Hypothesis chooses what happens: changes, removals and returns, every kind of fault of a traversal, answers by
id, restarts, takeovers (also in the middle of a poll), approvals, a flush, failing sinks, time. After each
step the reference model judges (safety); at the end of a run everything is mended and must come to rest with
the receivers knowing what the source shows (liveness).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.proof.machine_rules import Machine
from tests.proof.machine_stage import Bench
from tests.proof.model import Wrong
from tests.proof.spread import spread
from tests.proof.tally import Proof, Tally, Verdict
from tests.support.servers import binaries, running_server

RUNS, STEPS, _PIECE = 5_000, 35, 100


def play(runs: Sequence[tuple[int, int]], *, does_shrink: bool = True) -> Tally:
    """So many runs of the machine as there are, all from the seed of the first; one that fails ends them."""
    start = int.from_bytes(hashlib.sha256(repr(runs[0]).encode()).digest()[:4], "big")
    tally = Tally()
    with running_server(binaries()["bundled"]) as path:
        bench = Bench(path)
        machine = seed(start)(type("Machine", (Machine,), {"bench": bench}))
        try:
            run_state_machine_as_test(machine, settings=_settings(len(runs), does_shrink=does_shrink))
        except Exception as error:  # noqa: BLE001 - whatever breaks a run is what the proof looks for
            _complain(tally, error, f"from the seed {start}, {len(runs)} runs")
        finally:
            bench.close()
    tally.trials, tally.faults, tally.repeats = min(bench.runs, len(runs)), bench.faults, bench.repeats
    return tally


def _settings(runs: int, *, does_shrink: bool) -> settings:
    return settings(
        max_examples=runs,
        stateful_step_count=STEPS,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        print_blob=False,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink) if does_shrink else (Phase.generate,),
    )


def _complain(tally: Tally, error: Exception, replay: str) -> None:
    """Count it where it belongs; the steps that Hypothesis found to be enough come with it."""
    verdict = Verdict()
    line = f"{type(error).__name__}: {error}" if not isinstance(error, Wrong) else str(error)
    sort = error.sort if isinstance(error, Wrong) else "broken"
    getattr(verdict, sort).append("\n    ".join([line, *getattr(error, "__notes__", ())]))
    tally.take(verdict, replay)


def run(scale: float, seed_: int, say: Callable[[str], None]) -> Tally:
    runs = [(seed_, number) for number in range(max(1, round(RUNS * scale)))]
    return spread(play, runs, say, piece=_PIECE)


PROOF = Proof(
    "machine",
    "chance lets source, poller, store and sinks do everything that they can do, and a model judges each step",
    ("P1", "P2", "P3", "P4", "P5", "P6", "P7", "P14", "P15", "P27"),
    run,
)
