"""``notifier resync``: how things stand, told anew to a sink for programs."""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterator, Mapping, Sequence

import typer

from notifier import log
from notifier.cli.common import (
    DEFAULT_CONFIG,
    ConfigOption,
    Failed,
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
from notifier.clock import Clock, SystemClock, iso
from notifier.config import Config, Target
from notifier.core import codec
from notifier.core.codec import Words
from notifier.core.events import Names, Origin, current, ids_named
from notifier.core.rules import Router
from notifier.models import ConnectionState, Owed
from notifier.poller.names import NameBook
from notifier.store.names import name_keys, names_of
from notifier.store.state import Meta
from notifier.store.stores import Stores
from notifier.worker import source_client

RULE = "resync"  # what stands in the events for the name of a rule
_NAMES_A_SECOND = 10  # less than half of what Clasp allows an account, which others share
_IN_VAIN = 3  # rounds of names of which none was found: then Clasp is not asked any more
_NO_STATE = "there is no state yet: start `notifier run`, and wait for a complete snapshot"
_INCOMPLETE = "what was sent until now does not name everything, so nothing may be dropped by it"


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("resync")(resync)


def resync(sink: SinkArgument, config: ConfigOption = DEFAULT_CONFIG, *, yes: YesOption = False) -> None:
    """Send the present state: one `*.current` event for each connection and everything under it.

    So a program can begin from here and need not ask Clasp: what it gets is how things stand as of one poll,
    and what changes afterwards comes behind it in the same order. Rules are not asked. Names that are not
    known yet are looked up. Only for sinks that take events (webhook, console, command, pagerduty).
    """
    loaded = load_config(config)
    need_programs(loaded, sink)
    log.configure(log.LogLevel.ERROR)  # names that are missing are counted at the end
    count = run_async(lambda: _count(loaded))
    confirm(f"Send the present state of {count} connections to {sink}?", yes=yes)
    told = run_async(lambda: _resync(loaded, sink))
    say(f"{told.events} events about {told.connections} connections are on their way to {sink}")
    if told.nameless and loaded.source.enrich:
        say(
            f"{len(told.nameless)} names of employers and carriers could not be looked up and are null: "
            "run it again when Clasp answers, if the receiver needs them"
        )


async def _count(config: Config) -> int:
    async with open_stores(config) as store:
        if not (await store.state.meta()).epoch:
            raise Failed(_NO_STATE)
        return len(await live(store))


async def _resync(config: Config, sink: str) -> Resync:
    clock = SystemClock()
    source = source_client(config, clock, random.Random())
    try:
        async with open_stores(config) as store:
            book = NameBook(source, store.names, enabled=config.source.enrich)
            resyncing = Resync(config, store, sink, book, clock)
            await resyncing.run()
            return resyncing
    finally:
        await source.close()


async def live(store: Stores) -> set[str]:
    """The connections that are there."""
    return {id_ async for id_, value in store.state.all_states() if not codec.is_tombstone(value)}


class Resync:
    """One telling of the present state. ``nameless`` are the names that it could not tell, by their keys."""

    def __init__(self, config: Config, store: Stores, sink: str, book: NameBook, clock: Clock) -> None:
        self.events = 0
        self.connections = 0
        self.nameless: set[str] = set()
        self._config = config
        self._store = store
        self._sink = sink
        self._book = book
        self._clock = clock
        self._router = Router(config)
        self._nonce = secrets.token_hex(8)
        self._epoch = ""
        self._in_vain = 0

    async def run(self) -> None:
        """Owe the sink all of it, of one epoch: also what is added while this goes on."""
        self._epoch = (await self._store.state.meta()).epoch
        if not self._epoch:
            raise Failed(_NO_STATE)
        told: set[str] = set()
        while ids := sorted(await live(self._store) - told):
            self.events += await batchwise("present state", ids, AT_ONCE, self._tell)
            told.update(ids)
        self.connections = len(told)

    async def _tell(self, ids: Sequence[str]) -> int:
        _, states = await undisturbed(lambda: self._states(ids), self._clock)
        await self._learn(*ids_named(states.values()))  # takes its time, in which polls may come in between
        return await undisturbed(lambda: self._owe(ids), self._clock)

    async def _owe(self, ids: Sequence[str]) -> int | None:
        """Owe the sink how these connections are, at one version of the state; None where that has moved."""
        read = await self._states(ids)
        if read is None:
            return None
        meta, states = read
        wanted = name_keys(*ids_named(states.values()))
        found = await self._store.names.get(wanted)
        self.nameless.update(key for key in wanted if key not in found)
        # Nothing that was told can have been seen later than now.
        origin = Origin(self._config.name, meta.epoch, iso(self._store.state.now()), None)
        owed = list(self._current(states, origin, names_of(found)))
        return len(owed) if await self._store.lanes.enqueue(self._sink, owed, meta.version) else None

    async def _states(self, ids: Sequence[str]) -> tuple[Meta, dict[str, ConnectionState]] | None:
        """Those of these connections that are still there; None where a poll came in between."""
        meta = await self._store.state.meta()
        if meta.epoch != self._epoch:
            raise Failed(
                "a new baseline began meanwhile, so not all is of one state: wait for a complete snapshot "
                f"(`notifier status`) and run it again; {_INCOMPLETE}"
            )
        words, states = Words(meta.words), {}
        for id_, value in zip(ids, await self._store.state.states(ids), strict=True):
            try:
                if value is not None and not codec.is_tombstone(value):
                    states[id_] = codec.decode(value, words)
            except codec.Undecodable as error:
                if (await self._store.state.meta()).version != meta.version:
                    return None  # it has words that were not known before
                raise Failed(
                    f"the state of {id_} cannot be read ({error}): restart the worker, which then takes "
                    f"a new one, and run this again after a complete snapshot; {_INCOMPLETE}"
                ) from error
        return meta, states

    def _current(self, states: Mapping[str, ConnectionState], origin: Origin, names: Names) -> Iterator[Owed]:
        for id_, state in states.items():
            for event in current(state, id_, origin, names, self._nonce):
                yield self._router.owe(event, Target(self._sink), RULE, None)

    # --- names ---

    async def _learn(self, employers: set[str], carriers: set[str]) -> None:
        """Look up the names that are not known, as many at once as a poll may, as long as some are found."""
        wanted = name_keys(employers, carriers)
        unknown = await self._unknown(wanted)
        while unknown and self._in_vain < _IN_VAIN:
            began = self._clock.monotonic()
            _, asked = await self._book.look_up(employers, carriers, self._config.source.request_budget)
            left = await self._unknown(wanted)
            self._in_vain = 0 if left < unknown else self._in_vain + 1
            if left == unknown:
                return
            unknown = left
            await self._clock.sleep(max(0.0, began + asked / _NAMES_A_SECOND - self._clock.monotonic()))

    async def _unknown(self, wanted: Sequence[str]) -> int:
        return len(wanted) - len(await self._store.names.get(wanted))
