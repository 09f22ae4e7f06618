"""The sinks of a configuration: what each type takes, and its defaults."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, SecretStr, WithJsonSchema

from notifier.config.connections import Allowed, BasicAuthConfig, Proxy, TlsConfig
from notifier.config.fields import (
    Duration,
    Model,
    Name,
    PositiveDuration,
    Rate,
    Whole,
    optional,
    secret_from,
    text,
    token,
    word_from,
)
from notifier.config.people import is_email, is_member
from notifier.config.secrets import signing_key
from notifier.config.urls import base_url, check_url
from notifier.config.words import EXCLUDABLE, FORMATS, OWN_HEADERS

_CHANNEL_ID = re.compile(r"[CGDU][A-Z0-9]{7,}", re.ASCII)
_CHANNEL_NAME = re.compile(r"#?[^\s#,@<>]{1,80}")
_NO_BOTS = {
    "xapp-": "an app-level token",
    "xoxp-": "a user's token",
    "xoxe.xoxp-": "a user's token",
    "xoxe-": "a refresh token",
}
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}", re.ASCII)


def slack_channel(value: Any) -> str:
    """``#name``, or the id of a channel as it is. Raises ``ValueError``."""
    channel = text(value)
    if _CHANNEL_ID.fullmatch(channel) or is_member(channel):
        return channel
    if not _CHANNEL_NAME.fullmatch(channel):
        raise ValueError('is not a channel; write its name ("#carrier-ops") or its id (C0123456789)')
    return "#" + channel.removeprefix("#")


def slack_place(value: Any) -> str:
    """A channel, or a person who gets a direct message: a member's id, or an e-mail address."""
    place = text(value)
    return place.lower() if is_email(place.lower()) else slack_channel(place)


def _bot_token(value: Any) -> str:
    """A token, unless it is known to be of another kind: what else a bot's may look like is up to Slack."""
    found = token(value)
    if "://" in found:
        raise ValueError(
            'is a URL; that of an incoming webhook belongs to "webhook_url", without "token" and "channel"'
        )
    for start, kind in _NO_BOTS.items():
        if found.startswith(start):
            raise ValueError(
                f'begins with "{start}" and so is {kind}; the Bot User OAuth Token begins with "xoxb-"'
            )
    return found


def _url(value: Any) -> str:
    address = text(value)
    check_url(address)
    return address


def _api_url(value: Any) -> str:
    return base_url(text(value)) + "/"


def _signing_secret(value: Any) -> str:
    secret = text(value)
    signing_key(secret)
    return secret


def _header(value: Any) -> str:
    name = text(value)
    if not _HEADER.fullmatch(name):
        raise ValueError("is not the name of an HTTP header")
    if name.lower() in OWN_HEADERS:
        raise ValueError("is a header that the notifier sets itself")
    return name


def _header_value(value: Any) -> str:
    content = text(value)
    if not content.isascii() or not content.isprintable() or content != content.strip():
        raise ValueError("holds a line break, a character outside ASCII, or a space at an end")
    return content


Mode = Annotated[Literal["live", "preview"], word_from(("live", "preview"), "mode")]
ChannelText = Annotated[str, BeforeValidator(slack_channel)]
SecretUrl = Annotated[SecretStr, secret_from(_url)]
Excluded = Annotated[
    str, word_from(EXCLUDABLE, "field"), WithJsonSchema({"type": "string", "enum": list(EXCLUDABLE)})
]
Headers = dict[Annotated[str, BeforeValidator(_header)], Annotated[SecretStr, secret_from(_header_value)]]


class SinkSettings(Model):
    """What all sinks take. A kind of sink adds its own keys, and ``type``, a ``Literal`` of its name.

    ``is_for_people``: it gets messages for people, not events for programs. ``can_edit``: a message can be
    changed there once it was posted, and replied to.
    """

    is_for_people: ClassVar[bool] = False

    timeout: PositiveDuration = timedelta(seconds=15)
    """One attempt may take so long, from the look-up of the name to the last byte of the answer."""

    concurrency: Whole = Field(default=1, ge=1, le=1000)
    """At most so many attempts at once."""

    rate: Rate | None = None
    """At most so many attempts a second; null: no limit."""

    exclude: tuple[Excluded, ...] = ("broker_federal_ein",)
    """Fields that never leave to this sink. A list of your own replaces the default."""

    retry: tuple[Duration, ...] | None = Field(default=None, max_length=1000)
    """Delays before the second and each later attempt, in place of the built-in schedule."""

    @property
    def can_edit(self) -> bool:
        """Whether a message can be changed there once it was posted."""
        return False

    @property
    def is_preview(self) -> bool:
        """Whether it writes what it would send, and sends nothing."""
        return False

    def files(self, directory: Path) -> tuple[Path, ...]:  # noqa: ARG002 - others have some
        """The files that it is built from, beside the configuration."""
        return ()


