"""The sinks of a configuration, built.

A new kind of sink is a module of its own, and a line in ``pyproject.toml`` that registers it (docs/sinks.md).
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from notifier.config import Config, SinkSettings
from notifier.config.kinds import kind_of
from notifier.config.sinks import ConsoleConfig, SlackConfig, WebhookConfig
from notifier.errors import ConfigError
from notifier.sinks.console import ConsoleSink
from notifier.sinks.contract import Sink
from notifier.sinks.oneway import OneWay
from notifier.sinks.plugin import Place
from notifier.sinks.preview import PreviewSink
from notifier.sinks.session import Sessions
from notifier.sinks.slack import SlackSink
from notifier.sinks.webhook import WebhookSink


@asynccontextmanager
async def build_sinks(config: Config, sessions: Sessions | None = None) -> AsyncIterator[dict[str, Sink]]:
    """Every sink of a configuration by its name, while the context lasts. Connects to nothing yet."""
    async with Sessions() as own:
        sinks = {
            name: build(name, sink, sessions or own, config.directory) for name, sink in config.sinks.items()
        }
        try:
            yield sinks
        finally:
            for sink in sinks.values():
                await sink.close()


def build(name: str, config: SinkSettings, sessions: Sessions, directory: Path) -> Sink:
    """One sink; ``directory`` is where the files that it names are. Raises ``ConfigError``."""
    if config.is_preview:
        return PreviewSink(name, is_for_people=config.is_for_people, deadline=config.timeout)
    place = Place(sessions, directory)
    match config:
        case WebhookConfig():
            return WebhookSink(
                name,
                url=config.url.get_secret_value(),
                secrets=[secret.get_secret_value() for secret in config.secrets],
                shape=config.format,
                headers=_headers(config),
                access=place.access(name, config, private=config.allow_private_addresses),
                deadline=config.timeout,
                sessions=sessions,
            )
        case SlackConfig():
            return SlackSink(
                name,
                token=config.token.get_secret_value() if config.token else None,
                webhook_url=config.webhook_url.get_secret_value() if config.webhook_url else None,
                channel=config.channel,
                api_url=config.api_url,
                access=place.access(name, config),
                deadline=config.timeout,
                sessions=sessions,
            )
        case ConsoleConfig():
            return ConsoleSink(name, deadline=config.timeout)
        case _:
            return _brought(name, config, place)


def _brought(name: str, config: SinkSettings, place: Place) -> Sink:
    """A sink of a kind that a package brings."""
    kind = kind_of(str(getattr(config, "type", "")))
    if kind is None:
        raise ConfigError(f"sinks.{name}.type: no package brings this kind of sink any more")
    sink: Sink = kind.build(name, config, place)
    return OneWay(sink) if config.is_for_people and not config.can_edit else sink


def _headers(config: WebhookConfig) -> dict[str, str]:
    headers = {header: value.get_secret_value() for header, value in config.headers.items()}
    if config.basic_auth is not None:
        who = f"{config.basic_auth.username}:{config.basic_auth.password.get_secret_value()}"
        headers["Authorization"] = "Basic " + base64.b64encode(who.encode()).decode()
    return headers
