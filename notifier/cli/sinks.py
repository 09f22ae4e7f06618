"""``notifier sinks`` and ``notifier send-test``: how sinks stand, and trying one."""

from __future__ import annotations

import json
import os
import secrets
from typing import Annotated

import typer

from notifier.cli.common import (
    DEFAULT_CONFIG,
    ConfigOption,
    Failed,
    JsonOption,
    SinkArgument,
    YesOption,
    by_operator,
    confirm,
    counted,
    load_config,
    need_sink,
    open_stores,
    run_async,
    say,
    show,
    sink_healths,
)
from notifier.clock import SystemClock, iso
from notifier.config import Config, Target
from notifier.config.people import is_person
from notifier.config.rules import parse_target
from notifier.config.sinks import SlackConfig
from notifier.config.words import shown
from notifier.core.events import Origin, report, told_body
from notifier.errors import ConfigError, DeliveryError
from notifier.models import Delivery
from notifier.sinks.contract import Attempt, Receipt
from notifier.sinks.registry import build_sinks
from notifier.store.health import SinkHealth

_CHANNELS = ("C", "G")  # begin the ids of channels; those of direct messages begin otherwise


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    group = typer.Typer(help="See, pause, resume or forget sinks.", no_args_is_help=True)
    group.command("list")(list_)
    group.command("pause")(pause)
    group.command("resume")(resume)
    group.command("drop")(drop)
    app.add_typer(group, name="sinks")
    app.command("send-test")(send_test)


def list_(config: ConfigOption = DEFAULT_CONFIG, *, as_json: JsonOption = False) -> None:
    """List sinks with what waits for each, also those that are no longer in the configuration."""
    loaded = load_config(config)

    async def read() -> list[dict[str, object]]:
        async with open_stores(loaded) as store:
            healths = await sink_healths(loaded, store)
        return [
            {
                "sink": name,
                "type": loaded.sinks[name].type if name in loaded.sinks else "not configured",
                "paused": _paused(health),
                "lanes waiting": health.waiting,
                "dead letters": health.dead,
                "failing since": health.failing_since,
                "last error": health.message,
            }
            for name, health in healths.items()
        ]

    show(run_async(read), as_json=as_json, empty="no sinks")


def pause(
    sink: SinkArgument,
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    why: Annotated[str, typer.Option(help="A word for your colleagues.")] = "",
) -> None:
    """Stop sending to a sink; what it is owed is kept, in order, until `sinks resume`."""
    loaded = load_config(config)
    need_sink(loaded, sink)

    async def go() -> None:
        async with open_stores(loaded) as store:
            await store.lanes.switch_off(sink, why)

    run_async(go)
    say(f"{sink} is paused and keeps everything; `notifier sinks resume {sink}` continues")


def resume(sink: SinkArgument, config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Send again to a sink that was paused by hand, or try one at once that is paused for a fault."""
    loaded = load_config(config)
    need_sink(loaded, sink)

    async def go() -> None:
        async with open_stores(loaded) as store:
            await store.lanes.switch_on(sink)

    run_async(go)
    say(f"{sink} is tried now")


def drop(sink: SinkArgument, config: ConfigOption = DEFAULT_CONFIG, *, yes: YesOption = False) -> None:
    """Forget what is owed to a sink that is no longer in the configuration, dead letters included."""
    loaded = load_config(config)
    if sink in loaded.sinks:
        raise ConfigError(f'"{sink}" is in the configuration; take it out first, then drop what it is owed')

    async def waiting() -> tuple[int, int]:
        async with open_stores(loaded) as store:
            if sink not in await store.lanes.known_sinks():
                raise Failed(f'nothing is kept for a sink "{sink}"')
            health = await store.lanes.health(sink)
            return health.waiting, health.dead

    lanes, dead = run_async(waiting)
    confirm(
        f"Forget {counted(lanes, 'waiting lane')} and {counted(dead, 'dead letter')} of {sink} for good?",
        yes=yes,
    )

    async def go() -> None:
        async with open_stores(loaded) as store:
            await store.lanes.drop(sink)

    run_async(go)
    say(f"{sink} is forgotten")


def _paused(health: SinkHealth) -> str | None:
    if health.off is not None:
        return by_operator(health)
    return f"next probe {health.paused_until}" if health.paused_until else None


def send_test(
    sink: Annotated[str, typer.Argument(help="The sink's name; SINK#CHANNEL for another channel in Slack.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Send one test message straight to a sink, past rules and queues, and tell what it answered.

    The message has the type `notifier.test`, so that no receiver takes it for something that happened.
    """
    loaded = load_config(config)
    target = _target(loaded, sink)
    try:
        receipt = run_async(lambda: _send(loaded, target))
    except DeliveryError as error:
        raise Failed(f"{sink}: {error.reason}: {error}") from error
    if receipt.reason == "preview":
        say(f"{sink} is in preview: the message was written here and not sent")
        return
    if target.target is not None and is_person(target.target) and receipt.place[:1] in _CHANNELS:
        raise Failed(
            f"{sink}: nobody is found there, or may be written to: the message went to the own channel of "
            f"{target.sink}; `notifier check --online` tells why, where a rule or the owners name it"
        )
    status = f" (HTTP {receipt.status})" if receipt.status else ""
    say(f"{sink} took the test message{status}")


def _target(config: Config, text: str) -> Target:
    """The sink, and where in it. Raises ``ConfigError``."""
    try:
        target = parse_target(text)
    except ValueError as error:
        raise ConfigError(f"{shown(text)}: {error}") from error
    need_sink(config, target.sink)
    settings = config.sinks[target.sink]
    if target.target is not None and not (isinstance(settings, SlackConfig) and settings.token):
        raise ConfigError(
            f'{target.sink}: "#" chooses a Slack channel, which needs a Slack sink with a token'
        )
    return target


async def _send(config: Config, target: Target) -> Receipt:
    now = SystemClock().now()
    event = report(
        "notifier.test",
        Origin(config.name, "test", iso(now), None),
        nonce=secrets.token_hex(4),
        message="This is a test message of the Clasp notifier. Nothing happened; nothing needs to be done.",
        cause=f"send-test by {os.environ.get('USER', 'an operator')}",
        severity="info",
    )
    body = told_body(event, rule="send-test", severity="info")
    delivery = Delivery(event.id, event.type, "send-test", json.dumps(body), target.target)
    async with build_sinks(config) as built:
        return await built[target.sink].send(delivery, Attempt(1, now))