class LiveSettings(SinkSettings):
    """What sinks take that send something elsewhere."""

    mode: Mode = "live"
    """`preview`: write to standard output what would be sent, and send nothing."""

    @property
    def is_preview(self) -> bool:
        """Whether it writes what it would send, and sends nothing."""
        return self.mode == "preview"


def _as_keys(value: Any) -> Any:
    """``active: office`` is short for ``active: {calendar: office}``."""
    return {"calendar": value} if isinstance(value, str) else value


class ActiveConfig(Model):
    """When people at a sink may be disturbed. `active: office` is short for `active: {calendar: office}`."""

    calendar: Name
    """Alerts are told in the hours of this calendar."""

    except_: Annotated[Literal["critical"] | None, word_from(("critical",), "severity")] = Field(
        default=None, alias="except"
    )
    """`critical`: alerts of rules with this severity are told at any time."""


class MessageSettings(LiveSettings):
    """What sinks for people take."""

    is_for_people: ClassVar[bool] = True

    active: Annotated[ActiveConfig | None, BeforeValidator(_as_keys)] = None
    """A calendar: when alerts may disturb. What happens outside its hours is told in one message after."""


class RemoteSettings(LiveSettings):
    """What sinks take that are reached over the network."""

    tls: TlsConfig = TlsConfig()
    """Certificates of your own."""

    proxy: Annotated[Proxy | None, BeforeValidator(optional)] = None
    """The HTTP proxy to go through, `http://proxy.internal:3128`. None is taken from the environment."""

    def files(self, directory: Path) -> tuple[Path, ...]:
        """Those of its certificates."""
        return tuple(directory / name for name in (self.tls.ca, self.tls.certificate, self.tls.key) if name)


class SlackConfig(RemoteSettings, MessageSettings):
    """Messages for people, with a bot's token or an incoming webhook."""

    type: Literal["slack"]
    """The kind of sink."""

    token: Annotated[SecretStr, secret_from(_bot_token)] | None = None
    """A bot's token (xoxb-...). Either this or `webhook_url`."""

    webhook_url: SecretUrl | None = None
    """An incoming webhook, which posts to one channel. Either this or `token`."""

    channel: ChannelText | None = None
    """Where messages go unless a rule says another channel. Required with `token`."""

    api_url: Annotated[str, BeforeValidator(_api_url)] = "https://slack.com/api/"
    """Slack's Web API."""

    rate: Rate | None = 1.0
    """At most so many messages a second. Slack allows about one a second in a channel."""

    @property
    def can_edit(self) -> bool:
        """What a bot posted, it can change."""
        return self.token is not None


class WebhookConfig(RemoteSettings):
    """Signed HTTP requests, one for each event."""

    type: Literal["webhook"]
    """The kind of sink."""

    url: SecretUrl
    """Where events are posted to."""

    secrets: tuple[Annotated[SecretStr, secret_from(_signing_secret)], ...] = Field(
        min_length=1, max_length=2
    )
    """What requests are signed with: `whsec_` and base64, or any text. Two during a rotation; the format
    `clasp` signs with the first, and takes it as it is."""

    format: Annotated[Literal["standard", "clasp", "cloudevents"], word_from(FORMATS, "format")] = "standard"
    """The shape of a request: that of Standard Webhooks, of Clasp's own webhooks, or CloudEvents 1.0."""

    headers: Headers = Field(default_factory=dict)
    """More headers, sent with every request."""

    basic_auth: BasicAuthConfig | None = None
    """A user and password, sent with every request."""

    allow_private_addresses: Allowed = False
    """Whether the host may be on loopback or in a private network; or the networks it may be in."""

    concurrency: Whole = Field(default=16, ge=1, le=1000)
    """At most so many requests at once. Events of one connection always go one after the other."""


class ConsoleConfig(SinkSettings):
    """One JSON object a line on standard output."""

    type: Literal["console"]
    """The kind of sink."""


SinkConfig = Annotated[SlackConfig | WebhookConfig | ConsoleConfig, Field(discriminator="type")]
