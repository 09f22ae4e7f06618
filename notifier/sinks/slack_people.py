"""People in Slack: who an e-mail address belongs to, and how somebody is mentioned.

The only place that makes mentions, from ids of members and user groups and from nothing else. Who an address
belongs to is remembered for an hour; where Slack does not say, the address stays text.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import structlog

from notifier.config.people import EVERYBODY, is_email, is_group, is_member
from notifier.errors import DeliveryError, PermanentFailure, SinkFault, TemporaryFailure
from notifier.sinks import slack_errors
from notifier.sinks.slack_api import SlackApi
from notifier.sinks.slack_text import mrkdwn
from notifier.sinks.values import at

_FOUND_FOR = timedelta(hours=1)
_ABSENT_FOR = timedelta(minutes=10)
_LONGEST_S = 3.0  # that a message waits for Slack to say who somebody is
_MOST = 20
_LONGEST_TEXT = 100

_log = structlog.get_logger()


class People:
    """Looks people up for one sink. ``api`` None: an incoming webhook, which cannot ask."""

    def __init__(self, api: SlackApi | None, deadline: timedelta) -> None:
        self._api = api
        self._limit_s = min(_LONGEST_S, deadline.total_seconds() / 3)
        self._has_warned = False
        self._known: dict[str, tuple[datetime, str | None]] = {}  # until when, and the member's id

    async def member(self, person: str, now: datetime) -> str | None:
        """The id of a member, given by it or by an e-mail address; None where Slack knows nobody.

        Raises ``TemporaryFailure`` where it cannot say now.
        """
        if not is_email(person):
            return person
        until, id_ = self._known.get(person, (now, None))
        if until > now:
            return id_
        id_ = await self._ask(person, now)
        self._known[person] = (now + (_FOUND_FOR if id_ else _ABSENT_FOR), id_)
        return id_

    async def mentions(self, words: Any, now: datetime) -> str:
        """The mrkdwn that mentions these; '' where there are none. Never fails, never takes long."""
        known = [word for word in words if isinstance(word, str)] if isinstance(words, list) else []
        asked = [word for word in dict.fromkeys(known) if is_email(word)][:_MOST]
        members = dict(zip(asked, await self._members(asked, now), strict=True))
        return " ".join(filter(None, (_mention(word, members) for word in dict.fromkeys(known[:_MOST]))))

    async def _members(self, emails: Iterable[str], now: datetime) -> list[str | None]:
        async def found(email: str) -> str | None:
            try:
                return await self.member(email, now)
            except DeliveryError:
                return None

        return await asyncio.gather(*(found(email) for email in emails))

    async def _ask(self, email: str, now: datetime) -> str | None:
        if self._api is None:
            return None
        try:
            async with asyncio.timeout(self._limit_s):
                answer = await self._api.call("users.lookupByEmail", {"email": email}, now=now)
        except TimeoutError:
            raise _unanswered("it did not answer in time") from None
        except TemporaryFailure as error:
            if error.reason == "unknown_error":
                return None
            raise _unanswered(str(error), error.retry_after) from None
        except (PermanentFailure, SinkFault) as error:  # nobody has it, or the token may not ask
            self._warn(self._api.name, error.reason)
            return None
        id_ = at(answer, "user", "id")
        is_there = isinstance(id_, str) and is_member(id_) and at(answer, "user", "deleted") is not True
        return id_ if is_there else None

    def _warn(self, sink: str, reason: str) -> None:
        """Say once, not with each message, that the token may not ask."""
        if reason == slack_errors.MISSING_SCOPE and not self._has_warned:
            self._has_warned = True
            _log.warning("slack.lookup_refused", sink=sink, error=slack_errors.CANNOT_FIND_PEOPLE)


def _unanswered(why: str, wait: timedelta | None = None) -> TemporaryFailure:
    """Not the error itself, which may be one after which a message may have arrived: none was sent."""
    message = f"Slack did not say who an e-mail address belongs to: {why}"
    return TemporaryFailure("lookup_failed", message, retry_after=wait)


def _mention(word: str, members: dict[str, str | None]) -> str:
    """``<@U...>`` and the like; an address that belongs to nobody is text, anything else is left out."""
    id_ = members.get(word) or word
    if word in EVERYBODY:
        return f"<!{word}>"
    if is_member(id_):
        return f"<@{id_}>"
    if is_group(id_):
        return f"<!subteam^{id_}>"
    return mrkdwn(word, _LONGEST_TEXT) if is_email(word) else ""
