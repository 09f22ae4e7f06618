"""The words of an alert: how it stands, its course, who has it, how it ended. Pure, and total."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec

from notifier.sinks.figures import is_longer
from notifier.sinks.values import at, count, length, moment, ordinal, text, words

_MINUTE = timedelta(minutes=1)  # what is less than that says nothing with "at least" before it


class Holder(msgspec.Struct, frozen=True):
    """Who has taken an alert, and since when. ``until`` when nobody is reminded: a moment, or words.

    ``moved`` says that something has moved since.
    """

    by: str
    since: datetime
    until: datetime | str | None = None
    moved: bool = False


def phrase(verb: str, data: Any) -> str:
    """How an alert stands, as the end of a sentence. Only what is completed is called so."""
    status, is_quiet = at(data, "entity", "status"), at(data, "alert", "unchanged") is True
    if verb == "acknowledged":
        taken = at(data, "alert", "acknowledged")
        how = "snoozed" if text(at(taken, "until")) else "taken"
        return f"has been {how} by {text(at(taken, 'by')) or 'somebody'}"
    if verb != "resolved":
        still = "still " if verb in {"reminder", "released"} else ""
        now = f"{still}needs attention" if status == "needs_attention" else f"is {still}{words(status)}"
        if is_quiet:
            now = f"{still}does not move: {words(status)}"
        before = {"released": "is nobody's again and ", "settled": "has settled and "}.get(verb, "")
        return f"{before or ('is unstable and ' if times(data) else '')}{now}"
    before = at(data, "from")
    move = f"{words(before)} → {words(status)}"
    moved = (
        f"moved on: {move}" if not is_quiet else "has moved again" + ("" if before == status else f": {move}")
    )
    ends = {
        "removed": "is no longer listed by Clasp",
        "rule": "is no longer watched: its rule has changed",
        "completed": "is completed",
    }
    return ends.get(str(at(data, "alert", "end")), moved)


def course(verb: str, data: Any, now: Any) -> str | None:
    """How long an alert has lasted, and how often it came."""
    alert = at(data, "alert")
    parts = []
    if verb != "opened" and (span := lasted(alert, now)):
        parts.append(f"{'after' if verb == 'resolved' else 'for'} {span}")
    before, status = at(data, "from"), at(data, "entity", "status")
    is_move = before is not None and before != status and at(alert, "unchanged") is not True
    if verb == "opened" and is_move:
        parts.append(f"{words(before)} → {words(status)}")
    if times(data):
        parts.append(f"came {times(data)} times; what comes next is told once it has settled")
    occurrence = at(alert, "occurrence")
    if verb == "opened" and isinstance(occurrence, int) and occurrence > 1 and not times(data):
        parts.append(f"{ordinal(occurrence)} time in 30 days")
    if is_longer(data, now):
        parts.append(f"{'lasts ' if verb == 'opened' else ''}longer than 9 in 10 here")
    return (parts[0][:1].upper() + ", ".join(parts)[1:]) if parts else None


def lasted(alert: Any, now: Any) -> str | None:
    """``1 h 42 min``, ``at least 2 d 3 h``: how long an alert has lasted, or did; None where nobody knows."""
    since, then = moment(at(alert, "since")), moment(at(alert, "ended_at")) or moment(now)
    if since is None or then is None or then < since:
        return None
    if at(alert, "since_after") is not None:
        return length(then - since)
    return f"at least {length(then - since)}" if then - since >= _MINUTE else None


def times(data: Any) -> int:
    """How often what is unstable has come; 0 where it is not."""
    return count(at(data, "alert", "unstable", "times"))


def holder_of(data: Any) -> Holder | None:
    """Who has it; None where nobody has."""
    taken = at(data, "alert", "acknowledged")
    by, since, until = text(at(taken, "by")), moment(at(taken, "at")), at(taken, "until")
    if by is None or since is None:
        return None
    then = "until it changes" if until == "change" else moment(until)
    return Holder(by, since, then, moved=moment(at(taken, "moved_at")) is not None)


def ending(data: Any) -> str | None:
    """How an alert ended, for the mark before its title; None while it lasts."""
    alert = at(data, "alert")
    return end_of(alert) if isinstance(at(alert, "end"), str) else None


def began(data: Any) -> tuple[datetime | None, datetime] | None:
    """The looks between which an alert's condition began."""
    since = moment(at(data, "alert", "since"))
    return None if since is None else (moment(at(data, "alert", "since_after")), since)


def end_of(holder: Any) -> str:
    """How something ended, in the words of the marks before titles."""
    end = at(holder, "end")
    return {"completed": "completed", "moved": "moved"}.get(end, "ended") if isinstance(end, str) else "ended"
