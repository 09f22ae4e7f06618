"""Trying Slack without posting: who a token belongs to, and what can be known of a channel or a person there.

Slack has no way to ask whether a message would be taken. It looks at a channel by its id only; a name is
looked for among the channels that the app is a member of.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from notifier.config.people import is_email, is_member
from notifier.errors import PermanentFailure, SinkFault
from notifier.sinks import slack_errors
from notifier.sinks.slack_api import SlackApi
from notifier.sinks.values import at

CHANNEL_ID = re.compile(r"[CGD][A-Z0-9]{7,}", re.ASCII)
_ANYWHERE = "chat:write.public"  # the scope to post to public channels without being a member
_ALL, _PUBLIC = "public_channel,private_channel", "public_channel"  # for private ones a scope may be missing
_PAGE, _MOST_PAGES = 30, 10  # of channels: a page has to fit into a reply


class _Joined(msgspec.Struct, frozen=True):
    """Names of the channels that the app is a member of; ``are_all``: the list ended."""

    names: set[str]
    are_all: bool


class Probe:
    """Asks of one token. What is wrong is raised as a ``DeliveryError``, with what to do."""

    def __init__(self, api: SlackApi) -> None:
        self._api = api
        self._joined: dict[str, _Joined | None] = {}  # by types of channels

    async def token(self) -> str:
        """Who the token belongs to."""
        who = await self._api.call("auth.test", {})
        user, team = self._api.shown(who.get("user")), self._api.shown(who.get("team"))
        return f"the token belongs to {user} in {team}"

    async def place(self, place: str, target: str) -> str:
        """What can be known of a channel or a person; ``target`` is how `send-test` names it.

        Raises a ``SinkFault`` also where the token cannot ask of any such place.
        """
        if is_email(place):
            return await self._address(place)
        if is_member(place):
            return await self._member(place, target)
        if CHANNEL_ID.fullmatch(place):
            return await self._channel(place, target)
        return await self._named(place, target)

    async def _channel(self, channel: str, target: str) -> str:
        info = await self._asked("conversations.info", {"channel": channel}, channel)
        if info is None:
            lacks = "channels:read, or groups:read for a private channel"
            return f"the channel could not be verified (the token lacks {lacks}): use send-test {target}"
        if at(info, "channel", "is_archived"):
            raise self._api.failure("is_archived", channel)
        if at(info, "channel", "is_member"):
            return f"it is a member of {channel}"
        if self._is_bound:
            raise self._api.failure("not_in_channel", channel)
        return f"it is no member of {channel}: /invite it there, unless it has {_ANYWHERE}"

    async def _named(self, channel: str, target: str) -> str:
        name = channel.removeprefix("#").casefold()
        for types in (_ALL, _PUBLIC):
            joined = await self._members_of(types)
            if joined is None:
                continue
            if name in joined.names:
                return f"it is a member of {channel}"
            if not joined.are_all:
                break
            if types != _ALL:
                unseen = "the token may not see private ones (it lacks groups:read)"
                return f"it is in no public channel {channel}, and {unseen}: use send-test {target}"
            if self._is_bound:
                what = "correct the name, or /invite the app to the channel"
                raise PermanentFailure("not_in_channel", f"the app is in no channel {channel}: {what}")
            return f"it is in no channel {channel}: /invite it there, unless it has {_ANYWHERE}"
        return f"that {channel} takes messages is only known by sending one: use send-test {target}"

    async def _members_of(self, types: str) -> _Joined | None:
        """The channels that it is a member of; None where the token lacks the scope to ask."""
        if types not in self._joined:
            self._joined[types] = await self._listed(types)
        return self._joined[types]

    async def _listed(self, types: str) -> _Joined | None:
        names: set[str] = set()
        arguments = {"types": types, "exclude_archived": "true", "limit": str(_PAGE)}
        for _ in range(_MOST_PAGES):
            page = await self._asked("users.conversations", arguments)
            if page is None:
                return None
            channels = page.get("channels")
            names |= {
                str(at(channel, "name")).casefold()
                for channel in (channels if isinstance(channels, list) else ())
            }
            cursor = at(page, "response_metadata", "next_cursor")
            if not isinstance(cursor, str) or not cursor:
                return _Joined(names, are_all=True)
            arguments = {**arguments, "cursor": cursor}
        return _Joined(names, are_all=False)

    async def _member(self, member: str, target: str) -> str:
        info = await self._asked("users.info", {"user": member}, member)
        if info is None:
            return f"the member could not be verified (the token lacks users:read): use send-test {target}"
        if at(info, "user", "deleted"):
            raise self._api.failure("user_disabled", member)
        return f"{member} is {self._api.shown(at(info, 'user', 'name'))}"

    async def _address(self, address: str) -> str:
        found = await self._asked("users.lookupByEmail", {"email": address})
        if found is None:
            raise SinkFault(slack_errors.MISSING_SCOPE, slack_errors.CANNOT_FIND_PEOPLE)
        if at(found, "user", "deleted"):
            raise self._api.failure("user_disabled", address)
        return f"it belongs to {self._api.shown(at(found, 'user', 'name'))}"

    @property
    def _is_bound(self) -> bool:
        """Whether it surely posts only where it is a member."""
        return self._api.scopes is not None and _ANYWHERE not in self._api.scopes

    async def _asked(self, method: str, arguments: dict[str, Any], channel: str = "") -> Any:
        """The answer; None where the token lacks the scope to ask."""
        try:
            return await self._api.call(method, arguments, channel=channel)
        except SinkFault as fault:
            if fault.reason != slack_errors.MISSING_SCOPE:
                raise
            return None
