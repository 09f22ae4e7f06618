"""Figures beside an alert -> words: how long it usually takes, and who else is affected. Pure, and total."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from notifier.sinks.values import at, length, moment, text

_BURST = 5  # employers at a carrier: from then on, and if it is half of them, it is rather the carrier
_LONGEST_S = 10**10


def usually(data: Any) -> str | None:
    """``1 d 4 h here (median of 23), 9 in 10 within 3 d``."""
    median, most, samples = (_number(at(data, "usual", name)) for name in ("median_s", "p90_s", "samples"))
    if median is None or most is None or not samples:
        return None
    return f"{_span(median)} here (median of {samples:,}), 9 in 10 within {_span(most)}"


def is_longer(data: Any, now: Any) -> bool:
    """Whether an alert has lasted longer than nine in ten of its kind."""
    began, then, most = (
        moment(at(data, "alert", "since")),
        moment(now),
        _number(at(data, "usual", "p90_s")),
    )
    return (
        began is not None and then is not None and most is not None and then - began > timedelta(seconds=most)
    )


def who_else(data: Any, *, end: str = "") -> str | None:
    """``3 of 14 employers at Guardian``, and the ``end`` of that sentence unless there is more to say."""
    count, of = (_number(at(data, "affected", name)) for name in ("employers", "of"))
    carrier = text(at(data, "carrier", "name")) or text(at(data, "carrier", "id"))
    if not count or not of or count > of or carrier is None:
        return None
    is_carrier = count >= _BURST and 2 * count >= of
    ending = ": looks like the carrier, not the employers" if is_carrier else end
    return f"{count:,} of {of:,} employers at {carrier}{ending}"


def _span(seconds: int) -> str:
    return length(timedelta(seconds=seconds))


def _number(value: Any) -> int | None:
    is_number = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LONGEST_S
    return value if is_number else None
