"""Holds the lease, keeps the beat, and ends each poll with its last commit.

Of any number of replicas one polls: the one that holds the lease. The lease only saves work; a poller that
lost it without noticing is stopped by the fence inside the commit. Every poll, also one that failed, ends
with what the notifier has to say of itself, committed like everything else.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import msgspec
import structlog

from notifier.clock import from_iso, iso
from notifier.core import codec
from notifier.core.codec import Words
from notifier.core.events import Origin, report
from notifier.core.reports import Facts, SinkFacts, decide
from notifier.core.results import SILENT_INTERVALS, PollResult
from notifier.errors import LeaseLost, SourceRefused, StateMoved, StoreError, StoreUnfit
from notifier.poller.baseline import Baseline, cause_for
from notifier.poller.commits import Chain, event_entry, route
from notifier.poller.cycle import Cycle
from notifier.poller.inbox import Wishes, applied, approved, wishes
from notifier.poller.look import Findings, Look, Memory, Settings, Tools
from notifier.poller.traversal import Complete, Partial
from notifier.store.client import LAST_WORD_S
from notifier.store.health import SinkHealth
from notifier.store.lanes import Lanes
from notifier.store.state import InboxEntry, Lease, Meta

OVERDUE_S = 120.0  # a lane that is due for so long and was not claimed: nobody delivers, or too slowly
_RENEWALS_PER_LEASE = 3
_STOP_GRACE_S = 2.0  # for a poll under way at a stop
_RESET_CAUSES = {"schema", "unreadable"}  # the stored words cannot be trusted

_log = structlog.get_logger()


class Hooks(msgspec.Struct, frozen=True):
    """Whom to tell: of sinks that were given work, of a finished poll, of a Complete one."""

    on_owed: Callable[[set[str]], None]
    on_polled: Callable[[PollResult], None]
    on_complete: Callable[[], None]


class Poller:
    """Polls while it holds the lease."""

    def __init__(
        self,
        tools: Tools,
        settings: Settings,
        lanes: Lanes,
        sinks: tuple[str, ...],
        lease_ttl: timedelta,
        hooks: Hooks,
    ) -> None:
        self._tools = tools
        self._settings = settings
        self._lanes = lanes
        self._sinks = sinks
        self._ttl = lease_ttl
        self._hooks = hooks
        self._holder = secrets.token_hex(8)
        self._memory = Memory.empty(settings.interval)
        self._holds_lease = False
        self._lease_number = 0  # of our last poll
        self._must_reset = ""  # why the next poll has to be a baseline whatever the store says
        self._complete_s = tools.clock.monotonic()  # when we last saw everything, or began

    async def run(self, stop: asyncio.Event) -> None:
        """Poll at a steady beat until ``stop`` is set; then give the lease back."""
        clock = self._tools.clock
        while not stop.is_set():
            began = clock.monotonic()
            result = await self._unless_stopped(self.poll_once(began), stop)
            if result is None:
                break
            self._hooks.on_polled(msgspec.structs.replace(result, seconds=clock.monotonic() - began))
            beat = self._settings.interval if result.outcome in {"complete", "partial"} else self._ttl / 2
            beat = min(beat, self._settings.interval)
            await self._wait(stop, began + beat.total_seconds())
        try:
            async with asyncio.timeout(LAST_WORD_S):
                await self._tools.store.give_back_lease(self._holder)
        except (StoreError, TimeoutError) as error:  # it ends by itself
            _log.warning("lease.not_given_back", error=str(error) or "the store does not answer")

    async def _unless_stopped(
        self, poll: Coroutine[None, None, PollResult], stop: asyncio.Event
    ) -> PollResult | None:
        """The poll's result; None where the stop came first and the poll did not end soon after.

        A poll may be cut off anywhere: what it has committed stands, the rest is found again.
        """
        polling, stopped = asyncio.ensure_future(poll), asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({polling, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not polling.done():
                await asyncio.wait({polling}, timeout=_STOP_GRACE_S)
            return await polling if polling.done() else None
        finally:
            polling.cancel()
            stopped.cancel()
            await asyncio.gather(polling, stopped, return_exceptions=True)

    async def _wait(self, stop: asyncio.Event, until: float) -> None:
        """Wait for the beat or the stop, keeping the lease."""
        clock = self._tools.clock
        renew_every = self._ttl.total_seconds() / _RENEWALS_PER_LEASE
        stopped = asyncio.ensure_future(stop.wait())
        try:
            while not stop.is_set() and (left := until - clock.monotonic()) > 0:
                nap = asyncio.ensure_future(clock.sleep(min(left, renew_every)))
                await asyncio.wait({stopped, nap}, return_when=asyncio.FIRST_COMPLETED)
                nap.cancel()
                if not stop.is_set() and until - clock.monotonic() > 0:
                    await self._renew()
        finally:
            stopped.cancel()

    async def _renew(self) -> None:
        if self._holds_lease:
            try:
                self._holds_lease = await self._tools.store.take_lease(self._holder, self._ttl) is not None
            except StoreError as error:
                _log.warning("lease.not_renewed", error=str(error))

    async def poll_once(self, began_s: float | None = None) -> PollResult:
        """One poll if the lease is ours or free, else a look at how the other replica does.

        ``began_s`` is the beat's moment on the monotonic clock: two beats are never closer than the interval.
        """
        began_s = self._tools.clock.monotonic() if began_s is None else began_s
        store = self._tools.store
        try:
            await store.sync_time()
            lease = await store.take_lease(self._holder, self._ttl)
            self._holds_lease = lease is not None
            if lease is None:
                return await self._stand_by()
            return await self._poll_holding(lease, began_s)
        except (LeaseLost, StateMoved) as error:
            self._forget()
            _log.warning("poll.abandoned", reason=str(error))
            return PollResult("standby", str(error))
        except StoreError as error:
            self._forget()
            return PollResult("failed", str(error))

    async def _stand_by(self) -> PollResult:
        meta = await self._tools.store.meta()
        self._must_reset = ""  # what we could not read is another's to judge now
        self._complete_s = self._tools.clock.monotonic()  # ours to watch only from when we poll
        age_s = None
        if meta.complete_at:  # ahead of now: the store's clock was set back, and we know no better
            age_s = abs((self._tools.store.now() - from_iso(meta.complete_at)).total_seconds())
        return PollResult("standby", complete_age_s=age_s)

    def _forget(self, version: str = "") -> None:
        self._memory = Memory.empty(self._settings.interval, version, self._memory.known_before)

    async def _poll_holding(self, lease: Lease, began_s: float) -> PollResult:
        """One poll, with the lease renewed beside it."""
        await self._know_owners()
        keeper = asyncio.create_task(self._keep_lease())
        try:
            return await self._poll(lease, began_s)
        finally:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)

    async def _know_owners(self) -> None:
        """Take over the table of owners as it is now."""
        roster, router = self._tools.roster, self._tools.router
        if roster is None:
            return
        await roster.look()
        if roster.owners is not router.owners:
            self._tools = msgspec.structs.replace(self._tools, router=router.knowing(roster.owners))

    async def _keep_lease(self) -> None:
        while True:
            await self._tools.clock.sleep(self._ttl.total_seconds() / _RENEWALS_PER_LEASE)
            await self._renew()

    # --- one poll ---

    async def _poll(self, lease: Lease, began_s: float) -> PollResult:
        store = self._tools.store
        began = iso(store.now())
        meta, inbox, size = await asyncio.gather(store.meta(), store.inbox(), store.size())
        if meta.version != self._memory.view.version or lease.number != self._lease_number:
            self._forget(meta.version)  # another may have polled since: what it saw ends absences
        self._lease_number = lease.number
        held, is_new_account = approved(meta, inbox)
        asked = wishes(inbox)
        cause = "approved" if is_new_account else self._cause_for(meta, size)
        words = Words(() if cause in _RESET_CAUSES else meta.words)
        chain = Chain(store, lease, meta, words, self._hooks.on_owed)
        look: Look
        if cause:
            known = (
                0 if cause == "approved" else max(self._memory.known_before, meta.counts.get("connection", 0))
            )
            look = Baseline(self._tools, self._settings, self._memory, chain, cause, known, held)
        else:
            look = Cycle(self._tools, self._settings, self._memory, meta, chain, held, began_s, asked)
        try:
            findings = await look.run()
        except codec.Undecodable as error:
            if (await store.meta()).version != chain.version:
                raise StateMoved("the state moved on while it was read") from error
            self._must_reset = "unreadable"
            self._forget()
            return PollResult("failed", f"{error}; the next poll takes a new baseline")
        facts = await self._facts(began, findings, chain)
        await self._commit_rest(meta, chain, findings, facts, inbox, asked)
        look.remember(chain.version)
        if self._memory.book is not None:
            self._memory.book.hush(asked.silences)
        if findings.baseline:
            self._must_reset = ""
        return self._result(findings, chain, facts, cause)

    def _cause_for(self, meta: Meta, size: int) -> str:
        if self._must_reset:
            return self._must_reset
        return cause_for(meta, self._settings, size, known_before=self._memory.known_before) or ""

    async def _facts(self, began: str, findings: Findings, chain: Chain) -> Facts:
        """How things stand now, for the reports."""
        is_complete = isinstance(findings.outcome, Complete)
        now_s = self._tools.clock.monotonic()
        if is_complete:
            self._complete_s = now_s
        sinks = await asyncio.gather(*(self._sink_facts(sink) for sink in self._sinks))
        return Facts(
            at=began,
            is_complete=is_complete,
            source_fault=self._source_fault(findings, now_s),
            drift=tuple(findings.seen.drift),
            held=findings.held,
            sinks=dict(zip(self._sinks, sinks, strict=True)),
            baseline=findings.baseline,
            known=findings.last.meta.get("counts", chain.counts),
        )

    async def _sink_facts(self, sink: str) -> SinkFacts:
        try:
            return self._judged(await self._lanes.health(sink))
        except StoreUnfit as error:  # its own keys are spoilt: the other sinks and the poll go on
            return SinkFacts(failing=str(error))

    def _judged(self, health: SinkHealth) -> SinkFacts:
        is_paused = health.paused_until is not None
        is_failing = health.is_failing or is_paused
        idle = is_paused or health.is_resting or health.off is not None or health.oldest_due is None
        overdue_s = 0.0 if idle or health.oldest_due is None else self._age_s(health.oldest_due)
        failing = (health.message or health.reason or "unknown") if is_failing else None
        if not failing and overdue_s > OVERDUE_S:
            failing = "what is owed is due and nobody sends it: is a worker with this sink running?"
        return SinkFacts(
            failing=failing,
            paused=is_paused,
            waiting=health.waiting,
            dead=health.dead,
            deaths=health.deaths,
            overdue_s=overdue_s,
        )

    def _source_fault(self, findings: Findings, now_s: float) -> str | None:
        outcome = findings.outcome
        if isinstance(outcome, Complete):
            return None
        if outcome.error is None and findings.held and findings.held.whole_snapshot:
            return None  # told as held
        silent_s = SILENT_INTERVALS * self._settings.interval.total_seconds()
        is_fault = isinstance(outcome.error, SourceRefused) or now_s - self._complete_s > silent_s
        return outcome.reason if is_fault else None

    async def _commit_rest(
        self,
        meta: Meta,
        chain: Chain,
        findings: Findings,
        facts: Facts,
        inbox: list[InboxEntry],
        asked: Wishes,
    ) -> None:
        """The last commit of a poll: what the look left, what we say of ourselves, what people wrote."""
        told, reports = decide(meta.told, facts)
        fields: dict[str, Any] = dict(findings.last.meta)
        if facts.is_complete:
            fields["complete_at"] = facts.at
        if told != meta.told:
            fields["told"] = told
        if findings.held != meta.held:
            fields["held"] = findings.held
        epoch = fields.get("epoch") or meta.epoch
        origin = Origin(self._settings.name, epoch, iso(self._tools.store.now()), meta.complete_at)
        entries, owed = [], []
        for said in reports:
            event = report(
                said.type,
                origin,
                nonce=f"{facts.at} {said.message}",
                message=said.message,
                cause=said.cause,
                severity=said.severity,
                sink=said.subject,
            )
            entries.append(event_entry(event))
            owed += [item for item in route(event, self._tools.router) if item.sink != said.subject]
            level = logging.INFO if said.severity == "info" else logging.WARNING
            _log.log(level, "report.made", type=said.type, severity=said.severity, message=said.message)
        rest = msgspec.structs.replace(
            findings.last,
            history=[*findings.last.history, *entries],
            owed=[*findings.last.owed, *owed],
            silences={**findings.last.silences, **asked.silences},
            inbox_upto=applied(inbox, has_watched=findings.has_watched),
        )
        if fields or not rest.is_empty:
            await chain.commit(rest, fields)

    def _result(self, findings: Findings, chain: Chain, facts: Facts, cause: str) -> PollResult:
        outcome, roster = findings.outcome, self._tools.roster
        if isinstance(outcome, Complete):
            self._hooks.on_complete()
        return PollResult(
            "complete" if isinstance(outcome, Complete) else "partial",
            outcome.reason if isinstance(outcome, Partial) else "",
            connections=findings.seen.items,
            changed=chain.connections,
            events=chain.events,
            deliveries=chain.deliveries,
            baseline=cause,
            complete_age_s=self._age_s(facts.at) if facts.is_complete else None,
            problems=(*_problems(facts), *([roster.problem] if roster and roster.problem else [])),
            stalls=tuple(
                f"what is owed to {name} has waited {sink.overdue_s:.0f} s for its turn"
                for name, sink in facts.sinks.items()
                if sink.overdue_s > OVERDUE_S
            ),
            known=facts.known,
            sinks=facts.sinks,
        )

    def _age_s(self, moment: str) -> float:
        return max(0.0, (self._tools.store.now() - from_iso(moment)).total_seconds())


def _problems(facts: Facts) -> tuple[str, ...]:
    """What a person should look at, for readiness and status."""
    problems = []
    if facts.held is not None and not facts.held.approved:
        what = (
            "a list that shares nothing with what is known is"
            if facts.held.whole_snapshot
            else "removals are"
        )
        problems.append(f"{what} held; see `notifier approve`")
    problems += [
        f"sink {name} is failing: {sink.failing}" for name, sink in facts.sinks.items() if sink.failing
    ]
    problems += [
        f"sink {name} has {sink.dead} dead letter{'s' * (sink.dead != 1)}"
        for name, sink in facts.sinks.items()
        if sink.dead
    ]
    return tuple(problems)
