"""``notifier owners``: who owns what, and what nobody owns."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from notifier.cli.common import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    counted,
    load_config,
    open_stores,
    run_async,
    show,
    warn,
)
from notifier.config import Config
from notifier.core import codec
from notifier.core.events import Names
from notifier.core.owners import NOBODY, Owners
from notifier.errors import ConfigError
from notifier.poller.roster import check_file, fetch
from notifier.sinks.session import Sessions

_Pair = tuple[str, str]  # the ids of an employer and a carrier


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    group = typer.Typer(
        help="See who owns which employers and carriers, by the table that `owners` names.",
        no_args_is_help=True,
    )
    group.callback()(lambda: None)  # so that `list` stays a command of its own
    group.command("list")(list_)
    app.add_typer(group, name="owners")


def list_(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    unowned: Annotated[bool, typer.Option("--unowned", help="Only those that nobody owns.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List the employers and carriers of live group connections with their owners.

    External ids and names are those that the notifier has looked up lately. Where `named` is no, a row by an
    external id or by a carrier's name may apply all the same.
    """
    loaded = load_config(config)
    rows, unsought = run_async(lambda: _rows(loaded))
    wanted = [row for row in rows if not unowned or not (row["owner"] or row["channel"])]
    if unsought:
        who = counted(unsought, "employer or carrier", "employers and carriers")
        warn(
            f"{who} not looked up yet: rows by an external id or by a name cannot match there until there is "
            "something to tell"
        )
    show(wanted, as_json=as_json, empty="everything is owned" if unowned and rows else "no group connections")


async def _rows(config: Config) -> tuple[list[dict[str, Any]], int]:
    """The rows, and of how many employers and carriers nobody has looked up what the table goes by."""
    owners = await read_owners(config)
    groups, names = await _read(config)
    rows = sorted(
        (_row(pair, count, owners, names) for pair, count in groups.items()),
        key=lambda row: (str(row["employer"]), str(row["carrier"])),
    )
    employers = {one for one, _ in groups if owners.by_external_id and not names.knows_employer(one)}
    carriers = {other for _, other in groups if owners.by_carrier_name and not names.knows_carrier(other)}
    return rows, len(employers) + len(carriers)


async def read_owners(config: Config) -> Owners:
    """The table of a configuration. Raises ``ConfigError``."""
    if config.owners is None:
        raise ConfigError('the configuration has no "owners"')
    found = check_file(config)
    if found is not None:
        return found
    async with Sessions() as sessions:
        return await fetch(config.owners, sessions)


async def _read(config: Config) -> tuple[dict[_Pair, int], Names]:
    """How many live group connections each employer has at each carrier, and their names."""
    groups: dict[_Pair, int] = {}
    async with open_stores(config) as store:
        words = codec.Words((await store.state.meta()).words)
        seen: set[str] = set()
        async for id_, value in store.state.all_states():
            if codec.is_tombstone(value) or id_ in seen:
                continue
            seen.add(id_)
            state = codec.decode(value, words)
            for group in state.group_connections.values():
                if group.removed_at is None:
                    pair = (str(state.fields.get("employer")), str(group.fields.get("carrier")))
                    groups[pair] = groups.get(pair, 0) + 1
        ids = {one for one, _ in groups}, {other for _, other in groups}
        return groups, await store.names.known(*ids)


def _row(pair: _Pair, count: int, owners: Owners, names: Names) -> dict[str, Any]:
    employer, carrier = pair
    (name, external_id), carrier_name = names.employer(employer), names.carrier(carrier)
    owner = owners.of(employer, external_id, carrier, carrier_name) or NOBODY
    return {
        "employer": employer,
        "employer_name": name,
        "external_id": external_id,
        "carrier": carrier,
        "carrier_name": carrier_name,
        "named": "yes" if name is not None and carrier_name is not None else "no",
        "group_connections": count,
        "owner": owner.owner or None,
        "team": owner.team or None,
        "channel": owner.channel or None,
    }
