"""Trials on all cores: a list of them cut into pieces, each piece in a forked process."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from typing import TypeVar

from tests.proof.tally import Tally

T = TypeVar("T")


def spread(
    work: Callable[[Sequence[T]], Tally],
    trials: Sequence[T],
    say: Callable[[str], None],
    *,
    piece: int = 50,
    processes: int | None = None,
) -> Tally:
    """The sum of ``work`` over all pieces of ``trials``; in this process where one piece is all there is.

    ``work`` must be a function of a module, and makes and ends what it needs (a server, a directory) itself.
    """
    pieces = [trials[at : at + piece] for at in range(0, len(trials), piece)]
    total, done = Tally(), 0
    if len(pieces) == 1:
        return work(trials)
    with multiprocessing.get_context("fork").Pool(processes or os.cpu_count() or 1) as pool:
        for tally in pool.imap_unordered(work, pieces):
            total.merge(tally)
            done += tally.trials
            say(f"{done:,} of {len(trials):,} trials")
    return total


def quietly(_text: str) -> None:
    """For ``say`` where nobody listens."""
