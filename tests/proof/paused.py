"""A poller that stands still past its lease, at any opcode, and goes on after a successor has polled.

The process stops itself with SIGSTOP in the middle of a poll; a successor takes the lease an hour later, sees
more changes and commits them; then the first one goes on from where it stood, with its old view of the world
and a clock that has moved. Whatever it does, the store must not move any more.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from tests.proof import crashes
from tests.proof.crashes import LATER_S, Opcodes, client, later, props, rested, size_of, to_rest
from tests.proof.scenes import SCENES, Props, Scene, Stage
from tests.proof.spread import quiet_log, spread
from tests.proof.tally import Proof, Tally, Verdict
from tests.support.account import Account

PAUSES = 600  # at scale 1
POLLS = ("commit", "commit in chunks", "takeover", "removal", "approval")


class Trial(msgspec.Struct, frozen=True):
    """Stop at this opcode of the scene."""

    scene: str
    opcode: int

    def __str__(self) -> str:
        return f"{self.scene}, paused at opcode {self.opcode}"


def _more_happens(account: Account) -> None:
    """What the successor sees, and the paused one does not: what it knows is stale."""
    for item in account.listed:
        for group in item["group_connections"]:
            group["status"] = "processing" if group["status"] == "needs_attention" else "needs_attention"


def _stand_still(stage: Stage) -> None:
    """It wakes up while its successor holds the lease: whether it had one itself by now, it has none."""
    os.kill(os.getpid(), signal.SIGSTOP)
    stage.clock.advance(LATER_S)


async def _play(scene: Scene, given: Props, at: int) -> None:
    async with client(given.socket) as redis:
        stage = scene.stage(redis, given)
        await scene.prepare(stage)
        with Opcodes(at, lambda: _stand_still(stage)).traced():
            await scene.act(stage)


def run_trial(trial: Trial, given: Props) -> Verdict:
    """One trial, on a store with nothing in it."""
    scene = SCENES[trial.scene]
    asyncio.run(crashes.emptied(given))
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        crashes.do_and_exit(lambda: _play(scene, given, trial.opcode), writer)
    os.close(writer)
    broken = []
    if os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1]):
        before = asyncio.run(_succeed(scene, given))
        os.kill(pid, signal.SIGCONT)
        _, status = os.waitpid(pid, 0)
        after = asyncio.run(_state(given))
        broken += ["the paused poller wrote after its successor"] if before != after else []
        broken += [f"the paused poller failed: {os.read(reader, 4000).decode()}"] if status else []
    os.close(reader)
    verdict = asyncio.run(rested(scene, given, 3 * LATER_S, _more_happens))
    verdict.broken = [*broken, *verdict.broken]
    return verdict


async def _succeed(scene: Scene, given: Props) -> Any:
    """A successor polls and delivers to rest; what is committed then."""
    async with client(given.socket) as redis:
        stage = later(scene, redis, given)
        _more_happens(stage.rig.account)
        await to_rest(stage.rig)
    return await _state(given)


async def _state(given: Props) -> Any:
    """Everything that only commits write."""
    async with client(given.socket) as redis:
        keys = "notifier:{test}:"
        history = await redis.xrange(keys + "history")
        return await redis.hgetall(keys + "meta"), await redis.hgetall(keys + "state"), history


def trials(scale: float, seed: int) -> list[Trial]:
    """Evenly spaced pauses in every kind of poll."""
    rng, found = random.Random(seed), []
    with props() as given, quiet_log():
        for name in POLLS:
            points = size_of(SCENES[name], given).points(
                max(1, round(PAUSES * scale / len(POLLS))), rng.random()
            )
            found += [Trial(name, point) for point in points]
    return found


def _run_piece(piece: Sequence[Trial]) -> Tally:
    tally = Tally()
    with props() as given:
        for trial in piece:
            tally.take(run_trial(trial, given), str(trial))
    return tally


def run(scale: float, seed: int, say: Callable[[str], None]) -> Tally:
    """All trials of this scale."""
    wanted = trials(scale, seed)
    return spread(_run_piece, wanted, say, piece=max(1, min(50, len(wanted) // 2)))


PROOF = Proof(
    "paused",
    "SIGSTOP in the middle of a poll, past the lease; a successor polls; SIGCONT",
    ("P1", "P5", "P8", "P11", "P14", "P15"),
    run,
)
