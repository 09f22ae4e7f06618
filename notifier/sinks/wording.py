"""An event's body -> the words in which people read it. Pure, and total: no body makes it fail.

A rule's own title and message stand in the place of ours (``templated``).

The texts still hold what the source said, letter for letter; making it harmless is the work of whoever
shows it, for which ``values.clean`` is the common first step.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from notifier.sinks import wording_alert, wording_digest
from notifier.sinks.figures import usually, who_else
from notifier.sinks.templated import templated
from notifier.sinks.values import LONGEST, at, count, moment, text, utc, words

_LABELS = {
    "group_id": "Group number",
    "initiated_at": "Initiated",
    "completed_at": "Completed",
    "carrier": "Carrier id",
    "employer": "Employer id",
    "broker_url": "Broker URL",
    "broker_federal_ein": "Federal EIN",
}
_REPORTS = {
    "alert.summary": "What this rule found when it began",
    "notifier.baseline": "Watching has begun",
    "notifier.state_lost": "The notifier lost its state and began anew",
    "notifier.source_failing": "Clasp cannot be read",
    "notifier.source_recovered": "Clasp can be read again",
    "notifier.drift": "Clasp answered something new",
    "notifier.removals_held": "Too much disappeared at once: removals are held",
    "notifier.snapshot_held": "An empty or another account's list is held",
    "notifier.sink_failing": "A sink is failing",
    "notifier.sink_recovered": "A sink works again",
    "notifier.dead_letters": "Messages could not be delivered",
    "notifier.test": "Test message",
}
_MOST_CHANGES = 6
_MOST_LINES = 20


class Told(msgspec.Struct, frozen=True):
    """An event in words: ``change`` is what moved, ``facts`` and ``ids`` are labels with their values.

    ``severity`` is how bad it is; of an alert that is over, how it ended: completed, moved, ended. ``lines``
    are the things that are told side by side, each with its own severity.

    ``seen`` holds the moments between which it happened; the first is None where nobody had looked before,
    and for a removal, which is told only once it is certain. ``began`` is the same of when the condition of
    an alert began.
    """

    title: str
    severity: str
    change: str | None = None
    facts: tuple[tuple[str, str], ...] = ()
    ids: tuple[tuple[str, str], ...] = ()
    seen: tuple[datetime | None, datetime] | None = None
    began: tuple[datetime | None, datetime] | None = None
    holder: wording_alert.Holder | None = None
    note: str | None = None
    links: tuple[tuple[str, str], ...] = ()
    lines: tuple[tuple[str, str], ...] = ()


def tell(body: Any, *, is_line: bool = False) -> Told:
    """The words for one event body; ``is_line``: for a line among others, which holds no rule's message."""
    data = at(body, "data")
    type_ = str(at(body, "type") or "event")
    verb = type_.rpartition(".")[2]
    message = text(at(data, "message"))
    entries = at(data, "entries")
    if type_ == "alert.digest":
        return _digest(data, entries if isinstance(entries, list) else [])
    if isinstance(entries, list) and (entries or count(at(data, "passed"))):
        return _together(type_, data, entries)
    if message is not None:
        title = _REPORTS.get(type_) or words(verb)
        change: str | None = message
        facts: tuple[tuple[str, str], ...] = ()
        ids = _present(
            (("source", at(data, "source")), ("rule", at(data, "rule")), ("event", at(data, "id")))
        )
    else:
        is_alert = isinstance(at(data, "alert"), Mapping)
        title = f"{_subject(data)} {wording_alert.phrase(verb, data) if is_alert else _phrase(verb, data)}"
        change = wording_alert.course(verb, data, at(body, "timestamp")) if is_alert else _change(verb, data)
        facts, ids = _facts(verb, data), _ids(data)
    return Told(
        templated(body, "headline") or title,
        severity=wording_alert.ending(data) or str(at(data, "severity") or "info"),
        change=(None if is_line else templated(body, "sentence")) or change,
        facts=facts,
        ids=ids,
        seen=_seen(at(data, "observed_between"), is_removal=verb == "removed"),
        began=wording_alert.began(data),
        holder=None if verb == "resolved" else wording_alert.holder_of(data),
        note=None if verb == "resolved" else text(at(data, "note")),
        links=_links(data),
    )


