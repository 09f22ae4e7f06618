"""The proof at a small scale, its controls, and that its proxy does to messages what it says."""

from __future__ import annotations

import asyncio
import random
from tempfile import TemporaryDirectory

import pytest
import redis as redis_py
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from notifier import dispatcher
from notifier.errors import StoreUnavailable
from notifier.store import client, lanes, scripts, state
from tests.proof.lost_replies import PROOF, Aim, Trial, attempt
from tests.proof.proxy import Chance, Fault, How, Proxy, never, threaded_proxy
from tests.proof.spread import quietly
from tests.proof.virtual import StillProxy, VirtualLoop
from tests.support.servers import binaries, running_server

SEED = 20261124
#: With this part of the trials messages of the most important kinds are hurt in every scene.
_SCALE = 0.012


@pytest.fixture(scope="module")
def place():
    """A server, and a directory for the proxy's socket."""
    with (
        running_server(binaries()["bundled"]) as upstream,
        TemporaryDirectory(prefix="ntf-", dir="/tmp") as directory,
    ):
        yield upstream, directory


def test_lost_late_and_doubled_messages_lose_invent_and_repeat_nothing():
    tally = PROOF.run(_SCALE, SEED, quietly)
    assert tally.is_clean, f"seed {SEED}: {tally}"
    assert tally.trials > 30
    assert tally.faults > tally.trials


# --- what could hurt most ---


@pytest.mark.parametrize(
    ("scene", "aim"),
    [
        # all tries of a commit arrive while the next poll reads: between meta and the states, and elsewhere
        *(("changes", Aim("commit", 0, Fault(How.LATE, messages=late), 3)) for late in (30, 32, 34)),
        # ... and while a successor polls
        *(("replicas", Aim("commit", 2, Fault(How.LATE, messages=late), 3)) for late in (30, 60)),
        # claims for nobody, in a row: suspects, but no poison before the third
        *(("waiting", Aim("claim", 0, Fault(How.DROP_REPLY), times)) for times in (12, 28)),
        # a settle that comes when the next delivery of its lane is under way
        ("delivery", Aim("settle delivered", 0, Fault(How.LATE, messages=3))),
        # the lease for one that has been replaced
        ("replicas", Aim("lease", 3, Fault(How.LATE, 7))),
        ("replicas", Aim("give back", 0, Fault(How.LATE, 2))),
        # an approval that was executed, and is asked for again
        ("removal", Aim("xadd inbox", 0, Fault(How.DROP_REPLY))),
    ],
    ids=str,
)
def test_what_could_hurt_most_does_not(place, scene, aim):
    trial = Trial(scene, aim)
    verdict, post = attempt(trial, *place)
    assert verdict.is_good, f"{trial}: {verdict}"
    assert len(post.hits) == aim.count


# --- controls: a notifier without the guard ---


def without(*parts: str):
    """The loader of scripts, with what makes the guard taken out of them."""

    def load(redis, name):
        text = scripts.text(name)
        for part in parts:
            if part in text:
                text = text.replace(part, "")
        return redis.register_script(text)

    return load


@pytest.fixture
def new_id_for_each_try(monkeypatch):
    """A commit whose reply was lost is made again, as another one."""
    once = state.StateStore.commit
    monkeypatch.setattr(state, "_TRIES", 1)

    async def commit(store, lease, expected, change):
        for _ in range(2):
            try:
                return await once(store, lease, expected, change)
            except StoreUnavailable:
                await store._clock.sleep(0.1)
        return await once(store, lease, expected, change)

    monkeypatch.setattr(state.StateStore, "commit", commit)


_REPEATED = "if current == version then return {'repeated'} end"
_MOVED = "if current ~= expected then return {'moved', current} end"
_TOKEN = "if not score or string.format('%.0f', tonumber(score)) ~= token then return 'lost' end"


def is_red(place, aim: Aim, scene: str = "changes") -> list[str]:
    """The complaints of one trial, of which there must be some; and none where nothing is lost."""
    quiet, _ = attempt(Trial(scene, Aim("nothing", 0, aim.fault)), *place)
    assert quiet.is_good, f"the control is broken without any fault: {quiet}"
    verdict, post = attempt(Trial(scene, aim), *place)
    assert post.hits
    assert not verdict.is_good
    return verdict.lines()


def test_control_a_commit_with_a_new_id_for_each_try_goes_red(place, monkeypatch, new_id_for_each_try):
    monkeypatch.setattr(state, "load", without(_REPEATED))
    assert any(
        "nobody else writes" in line for line in is_red(place, Aim("commit", 0, Fault(How.DROP_REPLY)))
    )


def test_control_a_commit_without_id_and_version_goes_red(place, monkeypatch, new_id_for_each_try):
    monkeypatch.setattr(state, "load", without(_REPEATED, _MOVED))
    assert any("committed 2 times" in line for line in is_red(place, Aim("commit", 0, Fault(How.DROP_REPLY))))


@pytest.mark.parametrize("kind", ["claim", "lease", "settle delivered"])
def test_control_a_client_that_sends_again_by_itself_goes_red(place, monkeypatch, kind):
    monkeypatch.setattr(client, "Retry", lambda backoff, _retries: Retry(backoff, 3))
    assert any("was sent 2 times" in line for line in is_red(place, Aim(kind, 1, Fault(How.DROP_REPLY))))


