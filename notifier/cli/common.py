"""What the commands share: the configuration, the store, exit codes, and how lists are shown."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import sys
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Coroutine,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from notifier.clock import SystemClock
from notifier.config import Config, load
from notifier.errors import ConfigError, NotifierError, StoreUnavailable
from notifier.store.health import SinkHealth
from notifier.store.lanes import DeadLetter
from notifier.store.stores import Stores, stores

T = TypeVar("T")
DEFAULT_CONFIG = Path("config/notifier.yaml")
_ENDLESS = 10_000  # wider than any table
_NARROWEST = 12  # a column of text that is folded

ConfigOption = Annotated[
    Path,
    typer.Option(
        "--config", "-c", envvar="NOTIFIER_CONFIG", help="The configuration file.", show_default=True
    ),
]
CsvOption = Annotated[bool, typer.Option("--csv", help="Print CSV, for spreadsheets.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
SinkArgument = Annotated[str, typer.Argument(help="The sink's name.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)


class Failed(Exception):
    """The command did its work and the answer is no: exit code 1."""


def load_config(path: Path) -> Config:
    """The configuration at ``path``, with this process' environment."""
    return load(path, os.environ)


def run_async(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a command's work on an event loop."""
    return asyncio.run(main())


@asynccontextmanager
async def open_stores(config: Config) -> AsyncIterator[Stores]:
    """The store of a configuration, its time known."""
    async with stores(config, os.environ, SystemClock()) as store:
        try:
            await store.state.sync_time()
        except StoreUnavailable as error:
            raise Failed(f"the store cannot be reached: {error}") from error
        yield store


async def sink_names(config: Config, store: Stores) -> list[str]:
    """Every sink of the configuration, then those that something is still kept for."""
    return [*config.sinks, *sorted(await store.lanes.known_sinks() - config.sinks.keys())]


async def sink_healths(config: Config, store: Stores) -> dict[str, SinkHealth]:
    """How each of :func:`sink_names` stands."""
    return {name: await store.lanes.health(name) for name in await sink_names(config, store)}


def need_sink(config: Config, name: str) -> None:
    """Refuse a sink that the configuration does not have."""
    if name not in config.sinks:
        raise ConfigError(f'there is no sink "{name}"; the configuration has: {", ".join(config.sinks)}')


def counted(count: int, one: str, more: str = "") -> str:
    """``1 row``, ``2 rows``."""
    return f"{count} {one}" if count == 1 else f"{count} {more or one + 's'}"


def by_operator(health: SinkHealth) -> str:
    """By whom a sink is paused that is off, and why."""
    return f"by an operator: {health.off}" if health.off else "by an operator"


def print_json(value: Any) -> None:
    """One JSON document."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def print_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """A table for spreadsheets: with a header, and no cell that one would take for a formula."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow(
            [_inert(_cell(value)) if (value := row.get(name)) is not None else "" for name in columns]
        )


def _inert(cell: str) -> str:
    return f"'{cell}" if cell.startswith(("=", "+", "-", "@", "\t", "\r")) else cell


def show(rows: Sequence[dict[str, Any]], *, as_json: bool, empty: str) -> None:
    """A list, as a table for people or as JSON. Cells are plain text: nothing in them is markup."""
    if as_json:
        print_json(list(rows))
        return
    if not rows:
        out.print(Text(empty))
        return
    if not out.is_terminal:
        for row in rows:
            sys.stdout.write("\t".join(_cell(value) for value in row.values()) + "\n")
        return
    table = _table(rows)
    if out.measure(table, options=out.options.update_width(_ENDLESS)).minimum <= out.width:
        out.print(table)
        return
    for row in rows:
        out.print(_record(row), end="\n\n")


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    """Columns of words (ids, moments) are not folded: they are there to be copied."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in rows[0]:
        cells = [_cell(row[name]) for row in rows]
        if any(" " in cell for cell in cells):
            table.add_column(name, overflow="fold", min_width=min(_NARROWEST, max(map(len, cells))))
        else:
            table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row.values()))
    return table


def _record(row: Mapping[str, Any]) -> Text:
    """A row for a terminal that is too narrow for the table: one line each."""
    width = max(map(len, row))
    return Text("\n").join(
        Text.assemble((name.ljust(width), "bold"), "  ", _cell(value)) for name, value in row.items()
    )


async def dead_letters_of(store: Stores, sink: str) -> list[DeadLetter]:
    """Every dead letter of a sink, oldest first."""
    letters: list[DeadLetter] = []
    while batch := await store.lanes.dead_letters(sink, after=letters[-1].id if letters else "-"):
        letters += batch
    return letters


async def batchwise(
    what: str, items: Sequence[T], size: int, act: Callable[[Sequence[T]], Awaitable[int]]
) -> int:
    """Do something to all of them, at most ``size`` at a time, with progress; the sum of what that gave."""
    total = 0
    with _progress(what, len(items)) as advance:
        for at in range(0, len(items), size):
            batch = items[at : at + size]
            total += await act(batch)
            advance(len(batch))
    return total


@contextmanager
def _progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Shows on a terminal how long work goes on; called with how much more was done."""
    from rich.progress import Progress  # noqa: PLC0415 - most commands end at once

    with Progress(console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)


def say(text: str) -> None:
    """A line for people, on standard output; nothing in it is markup."""
    out.print(Text(text))


def warn(text: str) -> None:
    """A warning, on standard error; nothing in it is markup."""
    err.print(Text(f"warning: {text}", style="yellow" if err.is_terminal else ""))


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something that cannot be undone; no terminal and no ``--yes`` is a refusal."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError("this asks before it acts; without a terminal, say --yes")
    if not typer.confirm(question):
        raise Failed("nothing was done")


def fail(error: NotifierError | Failed) -> int:
    """Tell an error on standard error; the exit code for it."""
    for line in str(error).splitlines() or [type(error).__name__]:
        err.print(Text(line, style="red" if err.is_terminal else ""))
    return 2 if isinstance(error, ConfigError) else 1


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return "".join(char if char.isprintable() else "?" for char in text)
