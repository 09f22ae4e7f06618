"""What is about the wire, on real sockets: drips, cuts, resets, bombs."""

import asyncio
import gzip
import json
import random
import resource
import time
import zlib
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest

from notifier.clasp.client import ClaspClient
from notifier.errors import SourceInvalid, SourceUnavailable
from tests.support.clock import FakeClock

BODY = b'{"next": null, "results": [{"id": "a"}]}'


def response(body=BODY, *headers, length=None):
    head = ["HTTP/1.1 200 OK", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


@asynccontextmanager
async def source(*scripts, timeout_s=5.0):
    """A client of a raw server that plays one script per connection; the last one repeats."""
    left, heads = list(scripts), []

    async def serve(reader, writer):
        script = left.pop(0) if len(left) > 1 else left[0]
        try:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            if callable(script):
                await script(writer)
            else:
                writer.write(script)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async with listening(serve, timeout_s) as client:
        client.heads = heads
        yield client


@asynccontextmanager
async def listening(serve, timeout_s=5.0):
    """A client of a server that serves each connection so."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    client = ClaspClient(
        base_url=f"http://127.0.0.1:{port}", api_key="k", api_version=None, page_size=100,
        timeout=timedelta(seconds=timeout_s), clock=FakeClock(), rng=random.Random(1),
    )  # fmt: skip
    try:
        yield client
    finally:
        await client.close()
        server.close()


async def traverse(client):
    return [json.loads(bytes(raw)) for page in [p async for p in client.pages()] for raw in page.results]


async def reset(writer):
    writer.transport.abort()


async def drip(writer):
    writer.write(response(b"", length=1000))
    while True:
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.02)


async def drip_headers(writer):
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"x: y\r\n")
        await writer.drain()
        await asyncio.sleep(0.02)


@asynccontextmanager
async def keeping_source(answers):
    """A client of a raw server that keeps its connections, and says to each path what ``answers`` has for it."""

    async def serve(reader, writer):
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                path = (await reader.readuntil(b"\r\n\r\n")).split()[1].decode().partition("?")[0]
                writer.write(answers[path])
        writer.close()

    async with listening(serve) as client:
        yield client


async def silence(writer):
    await asyncio.sleep(30)


async def test_sends_one_plain_request():
    async with source(response()) as client:
        assert await traverse(client) == [{"id": "a"}]
        head = client.heads[0].decode()
    assert head.startswith("GET /connections?page_size=100 HTTP/1.1\r\n")
    assert "Accept-Encoding: gzip\r\n" in head
    assert "Cookie" not in head


@pytest.mark.parametrize(
    "script", [reset, response(BODY[:10], length=len(BODY)), b"", b"HTTP/1.1 2", b"SSH-2.0-x\r\n\r\n"]
)
async def test_a_cut_connection_is_tried_again_and_recovers(script):
    async with source(script, response()) as client:
        assert await traverse(client) == [{"id": "a"}]
        assert len(client.heads) == 2
    async with source(script) as client:
        with pytest.raises(SourceUnavailable, match="tried 4 times"):
            await traverse(client)
        assert len(client.heads) == 4


@pytest.mark.parametrize("script", [drip, drip_headers, silence])
async def test_one_deadline_holds_for_a_whole_response(script):
    async with source(script, timeout_s=0.2) as client:
        began = time.monotonic()
        with pytest.raises(SourceUnavailable, match="did not answer in full"):
            await traverse(client)
        assert time.monotonic() - began < 3


GONE = b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}"
ONE = {"/connections/a": GONE, "/connections/b": response(b'{"id": "b"}'), "/carriers/c": GONE}


@pytest.mark.parametrize("spoilt", ["/connections", "/connections/a", "/carriers/c"])
async def test_what_lies_behind_an_answer_confirms_nothing(spoilt):
    answers = {"/connections": response()} | ONE
    async with keeping_source(answers | {spoilt: answers[spoilt] + GONE}) as client:
        assert await traverse(client) == [{"id": "a"}]
        assert await client.connection("a") is None
        assert await client.connection("b") is not None
        if spoilt == "/carriers/c":
            assert await client.carrier("c") is None
        assert await client.connection("b") is not None


async def test_nobody_listens():
    async with source(response()) as client:
        pass
    async with source(response()) as other:
        client._http = other._http  # an open client, a closed port
        with pytest.raises(SourceUnavailable, match=r"could not be reached at http.*\(source\.base_url\)"):
            await traverse(client)


def bomb(megabytes):
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    chunks = [packer.compress(b'{"next": null, "results": [')]
    chunks += [packer.compress(b" " * 1_000_000) for _ in range(megabytes)]
    return b"".join([*chunks, packer.flush()])


async def test_a_gzip_bomb_is_never_unpacked_whole():
    async with source(response(bomb(1000), "Content-Encoding: gzip")) as client:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(SourceInvalid, match="longer than"):
            await traverse(client)
        grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown_mb < 100
    assert len(client.heads) == 1


async def test_a_long_body_is_not_read_to_its_end():
    sent = 0

    async def flood(writer):
        nonlocal sent
        writer.write(response(b"", length=10**12))
        while True:
            writer.write(b" " * 1_000_000)
            await writer.drain()
            sent += 1

    async with source(flood) as client:
        with pytest.raises(SourceInvalid, match="longer than"):
            await traverse(client)
    assert sent < 60


async def test_endless_headers_end():
    async def flood(writer):
        writer.write(b"HTTP/1.1 200 OK\r\nx: ")
        for _ in range(100):
            writer.write(b"y" * 100_000)
            await writer.drain()

    async with source(flood) as client:
        with pytest.raises(SourceUnavailable):
            await traverse(client)


async def test_gzip_and_chunked_are_read():
    body = gzip.compress(BODY)
    chunked = b"".join(b"1\r\n" + body[i : i + 1] + b"\r\n" for i in range(len(body))) + b"0\r\n\r\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with source(head + chunked) as client:
        assert await traverse(client) == [{"id": "a"}]


async def test_cancelling_a_traversal_leaves_a_client_that_works():
    async with source(silence, response()) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await traverse(client)
        assert await traverse(client) == [{"id": "a"}]
