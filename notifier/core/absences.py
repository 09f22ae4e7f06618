"""What the source stopped showing, and since when.

Absence from one traversal proves nothing: cursor pages over a moving list miss rows. An entity's absence
counts as proven only when it was absent twice, at least one interval apart, with no sighting in between.
The memory is the poller's own: a restart or a takeover begins to count anew, which can only delay a removal.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class Absences(Generic[K]):
    """First sighting of each absence, in seconds of a monotonic clock."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._since: dict[K, float] = {}

    def __contains__(self, key: K) -> bool:
        return key in self._since

    def __iter__(self) -> Iterator[K]:
        return iter(tuple(self._since))

    def __len__(self) -> int:
        return len(self._since)

    def seen(self, keys: Iterable[K]) -> None:
        """These were shown: their count begins anew."""
        for key in keys:
            self._since.pop(key, None)

    def missed(self, keys: Iterable[K], at: float) -> set[K]:
        """These were not shown at ``at``; the ones whose absence is proven now."""
        proven = set()
        for key in keys:
            if at - self._since.setdefault(key, at) >= self._interval:
                proven.add(key)
        return proven

    def keep_only(self, keys: Iterable[K]) -> None:
        """Forget every absence but these."""
        kept = set(keys)
        self._since = {key: at for key, at in self._since.items() if key in kept}
