"""How long a status usually lasts at a carrier, from what rules with `while` saw of it. Pure.

A sample is the time from the look that first showed a group connection with a status to the look that showed
it with another one. What was there at a first look has no known beginning, and what was removed no end: both
are left out. What ended before its alert opened counts, or everything would seem to last longer than it does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from statistics import median

import msgspec

from notifier.config import While, is_among
from notifier.core.alerts import Alert, Phase, Subject
from notifier.models import Kind

KEPT = 50  # samples of a status at a carrier: the newest
ENOUGH = 10  # samples, to speak of what is usual
MOST_PAIRS = 5000  # of carrier and status: no source has so many, unless it invents them
Pair = tuple[str, str]  # a carrier's id and a status
Seconds = tuple[int, ...]  # oldest first


class Sample(msgspec.Struct, frozen=True):
    """How long a status lasted once."""

    pair: Pair
    seconds: int


class Durations:
    """The samples as committed."""

    def __init__(self, known: Mapping[Pair, Seconds] = {}) -> None:
        self._known = dict(known)

    def after(self, samples: Iterable[Sample]) -> dict[Pair, Seconds]:
        """What these samples change: the newest of each pair that has a new one."""
        changed: dict[Pair, Seconds] = {}
        for sample in samples:
            before = changed.get(sample.pair, self._known.get(sample.pair, ()))
            is_new = not before
            if is_new and len(self._known.keys() | changed.keys()) >= MOST_PAIRS:
                continue
            changed[sample.pair] = (*before, sample.seconds)[-KEPT:]
        return changed

    def put(self, changed: Mapping[Pair, Seconds]) -> None:
        """Take over what was committed."""
        self._known.update(changed)

    def usual(self, alert: Alert) -> dict[str, int] | None:
        """Half of the times like this one were over within ``median_s``, nine in ten within ``p90_s``.

        None where too few are known, or where the alert has lasted for more than one status.
        """
        pair = _pair_of(alert.subject)
        known = sorted(self._known.get(pair, ())) if pair and not alert.moved else []
        if len(known) < ENOUGH:
            return None
        nearest_rank = -(-9 * len(known) // 10)
        return {"median_s": int(median(known)), "p90_s": known[nearest_rank - 1], "samples": len(known)}


def sample(alert: Alert | None, asked: While, subject: Subject, now: str) -> Sample | None:
    """What an alert of a rule that asks for one status says of it, where ``subject`` now has another."""
    if alert is None or alert.phase is Phase.CLOSED or not _saw_it_begin(alert, asked):
        return None
    pair = _pair_of(alert.subject)
    lasted = datetime.fromisoformat(now) - datetime.fromisoformat(alert.since)
    seconds = int(lasted.total_seconds())
    if pair is None or seconds < 0 or is_among(subject.status, asked.status):
        return None
    return Sample(pair, seconds)


def _saw_it_begin(alert: Alert, asked: While) -> bool:
    """Whether the alert began with the one status that its rule asks for, and lasts for nothing else."""
    status = alert.subject.status
    is_of_status = len(asked.status) == 1 and is_among(status, asked.status) and alert.was != status
    return is_of_status and not (alert.since_after is None or alert.quiet or alert.moved)


def _pair_of(subject: Subject) -> Pair | None:
    carrier, status = subject.fields.get("carrier"), subject.status
    if subject.kind is not Kind.GROUP_CONNECTION:
        return None
    return (carrier, status) if isinstance(carrier, str) and isinstance(status, str) else None
