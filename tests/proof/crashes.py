"""A worker killed with SIGKILL at every opcode of everything that it does.

A trial forks a process which plays a scene and kills itself at opcode k, looks whether the store agrees with
itself at that instant, lets a fresh worker run to rest an hour later, and has the oracle compare. Double kills
kill the first of the fresh workers as well, at an opcode of its way to rest.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

import msgspec
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.e2e.oracle import Snapshot, statuses_of
from tests.proof import oracle
from tests.proof.opcodes import Opcodes
from tests.proof.scenes import SCENES, Props, Scene, Stage
from tests.proof.spread import quiet_log, spread
from tests.proof.taker import running_taker, wait_for_all
from tests.proof.tally import Proof, Tally, Verdict
from tests.support.account import Account
from tests.support.rig import Rig
from tests.support.servers import binaries, running_server

LATER_S = 3600.0  # after a death: leases and claims have ended
KILLS, DOUBLE_KILLS = 12_000, 2_000  # at scale 1; with scale 13 every opcode has its turn
_ROUNDS = 60  # of deliveries, half a minute each, within which everything must be at rest
_PATIENCE = 200  # looks at lanes in which nothing moves: every sink here answers at once


class Trial(msgspec.Struct, frozen=True):
    """Kill at opcode ``first`` of the scene; if ``second``, at that one of the next worker's way to rest."""

    scene: str
    first: int
    second: int = 0

    def __str__(self) -> str:
        then = f", then at opcode {self.second} of the next worker" if self.second else ""
        return f"{self.scene}, killed at opcode {self.first}{then}"


# --- the processes of a trial ---


@contextmanager
def props() -> Iterator[Props]:
    """A server, a receiver and a file for trials that come one after another."""
    with (
        TemporaryDirectory(prefix="ntf-", dir="/tmp") as directory,
        running_server(binaries()["bundled"]) as socket,
        running_taker(Path(directory) / "taken") as url,
    ):
        yield Props(socket, f"{directory}/taken", url)


