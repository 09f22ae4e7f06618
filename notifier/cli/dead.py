"""``notifier dead``: what could not be delivered, and sending it again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
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
    batchwise,
    confirm,
    counted,
    dead_letters_of,
    load_config,
    need_sink,
    open_stores,
    print_json,
    run_async,
    say,
    show,
    sink_names,
)
from notifier.cli.spans import SinceOption, UntilOption, span_of
from notifier.clock import iso
from notifier.config import Config
from notifier.errors import ConfigError
from notifier.models import Part
from notifier.store.lanes import DeadLetter
from notifier.store.stores import Stores

_BATCH = 200

IdsArgument = Annotated[
    list[str] | None, typer.Argument(help="Ids of dead letters, as `dead list` shows them.")
]
AllOption = Annotated[bool, typer.Option("--all", help="All of this sink.")]
ReasonOption = Annotated[str | None, typer.Option(help="Only those with this reason.")]


class Choice(msgspec.Struct, frozen=True):
    """Which dead letters: these ids, or those with a reason, of a span of time, or both; else all."""

    ids: tuple[str, ...] = ()
    reason: str | None = None
    since: str | None = None
    until: str | None = None

    def of(self, letters: Iterable[DeadLetter], now: datetime) -> list[DeadLetter]:
        """Those of a sink that are meant, ids aside."""
        start, end = span_of(self.since, self.until, now)
        return [
            letter
            for letter in letters
            if self.reason in {None, letter.reason}
            and (start is None or letter.at >= iso(start))
            and (end is None or letter.at <= iso(end))
        ]


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
    reason: ReasonOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    by_reason: Annotated[bool, typer.Option("--by-reason", help="One line for each reason.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List dead letters, oldest first; with --by-reason how many there are of which, and why."""
    loaded = load_config(config)
    found = run_async(lambda: _read_sinks(loaded, sink, Choice((), reason, since, until)))
    rows = [
        row
        for name, letters in found.items()
        for row in (_reasons(name, letters) if by_reason else _rows(name, letters))
    ]
    show(rows, as_json=as_json, empty="no dead letters")


def _rows(sink: str, letters: Iterable[DeadLetter]) -> Iterator[dict[str, Any]]:
    for letter in letters:
        yield {
            "sink": sink,
            "id": letter.id,
            "at": letter.at,
            "reason": letter.reason,
            "attempts": letter.attempts,
            "type": letter.delivery.type,
            "event": letter.delivery.id,
            "message": letter.message,
        }


def _reasons(sink: str, letters: Iterable[DeadLetter]) -> Iterator[dict[str, Any]]:
    """The most frequent first; what the last of each says, for it names what to do."""
    groups: dict[str, list[DeadLetter]] = {}
    for letter in letters:
        groups.setdefault(letter.reason, []).append(letter)
    for reason, group in sorted(groups.items(), key=lambda item: -len(item[1])):
        yield {
            "sink": sink,
            "reason": reason,
            "letters": len(group),
            "first": group[0].at,
            "last": group[-1].at,
            "message": group[-1].message,
        }


