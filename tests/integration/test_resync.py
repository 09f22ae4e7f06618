"""``notifier resync``: the present state, whole and of one epoch, whatever a worker does meanwhile."""

from __future__ import annotations

import httpx
import msgspec
import pytest

from notifier.cli import resync
from notifier.cli.common import Failed
from notifier.cli.resync import Resync
from notifier.store.names import NameCache
from tests.integration.test_preview import stores
from tests.support.account import connection, group, milestone
from tests.support.alerts import REFUSED

ALL = "  - {name: all, when: {}, notify: [backend]}\n"


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch):
    monkeypatch.setattr(resync, "AT_ONCE", 2)


def resync_of(rig) -> Resync:
    return Resync(rig.config, stores(rig), "backend", rig.names, rig.clock)


async def resynced(rig) -> list[dict]:
    """The bodies of what a resync sends."""
    before = len(current(rig))
    resyncing = resync_of(rig)
    await resyncing.run()
    await rig.deliver()
    bodies = current(rig)[before:]
    assert len(bodies) == resyncing.events
    return bodies


def current(rig) -> list[dict]:
    return [body for body in rig.sinks["backend"].got if body["type"].endswith(".current")]


def beside(rig, monkeypatch, act) -> None:
    """Let something happen once after the first batch."""
    enqueue, left = rig.lanes.enqueue, [act]

    async def enqueued(*given):
        done = await enqueue(*given)
        if left:
            await left.pop()()
        return done

    monkeypatch.setattr(rig.lanes, "enqueue", enqueued)


async def test_everything_that_is_there_is_told_once_and_as_it_is(make, account):
    rig = make(ALL)
    account.listed.append(connection("conn_9", group("gc_9"), milestones=[milestone("ms_9")]))
    await rig.poll(2)
    account.set_status("conn_9", "gc_9", "processing")
    account.drop("conn_0")
    await rig.poll(4)
    bodies = await resynced(rig)
    told = [body["data"]["entity"]["id"] for body in bodies]
    assert sorted(told) == sorted(
        ["conn_9", "gc_9", "ms_9", *(f"{kind}_{n}" for n in range(1, 6) for kind in ("conn", "gc", "gb"))]
    )
    [mine] = [body["data"] for body in bodies if body["data"]["entity"]["id"] == "gc_9"]
    assert (mine["from"], mine["to"], mine["sequence"], mine["changed"]) == (
        "processing",
        "processing",
        1,
        {},
    )


async def test_what_a_first_look_did_not_look_up_is_told_with_its_names(make, account):
    rig = make(ALL)
    await rig.poll(2)
    assert not [path for path in account.requests if "employers" in path]
    bodies = await resynced(rig)
    assert {body["data"]["connection"]["employer"]["name"] for body in bodies} == {"Acme Corp"}
    assert {body["data"]["connection"]["employer"]["external_id"] for body in bodies} == {"48213"}
    assert {body["data"]["carrier"]["name"] for body in bodies if "carrier" in body["data"]} == {"Guardian"}
    asked = [path for path in account.requests if not path.startswith("/connections")]
    assert len(asked) == len(set(asked)), "each once"
    assert sum(rig.clock.slept) >= len(asked) / 10, "and not all at once: others share the account"


async def test_names_are_not_looked_up_where_the_configuration_says_so(make, account):
    rig = make(ALL)
    source = rig.config.source.model_copy(update={"enrich": False})
    rig.config = rig.config.model_copy(update={"source": source})
    rig.restart()
    await rig.poll(2)
    bodies = await resynced(rig)
    assert {body["data"]["connection"]["employer"]["name"] for body in bodies} == {None}
    assert not [path for path in account.requests if not path.startswith("/connections")]


