"""The one place that builds clients of the store, and that translates their errors.

A command whose reply is lost may have been executed: whether to send it again is for its caller to decide
(a commit carries an id, a settle a token). redis-py's own retries, 10 from ``Redis()`` and none from
``from_url()``, are therefore switched off for every client, as is everything else whose default depends on
how a client is built.
"""

from __future__ import annotations

import re
import socket as sockets
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import msgspec
from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from notifier.clock import Clock
from notifier.config.urls import DATABASE
from notifier.errors import ConfigError, StoreError, StoreUnavailable, StoreUnfit
from notifier.store.connections import Tcp, Tls, Unix
from notifier.store.embedded import open_embedded

TIMEOUT_S = 5.0
#: For what a worker that ends gives back: a stop must be in time though the store answers nothing.
LAST_WORD_S = 1.0
MAX_CONNECTIONS = 32
_HEALTH_CHECK_S = 30
_MAX_TEXT = 300
_LATER = {  # first words of error replies after which a later try may succeed
    "BUSY": "the server is busy with a script",
    "CLUSTERDOWN": "the cluster is down",
    "LOADING": "the server is loading its data",
    "MASTERDOWN": "the server has lost its primary",
    "MISCONF": "the server cannot write to its disk",
    "NOREPLICAS": "the server has too few replicas",
    "OOM": "the server is out of memory: give it more, for it must not evict",
    "READONLY": "the server is a read-only replica",
    "TRYAGAIN": "the server is moving keys",
    "UNBLOCKED": "the server has just become a replica",
}
_NEVER = {
    "NOAUTH": "it wants a password: check `store`",
    "NOPERM": "the user in `store` is not permitted to do this",
    "WRONGPASS": "it does not accept the user name or password in `store`",
    "WRONGTYPE": "a key of ours holds something of another type",
}


_CLASSES: Mapping[type[exceptions.RedisError], str] = {
    exceptions.AuthenticationError: "WRONGPASS",
    exceptions.NoPermissionError: "NOPERM",
    exceptions.BusyLoadingError: "LOADING",
    exceptions.ReadOnlyError: "READONLY",
    exceptions.OutOfMemoryError: "OOM",
    exceptions.MasterDownError: "MASTERDOWN",
    exceptions.ClusterDownError: "CLUSTERDOWN",
    exceptions.TryAgainError: "TRYAGAIN",
}


class Address(msgspec.Struct, frozen=True):
    """A ``store`` URL, parsed. ``kwargs`` are for redis-py's connection class and hold the password."""

    connection: type[AbstractConnection]
    kwargs: dict[str, Any]

    def __repr__(self) -> str:
        return "Address(...)"


@asynccontextmanager
async def open_store(
    url: str,
    directory: Path,
    env: Mapping[str, str],
    clock: Clock,
    *,
    max_connections: int = MAX_CONNECTIONS,
) -> AsyncIterator[Redis]:
    """A client of the store that ``url`` names, closed at the end of the block.

    ``directory`` is the one of the configuration file: relative paths start there. Nothing is sent yet (see
    :mod:`notifier.store.fitness`), except that ``embedded:`` finds or starts its server. Raises
    ``ConfigError`` for a URL that is wrong, without showing its password.
    """
    if url.startswith("embedded:"):
        place, ephemeral_ok = _parse_embedded(url)
        held = open_embedded(directory / place, ephemeral_ok=ephemeral_ok, env=env, clock=clock)
        async with held as socket, _client(_unix(socket, 0), max_connections) as redis:
            yield redis
    else:
        async with _client(parse(url, directory), max_connections) as redis:
            yield redis


def parse(url: str, directory: Path) -> Address:
    """The address that a ``redis://``, ``rediss://`` or ``unix://`` URL names, or ``ConfigError``."""
    try:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        port = parts.port
    except ValueError:
        raise ConfigError("store: this is not a URL (its characters may need percent-encoding)") from None
    match parts.scheme:
        case "redis" | "rediss":
            address = _tcp(parts, port, query, directory)
        case "unix":
            if not parts.path:
                raise ConfigError("store: unix:// needs a path, as in unix:///run/redis.sock")
            address = _unix(unquote(parts.path), _database(query.pop("db", "0")))
        case "redis+sentinel" | "redis+cluster":
            raise ConfigError(f"store: {parts.scheme}:// is not in this release; use redis:// or rediss://")
        case _:
            raise ConfigError("store: must begin with redis://, rediss://, unix:// or embedded:")
    if query:
        raise ConfigError(f"store: unknown option ?{_clean(min(query))}=")
    for name, value in (("username", parts.username), ("password", parts.password)):
        if value:
            address.kwargs[name] = unquote(value)
    return address


