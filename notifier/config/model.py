"""The whole configuration, frozen.

What one value must be is said by its type here and in ``fields``; what values must be to each other is
checked by ``references`` when a file is loaded, so that all problems are told together.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SecretStr
from pydantic.json_schema import SkipJsonSchema

from notifier.config.calendars import CalendarConfig
from notifier.config.digests import DigestConfig
from notifier.config.fields import (
    Listen,
    Model,
    Name,
    Percentage,
    PollInterval,
    PositiveDuration,
    Switch,
    Text,
    Token,
    Whole,
    optional,
    secret_from,
    text,
)
from notifier.config.owners import OwnersConfig
from notifier.config.rules import RuleConfig, Target, TargetText
from notifier.config.sinks import SecretUrl, SinkConfig
from notifier.config.urls import base_url, link_template, store_url

_LABEL = re.compile(r"[\w][\w .-]{0,39}")


def _base_url(value: Any) -> str:
    return base_url(text(value))


def _link(value: Any) -> str:
    return link_template(text(value))


def _label(value: Any) -> str:
    if not _LABEL.fullmatch(text(value)):
        raise ValueError("is not a label: at most 40 letters, digits, spaces and signs")
    return str(value)


class SourceConfig(Model):
    """The Clasp account that is watched, and how."""

    base_url: Annotated[str, BeforeValidator(_base_url)]
    """Where Clasp's API is: `https://sandbox.withclasp.com`, or the address that Clasp gave you."""

    api_key: Token
    """The key of the account."""

    api_version: Annotated[Text | None, BeforeValidator(optional)] = None
    """Sent as `Clasp-Version`. Without it the version pinned to your account applies."""

    poll_interval: PollInterval = timedelta(seconds=60)
    """From the start of one poll to the start of the next; at least `1s`."""

    page_size: Whole = Field(default=100, ge=1, le=100)
    """Connections a page."""

    enrich: Switch = True
    """Whether to look up the names of carriers and employers."""

    timeout: PositiveDuration = timedelta(seconds=30)
    """One request may take so long in all."""

    lease: PositiveDuration = timedelta(seconds=5)
    """When the replica that polls dies, another takes over after so long."""

    request_budget: Whole = Field(default=50, ge=0, le=10_000)
    """At most so many requests in one poll beside the list itself: confirmations and names."""


class HttpConfig(Model):
    """The notifier's own HTTP server: /healthz, /readyz and /metrics."""

    listen: Listen
    """Host and port, such as `127.0.0.1:9464` or `[::1]:9464`. Port 0 takes a free one."""

    @property
    def host(self) -> str:
        """The host, without brackets."""
        return self.listen.host

    @property
    def port(self) -> int:
        """The port; 0 takes a free one."""
        return self.listen.port


class GuardsConfig(Model):
    """How much may disappear at once before a person is asked."""

    removals: Percentage = 0.05
    """The share of what is known."""

    removals_min: Whole = Field(default=5, ge=0, le=1_000_000)
    """So many may always disappear, however few are known."""


def _every_message_sink(data: Mapping[str, Any]) -> tuple[Target, ...]:
    return tuple(Target(name) for name, sink in data.get("sinks", {}).items() if sink.is_for_people)


class Config(Model):
    """A configuration file. Build it with :func:`notifier.config.load`."""

    name: Name
    """The name of this deployment: in Redis keys, in log lines, and the source of events."""

    source: SourceConfig
    """The Clasp account that is watched, and how."""

    store: Annotated[SecretStr, secret_from(lambda value: store_url(text(value)))] = SecretStr(
        "embedded:.notifier"
    )
    """Where the state is kept: a Redis URL, or `embedded:DIR` for a server of our own."""

    sinks: dict[Name, SinkConfig] = Field(default_factory=dict)
    """Where events and messages go, by name."""

    rules: tuple[RuleConfig, ...] = ()
    """Which events go where, read from top to bottom."""

    calendars: dict[Name, CalendarConfig] = Field(default_factory=dict)
    """When people are at work, by name; rules with `while` name one."""

    digests: tuple[DigestConfig, ...] = ()
    """Messages at fixed times about what is open and what happened since the last one."""
    owners: OwnersConfig | None = None
    """Who owns which employers and carriers."""

    self_reports: tuple[TargetText, ...] = Field(default_factory=_every_message_sink)
    """Who hears what the notifier says of itself. By default every Slack sink."""

    links: dict[Annotated[str, BeforeValidator(_label)], Annotated[str, BeforeValidator(_link)]] = Field(
        default_factory=dict
    )
    """Links in Slack messages to your own tools, with `{external_id}` and `{id}` of the employer."""

    http: HttpConfig | None = None
    """The notifier's own HTTP server. Without it there is none."""

    heartbeat_url: Annotated[SecretUrl | None, BeforeValidator(optional)] = None
    """Called after each complete poll, so that a service of yours notices when that stops."""

    history: PositiveDuration = timedelta(days=30)
    """How long the history of events is kept."""

    guards: GuardsConfig = GuardsConfig()
    """How much may disappear at once before a person is asked."""

    @property
    def in_preview(self) -> tuple[str, ...]:
        """The sinks that send nothing and write what they would send."""
        return tuple(name for name, sink in self.sinks.items() if sink.is_preview)

    directory: SkipJsonSchema[Path] = Path()
    """Not a key: the directory of the file, from which `embedded:DIR` is read."""

    def calendar_of(self, digest: DigestConfig) -> CalendarConfig | None:
        """The calendar of a digest: the only one, where it names none; None where it has a time zone."""
        if digest.timezone is not None:
            return None
        return self.calendars[digest.calendar or next(iter(self.calendars))]
