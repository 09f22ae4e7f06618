"""A webhook receiver in a process of its own, so that it outlives whoever sends: what it takes is in a file."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import urlsplit


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


def wait_for_all(url: str) -> None:
    """Return when the taker at ``url`` has taken all that was sent to it by those who have died.

    They leave whole requests behind in the kernel: taken only after the next trial began, they would be in its
    file.
    """
    address = urlsplit(url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(_WAIT)
        connection.recv(1)


_WAIT = b"GET /all HTTP/1.1\r\n\r\n"


def _take(taken: Path, parent: Connection) -> None:
    file = os.open(taken, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    serving: asyncio.Task[None] | None = None

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head == _WAIT:
                    others = asyncio.all_tasks() - {serving, asyncio.current_task()}
                    await asyncio.gather(*others)
                    writer.write(b".")
                    continue
                length = int(head.lower().partition(b"content-length:")[2].partition(b"\r\n")[0])
                os.write(file, await reader.readexactly(length) + b"\n")
                writer.write(b"HTTP/1.1 204 Taken\r\n\r\n")
        except (OSError, asyncio.IncompleteReadError):
            writer.close()

    async def serve() -> None:
        nonlocal serving
        serving = asyncio.current_task()
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        parent.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(serve())
