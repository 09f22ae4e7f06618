"""Time as an argument.

Everything that needs the time or waits takes a :class:`Clock`; the linter bans the functions of the
standard library elsewhere. ``now`` is wall time (aware, UTC) for what people and receivers read;
``monotonic`` is for durations and deadlines.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the notifier asks of time."""

    def now(self) -> datetime:
        """Wall time, aware, UTC."""
        ...

    def monotonic(self) -> float:
        """Seconds that never go backwards, from an arbitrary start."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let ``seconds`` pass; zero or less only yields to the event loop."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Wall time, aware, UTC."""
        return datetime.now(UTC)  # noqa: TID251

    def monotonic(self) -> float:
        """Seconds of the machine's monotonic clock."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep on the event loop."""
        await asyncio.sleep(max(0.0, seconds))  # noqa: TID251


def iso(moment: datetime) -> str:
    """``2026-11-23T22:01:07.120Z``: how every body, log line and store field writes a moment."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def from_iso(text: str) -> datetime:
    """The inverse of :func:`iso`."""
    return datetime.fromisoformat(text)
