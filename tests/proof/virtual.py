"""An event loop whose time is virtual although it talks to a real server.

Time stands still while anything can be done and while a server still owes an answer (``is_busy``); only when
everything waits for time does it jump to the next timer. So timeouts, leases and claims of seconds cost
microseconds, the same each time, on however slow a machine. All other ends of sockets must lie in this loop.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

#: Before any present, so that streams, whose ids are of the server's own time, are never trimmed by age.
EPOCH = datetime(2024, 1, 1, tzinfo=UTC)
_START_S = 1000.0
_PATIENCE_S = 20.0  # real seconds for the server to answer


class Stalled(Exception):
    """Everything waits, and for nothing that could come."""


class VirtualLoop(asyncio.SelectorEventLoop):
    """``time`` is virtual; ``pass_time`` moves it on a little, for what takes some."""

    def __init__(self) -> None:
        self._now_s = _START_S
        self.is_busy: Callable[[], bool] = lambda: False
        super().__init__(_Selector(self))

    def time(self) -> float:
        return self._now_s

    def pass_time(self, seconds: float) -> None:
        self._now_s += seconds


class _Selector(selectors.DefaultSelector):
    """Waits for time by moving it."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        if self._loop.is_busy():
            ready = super().select(_PATIENCE_S)
            if not ready:
                raise Stalled(f"the server did not answer within {_PATIENCE_S:g} s")
        elif timeout is None:
            raise Stalled("everything waits for ever")
        else:
            self._loop.pass_time(timeout)
        return ready


class LoopClock:
    """The time of a :class:`VirtualLoop`, as the notifier wants it."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self._loop.time() - _START_S)

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds))
