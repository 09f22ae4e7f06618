"""One poll: what the list shows now against what is stored, committed in chunks.

The three outcomes of a look at the source are kept apart from start to end: a baseline takes what is there
without a word, a held snapshot changes nothing, and everything else is diffed. Only a Complete snapshot
can make anything absent, and even then the mass guard and Clasp's own 404 stand before a removal.
"""

from __future__ import annotations

from collections.abc import Mapping

from notifier.clasp.decode import Unreadable, read
from notifier.clock import iso
from notifier.core import codec
from notifier.core.book import Book
from notifier.core.diff import Diff, diff, highest_revision, missing_children, remove
from notifier.core.removals import Held, held_kinds
from notifier.core.view import Learned
from notifier.errors import SourceError, SourceUnavailable
from notifier.models import ConnectionState, Kind
from notifier.poller.commits import Chain, Change, chunks
from notifier.poller.digesting import tell_digests
from notifier.poller.inbox import Wishes
from notifier.poller.look import ConnectionChild, Findings, Memory, Settings, Tools
from notifier.poller.traversal import (
    Complete,
    Partial,
    Seen,
    Sighting,
    forgetting,
    traverse,
    without_fields,
)
from notifier.poller.watching import Watching
from notifier.store.state import Commit, Meta

_READ_ALL_EVERY_S = 86_400.0  # to find tombstones that are old enough to be forgotten