async def test_where_clasp_does_not_answer_the_state_is_told_without_names_and_they_are_counted(
    make, account
):
    rig = make(ALL)
    account.listed += [connection(f"conn_x{n}") for n in range(10)]
    await rig.poll(2)
    account.names = {"carriers": "Guardian", "employers": 500}
    resyncing = resync_of(rig)
    await resyncing.run()
    assert resyncing.connections == 16
    assert resyncing.nameless == {f"employer:er_{item['id']}" for item in account.listed}
    tried = {path for path in account.requests if path.startswith("/employers")}
    assert len(tried) <= 6, "it is not asked in vain for each"


async def test_what_is_added_while_it_goes_on_is_named_as_well(make, account, monkeypatch):
    rig = make(ALL)
    await rig.poll(2)

    async def add() -> None:
        account.listed.append(connection("conn_new", group("gc_new")))
        await rig.poll(2)

    beside(rig, monkeypatch, add)
    named = {body["data"]["entity"]["id"] for body in await resynced(rig)}
    assert {"conn_new", "gc_new"} <= named


async def test_a_new_baseline_that_begins_meanwhile_ends_it(make, account, monkeypatch):
    rig = make(ALL)
    await rig.poll(2)

    async def begin() -> None:
        rig.restart(api_version="2026-09-01")
        account.set_status("conn_0", "gc_0", "processing")
        account.answer = lambda _request, page: REFUSED if page == 1 else None  # and is cut off
        await rig.poll()

    beside(rig, monkeypatch, begin)
    with pytest.raises(Failed, match=r"a new baseline began meanwhile.*run it again.*nothing may be dropped"):
        await resynced(rig)
    await rig.deliver()
    assert len({body["data"]["epoch"] for body in current(rig)}) == 1
    assert "" not in {body["data"]["epoch"] for body in current(rig)}
    with pytest.raises(Failed, match="there is no state yet"):
        await resynced(rig)


async def test_nothing_is_dated_before_the_event_that_made_it_so(make, account):
    rig = make(ALL)
    await rig.poll(2)
    account.set_status("conn_1", "gc_1", "completed")
    account.answer = lambda _request, page: httpx.Response(401, json={}) if page == 1 else None
    await rig.poll(3)  # it is seen, in polls that are Partial
    await resynced(rig)
    changed, told = (body for body in rig.sinks["backend"].got if body["data"]["entity"]["id"] == "gc_1")
    assert told["timestamp"] >= changed["timestamp"]
    assert told["data"]["observed_between"] == [None, told["timestamp"]]


async def test_a_state_that_cannot_be_read_is_named(make):
    rig = make(ALL)
    await rig.poll(2)
    await rig.redis.hset(rig.keys.state, "conn_1", b"\x01\xff\xff\xff")
    with pytest.raises(Failed, match="the state of conn_1 cannot be read"):
        await resynced(rig)


async def test_commits_that_follow_each_other_are_waited_for(make, monkeypatch):
    rig = make(ALL)
    await rig.poll(2)
    enqueue, tried = rig.lanes.enqueue, []

    async def busy(sink, owed, version):
        tried.append(version)
        if rig.clock.monotonic() < until:  # another commit each time, as in a large look
            await rig.redis.hset(rig.keys.meta, "version", msgspec.json.encode(len(tried)))
        return await enqueue(sink, owed, version)

    monkeypatch.setattr(rig.lanes, "enqueue", busy)
    until = rig.clock.monotonic() + 5
    assert len(await resynced(rig)) == 18
    until = float("inf")
    with pytest.raises(Failed, match="polls came in between each time"):
        await resynced(rig)


async def test_what_nobody_knows_any_more_is_looked_up_again(make, account):
    rig = make(ALL)
    await rig.poll(2)
    await resynced(rig)
    asked = len(account.requests)
    rig.clock.advance(25 * 3600)
    await NameCache(rig.redis, rig.keys, rig.store.now_us).sweep()
    bodies = await resynced(rig)
    assert {body["data"]["connection"]["employer"]["name"] for body in bodies} == {"Acme Corp"}
    assert len(account.requests) > asked
