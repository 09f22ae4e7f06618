"""What really happened in a simulated world, so that a test can hold a notifier's words against it.

An entry is the difference between two shapes of one entity. A removed connection is one entry and its
children none, as the notifier tells it; a removed group connection or milestone is an entry of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from notifier.sandbox.lifecycle import GROUP, MILESTONE, Json, stamp

CONNECTION = "connection"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entity's step at one moment.

    ``from_status`` is None where it appeared, ``to_status`` where it went. ``changed`` maps every field
    other than the status that changed to its old and new value (old is None where the entity appeared).
    """

    kind: str
    id: str
    connection: str
    from_status: Any
    to_status: Any
    at: datetime
    changed: dict[str, list[Any]] = field(default_factory=dict)
    is_removed: bool = False

    def as_json(self) -> Json:
        """The entry as ``GET /_sandbox/journal`` shows it."""
        return {
            "kind": self.kind,
            "id": self.id,
            "connection": self.connection,
            "from": self.from_status,
            "to": self.to_status,
            "at": stamp(self.at),
            "changed": self.changed,
            "is_removed": self.is_removed,
        }


def difference(before: Json | None, after: Json | None, at: datetime) -> Iterator[Entry]:
    """The entries between two shapes of one connection; None is its absence."""
    id_ = (before or after or {})["id"]
    yield from _step(CONNECTION, id_, before, after, at)
    if after is None:
        return
    for kind, name in ((GROUP, "group_connections"), (MILESTONE, "events")):
        old = {item["id"]: item for item in (before or {}).get(name, ())}
        new = {item["id"]: item for item in after[name]}
        for key in (*old, *(key for key in new if key not in old)):
            yield from _step(kind, id_, old.get(key), new.get(key), at)


def _step(
    kind: str, connection: str, before: Json | None, after: Json | None, at: datetime
) -> Iterator[Entry]:
    if before == after:
        return
    old, new = before or {}, after or {}
    changed = {
        name: [old.get(name), new.get(name)]
        for name in ({**old, **new} if after is not None else ())
        if name not in {"id", "status", "group_connections", "events"} and old.get(name) != new.get(name)
    }
    statuses = (old.get("status"), new.get("status"))
    if after is None or before is None or changed or statuses[0] != statuses[1]:
        id_ = (before or after or {})["id"]
        yield Entry(kind, id_, connection, *statuses, at, changed, is_removed=after is None)
