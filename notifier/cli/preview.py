"""``notifier preview``: what the rules would say of the state as it is now, if they were started now."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import msgspec
import typer

from notifier.cli.common import (
    DEFAULT_CONFIG,
    ConfigOption,
    Failed,
    JsonOption,
    load_config,
    open_stores,
    print_json,
    run_async,
    say,
)
from notifier.cli.owners import read_owners
from notifier.clock import iso
from notifier.config import Config
from notifier.config.people import OWNER
from notifier.config.words import nearest
from notifier.core import codec
from notifier.core.codec import Words
from notifier.core.events import Names, Origin, ids_named
from notifier.core.messages import place_of
from notifier.core.preview import Preview, Said, first_look
from notifier.core.rules import Router
from notifier.errors import ConfigError
from notifier.models import ConnectionState
from notifier.sinks.preview import read_by_people
from notifier.store.names import name_keys, names_of
from notifier.store.state import Meta, StateStore
from notifier.store.stores import Stores

_FIRST = 3  # messages of a place that are shown without --full
_NAMES_AT_ONCE = 1000
_TRIES = 3


class Outlook(msgspec.Struct, frozen=True):
    """A preview, of which state it is, and what is to be said beside it."""

    preview: Preview
    state_of: str | None
    connections: int
    notes: tuple[str, ...]


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("preview")(preview)


def preview(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    rule: Annotated[str | None, typer.Option(help="Only what this rule says.")] = None,
    full: Annotated[bool, typer.Option("--full", help="Show every message, not the first three.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show what the rules with `while` would say of the present state, if they were started now.

    Reads the state that a worker keeps, and writes and sends nothing. Every rule is taken as new, whatever
    was told before. Rules with `when` speak of what happens, so there is nothing to show of them.
    """
    loaded = load_config(config)
    known = [one.name for one in loaded.rules]
    if rule is not None and rule not in known:
        raise ConfigError(f'there is no rule "{rule}"' + nearest(rule, known))
    outlook = run_async(lambda: _read(loaded))
    wanted = {rule} if rule else {*known}
    told = _told(loaded, outlook, wanted, most=None if full else _FIRST)
    if as_json:
        print_json(told)
    else:
        _show(told)


async def _read(config: Config) -> Outlook:
    async with open_stores(config) as store:
        return await look(config, store)


async def look(config: Config, store: Stores) -> Outlook:
    """The outlook of a configuration on the state in its store, of which nothing is changed."""
    meta, states = await _state(store.state)
    router = Router(config)
    if config.owners is not None:
        router = router.knowing(await read_owners(config))
    names, missing = await _names(store, router, states)
    origin = Origin(config.name, meta.epoch, iso(store.state.now()), meta.complete_at)
    silences = await store.state.silences()
    notes = []
    if (meta.base_url, meta.api_version) != (config.source.base_url, config.source.api_version or ""):
        notes.append("the state is of another address or API version: a worker would take a new one first")
    if missing:
        notes.append(f"{_many(missing, 'name')} not known yet: ids stand here, and rules on names may differ")
    found = first_look(router, states, origin, names, silences.values())
    return Outlook(found, meta.complete_at, len(states), tuple(notes))


async def _state(store: StateStore) -> tuple[Meta, dict[str, ConnectionState]]:
    """The live connections; read anew where a worker wrote words meanwhile that were not known before."""
    problem = ""
    for _ in range(_TRIES):
        meta = await store.meta()
        if not meta.epoch:
            raise Failed(
                "there is no state to look at yet: start `notifier run`, and come back when "
                "`notifier status` shows a complete snapshot; sinks with mode: preview send nothing meanwhile"
            )
        words = Words(meta.words)
        try:
            return meta, {
                id_: codec.decode(value, words)
                async for id_, value in store.all_states()
                if not codec.is_tombstone(value)
            }
        except codec.Undecodable as error:
            problem = str(error)
    raise Failed(problem)


