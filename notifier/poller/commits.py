"""What one poll found -> the chunks that are committed.

A chunk holds at most a hundred connections, each whole: its state, its history entries and the deliveries
that its events cause go together or not at all. The counts in meta are those after the chunk, so that a
crash between two chunks leaves a state that agrees with them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import structlog

from notifier.core import codec
from notifier.core.codec import Words
from notifier.core.diff import Diff
from notifier.core.events import Event, Names, Origin, from_transition
from notifier.core.rules import Router
from notifier.models import ConnectionState, Owed
from notifier.poller.traversal import live_counts
from notifier.store.state import Commit, Lease, Meta, StateStore

CHUNK = 100  # connections; more would block the server for milliseconds

_log = structlog.get_logger()
_json = msgspec.json.Encoder()


class Change(msgspec.Struct, frozen=True):
    """One connection's step: what was stored, and what the diff made of it.

    ``last_seen`` says of what was removed, by id, when it was last known to be there (ISO 8601 or None).
    """

    id: str
    stored: ConnectionState | None
    diff: Diff
    last_seen: Mapping[str, str | None] = {}


class Chain:
    """The commits of one poll, each made from the one before. Holds what has been committed so far."""

    def __init__(
        self,
        store: StateStore,
        lease: Lease,
        meta: Meta,
        words: Words,
        on_owed: Callable[[set[str]], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._on_owed = on_owed
        self._lease = lease
        self._stored_words = len(words)
        self.words = words
        self.version = meta.version
        self.counts = dict(meta.counts)
        self.events = 0
        self.connections = 0
        self.deliveries = 0

    async def commit(self, commit: Commit, meta: Mapping[str, Any]) -> None:
        """The next link; words that were added since the last go with it."""
        grown = {"words": self.words.values[1:]} if len(self.words) > self._stored_words else {}
        whole = msgspec.structs.replace(commit, meta={**meta, **grown})
        self.version = await self._store.commit(self._lease, self.version, whole)
        self._stored_words = len(self.words)
        self.deliveries += len(commit.owed)
        if commit.owed:
            self._on_owed({owed.sink for owed in commit.owed})


class Chunk(msgspec.Struct, frozen=True):
    """A commit without its meta, the counts after it, and what it tells."""

    commit: Commit
    counts: dict[str, int]
    events: int


def chunks(
    changes: Sequence[Change],
    counts: Mapping[str, int],
    words: Words,
    origin: Origin,
    names: Names,
    router: Router,
) -> Iterator[Chunk]:
    """The commits for these changes, in order; ``words`` may grow with each."""
    running = Counter(counts)
    for at in range(0, len(changes), CHUNK):
        part = changes[at : at + CHUNK]
        states: dict[str, bytes] = {}
        history: list[str] = []
        owed: list[Owed] = []
        for change in part:
            running.subtract(live_counts(change.stored))
            running.update(live_counts(change.diff.state))
            states[change.id] = codec.encode(change.diff.state, words)
            for event in events_of(change, origin, names):
                history.append(event_entry(event))
                owed += route(event, router)
        commit = Commit(states=states, history=history, owed=owed)
        yield Chunk(commit, dict(running), len(history))


def events_of(change: Change, origin: Origin, names: Names) -> list[Event]:
    """The events of one connection's transitions."""
    events = []
    for step in change.diff.transitions:
        seen_before = change.last_seen.get(step.id) if step.verb == "removed" else origin.seen_before
        seen = msgspec.structs.replace(origin, seen_before=seen_before)
        events.append(from_transition(step, change.id, change.diff.state.fields, seen, names))
    return events


def event_entry(event: Event) -> str:
    """An event as the history keeps it."""
    return _json.encode({"type": event.type, "timestamp": event.timestamp, "data": event.data}).decode()


def route(event: Event, router: Router) -> Sequence[Owed]:
    """Who is owed this event; a rule that needed a name that is not there is logged."""
    routed = router.route(event)
    for rule in routed.nameless:
        _log.warning("rule.nameless", rule=rule, event_id=event.id, type=event.type)
    return routed.owed
