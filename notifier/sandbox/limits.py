"""Clasp's two limits: requests a second and requests at once, per partner."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from notifier.clock import Clock

REQUESTS_PER_S = 25  # documented by Clasp
REQUESTS_AT_ONCE = 50  # likewise
_WINDOW_S = 1.0


class Limits:
    """Counts requests over the last second. A limit of None is none; a refused request does not count."""

    def __init__(self, clock: Clock, *, per_second: int | None, at_once: int | None) -> None:
        self._clock = clock
        self._per_second = per_second
        self._at_once = at_once
        self._started: deque[float] = deque()
        self._open = 0

    @contextmanager
    def request(self) -> Iterator[int | None]:
        """A request while it lasts: None where it may go on, else the seconds to wait (it was refused)."""
        wait_s = self._wait_s()
        if wait_s is not None:
            yield wait_s
            return
        self._started.append(self._clock.monotonic())
        self._open += 1
        try:
            yield None
        finally:
            self._open -= 1

    def _wait_s(self) -> int | None:
        now = self._clock.monotonic()
        while self._started and self._started[0] <= now - _WINDOW_S:
            self._started.popleft()
        if self._at_once is not None and self._open >= self._at_once:
            return 1
        if self._per_second is not None and len(self._started) >= self._per_second:
            return max(1, math.ceil(self._started[0] + _WINDOW_S - now))
        return None
