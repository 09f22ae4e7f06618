"""A stage for stalls: replicas on a virtual clock with their health, and what a person would see of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import fakeredis

from notifier.core.results import PollResult
from notifier.web.health import Health
from tests.support.account import Account, connection, group, milestone
from tests.support.clock import FakeClock
from tests.support.configs import config_with
from tests.support.rig import INTERVAL, Rig

INTERVAL_S = INTERVAL.total_seconds()
_SINKS = "  backend: {type: console}\n  watch: {type: console}\n"
_RULES = """
  - {name: everything, when: {}, notify: [backend]}
  - {name: reports, when: {type: "notifier.*"}, notify: [backend, watch]}
"""


class Stage:
    """One or two replicas on one store and account, each with its health."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.clock = FakeClock()
        self.redis = fakeredis.FakeAsyncRedis()
        self.account = Account(
            *(
                connection(f"c{n}", group(f"g{n}"), group(f"h{n}"), milestones=[milestone(f"m{n}")])
                for n in range(self.rng.randrange(12, 30))
            ),
            page_size=self.rng.randrange(2, 40),
        )
        self.rig, self.health = self.replica()

    def replica(self) -> tuple[Rig, Health]:
        """A worker that has not polled yet."""
        rig = Rig(self.redis, self.clock, self.account, config_with(_RULES, _SINKS))
        return rig, Health(self.clock, INTERVAL)

    async def poll(self, times: int = 1) -> PollResult:
        for _ in range(times):
            result = await self.rig.poll()
            self.health.polled(result)
        return result

    async def live(self, times: int = 1) -> None:
        """Poll and deliver."""
        for _ in range(times):
            await self.poll()
            await self.rig.deliver()

    async def change(self) -> None:
        """Something happens, is seen, and is owed."""
        moved = self.rng.choice(self.account.listed)["group_connections"][0]
        moved["status"] = "completed" if moved["status"] != "completed" else "processing"
        await self.poll()

    async def notices(self, type_: str) -> int:
        """How often the notifier said this of itself."""
        said = [body["type"] for body in await self.rig.store.history(newest=10_000)]
        return said.count(f"notifier.{type_}")

    def metric(self, line: str, health: Health | None = None) -> float:
        rows = (health or self.health).metrics().decode().splitlines()
        return sum(float(row.rpartition(" ")[2]) for row in rows if row.startswith(line))

    def shows(self, status: str, words: str, health: Health | None = None) -> list[str]:
        """What is missing in readiness."""
        readiness = (health or self.health).readiness()
        if readiness.status == status and any(words in problem for problem in readiness.problems):
            return []
        return [f"readiness is {readiness.status}, {list(readiness.problems)}, not {status}: {words}"]

    def ages(self, health: Health | None = None) -> list[str]:
        """Whether the metric for alerts tells that nothing complete was seen for three intervals."""
        age = self.metric("notifier_complete_age_seconds", health)
        return [] if age > 3 * INTERVAL_S else [f"notifier_complete_age_seconds is {age}"]


def expect(*checks: tuple[object, str]) -> list[str]:
    """The words of the checks that do not hold."""
    return [words for holds, words in checks if not holds]


@contextmanager
def stuck(owner: Any, name: str) -> Iterator[asyncio.Event]:
    """Every call of this method waits for ever; the event says that there was one."""
    reached = asyncio.Event()

    async def never(*_args: Any, **_kwargs: Any) -> None:
        reached.set()
        await asyncio.Event().wait()

    with mock.patch.object(owner, name, never):
        yield reached
