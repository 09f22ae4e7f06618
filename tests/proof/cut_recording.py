"""A run of the notifier on a private server, and the append-only file that it left.

The real poller and dispatcher work on a server with the embedded store's own flags: a baseline, then one
change after the other, each polled and delivered. What the source showed and what the receivers took is
kept for each moment, and the file is taken apart into commands, so that a trial can cut it anywhere and
know what should be found in it.
"""

from __future__ import annotations

import asyncio
import copy
import os
import random
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError

from notifier.store import server
from tests.e2e.oracle import Snapshot, statuses_of
from tests.proof.oracle import shown_by
from tests.support.account import Account, connection, group, milestone
from tests.support.clock import FakeClock
from tests.support.configs import EVERYTHING, config_with
from tests.support.rig import Rig
from tests.support.servers import is_listening, wait_until

SINKS = ("backend", "second")
CHUNK = 2  # connections in a commit, so that a few changes make several commits
_BASELINE = 9
_STEPS = 56
_EVER = timedelta(days=36_500)  # the server's own date may be far from the virtual one: nothing is trimmed
_AOF = "appendonlydir"
_INCR = "appendonly.aof.1.incr.aof"


class Command(msgspec.Struct, frozen=True):
    """One command in the file, and where it lies."""

    start: int
    end: int
    words: tuple[bytes, ...]


class Moment(msgspec.Struct, frozen=True):
    """How things stood after one poll and its deliveries; counts are of the whole recording's lists."""

    what: str
    version: str
    passed_s: float
    listed: list[dict[str, Any]]
    shown: dict[str, list[Any]]
    gone: frozenset[str]
    events: int
    arrived: dict[str, int]


class Recording(msgspec.Struct, frozen=True):
    """``file`` is the append-only file, ``beside`` what lies beside it; ``moments[0]`` is the baseline.

    ``commits`` are (start, end, number of its moment) of each commit in the file.
    """

    binary: str
    seed: int
    file: bytes
    beside: dict[str, bytes]
    before: Snapshot
    moments: list[Moment]
    events: list[dict[str, Any]]
    arrived: dict[str, list[dict[str, Any]]]
    commands: list[Command]
    commits: list[tuple[int, int, int]]

    def write(self, place: Path, cut: int) -> None:
        """The directory of a store whose file ends after ``cut`` bytes."""
        (place / _AOF).mkdir(exist_ok=True)
        for left in (place / _AOF).iterdir():
            left.unlink()
        for name, content in self.beside.items():
            (place / _AOF / name).write_bytes(content)
        (place / _AOF / _INCR).write_bytes(self.file[:cut])

    def moment_at(self, cut: int) -> int:
        """The moment that was in the making when the byte before ``cut`` was written."""
        return next((moment for start, _, moment in reversed(self.commits) if start < cut), 0)


class Running:
    """A server on a directory that may hold a file already; started at once, waited for when needed."""

    def __init__(self, binary: str, place: Path) -> None:
        self._socket = place / "s"
        self._log = place / "server.log"
        lock = os.open(place / "lock", os.O_CREAT | os.O_RDWR)
        try:
            self._process = server.start(binary, place, str(self._socket), os.environ, lock)
        finally:
            os.close(lock)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[Redis]:
        ended = self._process
        wait_until(lambda: is_listening(self._socket) or ended.has_ended, "the server listens")
        if ended.has_ended:
            raise AssertionError(f"the server did not start:\n{server.last_lines(self._log, ended.said)}")
        async with Redis(unix_socket_path=str(self._socket), retry=Retry(NoBackoff(), 0)) as redis:
            await _until_loaded(redis)
            yield redis

    def end(self) -> None:
        """SIGKILL, and reap."""
        self._process._process.kill()
        self._process._thread.join(10)
        for path in (self._socket, self._log):
            path.unlink(missing_ok=True)


async def _until_loaded(redis: Redis) -> None:
    """A server may answer before it has read its file, but then only now and then: no need to pause."""
    for _ in range(10_000):
        with suppress(BusyLoadingError):
            await redis.ping()
            return
    raise AssertionError("the server does not end loading")


@contextmanager
def small_chunks() -> Iterator[None]:
    with patch("notifier.poller.commits.CHUNK", CHUNK), patch("notifier.poller.baseline.CHUNK", CHUNK):
        yield


def rig_on(redis: Redis, account: Account, passed_s: float) -> Rig:
    """A new process of the notifier, ``passed_s`` after the virtual beginning."""
    clock = FakeClock()
    clock.advance(passed_s)
    config = config_with(
        EVERYTHING.replace("[backend]", f"[{', '.join(SINKS)}]"),
        "".join(f"  {name}: {{type: console}}\n" for name in SINKS),
    )
    rig = Rig(redis, clock, account, config)
    rig.store._history = rig.lanes._ledger = _EVER
    return rig


def record(binary: str, seed: int) -> Recording:
    """Run the notifier on ``binary`` until the file holds everything that a trial may cut."""
    with TemporaryDirectory(prefix="ntf-", dir="/tmp") as name:
        running = Running(binary, Path(name))
        try:
            with small_chunks():
                moments, events, arrived = asyncio.run(_run(running, seed))
        finally:
            running.end()  # the kernel has what was written, and a kill takes nothing from it
        files = {path.name: path.read_bytes() for path in (Path(name) / _AOF).iterdir()}
    file = files.pop(_INCR)
    commands = list(_commands(file))
    before = statuses_of(moments[0].listed)
    commits = _commits(commands, [moment.version for moment in moments])
    assert commits[-1][2] == len(moments) - 1, "the file does not hold everything"
    return Recording(binary, seed, file, files, before, moments, events, arrived, commands, commits)


