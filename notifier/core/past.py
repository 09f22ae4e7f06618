"""What happened in a period, from the history: alerts that opened and ended, and when nobody saw. Pure.

The history holds the events that polls committed. When nobody saw is known from what it says of that: the
notifier's own reports, and events whose two looks are far apart. A gap after which nothing was different
leaves no trace.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from statistics import median

import msgspec

from notifier.core.alerts import End

_LONG = 10  # intervals between two complete snapshots: then nobody saw what was between
Span = tuple[str, str]


class RecordedAlert(msgspec.Struct, frozen=True):
    """What an event of the history says of its alert."""

    since: str
    since_after: str | None = None
    existing: bool = False
    ended_at: str | None = None
    end: End | None = None


class RecordedData(msgspec.Struct, frozen=True):
    """What the data of an event of the history says."""

    rule: str = ""
    alert: RecordedAlert | None = None
    observed_between: tuple[str | None, str] | None = None
    cause: str = ""


class Record(msgspec.Struct, frozen=True):
    """An event of the history, as far as it is asked for here."""

    type: str
    timestamp: str
    data: RecordedData


class Past(msgspec.Struct, frozen=True):
    """The history, oldest first; before ``whole_since`` something may not be kept, or was not read."""

    records: tuple[Record, ...] = ()
    whole_since: str = ""


class Happened(msgspec.Struct, frozen=True):
    """What happened ``since`` a moment, with the alerts that are asked for.

    ``existing`` opened at a first look of their rule. ``ended`` counts the others by how they ended,
    ``median_s`` is how long half of those lasted at most, where it is known how long they did. ``blind`` are
    spans in which nobody saw. ``at_least``: it may have been more.
    """

    since: str
    opened: int
    existing: int
    ended: Mapping[str, int]
    median_s: int | None
    blind: tuple[Span, ...]
    at_least: bool

    @property
    def is_empty(self) -> bool:
        """Whether nothing happened, and somebody saw that."""
        return not (self.opened or self.existing or any(self.ended.values()) or self.blind)


def happened(
    past: Past,
    since: str,
    now: str,
    rules: Collection[str],
    interval: timedelta,
    seen_before: str | None,
    *,
    is_first: bool,
) -> Happened:
    """What happened after ``since`` and until ``now`` to the alerts of these rules (none: of all).

    ``seen_before`` is the last complete look before now, ``interval`` the time between two.
    ``is_first``: it began no sooner than watching did.
    """
    began = _beginning(past, since) if is_first else None
    at_least = since < past.whole_since and began is None
    since = began or since
    records = [record for record in past.records if since < record.timestamp <= now]
    alerts = [
        (record.type, record.data.alert)
        for record in records
        if record.data.alert is not None and (not rules or record.data.rule in rules)
    ]
    opened = [alert for type_, alert in alerts if type_ == "alert.opened"]
    ended = [alert for type_, alert in alerts if type_ == "alert.resolved" and alert.end is not None]
    existing = sum(alert.existing for alert in opened)
    counts = Counter(alert.end for alert in ended)
    lasted = [_seconds(alert.since, alert.ended_at) for alert in ended if _is_measured(alert)]
    spans = [
        *_reported(records, since, now, interval),
        *_gaps(records, interval),
        *_gap(seen_before, now, interval),
    ]
    return Happened(
        since,
        len(opened) - existing,
        existing,
        {end: counts[end] for end in End},
        round(median(lasted)) if lasted else None,
        tuple(_merged(spans, since)),
        at_least,
    )


def _beginning(past: Past, since: str) -> str | None:
    """When watching began, where that was after ``since``."""
    return next(
        (
            record.timestamp
            for record in past.records
            if record.type == "notifier.baseline"
            and record.data.cause == "first_run"
            and record.timestamp > since
        ),
        None,
    )


def _is_measured(alert: RecordedAlert) -> bool:
    """Whether it is known how long an alert lasted that is over: not with its rule, and begun in sight."""
    return alert.since_after is not None and alert.end is not End.RULE and alert.ended_at is not None


def _reported(records: Collection[Record], since: str, now: str, interval: timedelta) -> Iterator[Span]:
    """From when the source was told as failing until it was told as recovered."""
    failing: str | None = None
    for record in records:
        if record.type == "notifier.source_failing":
            failing = record.timestamp
        elif record.type == "notifier.source_recovered":
            # That of the poll which told the digest before comes a moment after it, and ends nothing here.
            if failing is not None or _seconds(since, record.timestamp) > interval.total_seconds():
                yield failing or since, record.timestamp
            failing = None
    if failing is not None:
        yield failing, now


def _gaps(records: Collection[Record], interval: timedelta) -> Iterator[Span]:
    """What lay between the two looks of events, where that is long."""
    looks = {
        record.data.observed_between
        for record in records
        if record.data.observed_between and not record.type.endswith(".removed")  # told only once it is sure
    }
    for before, after in looks:
        yield from _gap(before, after, interval)


def _gap(before: str | None, after: str, interval: timedelta) -> Iterator[Span]:
    if before is not None and _seconds(before, after) > _LONG * interval.total_seconds():
        yield before, after


def _merged(spans: Collection[Span], since: str) -> Iterator[Span]:
    """The spans in order, each after the other, as far as they lie after ``since``."""
    begin, end = "", ""
    for first, last in sorted(spans):
        if end and first <= end:
            end = max(end, last)
            continue
        if end > since:
            yield max(begin, since), end
        begin, end = first, last
    if end > since:
        yield max(begin, since), end


def _seconds(begin: str, end: str | None) -> float:
    return (datetime.fromisoformat(end or begin) - datetime.fromisoformat(begin)).total_seconds()
