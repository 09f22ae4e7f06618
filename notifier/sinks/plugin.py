"""What a kind of sink of your own is made of: everything that its module needs, in one place.

docs/sinks.md is the recipe, ``notifier.testing`` the tests that every sink passes.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from yarl import URL

from notifier.config.fields import Name, Switch, Text, Token, secret_from, text
from notifier.config.kinds import SinkKind
from notifier.config.sinks import LiveSettings, MessageSettings, RemoteSettings, SecretUrl
from notifier.config.urls import base_url, is_loopback
from notifier.errors import (
    ConfigError,
    DeliveryError,
    PermanentFailure,
    SinkFault,
    TemporaryFailure,
)
from notifier.models import Delivery
from notifier.sinks.certificates import context_of
from notifier.sinks.contract import Attempt, Receipt, Sink, body_of
from notifier.sinks.session import Access, Private, RedirectRefused, Sessions
from notifier.sinks.transport import origin, reach, refusal, retry_after, within
from notifier.sinks.values import at, clean
from notifier.sinks.wording import Told, tell

__all__ = [
    "Access",
    "Attempt",
    "ConfigError",
    "Delivery",
    "DeliveryError",
    "LiveSettings",
    "MessageSettings",
    "Name",
    "PermanentFailure",
    "Place",
    "Receipt",
    "RedirectRefused",
    "RemoteSettings",
    "SecretUrl",
    "Sessions",
    "Sink",
    "SinkFault",
    "SinkKind",
    "Switch",
    "TemporaryFailure",
    "Text",
    "Token",
    "Told",
    "at",
    "base_url",
    "body_of",
    "clean",
    "is_loopback",
    "origin",
    "reach",
    "refusal",
    "retry_after",
    "secret_from",
    "tell",
    "text",
    "within",
]


class Place(msgspec.Struct, frozen=True):
    """Where a sink is built.

    ``sessions`` reach the network under our guard; ``directory`` is the configuration's, for names of files.
    """

    sessions: Sessions
    directory: Path

    def access(self, name: str, config: RemoteSettings, *, private: Private = False) -> Access:
        """How a sink of these keys reaches its receiver; ``private``: which private networks it may be in.

        Raises ``ConfigError``.
        """
        proxy = URL(config.proxy.get_secret_value()) if config.proxy else None
        return Access(private, context_of(name, config.tls, self.directory), proxy)
