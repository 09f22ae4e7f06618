"""Messages: by which the readers of a place are told of alerts. Pure.

A message tells of one alert or of several that belong together. It is a living thing: what is owed to a sink
is to show it as it is now, so what is shown is kept in the store, written by the commit that changed it. What
is news is said in a reply beside it, for an edit tells nobody anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import timedelta
from enum import StrEnum
from typing import Any

import msgspec

from notifier.config import Target
from notifier.core.alerts import What, shifted
from notifier.core.events import digest
from notifier.models import Delivery, Owed, Part


class By(StrEnum):
    """What the alerts of a message have in common."""

    ENTITY = "entity"
    EMPLOYER = "employer"
    CARRIER = "carrier"
    STORM = "storm"  # too many at once for a message each
    FIRST_LOOK = "first_look"  # they were there when their rule began
    NET = "net"  # what is left to tell after a time in which nobody was to be disturbed


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message at a place (a sink, and a channel if not its own).

    ``value`` is what its alerts share: an employer's or carrier's id. It takes newcomers before ``until``.
    ``version`` counts what it has shown. ``previous`` is the message that told of the occurrence before.
    """

    id: str
    sink: str
    target: str | None
    rule: str
    by: By
    value: str
    since: str
    until: str
    version: int = 0
    previous: str | None = None

    @property
    def place(self) -> str:
        """``sink`` or ``sink#channel``."""
        return place_of(Target(self.sink, self.target))


class Page(msgspec.Struct, frozen=True):
    """A message as the store keeps it; ``show`` is what it shows now, the JSON of an event's body."""

    message: Message
    show: msgspec.Raw = msgspec.Raw(b"{}")


_KEPT = timedelta(days=31)  # longer than the occurrences that it told of are remembered


def is_past(message: Message, now: str) -> bool:
    """Whether a message in which nothing lasts can be forgotten."""
    return shifted(message.until, _KEPT) < now


def place_of(target: Target) -> str:
    """``sink`` or ``sink#channel``."""
    return target.sink if target.target is None else f"{target.sink}#{target.target.removeprefix('#')}"


def message_id(*founded_by: str) -> str:
    """The id of a message, from what began it and nothing else.

    So what is begun again after the store lost its last second has the same one.
    """
    return "msg_" + digest(founded_by)


def first_look_id(place: str, rule: str, look: str) -> str:
    """The id of the message about what the first look of a rule found."""
    return message_id(place, By.FIRST_LOOK, rule, look)


def page_text(message: Message, show: Mapping[str, Any]) -> str:
    """The text of a :class:`Page`."""
    return json.dumps({"message": msgspec.to_builtins(message), "show": show})


def root(message: Message, type_: str) -> Owed:
    """The duty to show a message as it is when it is sent."""
    return _owed(message, f"{message.id}.{message.version}", type_, "", Part.ROOT)


def reply(message: Message, said: str, show: Mapping[str, Any], *, is_loud: bool) -> Owed:
    """The duty to say something beside a message, once under this name; ``is_loud``: to the whole channel."""
    part = Part.NEWS if is_loud else Part.REPLY
    return _owed(message, f"{message.id}.{said}", str(show["type"]), json.dumps(show), part)


def reply_name(what: What, told: Iterable[tuple[str, int]]) -> str:
    """The name of a reply that says this of alerts: their ids, and how many events had been said of each."""
    return digest(what, [*told])


def _owed(message: Message, id_: str, type_: str, body: str, part: Part) -> Owed:
    delivery = Delivery(id_, type_, message.rule, body, message.target, message.id, part, message.previous)
    return Owed(message.sink, message.id, delivery)
