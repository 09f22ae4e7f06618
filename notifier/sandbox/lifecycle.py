"""What may happen next to a connection, and what it then looks like. Pure: changes the given dict only.

Milestones come one after another: the next one begins when all that have begun are completed, and
``carrier_sync_updated`` waits for a group connection that is under way, ``carrier_sync_completed`` for all of
them to be completed. Group connections start once the carrier details are submitted. A connection whose
review is submitted has no next move: it is finished.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

Json = dict[str, Any]

GROUP = "group_connection"
MILESTONE = "milestone"

#: From status to status, with how likely each is beside the others.
GROUP_STEPS: Mapping[str, Mapping[str, float]] = {
    "pending": {"processing": 1.0},
    "processing": {"completed": 3.0, "needs_attention": 1.0},
    "needs_attention": {"processing": 1.0},
}
MILESTONE_STEPS: Mapping[str, Mapping[str, float]] = {
    "pending": {"processing": 1.0},
    "processing": {"completed": 4.0, "needs_attention": 0.4},
    "needs_attention": {"processing": 1.0},
    "review": {"completed": 1.0},
}
#: The milestones in their order, with the status in which each begins.
MILESTONES: Mapping[str, str] = {
    "initial_connection": "processing",
    "payroll_accessed": "pending",
    "payroll_connected": "processing",
    "broker_link_generated": "processing",
    "carrier_details_submitted": "pending",
    "carrier_sync_updated": "processing",
    "carrier_sync_completed": "processing",
    "review_submitted": "review",
}
#: Where a person who helps (or the carrier) moves a group connection: never into trouble.
GROUP_ONWARD: Mapping[str, str] = {
    "pending": "processing",
    "processing": "completed",
    "needs_attention": "processing",
}


class Move(NamedTuple):
    """One entity's next step. ``id`` is None where a milestone begins; then ``category`` says which."""

    kind: str
    id: str | None
    to: str
    category: str | None
    weight: float


def moves(connection: Json) -> list[Move]:
    """Every step that this connection may take now; none where it is finished."""
    return [*_milestone_moves(connection), *_group_moves(connection)]


def apply(connection: Json, move: Move, at: datetime, new_id: Callable[[str], str]) -> None:
    """Take the step, with everything that follows from it."""
    if move.id is None:
        begin_milestone(connection, move.category or "", move.to, at, new_id)
    elif move.kind == GROUP:
        set_group(child(connection["group_connections"], move.id), move.to, at)
    else:
        set_milestone(connection, child(connection["events"], move.id), move.to, new_id)
    follow(connection)


def begin_milestone(
    connection: Json, category: str, status: str, at: datetime, new_id: Callable[[str], str]
) -> Json:
    """Add a milestone, and what its status brings with it."""
    milestone = {"id": new_id("cevt"), "category": category, "status": status, "created_at": stamp(at)}
    connection["events"].append(milestone)
    set_milestone(connection, milestone, status, new_id)
    return milestone


def set_milestone(connection: Json, milestone: Json, status: Any, new_id: Callable[[str], str]) -> None:
    """Give a milestone a status; a generated broker link shows as ``broker_url``."""
    milestone["status"] = status
    is_link = milestone["category"] == "broker_link_generated" and status == "completed"
    if is_link and connection["broker_url"] is None:
        connection["broker_url"] = f"https://sandbox.withclasp.com/broker/{new_id('brk')}"


def set_group(group: Json, status: Any, at: datetime) -> None:
    """Give a group connection a status and the times that go with it."""
    group["status"] = status
    if status != "pending" and group["initiated_at"] is None:
        group["initiated_at"] = stamp(at)
    if status != "completed":
        group["completed_at"] = None
    elif group["completed_at"] is None:
        group["completed_at"] = stamp(at)


def follow(connection: Json) -> None:
    """Give the connection the status that follows from everything under it."""
    groups = [_word(group["status"]) for group in connection["group_connections"]]
    milestones = {_word(event["category"]): _word(event["status"]) for event in connection["events"]}
    status = "pending"
    if "needs_attention" in groups or "needs_attention" in milestones.values():
        status = "needs_attention"
    elif milestones.get("review_submitted") == "completed" and set(groups) <= {"completed"}:
        status = "completed"
    elif "review" in milestones.values():
        status = "review"
    elif len(milestones) > 1 or set(groups) - {"pending"}:
        status = "processing"
    connection["status"] = status


def child(items: list[Json], id_: str) -> Json:
    """The item of that id. KeyError where there is none."""
    for item in items:
        if item["id"] == id_:
            return item
    raise KeyError(id_)


def stamp(moment: datetime) -> str:
    """``2025-01-06T05:41:19.093833Z``: how Clasp writes a moment."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _word(value: Any) -> str:
    """A status or category; tests may have put any JSON value there."""
    return value if isinstance(value, str) else "?"


def _milestone_moves(connection: Json) -> Iterator[Move]:
    under_way = [event for event in connection["events"] if event["status"] != "completed"]
    for event in under_way:
        for to, weight in MILESTONE_STEPS.get(_word(event["status"]), {}).items():
            yield Move(MILESTONE, event["id"], to, event["category"], weight)
    if under_way:
        return
    begun = {_word(event["category"]) for event in connection["events"]}
    for category, status in MILESTONES.items():
        if category not in begun:
            if _is_open(category, connection["group_connections"]):
                yield Move(MILESTONE, None, status, category, 1.0)
            return


def _is_open(category: str, groups: list[Json]) -> bool:
    statuses = {_word(group["status"]) for group in groups}
    if category == "carrier_sync_updated":
        return not groups or bool(statuses - {"pending"})
    return category != "carrier_sync_completed" or statuses <= {"completed"}


def _group_moves(connection: Json) -> Iterator[Move]:
    is_ready = any(
        event["category"] == "carrier_details_submitted" and event["status"] == "completed"
        for event in connection["events"]
    )
    if is_ready:
        for group in connection["group_connections"]:
            for to, weight in GROUP_STEPS.get(_word(group["status"]), {}).items():
                yield Move(GROUP, group["id"], to, None, weight)