def in_a_process(work: Callable[[], Awaitable[Any]]) -> tuple[int, str]:
    """Do ``work`` in a forked process: its wait status, and its traceback where it failed."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        do_and_exit(work, writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as said:
        text = said.read().decode()
    return os.waitpid(pid, 0)[1], text


def do_and_exit(work: Callable[[], Awaitable[Any]], writer: int) -> NoReturn:
    """A forked process's whole life: nothing returns into its parent's code."""
    try:
        asyncio.run(work())  # type: ignore[arg-type]
        os._exit(0)
    except BaseException:  # noqa: BLE001 - told to the parent
        os.write(writer, traceback.format_exc().encode()[-2000:])
        os._exit(1)


def client(socket: str) -> Redis:
    return Redis(unix_socket_path=socket, retry=Retry(NoBackoff(), 0))


async def play(scene: Scene, given: Props, opcodes: Opcodes) -> None:
    """The scene from its start; the opcodes of its act are counted."""
    async with client(given.socket) as redis:
        stage = scene.stage(redis, given)
        await scene.prepare(stage)
        with opcodes.traced():
            await scene.act(stage)


async def go_on(scene: Scene, given: Props, opcodes: Opcodes) -> None:
    """What a fresh worker does an hour later, until everything is at rest."""
    async with client(given.socket) as redis:
        stage = later(scene, redis, given)
        with opcodes.traced():
            await to_rest(stage.rig)


def later(scene: Scene, redis: Redis, given: Props, seconds: float = LATER_S) -> Stage:
    """A fresh worker after the source changed."""
    stage = scene.stage(redis, given)
    stage.change()
    stage.rig.clock.advance(seconds)
    return stage


async def to_rest(rig: Rig) -> None:
    """Poll until nothing can be new (a removal takes three), and deliver everything."""
    await rig.poll(4)
    for _ in range(_ROUNDS):
        await rig.deliver(_PATIENCE)
        if not sum([await rig.redis.zcard(rig.keys.lanes(sink)) for sink in rig.sinks]):
            return
        rig.clock.advance(30)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed(scene: Scene, given: Props, how: Callable[..., Awaitable[None]], at: int) -> list[str]:
    """Let a process do ``how`` and die at an opcode; what is wrong with its end, if anything."""
    status, text = in_a_process(lambda: how(scene, given, Opcodes(at, _kill)))
    wait_for_all(given.receiver_url)
    is_fine = os.WIFEXITED(status) and not os.WEXITSTATUS(status)  # it came to its end before
    is_killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return [] if is_fine or is_killed else [f"ended by itself: {text}"]


def run_trial(trial: Trial, given: Props) -> Verdict:
    """One trial, on a store with nothing in it."""
    scene = SCENES[trial.scene]
    asyncio.run(emptied(given))
    broken = killed(scene, given, play, trial.first)
    broken += asyncio.run(_examined(scene, given))
    if trial.second:
        broken += killed(scene, given, go_on, trial.second)
        broken += asyncio.run(_examined(scene, given))
    kills = 2 if trial.second else 1
    verdict = asyncio.run(rested(scene, given, LATER_S * kills))
    verdict.broken = [*broken, *verdict.broken, *_too_often(given, 1 + kills + scene.cut_off)]
    return verdict


def _too_often(given: Props, most: int) -> list[str]:
    """What was taken more often than deaths explain: one more for each, where it was under way."""
    counts = Counter(
        body["data"]["id"] for body in oracle.decoded(Path(given.taken).read_bytes().splitlines())
    )
    return [f"{id_} was taken {count} times" for id_, count in counts.items() if count > most]


async def emptied(given: Props) -> None:
    async with client(given.socket) as redis:
        await redis.flushall()
    Path(given.taken).write_bytes(b"")
    Path(given.shown).write_bytes(b"")


async def _examined(scene: Scene, given: Props) -> list[str]:
    """What is wrong with the store at the instant of a death."""
    async with client(given.socket) as redis:
        rig = scene.stage(redis, given).rig
        if not (await rig.store.meta()).epoch:
            return []  # the baseline is under way
        before = statuses_of(scene.account().listed)
        return await oracle.examine(redis, rig.store, rig.keys, before, is_at_rest=False)


async def rested(
    scene: Scene, given: Props, seconds: float, then: Callable[[Account], None] = lambda _: None
) -> Verdict:
    """Let a fresh worker run to rest, and judge. ``then`` is what happened to the source after the scene."""
    async with client(given.socket) as redis:
        stage = later(scene, redis, given, seconds)
        moments = [statuses_of(scene.account().listed), statuses_of(stage.rig.account.listed)]
        then(stage.rig.account)
        before, after = moments[0], statuses_of(stage.rig.account.listed)
        await to_rest(stage.rig)
        attempts = await stage.rig.lanes.attempts(newest=10_000)
        history = list(reversed(await stage.rig.store.history(newest=10_000)))
        verdict = oracle.judge(
            before=before,
            after=after,
            shown=_shown(*moments, after),
            gone=scene.gone,
            history=history,
            arrived={"backend": oracle.decoded(Path(given.taken).read_bytes().splitlines())},
            buried={attempt["id"] for attempt in attempts if attempt["outcome"] == "dead"},
            dead={"backend": {x.delivery.id for x in await stage.rig.lanes.dead_letters("backend")}},
        )
        verdict.broken += await oracle.examine(redis, stage.rig.store, stage.rig.keys, before)
        if "people" in stage.rig.sinks:
            verdict.broken += _alerts(history, after, given)
        return verdict


def _alerts(history: list[dict[str, Any]], after: Snapshot, given: Props) -> list[str]:
    """Open is what needs attention, and that is what people are shown; what was taken, was taken once."""
    alerts, wrong = oracle.open_alerts(history)
    needs = {id_ for of in after.values() for id_, status in of.items() if status == "needs_attention"}
    if alerts != needs:
        wrong.append(f"open is {sorted(alerts)}, and what needs attention {sorted(needs)}")
    shown = {
        page["message"]: page["show"] for page in oracle.decoded(Path(given.shown).read_bytes().splitlines())
    }
    taken = [body for body in history if body["type"] == "alert.acknowledged"]
    if len(taken) > 1:
        wrong.append(f"taken {len(taken)} times")
    return wrong + oracle.shown_alerts(alerts, shown.values())


def _shown(*moments: Any) -> dict[str, list[Any]]:
    """What the source showed of each entity, from how it stood at each moment."""
    shown: dict[str, list[Any]] = {}
    for statuses in (entities for moment in moments for entities in moment.values()):
        for id_, status in statuses.items():
            shown.setdefault(id_, []).append(status)
    return shown


# --- which trials ---


class Size(msgspec.Struct, frozen=True):
    """How many opcodes something has, and at which of them something leaves the process."""

    opcodes: int
    effects: tuple[int, ...]

    def points(self, wanted: int, offset: float) -> list[int]:
        """Both sides of every effect, and evenly spaced ones between them: about ``wanted``."""
        edges = {at + side for at in self.effects for side in (0, 1) if 0 < at + side <= self.opcodes}
        if wanted <= len(edges):
            return _spaced(sorted(edges), wanted, offset)
        return sorted(edges | set(_spaced(range(1, self.opcodes + 1), wanted - len(edges), offset)))


def _spaced(numbers: Sequence[int], wanted: int, offset: float) -> list[int]:
    wanted = min(wanted, len(numbers))
    return [numbers[int((n + offset) * len(numbers) / wanted)] for n in range(wanted)]


def size_of(scene: Scene, given: Props) -> Size:
    """The size of the scene's act."""
    asyncio.run(emptied(given))
    return _counted(scene, given, play)


