"""What one poll found -> the chunks that are committed.

A chunk holds at most a hundred connections, each whole: its state, its history entries and the deliveries
that its events cause go together or not at all. The counts in meta are those after the chunk, so that a
crash between two chunks leaves a state that agrees with them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import structlog

from notifier.config import Target
from notifier.core import codec
from notifier.core.alerts import Alert
from notifier.core.codec import Words
from notifier.core.diff import Diff
from notifier.core.events import Event, Names, Origin, from_transition
from notifier.core.messages import place_of
from notifier.core.rules import Router
from notifier.core.watch import Turn, Watch
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
    """A commit without its meta, the counts after it, and how many events it tells."""

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
    watch: Watch,
) -> Iterator[Chunk]:
    """The commits for these changes, in order; ``words`` may grow with each."""
    running = Counter(counts)
    for at in range(0, len(changes), CHUNK):
        part = changes[at : at + CHUNK]
        states: dict[str, bytes] = {}
        said = _Said()
        for change in part:
            running.subtract(live_counts(change.stored))
            running.update(live_counts(change.diff.state))
            states[change.id] = codec.encode(change.diff.state, words)
            steps = change.diff.transitions
            moved = [(step.kind, step.id) for step in steps]
            turns = list(watch.seen(change.id, change.stored, change.diff.state, moved))
            told = {(turn.entity, place) for turn in turns if turn.tells_the_move for place in turn.places}
            for entity, event in zip(moved, events_of(change, origin, names), strict=True):
                owed = route(event, router)
                said.event(event, [one for one in owed if (entity, _place_of(one)) not in told])
            said.turns(turns)
        yield Chunk(said.commit(states), dict(running), len(said.history))


def turned(turns: Iterable[Turn]) -> Iterator[Commit]:
    """The commits for turns of alerts whose connections are as before, in order."""
    said = _Said()
    connections: set[str] = set()
    for turn in turns:
        connection = turn.connection
        if len(connections) >= CHUNK and connection not in connections:
            yield said.commit()
            said, connections = _Said(), set()
        connections.add(connection)
        said.turns([turn])
    if connections:
        yield said.commit()


def one(turns: Iterable[Turn]) -> Commit:
    """The same as one commit, however many they are."""
    said = _Said()
    said.turns(turns)
    return said.commit()


class _Said:
    """What one commit says, as it grows."""

    def __init__(self) -> None:
        self.history: list[str] = []
        self._owed: list[Owed] = []
        self._alerts: dict[str, Alert | None] = {}

    def event(self, event: Event, owed: Iterable[Owed]) -> None:
        self.history.append(event_entry(event))
        self._owed += owed

    def turns(self, turns: Iterable[Turn]) -> None:
        for turn in turns:
            self._alerts[turn.key] = turn.alert
            if turn.event is not None:
                self.event(turn.event, turn.owed)

    def commit(self, states: Mapping[str, bytes] | None = None) -> Commit:
        return Commit(states=states or {}, alerts=self._alerts, history=self.history, owed=self._owed)


def _place_of(owed: Owed) -> str:
    """Where it is said. What an alert says there of the same move needs not be said again."""
    return place_of(Target(owed.sink, owed.delivery.target))


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
