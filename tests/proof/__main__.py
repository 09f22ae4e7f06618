"""``python -m tests.proof``: runs the proofs that are named, or all, and prints what each promise withstood."""

from __future__ import annotations

import argparse
import importlib
import random
import sys
import time
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from tests.proof.promises import promises
from tests.proof.tally import Proof, Tally

#: Modules of this package, each with a ``PROOF``: the quickest to tell something first.
PROOFS = (
    "hostile",
    "forgery",
    "canaries",
    "bombs",
    "stalls",
    "django_lists",
    "paused",
    "crashes",
    "lost_replies",
    "cuts",
    "machine",
    "simulation",
    "chaos",
)
_SAY_EVERY_S = 10.0
_WIDTH = 150  # of the tables in a pipe


class Progress:
    """One line that changes on a terminal; a line now and then in a pipe."""

    def __init__(self, console: Console, name: str) -> None:
        self._console = console
        self._name = name
        self._began = self._said = time.monotonic()

    def __call__(self, text: str) -> None:
        now = time.monotonic()
        line = f"{self._name}: {text} ({now - self._began:.0f} s)"
        if self._console.is_terminal:
            self._console.print(line, end="\r", overflow="crop", no_wrap=True, highlight=False, markup=False)
        elif now - self._said >= _SAY_EVERY_S:
            self._said = now
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.proof", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PROOFS)} (default: all)")
    parser.add_argument("--scale", type=float, default=1.0, help="the part of the trials to make (default 1)")
    parser.add_argument("--seed", type=int, help="what chance begins from (default: chosen, and printed)")
    given = parser.parse_args()
    if unknown := set(given.names) - set(PROOFS):
        parser.error(f"there is no proof {', '.join(sorted(unknown))}; there are {', '.join(PROOFS)}")
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    console, began = Console(), time.monotonic()
    if not console.is_terminal:
        console.width = _WIDTH
    console.print(f"seed {seed}", highlight=False)
    tallies: list[tuple[Proof, Tally, float]] = []
    for name in given.names or PROOFS:
        proof: Proof = importlib.import_module(f"tests.proof.{name}").PROOF
        console.print(f"{name}: {proof.what}", highlight=False, markup=False, soft_wrap=True)
        started = time.monotonic()
        tally = proof.run(given.scale, seed, Progress(console, name))
        tallies.append((proof, tally, time.monotonic() - started))
        console.print(f"{name}: {tally}", highlight=False, markup=False, soft_wrap=True)
    console.print(_by_proof(tallies), _by_promise(tallies))
    is_clean = all(tally.is_clean and tally.trials for _, tally, _ in tallies)
    verdict = "nothing lost, invented or misordered" if is_clean else "NOT CLEAN: see the complaints above"
    console.print(f"{verdict}; {time.monotonic() - began:.0f} s, seed {seed}", highlight=False)
    return 0 if is_clean else 1


_COUNTS: tuple[tuple[str, Callable[[Tally], int]], ...] = (
    ("trials", lambda tally: tally.trials),
    ("faults", lambda tally: tally.faults),
    ("lost", lambda tally: tally.lost),
    ("invented", lambda tally: tally.invented),
    ("misordered", lambda tally: tally.misordered),
    ("broken", lambda tally: tally.broken),
    ("repeats", lambda tally: tally.repeats),
)


def _by_proof(tallies: list[tuple[Proof, Tally, float]]) -> Table:
    table = _table("proof", "s")
    for proof, tally, seconds in tallies:
        table.add_row(proof.name, f"{seconds:.0f}", *(f"{count(tally):,}" for _, count in _COUNTS))
    return table


def _by_promise(tallies: list[tuple[Proof, Tally, float]]) -> Table:
    """The sums over the proofs that try a promise; a proof that tries several counts for each."""
    table = _table("promise", "proofs")
    for number, words in promises().items():
        mine = [(proof, tally) for proof, tally, _ in tallies if number in proof.promises]
        total = Tally()
        for _, tally in mine:
            total.merge(tally)
        if mine:
            names = ", ".join(proof.name for proof, _ in mine)
            table.add_row(f"{number} {words}", names, *(f"{count(total):,}" for _, count in _COUNTS))
        elif len(tallies) == len(PROOFS):
            table.add_row(f"{number} {words}", "make test")
    return table


def _table(first: str, second: str) -> Table:
    table = Table()
    table.add_column(first, no_wrap=True)
    table.add_column(second)
    for name, _ in _COUNTS:
        table.add_column(name, justify="right")
    return table


if __name__ == "__main__":
    sys.exit(main())
