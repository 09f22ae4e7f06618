"""Wiring: one worker process from its configuration.

A worker polls when it holds the lease and always delivers. Its parts run side by side until a signal stops
them or one of them ends: the end of any part ends the process, so that a supervisor can start it anew.
"""

from __future__ import annotations

import asyncio
import logging
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from datetime import timedelta

import httpx
import structlog

from notifier import __version__
from notifier.clasp.client import ClaspClient
from notifier.clock import Clock
from notifier.config import Config, ConfigFile, SinkConfig, SinkSettings
from notifier.core.removals import Guard
from notifier.core.results import PollResult
from notifier.core.retry import SLACK_SCHEDULE, WEBHOOK_SCHEDULE
from notifier.core.rules import Router
from notifier.dispatcher import Dispatcher, Route
from notifier.errors import StoreError, StoreUnavailable
from notifier.poller.look import Settings, Tools
from notifier.poller.loop import Hooks, Poller
from notifier.poller.names import NameBook
from notifier.poller.roster import Roster, check_file, roster_of
from notifier.sinks.contract import Sink
from notifier.sinks.registry import build, build_sinks
from notifier.sinks.renewal import Renewal
from notifier.sinks.session import Sessions
from notifier.store.fitness import examine
from notifier.store.keys import Keys
from notifier.store.stores import Stores, stores
from notifier.web.health import Health
from notifier.web.server import serve

GRACE = timedelta(seconds=7)  # for attempts under way at a stop; the whole stop stays under ten seconds
_SWEEP_EVERY = timedelta(hours=1)
_HEARTBEAT_TIMEOUT_S = 5.0
_HEARTBEAT_HEADERS = {"User-Agent": f"clasp-notifier/{__version__}"}
_MAX_BACKOFF_S = 15.0

_log = structlog.get_logger()


def source_client(config: Config, clock: Clock, rng: random.Random) -> ClaspClient:
    """The client of the configured Clasp account."""
    source = config.source
    return ClaspClient(
        base_url=source.base_url,
        api_key=source.api_key.get_secret_value(),
        api_version=source.api_version,
        page_size=source.page_size,
        timeout=source.timeout,
        clock=clock,
        rng=rng,
    )


def routes(config: Config, sinks: Mapping[str, Sink]) -> dict[str, Route]:
    """How each sink is to be used."""
    return {
        name: Route(sinks[name], _schedule(sink), sink.concurrency, sink.rate, probes=sink.is_for_people)
        for name, sink in config.sinks.items()
    }


def _schedule(sink: SinkConfig) -> tuple[timedelta, ...]:
    if sink.retry is not None:
        return sink.retry
    return SLACK_SCHEDULE if sink.is_for_people else WEBHOOK_SCHEDULE


def settings(config: Config) -> Settings:
    """What of the configuration the poller needs."""
    excluded = [frozenset(sink.exclude) for sink in config.sinks.values()]
    everywhere = frozenset.intersection(*excluded) if excluded else frozenset({"broker_federal_ein"})
    return Settings(
        name=config.name,
        base_url=config.source.base_url,
        api_version=config.source.api_version or "",
        interval=config.source.poll_interval,
        guard=Guard(config.guards.removals, config.guards.removals_min),
        history=config.history,
        request_budget=config.source.request_budget,
        untracked=everywhere & {"broker_federal_ein"},
    )


async def run(
    config: Config,
    env: Mapping[str, str],
    clock: Clock,
    *,
    stop: asyncio.Event | None = None,
    file: ConfigFile | None = None,
) -> None:
    """Run a worker until SIGTERM, SIGINT, SIGHUP or ``stop``; ``file``: where secrets are looked at again.

    Raises ``StoreUnfit`` or ``ConfigError`` where it cannot start; anything else that ends a part of it.
    """
    await asyncio.to_thread(check_file, config)
    stop = stop or asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    health = Health(clock, config.source.poll_interval)
    http = serve(health, config.http.host, config.http.port) if config.http else nullcontext(None)
    async with http as address:
        _log.info("worker.started", version=__version__, name=config.name, listening=address)
        async with stores(config, env, clock) as store:
            if await _until_fit(config, store, clock, stop, health):
                await _work(config, store, clock, stop, health, file)
    _log.info("worker.stopped")


async def _until_fit(
    config: Config, store: Stores, clock: Clock, stop: asyncio.Event, health: Health
) -> bool:
    """Wait for a store that answers; one that answers and is unfit is an error. False: stopped meanwhile."""
    delay_s = 0.5
    while not stop.is_set():
        try:
            for warning in await examine(store.redis, clock, Keys(config.name)):
                _log.warning("store.warning", warning=warning)
            await store.state.sync_time()
        except StoreUnavailable as error:
            health.polled(PollResult("failed", str(error)))
            _log.warning("store.unavailable", error=str(error), retry_s=delay_s)
            await _first_of(stop, clock.sleep(delay_s))
            delay_s = min(delay_s * 2, _MAX_BACKOFF_S)
        else:
            return True
    return False


