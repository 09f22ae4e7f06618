"""Answers of the source and replies of receivers that are bombs, over real sockets on loopback.

Server and notifier share the child's memory, so what is sent is made piece by piece.
"""

from __future__ import annotations

import asyncio
import gzip
import random
import zlib
from collections.abc import Callable, Coroutine, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from notifier import worker
from notifier.clasp.client import ClaspClient
from notifier.core.view import View
from notifier.errors import DeliveryError, SourceError
from notifier.models import Delivery
from notifier.poller.traversal import Seen, items_of, readable
from notifier.sinks.contract import Attempt
from notifier.sinks.session import Access, Sessions
from notifier.sinks.slack import SlackSink
from notifier.sinks.webhook import WebhookSink
from tests.proof.bomb_files import FINE, Bomb
from tests.support.clock import FakeClock
from tests.support.configs import config_with

REFUSED = 3
M = 10**6
Pieces = Iterable[bytes]
_OK = b"HTTP/1.1 200 OK\r\n"
_LONG = 10**13
_DEADLINE = timedelta(seconds=4)
_SOON = timedelta(seconds=0.3)  # where only the deadline ends it
_OPEN = b'{"next":null,"results":['


def bombs() -> Iterator[Bomb]:
    """All of this module."""
    for name, pieces in _SOURCE.items():
        deadline = _SOON if name in _ENDLESS else _DEADLINE
        read = partial(_read_list, deadline=deadline)
        yield Bomb(f"source: {name}", _going(read, pieces), (FINE, REFUSED))
        if name in _ALSO_BY_ID:
            yield Bomb(f"by id: {name}", _going(_read_one, pieces), (FINE, REFUSED))
            yield Bomb(f"name: {name}", _going(_read_name, pieces), (FINE, REFUSED))
    for name, pieces in _REPLIES.items():
        for kind in ("webhook", "slack", "hook"):
            send = partial(_send, kind, deadline=_SOON if name in _ENDLESS else _DEADLINE)
            yield Bomb(f"{kind}: {name}", _going(send, pieces), (FINE, REFUSED))
        yield Bomb(f"heartbeat: {name}", _going(_beat, pieces), (FINE,))


def _going(
    use: Callable[[int], Coroutine[Any, Any, int]], pieces: Callable[[], Pieces]
) -> Callable[[Path], int]:
    """``use`` the port of a server that answers each request with these pieces."""

    async def go() -> int:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                await reader.readuntil(b"\r\n\r\n")
                for piece in pieces():
                    writer.write(piece)
                    await writer.drain()
            except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass
            finally:
                writer.transport.abort()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            return await use(server.sockets[0].getsockname()[1])

    return lambda _place: asyncio.run(go())


def _client(port: int, deadline: timedelta = _DEADLINE) -> ClaspClient:
    return ClaspClient(
        base_url=f"http://127.0.0.1:{port}", api_key="k", api_version=None, page_size=100,
        timeout=deadline, clock=FakeClock(), rng=random.Random(1),
    )  # fmt: skip


async def _read_list(port: int, deadline: timedelta) -> int:
    """A traversal, and the reading of every item, as in a poll."""
    client, seen = _client(port, deadline), Seen()
    try:
        async for fresh in items_of(client, View(""), seen):
            for _ in readable(fresh, seen, ()):
                pass
    except SourceError as error:
        print(error)
        return REFUSED
    finally:
        await client.close()
    return FINE


async def _read_one(port: int) -> int:
    client = _client(port)
    try:
        await client.connection("a")
    except SourceError as error:
        print(error)
        return REFUSED
    finally:
        await client.close()
    return FINE


async def _read_name(port: int) -> int:
    client = _client(port)
    try:
        await client.employer("a")
    except SourceError as error:
        print(error)
        return REFUSED
    finally:
        await client.close()
    return FINE


