"""Floor and measured thing by turns: medians of rounds that each hold both."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Sequence

import msgspec


class Pair(msgspec.Struct, frozen=True):
    """What one round found: the floor and the measured thing, in the same unit."""

    floor: float
    measured: float


async def rounds(
    count: int, floor: Callable[[], Awaitable[float]], measured: Callable[[], Awaitable[float]]
) -> list[Pair]:
    """``count`` rounds of one after the other, in turning order, after one of each that does not count."""
    await floor()
    await measured()
    pairs = []
    for number in range(count):
        if number % 2:
            after = await measured()
            pairs.append(Pair(await floor(), after))
        else:
            before = await floor()
            pairs.append(Pair(before, await measured()))
    return pairs


def medians(pairs: Sequence[Pair]) -> tuple[float, float, float]:
    """Floor, measured, and the median of the rounds' ratios."""
    return (
        statistics.median(pair.floor for pair in pairs),
        statistics.median(pair.measured for pair in pairs),
        statistics.median(pair.measured / pair.floor for pair in pairs),
    )


def percentile(values: Sequence[float], part: float) -> float:
    """The value that ``part`` of all values do not exceed."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(part * len(ranked)))]
