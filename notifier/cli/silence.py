"""``notifier silence``: disturb nobody with certain alerts for a while."""

from __future__ import annotations

import getpass
import secrets
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Annotated, Any

import msgspec
import typer

from notifier.cli.common import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    counted,
    load_config,
    open_stores,
    run_async,
    say,
    show,
)
from notifier.cli.pulse import doubt, stalled
from notifier.config import Config, parse_duration
from notifier.config.words import nearest
from notifier.core.alerts import Phase, moment_text
from notifier.core.events import Names
from notifier.core.owners import CARRIER_ID, EMPLOYER_ID
from notifier.core.quiet import ASKED, Silence
from notifier.errors import ConfigError
from notifier.poller.inbox import wishes

_LONGEST = timedelta(days=30)
_IDS = {"carrier": CARRIER_ID, "employer": EMPLOYER_ID}
_MOST_SHOWN = 5


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    group = typer.Typer(
        help="Disturb nobody with certain alerts for a while.\n\n"
        "Nothing is dropped: when a silence ends, one message says what is left to tell. Webhooks hear of "
        "everything at once all the same. A silence takes effect with the next poll.",
        no_args_is_help=True,
    )
    group.command("add")(add)
    group.command("list")(list_)
    group.command("expire")(expire)
    app.add_typer(group, name="silence")


def add(
    where: Annotated[
        list[str],
        typer.Option(help=f"KEY=VALUE; all must match. Keys: {', '.join(ASKED)}.", metavar="KEY=VALUE"),
    ],
    for_: Annotated[str, typer.Option("--for", help="For how long: `2h`, `3d`; at most 30d.")],
    reason: Annotated[str, typer.Option(help="Why, for whoever wonders.")] = "",
    by: Annotated[str | None, typer.Option(help="Who. By default the name of your account.")] = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Begin a silence: `notifier silence add --where carrier=carr_1 --for 2h --reason "maintenance"`."""
    loaded = load_config(config)
    asked = _where(where)
    try:
        span = parse_duration(for_)
    except ValueError as error:
        raise ConfigError(f"--for {for_}: {error}") from error
    if not timedelta() < span <= _LONGEST:
        raise ConfigError(f"--for {for_}: must be longer than 0s, and at most 30d")
    added = run_async(lambda: _add(loaded, asked, span, by or getpass.getuser(), reason))
    matches = f"matches {added.matched} of {counted(added.open, 'open alert')} now"
    say(f"{added.silence.id}: silent until {added.silence.until}; {matches}")
    doubt(added.doubt)


def list_(config: ConfigOption = DEFAULT_CONFIG, *, as_json: JsonOption = False) -> None:
    """List the silences that are in force."""
    loaded = load_config(config)
    rows = [msgspec.to_builtins(silence) for silence in run_async(lambda: _read(loaded))]
    show(rows if as_json else [_row(row) for row in rows], as_json=as_json, empty="no silences")


def expire(
    id_: Annotated[str, typer.Argument(metavar="ID", help="The silence's id.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """End a silence now."""
    loaded = load_config(config)
    why = run_async(lambda: _expire(loaded, id_))
    say(f"{id_}: ends with the next poll")
    doubt(why)


def _where(pairs: list[str]) -> dict[str, str]:
    asked = {}
    for pair in pairs:
        key, mark, value = pair.partition("=")
        if not mark or not value:
            raise ConfigError(f"--where {pair}: write KEY=VALUE")
        if key not in ASKED:
            raise ConfigError(f"--where {pair}: unknown key; known: {', '.join(ASKED)}")
        asked[key] = value
    return asked


class _Added(msgspec.Struct, frozen=True):
    """A silence, how many alerts are open and of these matched, and why no poll may come to begin it."""

    silence: Silence
    open: int
    matched: int
    doubt: str


async def _add(config: Config, where: dict[str, str], span: timedelta, by: str, reason: str) -> _Added:
    async with open_stores(config) as store:
        alerts = (await store.state.alerts()).values()
        _check_rule(where.get("rule"), [*(rule.name for rule in config.rules), *(one.rule for one in alerts)])
        names = await store.names.everything() if _by_name(where) else Names()
        _check_ids(where, names)
        now = store.state.now()
        id_ = f"sil_{secrets.token_hex(4)}"
        silence = Silence(id_, where, moment_text(now), moment_text(now + span), by, reason)
        await store.state.write_inbox("silence", msgspec.to_builtins(silence))
        is_open = [alert for alert in alerts if alert.phase is Phase.OPEN]
        matched = sum(silence.covers(alert) for alert in is_open)
        return _Added(silence, len(is_open), matched, await stalled(config, store))


def _check_rule(rule: str | None, known: Collection[str]) -> None:
    if rule is not None and rule not in known:
        raise ConfigError(f"--where rule={rule}: there is no such rule{nearest(rule, dict.fromkeys(known))}")


def _by_name(where: Mapping[str, str]) -> dict[str, str]:
    """What is asked for by another word than an id, where only an id can match."""
    return {key: value for key, value in where.items() if not value.startswith(_IDS.get(key, ""))}


def _check_ids(where: Mapping[str, str], names: Names) -> None:
    """A name, or an external id, would silence nothing; the error says which id it has."""
    named = {
        "carrier": {id_: (name,) for id_, name in names.carriers.items()},
        "employer": names.employers,
    }
    for key, value in _by_name(where).items():
        found = sorted(
            id_
            for id_, words in named[key].items()
            if value.casefold() in {str(word).casefold() for word in words if word is not None}
        )
        which = f"; it is {' or '.join(found[:_MOST_SHOWN])}" if found else ""
        raise ConfigError(f"--where {key}={value}: a silence goes by ids ({_IDS[key]}...){which}")


async def _read(config: Config) -> list[Silence]:
    """Those that are committed, and those that the next poll takes over."""
    async with open_stores(config) as store:
        known = {**await store.state.silences(), **wishes(await store.state.inbox()).silences}
        now = moment_text(store.state.now())
        lasting = [silence for silence in known.values() if silence is not None and silence.until > now]
        return sorted(lasting, key=lambda silence: silence.until)


async def _expire(config: Config, id_: str) -> str:
    """Why no poll may come to end it; '' where there is no reason to think so."""
    if id_ not in {silence.id for silence in await _read(config)}:
        raise ConfigError(f'there is no silence "{id_}"; see `notifier silence list`')
    async with open_stores(config) as store:
        await store.state.write_inbox("expire", id_)
        return await stalled(config, store)


def _row(silence: dict[str, Any]) -> dict[str, Any]:
    where = ", ".join(f"{key}={value}" for key, value in silence["where"].items())
    return {**silence, "where": where}
