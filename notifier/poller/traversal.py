"""Pages of the list -> what was seen. Completeness is a type: only ``Complete`` can speak of absence.

Items whose fingerprint is known cost a hash. The rest is decoded and compared with the stored state page by
page, so that memory holds only what really changed.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection, Iterable
from contextlib import aclosing
from typing import Any

import msgspec

from notifier.clasp.client import ClaspClient
from notifier.clasp.decode import Unreadable, read
from notifier.core import codec
from notifier.core.codec import Words
from notifier.core.diff import has_moved, missing_children
from notifier.core.view import Fingerprint, View
from notifier.errors import SourceError
from notifier.models import ConnectionState, Kind, ObservedConnection
from notifier.store.state import StateStore

MAX_DRIFT_NOTES = 20
MAX_CHANGED = 50_000  # connections that one poll takes on: they are held in memory until they are committed


class Complete(msgspec.Struct, frozen=True):
    """The traversal reached the end of the list without a fault."""


class Partial(msgspec.Struct, frozen=True):
    """It did not, for ``reason``: what it did not see means nothing. ``error`` is what the source did."""

    reason: str
    error: SourceError | None = None


class Sighting(msgspec.Struct, frozen=True):
    """A connection that differs from its stored state, or of which something is missing."""

    stored: ConnectionState | None
    seen: ObservedConnection
    fingerprint: Fingerprint | None  # None: not from the list


class Seen(msgspec.Struct):
    """Everything one traversal found out.

    ``same`` maps connections whose bytes are new but whose tracked content is as stored to their new
    fingerprints. ``faults`` say why the traversal is not Complete although it came to its end.
    """

    hits: set[Fingerprint] = msgspec.field(default_factory=set)
    same: dict[str, Fingerprint] = msgspec.field(default_factory=dict)
    changed: dict[str, Sighting] = msgspec.field(default_factory=dict)
    unreadable: dict[str, Fingerprint] = msgspec.field(default_factory=dict)
    drift: dict[str, None] = msgspec.field(default_factory=dict)  # ordered set of notes
    has_known: bool = False  # some id of it is live in the state
    items: int = 0
    pages: int = 0
    faults: list[str] = msgspec.field(default_factory=list)

    @property
    def fresh_ids(self) -> set[str]:
        """The connections that were decoded, or at least named, by this traversal."""
        return {*self.same, *self.changed, *self.unreadable}


async def items_of(
    source: ClaspClient, view: View, seen: Seen
) -> AsyncGenerator[list[tuple[Fingerprint, msgspec.Raw]], None]:
    """The unknown items of each page that holds any, as the pages come."""
    view.begin()
    async for page in source.pages():
        seen.pages += 1
        seen.items += page.count
        if not view.knows_page(page.fingerprint, seen.hits):
            yield view.scan(page.results, seen.hits, page.fingerprint)


async def traverse(
    source: ClaspClient, view: View, store: StateStore, words: Words, untracked: Collection[str]
) -> tuple[Seen, Complete | Partial]:
    """Look at the whole list once, comparing what is not known with the stored state."""
    seen = Seen()
    fault: Partial | None = None
    try:
        async with aclosing(items_of(source, view, seen)) as pages:
            async for fresh in pages:
                observed = list(readable(fresh, seen, untracked))
                await _compare(observed, seen, store, words, untracked)
                if len(seen.changed) > MAX_CHANGED:
                    fault = Partial(
                        f"more than {MAX_CHANGED:,} connections changed at once; the rest follows"
                    )
                    break
    except SourceError as error:
        fault = Partial(str(error), error)  # what was seen counts all the same
    seen.has_known = seen.has_known or bool(seen.hits)
    if seen.same or seen.changed:
        for id_ in view.ids_of(seen.hits) & (seen.same.keys() | seen.changed.keys()):
            # Shown as committed and otherwise: which is newer shows in the next poll.
            seen.same.pop(id_, None)
            seen.changed.pop(id_, None)
            seen.faults.append("a connection was shown twice with different content")
    if fault is None and seen.faults:
        fault = Partial(seen.faults[0])
    return seen, fault or Complete()


def readable(
    items: Iterable[tuple[Fingerprint, msgspec.Raw]], seen: Seen, untracked: Collection[str]
) -> Iterable[tuple[Fingerprint, ObservedConnection]]:
    """The items that decode. One that does not costs only itself: it counts as seen if its id is readable."""
    for fingerprint, raw in items:
        try:
            observed = read(raw)
        except Unreadable as error:
            note_drift(seen, [error.why])
            seen.faults.append(f"an item has no readable id ({error.why})")
            continue
        note_drift(seen, observed.drift)
        yield fingerprint, without_fields(observed, untracked)


def note_drift(seen: Seen, notes: Iterable[str]) -> None:
    """Remember what was not as documented, each once, at most ``MAX_DRIFT_NOTES``."""
    for note in notes:
        if len(seen.drift) < MAX_DRIFT_NOTES:
            seen.drift[note] = None


def without_fields(observed: ObservedConnection, names: Collection[str]) -> ObservedConnection:
    """The observation without fields that no sink asks for: they never reach state, history or bodies."""
    if not names or not observed.group_connections:
        return observed
    groups = tuple(
        msgspec.structs.replace(group, fields=_without(group.fields, names))
        for group in observed.group_connections
    )
    return msgspec.structs.replace(observed, group_connections=groups)


async def _compare(
    observed: list[tuple[Fingerprint, ObservedConnection]],
    seen: Seen,
    store: StateStore,
    words: Words,
    untracked: Collection[str],
) -> None:
    states = await store.states([item.id for _, item in observed])
    for (fingerprint, item), value in zip(observed, states, strict=True):
        if item.id in seen.same or item.id in seen.changed or item.id in seen.unreadable:
            earlier = seen.changed.pop(item.id, None)  # the later one is the newer one
            shown = {seen.same.pop(item.id, None), seen.unreadable.pop(item.id, None)}
            if fingerprint not in {*shown, earlier.fingerprint if earlier else None}:
                seen.faults.append("a connection was shown twice with different content")
        stored = codec.decode(value, words) if value is not None else None
        seen.has_known = seen.has_known or (stored is not None and stored.removed_at is None)
        if stored is None and not item.fields:
            seen.unreadable[item.id] = fingerprint  # it is there; that is all that can be said of it
        elif _is_as_stored(stored, item, untracked):
            seen.same[item.id] = fingerprint
        else:
            seen.changed[item.id] = Sighting(stored, item, fingerprint)


def _is_as_stored(
    stored: ConnectionState | None, item: ObservedConnection, untracked: Collection[str]
) -> bool:
    if stored is None or stored.removed_at is not None or missing_children(stored, item):
        return False
    if any(name in group.fields for group in stored.group_connections.values() for name in untracked):
        return False
    return not has_moved(stored, item)


def forgetting(stored: ConnectionState, names: Collection[str]) -> ConnectionState:
    """The stored state without fields that no sink asks for any more."""
    groups = {
        id_: msgspec.structs.replace(group, fields=_without(group.fields, names))
        for id_, group in stored.group_connections.items()
    }
    return msgspec.structs.replace(stored, group_connections=groups)


def _without(fields: dict[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}


def live_counts(state: ConnectionState | None) -> dict[str, int]:
    """How many live entities of each kind a state stands for, and whether it is a tombstone."""
    if state is None:
        return {}
    if state.removed_at is not None:
        return {"tombstone": 1}
    return {
        Kind.CONNECTION: 1,
        Kind.GROUP_CONNECTION: sum(
            1 for child in state.group_connections.values() if child.removed_at is None
        ),
        Kind.MILESTONE: sum(1 for child in state.milestones.values() if child.removed_at is None),
    }