def _counted(scene: Scene, given: Props, how: Callable[..., Awaitable[None]]) -> Size:
    reader, writer = os.pipe()

    async def count() -> None:
        opcodes = Opcodes()
        await how(scene, given, opcodes)
        with os.fdopen(writer, "wb") as said:
            said.write(msgspec.json.encode(Size(opcodes.count, tuple(opcodes.effects))))

    status, text = in_a_process(count)
    os.close(writer)
    with os.fdopen(reader, "rb") as said:
        answer = said.read()
    assert not status, text
    return msgspec.json.decode(answer, type=Size)


def trials(scale: float, seed: int, scenes: Sequence[str] = ()) -> list[Trial]:
    """Single kills in every scene, by its length, and random double kills."""
    rng = random.Random(seed)
    sizes: dict[str, tuple[Size, Size]] = {}
    with props() as given, quiet_log():
        for name in scenes or SCENES:
            sizes[name] = size_of(SCENES[name], given), _counted(SCENES[name], given, go_on)
    whole = sum(first.opcodes for first, _ in sizes.values())
    single = [
        Trial(name, point)
        for name, (first, _) in sizes.items()
        for point in first.points(max(1, round(KILLS * scale * first.opcodes / whole)), rng.random())
    ]
    double = []
    for _ in range(max(1, round(DOUBLE_KILLS * scale))):
        name = rng.choice(list(sizes))
        first, second = sizes[name]
        double.append(Trial(name, rng.randint(1, first.opcodes), rng.randint(1, second.opcodes)))
    return [*single, *double]


def _run_piece(piece: Sequence[Trial]) -> Tally:
    tally = Tally()
    with props() as given, quiet_log():
        for trial in piece:
            tally.take(run_trial(trial, given), str(trial), faults=2 if trial.second else 1)
    return tally


def edges(name: str) -> Tally:
    """Kills at both sides of everything that leaves the process in one scene, until one goes wrong."""
    tally = Tally()
    with props() as given, quiet_log():
        size = size_of(SCENES[name], given)
        for point in size.points(2 * len(size.effects), 0):
            if tally.is_clean:
                trial = Trial(name, point)
                tally.take(run_trial(trial, given), str(trial))
    return tally


def run(scale: float, seed: int, say: Callable[[str], None]) -> Tally:
    """All trials of this scale."""
    wanted = trials(scale, seed)
    return spread(_run_piece, wanted, say, piece=max(1, min(200, len(wanted) // 2)))


PROOF = Proof(
    "crashes",
    "SIGKILL at every opcode of commit, deliver, retry, dead letter, takeover, removal and shutdown",
    ("P1", "P2", "P4", "P5", "P8", "P9", "P14", "P15", "P18", "P19", "P27"),
    run,
)

if __name__ == "__main__":  # one scene: python -m tests.proof.crashes SCENE [SCALE]
    chosen = trials(float(sys.argv[2]) if len(sys.argv) > 2 else 1.0, 0, (sys.argv[1],))
    print(spread(_run_piece, chosen, print))
