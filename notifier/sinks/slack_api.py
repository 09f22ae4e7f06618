"""Slack's two ways in: the Web API with a bot's token, and incoming webhooks.

The Slack SDK's clients run on our guarded session: without retries of their own (the schedule is the
dispatcher's), without proxies from the environment, and never on a session of their own. Slack says what
went wrong in the body: an HTTP 200 with ``ok: false`` is a failure.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import aiohttp
import msgspec
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.webhook.async_client import AsyncWebhookClient
from yarl import URL

from notifier.errors import DeliveryError, SinkFault, TemporaryFailure
from notifier.sinks import slack_errors
from notifier.sinks.session import PUBLIC, USER_AGENT, Access, RedirectRefused, Sessions
from notifier.sinks.transport import origin, retry_after, within
from notifier.sinks.values import clean

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_TOO_MANY = 429
#: What the SDK raises on an answer that is not the JSON object it expects.
_UNREADABLE = (AttributeError, TypeError, ValueError, LookupError, RecursionError)


class SlackApi:
    """Calls, each once, that raise a ``DeliveryError``.

    ``own_channel`` is the sink's: what is wrong with another stops only what goes there. A ``url`` that is
    written as loopback may be connected to; nothing else that is private.
    """

    def __init__(
        self,
        name: str,
        *,
        sessions: Sessions,
        deadline: timedelta,
        url: str,
        token: str | None,
        own_channel: str,
        access: Access = PUBLIC,
    ) -> None:
        self.name = name
        self._token = token
        self._api_url = url if url.endswith("/") else url + "/"
        self._own_channel = own_channel
        self._where = f"Slack at {origin(URL(url))}"
        self._access = (
            access if access.proxy else msgspec.structs.replace(access, private=URL(url).host in _LOOPBACK)
        )
        self._proxy = str(access.proxy) if access.proxy else None
        self._sessions = sessions
        self._deadline = deadline
        self.scopes: frozenset[str] | None = None  # of the token, where an answer has told them
        self._logger = logging.getLogger(f"{__name__}.{name}")
        self._logger.setLevel(logging.WARNING)  # at DEBUG the SDK writes out messages and addresses

    async def call(
        self, method: str, arguments: dict[str, Any], *, channel: str = "", now: datetime | None = None
    ) -> Mapping[str, Any]:
        """One call of the Web API; the answer is a JSON object with ``ok: true``."""
        async with within(self._deadline, self._where):
            client = AsyncWebClient(
                token=self._token,
                base_url=self._api_url,
                ssl=self._access.tls or True,  # type: ignore[arg-type]  # True is aiohttp's word for "verify"
                session=self._sessions.get(allow_private=self._access.way),
                user_agent_prefix=USER_AGENT,
                logger=self._logger,
                retry_handlers=[],
            )
            client.proxy = self._proxy  # else the SDK takes one from the environment
            try:
                if method.startswith(("conversations.", "users.")):  # take no JSON
                    answer = await client.api_call(method, params=arguments)
                else:
                    answer = await client.api_call(method, json=arguments)
                data = answer.data
                self._note_scopes(answer.headers)
            except SlackApiError as error:
                raise self._refused(error, channel, now) from None
            except RedirectRefused as redirect:
                raise self._redirected(redirect) from None
            except (aiohttp.ClientError, OSError):  # some of them are a ValueError too
                raise
            except (*_UNREADABLE, SlackClientError):
                raise self._unreadable() from None
        if not isinstance(data, dict):
            raise self._unreadable()
        return data

    def _note_scopes(self, headers: Any) -> None:
        told = headers.get("X-OAuth-Scopes")
        if isinstance(told, str):
            self.scopes = frozenset(scope.strip() for scope in told.split(","))

    def failure(self, error: str, channel: str) -> DeliveryError:
        """An error of Slack's that it would give, had we sent something to this channel."""
        is_own = channel == self._own_channel
        return slack_errors.failure(error, status=200, channel=channel, is_own_channel=is_own)

    def _refused(self, error: SlackApiError, channel: str, now: datetime | None) -> DeliveryError:
        """What an answer without ``ok: true`` means."""
        response = error.response
        status = getattr(response, "status_code", None) or getattr(response, "status", None) or 0
        data = getattr(response, "data", None)
        data = data if isinstance(data, dict) else {}
        headers = getattr(response, "headers", None) or {}
        wait = retry_after(headers.get("Retry-After"), now) if now else None
        code = data.get("error")
        if status == _TOO_MANY:
            return slack_errors.failure("ratelimited", status=status, retry_after=wait)
        if status >= 500 or not isinstance(code, str):  # noqa: PLR2004
            return self._status(status, wait)
        return slack_errors.failure(
            code,
            status=status,
            detail=self._detail(data),
            channel=channel,
            is_own_channel=channel == self._own_channel,
            retry_after=wait,
        )

    async def post(self, url: str, message: Mapping[str, Any], now: datetime) -> int:
        """A message by an incoming webhook; the HTTP status."""
        async with within(self._deadline, self._where):
            client = AsyncWebhookClient(
                url,
                ssl=self._access.tls or True,  # type: ignore[arg-type]
                session=self._sessions.get(allow_private=self._access.way),
                user_agent_prefix=USER_AGENT,
                logger=self._logger,
                retry_handlers=[],
            )
            client.proxy = self._proxy
            try:
                answer = await client.send_dict(dict(message))
            except RedirectRefused as redirect:
                raise self._redirected(redirect) from None
            except (aiohttp.ClientError, OSError):
                raise
            except _UNREADABLE:
                raise self._unreadable() from None
        status, said = answer.status_code, answer.body.strip()
        if status == 200 and said == "ok":  # noqa: PLR2004
            return status
        wait = retry_after(answer.headers.get("Retry-After"), now)
        if status == _TOO_MANY:
            raise slack_errors.failure("ratelimited", status=status, retry_after=wait)
        if code := _webhook_error(said):
            raise slack_errors.failure(code, status=status, retry_after=wait)
        raise self._status(status, wait)

    def _detail(self, data: Mapping[str, Any]) -> str:
        """What Slack adds to an error: the scope that is missing, the first thing wrong with a block."""
        needed = data.get("needed")
        if isinstance(needed, str):
            return f"needed: {self.quoted(needed, 100)}"
        metadata = data.get("response_metadata")
        messages = metadata.get("messages") if isinstance(metadata, dict) else None
        return self.quoted(str(messages[0]), 200) if isinstance(messages, list) and messages else ""

    def shown(self, value: Any) -> str:
        """A name that Slack told us, for one line."""
        return self.quoted(value, 80) if isinstance(value, str) else "somebody"

    def quoted(self, text: str, limit: int) -> str:
        """Words of whoever answered: on one line, bounded, and without our token."""
        return clean(text.replace(self._token or "\0", "***"))[:limit]

    def _status(self, status: int, wait: timedelta | None) -> DeliveryError:
        if 200 <= status < 300:  # noqa: PLR2004
            return self._unreadable()
        return TemporaryFailure(
            f"http_{status}", f"{self._where} answered {status}", status=status, retry_after=wait
        )

    def _unreadable(self) -> DeliveryError:
        return TemporaryFailure("invalid_response", f"{self._where} answered something that is not Slack's")

    def _redirected(self, redirect: RedirectRefused) -> DeliveryError:
        said = f"{self._where} answered with a redirect ({redirect.status}), which is not followed"
        return SinkFault(f"http_{redirect.status}", f"{said}; correct the URL", status=redirect.status)


def _webhook_error(said: str) -> str | None:
    """The error in an incoming webhook's answer: a bare word, or as the Web API would write it."""
    if said in slack_errors.KNOWN:
        return said
    try:
        data = json.loads(said)
    except (ValueError, RecursionError):
        return None
    error = data.get("error") if isinstance(data, dict) else None
    return error if isinstance(error, str) else None
