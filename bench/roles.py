"""What runs beside a benchmark, as a process of its own: ``python -m bench.roles ROLE ARGUMENT``.

``sandbox COUNT`` serves a still account of so many connections; ``receiver MILLISECONDS`` takes webhooks and
answers each after so long. Both print where they listen, and end when their standard input does.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

KEY = "bench"
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@contextmanager
def role(name: str, argument: int) -> Iterator[str]:
    """The base URL of a new process in this role, which ends with the block."""
    command = [sys.executable, "-m", "bench.roles", name, str(argument)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin
    assert process.stdout
    try:
        yield process.stdout.readline().strip()
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(20)


class Receiver(asyncio.Protocol):
    """The least of an HTTP server: finds where requests end and answers 200."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._got = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every request that is whole."""
        self._got += data
        while (end := self._got.find(b"\r\n\r\n")) >= 0:
            head = self._got[:end].lower()
            start = head.index(b"content-length:") + len(b"content-length:")
            size = int(head[start:].split(b"\r\n", 1)[0])
            if len(self._got) < end + 4 + size:
                return
            self._got = self._got[end + 4 + size :]
            if self._delay_s:
                asyncio.get_running_loop().call_later(self._delay_s, self._answer)
            else:
                self._answer()

    def _answer(self) -> None:
        if isinstance(self._transport, asyncio.WriteTransport) and not self._transport.is_closing():
            self._transport.write(_OK)


async def _receive(delay_ms: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Receiver(delay_ms / 1000), "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


async def _sandbox(count: int) -> None:
    from notifier.clock import SystemClock  # noqa: PLC0415 - the receiver needs none of it
    from notifier.sandbox.build import build_world  # noqa: PLC0415
    from notifier.sandbox.server import SandboxServer  # noqa: PLC0415

    clock = SystemClock()
    world = build_world(seed=1, clock=clock, connections=count)
    async with SandboxServer(world, api_key=KEY, clock=clock, rate_limit=None, at_once=None) as server:
        print(server.base_url, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run({"sandbox": _sandbox, "receiver": _receive}[sys.argv[1]](int(sys.argv[2])))
