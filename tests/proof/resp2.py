"""RESP2, the protocol of Redis: where a message ends, and the words of a request."""

from __future__ import annotations

import asyncio
from typing import BinaryIO

import msgspec

LIMIT = 64 * 1024 * 1024  # of one line or bulk string: the limit for the readers of streams


class Request(msgspec.Struct, frozen=True):
    """A request on its way: its words, and its bytes."""

    words: tuple[bytes, ...]
    raw: bytes

    @property
    def name(self) -> str:
        return self.words[0].decode(errors="replace").upper() if self.words else ""


async def read_message(reader: asyncio.StreamReader) -> bytes:
    """The bytes of one whole message; ``EOFError`` where the connection ends."""
    parts: list[bytes] = []
    await _collect(reader, parts, [])
    return b"".join(parts)


async def read_request(reader: asyncio.StreamReader) -> Request | None:
    """The next request; None where the connection ended between two."""
    parts: list[bytes] = []
    words: list[bytes] = []
    try:
        await _collect(reader, parts, words)
    except asyncio.IncompleteReadError:
        return None
    return Request(tuple(words), b"".join(parts))


def read_message_blocking(stream: BinaryIO) -> bytes:
    """The same as ``read_message``; nothing else happens until the message is there."""
    parts: list[bytes] = []
    open_items = 1
    while open_items:
        line = stream.readline()
        items, size = _header(line)
        parts.append(line)
        if size:
            parts.append(stream.read(size))
        open_items += items - 1
    return b"".join(parts)


async def _collect(reader: asyncio.StreamReader, parts: list[bytes], words: list[bytes]) -> None:
    open_items = 1
    while open_items:
        line = await reader.readuntil(b"\r\n")
        items, size = _header(line)
        parts.append(line)
        if size:
            body = await reader.readexactly(size)
            parts.append(body)
            words.append(body[:-2])
        open_items += items - 1


def _header(line: bytes) -> tuple[int, int]:
    """How many items, or how many bytes, follow the first line of a message."""
    if not line.endswith(b"\r\n"):
        raise EOFError
    match line[:1]:
        case b"*":
            return max(0, int(line[1:])), 0
        case b"$":
            size = int(line[1:])
            return 0, size + 2 if size >= 0 else 0
        case b"+" | b"-" | b":":
            return 0, 0
    raise ConnectionError(f"this is not RESP2: {line[:40]!r}")
