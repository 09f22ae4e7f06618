"""A source that lies where it is told to, and the worker that has to live with it.

``Source`` is an account of eight connections on two pages, to which a hostility is done: one function that is
asked for each request and may answer in its place, items that are something else than they were, connections
that the list leaves out. It records what it really showed, and every request that went anywhere but to it.
"""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import httpx
import msgspec

from notifier.clasp.client import ClaspClient
from notifier.core.rules import Router
from notifier.poller.look import Tools
from notifier.poller.loop import Hooks, Poller
from notifier.poller.names import NameBook
from notifier.store.names import NameCache
from tests.support.account import BASE, Account, connection, group, milestone
from tests.support.rig import Rig

KEY = "sk_live_canary_7f3a9c"
PAGE_SIZE = 5  # conn_00 to conn_04 on the first page, conn_05 to conn_07 on the second
TIMEOUT = timedelta(seconds=30)
_CONNECTIONS = 8
_GONE = b'{"type": "not_found", "message": "no such connection"}'


class Ask(msgspec.Struct, frozen=True):
    """A request: for a page of the list (``cursor``), or for one object of a kind by its ``id``."""

    kind: str  # connections, carriers or employers
    id: str = ""
    cursor: str = ""

    @property
    def page(self) -> int:
        """Of the list as it honestly is: 1 or 2; 0 is no page of the list."""
        return 0 if self.id else 1 if not self.cursor else 2

    @staticmethod
    def of(url: httpx.URL) -> Ask:
        kind, _, id_ = url.path.strip("/").partition("/")
        return Ask(kind, id_, url.params.get("cursor") or "")


class Reply(msgspec.Struct, frozen=True):
    """An answer in place of the honest one. ``shown`` is the JSON that can be read in it, if not its body.

    What is huge comes in ``pieces`` that are the same object many times, so that it costs the test nothing.
    """

    body: bytes = b""
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()
    shown: bytes | None = None
    pieces: tuple[bytes, ...] = ()

    def response(self) -> httpx.Response:
        headers = [(name.encode(), value.encode()) for name, value in self.headers]
        return httpx.Response(self.status, headers=headers, stream=_Stream(self.pieces or (self.body,)))


class _Stream(httpx.AsyncByteStream):
    def __init__(self, pieces: tuple[bytes, ...]) -> None:
        self._pieces = pieces

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


Hostility = Callable[["Source", Ask], Reply | None]
GONE = Reply(_GONE, 404)


def honest(_source: Source, _ask: Ask) -> Reply | None:
    """Nothing in place of the honest answer."""
    return None


class Source(Account):
    """See the module. ``instead`` maps ids to the JSON that stands in the list in their place."""

    def __init__(self) -> None:
        items = [
            connection(
                f"conn_{n:02}",
                group(f"gc_{n:02}_a", carrier=f"carr_{n}"),
                group(f"gc_{n:02}_b", carrier=f"carr_{n}"),
                milestones=[milestone(f"ms_{n:02}")],
            )
            for n in range(_CONNECTIONS)
        ]
        super().__init__(*items, page_size=PAGE_SIZE)
        self.hostility: Hostility = honest
        self.instead: dict[str, bytes] = {}
        self.hidden: frozenset[str] = frozenset()
        self.strays: list[str] = []  # requests that went elsewhere

    def be_honest(self) -> None:
        self.hostility, self.instead, self.hidden = honest, {}, frozenset()

    def reply_to(self, url: httpx.URL) -> Reply:
        """The answer to one request, recorded as shown."""
        ask = Ask.of(url)
        if url.copy_with(path="/", query=None) != httpx.URL(f"{BASE}/"):
            self.strays.append(str(url))
        reply = self.hostility(self, ask)
        if reply is None:
            reply = self.honest(ask)
        self.requests.append(url.path)
        if reply.status == httpx.codes.OK and ask.kind == "connections":
            self._show(reply.body if reply.shown is None else reply.shown)
        return reply

    def honest(self, ask: Ask) -> Reply:
        """What it answers where nothing is done to it but ``instead`` and ``hidden``."""
        if ask.kind == "connections" and not ask.id:
            return self.page(int(ask.cursor or 0))
        if ask.kind == "connections":
            answer = self._one(ask.id)
        else:
            answer = self._answer(httpx.Request("GET", f"{BASE}/{ask.kind}/{quote(ask.id, safe='')}"))
        return Reply(answer.content, answer.status_code)

    def page(self, start: int, next_: Any = ...) -> Reply:
        """The page from ``start`` on, with another ``next`` if one is given."""
        listed = [item for item in self.listed if item["id"] not in self.hidden]
        end = start + self.page_size
        if next_ is ...:
            next_ = f"{BASE}/connections?cursor={end}" if end < len(listed) else None
        items = listed[start:end]
        raws = [self.instead.get(item["id"]) or json.dumps(item).encode() for item in items]
        well = [raw for item, raw in zip(items, raws, strict=True) if item["id"] not in self.instead]
        if well != raws:
            for raw in raws:
                self._show(raw)  # one by one: a broken one does not hide the others
        return Reply(page_of(raws, next_), shown=page_of(well))

    def _show(self, body: bytes) -> None:
        try:
            json.loads(body)
        except (ValueError, RecursionError):
            return
        self.served.append(body)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        return self.reply_to(request.url).response()


def page_of(items: list[bytes], next_: Any = None) -> bytes:
    """A page of items that are JSON already."""
    head = b'{"next": %s, "previous": null, "results": [' % json.dumps(next_).encode()
    return head + b", ".join(items) + b"]}"


class HostileRig(Rig):
    """A worker with a key that must be seen nowhere, at ``base_url``; over the wire without ``transport``."""

    def __init__(self, redis: Any, clock: Any, source: Source, base_url: str = "") -> None:
        self._base_url = base_url
        self._clients: list[ClaspClient] = []
        super().__init__(redis, clock, source, base_url=base_url or BASE)

    def _poller(self) -> Poller:
        client = ClaspClient(
            base_url=self.settings.base_url,
            api_key=KEY,
            api_version="2026-04-24",
            page_size=100,
            timeout=TIMEOUT,
            clock=self.clock,
            rng=random.Random(0),
            transport=None if self._base_url else self.account.transport(),
        )
        self._clients.append(client)
        names = NameBook(client, NameCache(self.redis, self.keys, self.store.now_us), enabled=True)
        tools = Tools(client, self.store, names, Router(self.config), self.still)
        hooks = Hooks(lambda _sinks: None, self.results.append, lambda: None)
        return Poller(tools, self.settings, self.lanes, tuple(self.config.sinks), timedelta(seconds=5), hooks)

    async def close(self) -> None:
        for client in self._clients:
            await client.close()
