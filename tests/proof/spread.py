"""Trials on all cores: a list of them cut into pieces, each piece in a forked process."""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from typing import TypeVar

import structlog

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
        with quiet_log():
            return work(trials)
    fork = multiprocessing.get_context("fork")
    with quiet_log(), ProcessPoolExecutor(processes or os.cpu_count(), mp_context=fork) as pool:
        for future in as_completed([pool.submit(work, part) for part in pieces]):
            tally = future.result()
            total.merge(tally)
            done += tally.trials
            say(f"{done:,} of {len(trials):,} trials")
    return total


def quietly(_text: str) -> None:
    """For ``say`` where nobody listens."""


@contextmanager
def quiet_log() -> Iterator[None]:
    """The notifier logs nothing while the block runs: tens of thousands of trials would drown the verdict."""
    before = structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)