def show_one(
    sink: SinkArgument,
    id_: Annotated[str, typer.Argument(metavar="ID")],
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show one dead letter whole: why it failed and what it says.

    What is to show a message in Slack says what the message shows now.
    """
    loaded = load_config(config)
    letter, text = run_async(lambda: _read_whole(loaded, sink, id_))
    try:
        body = json.loads(text)
    except ValueError:
        body = text
    if as_json:
        whole: dict[str, Any] = msgspec.to_builtins(letter)
        print_json({**whole, "delivery": {**whole["delivery"], "body": body}})
        return
    tries = counted(letter.attempts, "attempt")
    say(f"{letter.delivery.type} for {sink}, given up at {letter.at} after {tries}")
    say(f"reason: {letter.reason}: {letter.message}")
    if body:
        print_json(body)
    else:
        say(f"the message {letter.delivery.message} is forgotten: nothing is left to show")


def replay(
    sink: SinkArgument,
    ids: IdsArgument = None,
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    all_: AllOption = False,
    reason: ReasonOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
) -> None:
    """Send dead letters again: they go to the end of their lanes, oldest first, under their old ids."""
    loaded = load_config(config)
    need_sink(loaded, sink)
    choice = _choice(ids, reason, (since, until), all_=all_)
    moved, chosen = run_async(lambda: _replay(loaded, sink, choice))
    say(f"{moved} of {counted(chosen, 'dead letter')} of {sink} on the way again")


def drop(
    sink: SinkArgument,
    ids: IdsArgument = None,
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    all_: AllOption = False,
    reason: ReasonOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    yes: YesOption = False,
) -> None:
    """Forget dead letters for good."""
    loaded = load_config(config)
    choice = _choice(ids, reason, (since, until), all_=all_)
    letters = run_async(lambda: _read_chosen(loaded, sink, choice))
    if not letters:
        say("no dead letters match")
        return
    confirm(f"Forget {len(letters)} dead letters of {sink} for good?", yes=yes)
    dropped = run_async(lambda: _drop(loaded, sink, letters))
    say(f"{dropped} dead letters of {sink} forgotten")


def _choice(
    ids: Sequence[str] | None, reason: str | None, span: tuple[str | None, str | None], *, all_: bool
) -> Choice:
    is_part = reason is not None or span != (None, None)
    if bool(ids) + all_ + is_part != 1:
        raise ConfigError("say which: ids of dead letters; or --reason, --since and --until; or --all")
    return Choice(tuple(ids or ()), reason, *span)


async def _read_sinks(config: Config, sink: str | None, choice: Choice) -> dict[str, list[DeadLetter]]:
    """The dead letters of one sink or of all, also of sinks that are no longer configured."""
    async with open_stores(config) as store:
        names = await sink_names(config, store)
        if sink is not None and sink not in names:
            raise ConfigError(f'there is no sink "{sink}"; there are: {", ".join(names)}')
        return {name: await _chosen(store, name, choice) for name in ([sink] if sink else names)}


async def _read_chosen(config: Config, sink: str, choice: Choice) -> list[DeadLetter]:
    async with open_stores(config) as store:
        return await _chosen(store, sink, choice)


async def _read_whole(config: Config, sink: str, id_: str) -> tuple[DeadLetter, str]:
    """A letter, and the text of what it is to say; '' where it is to show a message that is forgotten."""
    async with open_stores(config) as store:
        letter = await _one_of(store, sink, id_)
        if letter.delivery.part is not Part.ROOT:
            return letter, letter.delivery.body
        shown = await store.lanes.shown(sink, letter.delivery)
        return letter, bytes(shown.page.show).decode() if shown.page else ""


async def _replay(config: Config, sink: str, choice: Choice) -> tuple[int, int]:
    async with open_stores(config) as store:
        return await send_again(store, sink, choice)


async def send_again(store: Stores, sink: str, choice: Choice) -> tuple[int, int]:
    """Put letters back into their lanes, oldest first; how many were moved, and how many were chosen."""
    letters = await _chosen(store, sink, choice)
    moved = await batchwise("sending again", letters, _BATCH, lambda batch: store.lanes.replay(sink, batch))
    return moved, len(letters)


async def _drop(config: Config, sink: str, letters: Sequence[DeadLetter]) -> int:
    async with open_stores(config) as store:
        return await batchwise(
            "forgetting",
            letters,
            _BATCH,
            lambda batch: store.lanes.drop_dead(sink, [letter.id for letter in batch]),
        )


async def _chosen(store: Stores, sink: str, choice: Choice) -> list[DeadLetter]:
    if choice.ids:
        letters = {letter.id: letter for letter in [await _one_of(store, sink, id_) for id_ in choice.ids]}
        return sorted(letters.values(), key=_age)  # as they lay in their lanes, each once
    return choice.of(await dead_letters_of(store, sink), store.state.now())


def _age(letter: DeadLetter) -> tuple[int, ...]:
    """The moment of a letter's death and its number there, which its id is made of."""
    return tuple(map(int, letter.id.split("-")))


async def _one_of(store: Stores, sink: str, id_: str) -> DeadLetter:
    letter = await store.lanes.dead_letter(sink, id_)
    if letter is None:
        raise Failed(f"{sink} has no dead letter {id_}; see `notifier dead list {sink}`")
    return letter
