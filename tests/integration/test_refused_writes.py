"""A server that refuses one write of a script: what the script had written before is taken back.

Lua does not roll back. A right that is taken away while the worker runs, or a key that somebody made something
else of, must cost no event and no delivery.
"""

from __future__ import annotations

import re
from datetime import timedelta
from importlib.resources import files

import pytest

from notifier.clock import SystemClock
from notifier.core.alerts import Alert, Phase, Subject
from notifier.core.retry import Outcome, Verdict
from notifier.errors import StoreError, StoreUnfit
from notifier.models import Delivery, Kind, Owed
from notifier.store.fitness import examine
from notifier.store.state import Commit
from tests.support.servers import binaries

TTL = timedelta(seconds=5)
WRITES = ("hset", "hdel", "xadd", "zadd", "zrem", "lpop", "lset", "hincrby", "hsetnx", "xdel", "xtrim")
LUA = files("notifier.store").joinpath("lua")


on_servers = pytest.mark.parametrize("server", [*binaries()], indirect=True)  # fakeredis has no rights


@pytest.fixture
async def refuse(redis_client):
    """Take a right away from everybody, by name; all come back at the end, or where it is called for."""

    async def refuse(*names: str) -> None:
        await redis_client.execute_command("ACL", "SETUSER", "default", *(f"-{name}" for name in names))

    yield refuse
    await redis_client.execute_command("ACL", "SETUSER", "default", "+@all", "allkeys")


async def give_back(rig):
    await rig.redis.execute_command("ACL", "SETUSER", "default", "+@all")


async def everything(rig):
    """What every key holds, but for the fence, which is the committer's in any case."""
    held = {}
    for key in sorted(await rig.redis.keys("*")):
        kind = (await rig.redis.type(key)).decode()
        if kind == "hash":
            held[key] = await rig.redis.hgetall(key)
            held[key].pop(b"fence", None)
        elif kind == "list":
            held[key] = await rig.redis.lrange(key, 0, -1)
        elif kind == "zset":
            held[key] = await rig.redis.zrange(key, 0, -1, withscores=True)
        elif kind == "stream":
            held[key] = await rig.redis.xrange(key)
        else:
            held[key] = await rig.redis.get(key)
    return {key: value for key, value in held.items() if value}


def owed(*ids: str) -> list[Owed]:
    return [Owed("backend", f"lane of {id_}", Delivery(id_, "connection.added", "r", "{}")) for id_ in ids]


def alert(phase: str) -> Alert:
    return Alert("r", Subject(Kind.CONNECTION, "c1", "c1", {}), Phase(phase), "2026-11-25T09:00:00.000Z")


CHANGE = Commit(
    meta={"epoch": "e2"},
    states={"c1": b"\x01new", "c3": b"\x01new"},
    forgotten=["c2"],
    alerts={"a1": alert("open"), "a2": None, "a3": alert("pending")},
    durations={("carr_1", "pending"): (60, 5)},
    history=['{"type": "x", "data": {}}', '{"type": "y", "data": {}}'],
    owed=owed("one", "two", "one"),
)


async def first_commit(rig):
    await rig.store.sync_time()
    lease = await rig.store.take_lease("a", TTL)
    states = {"c1": b"\x01old", "c2": b"\x01old"}
    alerts = {"a1": alert("pending"), "a2": alert("open")}
    before = Commit(meta={"epoch": "e1"}, states=states, alerts=alerts, history=["{}"], owed=owed("zero"))
    return lease, await rig.store.commit(lease, "", before)


@on_servers
@pytest.mark.parametrize("right", ["hset", "hdel", "xadd", "rpush", "zadd"])
async def test_a_commit_of_which_a_write_is_refused_is_no_commit_and_is_done_whole_later(rig, refuse, right):
    lease, version = await first_commit(rig)
    before = await everything(rig)
    await refuse(right)
    with pytest.raises(StoreError):
        await rig.store.commit(lease, version, CHANGE)
    await give_back(rig)
    assert await everything(rig) == before
    await rig.store.commit(lease, version, CHANGE)
    assert await rig.store.states(["c1", "c2", "c3"]) == [b"\x01new", None, b"\x01new"]
    assert await rig.store.alerts() == {"a1": alert("open"), "a3": alert("pending")}
    assert await rig.store.durations() == {("carr_1", "pending"): (60, 5)}
    assert len(await rig.store.history(newest=9)) == 3
    assert await rig.redis.llen(rig.keys.lane("backend", "lane of one")) == 2


@pytest.mark.parametrize(
    "key", ["history", "state", "alerts", "durations", "lane:backend:lane of two", "lanes:backend"]
)
async def test_a_commit_that_meets_a_key_of_another_type_is_no_commit(rig, key):
    lease, version = await first_commit(rig)
    name = rig.keys.prefix + key
    await rig.redis.delete(name)
    await rig.redis.set(name, "somebody else's")
    before = await everything(rig)
    with pytest.raises(StoreError):
        await rig.store.commit(lease, version, CHANGE)
    assert await everything(rig) == before


