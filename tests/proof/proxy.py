"""A proxy between a worker and Redis, on unix sockets, that loses, delays, doubles and cuts.

It knows where a message of RESP2 begins and ends. Of each connection it takes one request at a time, asks
``choose`` what is to happen to it, passes it on, waits for the server's reply and passes that back. Besides
there are coarse controls: ``cut_all``, ``pause`` and ``resume``, ``refuse``, ``blackhole``. ``running_proxy``
runs one in the event loop of the caller, ``threaded_proxy`` in a thread of its own.

Not for connections on which the server speaks unasked (subscriptions, MONITOR). The second copy of a doubled
request comes on a connection of its own: without AUTH, in database 0.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import msgspec

from tests.proof.resp2 import LIMIT, Request, read_message, read_request

_GONE = (OSError, EOFError, asyncio.LimitOverrunError)


class How(StrEnum):
    """What may happen to a request."""

    DROP_REQUEST = "request dropped"  # it never arrives; the connection is cut
    DROP_REPLY = "reply dropped"  # it is executed; the connection is cut instead of a reply
    LATE = "request late"  # the connection is cut at once; the request arrives `seconds` or `messages` later
    HOLD_REQUEST = "request held"  # it arrives `seconds` later, whether or not the client still waits
    HOLD_REPLY = "reply held"  # it is executed at once, the reply comes `seconds` later
    TWICE = (
        "request doubled"  # a copy arrives `seconds` after the first reply; the client never sees its reply
    )
    SWALLOW = "request swallowed"  # nor does anything after it; the connection stays
    CUT_AFTER = "cut after the reply"
    CUT_IN_REQUEST = "cut in the request"  # half of it arrives
    CUT_IN_REPLY = "cut in the reply"  # it is executed; half of the reply arrives


class Fault(msgspec.Struct, frozen=True):
    """What is to happen to one request. ``messages``: it arrives before the so many-th next request instead."""

    how: How
    seconds: float = 0.0
    messages: int = 0

    def __str__(self) -> str:
        late = f"{self.messages} messages" if self.messages else f"{self.seconds:g} s"
        return f"{self.how} {late}" if self.messages or self.seconds else str(self.how)


class _Cut(ConnectionError):
    """We cut this connection."""


Choose = Callable[[Request], Fault | None]


def never(_request: Request) -> None:
    """No faults."""


class Chance:
    """Chooses at random: a fault for one request in ``one_in``, with delays of up to ``most_s``."""

    def __init__(
        self, rng: random.Random, one_in: float, most_s: float, hows: Collection[How] = tuple(How)
    ) -> None:
        self._rng = rng
        self._one_in = one_in
        self._most_s = most_s
        self._hows = sorted(hows)

    def __call__(self, _request: Request) -> Fault | None:
        if self._rng.random() * self._one_in >= 1:
            return None
        return Fault(self._rng.choice(self._hows), self._rng.random() * self._most_s)


class Proxy:
    """Listens at ``path`` and passes on to the socket ``upstream``. ``choose`` may be replaced at any time.

    ``faults`` counts what was done. ``in_flight`` are requests that the server has and has not answered,
    ``parked`` are those that are yet to arrive. ``answer`` may replace the reply to a request.
    """

    def __init__(
        self,
        upstream: str,
        path: str,
        choose: Choose = never,
        answer: Callable[[Request, bytes], bytes] = lambda _request, reply: reply,
    ) -> None:
        self.path = path
        self.choose = choose
        self.answer = answer
        self.faults: Counter[How] = Counter()
        self.in_flight = 0
        self._delayed = 0
        self.upstream = upstream
        self._late: list[tuple[int, Request]] = []  # before which request each is to arrive
        self._passed = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._clients: set[asyncio.StreamWriter] = set()
        self._is_refusing = self._is_black = False
        self._passing = asyncio.Event()
        self._passing.set()
        self._server: asyncio.Server | None = None

    @property
    def parked(self) -> int:
        return self._delayed + len(self._late)

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._clients)

    # --- coarse controls; call them in the proxy's event loop ---

    def cut_all(self) -> None:
        """Cut every connection; what the server has got it executes."""
        for client in tuple(self._clients):
            client.transport.abort()

    def refuse(self, on: bool = True) -> None:
        """Cut every connection and close new ones at once, until switched off."""
        self._is_refusing = on
        if on:
            self.cut_all()

    def pause(self) -> None:
        """Let nothing pass, in either direction; ``resume`` delivers what came meanwhile."""
        self._passing.clear()

    def resume(self) -> None:
        self._passing.set()

    def blackhole(self, on: bool = True) -> None:
        """Let every message vanish; at the end of it the connections that lost one are cut."""
        self._is_black = on
        if on:
            self.pause()
        else:
            self.cut_all()
            self.resume()

    # --- life ---

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._take, self.path, limit=LIMIT)

    async def drained(self) -> None:
        """Wait until everything that is late has arrived."""
        while self.parked or self.in_flight:
            await asyncio.sleep(0.001)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self.cut_all()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._is_refusing:
            writer.transport.abort()
        else:
            self._clients.add(writer)
            self._start(self._serve(reader, writer))

    def _start(self, work) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- one connection ---

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server: Upstream | None = None
        try:
            server = await self.connect()
            while request := await read_request(reader):
                await self._let_pass()
                await self._deliver_due()
                fault = self.choose(request)
                if fault is None:
                    await self._reply(writer, await server.ask(request))
                else:
                    self.faults[fault.how] += 1
                    await self._hurt(fault, request, server, reader, writer)
        except _GONE:
            pass  # either side went away, or we cut
        finally:
            self._clients.discard(writer)
            if not writer.is_closing():  # else what was written last is still on its way
                writer.transport.abort()
            if server is not None:
                server.close()

    async def _let_pass(self) -> None:
        if not self._passing.is_set():
            is_lost = self._is_black
            await self._passing.wait()
            if is_lost:
                raise _Cut

    async def _reply(self, writer: asyncio.StreamWriter, reply: bytes) -> None:
        await self._let_pass()
        writer.write(reply)
        await writer.drain()

    async def _hurt(
        self,
        fault: Fault,
        request: Request,
        server: Upstream,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        match fault.how:
            case How.DROP_REQUEST:
                raise _Cut
            case How.DROP_REPLY:
                await server.ask(request)
                raise _Cut
            case How.LATE:
                self._delay(request, fault)
                raise _Cut
            case How.HOLD_REQUEST:
                self._delayed += 1
                try:
                    await asyncio.sleep(fault.seconds)
                finally:
                    self._delayed -= 1
                await self._reply(writer, await server.ask(request))
            case How.HOLD_REPLY:
                reply = await server.ask(request)
                await asyncio.sleep(fault.seconds)
                await self._reply(writer, reply)
            case How.TWICE:
                reply = await server.ask(request)
                self._delay(request, fault)
                await self._reply(writer, reply)
            case How.SWALLOW:
                await reader.read()  # to the end: no stream loses a message and brings the next one
                raise _Cut
            case How.CUT_AFTER:
                await self._reply(writer, await server.ask(request))
                writer.close()  # what was written still arrives
                raise _Cut
            case How.CUT_IN_REQUEST:
                server.write(request.raw[: len(request.raw) // 2])
                raise _Cut
            case How.CUT_IN_REPLY:
                reply = await server.ask(request)
                writer.write(reply[: len(reply) // 2])
                writer.close()
                raise _Cut

    def _delay(self, request: Request, fault: Fault) -> None:
        if fault.messages:
            self._late.append((self._passed + fault.messages, request))
        else:
            self._delayed += 1
            self._start(self._deliver_after(request, fault.seconds))

    async def _deliver_after(self, request: Request, seconds: float) -> None:
        try:
            await asyncio.sleep(seconds)
            await self._deliver(request)
        finally:
            self._delayed -= 1

    async def _deliver(self, request: Request) -> None:
        """On a connection of its own."""
        with suppress(*_GONE):
            server = await self.connect()
            try:
                await server.ask(request)
            finally:
                server.close()

    async def _deliver_due(self) -> None:
        self._passed += 1
        due = [request for at, request in self._late if at <= self._passed]
        self._late = [(at, request) for at, request in self._late if at > self._passed]
        for request in due:
            await self._deliver(request)

    async def connect(self) -> Upstream:
        """A connection to the server."""
        return _Upstream(self, *await asyncio.open_unix_connection(self.upstream, limit=LIMIT))


class Upstream(Protocol):
    """A connection to the server."""

    def write(self, data: bytes) -> None: ...

    async def ask(self, request: Request) -> bytes:
        """The server's reply."""
        ...

    def close(self) -> None: ...


