"""``notifier dead``: what could not be delivered, and sending it again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

import msgspec
import typer

from notifier.cli.common import (
    DEFAULT_CONFIG,
    ConfigOption,
    Failed,
    JsonOption,
    SinkArgument,
    YesOption,
    confirm,
    load_config,
    need_sink,
    open_stores,
    print_json,
    run_async,
    say,
    show,
    sink_names,
)
from notifier.config import Config
from notifier.errors import ConfigError
from notifier.store.lanes import DeadLetter
from notifier.store.stores import Stores

_BATCH = 200

IdsArgument = Annotated[
    list[str] | None, typer.Argument(help="Ids of dead letters, as `dead list` shows them.")
]
AllOption = Annotated[bool, typer.Option("--all", help="All of this sink.")]
ReasonOption = Annotated[str | None, typer.Option(help="All of this sink with this reason.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    group = typer.Typer(
        help="See, replay or drop messages that could not be delivered.\n\n"
        "A message becomes a dead letter when its sink refuses it for good or its schedule is used up. "
        "Nothing is forgotten until you drop it.",
        no_args_is_help=True,
    )
    group.command("list")(list_)
    group.command("show")(show_one)
    group.command("replay")(replay)
    group.command("drop")(drop)
    app.add_typer(group, name="dead")


def list_(
    sink: Annotated[str | None, typer.Argument(help="Only this sink.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    reason: Annotated[str | None, typer.Option(help="Only this reason.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List dead letters, oldest first."""
    loaded = load_config(config)
    found = run_async(lambda: _read_sinks(loaded, sink))
    rows = [
        {
            "sink": name,
            "id": letter.id,
            "at": letter.at,
            "reason": letter.reason,
            "attempts": letter.attempts,
            "type": letter.delivery.type,
            "event": letter.delivery.id,
            "message": letter.message,
        }
        for name, letters in found.items()
        for letter in letters
        if reason in {None, letter.reason}
    ]
    show(rows, as_json=as_json, empty="no dead letters")


def show_one(
    sink: SinkArgument,
    id_: Annotated[str, typer.Argument(metavar="ID")],
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show one dead letter whole: why it failed and what it says."""
    loaded = load_config(config)
    (letter,) = run_async(lambda: _read_chosen(loaded, sink, [id_], None))
    whole: dict[str, Any] = msgspec.to_builtins(letter)
    whole["delivery"]["body"] = json.loads(letter.delivery.body)
    if as_json:
        print_json(whole)
        return
    say(f"{letter.delivery.type} for {sink}, given up at {letter.at} after {letter.attempts} attempts")
    say(f"reason: {letter.reason}: {letter.message}")
    print_json(whole["delivery"]["body"])


def replay(
    sink: SinkArgument,
    ids: IdsArgument = None,
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    all_: AllOption = False,
    reason: ReasonOption = None,
) -> None:
    """Send dead letters again: they go to the end of their lanes, in order, under their old ids."""
    loaded = load_config(config)
    need_sink(loaded, sink)
    _need_choice(ids, all_=all_, reason=reason)
    moved, chosen = run_async(lambda: _replay(loaded, sink, ids, reason))
    say(f"{moved} of {chosen} dead letters of {sink} are on their way again")


def drop(
    sink: SinkArgument,
    ids: IdsArgument = None,
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    all_: AllOption = False,
    reason: ReasonOption = None,
    yes: YesOption = False,
) -> None:
    """Forget dead letters for good."""
    loaded = load_config(config)
    _need_choice(ids, all_=all_, reason=reason)
    letters = run_async(lambda: _read_chosen(loaded, sink, ids, reason))
    if not letters:
        say("no dead letters match")
        return
    confirm(f"Forget {len(letters)} dead letters of {sink} for good?", yes=yes)
    dropped = run_async(lambda: _drop(loaded, sink, letters))
    say(f"{dropped} dead letters of {sink} forgotten")


def _need_choice(ids: Sequence[str] | None, *, all_: bool, reason: str | None) -> None:
    if bool(ids) + all_ + (reason is not None) != 1:
        raise ConfigError("say which: ids of dead letters, or --reason, or --all")


async def _read_sinks(config: Config, sink: str | None) -> dict[str, list[DeadLetter]]:
    """The dead letters of one sink or of all, also of sinks that are no longer configured."""
    async with open_stores(config) as store:
        names = await sink_names(config, store)
        if sink is not None and sink not in names:
            raise ConfigError(f'there is no sink "{sink}"; there are: {", ".join(names)}')
        return {name: await _all_of(store, name) for name in ([sink] if sink else names)}


async def _read_chosen(
    config: Config, sink: str, ids: Sequence[str] | None, reason: str | None
) -> list[DeadLetter]:
    async with open_stores(config) as store:
        return await _chosen(store, sink, ids, reason)


async def _replay(
    config: Config, sink: str, ids: Sequence[str] | None, reason: str | None
) -> tuple[int, int]:
    """How many letters were moved, and how many were chosen."""
    async with open_stores(config) as store:
        letters = await _chosen(store, sink, ids, reason)
        moved = [await store.lanes.replay(sink, batch) for batch in _batches(letters)]
    return sum(moved), len(letters)


async def _drop(config: Config, sink: str, letters: Sequence[DeadLetter]) -> int:
    async with open_stores(config) as store:
        return sum(
            [
                await store.lanes.drop_dead(sink, [letter.id for letter in batch])
                for batch in _batches(letters)
            ]
        )


async def _chosen(
    store: Stores, sink: str, ids: Sequence[str] | None, reason: str | None
) -> list[DeadLetter]:
    """The letters with these ids, else those of this reason, else all."""
    if ids:
        return [await _one_of(store, sink, id_) for id_ in ids]
    return [letter for letter in await _all_of(store, sink) if reason in {None, letter.reason}]


async def _one_of(store: Stores, sink: str, id_: str) -> DeadLetter:
    letter = await store.lanes.dead_letter(sink, id_)
    if letter is None:
        raise Failed(f"{sink} has no dead letter {id_}; see `notifier dead list {sink}`")
    return letter


async def _all_of(store: Stores, sink: str) -> list[DeadLetter]:
    letters: list[DeadLetter] = []
    while batch := await store.lanes.dead_letters(sink, after=letters[-1].id if letters else "-"):
        letters += batch
    return letters


def _batches(letters: Sequence[DeadLetter]) -> Iterator[Sequence[DeadLetter]]:
    for at in range(0, len(letters), _BATCH):
        yield letters[at : at + _BATCH]
