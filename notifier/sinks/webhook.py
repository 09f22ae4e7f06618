"""Signed HTTP requests, one an event; what one looks like is its format's matter.

A status alone decides: once it has arrived, whatever happens to the rest of the reply does not matter, so
that a receiver which took an event is not sent it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta

import aiohttp
from yarl import URL

from notifier.config.words import OWN_HEADERS
from notifier.errors import ConfigError, PermanentFailure
from notifier.models import Delivery
from notifier.sinks.contract import Attempt, Receipt
from notifier.sinks.formats import format_of
from notifier.sinks.session import PUBLIC, Access, RedirectRefused, Sessions
from notifier.sinks.transport import origin, reach, refusal, retry_after, within

_DRAIN_S = (
    0.1  # for the rest of a reply, so that its connection can serve again; a slow rest costs the connection
)


class WebhookSink:
    """One receiver of events.

    ``secrets`` sign in their order, as the format named ``shape`` has it; two during a rotation. ``headers``
    are sent with every request, less those that are ours.
    """

    def __init__(
        self,
        name: str,
        *,
        url: str,
        secrets: Sequence[str],
        sessions: Sessions,
        deadline: timedelta,
        shape: str = "standard",
        headers: Mapping[str, str] | None = None,
        access: Access = PUBLIC,
    ) -> None:
        self.name = name
        self.deadline = deadline
        self._url = _parsed(name, url)
        self._where = origin(self._url)
        try:
            self._format = format_of(shape, secrets)
        except ValueError as error:
            raise ConfigError(f"sinks.{name}.secrets: {error}") from None
        self._headers = _own_headers(name, headers or {})
        self._sessions = sessions
        self._access = access

    async def send(self, delivery: Delivery, attempt: Attempt) -> Receipt:
        """Post the event, once."""
        signed = self._format(delivery, int(attempt.at.timestamp()))
        headers = {**self._headers, **signed.headers}
        try:
            async with within(self.deadline, self._where):
                session = self._sessions.get(allow_private=self._access.way)
                async with session.post(
                    self._url,
                    data=signed.body,
                    headers=headers,
                    allow_redirects=False,
                    ssl=self._access.tls or True,
                    proxy=self._access.proxy,
                ) as reply:
                    if not reply.content.at_eof():  # else all of it came with the headers, or there is none
                        await _drain(reply)
        except RedirectRefused as redirect:
            raise PermanentFailure(
                f"http_{redirect.status}",
                f"{self._where} answered with a redirect ({redirect.status}); redirects are not followed: "
                "set url to the address that it leads to",
                status=redirect.status,
            ) from None
        if 200 <= reply.status < 300:  # noqa: PLR2004
            return Receipt(reply.status)
        raise refusal(reply.status, self._where, retry_after(reply.headers.get("Retry-After"), attempt.at))

    async def probe(self) -> str:
        """Look up the name and connect, with TLS for https; nothing is sent."""
        return await reach(self._url, self._sessions, self._access, self.deadline)

    async def close(self) -> None:
        """Nothing: the sessions are shared, and closed by whoever made them."""


async def _drain(reply: aiohttp.ClientResponse) -> None:
    with suppress(aiohttp.ClientError, OSError, TimeoutError):
        async with asyncio.timeout(_DRAIN_S):
            await reply.read()


def _parsed(name: str, text: str) -> URL:
    try:
        url = URL(text)
    except ValueError:
        url = URL()
    if url.scheme not in {"http", "https"} or not url.host:
        raise ConfigError(f"sinks.{name}.url: is not an http:// or https:// URL")
    return url


def _own_headers(name: str, headers: Mapping[str, str]) -> dict[str, str]:
    """The configured headers, less those that are ours; a value with a line's end in it could forge one."""
    for header, value in headers.items():
        if not (value.isascii() and value.isprintable()):
            raise ConfigError(f"sinks.{name}.headers.{header}: holds a character that a header cannot hold")
    return {header: value for header, value in headers.items() if header.lower() not in OWN_HEADERS}
