"""``notifier status``: how things stand, as the store and the configured files tell it."""

from __future__ import annotations

from typing import Any

import msgspec
import typer

from notifier.cli.common import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    by_operator,
    counted,
    load_config,
    open_stores,
    print_json,
    run_async,
    say,
    show,
    sink_healths,
)
from notifier.cli.pulse import why_stalled
from notifier.config import Config
from notifier.errors import ConfigError
from notifier.poller.roster import check_file
from notifier.store.health import SinkHealth
from notifier.store.records import Retrying
from notifier.store.state import Meta


class _Standing(msgspec.Struct, frozen=True):
    """How a deployment stands. ``stalled`` and ``owners``: what is wrong there, or ''."""

    meta: Meta
    healths: dict[str, SinkHealth]
    retrying: dict[str, Retrying | None]
    stalled: str
    owners: str


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("status")(status)


def status(config: ConfigOption = DEFAULT_CONFIG, *, as_json: JsonOption = False) -> None:
    """Show what is known, when it was last complete, what waits, and what needs a person."""
    loaded = load_config(config)
    found = run_async(lambda: _read(loaded))
    if as_json:
        print_json(_entry(loaded, found))
        return
    meta = found.meta
    say(f"{loaded.name}: {_account(meta)}")
    say(f"last complete snapshot: {meta.complete_at or 'none yet'}")
    if found.stalled and meta.version:
        say(f"STALLED: {found.stalled}")
    if meta.held is not None and not meta.held.approved:
        what = (
            "a list that shares nothing with what is known waits"
            if meta.held.whole_snapshot
            else "removals wait"
        )
        say(f"HELD: {what} for a person; see `notifier approve`")
    if found.owners:
        say(f"OWNERS: {found.owners}; who runs goes on with the table of before, and who starts refuses it")
    rows = [
        {
            "sink": name,
            "state": _state(loaded, name, health, found.retrying[name]),
            "lanes waiting": health.waiting,
            "dead letters": health.dead,
            "last error": health.message or _error(found.retrying[name]),
        }
        for name, health in found.healths.items()
    ]
    show(rows, as_json=False, empty="no sinks")


def _entry(config: Config, found: _Standing) -> dict[str, Any]:
    meta = found.meta
    return {
        "name": config.name,
        "complete_at": meta.complete_at,
        "stalled": found.stalled or None,
        "epoch": meta.epoch or None,
        "known": meta.counts,
        "held": msgspec.to_builtins(meta.held),
        "owners_problem": found.owners or None,
        "sinks": {
            name: {
                **msgspec.to_builtins(health),
                "retrying": msgspec.to_builtins(found.retrying[name]),
                "is_preview": name in config.in_preview,
            }
            for name, health in found.healths.items()
        },
    }


async def _read(config: Config) -> _Standing:
    async with open_stores(config) as store:
        healths, meta = await sink_healths(config, store), await store.state.meta()
        return _Standing(
            meta,
            healths,
            {name: await store.records.retrying(name, store.state.now_us()) for name in healths},
            why_stalled(config.source.poll_interval, meta.complete_at, store.state.now()),
            _owners_problem(config),
        )


def _owners_problem(config: Config) -> str:
    """What is wrong with the file of owners, in a line; one at an address is the worker's to tell."""
    try:
        check_file(config)
    except ConfigError as error:
        first, *rest = str(error).splitlines()
        return first + (f", and {counted(len(rest), 'more problem')}" if rest else "")
    return ""


def _account(meta: Meta) -> str:
    if not meta.version:
        return "nothing polled yet; start `notifier run`"
    if not meta.epoch:
        return "the first snapshot is being taken"
    counts = meta.counts
    return (
        f"{counts.get('connection', 0)} connections, {counts.get('group_connection', 0)} group connections, "
        f"{counts.get('milestone', 0)} milestones"
    )


def _state(config: Config, name: str, health: SinkHealth, retrying: Retrying | None) -> str:
    if name not in config.sinks:
        return "not in the configuration; `notifier sinks drop` forgets it"
    preview = ", in preview: nothing is sent" if name in config.in_preview else ""
    return _health(health, retrying) + preview


def _health(health: SinkHealth, retrying: Retrying | None) -> str:
    if health.off is not None:
        return f"paused {by_operator(health)}"
    if health.paused_until is not None:
        return f"paused for a fault, next probe {health.paused_until}"
    if health.is_failing:
        return "failing"
    how = "the last attempt failed" if health.failures else "ok elsewhere" if retrying else "ok"
    waits = f"; {counted(retrying.lanes, 'lane waits', 'lanes wait')} to be tried again" if retrying else ""
    return how + waits


def _error(retrying: Retrying | None) -> str | None:
    """Where it fails, while the sink takes other things."""
    if retrying is None:
        return None
    where = f"{retrying.target}: " if retrying.target else ""
    return f"{where}{retrying.reason or 'an attempt failed'}; see `notifier history --deliveries`"
