"""What a proof counts, and what a proof is."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

MAX_COMPLAINTS = 20


class Verdict(msgspec.Struct):
    """What is wrong after one trial, a line each. ``broken`` is what is neither lost, invented nor misordered."""

    lost: list[str] = []
    invented: list[str] = []
    misordered: list[str] = []
    broken: list[str] = []
    repeats: int = 0

    @property
    def is_good(self) -> bool:
        return not (self.lost or self.invented or self.misordered or self.broken)

    def lines(self) -> list[str]:
        return [
            f"{name}: {line}"
            for name in ("lost", "invented", "misordered", "broken")
            for line in getattr(self, name)
        ]


class Tally(msgspec.Struct):
    """Sums over the trials of a proof. ``complaints`` are the first things that were wrong, with a replay."""

    trials: int = 0
    faults: int = 0
    lost: int = 0
    invented: int = 0
    misordered: int = 0
    broken: int = 0
    repeats: int = 0
    complaints: list[str] = []

    def take(self, verdict: Verdict, replay: str, *, faults: int = 1) -> None:
        """Count one trial; ``replay`` says how to see it again (a seed, a point, a name)."""
        self.trials += 1
        self.faults += faults
        self.lost += len(verdict.lost)
        self.invented += len(verdict.invented)
        self.misordered += len(verdict.misordered)
        self.broken += len(verdict.broken)
        self.repeats += verdict.repeats
        self.complain(f"{replay}: {line}" for line in verdict.lines()[:3])

    def complain(self, lines: Iterable[str]) -> None:
        self.complaints = [*self.complaints, *lines][:MAX_COMPLAINTS]

    def merge(self, other: Tally) -> None:
        """Add another tally."""
        for name in ("trials", "faults", "lost", "invented", "misordered", "broken", "repeats"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.complain(other.complaints)

    @property
    def is_clean(self) -> bool:
        return not (self.lost or self.invented or self.misordered or self.broken)

    def __str__(self) -> str:
        counts = (
            f"{self.trials} trials, {self.faults} faults, {self.lost} lost, {self.invented} invented, "
            f"{self.misordered} misordered, {self.broken} broken, {self.repeats} repeats"
        )
        return "\n  ".join([counts, *self.complaints])


class Proof(msgspec.Struct, frozen=True):
    """A way to try some promises.

    ``run(scale, seed, say)`` makes the trials: all at ``scale`` 1, a part of them below (never none); ``seed``
    decides what chance decides; ``say`` is told now and then how it goes.
    """

    name: str
    what: str
    promises: tuple[str, ...]
    run: Callable[[float, int, Callable[[str], None]], Tally]
