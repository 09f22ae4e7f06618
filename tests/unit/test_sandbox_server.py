import asyncio
from datetime import timedelta

import aiohttp
import pytest

from notifier.clock import SystemClock
from notifier.errors import ConfigError
from notifier.sandbox.build import build_world
from notifier.sandbox.server import SandboxServer

KEY = "sk_test_sandbox"
AUTH = {"Authorization": f"Bearer {KEY}"}


class HandClock(SystemClock):
    """Sleepers wake when the test says so, in the order of their times."""

    def __init__(self):
        self.seconds = 0.0
        self.sleepers = []

    def monotonic(self):
        return self.seconds

    async def sleep(self, seconds):
        woken = asyncio.get_running_loop().create_future()
        self.sleepers.append((self.seconds + seconds, woken))
        await woken

    async def advance(self, seconds):
        """Let time pass, waking whoever is due; each one runs until it sleeps again."""
        until = self.seconds + seconds
        await settle()
        while due := [item for item in self.sleepers if item[0] <= until]:
            first = min(due, key=lambda item: item[0])
            self.sleepers.remove(first)
            self.seconds = first[0]
            if not first[1].done():
                first[1].set_result(None)
            await settle()
        self.seconds = until


async def settle():
    for _ in range(10):
        await asyncio.sleep(0)


def server(clock, connections=8, **options):
    return SandboxServer(
        build_world(seed=4, clock=clock, connections=connections), api_key=KEY, clock=clock, **options
    )


async def test_serves_on_a_free_port_until_it_is_stopped():
    async with server(SystemClock()) as sandbox, aiohttp.ClientSession(headers=AUTH) as http:
        assert sandbox.base_url.startswith("http://127.0.0.1:")
        async with http.get(f"{sandbox.base_url}/connections") as response:
            page = await response.json()
        assert len(page["results"]) == 8
        sandbox.faults.add("status", status=500)
        async with http.get(f"{sandbox.base_url}/connections") as response:
            assert response.status == 500
    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientConnectionError):
            await http.get(f"{sandbox.base_url}/connections")


async def test_a_port_in_use_is_told():
    async with server(SystemClock()) as first:
        port = int(first.base_url.rpartition(":")[2])
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1:{port}"):
            await server(SystemClock(), port=port).start()


@pytest.mark.parametrize("options", [{"scenario": "opera"}, {"pace": timedelta(0)}])
async def test_wrong_options_are_told(options):
    with pytest.raises(ConfigError):
        server(SystemClock(), **options)


async def test_a_world_without_pace_stands_still():
    clock = HandClock()
    async with server(clock) as sandbox:
        await clock.advance(3600)
        assert sandbox.world.journal == []


async def test_things_happen_at_the_pace_asked_for():
    clock = HandClock()
    async with server(clock, connections=50, pace=timedelta(seconds=2)) as sandbox:
        steps = 0
        step = sandbox.world.step

        def counted():
            nonlocal steps
            steps += 1
            return step()

        sandbox.world.step = counted
        await clock.advance(2000)
        assert 800 < steps < 1400
        assert len(sandbox.world.journal) >= steps


@pytest.mark.parametrize("is_read", [False, True])
async def test_the_demo_has_trouble_within_five_seconds_and_after_it_was_looked_at(is_read):
    clock = HandClock()
    async with server(clock, scenario="demo") as sandbox, aiohttp.ClientSession(headers=AUTH) as http:
        await settle()
        if is_read:
            await clock.advance(1)
            async with http.get(f"{sandbox.base_url}/connections") as response:
                await response.read()
            assert sandbox.world.journal == []
        await clock.advance(4.9 - clock.seconds)
        groups = [entry for entry in sandbox.world.journal if entry.kind == "group_connection"]
        assert groups[-1].to_status == "needs_attention"
        trouble = groups[-1]
        await clock.advance(15)
        [*_, last] = [entry for entry in sandbox.world.journal if entry.id == trouble.id]
        assert (last.from_status, last.to_status) == ("needs_attention", "processing")


async def test_an_error_in_the_life_of_the_world_is_not_swallowed():
    clock = HandClock()
    sandbox = server(clock, pace=timedelta(seconds=1))
    await sandbox.start()
    sandbox.world.step = lambda: 1 / 0
    await clock.advance(5)
    with pytest.raises(ZeroDivisionError):
        await sandbox.stop()
