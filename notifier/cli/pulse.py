"""Whether anybody polls: what people ask of the notifier waits for the next poll, and may wait in vain."""

from __future__ import annotations

from datetime import datetime, timedelta

from notifier.cli.common import warn
from notifier.clock import from_iso
from notifier.config import Config
from notifier.core.results import SILENT_INTERVALS
from notifier.sinks.values import length
from notifier.store.stores import Stores


async def stalled(config: Config, store: Stores) -> str:
    """Why no poll is to be expected soon, by the rule of /readyz; '' where there is no reason to think so."""
    return why_stalled(config.source.poll_interval, (await store.state.meta()).complete_at, store.state.now())


def why_stalled(interval: timedelta, complete_at: str | None, now: datetime) -> str:
    """The same of a deployment whose last complete snapshot began at a moment; None: there is none yet."""
    question = "is `notifier run` running, and can it read Clasp?"
    if complete_at is None:
        return f"there is no complete snapshot yet: {question}"
    age, silent = abs(now - from_iso(complete_at)), SILENT_INTERVALS * interval
    if age <= silent:
        return ""
    limit = f"{SILENT_INTERVALS} intervals are {_span(silent)}"
    return f"the last complete snapshot is {_span(age)} old, and {limit}: {question}"


def doubt(why: str) -> None:
    """Warn whoever waits for the next poll."""
    if why:
        warn(f"no poll may come: {why}")


def _span(span: timedelta) -> str:
    return length(span) if span >= timedelta(minutes=2) else f"{span.total_seconds():.0f} s"
