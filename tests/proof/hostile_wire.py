"""What goes wrong below the answers, on real sockets: cuts, resets, drips, lies about lengths, floods of headers.

``Wire`` serves a ``Source`` over HTTP/1.1, and plays a script in place of an answer where it is told to. No test
waits for a deadline: a script that would go on for ever says so, and the client's deadline passes at once.
"""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from types import SimpleNamespace
from unittest import mock

import httpx
import msgspec

from notifier.clasp import client as clasp_client
from tests.proof.hostile_answers import bomb
from tests.proof.hostile_source import BASE, KEY, TIMEOUT, Ask, Source

_TLS = ssl.create_default_context()  # not used here, and slow to make for each client
_HANGS_AFTER = 20  # pieces of something that would never end


class Talk:
    """One request on its connection, of which the first line has been read; ``body`` is the honest answer's."""

    def __init__(
        self, wire: Wire, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, body: bytes
    ) -> None:
        self._wire, self._reader, self._writer = wire, reader, writer
        self.body = body
        self.canary = wire.canary_url

    async def hear(self) -> None:
        """Read the rest of the request."""
        while (await self._reader.readline()).strip():
            pass

    async def say(self, *pieces: bytes) -> None:
        for piece in pieces:
            self._writer.write(piece)
            await self._writer.drain()

    async def hang(self) -> None:
        """The client's deadline passes, and it leaves."""
        self._wire.let_time_pass()
        await self._reader.read()

    def reset(self) -> None:
        raw = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


Script = Callable[[Talk], Awaitable[None]]