async def _send(kind: str, port: int, deadline: timedelta) -> int:
    sessions, root = Sessions(), f"http://127.0.0.1:{port}/"
    sinks = {
        "webhook": lambda: WebhookSink(
            "w", url=root, secrets=["s"], sessions=sessions, deadline=deadline, access=Access(private=True)
        ),
        "slack": lambda: SlackSink(
            "s", sessions=sessions, deadline=deadline, token="t", channel="#c", api_url=root
        ),
        "hook": lambda: SlackSink("s", sessions=sessions, deadline=deadline, webhook_url=root),
    }
    delivery = Delivery("evt_1", "notifier.test", "rule", '{"type": "notifier.test", "data": {}}')
    try:
        await sinks[kind]().send(delivery, Attempt(1, datetime(2026, 11, 23, tzinfo=UTC)))
    except DeliveryError as error:
        print(error)
        return REFUSED
    finally:
        await sessions.close()
    return FINE


async def _beat(port: int) -> int:
    """One call of ``heartbeat_url``: it ends, and the next one is made."""
    config = config_with(extra=f"heartbeat_url: http://127.0.0.1:{port}/")
    with mock.patch.object(worker, "_HEARTBEAT_TIMEOUT_S", 0.5):
        async with worker._heartbeat(config) as start:
            for _ in range(2):
                start()
                beats = [task for task in asyncio.all_tasks() if "beat" in task.get_coro().__qualname__]
                async with asyncio.timeout(5):
                    await asyncio.gather(*beats)
    return FINE


# --- what is answered ---


def _head(*headers: str, length: int = _LONG) -> bytes:
    lines = ["Content-Type: application/json", f"Content-Length: {length}", *headers]
    return _OK + "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"


