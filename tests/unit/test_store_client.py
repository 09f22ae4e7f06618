import asyncio
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from redis import exceptions

from notifier.clock import SystemClock
from notifier.errors import ConfigError, StoreError, StoreUnavailable, StoreUnfit
from notifier.store.client import open_store, parse, translated
from notifier.store.connections import Tcp, Tls, Unix

HERE = Path("/nowhere")


@asynccontextmanager
async def opened(url, directory=HERE, **options):
    async with open_store(url, directory, {}, SystemClock(), **options) as redis:
        yield redis


@pytest.mark.parametrize(
    ("url", "connection", "wanted"),
    [
        ("redis://h", Tcp, {"host": "h", "port": 6379, "db": 0}),
        (
            "redis://u%40x:p%2Fw@h:1/3",
            Tcp,
            {"host": "h", "port": 1, "db": 3, "username": "u@x", "password": "p/w"},
        ),
        ("redis://:pw@[::1]:7/", Tcp, {"host": "::1", "port": 7, "db": 0, "password": "pw"}),
        ("rediss://h", Tls, {"ssl_cert_reqs": "required", "ssl_check_hostname": True}),
        ("rediss://h?verify=none", Tls, {"ssl_cert_reqs": "none", "ssl_check_hostname": False}),
        ("unix:///run/r.sock", Unix, {"path": "/run/r.sock", "db": 0}),
        (
            "unix://:pw@/run/r%20.sock?db=2",
            Unix,
            {"path": "/run/r .sock", "db": 2, "password": "pw"},
        ),
    ],
)
def test_reads_a_url(url, connection, wanted):
    address = parse(url, HERE)
    assert address.connection is connection
    assert {name: address.kwargs.get(name) for name in wanted} == wanted
    assert "pw" not in repr(address)


@pytest.mark.parametrize(
    "url",
    [
        "", "h", "http://h", "redis://", "redis://:hunter2@", "redis://:hunter2@h:port", "redis://:hunter2@h:99999", "redis://:hunter2@h/x",
        "redis://:hunter2@h?nonsense=1", "redis://:hunter2@h?verify=none", "rediss://:hunter2@h?verify=maybe", "redis://:hunter2@[x",
        "rediss://:hunter2@h?ca_file=none.pem", "unix://:hunter2@", "redis+sentinel://:hunter2@h", "redis+cluster://:hunter2@h",
        "redis://:hunter2@h?x", "redis://:hunter2/x@h", "memory:hunter2",
    ],
)  # fmt: skip
def test_a_wrong_url_is_refused_without_its_password(url):
    with pytest.raises(ConfigError, match=r"^store: ") as caught:
        parse(url, HERE)
    assert "hunter2" not in str(caught.value)


def test_what_is_not_in_this_release_says_so():
    with pytest.raises(ConfigError, match="not in this release"):
        parse("redis+sentinel://h/x", HERE)


@pytest.mark.parametrize(
    "url", ["embedded:", "embedded:?ephemeral=ok", "embedded:x?ephemeral=yes", "embedded:x?y"]
)
async def test_a_wrong_embedded_url_is_refused(url, tmp_path):
    with pytest.raises(ConfigError):
        async with opened(url, tmp_path):
            pass


def test_a_ca_file_is_relative_to_the_configuration(tmp_path):
    (tmp_path / "ca.pem").write_text("x")
    assert parse("rediss://h?ca_file=ca.pem", tmp_path).kwargs["ssl_ca_certs"] == str(tmp_path / "ca.pem")


async def test_everything_that_depends_on_how_a_client_is_built_is_explicit():
    async with opened("redis://h", max_connections=3) as redis:
        kwargs = redis.connection_pool.connection_kwargs
        assert kwargs["retry"].get_retries() == 0
        assert kwargs["retry_on_error"] == []
        assert (kwargs["protocol"], kwargs["decode_responses"], kwargs["socket_timeout"]) == (2, False, 5)
        assert redis.connection_pool.max_connections == 3
        assert redis.connection_pool.make_connection().retry.get_retries() == 0


