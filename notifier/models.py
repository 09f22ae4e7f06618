"""The values that flow through the notifier, small and frozen.

``Observed*`` is what one response of the source said; ``*State`` is what was last committed;
:class:`Transition` is a step from one to the other; :class:`Delivery` is what is owed to one sink. This
module knows nothing of HTTP, Redis or time.

Fields are kept in plain dicts from field name to JSON value. A field that is not in the dict is *unknown*:
it was absent from the response, or had a type that the API does not document. Unknown is not null: an
unknown field never makes a transition and keeps its last committed value.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

Fields = Mapping[str, Any]


class Kind(StrEnum):
    """The three kinds of entity."""

    CONNECTION = "connection"
    GROUP_CONNECTION = "group_connection"
    MILESTONE = "milestone"


#: The fields of each kind whose change is a transition. A milestone's ``created_at`` is told, not tracked.
TRACKED: Mapping[Kind, tuple[str, ...]] = {
    Kind.CONNECTION: ("status", "broker_url", "employer"),
    Kind.GROUP_CONNECTION: (
        "status",
        "carrier",
        "group_id",
        "initiated_at",
        "completed_at",
        "broker_federal_ein",  # only where a sink's configuration asks for it
    ),
    Kind.MILESTONE: ("status", "category"),
}


def tracked(kind: Kind, fields: Fields) -> dict[str, Any]:
    """The fields of an entity that state and diff know, in a fixed order."""
    return {name: fields[name] for name in TRACKED[kind] if name in fields}


def is_report(type_: str) -> bool:
    """Whether an event of this type is something that the notifier says of itself."""
    return type_.startswith("notifier.")


class Observed(msgspec.Struct, frozen=True):
    """A group connection or milestone as one response showed it.

    ``fields`` may be empty: an item with a readable id that does not decode counts as seen, nothing more.
    """

    id: str
    fields: dict[str, Any]


class ObservedConnection(msgspec.Struct, frozen=True):
    """A connection as one response showed it. ``None`` for a list means that it could not be read.

    ``groups_whole`` and ``milestones_whole`` are False where an item of the list had no readable id: then
    absence from it proves nothing. ``drift`` says in a few words each what was not as documented.
    """

    id: str
    fields: dict[str, Any]
    group_connections: tuple[Observed, ...] | None
    milestones: tuple[Observed, ...] | None
    groups_whole: bool = True
    milestones_whole: bool = True
    drift: tuple[str, ...] = ()


class EntityState(msgspec.Struct, frozen=True):
    """A group connection or milestone as last committed. ``removed_at``: Unix seconds, or None while live."""

    fields: dict[str, Any]
    revision: int = 0
    removed_at: int | None = None


class ConnectionState(msgspec.Struct, frozen=True):
    """A connection with everything under it, as last committed.

    ``sequence`` counts the transitions of the connection and of everything under it; ``revision`` those
    of the connection itself.
    """

    fields: dict[str, Any]
    group_connections: dict[str, EntityState]
    milestones: dict[str, EntityState]
    sequence: int = 0
    revision: int = 0
    removed_at: int | None = None


class Transition(msgspec.Struct, frozen=True):
    """One entity's step from its committed state to the observed one.

    ``verb`` is the second half of an event type. ``changed`` maps a field other than the status to its old
    and new value. ``fields`` is the whole entity: as observed, or as last seen where it was removed.
    """

    kind: Kind
    id: str
    verb: str
    from_status: Any
    to_status: Any
    changed: dict[str, list[Any]]
    fields: dict[str, Any]
    revision: int
    sequence: int

    @property
    def type(self) -> str:
        """The event type, ``group_connection.status_changed``."""
        return f"{self.kind}.{self.verb}"


UNREADABLE = "unreadable"  # the type of what is no delivery of this release


class Part(StrEnum):
    """What of a living message a delivery is."""

    ROOT = "root"  # the message itself: posted, and edited from then on
    REPLY = "reply"  # in its thread
    NEWS = "news"  # in its thread, and shown in the channel as well


class Posted(msgspec.Struct, frozen=True):
    """Where a living message was posted, and which version of it is shown there."""

    channel: str
    ts: str
    version: int


class Delivery(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is owed to one sink.

    ``id`` is the event's id: the same on every attempt and for ever. ``body`` is the frozen JSON text of
    the event as event sinks send it; message sinks parse it and render it for people. ``target`` overrides
    the sink's default channel.

    ``message`` is the id of the living message that it is a ``part`` of, if any. The body of a ROOT is what
    the message shows when it is sent. ``previous`` is a message to link to.
    """

    id: str
    type: str
    rule: str
    body: str
    target: str | None = None
    message: str | None = None
    part: Part | None = None
    previous: str | None = None

    @property
    def is_unreadable(self) -> bool:
        """Whether it stands for what could not be read as a delivery: then ``body`` is its text."""
        return self.type == UNREADABLE


class Owed(msgspec.Struct, frozen=True):
    """A delivery on its way into a commit: to which sink, and in which lane (ordering key)."""

    sink: str
    key: str
    delivery: Delivery
