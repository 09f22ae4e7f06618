"""Is this server fit to hold the state? Asked once, at start.

What is known to be wrong is refused (``StoreUnfit``); what a managed server does not let one ask, and what
is merely unwise, is a warning. Nothing of this protects a running worker: the server may be reconfigured.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis

from notifier.clock import Clock
from notifier.errors import StoreError, StoreUnavailable, StoreUnfit
from notifier.store.client import translated
from notifier.store.keys import Keys
from notifier.store.scripts import load

OLDEST = (6, 2)
MAX_CLOCK_OFFSET_S = 300.0
_NOBODY = "~trial"  # no sink can have this name


async def examine(redis: Redis, clock: Clock, keys: Keys | None = None) -> list[str]:
    """Warnings about the server, one sentence each. Raises ``StoreUnfit`` where it cannot be trusted.

    With the deployment's ``keys`` every command that the notifier needs is tried on them (see trial.lua).
    """
    with translated("reaching the store"):
        await redis.ping()
    warnings: list[str] = []
    info = await _info(redis, warnings)
    _examine_kind(info)
    _examine_eviction(info, warnings)
    await _examine_persistence(redis, info, warnings)
    if keys:
        await _try_commands(redis, keys)
    await _examine_clock(redis, clock, warnings)
    return warnings


async def _try_commands(redis: Redis, keys: Keys) -> None:
    hashes = (keys.meta, keys.lease, keys.state, keys.names, keys.alerts, keys.silences, keys.durations)
    streams = (keys.history, keys.inbox, keys.attempts)
    zsets = (keys.lanes(_NOBODY), keys.claims(_NOBODY))
    own = (keys.sink(_NOBODY), *zsets, keys.lane(_NOBODY, _NOBODY), keys.dead(_NOBODY))
    try:
        with translated("trying the commands that the notifier needs"):
            await load(redis, "trial")(keys=[*hashes, *streams, *own])
    except StoreUnavailable:
        raise
    except StoreError as error:
        raise StoreUnfit(f"the store refuses a command that the notifier needs: {error}") from error


async def _info(redis: Redis, warnings: list[str]) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    try:
        for section in ("server", "replication", "cluster", "memory", "persistence"):
            with translated(f"INFO {section}"):
                found |= await redis.info(section)
    except StoreUnavailable:
        raise
    except StoreError as error:
        warnings.append(f"the store's version, role, eviction and persistence could not be checked: {error}")
    return found


def _examine_kind(info: Mapping[str, Any]) -> None:
    version = str(info.get("redis_version", ""))
    numbers = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    if numbers and numbers < OLDEST:
        raise StoreUnfit(f"the store is version {version}; 6.2 or later is needed")
    if info.get("role", "master") != "master":
        raise StoreUnfit("the store is a replica: set `store` to its primary")
    if str(info.get("cluster_enabled", "0")) == "1":
        raise StoreUnfit(
            "the store is a cluster, which this release cannot use: set `store` to a single server"
        )


def _examine_eviction(info: Mapping[str, Any], warnings: list[str]) -> None:
    policy = info.get("maxmemory_policy")
    if policy is None:
        if info:
            warnings.append("the store does not tell its maxmemory-policy; it must be noeviction")
    elif policy != "noeviction":
        raise StoreUnfit(
            f"the store's maxmemory-policy is {policy}: under memory pressure it would silently forget state "
            "and undelivered messages; set it to noeviction"
        )


async def _examine_persistence(redis: Redis, info: Mapping[str, Any], warnings: list[str]) -> None:
    if not info or str(info.get("aof_enabled", "0")) == "1":
        return
    try:
        with translated("CONFIG GET save"):
            save = (await redis.config_get("save")).get("save", "")
    except StoreUnavailable:
        raise
    except StoreError:
        warnings.append("the store has no append-only file and does not tell whether it saves snapshots")
        return
    warnings.append(
        "the store saves snapshots only: when it stops, the last minutes of state and deliveries are lost; "
        "set appendonly yes"
        if save
        else "the store keeps nothing on disk: when it stops, state and undelivered messages are lost, and a "
        "new baseline follows; set appendonly yes"
    )


async def _examine_clock(redis: Redis, clock: Clock, warnings: list[str]) -> None:
    with translated("TIME"):
        seconds, _ = await redis.time()
    offset_s = seconds - clock.now().timestamp()
    if abs(offset_s) > MAX_CLOCK_OFFSET_S:
        ahead = "ahead of" if offset_s > 0 else "behind"
        warnings.append(
            f"the store's clock is {abs(offset_s):,.0f} s {ahead} this machine's; set both by NTP"
        )
