"""A measurement and how it is printed: what, floor, measured, ratio, goal, whether it is met."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

_HEADS = ("what", "floor", "measured", "ratio", "goal", "met")


class Row(msgspec.Struct, frozen=True):
    """One line of the table. ``goal`` bounds ``ratio``: from above, or from below with ``at_least``.

    Where ``goal`` is None the line only informs.
    """

    what: str
    floor: str
    measured: str
    ratio: float
    goal: float | None
    at_least: bool = False
    unit: str = ""  # of ratio and goal, where they are no ratio: "B", "ms"

    @property
    def is_met(self) -> bool | None:
        """Whether the goal is met; None where there is none."""
        if self.goal is None:
            return None
        return self.ratio >= self.goal if self.at_least else self.ratio <= self.goal

    def cells(self) -> tuple[str, ...]:
        """The line's texts."""
        sign = ">=" if self.at_least else "<="
        goal = "" if self.goal is None else f"{sign} {self._figure(self.goal)}"
        met = {None: "", True: "yes", False: "NO"}[self.is_met]
        return (self.what, self.floor, self.measured, self._figure(self.ratio), goal, met)

    def _figure(self, number: float) -> str:
        return f"{number:,.0f} {self.unit}" if self.unit else f"{number:.2f}"


def printed(rows: Iterable[Row]) -> str:
    """A table in Markdown, aligned."""
    lines = [_HEADS, *(row.cells() for row in rows)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(_HEADS))]
    texts = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |"
        for line in lines
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([texts[0], rule, *texts[1:]])
