"""A clock whose sleeps are over at once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta


class FakeClock:
    """Virtual time: ``sleep`` moves it on and yields to the event loop; ``slept`` lists the sleeps."""

    def __init__(self, start: datetime = datetime(2026, 11, 23, 22, 0, tzinfo=UTC)) -> None:
        self._start = start
        self._passed = timedelta()
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self._start + self._passed

    def monotonic(self) -> float:
        return 1000.0 + self._passed.total_seconds()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(max(0.0, seconds))
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        self._passed += timedelta(seconds=seconds)
