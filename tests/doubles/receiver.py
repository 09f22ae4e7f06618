"""A webhook receiver on loopback: records requests and answers as scripted.

A script is a list of answers, one a request, then 204 for ever. An answer is a status, or an object of one
of the classes here; it writes raw bytes, so it can say things that no decent server says.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from standardwebhooks import Webhook


@dataclass(frozen=True)
class Raw:
    """These bytes, then the connection's end; ``reset`` ends it with RST."""

    data: bytes = b""
    reset: bool = False
    hang: bool = False  # say no more, and keep the connection open


def answer(status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> bytes:
    lines = [f"HTTP/1.1 {status} Said", *(f"{name}: {value}" for name, value in (headers or {}).items())]
    if status >= 200 and status not in {204, 304}:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    def verify(self, secret: str) -> object:
        """What the official library makes of it; raises where it does not verify."""
        return Webhook(secret).verify(self.body, self.headers)


@dataclass
class Receiver:
    port: int = 0
    script: list[int | bytes | Raw] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    _open: set[asyncio.StreamWriter] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/in?token=hush"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.add(writer)
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)
        }
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.requests.append(Request(method, path, headers, body))
        said = self.script.pop(0) if self.script else 204
        if isinstance(said, int):
            said = answer(said)
        if isinstance(said, bytes):
            writer.write(said)
            await writer.drain()
            return True
        writer.write(said.data)
        await writer.drain()
        if said.hang:
            await reader.read()  # until the client gives up
        if said.reset:
            writer.transport.abort()
        return False

    def close(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()


@asynccontextmanager
async def running_receiver(*script: int | bytes | Raw, host: str = "127.0.0.1", ssl=None):
    receiver = Receiver(script=list(script))
    server = await asyncio.start_server(receiver.serve, host, 0, ssl=ssl, limit=2**24)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        receiver.close()
        await server.wait_closed()
