"""A webhook receiver in a process of its own, so that it outlives whoever sends: what it takes is in a file."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path


@contextmanager
def running_taker(taken: Path) -> Iterator[str]:
    """Its URL. A body is a line of ``taken`` before it is answered; requests come one by one or together."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=_take, args=(taken, there), daemon=False)
    process.start()
    try:
        yield f"http://127.0.0.1:{here.recv()}/in"
    finally:
        process.kill()
        process.join()
        here.close()


def _take(taken: Path, parent: Connection) -> None:
    file = os.open(taken, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
                os.write(file, await reader.readexactly(length) + b"\n")
                writer.write(b"HTTP/1.1 204 Taken\r\n\r\n")
        except (OSError, asyncio.IncompleteReadError):
            writer.close()

    async def serve() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        parent.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())
