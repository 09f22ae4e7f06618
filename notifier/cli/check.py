"""``notifier check`` and ``notifier schema``: is the configuration right, and does everything answer."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Annotated

import typer
from rich.text import Text

from notifier.cli.common import (
    DEFAULT_CONFIG,
    ConfigOption,
    Failed,
    counted,
    load_config,
    open_stores,
    out,
    print_json,
    run_async,
    say,
    warn,
)
from notifier.cli.owners import read_owners
from notifier.cli.places import places, try_places, unmentioned
from notifier.clock import SystemClock
from notifier.config import Config, json_schema, warnings
from notifier.config.files import mark_of
from notifier.core.owners import Owners
from notifier.errors import ConfigError, NotifierError
from notifier.poller.roster import check_file
from notifier.sinks.registry import build_sinks
from notifier.store.fitness import examine
from notifier.store.keys import Keys
from notifier.worker import source_client


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    app.command("check")(check)
    app.command("schema")(schema)


def check(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    online: Annotated[
        bool, typer.Option("--online", help="Also try Clasp, the store and every sink.")
    ] = False,
) -> None:
    """Check the configuration; with --online, everything that it names. Sends no message to anybody.

    Exit code 0: fine. 1: something did not answer as it should. 2: the configuration is wrong.
    """
    loaded = load_config(config)
    _check_files(loaded)
    owners = check_file(loaded)
    for warning in [*warnings(loaded), *unmentioned(loaded, owners or Owners())]:
        warn(warning)
    say(f"{config}: {counted(len(loaded.rules), 'rule')}, {counted(len(loaded.sinks), 'sink')}: fine")
    for name in loaded.in_preview:
        say(f"sink {name} is in preview: what it would send is written to standard output, nothing is sent")
    if owners is not None and loaded.owners is not None:
        say(f"{loaded.owners.file}: {counted(len(owners), 'row')}: fine")
    if online and not run_async(lambda: _online(loaded, owners)):
        raise Failed("not everything answered as it should; see above")


def _check_files(config: Config) -> None:
    """Refuse files of sinks that are not there; whether they are right is known when the sink is built."""
    missing = [
        f"sinks.{name}: {file}: there is no such file"
        for name, sink in config.sinks.items()
        if not sink.is_preview
        for file in sink.files(config.directory)
        if mark_of(file) is None
    ]
    if missing:
        raise ConfigError(*missing)


def schema() -> None:
    """Print the JSON Schema of the configuration, for editors."""
    print_json(json_schema())


async def _online(config: Config, owners: Owners | None) -> bool:
    results = [
        await _tried("clasp", lambda: _clasp(config)),
        await _tried("store", lambda: _store(config)),
    ]
    fetched: list[Owners] = []
    if config.owners is not None and config.owners.url is not None:
        results.append(await _tried("owners", lambda: _owners(config, fetched)))
    async with build_sinks(config) as sinks:
        stand = {name: await _tried(f"sink {name}", sink.probe) for name, sink in sinks.items()}
        table = owners or (fetched[0] if fetched else Owners())
        asked = places(config, table)
        results += stand.values()
        results.append(await try_places({name: sinks[name] for name in sinks if stand[name]}, asked))
    for warning in unmentioned(config, table) if fetched else ():
        warn(warning)
    return all(results)


async def _tried(what: str, attempt: Callable[[], Awaitable[str]]) -> bool:
    try:
        answer = await attempt()
    except ConfigError:
        raise
    except (NotifierError, Failed) as error:
        out.print(Text.assemble(("FAILED ", "bold red"), f"{what}: {error}"))
        return False
    out.print(Text.assemble(("ok     ", "bold green"), f"{what}: {answer}"))
    return True


async def _clasp(config: Config) -> str:
    clock = SystemClock()
    client = source_client(config, clock, random.Random())
    try:
        async for page in client.pages():
            more = ", and more pages" if page.next_cursor else ""
            return f"the key works; the first page has {page.count} connections{more}"
        return "the key works; the account has no connections"
    finally:
        await client.close()


async def _owners(config: Config, fetched: list[Owners]) -> str:
    """Fetch the table into ``fetched``."""
    fetched.append(await read_owners(config))
    return f"the table has {counted(len(fetched[0]), 'row')}"


async def _store(config: Config) -> str:
    clock = SystemClock()
    async with open_stores(config) as store:
        for warning in await examine(store.redis, clock, Keys(config.name)):
            warn(f"store: {warning}")
        key = "check:write"
        await store.names.put({key: True}, timedelta(seconds=1))
        found = await store.names.get([key])
    if key not in found:
        raise Failed("what was written could not be read back")
    return "answers, and takes writes"