async def _work(
    config: Config,
    store: Stores,
    clock: Clock,
    stop: asyncio.Event,
    health: Health,
    file: ConfigFile | None = None,
) -> None:
    rng = random.Random()
    source = source_client(config, clock, rng)
    async with (
        Sessions() as sessions,
        AsyncExitStack() as renewed_sinks,
        build_sinks(config, sessions) as sinks,
        _heartbeat(config) as heartbeat,
    ):
        roster = roster_of(config, clock, sessions)
        dispatcher = Dispatcher(routes(config, sinks), store.lanes, clock, rng, health.attempted)
        tools = Tools(
            source,
            store.state,
            NameBook(source, store.names, enabled=config.source.enrich),
            Router(config),
            clock,
            roster,
        )
        hooks = Hooks(dispatcher.wake, _polled(health), heartbeat)
        poller = Poller(tools, settings(config), store.lanes, tuple(config.sinks), config.source.lease, hooks)

        def renew_sink(name: str, settings: SinkSettings) -> None:
            sink = build(name, settings, sessions, config.directory)
            dispatcher.renew(name, sink)
            renewed_sinks.push_async_callback(sink.close)

        try:
            async with asyncio.TaskGroup() as parts:
                parts.create_task(_must_run(_poll(poller, roster, stop), stop, "poller"))
                if roster is not None:
                    parts.create_task(_must_run(_first_of(stop, roster.keep()), stop, "roster"))
                parts.create_task(_must_run(dispatcher.run(stop, GRACE), stop, "dispatcher"))
                if file is not None:
                    renewal = Renewal(file, config, clock, renew_sink, source.renew)
                    parts.create_task(_must_run(_first_of(stop, renewal.keep()), stop, "renewal"))
                parts.create_task(_must_run(_sweep(store, clock, stop), stop, "sweeper"))
        finally:
            await source.close()


async def _poll(poller: Poller, roster: Roster | None, stop: asyncio.Event) -> None:
    """Poll, once it is known who the owners are, or that this cannot be known."""
    if roster is not None:
        await _first_of(stop, roster.fetch())
    await poller.run(stop)


async def _must_run(part: Awaitable[None], stop: asyncio.Event, name: str) -> None:
    await part
    if not stop.is_set():
        raise RuntimeError(f"the {name} ended by itself")


async def _sweep(store: Stores, clock: Clock, stop: asyncio.Event) -> None:
    """Drop expired names now and then."""
    while not stop.is_set():
        try:
            await store.names.sweep()
        except StoreError as error:
            _log.warning("names.not_swept", error=str(error))
        await _first_of(stop, clock.sleep(_SWEEP_EVERY.total_seconds()))


async def _first_of(stop: asyncio.Event, nap: Coroutine[None, None, None]) -> None:
    """Wait for the stop or the end of the nap."""
    waits = {asyncio.ensure_future(stop.wait()), asyncio.ensure_future(nap)}
    _, left = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for wait in left:
        wait.cancel()


def _polled(health: Health) -> Callable[[PollResult], None]:
    def polled(result: PollResult) -> None:
        health.polled(result)
        if result.outcome in {"complete", "partial", "failed"}:
            level = logging.INFO if result.outcome == "complete" else logging.WARNING
            _log.log(
                level,
                "poll.completed",
                outcome=result.outcome,
                reason=result.reason or None,
                baseline=result.baseline or None,
                connections=result.connections,
                changed=result.changed,
                events=result.events,
                deliveries=result.deliveries,
                ms=round(result.seconds * 1000),
                problems=list(result.problems) or None,
            )

    return polled


@asynccontextmanager
async def _heartbeat(config: Config) -> AsyncIterator[Callable[[], None]]:
    """Calls ``heartbeat_url``, if there is one, beside the polls: a slow monitor delays nothing.

    Not with an httpx client, which writes whole URLs to its log. The answer's body is not read.
    """
    if config.heartbeat_url is None:
        yield lambda: None
        return
    url = config.heartbeat_url.get_secret_value()
    beats: set[asyncio.Task[None]] = set()
    async with httpx.AsyncHTTPTransport(trust_env=False) as http:

        async def beat() -> None:
            try:
                async with asyncio.timeout(_HEARTBEAT_TIMEOUT_S):
                    response = await http.handle_async_request(
                        httpx.Request("GET", url, headers=_HEARTBEAT_HEADERS)
                    )
                    await response.aclose()
            except (TimeoutError, httpx.HTTPError, httpx.InvalidURL) as error:
                _log.warning("heartbeat.failed", error=type(error).__name__)
            else:
                if not response.is_success:
                    _log.warning("heartbeat.failed", error=f"HTTP {response.status_code}")

        def start() -> None:
            if not beats:  # the one before is still under way: the monitor is slow, one is enough
                task = asyncio.create_task(beat())
                beats.add(task)
                task.add_done_callback(beats.discard)

        try:
            yield start
        finally:
            for task in beats:
                task.cancel()
