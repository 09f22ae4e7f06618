"""A digest's facts -> words: how much is open, what happened, and when nobody saw. Pure, and total.

The alerts that a digest names are told as everywhere else (``wording``).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from notifier.sinks.values import at, count, length, moment, text, utc

_ENDS = {
    "completed": "completed",
    "moved": "moved on",
    "removed": "no longer listed",
    "rule": "no longer watched",
}
_MOST_SPANS = 3
_MOST_CARRIERS = 5
_LONGEST_S = 10_000 * 86_400


def title(data: Any) -> str:
    """``monday-summary: 5 alerts are open``."""
    many = count(at(data, "open"))
    stand = "1 alert is open" if many == 1 else f"{many:,} alerts are open" if many else "nothing is open"
    return f"{text(at(data, 'digest', 'name')) or 'Digest'}: {stand}"


def course(data: Any) -> str:
    """``12 opened, 9 are over. ...``: what happened in the period, in a sentence or two."""
    least = "at least " if at(data, "at_least") is True else ""
    opened, over = count(at(data, "opened")), sum(count for _, count in _ended(data))
    happened = f"{least}{opened:,} opened, {least}{over:,} {'is' if over == 1 else 'are'} over"
    found, free = count(at(data, "existing")), count(at(data, "free"))
    parts = []
    if not count(at(data, "open")):
        parts.append("All is well: nothing waits for you.")
    if opened or over or found or least:
        parts.append(happened[:1].upper() + happened[1:] + ".")
    else:
        parts.append("Nothing opened, and nothing ended.")
    if free:
        parts.append(f"{free:,} {'is' if free == 1 else 'are'} taken by nobody.")
    if found:
        parts.append(f"{found:,} {'was' if found == 1 else 'were'} there already when their rule began.")
    due = moment(at(data, "digest", "due_at"))
    if at(data, "digest", "is_late") is True and due is not None:
        parts.append(f"This comes late: it was due {utc(due)}.")
    return " ".join(parts)


def facts(data: Any) -> tuple[tuple[str, str | None], ...]:
    """Labels with their values; None where there is nothing to say."""
    median = at(data, "median_s")
    is_known = isinstance(median, int | float) and 0 <= median <= _LONGEST_S
    return (
        ("Over", ", ".join(f"{count:,} {word}" for word, count in _ended(data) if count) or None),
        ("Half were over within", length(timedelta(seconds=median)) if is_known else None),
        ("Open at", ", ".join(_carriers(data)) or None),
        ("Nobody looked", _blind(data)),
    )


def _ended(data: Any) -> list[tuple[str, int]]:
    return [(word, count(at(data, "ended", end))) for end, word in _ENDS.items()]


def _carriers(data: Any) -> Iterator[str]:
    """``Guardian 3``, ``2 elsewhere``."""
    listed = at(data, "carriers")
    for carrier in listed[:_MOST_CARRIERS] if isinstance(listed, list) else ():
        name = text(at(carrier, "name")) or text(at(carrier, "id")) or "unknown carrier"
        yield f"{name} {count(at(carrier, 'open')):,}"
    if rest := count(at(data, "elsewhere")):
        yield f"{rest:,} elsewhere"


def _blind(data: Any) -> str | None:
    """When nobody saw, the last times, and for how long in all."""
    spans = at(data, "blind")
    told = []
    for span in spans[-_MOST_SPANS:] if isinstance(spans, list) else ():
        begin, end = (moment(span[0]), moment(span[1])) if _is_pair(span) else (None, None)
        if begin is not None and end is not None and end >= begin:
            told.append(f"from {utc(begin)} for {length(end - begin)}")
    seconds = count(at(data, "blind_s"))
    if not told or seconds > _LONGEST_S:
        return None
    more = f" (in all {length(timedelta(seconds=seconds))})" if len(spans) > 1 else ""
    return "; ".join(told) + more


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2  # noqa: PLR2004
