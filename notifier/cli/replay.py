"""``notifier replay``: what happened, once more, to a sink for programs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Annotated, Any

import msgspec
import typer

from notifier.cli.common import (
    DEFAULT_CONFIG,
    ConfigOption,
    SinkArgument,
    YesOption,
    batchwise,
    confirm,
    load_config,
    open_stores,
    run_async,
    say,
)
from notifier.cli.resend import AT_ONCE, need_programs, undisturbed
from notifier.cli.spans import SinceOption, UntilOption, span_of
from notifier.clock import Clock, SystemClock
from notifier.config import Config
from notifier.core.again import Again
from notifier.core.events import recorded
from notifier.core.rules import Router
from notifier.errors import ConfigError
from notifier.models import Owed
from notifier.store.stores import Stores


class Wanted(msgspec.Struct, frozen=True):
    """Which events, and of which types (a glob; None: of all)."""

    sink: str
    since: datetime | None
    until: datetime | None = None
    type: str | None = None


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("replay")(replay)


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
    events (webhook, console, command, pagerduty); what could not be delivered is sent again by
    `notifier dead replay`.
    """
    loaded = load_config(config)
    need_programs(loaded, sink)
    if since is None:
        raise ConfigError("say from when on: --since 24h, or --since 2026-12-01")
    wanted, found, first = run_async(lambda: _look(loaded, sink, (since, until), type_))
    if not found:
        say(f"no recorded event in that time is for {sink}; the history begins at {first or 'nothing'}")
        return
    confirm(f"Send {found} recorded events to {sink} again?", yes=yes)
    sent = run_async(lambda: _send(loaded, wanted))
    more = f" ({sent - found} were recorded since you were asked)" if sent > found else ""
    say(f"{sent} events are on their way to {sink}{more}; `notifier status` shows what waits")


async def _look(
    config: Config, sink: str, span: tuple[str, str | None], type_: str | None
) -> tuple[Wanted, int, str | None]:
    """What is wanted, how much the sink would get of it, and where the history begins."""
    async with open_stores(config) as store:
        wanted = Wanted(sink, *span_of(*span, store.state.now()), type_)
        first = None
        async for record in store.records.events(None):
            first = record.get("timestamp")
            break
        return wanted, await Replay(config, store, wanted).count(), first


async def _send(config: Config, wanted: Wanted) -> int:
    async with open_stores(config) as store:
        return await Replay(config, store, wanted).send(SystemClock())


class Replay:
    """The recorded events for a sink, read once. What is committed meanwhile is read and sent behind them.

    So the last that the receiver hears of anything is the last that happened to it.
    """

    def __init__(self, config: Config, store: Stores, wanted: Wanted) -> None:
        self._store = store
        self._wanted = wanted
        self._again = Again(Router(config), wanted.sink)
        self._read = ""  # the last entry of the history
        self._version = ""  # of the state of which all is read
        self._found: list[Owed] = []  # and not yet sent

    async def count(self) -> int:
        """How many there are by now."""
        await self._look()
        return len(self._found)

    async def send(self, clock: Clock) -> int:
        """Owe the sink all of it; how many events that are."""
        sent = 0
        await self._look()
        while self._found:
            found, self._found = self._found, []
            sent += await batchwise(
                "sending again", found, AT_ONCE, lambda batch: undisturbed(lambda: self._owe(batch), clock)
            )
        return sent

    async def _owe(self, batch: Sequence[Owed]) -> int | None:
        """None where something was committed since the last look: it is to come behind what is older."""
        if await self._store.lanes.enqueue(self._wanted.sink, batch, self._version):
            return len(batch)
        await self._look()
        return None

    async def _look(self) -> None:
        self._version = (await self._store.state.meta()).version
        wanted = self._wanted
        async for entry, record in self._store.records.entries(wanted.since, wanted.until, after=self._read):
            self._read = entry
            owed = self._owed(record)
            if owed is not None and (wanted.type is None or fnmatchcase(owed.delivery.type, wanted.type)):
                self._found.append(owed)

    def _owed(self, record: dict[str, Any]) -> Owed | None:
        try:
            return self._again.owed(recorded(str(record["type"]), str(record["timestamp"]), record["data"]))
        except (AttributeError, KeyError, TypeError):
            return None  # of another release
