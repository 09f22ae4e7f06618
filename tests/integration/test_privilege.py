"""The Redis user of docs/deployment.md can do everything that the notifier does, and nothing beyond its keys."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.exceptions import NoPermissionError

from notifier.errors import PermanentFailure, TemporaryFailure
from notifier.store.fitness import examine
from tests.support.account import Account, connection, group
from tests.support.rig import Rig
from tests.support.servers import binaries, running_server

PAGE = Path(__file__).parents[2] / "docs" / "deployment.md"
NAME = "clasp-production"


@pytest.fixture(params=binaries())
def server(request):
    with running_server(binaries()[request.param]) as path:
        yield path


async def test_the_documented_user_suffices_for_everything_and_reaches_no_other_key(server, clock):
    [rules] = re.findall(r"^user notifier (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    async with Redis(unix_socket_path=server) as admin:
        await admin.execute_command("ACL", "SETUSER", "notifier", *rules.replace("PASSWORD", "pw").split())
    account = Account(*(connection(f"c{n}", group(f"g{n}")) for n in range(3)))
    async with Redis(unix_socket_path=server, username="notifier", password="pw") as redis:
        rig = Rig(redis, clock, account, name=NAME)
        await examine(redis, clock, rig.keys)
        await rig.poll()
        account.set_status("c0", "g0", "needs_attention")
        account.set_status("c1", "g1", "needs_attention")
        account.drop("c2")
        await rig.poll(3)
        rig.sinks["backend"].errors = [
            PermanentFailure("http_400", "no"),
            TemporaryFailure("http_503", "busy"),
        ]
        await rig.deliver()
        await rig.lanes.replay("backend", await rig.lanes.dead_letters("backend"))
        await rig.lanes.switch_off("backend", "")
        await rig.lanes.switch_on("backend")
        clock.advance(10)
        assert len(await rig.transitions()) == 3
        await rig.store.write_inbox("approve", {})
        await rig.poll()
        assert await rig.lanes.known_sinks() == {"backend"}
        assert (await rig.lanes.health("backend")).dead == 0
        assert await rig.lanes.attempts(newest=10)
        assert await rig.store.history(newest=10)
        await rig.lanes.drop("backend")
        await rig.store.give_back_lease("nobody")
        for command in (("GET", "other"), ("SET", "other", "1"), ("FLUSHALL",), ("CONFIG", "GET", "*")):
            with pytest.raises(NoPermissionError):
                await redis.execute_command(*command)
