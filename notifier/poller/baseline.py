"""A first look, or a new one after the state was lost: takes what is there, without events.

Pages are committed as they come. ``epoch`` is empty from the first chunk to the last: whatever interrupts a
baseline, the next poll is a baseline again. Only the last chunk of a Complete snapshot, which also forgets
what was not shown, sets the epoch.
"""

from __future__ import annotations

import secrets
from collections import Counter

from notifier.clock import iso
from notifier.core import codec
from notifier.core.diff import first_state
from notifier.core.removals import Held
from notifier.core.view import Learned, View
from notifier.errors import SourceError
from notifier.models import ConnectionState, Kind
from notifier.poller.commits import CHUNK, Chain
from notifier.poller.counting import Counting
from notifier.poller.look import Findings, Memory, Settings, Tools
from notifier.poller.traversal import Complete, Partial, Seen, items_of, live_counts, readable
from notifier.store.state import SCHEMA, Commit, Meta

FIRST_RUN = "first_run"
_MUST_BE_KEPT = {FIRST_RUN, "approved"}  # causes that the next poll could not find out again
_FORGOTTEN_AT_ONCE = 1000  # connections that are no more


def cause_for(meta: Meta, settings: Settings, size: int, *, known_before: int) -> str | None:
    """Why this poll has to be a baseline, or None where the state can be diffed against."""
    if not meta.version:
        return "state_lost" if known_before else FIRST_RUN
    if meta.baseline or not meta.epoch:
        return meta.baseline or "state_lost"
    if meta.schema != SCHEMA:
        return "schema"
    if meta.base_url != settings.base_url:
        return "base_url"
    if meta.api_version != settings.api_version:
        return "api_version"
    recorded = meta.counts.get(Kind.CONNECTION, 0) + meta.counts.get("tombstone", 0)
    return "size" if size != recorded else None


class Baseline:
    """One poll that takes the list as it is."""

    def __init__(
        self,
        tools: Tools,
        settings: Settings,
        memory: Memory,
        chain: Chain,
        cause: str,
        expected: int,
        held: Held | None,
    ) -> None:
        self._tools = tools
        self._settings = settings
        self._memory = memory
        self._chain = chain
        self._cause = cause
        self._expected = expected  # connections known before: then an empty list waits for a person
        self._held = held if held is not None and held.whole_snapshot else None
        self._is_begun = False
        self._is_done = False
        self._view = View("")
        self._seen = Seen()
        self._shown: dict[str, bytes] = {}  # id -> fingerprint
        self._counts: Counter[str] = Counter()
        self._pending: dict[str, bytes] = {}

    async def run(self) -> Findings:
        """Look and commit, chunk by chunk; the last one, which ends the baseline, is left to the caller."""
        try:
            await self._take_pages()
        except SourceError as error:
            return self._unfinished(Partial(str(error), error))
        if self._seen.faults:
            return self._unfinished(Partial(self._seen.faults[0]))
        if (self._expected or self._held) and not self._seen.items:
            return self._hold_empty()
        forgotten = [id_ async for id_, _ in self._tools.store.all_states() if id_ not in self._shown]
        while len(forgotten) > _FORGOTTEN_AT_ONCE:
            part, forgotten = forgotten[:_FORGOTTEN_AT_ONCE], forgotten[_FORGOTTEN_AT_ONCE:]
            await self._chain.commit(Commit(forgotten=part), self._mark())
        counts = dict(self._counts)
        meta = {
            "schema": SCHEMA,
            "baseline": "",
            "epoch": secrets.token_hex(8),
            "base_url": self._settings.base_url,
            "api_version": self._settings.api_version,
            "counts": {kind: counts.get(kind, 0) for kind in (*Kind, "tombstone")},
        }
        self._is_done = True
        last = Commit(states=self._pending, forgotten=forgotten, meta=meta)
        return Findings(Complete(), self._seen, None, (self._cause, counts), last)

    def remember(self, version: str) -> None:
        """All of it is committed, the last part at ``version``."""
        self._memory.view = View(version)
        self._memory.counting = Counting()
        self._memory.absent.keep_only(())
        self._memory.absent_children.keep_only(())
        if self._is_done:
            self._memory.known_before = self._counts[Kind.CONNECTION]
            self._memory.view.update(version, Learned(self._shown, is_whole=True))

    async def _take_pages(self) -> None:
        async for fresh in items_of(self._tools.source, self._view, self._seen):
            observed = list(readable(fresh, self._seen, self._settings.untracked))
            stored = await self._tools.store.states([item.id for _, item in observed])
            for (fingerprint, item), before in zip(observed, stored, strict=True):
                state = first_state(item)
                if item.id in self._shown:  # shown twice; a change in between is for the next poll to tell
                    continue
                self._shown[item.id] = fingerprint
                self._counts.update(live_counts(state))
                self._counts["needs_attention"] += _in_need(state)
                value = codec.encode(state, self._chain.words)
                if value != before:
                    self._pending[item.id] = value
            while len(self._pending) > CHUNK:
                await self._flush()

    async def _flush(self) -> None:
        ids = list(self._pending)[:CHUNK]
        states = {id_: self._pending.pop(id_) for id_ in ids}
        await self._chain.commit(Commit(states=states), self._mark())

    def _mark(self) -> dict[str, str]:
        """From here on the old state is no longer whole."""
        self._is_begun = True
        return {"baseline": self._cause, "epoch": ""}

    def _hold_empty(self) -> Findings:
        """Nothing where much was known: a person may say that it is so, as with another account's list."""
        known = f"{self._expected} connections" if self._expected else "some"
        outcome = Partial(f"the list is empty, but {known} were known")
        return self._unfinished(outcome, Held(iso(self._tools.store.now()), whole_snapshot=True))

    def _unfinished(self, outcome: Partial, held: Held | None = None) -> Findings:
        """What was seen is kept; the next poll is a baseline again. What is held stays held."""
        is_begun = self._is_begun or self._pending or self._cause in _MUST_BE_KEPT
        mark = self._mark() if is_begun else {}  # else the old state still stands
        return Findings(outcome, self._seen, self._held or held, last=Commit(states=self._pending, meta=mark))


def _in_need(state: ConnectionState) -> int:
    return sum(
        1 for group in state.group_connections.values() if group.fields.get("status") == "needs_attention"
    )