def _together(type_: str, data: Any, entries: list[Any]) -> Told:
    """The words for several alerts in one message."""
    told = [tell(entry, is_line=True) for entry in entries[:_MOST_LINES]]
    opened, ended, passed = (count(at(data, name)) for name in ("opened", "ended", "passed"))
    first = at(entries[0], "data") if entries else None
    if type_ == "alert.net" and (opened or passed):
        title = "While nobody was to be disturbed: " + _listed(
            (opened, "newly open"), (ended, "over"), (passed, "came and went")
        )
    else:
        whose = {
            "employer": text(at(first, "connection", "employer", "name")),
            "carrier": text(at(first, "carrier", "name")) or text(at(first, "carrier", "id")),
        }.get(str(at(data, "by")))
        stand = _how_many(data, entries, opened, ended)
        title = f"{whose} · {stand}" if whose else stand
    lines = [(_line(entry, one), one.severity) for entry, one in zip(entries, told, strict=False)]
    rest = opened + ended - len(told)
    is_of_carrier = at(data, "by") == "carrier"
    return Told(
        title,
        severity=wording_alert.end_of(data) if ended and not opened else str(at(data, "severity") or "info"),
        ids=_present((("rule", at(data, "rule")), ("message", at(data, "message_id")))),
        change=who_else(first, end=" are affected") if is_of_carrier else None,
        facts=_present(
            (
                ("Usually", _usual_of_all(entries) if is_of_carrier else None),
                ("Owner", None if rest > 0 else _common_owner(entries)),
            )
        ),
        note=text(at(data, "note")) if opened else None,
        links=_links(first) if at(data, "by") == "employer" else (),
        lines=(*lines, *([(f"and {rest:,} more", "")] if rest > 0 else [])),
    )


def _usual_of_all(entries: list[Any]) -> str | None:
    """How long it usually takes, where that is the same for all that lasts."""
    said = {usually(at(entry, "data")) for entry in entries if at(entry, "type") != "alert.resolved"}
    return said.pop() if len(said) == 1 else None


def _digest(data: Any, entries: list[Any]) -> Told:
    """The words for a digest: what is open, and what happened since the last one."""
    told = [tell(entry) for entry in entries[:_MOST_LINES]]
    rest = count(at(data, "open")) - len(told)
    return Told(
        wording_digest.title(data),
        severity="info",
        change=wording_digest.course(data),
        facts=_present(wording_digest.facts(data)),
        ids=_present((("source", at(data, "source")), ("digest", at(data, "digest", "name")))),
        seen=_seen(at(data, "period"), is_removal=False),
        lines=(
            *((_line(entry, one), one.severity) for entry, one in zip(entries, told, strict=False)),
            *([(f"and {rest:,} more", "")] if rest > 0 and told else []),
        ),
    )


def _line(entry: Any, told: Told) -> str:
    """``Acme Corp · Guardian needs attention (group 00123, Processing → Needs Attention)``."""
    number = at(entry, "data", "entity", "group_id")
    holder = f"{told.holder.by} has it" if told.holder else None
    parts = (f"group {number}" if text(number) else None, told.change, holder)
    more = ", ".join(part for part in parts if part)
    return f"{told.title} ({more})" if more else told.title


def _how_many(data: Any, entries: list[Any], opened: int, ended: int) -> str:
    """``3 group connections need attention``, ``2 of 3 group connections still need attention``."""
    kinds = at(data, "kinds")
    is_one_kind = isinstance(kinds, list) and len(kinds) == 1 and text(kinds[0])
    noun = words(kinds[0]).lower() + "s" if is_one_kind else "entities"
    still = "still " if any(at(entry, "type") == "alert.reminder" for entry in entries) else ""
    needs = at(data, "needs_attention") is True
    stand = ("needs attention" if opened == 1 else "need attention") if needs else "open"
    if not opened:
        return f"{ended:,} {noun} are {'completed' if wording_alert.end_of(data) == 'completed' else 'over'}"
    verbs = {at(entry, "type") for entry in entries}
    taken = {"alert.acknowledged": "have been taken", "alert.released": "are nobody's again"}
    taken["alert.settled"] = f"have settled and {stand}" if needs else "have settled and are open"
    if len(verbs) == 1 and (what := taken.get(str(*verbs))):
        return f"{opened:,} {noun} {what}"
    if ended:
        return f"{opened:,} of {opened + ended:,} {noun} still {stand}"
    return f"{opened:,} {noun} {still}{stand}"


def _listed(*counts: tuple[int, str]) -> str:
    return ", ".join(f"{count:,} {what}" for count, what in counts if count)


def _subject(data: Any) -> str:
    employer = text(at(data, "connection", "employer", "name")) or text(
        at(data, "connection", "employer", "id")
    )
    kind = at(data, "entity", "kind")
    if kind == "group_connection":
        what = text(at(data, "carrier", "name")) or text(at(data, "carrier", "id")) or "unknown carrier"
    elif kind == "milestone":
        what = f'milestone "{words(at(data, "entity", "category") or "unknown")}"'
    else:
        what = words(kind or "event").lower()
    return f"{employer or 'Unknown employer'} · {what}"


