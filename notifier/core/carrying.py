"""Which deliveries carry an event: its own, and parts of messages by which people hear of alerts. Pure.

A program gets an event under the event's id. People get messages: of an alert's opening the message itself,
or a reply beside one that was there; of its end a reply, and the message is edited. A delivery of a message
bears the message's id, not the event's: it is found by what the alert knows of its messages, by its moment,
and by the name of the reply. A message shows all that it tells of, so any version of it carries what was new
in an earlier one that was not sent.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from enum import StrEnum

import msgspec

from notifier.core.alerts import TO_A_PROGRAM, Alert, Phase, What
from notifier.core.events import Event, alert_event_id
from notifier.core.messages import By, message_id, reply_name

_SHOWN = (What.OPENED, What.RESOLVED, What.ACKNOWLEDGED, What.RELEASED)  # by the message, beside any reply
_ONCE = (What.OPENED, What.RESOLVED)  # in an occurrence
_TYPES = frozenset(f"alert.{what}" for what in What)
_OF_SEVERAL = "alert.group"
_HASH = 32  # characters


class Way(StrEnum):
    """How a delivery carries an event."""

    EVENT = "event"  # as itself
    POST = "post"  # a message that was not there
    EDIT = "edit"  # a message, as it is now
    REPLY = "reply"  # beside a message


class Sighting(msgspec.Struct, frozen=True):
    """A delivery that was tried, waits or is a dead letter; ``at`` is '' of what waits."""

    id: str
    type: str
    at: str = ""
    is_delivered: bool = False


class Heard(msgspec.Struct, frozen=True):
    """A message by which people hear of ``what`` happened to an alert at a moment.

    ``replies`` are the ids that a reply about that alone may have.
    """

    message: str
    what: What
    at: str
    replies: frozenset[str]


class Trail(msgspec.Struct, frozen=True):
    """What carries an event: deliveries with the ids of ``events``, and parts of messages."""

    events: frozenset[str]
    heard: tuple[Heard, ...] = ()

    @property
    def messages(self) -> set[str]:
        """The ids of the messages."""
        return {heard.message for heard in self.heard}

    def ways(self, seen: Sequence[Sighting]) -> dict[str, Way]:
        """Of these deliveries, in the order in which they were tried, those that carry it: id -> how."""
        found = {one.id: Way.EVENT for one in seen if one.id in self.events}
        parts: dict[str, list[Sighting]] = {}
        for one in seen:
            parts.setdefault(message_of(one.id), []).append(one)
        for heard in self.heard:
            found |= _ways(heard, parts.get(heard.message, ()))
        return found


def message_of(id_: str) -> str:
    """The message that a delivery is a part of, or the event that it is."""
    return id_.partition(".")[0]


def trail(event: Event, of_alerts: Collection[Event], alerts: Collection[Alert]) -> Trail:
    """What to look for; ``of_alerts`` are those by which it is told, ``alerts`` those of its entity now."""
    heard = [one for other in of_alerts for one in _heard(other, alerts)]
    return Trail(frozenset((event.id, *(one.id for one in of_alerts))), tuple(heard))


def told_by(event: Event, later: Iterable[Event]) -> list[Event]:
    """The events of alerts that tell of an event: itself, or those that it began or ended."""
    if event.type.startswith("alert."):
        return [event]
    return [other for other in later if _is_due_to(other, event)]


def occurrence(alert: Alert, event: Event) -> Alert | None:
    """Of an alert, the occurrence that an event of it is about; None where that is forgotten."""
    id_ = event.data["alert"].get("id")
    return next((one for one in (alert, alert.ended) if one is not None and one.id == id_), None)


def _is_due_to(other: Event, event: Event) -> bool:
    """Whether this is what the event began or ended."""
    if _entity(other) != _entity(event):
        return False
    alert = other.data.get("alert", {})
    begun = {"alert.opened": alert.get("since"), "alert.resolved": alert.get("ended_at")}
    return begun.get(other.type) == event.timestamp


def _entity(event: Event) -> object:
    return event.data.get("entity", {}).get("id")


def _heard(event: Event, alerts: Collection[Alert]) -> Iterator[Heard]:
    if event.type not in _TYPES:
        return  # of a later release
    what = What(event.type.partition(".")[2])
    for alert in (one for one in alerts if one.rule == event.data.get("rule")):
        then = occurrence(alert, event)
        if then is not None:
            messages, names = _messages(alert, then), {*_names(event, what, alert, then)}
        else:
            messages, names = _begun(event, alert), {*_any_names(event, what, alert)}
        for message in messages:
            yield Heard(message, what, event.timestamp, frozenset(f"{message}.{name}" for name in names))


def _messages(alert: Alert, then: Alert) -> set[str]:
    """The messages that told of an occurrence."""
    is_over = alert.phase is not Phase.OPEN
    told = {one.message for one in alert.told.values()} if is_over or then is alert else set()
    last = {*alert.last.values()} if is_over or then is not alert else set()
    return (told | last) - {"", TO_A_PROGRAM}


def _begun(event: Event, alert: Alert) -> set[str]:
    """The messages that an occurrence may have begun which is forgotten; nothing tells which it joined."""
    id_ = event.data["alert"]["id"]
    return {
        message_id(place, by, id_, str(said), "")
        for place in {*alert.told, *alert.last}
        for by in By
        for said in range(alert.said + 1)
    }


def _any_names(event: Event, what: What, alert: Alert) -> Iterator[str]:
    yield from (reply_name(what, [(event.data["alert"]["id"], said)]) for said in range(alert.said + 1))


def _names(event: Event, what: What, alert: Alert, then: Alert) -> Iterator[str]:
    """The names of replies about nothing else; what happens once may have been said later than was seen."""
    source, epoch = event.data["source"], event.data["epoch"]
    saids = range(alert.said + 1)
    first = next((n for n in saids if alert_event_id(then, what, n, source, epoch) == event.id), None)
    if first is not None:
        for said in range(first, alert.said + 1 if what in _ONCE else first + 1):
            yield from (reply_name(what, [(id_, said)]) for id_ in {then.id, alert.id})


def _ways(heard: Heard, seen: Sequence[Sighting]) -> dict[str, Way]:
    """Of a message's deliveries those that carry it: up to the first that shows it, and the replies."""
    found: dict[str, Way] = {}
    is_posted, is_shown, is_new, reply = True, False, False, ""
    for one in seen:
        if version := _version(one.id):
            is_posted = is_posted and version > 1
            if _is_since(one, heard) and not is_shown and heard.what in _SHOWN:
                found[one.id] = Way.EDIT if is_posted else Way.POST
                is_new = is_new or version == 1
                is_shown = one.is_delivered
            is_posted = is_posted or one.is_delivered
        elif one.id in heard.replies and _is_since(one, heard):
            reply = reply or one.id
    if not reply and not is_new:
        reply = _of_several(heard, seen)
    return {**found, reply: Way.REPLY} if reply else found


def _of_several(heard: Heard, seen: Sequence[Sighting]) -> str:
    """The first reply since then that is about several alerts: nothing says which they are."""
    replies = (one for one in seen if one.type == _OF_SEVERAL and not _version(one.id))
    return next((one.id for one in replies if _is_since(one, heard)), "")


def _version(id_: str) -> int:
    """Which version of its message a delivery is to show; 0 where it is a reply, whose name is a hash."""
    name = id_.partition(".")[2]
    return int(name) if name.isdecimal() and len(name) < _HASH else 0


def _is_since(one: Sighting, heard: Heard) -> bool:
    return not one.at or one.at >= heard.at
