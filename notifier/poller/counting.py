"""The poller's census: taken in one pass over the state when it is first asked for, kept up from then on.

Like everything in a poller's memory it may be lost, which only costs another pass; where that cannot be made,
what it would have told is left out.
"""

from __future__ import annotations

from collections.abc import Iterable

import structlog

from notifier.core import codec
from notifier.core.census import Census
from notifier.core.codec import Words
from notifier.errors import StoreError
from notifier.poller.commits import Change
from notifier.store.state import StateStore

_log = structlog.get_logger()


class Counting:
    """Holds the census of the state as committed, once it was taken."""

    def __init__(self) -> None:
        self._census: Census | None = None

    async def census(self, store: StateStore, words: Words) -> Census | None:
        """The census; None where it cannot be taken now."""
        if self._census is None:
            try:
                self._census = await _taken(store, words)
            except (StoreError, codec.Undecodable) as error:
                _log.warning("census.not_taken", error=str(error))
        return self._census

    def keep_up(self, changes: Iterable[Change]) -> None:
        """These changes are committed."""
        if self._census is not None:
            for change in changes:
                self._census.move(change.id, change.stored, change.diff.state)


async def _taken(store: StateStore, words: Words) -> Census:
    census = Census()
    counted: set[str] = set()  # the store may show one twice
    async for id_, value in store.all_states():
        if id_ not in counted:
            counted.add(id_)
            census.move(id_, None, codec.decode(value, words))
    return census