def _phrase(verb: str, data: Any) -> str:
    """What happened, as the end of a sentence."""
    to = at(data, "to")
    needs = to == "needs_attention"
    if verb == "status_changed":
        return "needs attention" if needs else "is completed" if to == "completed" else f"is now {words(to)}"
    if verb in {"added", "reappeared"}:
        new = "is new" if verb == "added" else "is back"
        return f"{new} and needs attention" if needs else new if to is None else f"{new}: {words(to)}"
    if verb == "removed":
        return "was removed"
    if verb == "updated":
        return "changed: " + (", ".join(_label(name) for name in _changed(data)) or "details")
    return words(verb).lower()


def _change(verb: str, data: Any) -> str | None:
    before, after = at(data, "from"), at(data, "to")
    if verb == "status_changed":
        return f"{words(before)} → {words(after)}"
    if verb == "removed":
        return f"Clasp no longer shows it; its last status was {words(before)}"
    if verb == "updated":
        return "; ".join(f"{label}: {moved}" for label, moved in _moves(data)) or None
    return None


def _facts(verb: str, data: Any) -> tuple[tuple[str, str], ...]:
    connection = at(data, "connection")
    name, external = at(connection, "employer", "name"), at(connection, "employer", "external_id")
    employer = " ".join(part for part in (text(name), f"({external})" if external else None) if part)
    is_connection = at(data, "entity", "kind") == "connection"
    status, moves = at(connection, "status"), _moves(data)
    own_status = words(at(data, "to")) if verb in {"updated", "added", "reappeared"} else None
    facts = (
        *(() if verb == "updated" else moves),
        ("Status", own_status),
        ("Employer", employer),
        ("Carrier", at(data, "carrier", "name")),
        ("Owner", _owner(data)),
        ("Group number", None if "group_id" in _changed(data) else at(data, "entity", "group_id")),
        ("Connection", None if is_connection or status is None or verb == "removed" else words(status)),
        ("Usually", usually(data)),
        ("Also affected", who_else(data)),
    )
    return _present(facts)


def _owner(data: Any) -> str | None:
    """``sam@example.com (Benefits)``; an id of Slack's says nothing to a reader."""
    who, team = text(at(data, "owner", "owner")), text(at(data, "owner", "team"))
    if who is None or "@" not in who:
        return team
    return f"{who} ({team})" if team else who


def _common_owner(entries: list[Any]) -> str | None:
    """The owner of several, where they have one and the same."""
    owners = {_owner(at(entry, "data")) for entry in entries}
    return owners.pop() if len(owners) == 1 else None


def _moves(data: Any) -> tuple[tuple[str, str], ...]:
    """What changed beside the status: labels, each with ``old → new``."""
    changed = list(_changed(data).items())[:_MOST_CHANGES]
    return tuple((_label(field), _moved(field, pair)) for field, pair in changed)


def _ids(data: Any) -> tuple[tuple[str, str], ...]:
    kind, connection = at(data, "entity", "kind"), at(data, "connection", "id")
    entity = None if kind == "connection" else at(data, "entity", "id")
    return _present(
        (
            (words(kind).lower(), entity),
            ("connection", connection),
            ("employer", at(data, "connection", "employer", "id")),
            ("carrier", at(data, "carrier", "id")),
            ("rule", at(data, "rule")),
            ("alert", at(data, "alert", "id")) if at(data, "alert") else ("event", at(data, "id")),
        )
    )


def _links(data: Any) -> tuple[tuple[str, str], ...]:
    links = at(data, "links")
    own = [(str(label), url) for label, url in links.items()] if isinstance(links, Mapping) else []
    broker = at(data, "connection", "broker_url")  # the source's text: https only
    if isinstance(broker, str) and broker.startswith("https://"):
        own.append(("broker page", broker))
    return tuple((label, url) for label, url in own if isinstance(url, str) and url.startswith("http"))


def _seen(value: Any, *, is_removal: bool) -> tuple[datetime | None, datetime] | None:
    if not isinstance(value, list) or len(value) != 2:  # noqa: PLR2004
        return None
    after = moment(value[1])
    return None if after is None else (None if is_removal else moment(value[0]), after)


def _changed(data: Any) -> Mapping[str, Any]:
    changed = at(data, "changed")
    return changed if isinstance(changed, Mapping) else {}


def _label(field: str) -> str:
    return _LABELS.get(field) or words(field).capitalize()


def _moved(field: str, pair: Any) -> str:
    before, after = pair if isinstance(pair, list) and len(pair) == 2 else (None, pair)  # noqa: PLR2004
    return f"{_shown(field, before)} → {_shown(field, after)}"


def _shown(field: str, value: Any) -> str:
    then = moment(value) if field.endswith("_at") else None
    if then is not None:
        return utc(then)
    return words(value) if field in {"status", "category"} or not isinstance(value, str) else value[:LONGEST]


def _present(pairs: tuple[tuple[str, Any], ...]) -> tuple[tuple[str, str], ...]:
    return tuple((label, value) for label, value in pairs if isinstance(value, str) and value.strip())
