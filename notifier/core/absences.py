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
    """When each absence was first noticed, in seconds of a monotonic clock, and what was last seen before."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._since: dict[K, tuple[float, str | None]] = {}

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

    def missed(self, keys: Iterable[K], at: float, last_seen: str | None = None) -> set[K]:
        """These were not shown at ``at``; the ones whose absence is proven now.

        ``last_seen`` is when those that are missed for the first time were last known to be there (ISO 8601;
        None: not known).
        """
        proven = set()
        for key in keys:
            since, _ = self._since.setdefault(key, (at, last_seen))
            if at - since >= self._interval:
                proven.add(key)
        return proven

    def last_seen(self, key: K) -> str | None:
        """When a missed one was last known to be there."""
        return self._since[key][1] if key in self._since else None

    def keep_only(self, keys: Iterable[K]) -> None:
        """Forget every absence but these."""
        kept = set(keys)
        self._since = {key: value for key, value in self._since.items() if key in kept}