async def _run(running: Running, seed: int) -> tuple[list[Moment], list[Any], dict[str, list[Any]]]:
    world = _World(seed)
    moments: list[Moment] = []
    async with running.client() as redis:
        rig = rig_on(redis, world.account, 0.0)
        for what in world.steps():
            await rig.poll()
            await rig.deliver()
            history = await rig.store.history(newest=1_000_000)
            moments.append(
                Moment(
                    what,
                    (await rig.store.meta()).version,
                    rig.clock.monotonic() - FakeClock().monotonic(),
                    copy.deepcopy(world.account.listed),
                    shown_by(world.account.served),
                    frozenset(world.gone),
                    sum("entity" in body["data"] for body in history),
                    {sink: len(rig.sinks[sink].got) for sink in SINKS},
                )
            )
        events = [body for body in reversed(history) if "entity" in body["data"]]
        await redis.config_set("appendfsync", "always")  # what was held back for an fsync is written now
        await redis.hset(rig.keys.lease, "until", 0)
    return moments, events, {sink: rig.sinks[sink].got for sink in SINKS}


class _World:
    """The source, and what happens in it: random changes, and at the end one of each kind."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(f"cuts {seed}")
        self._made = 0
        self._away: list[dict[str, Any]] = []
        self.gone: set[str] = set()
        self.account = Account(*(self._new() for _ in range(_BASELINE)), page_size=4)

    def steps(self) -> Iterator[str]:
        """What was done, before each poll; the first poll is the baseline."""
        yield "baseline"
        kinds: Sequence[Callable[[], None]] = (
            self.status, self.status, self.several, self.add, self.drop, self.come_back, self.child, self.field,
        )  # fmt: skip
        last = (self.drop, self.nothing, self.status, self.add, self.drop, self.nothing, self.several)
        for step in [*(self._rng.choice(kinds) for _ in range(_STEPS - len(last))), *last]:
            step()
            yield step.__name__

    def _new(self) -> dict[str, Any]:
        self._made += 1
        id_ = f"conn_{self._made:03}"
        first = group(f"gc_{self._made:03}")
        return connection(id_, first, milestones=[milestone(f"ms_{self._made:03}")][: self._made % 2])

    def _any(self) -> dict[str, Any]:
        return self._rng.choice(self.account.listed)

    def _turn(self, item: dict[str, Any]) -> None:
        others = {"pending", "processing", "needs_attention", "completed"} - {item["status"]}
        item["status"] = self._rng.choice(sorted(others))

    def nothing(self) -> None:
        """Nothing happens; what was missed once is removed."""

    def status(self) -> None:
        item = self._any()
        self._turn(self._rng.choice([*item["group_connections"], *item["events"]]))

    def several(self) -> None:
        for item in self._rng.sample(self.account.listed, CHUNK + 1):
            self._turn(self._rng.choice([item, *item["group_connections"]]))

    def add(self) -> None:
        self.account.listed.insert(self._rng.randrange(len(self.account.listed)), self._new())

    def drop(self) -> None:
        if len(self.account.listed) <= _BASELINE - 2:
            return self.add()
        item = self._any()
        self._away.append(item)
        self.account.drop(item["id"])
        self.gone |= {item["id"]}
        return None

    def come_back(self) -> None:
        if not self._away:
            return self.add()
        self.account.listed.append(self._away.pop(self._rng.randrange(len(self._away))))
        return None

    def child(self) -> None:
        item = self._any()
        groups = item["group_connections"]
        if len(groups) > 1:
            self.gone.add(groups.pop()["id"])
        else:
            self._made += 1
            groups.append({**group(f"gc_{self._made:03}_x"), "connection": item["id"]})

    def field(self) -> None:
        self._any()["broker_url"] = f"https://broker.test/{self._rng.randrange(10**6)}"


def _commands(file: bytes) -> Iterator[Command]:
    """The commands of an append-only file, which is written in the wire protocol."""
    at = 0
    while at < len(file):
        start, end = at, file.index(b"\r\n", at)
        count, at = int(file[at + 1 : end]), end + 2
        words = []
        for _ in range(count):
            end = file.index(b"\r\n", at)
            length = int(file[at + 1 : end])
            words.append(file[end + 2 : end + 2 + length])
            at = end + 4 + length
        yield Command(start, at, tuple(words))


def _commits(commands: Sequence[Command], versions: Sequence[str]) -> list[tuple[int, int, int]]:
    """(start, end, moment) of each commit: a transaction that sets the version."""
    found, began, version, moment = [], 0, "", 0
    for command in commands:
        match [word.upper() for word in command.words[:1]]:
            case [b"MULTI"]:
                began, version = command.start, ""
            case [b"EXEC"] if version:
                found.append((began, command.end, moment))
                moment += version == versions[min(moment, len(versions) - 1)]
            case [b"HSET"] if command.words[2] == b"version":
                version = command.words[3].decode()
    return found
