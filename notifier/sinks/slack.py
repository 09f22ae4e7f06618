"""Messages for people: Slack, with a bot's token or an incoming webhook.

A bot's message about alerts is a living one: posted once, edited as things change, with its history in its
thread. An incoming webhook posts each piece of news as a message of its own. Every message of a bot carries
its delivery's id as metadata, by which one whose answer was lost is found again.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from notifier.config.people import is_person
from notifier.errors import ConfigError, DeliveryError, PermanentFailure, SinkFault
from notifier.models import Delivery, Part, Posted
from notifier.sinks import slack_errors
from notifier.sinks.contract import Attempt, Receipt, body_of
from notifier.sinks.session import PUBLIC, Access, Sessions
from notifier.sinks.slack_api import SlackApi
from notifier.sinks.slack_message import Message, render, reply
from notifier.sinks.slack_people import People
from notifier.sinks.slack_probe import CHANNEL_ID, Probe
from notifier.sinks.values import at

_DIRECT = "D"  # begins the id of a direct message's channel
_EVENT_TYPE = "clasp_notifier"
_LOOKED_AT = 100  # messages, newest first, among which one that may be there is looked for


class SlackSink:
    """One Slack workspace; ``channel`` is where messages go unless the delivery says another.

    Either ``token`` or ``webhook_url``.
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
        access: Access = PUBLIC,
    ) -> None:
        if (token is None) == (webhook_url is None):
            raise ConfigError(f"sinks.{name}: needs either token or webhook_url")
        if token is not None and channel is None:
            raise ConfigError(f"sinks.{name}.channel: is needed with token")
        self.name = name
        self.deadline = deadline
        self._webhook_url = webhook_url
        self._channel = channel or ""
        self._api = SlackApi(
            name,
            sessions=sessions,
            deadline=deadline,
            url=webhook_url or api_url,
            token=token,
            own_channel=self._channel,
            access=access,
        )
        self._people = People(self._api if token is not None else None, deadline)
        self._probe = Probe(self._api)
        self._channel_ids: dict[str, str] = {}  # by the names that messages went to
        self._home: str | None = None  # the workspace's address, once it was asked for; '' is none

    async def send(self, delivery: Delivery, attempt: Attempt) -> Receipt:
        """Post the message for an event, once; of a living message, what is new of it."""
        posted = attempt.posted if attempt.posted and attempt.posted.ts else None
        if self._webhook_url is not None:
            if delivery.part is Part.ROOT and attempt.posted is not None:
                return Receipt()  # a webhook's message cannot be changed
            body = body_of(delivery)
            message = render(
                body, is_repeat=attempt.may_repeat, mentions=await self._mentions(body, delivery, attempt)
            )
            status = await self._api.post(self._webhook_url, _inert(message), attempt.at)
            return _receipt(delivery, attempt, status=status)
        if posted is not None:
            try:
                if delivery.part is Part.ROOT:
                    return await self._edit(delivery, attempt, posted)
                return await self._post(delivery, attempt, posted)
            except DeliveryError as error:
                if error.reason not in slack_errors.LOST:
                    raise
        return await self._post(delivery, attempt)

    async def _post(self, delivery: Delivery, attempt: Attempt, thread: Posted | None = None) -> Receipt:
        """A new message, or a reply in a thread; in our own channel where a person cannot be written to."""
        person = delivery.target
        if thread is not None or person is None or not is_person(person):
            channel = thread.channel if thread else person or self._channel
            return await self._post_at(channel, delivery, attempt, thread)
        member = await self._people.member(person, attempt.at)
        if member is not None:
            try:
                return await self._post_at(member, delivery, attempt)
            except DeliveryError as error:
                if error.reason not in slack_errors.UNREACHABLE:
                    raise
        return await self._post_at(self._channel, delivery, attempt, missed=person)

    async def _post_at(
        self,
        channel: str,
        delivery: Delivery,
        attempt: Attempt,
        thread: Posted | None = None,
        *,
        missed: str | None = None,
    ) -> Receipt:
        """The same at a certain channel; a message that may be there already is looked for first."""
        found, has_looked = None, False
        if attempt.may_repeat:
            found, has_looked = await self._find(delivery.id, channel, thread)
        if found is not None and delivery.part is Part.ROOT:  # what it shows may be of an earlier version
            return await self._edit(delivery, attempt, Posted(*found, version=0))
        if found is not None:
            return _receipt(delivery, attempt, *found)
        is_repeat = attempt.may_repeat and not has_looked
        body = body_of(delivery)
        metadata = {"event_type": _EVENT_TYPE, "event_payload": {"id": delivery.id}}
        arguments: dict[str, Any] = {"channel": channel, "metadata": metadata}
        mentions = await self._mentions(body, delivery, attempt)
        if thread is None:
            previous = await self._address(attempt.previous)
            message = render(body, previous=previous, is_repeat=is_repeat, mentions=mentions, missed=missed)
            arguments |= _inert(message)
        else:
            arguments |= _inert(reply(body, is_repeat=is_repeat, mentions=mentions))
            arguments |= {"thread_ts": thread.ts, "reply_broadcast": delivery.part is Part.NEWS}
        answer = await self._api.call("chat.postMessage", arguments, channel=channel, now=attempt.at)
        where, ts = answer.get("channel"), answer.get("ts")
        if not isinstance(where, str) or not isinstance(ts, str):
            where = ts = ""
        self._channel_ids[channel] = where
        return _receipt(delivery, attempt, where, ts)

    async def _edit(self, delivery: Delivery, attempt: Attempt, posted: Posted) -> Receipt:
        """Change a message that was posted. It mentions nobody: what is new is said beside it."""
        person = delivery.target
        is_missed = person is not None and is_person(person) and not posted.channel.startswith(_DIRECT)
        previous = await self._address(attempt.previous)
        message = render(body_of(delivery), previous=previous, missed=person if is_missed else None)
        arguments = {
            "channel": posted.channel,
            "ts": posted.ts,
            "text": message.text,
            "blocks": message.blocks,
            "parse": "none",
            "link_names": False,
        }
        await self._api.call("chat.update", arguments, channel=posted.channel, now=attempt.at)
        return _receipt(delivery, attempt, posted.channel, posted.ts)

    async def _mentions(self, body: Any, delivery: Delivery, attempt: Attempt) -> str:
        """Whom a message mentions: only where it is news, not where one that was lost is posted anew."""
        is_news = delivery.part is not Part.ROOT or attempt.posted is None
        return await self._people.mentions(at(body, "data", "mention") if is_news else None, attempt.at)

    async def _find(
        self, id_: str, channel: str, thread: Posted | None
    ) -> tuple[tuple[str, str] | None, bool]:
        """Where a delivery is that was posted without our knowing, and whether we were let look for it."""
        where = channel if CHANNEL_ID.fullmatch(channel) else self._channel_ids.get(channel)
        if not where:
            return None, False
        arguments = {"channel": where, "limit": str(_LOOKED_AT), "include_all_metadata": "true"}
        method = "conversations.history"
        if thread is not None:
            arguments["ts"], method = thread.ts, "conversations.replies"
        try:
            answer = await self._api.call(method, arguments)
        except (SinkFault, PermanentFailure):  # most likely the token lacks the scope
            return None, False
        messages = answer.get("messages")
        for message in messages if isinstance(messages, list) else ():
            if isinstance(message, dict) and _id_of(message) == id_ and isinstance(message.get("ts"), str):
                return (where, message["ts"]), True
        return None, thread is None or answer.get("has_more") is not True  # threads: the oldest come first

    async def _address(self, posted: Posted | None) -> str | None:
        """The address of a message; None where it is not known."""
        if posted is None or not posted.ts:
            return None
        try:
            return await self.address(f"{posted.channel}/{posted.ts}")
        except DeliveryError:
            return None  # the message is worth more than its link

    async def address(self, place: str) -> str | None:
        """The permalink of a message, from the place that its receipt told; None where there is none."""
        channel, _, ts = place.partition("/")
        if self._home is None:
            home = (await self._api.call("auth.test", {})).get("url")
            self._home = home.rstrip("/") if isinstance(home, str) and home.startswith("https://") else ""
        return f"{self._home}/archives/{channel}/p{ts.replace('.', '')}" if self._home else None

    async def probe(self) -> str:
        """Who the token belongs to, and whether the channel is there, as far as that can be asked."""
        if self._webhook_url is not None:
            return "an incoming webhook cannot be tried without sending a message: use send-test"
        told = await self._probe.token()
        return f"{told}; {await self._probe.place(self._channel, self.name)}"

    async def probe_place(self, place: str) -> str:
        """The same of another channel, or of a person, whom a token reaches. Raises a ``DeliveryError``."""
        return await self._probe.place(place, f'"{self.name}#{place.removeprefix("#")}"')

    async def close(self) -> None:
        """Nothing: the sessions are shared, and closed by whoever made them."""


def _receipt(
    delivery: Delivery, attempt: Attempt, channel: str = "", ts: str = "", *, status: int = 200
) -> Receipt:
    """Where it was posted; of a living message for the next time as well."""
    posted = Posted(channel, ts, attempt.version) if delivery.part is Part.ROOT else None
    return Receipt(status, posted, place=f"{channel}/{ts}" if ts else "")


def _id_of(message: Mapping[str, Any]) -> Any:
    """The delivery that a message in a channel was posted for."""
    metadata = message.get("metadata")
    payload = metadata.get("event_payload") if isinstance(metadata, dict) else None
    return payload.get("id") if isinstance(payload, dict) else None


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
