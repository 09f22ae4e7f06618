"""``notifier replay`` and ``resync``: what happened, or how things stand, once more to a sink for programs.

Both only put deliveries behind what waits in the sink's lanes; workers send them. So they may run while
workers run, and a lane's order is kept.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any

import typer

from notifier.cli.common import (
    DEFAULT_CONFIG,
    ConfigOption,
    Failed,
    SinkArgument,
    YesOption,
    batchwise,
    confirm,
    load_config,
    need_sink,
    open_stores,
    run_async,
    say,
)
from notifier.cli.spans import SinceOption, UntilOption, span_of
from notifier.clock import iso
from notifier.config import Config, Target
from notifier.core import codec
from notifier.core.codec import Words
from notifier.core.events import Names, Origin, current, ids_named, recorded
from notifier.core.rules import Router
from notifier.errors import ConfigError
from notifier.models import ConnectionState, Owed
from notifier.store.stores import Stores

_AT_ONCE = 100  # connections, or deliveries: what one script takes is as bounded as a commit
_TRIES = 20  # of a batch in which a poll came in between
RULE = "resync"  # what stands in the events for the name of a rule


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("replay")(replay)
    app.command("resync")(resync)


def replay(
    sink: SinkArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    since: SinceOption = None,
    until: UntilOption = None,
    type_: Annotated[
        str | None, typer.Option("--type", help='Only events of this type, such as "group_connection.*".')
    ] = None,
    yes: YesOption = False,
) -> None:
    """Send recorded events again, to a new sink or one that lost them: `notifier replay backend --since 3d`.

    The sink gets what the rules, as they are now, would send it: oldest first, under the events' own ids, so
    that a receiver which has one already can tell. They come behind what waits. Only for sinks that take
    events (webhook, console); what could not be delivered is sent again by `notifier dead replay`.
    """
    loaded = load_config(config)
    _need_programs(loaded, sink)
    if since is None:
        raise ConfigError("say from when on: --since 24h, or --since 2026-12-01")
    found, first = run_async(lambda: _find(loaded, sink, (since, until), type_))
    if not found:
        say(f"no recorded event in that time is for {sink}; the history begins at {first or 'nothing'}")
        return
    confirm(f"Send {len(found)} recorded events to {sink} again?", yes=yes)
    run_async(lambda: _owe(loaded, sink, found))
    say(f"{len(found)} events are on their way to {sink}; `notifier status` shows what waits")


def resync(sink: SinkArgument, config: ConfigOption = DEFAULT_CONFIG, *, yes: YesOption = False) -> None:
    """Send the present state: one `*.current` event for each connection and everything under it.

    So a program can begin from here and need not ask Clasp: what it gets is how things stand as of one poll,
    and what changes afterwards comes behind it in the same order. Rules are not asked.
    """
    loaded = load_config(config)
    _need_programs(loaded, sink)
    ids = run_async(lambda: _ids(loaded))
    confirm(f"Send the present state of {len(ids)} connections to {sink}?", yes=yes)
    count = run_async(lambda: _resync(loaded, sink, ids))
    say(f"{count} events about {len(ids)} connections are on their way to {sink}")


def _need_programs(config: Config, sink: str) -> None:
    need_sink(config, sink)
    if config.sinks[sink].is_for_people:
        raise ConfigError(f'"{sink}" tells people what lasts; this is for sinks that take events')


# --- replay ---


async def _find(
    config: Config, sink: str, span: tuple[str, str | None], type_: str | None
) -> tuple[list[Owed], str | None]:
    """What the sink would get of the history, and where that begins."""
    router, found, first = Router(config), [], None
    async with open_stores(config) as store:
        async for record in store.records.events(None):
            first = record.get("timestamp")
            break
        async for record in store.records.events(*span_of(*span, store.state.now())):
            owed = _again(router, sink, record)
            if owed is not None and (type_ is None or fnmatchcase(owed.delivery.type, type_)):
                found.append(owed)
    return found, first


def _again(router: Router, sink: str, record: dict[str, Any]) -> Owed | None:
    try:
        event = recorded(str(record["type"]), str(record["timestamp"]), record["data"])
    except (KeyError, TypeError):
        return None  # of another release
    return router.again(event, sink)


async def _owe(config: Config, sink: str, found: Sequence[Owed]) -> None:
    async with open_stores(config) as store:
        await batchwise("sending again", found, _AT_ONCE, lambda batch: store.lanes.enqueue(sink, batch))


# --- resync ---


async def _ids(config: Config) -> list[str]:
    async with open_stores(config) as store:
        if not (await store.state.meta()).epoch:
            raise Failed("there is no state yet: start `notifier run`, and wait for a complete snapshot")
        found = {id_ async for id_, value in store.state.all_states() if not codec.is_tombstone(value)}
        return sorted(found)


async def _resync(config: Config, sink: str, ids: Sequence[str]) -> int:
    """How many events the sink is owed."""
    router, nonce = Router(config), secrets.token_hex(8)
    async with open_stores(config) as store:
        return await batchwise(
            "present state",
            ids,
            _AT_ONCE,
            lambda batch: _resync_batch(store, config, router, sink, batch, nonce),
        )


async def _resync_batch(
    store: Stores, config: Config, router: Router, sink: str, ids: Sequence[str], nonce: str
) -> int:
    """Owe the sink how these connections are, at one version of the state."""
    for _ in range(_TRIES):
        meta = await store.state.meta()
        words = Words(meta.words)
        try:
            states = {
                id_: codec.decode(value, words)
                for id_, value in zip(ids, await store.state.states(ids), strict=True)
                if value is not None and not codec.is_tombstone(value)
            }
        except codec.Undecodable:
            continue  # a poll wrote words meanwhile that were not known before
        names = await store.names.known(*ids_named(states.values()))
        origin = Origin(config.name, meta.epoch, meta.complete_at or iso(store.state.now()), None)
        owed = list(_current(router, sink, states, origin, names, nonce))
        if await store.lanes.enqueue(sink, owed, meta.version):
            return len(owed)
    raise Failed("polls came in between each time; run it again: what was sent already is sent anew")


def _current(
    router: Router,
    sink: str,
    states: Mapping[str, ConnectionState],
    origin: Origin,
    names: Names,
    nonce: str,
) -> Iterator[Owed]:
    for id_, state in states.items():
        for event in current(state, id_, origin, names, nonce):
            yield router.owe(event, Target(sink), RULE, None)
