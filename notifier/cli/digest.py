"""``notifier digest``: what a digest would say now."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

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
from notifier.clock import iso
from notifier.config import Config
from notifier.core.alerts import Phase
from notifier.core.digests import Digest, Standing, told_at
from notifier.core.events import Origin
from notifier.core.rules import Router
from notifier.core.summary import Digester, ids_named
from notifier.errors import ConfigError
from notifier.poller.digesting import read_past, summarize
from notifier.sinks.values import clean
from notifier.sinks.wording import tell


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("digest")(digest)


def digest(
    name: Annotated[str, typer.Argument(help="The digest's name.")],
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show what a digest would say if it were due now. Sends nothing, and changes nothing."""
    loaded = load_config(config)
    router = Router(loaded)
    asked = next((one for one in router.digests if one.name == name), None)
    if asked is None:
        known = ", ".join(one.name for one in router.digests) or "none"
        raise ConfigError(f'there is no digest "{name}"; the configuration has: {known}')
    body = run_async(lambda: _body(loaded, router, asked))
    if as_json:
        print_json(body)
        return
    for line in _lines(body):
        say(clean(line))


async def _body(config: Config, router: Router, asked: Digest) -> dict[str, Any]:
    async with open_stores(config) as store:
        meta, now = await store.state.meta(), iso(store.state.now())
        if not meta.epoch:
            raise Failed("nothing was polled yet under this name; is it the right configuration?")
        due = told_at(asked, meta.digests.get(asked.name, Standing(now, asked.tag)), now)
        alerts = [alert for alert in (await store.state.alerts()).values() if alert.phase is Phase.OPEN]
        past = await read_past(store.state, due.since, now, config.history)
        summary = summarize(due, alerts, past, config.source.poll_interval, meta.complete_at, now)
        names = await store.names.known(*ids_named(summary))
    origin = Origin(config.name, meta.epoch, now, meta.complete_at)
    return Digester(router, origin, names).body(summary, asked.asked.notify[0])


def _lines(body: dict[str, Any]) -> Iterator[str]:
    """What people read, a line each."""
    told = tell(body)
    yield told.title
    since, until = body["data"]["period"]
    yield f"From {since} to {until}"
    if told.change:
        yield told.change
    yield from (f"{label}: {value}" for label, value in told.facts)
    yield from (f"- {line}" for line, _ in told.lines)