def _tcp(parts: SplitResult, port: int | None, query: dict[str, str], directory: Path) -> Address:
    if not parts.hostname:
        raise ConfigError(f"store: {parts.scheme}:// needs a host")
    kwargs: dict[str, Any] = {
        "host": parts.hostname,
        "port": port or 6379,
        "db": _database(parts.path.strip("/") or "0"),
        "socket_connect_timeout": TIMEOUT_S,
        "socket_keepalive": True,
    }
    if parts.scheme == "redis":
        return Address(Tcp, kwargs)
    verify = query.pop("verify", "full")
    if verify not in {"full", "none"}:
        raise ConfigError("store: ?verify= must be full or none")
    kwargs |= {
        "ssl_cert_reqs": "required" if verify == "full" else "none",
        "ssl_check_hostname": verify == "full",
    }
    if ca_file := query.pop("ca_file", ""):
        kwargs["ssl_ca_certs"] = str(directory / ca_file)
        if not (directory / ca_file).is_file():
            raise ConfigError(f"store: ?ca_file= names no file: {directory / ca_file}")
    return Address(Tls, kwargs)


def _unix(path: str, database: int) -> Address:
    return Address(Unix, {"path": path, "db": database})


def _database(text: str) -> int:
    if not DATABASE.fullmatch(text):
        raise ConfigError("store: the database must be a number, as in redis://host:6379/0")
    return int(text)


def _parse_embedded(url: str) -> tuple[Path, bool]:
    place, _, query = url.removeprefix("embedded:").partition("?")
    if not place:
        raise ConfigError("store: embedded: needs a directory, as in embedded:.notifier")
    if query not in {"", "ephemeral=ok"}:
        raise ConfigError("store: the only option of embedded: is ?ephemeral=ok")
    return Path(place), bool(query)


@asynccontextmanager
async def _client(address: Address, max_connections: int) -> AsyncIterator[Redis]:
    pool = BlockingConnectionPool(
        max_connections=max_connections,
        timeout=TIMEOUT_S,  # of waiting for a free connection
        connection_class=address.connection,
        socket_timeout=TIMEOUT_S,
        health_check_interval=_HEALTH_CHECK_S,
        retry=Retry(NoBackoff(), 0),
        retry_on_error=[],
        protocol=2,
        encoding="utf-8",
        decode_responses=False,
        client_name="clasp-notifier",
        **address.kwargs,
    )
    redis = Redis.from_pool(pool)
    try:
        yield redis
    finally:
        await redis.aclose()


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn redis-py's errors within the block into ours; ``what`` names what was being done."""
    try:
        yield
    except exceptions.RedisError as error:
        raise _translate(what, error) from error
    except (OSError, sockets.gaierror) as error:
        raise StoreUnavailable(f"{what}: the store cannot be reached: {_clean(str(error))}") from error


def _translate(what: str, error: exceptions.RedisError) -> StoreError:
    text = _clean(str(error))
    word = _word_of(error, text)
    for words, kind in ((_NEVER, StoreUnfit), (_LATER, StoreUnavailable)):
        if word in words:
            return kind(f"{what}: {words[word]} ({text})")
    if isinstance(error, exceptions.TimeoutError):
        return StoreUnavailable(f"{what}: the store did not answer within {TIMEOUT_S:g} s")
    if isinstance(
        error, exceptions.ConnectionError | exceptions.ClusterDownError | exceptions.InvalidResponse
    ):
        return StoreUnavailable(f"{what}: the store cannot be reached: {text}")
    return StoreError(f"{what}: {text}")


def _word_of(error: exceptions.RedisError, text: str) -> str:
    """The first word of the server's reply, which redis-py cuts off where it has a class for it.

    While it connects it wraps what the server said of our password in a mere ConnectionError.
    """
    causes = (error, error.__cause__, error.__context__)
    for kind, word in _CLASSES.items():
        if any(isinstance(cause, kind) for cause in causes):
            return word
    return text.partition(" ")[0].rstrip(":")


def _clean(text: str) -> str:
    """A server's words for one line: bounded, and without the arguments that it may repeat."""
    text = re.sub(r"[\x00-\x1f\x7f]+", " ", text.partition("with args beginning with")[0])
    return text.strip().rstrip(",")[:_MAX_TEXT]
