"""Messages for people: Slack, with a bot's token or an incoming webhook.

The Slack SDK's clients run on our guarded session: without retries of their own (the schedule is the
dispatcher's), without proxies from the environment, and never on a session of their own. Slack says what
went wrong in the body: an HTTP 200 with ``ok: false`` is a failure. Every message carries the event's id as
metadata, so that a repeat can be recognised.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.webhook.async_client import AsyncWebhookClient
from yarl import URL

from notifier.errors import ConfigError, DeliveryError, PermanentFailure, SinkFault, TemporaryFailure
from notifier.models import Delivery
from notifier.sinks import slack_errors
from notifier.sinks.contract import Attempt, Receipt
from notifier.sinks.session import USER_AGENT, RedirectRefused, Sessions
from notifier.sinks.slack_message import Message, render
from notifier.sinks.transport import origin, retry_after, within
from notifier.sinks.wording import clean

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_CHANNEL_ID = re.compile(r"[CGD][A-Z0-9]{7,}", re.ASCII)
_TOO_MANY = 429
#: What the SDK raises on an answer that is not the JSON object it expects.
_UNREADABLE = (AttributeError, TypeError, ValueError, LookupError, RecursionError)


class SlackSink:
    """One Slack workspace; ``channel`` is where messages go unless the delivery says another.

    Either ``token`` or ``webhook_url``. An ``api_url`` or ``webhook_url`` that is written as loopback may be
    connected to; nothing else that is private.
    """

    def __init__(
        self,
        name: str,
        *,
        sessions: Sessions,
        deadline: timedelta,
        token: str | None = None,
        webhook_url: str | None = None,
        channel: str | None = None,
        api_url: str = "https://slack.com/api/",
    ) -> None:
        if (token is None) == (webhook_url is None):
            raise ConfigError(f"sinks.{name}: needs either token or webhook_url")
        if token is not None and channel is None:
            raise ConfigError(f"sinks.{name}.channel: is needed with token")
        self.name = name
        self.deadline = deadline
        self._token = token
        self._webhook_url = webhook_url
        self._channel = channel or ""
        url = URL(webhook_url or api_url)
        self._api_url = api_url if api_url.endswith("/") else api_url + "/"
        self._where = f"Slack at {origin(url)}"
        self._is_loopback = url.host in _LOOPBACK
        self._sessions = sessions
        self._logger = logging.getLogger(f"{__name__}.{name}")
        self._logger.setLevel(logging.WARNING)  # at DEBUG the SDK writes out messages and addresses

    async def send(self, delivery: Delivery, attempt: Attempt) -> Receipt:
        """Post the message for an event, once."""
        message = _rendered(delivery)
        if self._webhook_url is not None:
            return await self._post_to_webhook(self._webhook_url, message, attempt.at)
        channel = delivery.target or self._channel
        answer = await self._call(
            "chat.postMessage",
            {
                "channel": channel,
                **_inert(message),
                "metadata": {"event_type": "clasp_notifier", "event_payload": {"id": delivery.id}},
            },
            channel=channel,
            now=attempt.at,
        )
        return Receipt(200, f"{answer.get('channel', '')}:{answer.get('ts', '')}")

    async def probe(self) -> str:
        """Who the token belongs to, and whether the channel is there, as far as that can be asked."""
        if self._webhook_url is not None:
            return "an incoming webhook cannot be tried without sending a message: use send-test"
        who = await self._call("auth.test", {})
        told = f"the token belongs to {self._shown(who.get('user'))} in {self._shown(who.get('team'))}"
        if not _CHANNEL_ID.fullmatch(self._channel):
            return f"{told}; that {self._channel} takes messages is only known by sending one: use send-test"
        try:
            info = await self._call("conversations.info", {"channel": self._channel}, channel=self._channel)
        except SinkFault as fault:
            if fault.reason != "missing_scope":
                raise
            return f"{told}; the channel could not be verified (the token lacks channels:read): use send-test"
        channel = info.get("channel")
        return f"{told}; {self._verified(channel if isinstance(channel, dict) else {})}"

    async def close(self) -> None:
        """Nothing: the sessions are shared, and closed by whoever made them."""

    def _verified(self, channel: Mapping[str, Any]) -> str:
        if channel.get("is_archived"):
            raise slack_errors.failure("is_archived", status=200, channel=self._channel)
        if channel.get("is_member"):
            return f"it is a member of {self._channel}"
        return f"it is no member of {self._channel}: /invite it there, unless it has chat:write.public"

    async def _call(
        self, method: str, arguments: dict[str, Any], *, channel: str = "", now: datetime | None = None
    ) -> Mapping[str, Any]:
        """One call of the Web API; the answer is a JSON object with ``ok: true``."""
        async with within(self.deadline, self._where):
            client = AsyncWebClient(
                token=self._token,
                base_url=self._api_url,
                ssl=True,  # type: ignore[arg-type]  # aiohttp's word for "verify"; None is deprecated there
                session=self._sessions.get(allow_private=self._is_loopback),
                user_agent_prefix=USER_AGENT,
                logger=self._logger,
                retry_handlers=[],
            )
            client.proxy = None  # the SDK takes one from the environment
            try:
                if method == "conversations.info":  # takes no JSON
                    answer = await client.api_call(method, params=arguments)
                else:
                    answer = await client.api_call(method, json=arguments)
                data = answer.data
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
            is_own_channel=channel == self._channel,
            retry_after=wait,
        )

    async def _post_to_webhook(self, url: str, message: Message, now: datetime) -> Receipt:
        async with within(self.deadline, self._where):
            client = AsyncWebhookClient(
                url,
                ssl=True,  # type: ignore[arg-type]
                session=self._sessions.get(allow_private=self._is_loopback),
                user_agent_prefix=USER_AGENT,
                logger=self._logger,
                retry_handlers=[],
            )
            client.proxy = None
            try:
                answer = await client.send_dict(_inert(message))
            except RedirectRefused as redirect:
                raise self._redirected(redirect) from None
            except (aiohttp.ClientError, OSError):
                raise
            except _UNREADABLE:
                raise self._unreadable() from None
        status, said = answer.status_code, answer.body.strip()
        if status == 200 and said == "ok":  # noqa: PLR2004
            return Receipt(status)
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
            return f"needed: {self._quoted(needed, 100)}"
        metadata = data.get("response_metadata")
        messages = metadata.get("messages") if isinstance(metadata, dict) else None
        return self._quoted(str(messages[0]), 200) if isinstance(messages, list) and messages else ""

    def _shown(self, value: Any) -> str:
        return self._quoted(value, 80) if isinstance(value, str) else "somebody"

    def _quoted(self, text: str, limit: int) -> str:
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


def _rendered(delivery: Delivery) -> Message:
    try:
        body = json.loads(delivery.body)
    except (ValueError, RecursionError):
        raise PermanentFailure("unreadable_body", "the stored event is not JSON") from None
    return render(body)


def _inert(message: Message) -> dict[str, Any]:
    """A message as both of Slack's ways take it: nothing in it is looked through for markup or links."""
    return {
        "text": message.text,
        "blocks": message.blocks,
        "mrkdwn": False,
        "parse": "none",
        "link_names": False,
        "unfurl_links": False,
        "unfurl_media": False,
    }


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
