"""Trying Slack without posting: who a token belongs to, and what can be known of a channel or a person there.

Slack looks at channels by id only, and names no way to ask whether a message would be taken.
"""

from __future__ import annotations

import re
from typing import Any

from notifier.config.people import is_email, is_member
from notifier.errors import SinkFault
from notifier.sinks import slack_errors
from notifier.sinks.slack_api import SlackApi
from notifier.sinks.values import at

CHANNEL_ID = re.compile(r"[CGD][A-Z0-9]{7,}", re.ASCII)
_ANYWHERE = "chat:write.public"  # the scope to post to public channels without being a member


async def probe_token(api: SlackApi) -> str:
    """Who the token belongs to. Raises a ``DeliveryError``."""
    who = await api.call("auth.test", {})
    return f"the token belongs to {api.shown(who.get('user'))} in {api.shown(who.get('team'))}"


async def probe_place(api: SlackApi, place: str, target: str) -> str:
    """What can be known of a channel or a person; ``target`` is how `send-test` names it.

    Raises a ``DeliveryError``: a ``SinkFault`` where the token cannot ask of any such place.
    """
    if is_email(place):
        return await _address(api, place)
    if is_member(place):
        return await _member(api, place, target)
    if not CHANNEL_ID.fullmatch(place):
        return f"that {place} takes messages is only known by sending one: use send-test {target}"
    return await _channel(api, place, target)


async def _channel(api: SlackApi, channel: str, target: str) -> str:
    info = await _asked(api, "conversations.info", {"channel": channel}, channel)
    if info is None:
        lacks = "channels:read, or groups:read for a private channel"
        return f"the channel could not be verified (the token lacks {lacks}): use send-test {target}"
    if at(info, "channel", "is_archived"):
        raise api.failure("is_archived", channel)
    if at(info, "channel", "is_member"):
        return f"it is a member of {channel}"
    if api.scopes is not None and _ANYWHERE not in api.scopes:
        raise api.failure("not_in_channel", channel)
    return f"it is no member of {channel}: /invite it there, unless it has {_ANYWHERE}"


async def _member(api: SlackApi, member: str, target: str) -> str:
    info = await _asked(api, "users.info", {"user": member}, member)
    if info is None:
        return f"the member could not be verified (the token lacks users:read): use send-test {target}"
    if at(info, "user", "deleted"):
        raise api.failure("user_disabled", member)
    return f"{member} is {api.shown(at(info, 'user', 'name'))}"


async def _address(api: SlackApi, address: str) -> str:
    found = await _asked(api, "users.lookupByEmail", {"email": address})
    if found is None:
        raise SinkFault(slack_errors.MISSING_SCOPE, slack_errors.CANNOT_FIND_PEOPLE)
    if at(found, "user", "deleted"):
        raise api.failure("user_disabled", address)
    return f"it belongs to {api.shown(at(found, 'user', 'name'))}"


async def _asked(api: SlackApi, method: str, arguments: dict[str, Any], channel: str = "") -> Any:
    """The answer; None where the token lacks the scope to ask."""
    try:
        return await api.call(method, arguments, channel=channel)
    except SinkFault as fault:
        if fault.reason != slack_errors.MISSING_SCOPE:
            raise
        return None