class Wire:
    """See the module. ``script_for`` says what is played in place of an answer; ``canaries`` counts strangers."""

    def __init__(self, source: Source) -> None:
        self.script_for: Callable[[Ask], Script | None] = lambda _ask: None
        self.is_shown = True  # whether what a script says is what the source shows
        self.canaries = 0
        self.url = self.canary_url = ""
        self._source = source
        self._deadlines: list[asyncio.Timeout] = []
        self._talks: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def deadline(self, seconds: float) -> asyncio.Timeout:
        """In place of ``asyncio.timeout``: one that passes when a script says so, and not by itself."""
        assert 0 < seconds <= TIMEOUT.total_seconds()
        timeout = asyncio.timeout(None)
        self._deadlines.append(timeout)
        return timeout

    def let_time_pass(self) -> None:
        for timeout in self._deadlines:
            with suppress(RuntimeError):  # not entered, or over
                timeout.reschedule(asyncio.get_running_loop().time())
        self._deadlines.clear()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Wire]:
        server = await asyncio.start_server(self._converse, "127.0.0.1", 0)
        canary = await asyncio.start_server(self._sing, "127.0.0.1", 0)
        self.url, self.canary_url = (
            f"http://127.0.0.1:{one.sockets[0].getsockname()[1]}" for one in (server, canary)
        )
        shim = SimpleNamespace(timeout=self.deadline)
        try:
            with (
                mock.patch.object(clasp_client, "asyncio", shim),
                mock.patch("httpx._transports.default.create_ssl_context", return_value=_TLS),
            ):
                yield self
        finally:
            server.close()
            canary.close()
            for writer in self._talks.values():
                writer.transport.abort()
            await asyncio.gather(*self._talks)

    async def _sing(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.canaries += 1
        writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks[task] = writer
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            while line := await reader.readline():
                if not await self._answer(line, reader, writer):
                    break
        writer.close()
        del self._talks[task]

    async def _answer(self, line: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection is kept."""
        url = httpx.URL(BASE + line.split()[1].decode())
        script = self.script_for(Ask.of(url))
        if script is not None:
            reply = self._source.reply_to(url) if self.is_shown else self._source.honest(Ask.of(url))
            talk = Talk(self, reader, writer, self._here(reply.body))
            await script(talk)
            return False
        reply = self._source.reply_to(url)
        talk = Talk(self, reader, writer, b"")
        await talk.hear()
        await talk.say(
            _head(reply.status, f"Content-Length: {len(self._here(reply.body))}") + self._here(reply.body)
        )
        return True

    def _here(self, body: bytes) -> bytes:
        return body.replace(BASE.encode(), self.url.encode())


def _head(status: int, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status} X", *headers, "", ""]).encode()


def _length(body: bytes) -> str:
    return f"Content-Length: {len(body)}"


# --- scripts ---


class Played(msgspec.Struct, frozen=True):
    """A script. ``is_page``: it gives the honest answer after all; else ``reason`` is why there is none."""

    script: Script
    reason: str = ""
    is_page: bool = False
    is_heavy: bool = False


_CUT, _LATE = "could not be reached", "did not answer in full"
_SYNTAX = "no valid JSON, or cut short"


def _says(make: Callable[[Talk], bytes | list[bytes]], reason: str = "", *, is_heavy: bool = False) -> Played:
    """Reads the request, says this, and closes."""

    async def script(talk: Talk) -> None:
        await talk.hear()
        said = make(talk)
        await talk.say(*([said] if isinstance(said, bytes) else said))

    return Played(script, reason, is_page=not reason, is_heavy=is_heavy)


def _resets(make: Callable[[Talk], bytes]) -> Played:
    async def script(talk: Talk) -> None:
        await talk.hear()
        await talk.say(make(talk))
        talk.reset()

    return Played(script, _CUT)


def _drips(start: bytes, piece: bytes) -> Played:
    """Something that comes bit by bit and does not end."""

    async def script(talk: Talk) -> None:
        await talk.hear()
        await talk.say(start)
        for _ in range(_HANGS_AFTER):
            await talk.say(piece)
            await asyncio.sleep(0)
        await talk.hang()

    return Played(script, _LATE)


def _floods(start: bytes, piece: bytes, reason: str) -> Played:
    """Something that comes as fast as it is taken, until the client has had enough."""

    async def script(talk: Talk) -> None:
        await talk.hear()
        await talk.say(start)
        for _ in range(2000):
            await talk.say(piece)
        await talk.hang()

    return Played(script, reason, is_heavy=True)


async def _close_at_once(_talk: Talk) -> None:
    pass


async def _reset_at_once(talk: Talk) -> None:
    talk.reset()


async def _answer_too_early(talk: Talk) -> None:
    await talk.say(_head(200, _length(talk.body)) + talk.body)
    await talk.hear()


def _with_length(text: str) -> Callable[[Talk], bytes]:
    return lambda talk: _head(200, f"Content-Length: {text}") + talk.body


def _chunked(*chunks: bytes, headers: tuple[str, ...] = ()) -> bytes:
    return _head(200, "Transfer-Encoding: chunked", *headers) + b"".join(chunks)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _bytewise(talk: Talk) -> bytes:
    return _chunked(*(_chunk(talk.body[at : at + 1]) for at in range(len(talk.body))), b"0\r\n\r\n")


def _gzipped_chunks(talk: Talk) -> bytes:
    packed = gzip.compress(talk.body)
    chunks = [_chunk(packed[at : at + 7]) for at in range(0, len(packed), 7)]
    return _chunked(*chunks, b"0\r\n\r\n", headers=("Content-Encoding: gzip",))


def _whole(talk: Talk, *headers: str) -> bytes:
    return _head(200, _length(talk.body), *headers) + talk.body


CONNECTIONS: dict[str, Played] = {
    "closed at once": Played(_close_at_once, _CUT),
    "reset at once": Played(_reset_at_once, _CUT),
    "silence": _drips(b"", b""),
    "an answer before the request was heard": Played(_answer_too_early, is_page=True),
    "closed without a word": _says(lambda _: b"", _CUT),
    "closed in the first line": _says(lambda _: b"HTTP/1.1 2", _CUT),
    "closed in the headers": _says(lambda _: b"HTTP/1.1 200 OK\r\nContent-Le", _CUT),
    "closed in the body": _says(lambda talk: _whole(talk)[:-9], _CUT),
    "reset in the headers": _resets(lambda _: b"HTTP/1.1 200 OK\r\nContent-Le"),
    "reset in the body": _resets(lambda talk: _whole(talk)[:-9]),
    "a first line bit by bit": _drips(b"HTTP/1.1 ", b"2"),
    "headers bit by bit": _drips(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n"),
    "a body bit by bit": _drips(_head(200, "Content-Length: 100000"), b" "),
    "chunks bit by bit": _drips(_chunked(), _chunk(b" ")),
    "one chunk without end": _drips(_chunked(b"fffffff\r\n"), b" "),
    "continue, and continue": _drips(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "hints without end": _drips(b"", b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"),
    "continue, then the page": _says(lambda talk: b"HTTP/1.1 100 Continue\r\n\r\n" * 50 + _whole(talk)),
    "hints, then the page": _says(lambda talk: b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n" + _whole(talk)),
    "another protocol": _says(lambda talk: b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\n\r\n" + _whole(talk), "answered 101|could not be"),
    "the page twice": _says(lambda talk: _whole(talk) * 2),
    "the page, and rubbish behind": _says(lambda talk: _whole(talk) + b"\x00\xff" * 99),
    "the page, and it is closed": _says(lambda talk: _whole(talk, "Connection: close")),
}  # fmt: skip

LENGTHS: dict[str, Played] = {
    "too long": _says(_with_length("999999"), _CUT),
    "too short": _says(_with_length("100"), _SYNTAX),
    "zero": _says(_with_length("0"), _SYNTAX),
    "negative": _says(_with_length("-1"), _CUT),
    "a word": _says(_with_length("many"), _CUT),
    "with a sign": _says(_with_length("+100"), _CUT),
    "beyond all bounds": _says(_with_length("9" * 30), _CUT),
    "two that differ": _says(
        lambda talk: _head(200, "Content-Length: 9", _length(talk.body)) + talk.body, _CUT
    ),
    "two that agree": _says(lambda talk: _whole(talk, _length(talk.body))),
    "none, and closed": _says(lambda talk: _head(200) + talk.body),
    "none, and closed early": _says(lambda talk: _head(200) + talk.body[:-2], _SYNTAX),
    "HTTP/1.0": _says(lambda talk: b"HTTP/1.0 200 OK\r\n\r\n" + talk.body),
    "beside chunks": _says(
        lambda talk: _chunked(_chunk(talk.body), b"0\r\n\r\n", headers=("Content-Length: 5",))
    ),
}

CHUNKS: dict[str, Played] = {
    "of one byte": _says(_bytewise),
    "of gzip": _says(_gzipped_chunks),
    "closed before the last": _says(lambda talk: _chunked(_chunk(talk.body)), _CUT),
    "closed within": _says(lambda talk: _chunked(_chunk(talk.body)[:-9]), _CUT),
    "a size that is none": _says(lambda talk: _chunked(b"zz\r\n", talk.body), _CUT),
    "a negative size": _says(lambda talk: _chunked(b"-5\r\n", talk.body), _CUT),
    "a size of 2^64": _says(lambda talk: _chunked(b"f" * 16 + b"\r\n", talk.body), _CUT),
    "a size of 1,000 digits": _says(lambda talk: _chunked(b"0" * 999 + b"5\r\n", talk.body), _CUT),
    "too small a size": _says(lambda talk: _chunked(b"5\r\n", talk.body, b"\r\n0\r\n\r\n"), _CUT),
    "none at all": _says(lambda _: _chunked(b"0\r\n\r\n"), _SYNTAX),
    "nothing behind the header": _says(lambda _: _chunked(), _CUT),
    "an extension of 1 MB": _says(lambda talk: _chunked(b"5;x=" + b"y" * 1_000_000 + b"\r\n", talk.body), _CUT),
    "trailers": _says(lambda talk: _chunked(_chunk(talk.body), b"0\r\nx: y\r\nx-key: z\r\n\r\n")),
    "trailers without end": _floods(_chunked(b"0\r\n"), b"x: y\r\n" * 999, _CUT),
    "of another coding": _says(lambda talk: _head(200, "Transfer-Encoding: gzip, chunked") + _chunk(talk.body) + b"0\r\n\r\n", _CUT),
}  # fmt: skip

HEADS: dict[str, Played] = {
    "no HTTP": _says(lambda _: b"SSH-2.0-OpenSSH_9.6\r\n\r\n", _CUT),
    "HTTP/0.9": _says(lambda talk: talk.body, _CUT),
    "an HTML page and no head": _says(lambda _: b"<html>\r\n\r\n</html>", _CUT),
    "a TLS alert": _says(lambda _: b"\x15\x03\x01\x00\x02\x02\x46", _CUT),
    "binary rubbish": _says(lambda _: bytes(range(256)) * 400, _CUT),
    "HTTP/2": _says(lambda talk: b"HTTP/2 200\r\n\r\n" + talk.body, _CUT),
    "HTTP/9.9": _says(lambda talk: b"HTTP/9.9 200 OK\r\n\r\n" + talk.body),
    "a status of words": _says(lambda _: b"HTTP/1.1 abc OK\r\n\r\n", _CUT),
    "status 99": _says(lambda talk: b"HTTP/1.1 099 X\r\n\r\n" + talk.body, _CUT),
    "status 1000": _says(lambda talk: b"HTTP/1.1 1000 X\r\n\r\n" + talk.body, _CUT),
    "status 999": _says(lambda talk: _head(999, _length(talk.body)) + talk.body, "answered 999"),
    "no reason": _says(lambda talk: b"HTTP/1.1 200\r\n%s\r\n\r\n" % _length(talk.body).encode() + talk.body),
    "line feeds alone": _says(lambda talk: _whole(talk).replace(b"\r\n", b"\n")),
    "a header without a colon": _says(lambda talk: _whole(talk, "nonsense"), _CUT),
    "a header with a zero": _says(lambda talk: _whole(talk, "x: a\x00b"), _CUT),
    "a header that says our key and is broken": _says(lambda talk: _whole(talk, f"x\x00: Bearer {KEY}"), _CUT),
    "a first line that says our key": _says(lambda _: f"HTTP/1.1 {KEY}\r\n\r\n".encode(), _CUT),
    "a header without a name": _says(lambda talk: _whole(talk, ": y"), _CUT),
    "a space before the colon": _says(lambda talk: _whole(talk, "x : y"), _CUT),
    "a folded header": _says(lambda talk: _whole(talk, "x: a\r\n b")),
    "a header that is no ASCII": _says(lambda talk: _whole(talk, "x: \u00e9\u4e2d")),
    "1,000 cookies": _says(lambda talk: _whole(talk, *(f"set-cookie: c{n}=x" for n in range(1000)))),
    "a header of 1 MB": _says(lambda talk: _whole(talk, "x: " + "y" * 1_000_000), _CUT),
    "10,000 headers": _says(lambda talk: _whole(talk, *(f"x{n}: {'y' * 50}" for n in range(10_000))), _CUT),
    "headers without end": _floods(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n" * 999, _CUT),
    "a header without end": _floods(b"HTTP/1.1 200 OK\r\nx: ", b"y" * 9999, _CUT),
    "a body without end": _floods(_head(200), b" " * 99_999, "longer than"),
    "chunks without end": _floods(_chunked(), _chunk(b" " * 9999) * 9, "longer than"),
    "an error without end": _floods(_head(500), b" " * 9999, "answered 500"),
    "a bomb of 1 GB": _says(lambda _: _head(200, "Content-Encoding: gzip") + bomb(1000), "longer than", is_heavy=True),
    "to another server": _says(lambda talk: _head(307, f"Location: {talk.canary}/connections?cursor=9", "Content-Length: 0"), "redirect"),
    "next on another server": _says(
        lambda talk: _head(200) + b'{"next": "%s/connections?cursor=9", "results": []}' % talk.canary.encode(), "leads elsewhere|another"
    ),
}  # fmt: skip

SCRIPTS: dict[str, Played] = {
    **CONNECTIONS,
    **{f"length: {name}": played for name, played in LENGTHS.items()},
    **{f"chunks: {name}": played for name, played in CHUNKS.items()},
    **HEADS,
}