def test_control_a_settle_without_its_token_goes_red(place, monkeypatch):
    monkeypatch.setattr(lanes, "load", without(_TOKEN))
    doubled = Aim("settle delivered", 0, Fault(How.TWICE, messages=1), 5)
    assert any("never got" in line for line in is_red(place, doubled, "delivery"))


def test_control_a_delivery_that_one_lost_claim_condemns_goes_red(place, monkeypatch):
    monkeypatch.setattr(dispatcher, "SUSPECT", 0)
    for at in range(20):
        verdict, post = attempt(Trial("changes", Aim("claim", at, Fault(How.DROP_REPLY))), *place)
        if post.lost_claims:  # the first claim of something
            break
    assert any("an innocent is poison" in line for line in verdict.lines())


# --- the proxy ---

_EXECUTED = {How.DROP_REQUEST: 0, How.CUT_IN_REQUEST: 0, How.SWALLOW: 0, How.TWICE: 2}
_ANSWERED = {How.TWICE, How.CUT_AFTER}


@pytest.mark.parametrize("how", How)
@pytest.mark.parametrize("late", [Fault(How.LATE), Fault(How.LATE, 8), Fault(How.LATE, messages=2)], ids=str)
def test_the_proxy_does_what_it_says(place, how, late):
    upstream, directory = place
    fault = Fault(how, late.seconds, late.messages)
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        is_answered, early, count = runner.run(_count(upstream, f"{directory}/c", fault))
    assert count == _EXECUTED.get(how, 1)
    is_late = how in {How.LATE, How.HOLD_REQUEST, How.HOLD_REPLY} and (fault.seconds or how is How.LATE)
    assert is_answered == (how in _ANSWERED or (how in {How.HOLD_REQUEST, How.HOLD_REPLY} and not is_late))
    if fault.seconds and how in {How.LATE, How.HOLD_REQUEST, How.TWICE}:
        assert early == count - 1


async def _count(upstream: str, path: str, fault: Fault) -> tuple[bool, int, int]:
    """Whether INCR was answered, what the counter was after that, and what it came to."""
    faults = [fault]
    proxy = StillProxy(
        upstream, path, lambda request: faults.pop() if request.name == "INCRBY" and faults else None
    )
    store = redis_py.Redis(unix_socket_path=upstream)
    store.flushall()
    await proxy.start()
    redis = Redis(unix_socket_path=path, protocol=2, socket_timeout=5, retry=Retry(NoBackoff(), 0))
    try:
        is_answered = await redis.incr("n") == 1
    except redis_py.RedisError:
        is_answered = False
    early = int(store.get("n") or 0)
    await asyncio.sleep(10)
    for _ in range(4):  # connections that were cut, and messages that others wait for
        try:
            await redis.ping()
        except redis_py.RedisError:
            continue
    await proxy.drained()
    await redis.aclose()
    await proxy.close()
    store.close()
    assert not faults
    return is_answered, early, int(store.get("n") or 0)


def test_the_proxy_swallows_all_that_follows_on_a_connection(place):
    upstream, _ = place

    def choose(request):
        return Fault(How.SWALLOW) if request.name == "INCRBY" else None

    with threaded_proxy(upstream, choose) as proxy:
        redis = redis_py.Redis(unix_socket_path=proxy.path, protocol=2, socket_timeout=0.05, retry=None)
        redis.set("n", 1)
        pipe = redis.pipeline(transaction=False).incr("n").set("n", 7)
        with pytest.raises(redis_py.TimeoutError):
            pipe.execute()
        assert redis.get("n") == b"1"
        redis.close()


def test_the_proxy_in_a_thread_cuts_pauses_refuses_and_swallows(place):
    upstream, _ = place
    rng = random.Random(SEED)
    with threaded_proxy(upstream, Chance(rng, 5, 0.0, {How.DROP_REPLY, How.DROP_REQUEST})) as proxy:
        redis = redis_py.Redis(unix_socket_path=proxy.path, protocol=2, socket_timeout=10, retry=None)
        store = redis_py.Redis(unix_socket_path=upstream)
        store.flushall()
        refused = 0
        for _ in range(50):
            try:
                redis.incr("n")
            except redis_py.ConnectionError:
                refused += 1
        faults = proxy.proxy.faults
        assert refused == faults.total() > 0
        assert 50 - refused <= int(store.get("n")) <= 50
        proxy.proxy.choose = never
        proxy.do(Proxy.refuse)
        with pytest.raises(redis_py.ConnectionError):
            redis.ping()
        proxy.do(lambda it: it.refuse(False))
        assert redis.ping()
        proxy.do(Proxy.pause)
        with pytest.raises(redis_py.TimeoutError):
            redis_py.Redis(unix_socket_path=proxy.path, protocol=2, socket_timeout=0.05, retry=None).ping()
        proxy.do(Proxy.resume)
        assert redis.ping()
        proxy.do(Proxy.cut_all)
        store.close()
        redis.close()
