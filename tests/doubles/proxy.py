"""An HTTP proxy on loopback: tunnels CONNECT to where it is asked, or answers as told. Records what it heard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field


@dataclass
class Proxy:
    """``status``: what it answers to CONNECT; only after a 200 there is a tunnel, to ``leads_to``."""

    leads_to: int
    status: int = 200
    port: int = 0
    asked: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.heads.append(head)
            self.asked.append(head.split(" ")[1])
            writer.write(f"HTTP/1.1 {self.status} Said\r\n\r\n".encode())
            if self.status == 200:
                there, back = await asyncio.open_connection("127.0.0.1", self.leads_to)
                await asyncio.gather(_pump(reader, back), _pump(there, writer))
        writer.close()


async def _pump(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await source.read(65536):
            target.write(data)
            await target.drain()
    target.close()


@asynccontextmanager
async def running_proxy(leads_to: int, status: int = 200) -> AsyncIterator[Proxy]:
    proxy = Proxy(leads_to, status)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