async def _names(store: Stores, router: Router, states: Mapping[str, ConnectionState]) -> tuple[Names, int]:
    """What is known by now of whatever the rules may ask for or tell, and how many names are not."""
    wanted = name_keys(
        *ids_named(
            state
            for id_, state in states.items()
            if any(condition.matching(id_, state, Names()) for condition in router.conditions)
        )
    )
    found: dict[str, Any] = {}
    for at in range(0, len(wanted), _NAMES_AT_ONCE):
        found |= await store.names.get(wanted[at : at + _NAMES_AT_ONCE])
    return names_of(found), len(wanted) - len(found)


# --- what is shown ---


def _told(config: Config, outlook: Outlook, wanted: set[str], most: int | None) -> dict[str, Any]:
    """The whole outlook as JSON; of each place the first messages."""
    said: dict[str, list[Said]] = {
        place_of(target): []
        for rule in config.rules
        if rule.while_ is not None and rule.name in wanted
        for target in rule.notify
        if target.sink != OWNER  # each alert has its own
    }
    order = {rule.name: at for at, rule in enumerate(config.rules)}
    mine = [one for one in outlook.preview.said if one.rule in wanted]
    for one in sorted(mine, key=lambda one: order[one.rule]):
        said.setdefault(one.place, []).append(one)
    return {
        "state_of": outlook.state_of,
        "connections": outlook.connections,
        "places": {
            place: _place(messages, outlook.preview.kept.get(place, 0), most)
            for place, messages in said.items()
        },
        "rules": [
            msgspec.to_builtins(standing) for standing in outlook.preview.standings if standing.rule in wanted
        ],
        "moments": [rule.name for rule in config.rules if rule.when is not None and rule.name in wanted],
        "notes": list(outlook.notes),
    }


def _place(said: Sequence[Said], kept: int, most: int | None) -> dict[str, Any]:
    by_rule: dict[str, list[int]] = defaultdict(list)
    for one in said:
        by_rule[one.rule].append(one.alerts)
    return {
        "messages": len(said),
        "alerts": sum(one.alerts for one in said),
        "kept": kept,
        "rules": {rule: {"messages": len(counts), "alerts": sum(counts)} for rule, counts in by_rule.items()},
        "shown": [
            {"rule": one.rule, "alerts": one.alerts, **read_by_people(one.body)} for one in said[:most]
        ],
    }


def _show(told: Mapping[str, Any]) -> None:
    say(
        f"If this configuration were started now, on the state of {told['state_of'] or 'an unknown time'} "
        f"({_many(told['connections'], 'connection')}):"
    )
    for place, facts in told["places"].items():
        say("")
        say(f"{place}: {_counted(facts)}")
        for rule, counts in facts["rules"].items():
            say(f"  {rule}: {_counted(counts)}")
        if facts["kept"]:
            say(f"  kept until people may be disturbed: {_many(facts['kept'], 'alert')}")
    remarks = [*_remarks(told)]
    for remark in ["", *remarks] if remarks else ():
        say(remark)
    for place, facts in told["places"].items():
        for number, one in enumerate(facts["shown"], 1):
            _show_message(f"{place}, {number} of {facts['messages']:,} ({one['rule']})", one)


def _remarks(told: Mapping[str, Any]) -> Iterator[str]:
    """What does not become a message now, and why."""
    for standing in told["rules"]:
        if standing["waiting"]:
            waiting = _many(standing["waiting"], "alert")
            yield f"{standing['rule']}: {waiting} would wait for their time (since when is not known)"
        if standing["untold"]:
            yield f"{standing['rule']}: {_many(standing['untold'], 'alert')} would be told to nobody"
    if told["moments"]:
        yield f'rules with "when" speak of what happens, so nothing is shown of: {", ".join(told["moments"])}'
    for note in told["notes"]:
        yield f"note: {note}"


def _show_message(heading: str, one: Mapping[str, Any]) -> None:
    say("")
    say(f"--- {heading}")
    for line in (one.get("title"), one.get("text"), *one.get("lines", ())):
        if line:
            say(line)
    if "note" in one:
        say(f"What to do: {one['note']}")


def _counted(facts: Mapping[str, Any]) -> str:
    if not facts["messages"]:
        return "nothing"
    return f"{_many(facts['messages'], 'message')} about {_many(facts['alerts'], 'alert')}"


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}" + ("" if count == 1 else "s")
