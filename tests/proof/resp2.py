"""RESP2, the protocol of Redis: where a message ends, and the words of a request."""

from __future__ import annotations

import asyncio

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


async def _collect(reader: asyncio.StreamReader, parts: list[bytes], words: list[bytes]) -> None:
    open_items = 1
    while open_items:
        open_items -= 1
        line = await reader.readuntil(b"\r\n")
        parts.append(line)
        if line[:1] == b"*":
            open_items += max(0, int(line[1:]))
        elif line[:1] == b"$" and (size := int(line[1:])) >= 0:
            body = await reader.readexactly(size + 2)
            parts.append(body)
            words.append(body[:-2])
        elif line[:1] not in {b"$", b"+", b"-", b":"}:
            raise ConnectionError(f"this is not RESP2: {line[:40]!r}")
