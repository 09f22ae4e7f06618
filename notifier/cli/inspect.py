"""``notifier history`` and ``approve``: what happened, and what waits for a yes."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from notifier.cli.common import (
    DEFAULT_CONFIG,
    ConfigOption,
    CsvOption,
    Failed,
    JsonOption,
    YesOption,
    confirm,
    load_config,
    open_stores,
    print_csv,
    print_json,
    run_async,
    say,
    show,
)
from notifier.cli.ledger import event_row, with_links
from notifier.config import Config
from notifier.core.removals import Held
from notifier.errors import ConfigError

_SHOWN_IDS = 20
_OF_EVENTS = ("time", "type", "employer", "carrier", "from", "to", "entity", "event")
_OF_ATTEMPTS = (
    "at",
    "sink",
    "key",
    "id",
    "type",
    "attempt",
    "outcome",
    "reason",
    "status",
    "ms",
    "permalink",
)


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("history")(history)
    app.command("approve")(approve)


def history(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many, newest first.")] = 50,
    entity: Annotated[
        str | None, typer.Option(help="Only this connection, group connection or milestone.")
    ] = None,
    deliveries: Annotated[bool, typer.Option("--deliveries", help="Show delivery attempts instead.")] = False,
    as_csv: CsvOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show the committed events, or with --deliveries every attempt to deliver one; newest first."""
    if as_csv and as_json:
        raise ConfigError("say either --csv or --json")
    loaded = load_config(config)
    if deliveries:
        rows = run_async(lambda: _attempts(loaded, limit))
        columns, empty = list(_OF_ATTEMPTS), "no attempts yet"
    else:
        events = run_async(lambda: _events(loaded, limit, entity))
        rows = (
            events
            if as_json
            else [event_row(event["type"], event["timestamp"], event["data"]) for event in events]
        )
        columns = list(_OF_EVENTS)
        empty = f"no event is recorded of {entity}; ids are written whole" if entity else "no events yet"
    if as_csv:
        print_csv(rows, columns)
    else:
        show(rows, as_json=as_json, empty=empty)


async def _attempts(config: Config, limit: int) -> list[dict[str, Any]]:
    async with open_stores(config) as store:
        newest = await store.lanes.attempts(newest=limit)
    return await with_links(config, newest)


async def _events(config: Config, limit: int, entity: str | None) -> list[dict[str, Any]]:
    async with open_stores(config) as store:
        if entity is None:
            return await store.state.history(newest=limit)
        everything = await store.state.history(newest=100_000)
        return [event for event in everything if _is_about(event, entity)][:limit]


def _is_about(event: dict[str, Any], entity: str) -> bool:
    data = event["data"]
    return entity in {data.get("entity", {}).get("id"), data.get("connection", {}).get("id")}


def approve(
    config: ConfigOption = DEFAULT_CONFIG, *, yes: YesOption = False, as_json: JsonOption = False
) -> None:
    """Let removals through that were held because too much disappeared at once.

    Shows what is held and asks. What you approve is exactly what was shown; each connection is still
    confirmed with Clasp before it is told as removed. The next poll applies it.
    """
    loaded = load_config(config)
    held = run_async(lambda: _held(loaded))
    if held is None or held.approved:
        if as_json:
            print_json({"held": msgspec.to_builtins(held)})
        else:
            say("nothing is held" if held is None else "already approved; the next polls apply it")
        return
    if as_json and not yes:
        print_json({"held": msgspec.to_builtins(held)})
        return
    if not as_json:
        _show_held(held)
    confirm("Approve this?", yes=yes)
    run_async(lambda: _approve(loaded, held))
    if as_json:
        print_json({"approved": msgspec.to_builtins(held)})
    else:
        say("approved; the next poll applies it")


def _show_held(held: Held) -> None:
    if held.whole_snapshot:
        say(f"Held since {held.since}: the list is empty, or shares nothing with what is known.")
        say("Approving takes the list as it is as a new starting point and forgets what was known.")
        return
    say(f"Held since {held.since}: {held.count} entities disappeared from Clasp's list.")
    for kind, ids in held.ids.items():
        rest = f" and {len(ids) - _SHOWN_IDS} more (see --json)" if len(ids) > _SHOWN_IDS else ""
        say(f"  {len(ids)} {kind.replace('_', ' ')}s: {', '.join(ids[:_SHOWN_IDS])}{rest}")


async def _held(config: Config) -> Held | None:
    async with open_stores(config) as store:
        meta = await store.state.meta()
        if not meta.version:
            raise Failed("nothing was polled yet under this name; is it the right configuration?")
        return meta.held


async def _approve(config: Config, held: Held) -> None:
    async with open_stores(config) as store:
        await store.state.write_inbox("approve", msgspec.to_builtins(held))