OUTCOMES = [
    Outcome(Verdict.DELIVERED),
    Outcome(Verdict.RETRY, "http_503", "later", TTL),
    Outcome(Verdict.HOLD, "http_401", "no", TTL),
    Outcome(Verdict.DEAD, "http_422", "no"),
]


@on_servers
@pytest.mark.parametrize("right", WRITES)
@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: str(outcome.verdict))
@pytest.mark.parametrize("behind", [0, 1])
async def test_a_settle_of_which_a_write_is_refused_leaves_the_delivery_where_it_was(
    rig, refuse, behind, outcome, right
):
    lease, version = await first_commit(rig)
    await rig.store.commit(lease, version, Commit(owed=owed(*["zero"] * behind)))
    [claim] = (await rig.lanes.claim("backend", hold=TTL, most=9, rate=None)).claims
    before = await everything(rig)
    await refuse(right)
    try:
        is_refused = not await rig.lanes.settle(claim, outcome, took_ms=1)
    except StoreError:
        is_refused = True
    await give_back(rig)
    if is_refused:
        after = await everything(rig)
        after.pop(rig.keys.sink("backend").encode(), None)  # how the sink is may be known already
        assert after == before
        assert await rig.lanes.settle(claim, outcome, took_ms=1)
    letters = await rig.lanes.dead_letters("backend")
    waits = await rig.redis.llen(rig.keys.lane("backend", "lane of zero"))
    is_dead, is_done = outcome.verdict is Verdict.DEAD, outcome.verdict in {Verdict.DEAD, Verdict.DELIVERED}
    assert (len(letters), waits) == (is_dead, behind + (not is_done))
    assert (await rig.lanes.health("backend")).deaths == is_dead
    assert len(await rig.lanes.attempts(newest=9)) == 1


@on_servers
@pytest.mark.parametrize("right", ["rpush", "zadd", "xdel"])
async def test_a_replay_of_which_a_write_is_refused_keeps_the_letter(rig, refuse, right):
    await first_commit(rig)
    [claim] = (await rig.lanes.claim("backend", hold=TTL, most=9, rate=None)).claims
    await rig.lanes.settle(claim, OUTCOMES[-1], took_ms=1)
    letters = await rig.lanes.dead_letters("backend")
    before = await everything(rig)
    await refuse(right)
    with pytest.raises(StoreError):
        await rig.lanes.replay("backend", letters)
    await give_back(rig)
    assert await everything(rig) == before
    assert await rig.lanes.replay("backend", letters) == 1


@on_servers
@pytest.mark.parametrize("right", ["zadd", "lset", "hset"])
async def test_a_claim_that_is_refused_makes_no_suspect(rig, refuse, right):
    await first_commit(rig)
    for _ in range(3):
        await refuse(right)
        with pytest.raises(StoreError):
            await rig.lanes.claim("backend", hold=TTL, most=9, rate=1.0)
        await give_back(rig)
        rig.clock.advance(3600)
    [claim] = (await rig.lanes.claim("backend", hold=TTL, most=9, rate=1.0)).claims
    assert claim.claims == 1


def commands_of_scripts():
    scripts = [script for script in LUA.iterdir() if script.name.endswith(".lua")]
    return sorted(
        {name for script in scripts for name in re.findall(r"'([A-Z]{3,})'[,)]", script.read_text())}
        - {"MINID", "LIMIT", "COUNT", "WITHSCORES"}
    )


@on_servers
async def test_each_command_that_a_script_uses_is_tried_at_the_start(rig, refuse):
    commands = commands_of_scripts()
    assert len(commands) >= 25
    for command in (*commands, "evalsha"):
        await refuse(command.lower())
        with pytest.raises(StoreUnfit, match="refuses a command"):
            await examine(rig.redis, SystemClock(), rig.keys)
        await give_back(rig)
        assert await rig.redis.keys("*") == []
    await examine(rig.redis, SystemClock(), rig.keys)
    assert await rig.redis.keys("*") == []


@on_servers
async def test_each_kind_of_key_is_tried_at_the_start(rig, refuse):
    kinds = ["meta", "lease", "state", "names", "alerts", "silences", "durations", "history"]
    kinds += ["inbox", "attempts"]
    kinds += ["sink:*", "lanes:*", "claims:*", "lane:*", "dead:*"]
    patterns = [f"~{rig.keys.prefix}{kind}" for kind in kinds]
    await rig.redis.execute_command("ACL", "SETUSER", "default", "resetkeys", *patterns)
    await examine(rig.redis, SystemClock(), rig.keys)
    for pattern in patterns:
        others = [other for other in patterns if other != pattern]
        await rig.redis.execute_command("ACL", "SETUSER", "default", "resetkeys", *others)
        with pytest.raises(StoreUnfit, match="refuses a command"):
            await examine(rig.redis, SystemClock(), rig.keys)
    await rig.redis.execute_command("ACL", "SETUSER", "default", "allkeys")
    assert await rig.redis.keys("*") == []


async def test_a_key_that_is_somebody_elses_is_refused_at_the_start(rig):
    await rig.redis.set(rig.keys.history, "somebody else's")
    with pytest.raises(StoreUnfit):
        await examine(rig.redis, SystemClock(), rig.keys)