class _Upstream:
    def __init__(self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._reader = reader
        self._writer = writer

    def write(self, data: bytes) -> None:
        self._writer.write(data)

    async def ask(self, request: Request) -> bytes:
        self._proxy.in_flight += 1
        try:
            self._writer.write(request.raw)
            reply = await read_message(self._reader)
        finally:
            self._proxy.in_flight -= 1
        return self._proxy.answer(request, reply)

    def close(self) -> None:
        self._writer.close()


# --- running one ---


@asynccontextmanager
async def running_proxy(upstream: str, choose: Choose = never) -> AsyncIterator[Proxy]:
    """A proxy in this event loop, on a socket of its own."""
    with TemporaryDirectory(prefix="ntf-", dir="/tmp") as directory:
        proxy = Proxy(upstream, str(Path(directory) / "p"), choose)
        await proxy.start()
        try:
            yield proxy
        finally:
            await proxy.close()


class ThreadedProxy:
    """Handles on a proxy in another thread, for a test without an event loop."""

    def __init__(self, proxy: Proxy, loop: asyncio.AbstractEventLoop) -> None:
        self.path = proxy.path
        self.proxy = proxy  # its counts may be read from here
        self._loop = loop

    def do(self, what: Callable[[Proxy], object]) -> None:
        """Call ``what`` with the proxy, in its thread: ``do(Proxy.cut_all)``."""
        done = threading.Event()

        def call() -> None:
            what(self.proxy)
            done.set()

        self._loop.call_soon_threadsafe(call)
        assert done.wait(10), "the proxy's thread does not answer"


@contextmanager
def threaded_proxy(upstream: str, choose: Choose = never) -> Iterator[ThreadedProxy]:
    """A proxy in a thread, until the end of the block."""
    started = threading.Event()
    handles: list[ThreadedProxy] = []
    stop = asyncio.Event()

    async def run() -> None:
        async with running_proxy(upstream, choose) as proxy:
            handles.append(ThreadedProxy(proxy, asyncio.get_running_loop()))
            started.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(run(),), name="proxy", daemon=True)
    thread.start()
    try:
        assert started.wait(10), "the proxy did not start"
        yield handles[0]
    finally:
        handles[0].do(lambda _proxy: stop.set())
        thread.join(10)
