"""An event loop whose time is virtual although it talks to a real server.

Time stands still while anything can be done; only when everything waits for time does it jump to the next
timer. So timeouts, leases and claims of seconds cost microseconds on however slow a machine. Both ends of
every socket must lie in this loop but for those to the server, which :class:`StillProxy` asks while all else
stands still: what happens, and in which order, is the same each time.
"""

from __future__ import annotations

import asyncio
import selectors
import socket
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.proof.proxy import Proxy, Upstream
from tests.proof.resp2 import Request, read_message_blocking

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
        if timeout is None:
            raise Stalled("everything waits for ever")
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


class StillProxy(Proxy):
    """A proxy whose server answers while everything else stands still."""

    async def connect(self) -> Upstream:
        return _StillUpstream(self, self.upstream)


class _StillUpstream:
    def __init__(self, proxy: Proxy, path: str) -> None:
        self._proxy = proxy
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(_PATIENCE_S)
        self._socket.connect(path)
        self._replies = self._socket.makefile("rb")

    def write(self, data: bytes) -> None:
        self._socket.sendall(data)

    async def ask(self, request: Request) -> bytes:
        self._socket.sendall(request.raw)
        return self._proxy.answer(request, read_message_blocking(self._replies))

    def close(self) -> None:
        self._replies.close()
        self._socket.close()