@asynccontextmanager
async def silent_store(mode):
    """A server that takes each INCR, counts it, and gives no answer to it."""
    received = []

    async def serve(reader, writer):
        try:
            while data := await reader.read(4096):
                if b"INCR" in data:
                    received.append(data)
                    if mode == "cut":
                        break
                else:
                    writer.write((b"+PONG\r\n" if b"PING" in data else b"+OK\r\n") * data.count(b"*"))
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], received
    finally:
        server.close()


@pytest.mark.parametrize("mode", ["cut", "hang"])
async def test_a_command_whose_reply_is_lost_is_not_sent_twice(mode, monkeypatch):
    monkeypatch.setattr("notifier.store.client.TIMEOUT_S", 0.2)
    async with silent_store(mode) as (port, received), opened(f"redis://127.0.0.1:{port}") as redis:
        with pytest.raises(StoreUnavailable), translated("counting"):
            await redis.incr("n")
        await asyncio.sleep(0.05)
        assert len(received) == 1


async def test_control_redis_py_by_itself_sends_it_again():
    from redis.asyncio import Redis

    async with (
        silent_store("cut") as (port, received),
        Redis(port=port, protocol=2) as redis,
    ):
        with pytest.raises(exceptions.RedisError):
            await asyncio.wait_for(redis.incr("n"), 20)
        assert len(received) > 1


async def test_nobody_listens(tmp_path):
    for url in (f"unix://:hunter2@{tmp_path}/none", "redis://:hunter2@127.0.0.1:1"):
        async with opened(url) as redis:
            with pytest.raises(StoreUnavailable, match="PING") as caught, translated("PING"):
                await redis.ping()
            assert "hunter2" not in str(caught.value)


@pytest.mark.real_redis
async def test_a_cancelled_command_leaves_no_answer_for_the_next(real_redis_url):
    async with opened(real_redis_url, max_connections=1) as redis:
        await redis.set("k", "v")
        for _ in range(5):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await redis.blpop(["none"], 1)
            assert await redis.get("k") == b"v"


@pytest.mark.real_redis
async def test_a_full_pool_waits_and_then_says_so(real_redis_url, monkeypatch):
    monkeypatch.setattr("notifier.store.client.TIMEOUT_S", 0.1)
    async with opened(real_redis_url, max_connections=1) as redis:
        connection = await redis.connection_pool.get_connection()
        with pytest.raises(StoreUnavailable), translated("GET"):
            await redis.get("k")
        await redis.connection_pool.release(connection)
        assert await redis.get("k") is None


@pytest.mark.real_redis
async def test_server_errors_are_translated(real_redis_url):
    async with opened(real_redis_url) as redis:
        await redis.set("text", "x")
        for command, kind in (
            (("HGET", "text", "f"), StoreUnfit),
            (("EVAL", "return redis.error_reply('LOADING x')", 0), StoreUnavailable),
            (("EVAL", "return redis.error_reply('MISCONF x')", 0), StoreUnavailable),
            (("EVAL", "return redis.error_reply('OOM command not allowed')", 0), StoreUnavailable),
            (("EVAL", "return redis.error_reply('READONLY x')", 0), StoreUnavailable),
            (("EVAL", "return redis.error_reply('CLUSTERDOWN x')", 0), StoreUnavailable),
            (("EVAL", "return redis.error_reply('MASTERDOWN x')", 0), StoreUnavailable),
            (("EVAL", "return redis.error_reply('NOPERM x')", 0), StoreUnfit),
            (("NONSENSE", "hunter2"), StoreError),
        ):
            with pytest.raises(StoreError) as caught, translated("doing it"):
                await redis.execute_command(*command)
            assert type(caught.value) is kind, command
            assert str(caught.value).startswith("doing it: ")
            assert "hunter2" not in str(caught.value)


@pytest.mark.real_redis
async def test_a_wrong_password_is_unfit_and_not_shown(real_redis_url):
    async with opened(real_redis_url.replace("unix://", "unix://nobody:hunter2@")) as redis:
        with pytest.raises(StoreUnfit) as caught, translated("PING"):
            await redis.ping()
    assert "hunter2" not in str(caught.value)
