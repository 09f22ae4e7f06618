"""The mass guard: many disappearances at once are a fault of the source until a person says otherwise.

Each kind of entity is counted alone. What is held stays in the state as it was; additions and changes
still flow. A person's approval names a set of ids; only those pass.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from notifier.models import Kind


class Guard(msgspec.Struct, frozen=True):
    """``share`` of the known entities of a kind (0..1), but never less than ``at_least``."""

    share: float
    at_least: int

    def limit(self, known: int) -> int:
        """The most disappearances of one kind that pass unasked."""
        return max(self.at_least, int(known * self.share))


class Held(msgspec.Struct, frozen=True):
    """Removals that wait for a person. ``since`` is ISO 8601; ``ids`` maps a kind to entity ids.

    ``whole_snapshot`` marks a snapshot that shared no id with the state, or a baseline that found nothing
    where something was known: approving it accepts a new account.
    """

    since: str
    ids: dict[str, list[str]] = {}
    whole_snapshot: bool = False
    approved: bool = False

    @property
    def count(self) -> int:
        """How many entities wait."""
        return sum(map(len, self.ids.values()))


def held_kinds(
    missing: Mapping[Kind, Collection[str]],
    known: Mapping[Kind, int],
    approved: Collection[str],
    guard: Guard,
    *,
    is_empty: bool,
) -> frozenset[Kind]:
    """The kinds of which nothing may be removed now.

    ``missing`` holds the ids that this snapshot did not show where it should have; ``is_empty`` says that
    it showed no connection at all, which is held whatever the numbers are.
    """

    def is_held(kind: Kind) -> bool:
        unasked = [id_ for id_ in missing.get(kind, ()) if id_ not in approved]
        if is_empty and kind is Kind.CONNECTION and unasked:
            return True
        return len(unasked) > guard.limit(known.get(kind, 0))

    return frozenset(kind for kind in Kind if is_held(kind))
