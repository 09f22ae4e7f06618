"""Signed HTTP requests, one an event, after the Standard Webhooks specification.

The body is the delivery's frozen text, byte for byte: every attempt carries the same id and body, and a new
timestamp. A status alone decides: once it has arrived, whatever happens to the rest of the reply does not
matter, so that a receiver which took an event is not sent it again.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from http import HTTPStatus

import aiohttp
from yarl import URL

from notifier.errors import ConfigError, DeliveryError, PermanentFailure, SinkFault, TemporaryFailure
from notifier.models import Delivery
from notifier.sinks.contract import Attempt, Receipt
from notifier.sinks.session import RedirectRefused, Sessions
from notifier.sinks.transport import origin, retry_after, within

_PREFIX = "whsec_"
_DRAIN_S = (
    0.1  # for the rest of a reply, so that its connection can serve again; a slow rest costs the connection
)
_RESERVED = frozenset(
    {
        "webhook-id",
        "webhook-timestamp",
        "webhook-signature",
        "content-type",
        "content-length",
        "content-encoding",
        "transfer-encoding",
        "connection",
        "host",
    }
)


class WebhookSink:
    """One receiver of events.

    ``secrets`` sign in their order; two during a rotation. ``headers`` are sent with every request, less
    those that are ours.
    """

    def __init__(
        self,
        name: str,
        *,
        url: str,
        secrets: Sequence[str],
        sessions: Sessions,
        deadline: timedelta,
        headers: Mapping[str, str] | None = None,
        allow_private: bool = False,
    ) -> None:
        self.name = name
        self.deadline = deadline
        self._url = _parsed(name, url)
        self._where = origin(self._url)
        self._keys = [_key(name, secret) for secret in secrets]
        if not self._keys:
            raise ConfigError(f"sinks.{name}.secrets: at least one secret is needed to sign with")
        self._headers = _own_headers(name, headers or {})
        self._sessions = sessions
        self._allow_private = allow_private

    async def send(self, delivery: Delivery, attempt: Attempt) -> Receipt:
        """Post the event, once."""
        body = delivery.body.encode()
        headers = {**self._headers, **self._signed(delivery.id, int(attempt.at.timestamp()), body)}
        try:
            async with within(self.deadline, self._where):
                session = self._sessions.get(allow_private=self._allow_private)
                async with session.post(
                    self._url, data=body, headers=headers, allow_redirects=False
                ) as reply:
                    status, asked = reply.status, reply.headers.get("Retry-After")
                    await _drain(reply)
        except RedirectRefused as redirect:
            raise PermanentFailure(
                f"http_{redirect.status}",
                f"{self._where} answered with a redirect ({redirect.status}); redirects are not followed: "
                "set url to the address that it leads to",
                status=redirect.status,
            ) from None
        if 200 <= status < 300:  # noqa: PLR2004
            return Receipt(status)
        raise refusal(status, self._where, retry_after(asked, attempt.at))

    async def probe(self) -> str:
        """Look up the name and connect, with TLS for https; nothing is sent."""
        async with within(self.deadline, self._where):
            await self._sessions.reach(self._url, allow_private=self._allow_private)
        how = "a TLS connection with a valid certificate" if self._url.scheme == "https" else "a connection"
        return f"{self._where} accepts {how}; no request was sent"

    async def close(self) -> None:
        """Nothing: the sessions are shared, and closed by whoever made them."""

    def _signed(self, id_: str, timestamp: int, body: bytes) -> dict[str, str]:
        content = f"{id_}.{timestamp}.".encode() + body
        signatures = (hmac.digest(key, content, hashlib.sha256) for key in self._keys)
        return {
            "content-type": "application/json",
            "webhook-id": id_,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": " ".join(f"v1,{base64.b64encode(sig).decode()}" for sig in signatures),
        }


def refusal(status: int, where: str, wait: timedelta | None) -> DeliveryError:
    """What a status other than 2xx and 3xx amounts to."""
    reason = f"http_{status}"
    said = f"{where} answered {status}"
    if status in {401, 403}:
        return SinkFault(
            reason, f"{said}: it does not accept our requests; check secrets and headers", status=status
        )
    if status in {404, 410}:
        return SinkFault(reason, f"{said}: nothing is there any more; check url", status=status)
    if 400 <= status < 500 and status not in {408, 425, 429}:  # noqa: PLR2004
        return PermanentFailure(reason, f"{said}: it refuses this event", status=status)
    throttled = status == HTTPStatus.TOO_MANY_REQUESTS and wait is not None
    return TemporaryFailure(reason, said, status=status, retry_after=wait, throttled=throttled)


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
    return {header: value for header, value in headers.items() if header.lower() not in _RESERVED}


def _key(name: str, secret: str) -> bytes:
    """The bytes that sign: what stands in base64 after ``whsec_``, or any other text as it is."""
    if not secret.startswith(_PREFIX):
        key = secret.encode()
    else:
        try:
            key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except (binascii.Error, ValueError):
            key = b""
    if not key:
        raise ConfigError(f'sinks.{name}.secrets: a secret is empty, or is no base64 after "whsec_"')
    return key
