"""Alerts: a rule's open problem with an entity, from the first look that shows it to its end. Pure.

How an alert goes on is decided in ``course``.

Moments are ISO 8601 in UTC, as everywhere in the store; they compare as text.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import msgspec

from notifier.core.owners import Owner
from notifier.models import Kind

EntityKey = tuple[Kind, str]
REMEMBERED = timedelta(days=30)  # how long an occurrence counts for "3rd time in 30 days"


class Phase(StrEnum):
    """Where an alert stands."""

    PENDING = "pending"  # the condition holds, not yet for long enough
    OPEN = "open"
    CLOSED = "closed"  # kept only to remember its occurrences


class End(StrEnum):
    """How an alert ended."""

    COMPLETED = "completed"
    MOVED = "moved"  # it has another status, or is not as the rule says any more
    REMOVED = "removed"  # Clasp lists it no longer
    RULE = "rule"  # the rule is another now, or gone


_SHOWN = ("status", "category", "carrier", "group_id")
_SHOWN_ABOVE = ("status", "employer", "broker_url")


class What(StrEnum):
    """What happened to an alert: the second half of an alert event's type."""

    OPENED = "opened"
    REMINDER = "reminder"
    ACKNOWLEDGED = "acknowledged"  # somebody has taken it
    RELEASED = "released"  # and has given it back
    SETTLED = "settled"  # it was unstable, and is open: said to people only
    RESOLVED = "resolved"


class Told(msgspec.Struct, frozen=True, array_like=True):
    """What the readers of one place know of an alert: by which message, '' where they are yet to be told.

    Of an alert that is over it says that they have yet to hear of the end. ``hushed``: the time to tell came,
    and nobody was to be disturbed. A program knows by ``TO_A_PROGRAM``: events, not messages.
    """

    message: str = ""
    hushed: bool = False


TO_A_PROGRAM = "-"


UNTIL_IT_CHANGES = "change"


class Taken(msgspec.Struct, frozen=True):
    """Who has taken an alert, and when. It is not reminded of ``until`` then; None: it is, as ever.

    ``until`` is a moment, or ``UNTIL_IT_CHANGES``: until something of its entity is seen to move.
    """

    by: str
    at: str
    until: str | None = None


class Taking(msgspec.Struct, frozen=True):
    """What a person asked for: these alerts (ids) are ``taken``; None: given back."""

    alerts: tuple[str, ...]
    taken: Taken | None = None


class Subject(msgspec.Struct, frozen=True, omit_defaults=True):
    """The entity of an alert, as it was last seen; ``connection`` is its connection's id.

    ``above`` are the connection's own fields. ``revision`` grows with whatever may open the alert.
    ``has_moved`` says that in this look anything of it, or under it, was seen to change, ``was`` what its
    status was in the look before.
    """

    kind: Kind
    id: str
    connection: str
    fields: dict[str, Any]
    above: dict[str, Any] = {}
    revision: int = 0
    has_moved: bool = False
    was: Any = None

    @property
    def status(self) -> Any:
        """Its status."""
        return self.fields.get("status")

    @property
    def employer(self) -> str:
        """The id of its employer; where nobody knows that, its connection's stands for one."""
        employer = self.above.get("employer")
        return employer if isinstance(employer, str) else self.connection


class Look(msgspec.Struct, frozen=True):
    """A look at the source: when it was, and when the last one before it was (None: never).

    ``is_first``: the first look of a rule, which finds what was there before anybody watched it: after a
    baseline, or where the rule is new.
    """

    at: str
    before: str | None = None
    is_first: bool = False


class Timing(msgspec.Struct, frozen=True):
    """What of a rule concerns time. Each maps a moment to a later one; None: the rule has no such thing.

    ``quiet`` is how long nothing may move before the condition holds, ``hold`` how long it must hold before
    the alert opens, ``remind`` the time from one message to the next.
    """

    quiet: Callable[[str], str] | None = None
    hold: Callable[[str], str] | None = None
    remind: Callable[[str], str] | None = None

    def due(self, since: str, *, is_existing: bool = False) -> str:
        """When an alert opens whose condition holds since then; what was there waits for no ``hold``."""
        due = self.quiet(since) if self.quiet else since
        return self.hold(due) if self.hold and not is_existing else due

    def again(self, now: str) -> str | None:
        """When the next reminder is due (None: never)."""
        return self.remind(now) if self.remind else None


class Alert(msgspec.Struct, frozen=True, omit_defaults=True):
    """One rule and one entity.

    ``since`` is when the condition was first seen to hold and ``since_after`` the last look without it; None
    there means that it may have held for long. ``was`` is the status before the last step. ``due`` is when
    the next step is to be taken. ``existing``: a first look found it. ``quiet``: it is about what does not
    move, and ``since`` is the last move. ``moved``: its entity has had more than one status since ``since``.
    ``opened_revision`` and ``said`` (events so far, over all its
    occurrences) make the ids of its events. ``id`` is this occurrence's, from its opening on; ``times`` are
    the moments of all, this one included.

    ``told`` maps each place (``sink`` or ``sink#channel``) whose readers are to know of it to what they know,
    ``last`` to the message in which an earlier occurrence ended. ``saying`` is what people are still to be
    told beside that; ``kept`` the same for places that were not to be disturbed, and was said elsewhere.
    ``past`` is the last occurrence that ended, where another one has begun. ``owner`` is who owned the entity
    when it opened; None: nobody has asked. ``seeks_owner``: that is for now, until what could not be looked
    up is known.

    ``moved_at`` is when anything of its entity was last seen to move since it opened. ``unstable`` is when it
    began to open and end again and again: people are told that, and the rest once it has settled.
    ``stale``: the messages that tell of it are yet to show how it is now.
    """

    rule: str
    subject: Subject
    phase: Phase
    since: str
    since_after: str | None = None
    was: Any = None
    due: str | None = None
    existing: bool = False
    quiet: bool = False
    moved: bool = False
    id: str = ""
    opened_at: str | None = None
    opened_revision: int = 0
    occurrence: int = 0
    said: int = 0
    times: tuple[str, ...] = ()
    told: dict[str, Told] = {}
    last: dict[str, str] = {}
    saying: What | None = None
    kept: What | None = None
    taken: Taken | None = None
    moved_at: str | None = None
    unstable: str | None = None
    stale: bool = False
    ended_at: str | None = None
    end: End | None = None
    past: Alert | None = None
    owner: Owner | None = None
    seeks_owner: bool = False

    @property
    def ended(self) -> Alert | None:
        """Its last occurrence that ended, if it ever did."""
        return self if self.phase is Phase.CLOSED and self.ended_at is not None else self.past

    @property
    def is_owed(self) -> bool:
        """Whether somebody is yet to be told something of it."""
        if self.phase is not Phase.OPEN:
            return bool(self.told)
        is_untold = any(not told.message or told.hushed for told in self.told.values())
        return self.saying is not None or self.stale or is_untold


def bare(subject: Subject) -> Subject:
    """What messages and lists show of an entity that is not watched now, and nothing more."""
    fields = {name: subject.fields[name] for name in _SHOWN if name in subject.fields}
    above = {name: subject.above[name] for name in _SHOWN_ABOVE if name in subject.above}
    return msgspec.structs.replace(subject, fields=fields, above=above)


def shifted(moment: str, by: timedelta) -> str:
    """The moment so much later."""
    return moment_text(datetime.fromisoformat(moment) + by)


def moment_text(at: datetime) -> str:
    """As every moment of an alert is written: UTC, to the millisecond."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
