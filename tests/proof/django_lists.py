"""The poller on a real Django REST Framework list whose rows move while it reads.

One trial is one account: an ordering, ties or none, some changes after each page. Pages are shorter than the
poller asks for, and ``next`` names http or https whatever the poller speaks, as behind a proxy. A baseline is taken while
nothing moves; then come polls whose pages have changes between them, now and then all rows at one time (a
circle, where DRF gives up counting) or a cursor that Django refuses (404). The changes end, and two polls
later what was told must be what is there, once a person has approved what the guard holds. A fault is a
traversal that came to its end and missed a row that was there all the time: those are counted, so that it
shows how often one absence proves nothing.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec
from redis.asyncio import Redis

from notifier.core import codec
from notifier.models import Kind
from tests.e2e.oracle import statuses_of
from tests.proof.oracle import examine, judge, shown_by
from tests.proof.spread import spread
from tests.proof.tally import Proof, Tally, Verdict
from tests.support.clock import FakeClock
from tests.support.rig import Rig
from tests.support.servers import binaries, running_server

if TYPE_CHECKING:
    from tests.proof.django_server import Site, World

ORDERINGS = (("-created",), ("created",), ("-modified",), ("modified",), ("id",), ("-created", "tie"))
TRAVERSALS = 12  # with changes, in each trial
_TRIALS = 320
_PIECE = 12
_MAY_DELETE = 4  # really gone and not told yet: fewer than the mass guard holds
_TIE_ALL = 0.03
_MAY_BE_PARTIAL = ("goes in a circle", "shown twice with different content")


class Trial(msgspec.Struct, frozen=True):
    seed: int
    number: int


async def watch(redis: Redis, site: Site, trial: Trial) -> tuple[Verdict, Counter[str]]:
    """One account from its baseline to rest: the verdict, and what its traversals came to, each counted."""
    from tests.proof.django_server import World

    rng = random.Random(f"lists {trial.seed} {trial.number}")
    world = World(
        rng,
        ORDERINGS[trial.number % len(ORDERINGS)],
        ties=rng.choice((0.0, 0.5, 0.9)),
        pace=rng.choice((2, 4, 6)),
        scheme=rng.choice(("http", "https")),
    )
    site.world = world
    world.fill(rng.randint(20, 26))
    world.untie()
    rig = Rig(redis, FakeClock(), world, source_url=site.url)
    before = statuses_of(world.live.values())
    broken: list[str] = []
    came_to: Counter[str] = Counter()
    result = await rig.poll()
    if result.outcome != "complete" or not result.baseline or world.missed():
        broken.append(f"no baseline of a list at rest: {result.outcome}, {result.reason}")
    world.is_moving = True
    missed: set[str] = set()
    for _ in range(TRAVERSALS):
        broken += await _poll_moving(rig, world, came_to)
        came_to["missed"] += bool(world.missed())
        came_to["missed twice"] += bool(world.missed() & missed)
        missed = world.missed()
        if rng.random() < _TIE_ALL:
            world.tie_all()
        for _ in range(rng.randint(0, 8)):
            world.change()
    world.is_moving = False
    world.untie()
    for _ in range(2):
        result = await rig.poll()
        if result.outcome != "complete" or world.missed():
            broken.append(f"a list at rest was not read whole: {result.reason}")
    broken += await _approve(rig, world)
    await rig.deliver()
    broken += await examine(redis, rig.store, rig.keys, before)
    history = [body for body in reversed(await rig.store.history(newest=100_000)) if "entity" in body["data"]]
    verdict = judge(
        before=before,
        after=statuses_of(world.live.values()),
        shown=shown_by(world.served),
        gone=world.gone,
        history=history,
        arrived={"backend": rig.sinks["backend"].got},
    )
    verdict.broken += broken
    return verdict, came_to


async def _poll_moving(rig: Rig, world: World, came_to: Counter[str]) -> list[str]:
    """One poll between whose pages rows change; what is wrong with how it ended or with the mass guard."""
    known = await _live(rig)
    world.may_delete = _MAY_DELETE - len(known - world.live.keys())
    spoiled = world.bad_cursors
    result = await rig.poll()
    if result.outcome != "complete":
        may_be = ("404",) if world.bad_cursors > spoiled else _MAY_BE_PARTIAL
        why = next((why for why in may_be if why in result.reason), "")
        came_to[why] += 1
        return [] if why else [f"{result.outcome}: {result.reason}"]
    held = (await rig.store.meta()).held
    is_held = held is not None and Kind.CONNECTION in held.ids
    missing = len(known - world.shown)
    came_to["held" if is_held else "complete"] += 1
    wrong = [] if world.bad_cursors == spoiled else ["the 404 of a refused cursor passed for the list's end"]
    if is_held != (missing > max(5, len(known) // 20)):
        wrong.append(f"{missing} of {len(known)} were missing, and the guard held: {is_held}")
    return wrong


async def _approve(rig: Rig, world: World) -> list[str]:
    """What is held at rest is really gone, and too much to be told without a person; who now says yes."""
    meta = await rig.store.meta()
    if meta.held is None:
        return []
    there = {id_ for known in statuses_of(world.live.values()).values() for id_ in known}
    wrong = [
        f"{len(ids)} of {meta.counts[kind]} {kind}s are held"
        for kind, ids in meta.held.ids.items()
        if there.intersection(ids) or len(ids) <= max(5, meta.counts[kind] * 0.05)
    ]
    await rig.store.write_inbox("approve", msgspec.to_builtins(meta.held))
    await rig.poll()
    return wrong


async def _live(rig: Rig) -> set[str]:
    return {id_ async for id_, value in rig.store.all_states() if not codec.is_tombstone(value)}


def watched(trials: Sequence[Trial]) -> tuple[Tally, Counter[str]]:
    """The trials one after the other; only for a process that was forked for it (see ``django_server``)."""
    from tests.proof.django_server import running_site

    async def each(socket: str) -> tuple[Tally, Counter[str]]:
        tally, total = Tally(), Counter()
        with running_site() as site:
            async with Redis(unix_socket_path=socket) as redis:
                for trial in trials:
                    await redis.flushall()
                    verdict, came_to = await watch(redis, site, trial)
                    tally.take(
                        verdict, f"seed {trial.seed}, account {trial.number}", faults=came_to["missed"]
                    )
                    total += came_to
        return tally, total

    with running_server(binaries()["bundled"]) as socket:
        return asyncio.run(each(socket))


def watch_all(trials: Sequence[Trial]) -> Tally:
    return watched(trials)[0]


def run(scale: float, seed: int, say: Callable[[str], None]) -> Tally:
    trials = [Trial(seed, number) for number in range(max(2, int(_TRIALS * scale)))]
    return spread(watch_all, trials, say, piece=min(_PIECE, len(trials) // 2))


PROOF = Proof(
    "django_lists",
    f"a Django REST Framework list that moves while it is read, {TRAVERSALS} traversals an account; "
    "a fault is a traversal that missed a row",
    ("P1", "P2", "P3", "P5"),
    run,
)
