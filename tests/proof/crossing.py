"""All roads lead to one listener: whatever address a socket is told to connect to, it reaches loopback.

So that a request that should not go out does arrive, and is counted, wherever it was meant to go. ``targets``
are the addresses that were meant, ``heads`` the requests that came, ``accepted`` the connections.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from unittest import mock

from aiohttp.abc import AbstractResolver

PUBLIC = ("93.184.216.34", "2606:4700::1111")
_Answer = Callable[[str], bytes]


def plain(status: int = 200, *headers: str, body: bytes = b'{"ok": true}') -> bytes:
    """One HTTP answer, and the connection's end."""
    lines = [f"HTTP/1.1 {status} Said", "Content-Type: application/json", f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "Connection: close", *headers, "", ""]).encode() + body


class Crossing:
    """What came by. ``answer`` gives the bytes for a request's first line."""

    def __init__(self) -> None:
        self.port = 0
        self.accepted = 0
        self.targets: list[str] = []
        self.heads: list[str] = []
        self.answer: _Answer = lambda _line: plain()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.heads.append(head)
            writer.write(self.answer(head.partition("\r\n")[0]))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass  # a TLS handshake is no request
        finally:
            writer.transport.abort()

    def forget(self) -> None:
        self.accepted, self.targets, self.heads = 0, [], []


@asynccontextmanager
async def crossing() -> AsyncIterator[Crossing]:
    """While the block lasts, every socket of this loop reaches the listener, and no other."""
    here = Crossing()
    four = await asyncio.start_server(here.serve, "127.0.0.1", 0)
    here.port = four.sockets[0].getsockname()[1]
    six = await asyncio.start_server(here.serve, "::1", here.port) if socket.has_ipv6 else None
    loops = asyncio.selector_events.BaseSelectorEventLoop  # type: ignore[attr-defined]
    original = loops.sock_connect

    async def sock_connect(loop: Any, sock: socket.socket, address: Any) -> None:
        here.targets.append(f"{address[0]} {address[1]}")
        is_six = sock.family == socket.AF_INET6
        await original(loop, sock, ("::1" if is_six else "127.0.0.1", here.port))

    with mock.patch.object(loops, "sock_connect", sock_connect):
        yield here
    for server in (four, six):
        if server is not None:
            server.close()
            await server.wait_closed()


class Answers(AbstractResolver):
    """Resolves names to the next of its lists of addresses; the last list stays. Asks nobody else."""

    def __init__(self, *lists: tuple[str, ...]) -> None:
        self._lists = list(lists)

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[Any]:  # type: ignore[override]
        addresses = self._lists.pop(0) if len(self._lists) > 1 else self._lists[0]
        return [_resolved(host, address, port) for address in addresses]

    async def close(self) -> None:
        pass


class Numbers(Answers):
    """Resolves what the system takes for a number, in any of its odd spellings; no name."""

    def __init__(self) -> None:
        super().__init__(())

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[Any]:  # type: ignore[override]
        if host.rstrip(".").lower() == "localhost":
            return [_resolved(host, "127.0.0.1", port), _resolved(host, "::1", port)]
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        return [_resolved(host, str(info[4][0]), port) for info in found]


def _resolved(host: str, address: str, port: int) -> dict[str, Any]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return {"hostname": host, "host": address, "port": port, "family": family, "proto": 0, "flags": 0}


def listed(next_: object) -> bytes:
    """A page of the source with this ``next``."""
    return plain(body=json.dumps({"next": next_, "previous": None, "results": [{"id": "a"}]}).encode())
