"""Incidents at PagerDuty, by its Events API v2; what a request says is the matter of ``pagerduty_event``.

A status decides, but for 400: what is said beside it tells a wrong event from a wrong key.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import BeforeValidator
from yarl import URL

from notifier.sinks.pagerduty_event import encoded, incident
from notifier.sinks.plugin import (
    Access,
    Attempt,
    Delivery,
    DeliveryError,
    Place,
    Receipt,
    RedirectRefused,
    RemoteSettings,
    Sessions,
    SinkFault,
    SinkKind,
    Token,
    base_url,
    is_loopback,
    origin,
    reach,
    refusal,
    retry_after,
    text,
    within,
)

_BAD_REQUEST = 400
_MOST_READ = 64 * 1024  # bytes of what is said beside it
#: PagerDuty answers 400, not 401, where the key is none: then it is no event's fault.
_OF_THE_KEY = re.compile(rb"routing.?key", re.IGNORECASE)


class PagerDutySettings(RemoteSettings):
    """Incidents at PagerDuty."""

    type: Literal["pagerduty"]
    """The kind of sink."""

    routing_key: Token
    """The integration key of a service's Events API v2 integration, or that of an event orchestration."""

    url: Annotated[str, BeforeValidator(lambda value: base_url(text(value)))] = (
        "https://events.pagerduty.com/v2/enqueue"
    )
    """Where events are posted to; for accounts in the EU `https://events.eu.pagerduty.com/v2/enqueue`."""


class PagerDutySink:
    """One integration of a PagerDuty service. A 2xx means that PagerDuty has taken the event, no more."""

    def __init__(
        self,
        name: str,
        *,
        url: str,
        routing_key: str,
        sessions: Sessions,
        access: Access,
        deadline: timedelta,
    ) -> None:
        self.name = name
        self.deadline = deadline
        self._url = URL(url)
        self._where = f"PagerDuty at {origin(self._url)}"
        self._key = routing_key
        self._sessions = sessions
        self._access = access

    async def send(self, delivery: Delivery, attempt: Attempt) -> Receipt:
        """Post the event, once."""
        body = encoded({"routing_key": self._key, **incident(delivery)})
        try:
            async with (
                within(self.deadline, self._where),
                self._sessions.get(allow_private=self._access.way).post(
                    self._url,
                    data=body,
                    headers={"Content-Type": "application/json"},
                    allow_redirects=False,
                    ssl=self._access.tls or True,
                    proxy=self._access.proxy,
                ) as reply,
            ):
                status, asked = reply.status, reply.headers.get("Retry-After")
                said = await reply.content.read(_MOST_READ) if status == _BAD_REQUEST else b""
        except RedirectRefused as redirect:
            why = f"{self._where} answered with a redirect ({redirect.status}); correct url"
            raise SinkFault(f"http_{redirect.status}", why, status=redirect.status) from None
        if 200 <= status < 300:  # noqa: PLR2004
            return Receipt(status)
        raise self._refused(status, said, retry_after(asked, attempt.at))

    async def probe(self) -> str:
        """Look up the name and connect; a key cannot be tried without an event."""
        return await reach(self._url, self._sessions, self._access, self.deadline)

    async def close(self) -> None:
        """Nothing: the sessions are shared."""

    def _refused(self, status: int, said: bytes, wait: timedelta | None) -> DeliveryError:
        if _OF_THE_KEY.search(said):
            why = f"{self._where} does not know the routing key (400); correct routing_key"
            return SinkFault("invalid_routing_key", why, status=status)
        return refusal(status, self._where, wait, keys="routing_key")


def _build(name: str, config: PagerDutySettings, place: Place) -> PagerDutySink:
    is_local = is_loopback(URL(config.url).host or "")
    return PagerDutySink(
        name,
        url=config.url,
        routing_key=config.routing_key.get_secret_value(),
        sessions=place.sessions,
        access=place.access(name, config, private=is_local),
        deadline=config.timeout,
    )


SINK = SinkKind(PagerDutySettings, _build)
