"""Spans of time as commands take them: `--since 24h`, `--until 2026-12-01T09:00`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from notifier.config import parse_duration
from notifier.errors import ConfigError

SinceOption = Annotated[
    str | None, typer.Option(help="From then on: a time ago (24h, 3d), a date, or a moment in UTC.")
]
UntilOption = Annotated[str | None, typer.Option(help="Up to then; written like --since.")]


def moment_of(option: str, text: str, now: datetime) -> datetime:
    """The moment that ``24h`` (ago), ``2026-12-01`` or ``2026-12-01T09:00`` (UTC) means."""
    try:
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    except ValueError:
        pass
    try:
        return now - parse_duration(text)
    except (ValueError, OverflowError):
        raise ConfigError(
            f"{option} {text}: write a time ago (24h, 3d), a date (2026-12-01) or a moment (2026-12-01T09:00)"
        ) from None


def span_of(since: str | None, until: str | None, now: datetime) -> tuple[datetime | None, datetime | None]:
    """Both ends; None where an end is open. Raises ``ConfigError`` where it ends before it begins."""
    start = None if since is None else moment_of("--since", since, now)
    end = None if until is None else moment_of("--until", until, now)
    if start is not None and end is not None and end < start:
        raise ConfigError("--until is before --since")
    return start, end
