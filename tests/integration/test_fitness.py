from datetime import UTC, datetime

import pytest

from notifier.clock import SystemClock
from notifier.errors import StoreUnavailable, StoreUnfit
from notifier.store.client import open_store
from notifier.store.fitness import _examine_kind, examine
from notifier.store.keys import Keys
from tests.support.clock import FakeClock
from tests.support.servers import binaries, running_server

pytestmark = pytest.mark.real_redis
KEYS = Keys("fit")


@pytest.fixture(params=binaries().items(), ids=lambda item: item[0])
def binary(request):
    return request.param[1]


async def examined(path, clock=None, keys=KEYS, user="", tmp="/tmp", setup=()):
    from pathlib import Path

    clock = clock or SystemClock()
    async with open_store(f"unix://{user}{path}", Path(tmp), {}, clock) as redis:
        for command in setup:
            await redis.execute_command(*command)
        try:
            return await examine(redis, clock, keys)
        finally:
            if not user:
                assert await redis.dbsize() == 0


async def test_a_fit_server_is_fit(binary):
    with running_server(binary, "--appendonly", "yes") as path:
        assert await examined(path) == []


async def test_eviction_is_refused(binary):
    with (
        running_server(binary, "--maxmemory-policy", "allkeys-lru", "--appendonly", "yes") as path,
        pytest.raises(StoreUnfit, match="allkeys"),
    ):
        await examined(path)


async def test_no_persistence_is_a_warning(binary):
    with running_server(binary) as path:
        (warning,) = await examined(path)
        assert "nothing on disk" in warning
        (warning,) = await examined(path, setup=[("CONFIG", "SET", "save", "60 1")])
        assert "snapshots only" in warning


async def test_a_replica_and_a_cluster_are_refused(binary):
    with (
        running_server(binary, "--replicaof", "127.0.0.1", "1") as path,
        pytest.raises(StoreUnfit, match="replica"),
    ):
        await examined(path)
    with (
        running_server(binary, "--cluster-enabled", "yes") as path,
        pytest.raises(StoreUnfit, match="cluster"),
    ):
        await examined(path)


@pytest.mark.parametrize("version", ["5.0.14", "6.0.20", "6.1"])
def test_an_old_version_is_refused(version):
    with pytest.raises(StoreUnfit, match=r"6\.2 or later"):
        _examine_kind({"redis_version": version})


@pytest.mark.parametrize("version", ["6.2.0", "7.2.4", "10.0", "", "unstable"])
def test_a_new_version_or_an_unknown_one_is_not(version):
    _examine_kind({"redis_version": version})


async def test_a_clock_far_off_is_a_warning(binary):
    with running_server(binary, "--appendonly", "yes") as path:
        (warning,) = await examined(path, FakeClock(datetime(2020, 1, 1, tzinfo=UTC)))
        assert "ahead of" in warning


async def test_what_a_limited_user_may_not_ask_is_a_warning_and_what_it_needs_is_refused(binary):
    rules = ["on", ">pw", "~notifier:{fit}:*", "+@all", "-@dangerous", "-@admin"]
    with running_server(binary) as path:
        await examined(path, setup=[("ACL", "SETUSER", "u", *rules)])
        warnings = await examined(path, user="u:pw@")
        assert len(warnings) == 1
        assert "could not be checked" in warnings[0]
        await examined(path, setup=[("ACL", "SETUSER", "u", "+info")])
        assert "does not tell whether it saves" in (await examined(path, user="u:pw@"))[0]
        with pytest.raises(StoreUnfit, match="not permitted"):
            await examined(path, user="u:pw@", keys=Keys("other"))
        await examined(path, setup=[("ACL", "SETUSER", "u", "-zadd")])
        with pytest.raises(StoreUnfit, match="refuses a command"):
            await examined(path, user="u:pw@")


async def test_a_server_that_is_not_there_is_unavailable(tmp_path):
    with pytest.raises(StoreUnavailable):
        async with open_store(f"unix://{tmp_path}/none", tmp_path, {}, SystemClock()) as redis:
            await examine(redis, SystemClock())
