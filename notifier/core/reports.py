"""What the notifier says of itself: decided from counters, told once for each occurrence, in plain words.

Pure: :func:`decide` compares what was told with how things stand and gives what is to be said now. What was
told is committed together with the saying of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from notifier.core.removals import Held


class Report(msgspec.Struct, frozen=True):
    """One thing to say. ``subject`` is a sink that cannot take it now, and need not hear it later."""

    type: str
    severity: str
    message: str
    cause: str
    subject: str = ""


class SinkFacts(msgspec.Struct, frozen=True):
    """How one sink stands: its last error while it fails, its dead letters, its lanes that wait.

    ``deaths`` counts every event that ever became a dead letter, but not what the notifier said of itself:
    of the delivery of such a message nothing is said. ``overdue_s`` is how long the first lane has been due
    without being claimed.
    """

    failing: str | None = None
    paused: bool = False
    waiting: int = 0
    dead: int = 0
    deaths: int = 0
    overdue_s: float = 0.0


class Facts(msgspec.Struct, frozen=True):
    """How things stand at the end of a poll.

    ``source_fault`` is set while the source counts as failing; ``is_complete`` says that this poll saw
    everything. ``baseline`` is (cause, counts) of a baseline that this poll finished.
    """

    at: str
    is_complete: bool
    source_fault: str | None
    drift: Sequence[str]
    held: Held | None
    sinks: Mapping[str, SinkFacts]
    baseline: tuple[str, Mapping[str, int]] | None = None
    known: Mapping[str, int] = {}


_BASELINE_CAUSES = {
    "first_run": "This is the first look at the account.",
    "api_version": "The configured Clasp-Version changed.",
    "approved": "A person approved the list of another account.",
    "state_lost": "The state in Redis was gone.",
    "size": "The state in Redis had lost or gained entries since it was last written.",
    "schema": "The state in Redis was written by another release.",
    "unreadable": "The state in Redis could not be read.",
    "base_url": "source.base_url is another than before.",
}
_NOT_LOST = {"first_run", "api_version", "approved"}
_MAX_TOLD_DRIFT = 200


def decide(told: Mapping[str, Any], facts: Facts) -> tuple[dict[str, Any], list[Report]]:
    """What is to be remembered as told after this poll, and what is to be said in it."""
    after = dict(told)
    reports = [
        *_baseline(facts),
        *_source(after, facts),
        *_drift(after, facts),
        *_held(after, facts),
        *_sinks(after, facts),
        *_dead_letters(after, facts),
    ]
    return after, reports


def _baseline(facts: Facts) -> list[Report]:
    if facts.baseline is None:
        return []
    cause, counts = facts.baseline
    why = _BASELINE_CAUSES.get(cause, cause)
    found = (
        f"{counts.get('connection', 0)} connections with {counts.get('group_connection', 0)} group "
        f"connections ({counts.get('needs_attention', 0)} need attention) and "
        f"{counts.get('milestone', 0)} milestones"
    )
    if cause in _NOT_LOST:
        message = (
            f"{why} The notifier took what is there as its starting point: {found}. "
            "From now on every change is told; what happened before could not be seen."
        )
        return [Report("notifier.baseline", "info", message, cause)]
    message = (
        f"{why} The notifier took what is there now as its new starting point: {found}. "
        "Changes between the last poll before and this one could not be seen and were not told: "
        "look at the connections that need attention once by hand."
    )
    return [Report("notifier.state_lost", "critical", message, cause)]


def _source(told: dict[str, Any], facts: Facts) -> list[Report]:
    failing = told.get("source_failing")
    if facts.source_fault and not failing:
        told["source_failing"] = {"since": facts.at, "cause": facts.source_fault}
        message = (
            f"Clasp's connections cannot be read completely: {facts.source_fault}. Until this is mended, "
            "changes may go unseen; the notifier keeps trying and tells everything it finds afterwards."
        )
        return [Report("notifier.source_failing", "critical", message, facts.source_fault)]
    if facts.is_complete and failing:
        del told["source_failing"]
        message = (
            f"Clasp's connections can be read again, for the first time since {failing['since']}. "
            "Several changes of one entity in between are told as one."
        )
        return [Report("notifier.source_recovered", "info", message, failing["cause"])]
    return []


def _drift(told: dict[str, Any], facts: Facts) -> list[Report]:
    known = told.get("drift", [])
    new = [note for note in facts.drift if note not in known]
    if not new:
        return []
    told["drift"] = [*known, *new][-_MAX_TOLD_DRIFT:]
    message = (
        "Clasp's API answered something that its documentation does not name: "
        + "; ".join(new)
        + ". Unknown values are passed on as they are and nothing was dropped; check that your rules cover "
        "them."
    )
    return [Report("notifier.drift", "warning", message, new[0])]


def _held(told: dict[str, Any], facts: Facts) -> list[Report]:
    held = facts.held
    if held is None or held.approved:
        told.pop("held", None)
        return []
    kind = "snapshot_held" if held.whole_snapshot else "removals_held"
    occurrence = f"{kind} {held.since}"  # what is held again after an approval is another one
    if told.get("held") == occurrence:
        return []
    told["held"] = occurrence
    if held.whole_snapshot:
        message = (
            "The list of connections is empty, or another account's: it shares nothing with what is known. "
            "Nothing of it was taken over. Check source.api_key and source.base_url; if the account did "
            "change, run `notifier approve`."
        )
        return [Report("notifier.snapshot_held", "critical", message, "no connection in common")]
    what = ", ".join(
        f"{len(ids)} of {facts.known.get(kind, 0)} {kind.replace('_', ' ')}s"
        for kind, ids in held.ids.items()
    )
    message = (
        f"Too much disappeared at once from Clasp's list: {what}. None was told as removed; other changes "
        "are told as ever. If they come back, nothing needs to be done; if they are really gone, run "
        "`notifier approve`."
    )
    return [Report("notifier.removals_held", "critical", message, what)]


def _sinks(told: dict[str, Any], facts: Facts) -> list[Report]:
    failing = dict(told.get("sink_failing", {}))
    reports = []
    for name, sink in facts.sinks.items():
        if sink.failing and name not in failing:
            failing[name] = facts.at
            is_paused = "It is paused, keeps everything, and is tried again by itself"
            state = is_paused if sink.paused else "It is tried again"
            wait = "1 lane waits" if sink.waiting == 1 else f"{sink.waiting} lanes wait"
            message = f'The sink "{name}" is failing: {sink.failing}. {state}; {wait}.'
            reports.append(Report("notifier.sink_failing", "critical", message, sink.failing, name))
        elif not sink.failing and name in failing:
            since = failing.pop(name)
            message = f'The sink "{name}", failing since {since}, answers again. What waits follows.'
            reports.append(Report("notifier.sink_recovered", "info", message, "delivered"))
    if failing != told.get("sink_failing", {}):
        told["sink_failing"] = failing
    return reports


def _dead_letters(told: dict[str, Any], facts: Facts) -> list[Report]:
    before = told.get("dead_letters", {})
    now = {name: sink.deaths for name, sink in facts.sinks.items() if sink.deaths}
    if now != before:
        told["dead_letters"] = now
    return [
        Report(
            "notifier.dead_letters",
            "critical",
            f'Messages to "{name}" could not be delivered and will not be tried again: {sink.dead} in all. '
            f"See why with `notifier dead list {name}`; send them again with "
            f"`notifier dead replay {name} --all`.",
            f"{sink.dead} dead letter{'s' * (sink.dead != 1)}",
        )
        for name, sink in facts.sinks.items()
        if sink.deaths > before.get(name, 0) and sink.dead  # else they are replayed or dropped already
    ]
