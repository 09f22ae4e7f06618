"""Alerts: a rule's open problem with an entity, from the first look that shows it to its end. Pure.

An alert waits until its time has come, opens, is reminded of, and is resolved. Time passes only when somebody
has looked: every step is decided in a poll that saw the source, from what was committed and what was seen,
so a restart or a takeover in between changes nothing.

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
_MOST_REMEMBERED = 100


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


class What(StrEnum):
    """What happened to an alert: the second half of an alert event's type."""

    OPENED = "opened"
    REMINDER = "reminder"
    RESOLVED = "resolved"


class Told(msgspec.Struct, frozen=True, array_like=True):
    """What the readers of one place know of an alert: by which message, '' where they are yet to be told.

    Of an alert that is over it says that they have yet to hear of the end. ``hushed``: the time to tell came,
    and nobody was to be disturbed. A program knows by ``TO_A_PROGRAM``: events, not messages.
    """

    message: str = ""
    hushed: bool = False


TO_A_PROGRAM = "-"


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
    move, and ``since`` is the last move. ``opened_revision`` and ``said`` (events so far, over all its
    occurrences) make the ids of its events. ``id`` is this occurrence's, from its opening on; ``times`` are
    the moments of all, this one included.

    ``told`` maps each place (``sink`` or ``sink#channel``) whose readers are to know of it to what they know,
    ``last`` to the message in which an earlier occurrence ended. ``remind``: a reminder is still to be said.
    ``past`` is the last occurrence that ended, where another one has begun. ``owner`` is who owned the entity
    when it opened; None: nobody has asked.
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
    id: str = ""
    opened_at: str | None = None
    opened_revision: int = 0
    occurrence: int = 0
    said: int = 0
    times: tuple[str, ...] = ()
    told: dict[str, Told] = {}
    last: dict[str, str] = {}
    remind: bool = False
    ended_at: str | None = None
    end: End | None = None
    past: Alert | None = None
    owner: Owner | None = None

    @property
    def ended(self) -> Alert | None:
        """Its last occurrence that ended, if it ever did."""
        return self if self.phase is Phase.CLOSED and self.ended_at is not None else self.past

    @property
    def is_owed(self) -> bool:
        """Whether somebody is yet to be told something of it."""
        if self.phase is not Phase.OPEN:
            return bool(self.told)
        return self.remind or any(not told.message or told.hushed for told in self.told.values())


class Step(msgspec.Struct, frozen=True):
    """An alert after a look (None: it is forgotten), and what happened to it, if anything did.

    ``ended`` is the alert as it ended, where another wait has begun in its place.
    """

    alert: Alert | None
    what: What | None = None
    ended: Alert | None = None


def observe(
    alert: Alert | None, rule: str, timing: Timing, subject: Subject, look: Look, *, matches: bool
) -> Step:
    """The alert after its entity was seen as ``subject``, which ``matches`` the rule's condition or not."""
    if alert is None or alert.phase is Phase.CLOSED:
        return _begin(alert, rule, timing, subject, look) if matches else Step(alert)
    has_moved = timing.quiet is not None and subject.has_moved
    if matches and not has_moved:
        seen = msgspec.structs.replace(alert, subject=subject)
        return Step(_retimed(seen, timing, look) if look.is_first else seen)
    if alert.phase is Phase.OPEN:
        closed = _closed(alert, subject, look, _how(subject))
        if not matches:
            return closed
        begun = _begin(closed.alert, rule, timing, subject, look).alert  # it waits for the next silence
        return Step(begun, closed.what, closed.alert)
    before = _remembered(alert, look.at)
    return _begin(before, rule, timing, subject, look) if matches else Step(before)


def removed(alert: Alert, look: Look) -> Step:
    """The alert after its entity was removed."""
    if alert.phase is Phase.OPEN:
        return _closed(alert, alert.subject, look, End.REMOVED)
    return Step(_remembered(alert, look.at) if alert.phase is Phase.PENDING else alert)


def dismissed(alert: Alert, look: Look) -> Step:
    """The alert after its rule was taken out, or asks for something else."""
    if alert.phase is Phase.OPEN:
        return _closed(alert, alert.subject, look, End.RULE)
    return Step(_remembered(alert, look.at) if alert.phase is Phase.PENDING else alert)


def tick(alert: Alert, timing: Timing, now: str) -> Step:
    """The alert after time has passed, where its entity was seen to be as before."""
    if alert.due is None or alert.due > now:
        return Step(alert)
    if alert.phase is Phase.PENDING:
        return _opened(alert, timing, now)
    if alert.phase is Phase.OPEN:
        due = timing.again(now)
        reminded = msgspec.structs.replace(alert, due=due, said=alert.said + 1, remind=True)
        return Step(reminded, What.REMINDER)
    return Step(None)  # what it remembered is too old to count


def _begin(before: Alert | None, rule: str, timing: Timing, subject: Subject, look: Look) -> Step:
    """The condition holds, and did not in the look before."""
    is_existing = look.is_first and timing.quiet is None
    alert = Alert(
        rule,
        subject,
        Phase.PENDING,
        since=look.at,
        since_after=None if look.is_first else look.before,
        was=subject.was,
        due=timing.due(look.at, is_existing=is_existing),  # what was there may have been for long
        existing=is_existing,
        quiet=timing.quiet is not None,
    )
    if before is not None:
        ended = before.ended
        alert = msgspec.structs.replace(
            alert,
            said=before.said,
            times=before.times,
            told=before.told,
            last=before.last,
            past=ended and msgspec.structs.replace(ended, times=(), told={}, last={}, past=None),
        )
    return tick(alert, timing, look.at)


def _retimed(alert: Alert, timing: Timing, look: Look) -> Alert:
    """Its rule has other times now."""
    due = timing.due(alert.since) if alert.phase is Phase.PENDING else timing.again(look.at)
    return msgspec.structs.replace(alert, due=due)


def _opened(alert: Alert, timing: Timing, now: str) -> Step:
    times = (*_recent(alert.times, now), now)[-_MOST_REMEMBERED:]
    opened = msgspec.structs.replace(
        alert,
        phase=Phase.OPEN,
        opened_at=now,
        opened_revision=alert.subject.revision,
        occurrence=len(times),
        said=alert.said + 1,
        due=timing.again(now),
        times=times,
    )
    return Step(opened, What.OPENED)


def _closed(alert: Alert, subject: Subject, look: Look, how: End) -> Step:
    closed = msgspec.structs.replace(
        alert,
        subject=subject,
        phase=Phase.CLOSED,
        was=alert.subject.status,
        ended_at=look.at,
        end=how,
        remind=False,
        said=alert.said + 1,
        due=_forget_at(alert.times),
    )
    return Step(closed, What.RESOLVED)


def _how(subject: Subject) -> End:
    return End.COMPLETED if subject.status == "completed" else End.MOVED


def _remembered(alert: Alert, now: str) -> Alert | None:
    """What is left of a wait that came to nothing: the occurrences before it, if any still count."""
    times = _recent(alert.times, now)
    if not times and not alert.told:
        return None
    return msgspec.structs.replace(
        alert, phase=Phase.CLOSED, due=_forget_at(times) or now, times=times, ended_at=None
    )


def _recent(times: tuple[str, ...], now: str) -> tuple[str, ...]:
    oldest = shifted(now, -REMEMBERED)
    return tuple(at for at in times if at >= oldest)


def _forget_at(times: tuple[str, ...]) -> str | None:
    return shifted(times[-1], REMEMBERED) if times else None


def shifted(moment: str, by: timedelta) -> str:
    """The moment so much later."""
    return moment_text(datetime.fromisoformat(moment) + by)


def moment_text(at: datetime) -> str:
    """As every moment of an alert is written: UTC, to the millisecond."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
