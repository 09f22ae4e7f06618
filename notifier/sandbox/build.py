"""A seed -> a world that looks lived in: connections of every age, by the moves of the life cycle alone.

Past ``_TEMPLATES`` connections the further ones are copies of the first with ids of their own, so that a
hundred thousand take about a second. They average 3 group connections and 5.5 milestones.
"""

from __future__ import annotations

import base64
import random
import re
from collections.abc import Sequence
from datetime import timedelta

from notifier.clock import Clock
from notifier.sandbox import lifecycle
from notifier.sandbox.lifecycle import Json
from notifier.sandbox.world import World, dump

_TEMPLATES = 1000
#: How many connections of a hundred have come as far as their 1st, 2nd, ... milestone: 5.5 on average.
_PROGRESS = (6, 7, 8, 9, 14, 20, 10, 26)
_EXTRA_MOVES = 6
_ID = re.compile(rb'(?<=["/])(?:conn|gcon|cevt|er|brk)_[-\w]{21}')
_TAIL = 21


def build_world(*, seed: int, clock: Clock, connections: int = 24) -> World:
    """A world of so many connections, whose past is over: its journal is empty. One seed, one world."""
    world = World(seed=seed, clock=clock)
    templates: list[tuple[bytes, bool]] = []
    for _ in range(min(connections, _TEMPLATES)):
        connection = _lived(world, clock)
        text, is_busy = dump(connection), bool(lifecycle.moves(connection))
        templates.append((text, is_busy))
        world.load(connection["id"], text, is_busy=is_busy)
    copies = [(_Template(text), is_busy) for text, is_busy in templates] if connections > _TEMPLATES else []
    for number in range(_TEMPLATES, connections):
        template, is_busy = copies[number % _TEMPLATES]
        id_, employer, text = template.copy(world.rng)
        world.register_employer(employer)
        world.load(id_, text, is_busy=is_busy)
    world.size = len(world)
    return world


def _lived(world: World, clock: Clock) -> Json:
    """A connection that began long ago and came as far as chance let it."""
    rng, now = world.rng, clock.now()
    at = now - timedelta(days=rng.uniform(3, 400))
    connection = world.new_connection()
    [milestones] = rng.choices(range(1, len(_PROGRESS) + 1), _PROGRESS)
    extra = rng.randrange(_EXTRA_MOVES)
    while options := lifecycle.moves(connection):
        if len(connection["events"]) >= milestones:
            options = [option for option in options if option.id is not None]
            if extra == 0 or not options:
                break
            extra -= 1
        [move] = rng.choices(options, [option.weight for option in options])
        lifecycle.apply(connection, move, at, world.new_id)
        at += (now - at) * rng.uniform(0.02, 0.2)
    return connection


class _Template:
    """A connection's text, cut at its ids."""

    def __init__(self, text: bytes) -> None:
        self._between = _ID.split(text)
        found = _ID.findall(text)
        distinct = list(dict.fromkeys(found))
        self._prefixes = [id_[:-_TAIL] for id_ in distinct]
        self._slots = [distinct.index(id_) for id_ in found]
        self._employer = next(n for n, prefix in enumerate(self._prefixes) if prefix == b"er_")

    def copy(self, rng: random.Random) -> tuple[str, str, bytes]:
        """The connection's new id, its employer's, and its text with new ids throughout."""
        chance = base64.urlsafe_b64encode(rng.randbytes(16 * len(self._prefixes)))
        ids = [prefix + chance[_TAIL * n : _TAIL * (n + 1)] for n, prefix in enumerate(self._prefixes)]
        text = self._between[0] + b"".join(self._pieces(ids))
        return ids[0].decode(), ids[self._employer].decode(), text

    def _pieces(self, ids: Sequence[bytes]) -> list[bytes]:
        pieces = zip(self._slots, self._between[1:], strict=True)
        return [ids[slot] + between for slot, between in pieces]