def _body(start: bytes, again: bytes, count: int, end: bytes) -> Pieces:
    """``start``, so many times ``again``, ``end``: in pieces."""
    at_once = max(1, 64 * 1024 // len(again))
    yield _head(length=len(start) + len(again) * count + len(end))
    yield start
    for _ in range(count // at_once):
        yield again * at_once
    yield again * (count % at_once) + end


def _packed(start: bytes, again: bytes, count: int, end: bytes = b"", *, times: int = 1) -> Pieces:
    """The same in gzip, or in gzip in gzip: each piece is packed once, and its bytes are repeated."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    full = zlib.Z_FULL_FLUSH  # what follows needs nothing of what came before
    first = packer.compress(start) + packer.flush(full)
    middle = packer.compress(again) + packer.flush(full)
    last = packer.compress(end) + packer.flush()
    if times > 1:
        yield from _packed(first, middle * 100, count // 100, last, times=times - 1)
        return
    yield _OK + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\n" + first
    yield from _many(middle, count)
    yield last


def _whole_in_gzip(body: bytes) -> Pieces:
    return [_OK + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\n", gzip.compress(body, 1)]


def _many(piece: bytes, count: int = 10**9) -> Pieces:
    return (piece for _ in range(count))


def _then(*parts: Pieces) -> Pieces:
    for part in parts:
        yield from part


def _empty_members() -> Pieces:
    member = zlib.compressobj(9, zlib.DEFLATED, 31)
    empty = member.compress(b"") + member.flush()
    yield _OK + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\n"
    yield from _many(empty * 1000)


def _nested(depth: int) -> Pieces:
    return _body(_OPEN + b'{"id":"a","status":', b"[", depth, b"]" * depth + b"}]}")


_GROUP = b'{"id":"a","status":"pending"},'
_CONNECTION = b'{"id":"c","employer":"e","broker_url":null,"events":[],"status":'
_MB32 = 32 * 2**20 - 1000

_SOURCE: dict[str, Callable[[], Pieces]] = {
    "a thousand megabytes in gzip": lambda: _packed(_OPEN, b" " * M, 1000),
    "gzip in gzip": lambda: _packed(_OPEN, b" " * M, 100_000, times=2),
    "empty gzip members without an end": _empty_members,
    "a body without an end": lambda: _then([_head()], _many(b" " * M)),
    "a chunked body without an end": lambda: _then(
        [_OK + b"Transfer-Encoding: chunked\r\n\r\n"], _many(b"fffff\r\n" + b" " * 0xFFFFF + b"\r\n")
    ),
    "a page as long as may be": lambda: _body(_OPEN, b" ", _MB32, b"]}"),
    "sixteen million numbers": lambda: _body(_OPEN, b"1,", _MB32 // 2, b"1]}"),
    "sixteen million numbers in gzip": lambda: _whole_in_gzip(_OPEN + b"1," * (_MB32 // 2) + b"1]}"),
    "millions of items": lambda: _body(_OPEN, b'{"id":"a"},', _MB32 // 11, b"{}]}"),
    "items that are no JSON": lambda: _body(_OPEN, b"NaN,", M - 100, b"NaN]}"),
    "a million group connections": lambda: _body(
        _OPEN + _CONNECTION + b'"x","group_connections":[', _GROUP, M, _GROUP[:-1] + b"]}]}"
    ),
    "a status of a million values": lambda: _body(
        _OPEN + _CONNECTION + b"[", b"[],", _MB32 // 4, b'1],"group_connections":[]}]}'
    ),
    "a status of objects": lambda: _body(
        _OPEN + _CONNECTION + b"[", b'{"a":1},', _MB32 // 8, b'1],"group_connections":[]}]}'
    ),
    "a text of thirty megabytes": lambda: _body(
        _OPEN + b'{"id":"', b"\xf0\x9f\x92\xa3", 7 * M, b'"}]}'
    ),
    "escapes of thirty megabytes": lambda: _body(_OPEN + b'{"id":"', b"\\ud83d\\udca3", 2 * M, b'"}]}'),
    "deep": lambda: _nested(900),
    "deeper": lambda: _nested(200_000),
    "brackets that stay open": lambda: _body(_OPEN, b"[", 4 * M, b""),
    "a cursor of megabytes": lambda: _body(
        b'{"results":[],"next":"http://127.0.0.1/connections?cursor=', b"x", 30 * M, b'"}'
    ),
    "a next of parameters": lambda: _body(
        b'{"results":[],"next":"http://127.0.0.1/connections?', b"a=b&", 7 * M, b'"}'
    ),
    "a million keys": lambda: _body(b'{"next":null,"results":[],"a":[', b'{"a":1},', 3 * M, b"1]}"),
    "headers without an end": lambda: _then([_OK + b"x: "], _many(b"y" * 100_000)),
    "a million headers": lambda: _then([_OK], _many(b"x: y\r\n" * 1000)),
    "an error of megabytes": lambda: _then([_head().replace(b"200 OK", b"400 No")], _many(b"x" * M, 200)),
    "an error of a thousand megabytes in gzip": lambda: (
        piece.replace(b"200 OK", b"500 No") for piece in _packed(b"", b"x" * M, 1000)
    ),
    "early hints without an end": lambda: _many(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100),
}  # fmt: skip
_ENDLESS = {"empty gzip members without an end", "early hints without an end"}
_ALSO_BY_ID = {
    "a thousand megabytes in gzip",
    "a million keys",
    "deeper",
    "sixteen million numbers in gzip",
}

_REPLIES: dict[str, Callable[[], Pieces]] = {
    "a body without an end": lambda: _then([_head()], _many(b" " * M)),
    "a thousand megabytes in gzip": lambda: _packed(b"", b" " * M, 1000),
    "headers without an end": lambda: _then([_OK + b"x: "], _many(b"y" * 100_000)),
    "a million headers": lambda: _then([_OK], _many(b"x: y\r\n" * 1000)),
    "deep": lambda: [_head(length=60_000), b"[" * 30_000 + b"]" * 30_000],
    "early hints without an end": lambda: _many(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100),
}
