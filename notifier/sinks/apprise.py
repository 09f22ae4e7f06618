"""Messages for people by whatever the library Apprise knows: mail, Teams, Telegram and a hundred more.

Apprise says only whether something went well, not why not, so every failure is tried again. It opens its
own connections: our guard of addresses, certificates and proxies do not reach it. Texts are handed over as
plain text; making that harmless for a service is Apprise's work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr

from notifier.sinks.plugin import (
    Attempt,
    ConfigError,
    Delivery,
    MessageSettings,
    Place,
    Receipt,
    SinkFault,
    SinkKind,
    TemporaryFailure,
    body_of,
    clean,
    secret_from,
    tell,
    text,
)

_KINDS = {"warning": "warning", "critical": "failure", "completed": "success"}
_MISSING = 'needs the library Apprise; install it: pip install "clasp-notifier[apprise]"'


class AppriseSettings(MessageSettings):
    """Messages by the library Apprise."""

    type: Literal["apprise"]
    """The kind of sink."""

    urls: Annotated[tuple[Annotated[SecretStr, secret_from(text)], ...], Field(min_length=1, max_length=20)]
    """Where to, as Apprise writes it: `mailtos://user:password@example.com?to=ops@example.com`."""


class AppriseSink:
    """One message to each of ``urls``."""

    def __init__(self, name: str, *, urls: Sequence[str], deadline: timedelta) -> None:
        try:
            import apprise  # noqa: PLC0415 - an extra
        except ImportError:
            raise ConfigError(f"sinks.{name}: {_MISSING}") from None
        self.name = name
        self.deadline = deadline
        self._library: Any = apprise
        self._targets = apprise.Apprise()
        for number, url in enumerate(urls):
            if not self._targets.add(url):
                raise ConfigError(f"sinks.{name}.urls[{number}]: is no URL that Apprise knows")

    async def send(self, delivery: Delivery, attempt: Attempt) -> Receipt:
        """Send the message, once."""
        title, words, kind = _message(body_of(delivery), is_repeat=attempt.may_repeat)
        notify = partial(
            self._targets.notify,
            title=title,
            body=words,
            notify_type=kind,
            body_format=self._library.NotifyFormat.TEXT,
            interpret_escapes=False,
        )
        try:
            async with asyncio.timeout(self.deadline.total_seconds()):
                is_sent = await asyncio.to_thread(notify)
        except TimeoutError:
            raise TemporaryFailure(
                "timeout", f"Apprise did not end within {self.deadline.total_seconds():g} s"
            ) from None
        if not is_sent:
            raise TemporaryFailure("apprise", "Apprise could not send it; it does not say why")
        return Receipt()

    async def probe(self) -> str:
        """Nothing can be tried without sending a message."""
        if not len(self._targets):
            raise SinkFault("no_target", "no URL is left to send to")
        return (
            f"{len(self._targets)} targets that Apprise knows; that they take messages is known by send-test"
        )

    async def close(self) -> None:
        """Nothing: Apprise keeps no connection."""


def _message(body: Any, *, is_repeat: bool) -> tuple[str, str, str]:
    """Title, text and kind."""
    told = tell(body)
    lines = [
        clean(told.change) if told.change else "",
        *(clean(line) for line, _ in told.lines),
        *(f"{label}: {clean(value)}" for label, value in told.facts),
        clean(told.note) if told.note else "",
        *(f"{clean(label)}: {url}" for label, url in told.links),
        "May be a repeat." if is_repeat else "",
    ]
    title = clean(told.title)
    return title, "\n".join(line for line in lines if line) or title, _KINDS.get(told.severity, "info")


def _build(name: str, config: AppriseSettings, place: Place) -> AppriseSink:  # noqa: ARG001
    return AppriseSink(name, urls=[url.get_secret_value() for url in config.urls], deadline=config.timeout)


SINK = SinkKind(AppriseSettings, _build)
