"""What the benchmarks look at: a hundred thousand connections as the sandbox makes them, page by page."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from time import thread_time

import httpx
import msgspec
import orjson

from notifier.clasp.answers import Answer
from notifier.clasp.client import ClaspClient
from notifier.clock import SystemClock
from notifier.errors import SourceError
from notifier.sandbox.build import build_world

PAGE = 100
CLOCK = SystemClock()
BASE = "https://clasp.test"
UNTRACKED = frozenset({"broker_federal_ein"})
_FRACTION = re.compile(rb"(T\d\d:\d\d:\d\d)(?:\.\d+)?(Z|\+00:00)")


def connections(count: int) -> list[bytes]:
    """The JSON texts of so many connections."""
    world = build_world(seed=1, clock=CLOCK, connections=count)
    return [world.text(id_) for id_ in world.ids()]


def pages_of(texts: Sequence[bytes]) -> list[bytes]:
    """The list's pages, as the API answers them."""
    pages = []
    for at in range(0, len(texts), PAGE):
        more = at + PAGE < len(texts)
        link = f'"{BASE}/connections?cursor=cD0{at + PAGE}&page_size={PAGE}"'.encode() if more else b"null"
        results = b",".join(texts[at : at + PAGE])
        pages.append(b'{"next":' + link + b',"previous":null,"results":[' + results + b"]}")
    return pages


def changed(texts: Sequence[bytes], share: float) -> list[bytes]:
    """The same connections, the status of a group connection moved in ``share`` of them."""
    rng = random.Random(2)
    out = list(texts)
    for at in rng.sample(range(len(texts)), round(len(texts) * share)):
        item = json.loads(out[at])
        group = rng.choice(item["group_connections"])
        group["status"] = "needs_attention" if group["status"] != "needs_attention" else "processing"
        out[at] = json.dumps(item, separators=(",", ":")).encode()
    return out


def reordered(texts: Sequence[bytes]) -> list[bytes]:
    """The same connections with the keys of each object the other way round."""

    def turned(value: object) -> object:
        if isinstance(value, dict):
            return {name: turned(inner) for name, inner in reversed(value.items())}
        return [turned(inner) for inner in value] if isinstance(value, list) else value

    return [orjson.dumps(turned(orjson.loads(text))) for text in texts]


def with_times(texts: Sequence[bytes], *, digits: int) -> list[bytes]:
    """The same connections, each timestamp with a fraction of so many digits."""
    rng = random.Random(3)

    def written(match: re.Match[bytes]) -> bytes:
        fraction = f".{rng.randrange(1, 10**digits):0{digits}d}".encode() if digits else b""
        return match[1] + fraction + match[2]

    return [_FRACTION.sub(written, text) for text in texts]


class Replay(ClaspClient):
    """A source whose answers have just arrived: the client as it is, without the network.

    ``floor_s`` is the thread's time that ``orjson.loads`` took for the same bodies, each right before the
    client got it. It is to be taken off the time of the traversal, and so is ``aside_s``, which was spent on
    getting the floor's caches warm. ``is_new``: every page differs from the last time in a byte that means
    nothing, so that its items have to be looked at one by one.
    """

    def __init__(self, bodies: Sequence[bytes], *, is_new: bool = False) -> None:
        super().__init__(
            base_url=BASE,
            api_key="bench",
            api_version=None,
            page_size=PAGE,
            timeout=timedelta(seconds=30),
            clock=CLOCK,
            rng=random.Random(0),
        )
        self._bodies = bodies
        self._is_new = is_new
        self._next = 0
        self._time = 0
        self.floor_s = self.aside_s = 0.0

    async def _patiently(  # pages come in their order
        self,
        http: httpx.AsyncClient,  # noqa: ARG002
        url: httpx.URL,  # noqa: ARG002
    ) -> tuple[Answer, SourceError | None]:
        began = thread_time()
        if self._next % len(self._bodies) == 0:
            self._time += 1
            self.floor_s = self.aside_s = 0.0
        body = self._bodies[self._next % len(self._bodies)]
        self._next += 1
        if self._is_new:
            body = body.replace(b'"previous":null', b'"previous":%d' % self._time, 1)
        orjson.loads(body)
        start = thread_time()
        orjson.loads(body)
        end = thread_time()
        self.floor_s += end - start
        self.aside_s += start - began
        return Answer(200, "application/json", None, body), None


class KnownStates:
    """The store as far as a traversal asks it: what is committed, by id."""

    def __init__(self, values: Mapping[str, bytes]) -> None:
        self.values = dict(values)

    async def states(self, ids: Sequence[str]) -> list[bytes | None]:
        """The encoded states of these connections."""
        return [self.values.get(id_) for id_ in ids]


def ids_of(texts: Sequence[bytes]) -> list[str]:
    """The connections' ids."""

    class OnlyId(msgspec.Struct):
        id: str

    decoder = msgspec.json.Decoder(OnlyId)
    return [decoder.decode(text).id for text in texts]
