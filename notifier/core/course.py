"""The course of an alert: it waits until its time has come, opens, is reminded of, and is resolved. Pure.

Time passes only when somebody has looked: every step is decided in a poll that saw the source, from what was
committed and what was seen, so a restart or a takeover in between changes nothing.

What opens and ends again and again is unstable until it has kept still for a while. That changes nothing of
its course, only what people are told of it meanwhile.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec

from notifier.core.alerts import (
    REMEMBERED,
    UNTIL_IT_CHANGES,
    Alert,
    End,
    Look,
    Phase,
    Subject,
    Taken,
    Timing,
    What,
    shifted,
)

_MOST_REMEMBERED = 100
_FLAP = timedelta(hours=1)  # what opens again so soon is unstable
_SETTLED = timedelta(minutes=30)  # and has settled after so long without an opening or an end


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
        moved = alert.moved or subject.status != alert.subject.status
        seen = _moved(msgspec.structs.replace(alert, subject=subject, moved=moved), look)
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
    return _finished(alert, look, End.REMOVED)


def dismissed(alert: Alert, look: Look) -> Step:
    """The alert after its rule was taken out, or asks for something else."""
    return _finished(alert, look, End.RULE)


def _finished(alert: Alert, look: Look, how: End) -> Step:
    """It will not come again soon, so it is not unstable any more."""
    if alert.unstable is not None:
        alert = msgspec.structs.replace(alert, unstable=None, due=_forget_at(alert.times))
    if alert.phase is Phase.OPEN:
        return _closed(alert, alert.subject, look, how)
    return Step(_remembered(alert, look.at) if alert.phase is Phase.PENDING else alert)


def tick(alert: Alert, timing: Timing, now: str) -> Step:
    """The alert after time has passed, where its entity was seen to be as before."""
    if alert.due is None or alert.due > now:
        return Step(alert)
    if alert.phase is Phase.PENDING and alert.unstable is not None:
        opens = timing.due(alert.since, is_existing=alert.existing)
        if opens > now:  # it has settled, waiting
            return Step(msgspec.structs.replace(alert, unstable=None, due=opens))
    if alert.phase is Phase.PENDING:
        return _opened(alert, timing, now)
    if alert.unstable is not None:
        return Step(_settled(alert, timing, now))
    if alert.phase is Phase.OPEN:
        reminded = msgspec.structs.replace(
            alert, due=timing.again(now), said=alert.said + 1, saying=What.REMINDER, taken=_awake(alert.taken)
        )
        return Step(reminded, What.REMINDER)
    return Step(None)  # what it remembered is too old to count


def take(alert: Alert, taken: Taken | None, timing: Timing, now: str) -> Step:
    """The alert after a person has taken it, or given it back (None). Only what is open can be taken.

    Who has it already has it since then.
    """
    if taken is not None and alert.taken is not None and taken.by == alert.taken.by:
        taken = msgspec.structs.replace(taken, at=alert.taken.at)
    if alert.phase is not Phase.OPEN or alert.taken == taken:
        return Step(alert)
    what = What.RELEASED if taken is None else What.ACKNOWLEDGED
    after = msgspec.structs.replace(alert, taken=taken, said=alert.said + 1, saying=what)
    is_due = (alert.taken and alert.taken.until) or (taken and taken.until)  # else all goes on as it was
    return Step(msgspec.structs.replace(after, due=_due(after, timing, now)) if is_due else after, what)


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
            unstable=before.unstable,
            past=ended and msgspec.structs.replace(ended, times=(), told={}, last={}, past=None),
        )
    step = tick(alert, timing, look.at)
    if step.what is None and alert.due is not None:
        return Step(msgspec.structs.replace(alert, due=_or_settled(alert, alert.due)))
    return step


def _retimed(alert: Alert, timing: Timing, look: Look) -> Alert:
    """Its rule has other times now."""
    is_waiting = alert.phase is Phase.PENDING
    due = _or_settled(alert, timing.due(alert.since)) if is_waiting else _due(alert, timing, look.at)
    return msgspec.structs.replace(alert, due=due)


def _or_settled(alert: Alert, due: str) -> str:
    """The next step of what is not open, or when it has settled, if it is unstable and that is sooner."""
    ended_at = alert.past.ended_at if alert.past is not None else None
    if alert.unstable is None or ended_at is None:
        return due
    return min(due, shifted(ended_at, _SETTLED))


def _moved(alert: Alert, look: Look) -> Alert:
    """Note that something of its entity has moved, which ends a wait for that."""
    if not alert.subject.has_moved or alert.phase is not Phase.OPEN:
        return alert
    is_awaited = alert.taken is not None and alert.taken.until == UNTIL_IT_CHANGES and not alert.unstable
    return msgspec.structs.replace(alert, moved_at=look.at, due=look.at if is_awaited else alert.due)


def _awake(taken: Taken | None) -> Taken | None:
    return taken and msgspec.structs.replace(taken, until=None)


def _due(alert: Alert, timing: Timing, now: str) -> str | None:
    """When the next step of an open alert is to be taken."""
    if alert.unstable is not None:
        return shifted(alert.opened_at or now, _SETTLED)
    if alert.taken is None or alert.taken.until is None:
        return timing.again(now)
    if alert.taken.until != UNTIL_IT_CHANGES:
        return alert.taken.until
    return alert.moved_at if alert.moved_at is not None and alert.moved_at > alert.taken.at else None


def _settled(alert: Alert, timing: Timing, now: str) -> Alert:
    """It stays as it is now, and people are told how that is; of what is over they hear that it is."""
    calm = msgspec.structs.replace(alert, unstable=None)
    if calm.phase is Phase.OPEN:
        return msgspec.structs.replace(calm, due=_due(calm, timing, now), saying=What.SETTLED)
    return msgspec.structs.replace(calm, due=_forget_at(calm.times))


def _opened(alert: Alert, timing: Timing, now: str) -> Step:
    times = (*_recent(alert.times, now), now)[-_MOST_REMEMBERED:]
    unstable = alert.unstable
    if unstable is None and len(times) > 1 and shifted(times[-2], _FLAP) > now:
        unstable = times[-2]
    opened = msgspec.structs.replace(
        alert,
        phase=Phase.OPEN,
        opened_at=now,
        opened_revision=alert.subject.revision,
        occurrence=len(times),
        said=alert.said + 1,
        times=times,
        unstable=unstable,
    )
    return Step(msgspec.structs.replace(opened, due=_due(opened, timing, now)), What.OPENED)


def _closed(alert: Alert, subject: Subject, look: Look, how: End) -> Step:
    closed = msgspec.structs.replace(
        alert,
        subject=subject,
        phase=Phase.CLOSED,
        was=alert.subject.status,
        ended_at=look.at,
        end=how,
        saying=None,
        said=alert.said + 1,
        due=shifted(look.at, _SETTLED) if alert.unstable is not None else _forget_at(alert.times),
    )
    return Step(closed, What.RESOLVED)


def _how(subject: Subject) -> End:
    return End.COMPLETED if subject.status == "completed" else End.MOVED


def _remembered(alert: Alert, now: str) -> Alert | None:
    """What is left of a wait that came to nothing: the occurrences before it, if any still count."""
    times = _recent(alert.times, now)
    if not times and not alert.told:
        return None
    due = _or_settled(alert, _forget_at(times) or now)
    return msgspec.structs.replace(alert, phase=Phase.CLOSED, due=due, times=times, ended_at=None)


def _recent(times: tuple[str, ...], now: str) -> tuple[str, ...]:
    oldest = shifted(now, -REMEMBERED)
    return tuple(at for at in times if at >= oldest)


def _forget_at(times: tuple[str, ...]) -> str | None:
    return shifted(times[-1], REMEMBERED) if times else None