class Cycle:
    """One poll of a source that has its baseline."""

    def __init__(
        self,
        tools: Tools,
        settings: Settings,
        memory: Memory,
        meta: Meta,
        chain: Chain,
        held: Held | None,
        began_s: float,
        wishes: Wishes,
    ) -> None:
        self._tools = tools
        self._settings = settings
        self._memory = memory
        self._meta = meta
        self._chain = chain
        self._held = held
        self._wishes = wishes  # what people asked for since the last poll
        self._began = tools.store.now()
        self._began_s = began_s
        self._budget = settings.request_budget
        self._learned = Learned()
        self._watching: Watching | None = None
        self._digest_at = memory.digest_at
        self._expired: set[str] = set()
        self._forgotten_revision = meta.forgotten_revision
        self._live: set[str] | None = None  # read from the store where the view does not know it yet

    async def run(self) -> Findings:
        """Look, diff and commit, chunk by chunk."""
        tools, memory = self._tools, self._memory
        seen, outcome = await traverse(
            tools.source, memory.view, tools.store, self._chain.words, self._settings.untracked
        )
        known = self._chain.counts.get(Kind.CONNECTION, 0)
        if known and seen.items and not seen.has_known:
            return self._hold_whole(seen, outcome)
        missing = await self._missing(seen) if isinstance(outcome, Complete) else None
        missing_below = self._missing_below(seen)
        held = self._guard(seen, missing, missing_below)
        gone, found = await self._confirm(missing, held)
        changes = self._changes(seen, found, gone, missing_below, held)
        watching = Watching(
            tools,
            self._settings,
            await self._book(),
            self._memory.counting,
            self._meta,
            self._chain,
            self._budget,
            self._wishes,
            is_complete=isinstance(outcome, Complete),
        )
        await self._commit(changes, watching)
        last = self._forgetting_the_old(changes)
        await watching.let_time_pass(lambda: self._looked_at(seen) - gone.keys(), missing_below)
        if isinstance(outcome, Complete):
            await watching.find_owners()
            last = await watching.look_first(changes, last)
        last = await watching.tell_people(last)
        if isinstance(outcome, Complete) and memory.digest_at <= watching.origin.seen_at:
            last, self._digest_at = await tell_digests(tools, self._settings, self._meta, watching, last)
        self._watching = watching
        self._learned = self._learn(seen, found, changes, missing_below)
        return Findings(
            outcome, seen, self._still_held(held, missing, missing_below), last=last, has_watched=True
        )

    async def _book(self) -> Book:
        """The alerts as committed, read where this memory does not hold them yet."""
        if self._memory.book is None:
            store, sinks = self._tools.store, sorted(self._tools.router.for_people)
            self._memory.book = Book(
                await store.alerts(),
                await store.messages(sinks),
                await store.silences(),
                await store.durations(),
            )
        return self._memory.book

    def _looked_at(self, seen: Seen) -> set[str]:
        """The connections of which this poll knows how they are."""
        return {*self._memory.view.ids_of(seen.hits), *seen.same, *seen.changed}

    def remember(self, version: str) -> None:
        """The whole poll is committed, the last time at ``version``: now, not before, the view may change."""
        self._memory.known_before = self._chain.counts.get(Kind.CONNECTION, 0)
        self._memory.view.update(version, self._learned)
        self._memory.digest_at = self._digest_at
        if self._watching is not None:
            self._watching.remember()

    def _hold_whole(self, seen: Seen, outcome: Complete | Partial) -> Findings:
        """Nothing in common with the state: another account's key, or the first page of one."""
        if isinstance(outcome, Partial):
            return Findings(outcome, seen, self._held)
        held = self._held
        if held is None or not held.whole_snapshot:
            held = Held(iso(self._began), whole_snapshot=True)
        return Findings(Partial("the list shares no connection with what is known"), seen, held)

    # --- what is not there ---

    async def _missing(self, seen: Seen) -> set[str]:
        """Live connections that a Complete snapshot did not show."""
        fresh = seen.fresh_ids
        view = self._memory.view
        if view.is_whole and self._began_s - self._memory.read_all_s < _READ_ALL_EVERY_S:
            return view.not_hit(seen.hits) - fresh
        self._live = await self._read_all()
        return self._live - fresh - view.ids_of(seen.hits)

    async def _read_all(self) -> set[str]:
        """The live connections of the whole state; notes the tombstones that are old enough to forget."""
        live = set()
        forget_before = self._forget_before()
        async for id_, value in self._tools.store.all_states():
            if not codec.is_tombstone(value):
                live.add(id_)
                continue
            tombstone = codec.decode(value, self._chain.words)
            if (tombstone.removed_at or 0) < forget_before:
                self._expired.add(id_)
                self._forgotten_revision = max(self._forgotten_revision, highest_revision(tombstone))
        self._memory.read_all_s = self._began_s
        return live

    def _forgetting_the_old(self, changes: list[Change]) -> Commit:
        """Tombstones that are older than the history go, but for those that have just come back."""
        expired = self._expired - {change.id for change in changes}
        if not expired:
            return Commit()
        counts = {**self._chain.counts, "tombstone": self._chain.counts.get("tombstone", 0) - len(expired)}
        return Commit(forgotten=sorted(expired), meta={"counts": counts, **self._forgotten()})

    def _forgotten(self) -> dict[str, int]:
        """The highest revision that was ever forgotten, where this poll has raised it."""
        now = self._forgotten_revision
        return {"forgotten_revision": now} if now > self._meta.forgotten_revision else {}

    def _forget_before(self) -> int:
        return int(self._began.timestamp() - self._settings.history.total_seconds())

    def _missing_below(self, seen: Seen) -> set[ConnectionChild]:
        """Live children that a readable list of their parent did not show."""
        return {
            (id_, child)
            for id_, sighting in seen.changed.items()
            if sighting.stored is not None and sighting.stored.removed_at is None
            for child in missing_children(sighting.stored, sighting.seen)
        }

    def _guard(
        self, seen: Seen, missing: set[str] | None, missing_below: set[ConnectionChild]
    ) -> frozenset[Kind]:
        """The kinds of which nothing may be removed now. A Partial poll, which sees few, ends no wait."""
        by_kind: dict[Kind, list[str]] = {Kind.CONNECTION: list(missing or ())}
        for _, (kind, id_) in missing_below:
            by_kind.setdefault(kind, []).append(id_)
        counts = {kind: self._chain.counts.get(kind, 0) for kind in Kind}
        is_approved = self._held is not None and self._held.approved
        approved = (
            {id_ for ids in self._held.ids.values() for id_ in ids} if self._held and is_approved else set()
        )
        held = held_kinds(by_kind, counts, approved, self._settings.guard, is_empty=not seen.items)
        if missing is None and self._held is not None and not is_approved:
            held |= {kind for kind in Kind if self._held.ids.get(kind)}
        return held

    def _still_held(
        self, kinds: frozenset[Kind], missing: set[str] | None, missing_below: set[ConnectionChild]
    ) -> Held | None:
        """What waits for a person after this poll. A Partial poll cannot end the wait for connections."""
        before = self._held
        if missing is None and before is not None:
            return before
        ids: dict[str, list[str]] = {}
        if Kind.CONNECTION in kinds:
            ids[Kind.CONNECTION] = sorted(missing or ())
        for kind in (Kind.GROUP_CONNECTION, Kind.MILESTONE):
            if kind in kinds:
                ids[kind] = sorted(id_ for _, (child_kind, id_) in missing_below if child_kind is kind)
        if ids:
            since = before.since if before is not None and not before.approved else iso(self._began)
            return Held(since, ids)
        if before is not None and before.approved:
            absent = {*(missing or ()), *(id_ for _, (_, id_) in missing_below)}
            rest = {kind: [id_ for id_ in ids if id_ in absent] for kind, ids in before.ids.items()}
            return Held(before.since, rest, approved=True) if any(rest.values()) else None
        return None

    async def _confirm(
        self, missing: set[str] | None, held: frozenset[Kind]
    ) -> tuple[dict[str, ConnectionState], dict[str, Sighting]]:
        """Ask Clasp for each connection whose absence is proven: (gone, found after all), by id."""
        gone: dict[str, ConnectionState] = {}
        found: dict[str, Sighting] = {}
        if missing is None:
            return gone, found
        self._memory.absent.keep_only(missing)
        proven = sorted(self._memory.absent.missed(missing, self._began_s, self._last_whole_look()))
        if Kind.CONNECTION in held or not proven:
            return gone, found
        first = int(self._began_s) % len(proven)  # not always the same ones, should some never answer
        asked = [*proven[first:], *proven[:first]][: self._budget]
        self._budget -= len(asked)
        states = await self._tools.store.states(asked)
        for id_, value in zip(asked, states, strict=True):
            if value is None:
                continue
            stored = codec.decode(value, self._chain.words)
            try:
                raw = await self._tools.source.connection(id_)
                seen = None if raw is None else without_fields(read(raw), self._settings.untracked)
            except SourceUnavailable:
                break  # what else there is to tell must not wait for it
            except (SourceError, Unreadable):
                continue  # unknown, so not gone; asked again in the next poll
            if seen is None:
                gone[id_] = stored
            else:
                self._memory.absent.seen([id_])
                found[id_] = Sighting(stored, seen, None)
        return gone, found

    # --- what is there ---

    def _changes(
        self,
        seen: Seen,
        found: Mapping[str, Sighting],
        gone: Mapping[str, ConnectionState],
        missing_below: set[ConnectionChild],
        held: frozenset[Kind],
    ) -> list[Change]:
        now = int(self._began.timestamp())
        forget_before = self._forget_before()
        proven = {
            key
            for key in self._memory.absent_children.missed(
                missing_below, self._began_s, self._last_whole_look()
            )
            if key[1][0] not in held
        }
        changes = []
        for id_, sighting in [*seen.changed.items(), *found.items()]:
            stored = sighting.stored and forgetting(sighting.stored, self._settings.untracked)
            removable = {child for parent, child in proven if parent == id_} if proven else ()
            step = diff(
                stored,
                sighting.seen,
                now=now,
                removable=removable,
                forget_before=forget_before,
                new_from=self._meta.forgotten_revision,
            )
            self._forgotten_revision = max(self._forgotten_revision, step.forgotten_revision)
            if step.transitions or step.state != sighting.stored:
                changes.append(Change(id_, sighting.stored, step, self._last_seen_below(id_, step)))
        changes += [
            Change(id_, stored, remove(stored, id_, now=now), {id_: self._memory.absent.last_seen(id_)})
            for id_, stored in gone.items()
        ]
        return changes

    def _last_whole_look(self) -> str | None:
        """When what is missing now for the first time was still there, as far as this process has seen."""
        return self._meta.complete_at if self._memory.view.is_whole else None

    def _last_seen_below(self, id_: str, step: Diff) -> dict[str, str | None]:
        return {
            gone.id: self._memory.absent_children.last_seen((id_, (gone.kind, gone.id)))
            for gone in step.transitions
            if gone.verb == "removed"
        }

    async def _commit(self, changes: list[Change], watching: Watching) -> None:
        if not changes:
            return
        chain = self._chain
        await watching.learn_names(changes)
        for chunk in chunks(
            changes,
            chain.counts,
            chain.words,
            watching.origin,
            watching.names,
            self._tools.router,
            watching.watch,
        ):
            await chain.commit(chunk.commit, {"counts": chunk.counts, **self._forgotten()})
            chain.counts = chunk.counts
            chain.events += chunk.events
            chain.connections += len(chunk.commit.states)
        self._memory.counting.keep_up(changes)

    def _learn(
        self,
        seen: Seen,
        found: Mapping[str, Sighting],
        changes: list[Change],
        missing_below: set[ConnectionChild],
    ) -> Learned:
        """What this poll says about absences and fingerprints."""
        memory = self._memory
        gone = {change.id for change in changes if change.diff.state.removed_at is not None}
        removed_below = {
            (change.id, (step.kind, step.id))
            for change in changes
            for step in change.diff.transitions
            if step.verb == "removed"
        }
        waiting = missing_below - removed_below
        loose = {id_ for id_, _ in waiting} | found.keys()
        same = dict(seen.same)
        for id_, sighting in seen.changed.items():
            if id_ not in loose and sighting.fingerprint is not None:
                same[id_] = sighting.fingerprint
        shown = seen.changed.keys() | seen.same.keys()
        if len(memory.absent):
            memory.absent.seen(shown | memory.view.ids_of(seen.hits))
        judged = shown | gone | found.keys()  # also what was only seen by id ends what waits below it
        memory.absent_children.keep_only(
            key for key in memory.absent_children if key in waiting or key[0] not in judged
        )
        if self._live is not None:
            loose |= self._live - same.keys() - gone - memory.view.ids_of(seen.hits)
        return Learned(same, loose, gone, is_whole=self._live is not None)
