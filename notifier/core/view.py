"""The poller's memory of what the list looked like: one fingerprint an item.

An item whose bytes hash to a known fingerprint is exactly what was committed, and costs nothing more; a
page that is byte for byte one of the last traversal's is not even taken apart. The view holds only what
follows from the store at one version; where the versions differ it is thrown away and built again by reading
every item once. It changes only after a commit has returned.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec
from xxhash import xxh3_128_digest

Fingerprint = bytes


class Learned(msgspec.Struct, frozen=True):
    """What a poll found out about fingerprints.

    ``same`` maps connections to the fingerprint of what is committed now; ``loose`` are live but have to be
    looked at again; ``gone`` were removed. ``is_whole``: with this the view knows every live connection.
    """

    same: dict[str, Fingerprint] = {}
    loose: Collection[str] = ()
    gone: Collection[str] = ()
    is_whole: bool = False


class View:
    """Fingerprints of the committed items at ``version``.

    ``is_whole`` says that every live connection of the state is in it, so that what a Complete snapshot
    did not show can be told from the view alone.
    """

    def __init__(self, version: str) -> None:
        self.version = version
        self.is_whole = False
        self._known: dict[Fingerprint, str] = {}
        self._loose: set[str] = set()  # live, but to be looked at again: no fingerprint
        self._pages: dict[Fingerprint, tuple[Fingerprint, ...]] = {}  # of this traversal
        self._last_pages: dict[Fingerprint, tuple[Fingerprint, ...]] = {}  # of the one before

    def __len__(self) -> int:
        return len(self._known) + len(self._loose)

    def begin(self) -> None:
        """A new traversal: only the pages of the last one are remembered."""
        self._last_pages, self._pages = self._pages or self._last_pages, {}

    def knows_page(self, page: Fingerprint, hits: set[Fingerprint]) -> bool:
        """Whether a page holds nothing but known items, by its own bytes alone; they go into ``hits``.

        That a page was seen before is not enough: its items must be what is committed now.
        """
        items = self._last_pages.get(page)
        if items is None or not all(map(self._known.__contains__, items)):
            return False
        self._pages[page] = items
        hits.update(items)
        return True

    def scan(
        self, items: Iterable[msgspec.Raw], hits: set[Fingerprint], page: Fingerprint = b""
    ) -> list[tuple[Fingerprint, msgspec.Raw]]:
        """The items that are not known, with their fingerprints; the others go into ``hits``."""
        known = self._known
        items = list(items)
        fingerprints = tuple(map(xxh3_128_digest, items))
        self._pages[page] = fingerprints
        if all(map(known.__contains__, fingerprints)):
            hits.update(fingerprints)
            return []
        hits.update(filter(known.__contains__, fingerprints))
        return [pair for pair in zip(fingerprints, items, strict=True) if pair[0] not in known]

    def ids_of(self, hits: Iterable[Fingerprint]) -> set[str]:
        """The connections behind these known fingerprints."""
        return {self._known[fingerprint] for fingerprint in hits}

    def not_hit(self, hits: Collection[Fingerprint]) -> set[str]:
        """The live connections whose known item was not shown."""
        if len(hits) == len(self._known):
            return set(self._loose)
        return self._loose | {id_ for fingerprint, id_ in self._known.items() if fingerprint not in hits}

    def update(self, version: str, learned: Learned) -> None:
        """Take over what a poll learned, once all of it is committed, the last part at ``version``."""
        touched = {*learned.same, *learned.loose, *learned.gone}
        if touched:  # every id loses its old fingerprint, else A -> B -> A would go unseen
            stale = [fingerprint for fingerprint, id_ in self._known.items() if id_ in touched]
            for fingerprint in stale:
                del self._known[fingerprint]
            self._loose -= touched
            self._loose.update(learned.loose)
            self._known.update((fingerprint, id_) for id_, fingerprint in learned.same.items())
        self.is_whole = self.is_whole or learned.is_whole
        self.version = version
