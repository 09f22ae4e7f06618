"""The alerts' part of a poll: looks, the passing of time, the first look of a rule that is new, the telling.

What a poll changes of a connection and what that means for its alerts is one commit. Time passes only for
what this poll has seen; a rule's first look needs a Complete snapshot. Where nothing changed and nothing is
due, all of this costs one comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import msgspec

from notifier.clock import iso
from notifier.core import codec
from notifier.core.alerts import Alert, Phase
from notifier.core.book import Book
from notifier.core.census import Affected
from notifier.core.desk import Desk, Looked
from notifier.core.diff import ChildKey
from notifier.core.durations import Pair, Seconds
from notifier.core.events import Names, Origin, ids_named
from notifier.core.telling import Telling
from notifier.core.watch import Fresh, Turn, Watch
from notifier.models import ConnectionState, Kind
from notifier.poller.commits import CHUNK, Chain, Change, one, turned
from notifier.poller.counting import Counting
from notifier.poller.inbox import Wishes
from notifier.poller.look import ConnectionChild, Settings, Tools
from notifier.store.state import Commit, Meta


class Watching:
    """One poll's work on alerts; ``book`` holds them as committed."""

    def __init__(
        self,
        tools: Tools,
        settings: Settings,
        book: Book,
        counting: Counting,
        meta: Meta,
        chain: Chain,
        budget: int,
        wishes: Wishes,
        *,
        is_complete: bool,
    ) -> None:
        self._tools = tools
        self._book = book
        self._counting = counting
        self._meta = meta
        self._chain = chain
        self._budget = budget
        self._for_carriers = budget // 2  # of a first look: carriers come up in any batch
        router = tools.router
        self._watched = {rule.rule.name: f"{meta.epoch}:{rule.tag}" for rule in router.conditions}
        self.origin = Origin(settings.name, meta.epoch, iso(tools.store.now()), meta.complete_at)
        fresh = {name for name, tag in self._watched.items() if meta.watched.get(name) != tag}
        self._fresh = dict.fromkeys(fresh, self.origin.seen_at)  # a rule that comes back looks anew
        self._employers: dict[str, tuple[str | None, str | None]] = {}
        self._carriers: dict[str, str | None] = {}
        self.names = Names(self._employers, self._carriers)  # grows with what is looked up
        self._is_complete = is_complete
        now = self.origin.seen_at
        over = {id_: None for id_, silence in book.silences.items() if silence.until <= now}
        self._silences = {**over, **wishes.silences}
        self._takings = wishes.takings
        silences = filter(None, {**book.silences, **self._silences}.values())
        self._is_hushed = router.quiet.at(now, silences)
        looks = Fresh(self._fresh, is_complete)
        self.watch = Watch(book, router.conditions, router, self.origin, self.names, looks, self._is_hushed)
        self._telling = Telling()
        self._durations: Mapping[Pair, Seconds] = {}

    def remember(self) -> None:
        """All that this poll changes is committed."""
        self._book.put({**self.watch.written, **self._telling.alerts}, self._telling.messages)
        self._book.hush(self._silences)
        self._book.durations.put(self._durations)

    @property
    def budget(self) -> int:
        """How many requests this poll may still make."""
        return self._budget

    def open_alerts(self) -> list[Alert]:
        """The alerts that are open after all that this poll has done."""
        alerts = {**dict(self._book.items()), **self.watch.written, **self._telling.alerts}
        return [alert for alert in alerts.values() if alert is not None and alert.phase is Phase.OPEN]

    async def learn_names(self, changes: Collection[Change]) -> None:
        """Look up what the events and alerts of these changes need."""
        employers, carriers = _told_of(changes)
        if self._watched:
            all_employers, all_carriers = ids_named(change.diff.state for change in changes)
            employers |= all_employers
            carriers |= all_carriers
        await self._look_up(employers, carriers)

    async def let_time_pass(
        self, looked_at: Callable[[], Collection[str]], unseen: Iterable[ConnectionChild]
    ) -> None:
        """Take the steps that are due of what this poll has looked at, but for children it did not see."""
        due = self._book.due(self.origin.seen_at)
        if not due:
            return
        seen = looked_at()
        below: dict[str, set[ChildKey]] = {}
        for id_, child in unseen:
            below.setdefault(id_, set()).add(child)
        await self._look_up_alerts(alert for id_ in due for alert in self._book.of(id_).values())
        await self._commit(
            turn
            for id_ in sorted(due)
            for turn in self.watch.passed(id_, below.get(id_, ()) if id_ in seen else None)
        )

    async def find_owners(self) -> None:
        """Look up again what was missing for the owners of open alerts."""
        if self._book.seeking and self._tools.router.owners is not None:
            keys = sorted(self._book.seeking)
            await self._look_up_alerts(filter(None, map(self._book.get, keys)))
            await self._commit(self.watch.found(keys))

    async def look_first(self, changes: Collection[Change], last: Commit) -> Commit:
        """Rules that are new, other than before, or gone; the poll's last commit with what that adds.

        What this poll changed has been looked at.
        """
        if self._meta.watched == self._watched:
            return last
        looked_at = {change.id for change in changes}
        live: set[str] = set()
        batch: dict[str, ConnectionState] = {}
        async for id_, value in self._tools.store.all_states():
            if not codec.is_tombstone(value):
                live.add(id_)
                if self._fresh and id_ not in looked_at:
                    batch[id_] = codec.decode(value, self._chain.words)
            if len(batch) >= CHUNK:
                await self._look_at(batch)
                batch = {}
        await self._look_at(batch)
        await self._end_what_is_gone(live)
        return msgspec.structs.replace(last, meta={**last.meta, "watched": self._watched})

    async def tell_people(self, last: Commit) -> Commit:
        """The poll's last commit, with what is to be said to people of all this or was kept until now."""
        self._durations = self._book.durations.after(self.watch.samples.values())
        last = msgspec.structs.replace(last, silences=self._silences, durations=self._durations)
        last = await self._take(last)
        waiting, done = ((), self._fresh) if self._is_complete else (self._fresh, {})
        if not (self.watch.written or self._book.owed or done):
            return last
        router = self._tools.router
        desk = Desk(
            self._book,
            self.watch.written,
            router.conditions,
            router,
            self.origin,
            self.names,
            Looked(waiting, done),
            self._is_hushed,
        )
        await self._look_up_alerts(desk.plan())
        self._telling = desk.tell(await self._who_else([*desk.named()]))
        return msgspec.structs.replace(
            last,
            alerts={**last.alerts, **self._telling.alerts},
            pages=self._telling.pages,
            owed=[*last.owed, *self._telling.owed],
        )

    async def _take(self, last: Commit) -> Commit:
        """The poll's last commit, with the alerts that people have taken or given back."""
        if not self._takings:
            return last
        await self._look_up_alerts(self.watch.asked(self._takings))
        said = one(turn for taking in self._takings for turn in self.watch.taken(taking))
        self._chain.events += len(said.history)
        return msgspec.structs.replace(
            last,
            alerts={**last.alerts, **said.alerts},
            history=[*last.history, *said.history],
            owed=[*last.owed, *said.owed],
        )

    async def _who_else(self, named: Collection[Alert]) -> Affected:
        """Who is affected at the carriers of these alerts; of how many, where it is more than one."""
        alerts = {**dict(self._book.items()), **self.watch.written} if named else {}
        affected = Affected(filter(None, alerts.values()))
        if affected.is_several(named):
            affected.census = await self._counting.census(self._tools.store, self._chain.words)
        return affected

    async def _look_at(self, states: Mapping[str, ConnectionState]) -> None:
        fresh = [rule for rule in self._tools.router.conditions if rule.rule.name in self._fresh]
        named = ids_named(
            state
            for id_, state in states.items()
            if any(rule.matching(id_, state, Names()) for rule in fresh)
        )
        await self._look_up(*named, spare=self._for_carriers)
        await self._commit(
            turn for id_, state in states.items() for turn in self.watch.seen_first(id_, state)
        )

    async def _end_what_is_gone(self, live: Collection[str]) -> None:
        gone = [
            (key, alert)
            for key, alert in self._book.items()
            if alert.rule not in self._watched or alert.subject.connection not in live
        ]
        await self._look_up_alerts(alert for _, alert in gone)
        await self._commit(self._ends(gone, live))

    def _ends(self, gone: Iterable[tuple[str, Alert]], live: Collection[str]) -> Iterator[Turn]:
        for key, alert in gone:
            if key not in self.watch.written:
                rule_is_gone = alert.rule not in self._watched
                if rule_is_gone and alert.subject.connection in live:
                    yield from self.watch.freed(
                        alert.subject.connection, {(alert.subject.kind, alert.subject.id)}
                    )
                yield from self.watch.ended(key, alert, rule_is_gone=rule_is_gone)

    async def _commit(self, turns: Iterable[Turn]) -> None:
        for commit in turned(turns):
            await self._chain.commit(commit, {})
            self._chain.events += len(commit.history)

    async def _look_up_alerts(self, alerts: Iterable[Alert]) -> None:
        employers: set[str] = set()
        carriers: set[str] = set()
        for alert in alerts:
            _add(employers, alert.subject.above.get("employer"))
            _add(carriers, alert.subject.fields.get("carrier"))
        await self._look_up(employers, carriers)

    async def _look_up(self, employers: set[str], carriers: set[str], *, spare: int = 0) -> None:
        """Learn these names, within what is left of the poll's budget."""
        unknown = employers - self._employers.keys(), carriers - self._carriers.keys()
        found, asked = await self._tools.names.look_up(*unknown, self._budget, spare)
        self._budget -= asked
        self._employers.update(found.employers)
        self._carriers.update(found.carriers)


def _told_of(changes: Iterable[Change]) -> tuple[set[str], set[str]]:
    """The employers and carriers that the events of these changes mention."""
    employers: set[str] = set()
    carriers: set[str] = set()
    for change in changes:
        if change.diff.transitions:
            _add(employers, change.diff.state.fields.get("employer"))
        for step in change.diff.transitions:
            if step.kind is Kind.GROUP_CONNECTION:
                _add(carriers, step.fields.get("carrier"))
    return employers, carriers


def _add(ids: set[str], id_: object) -> None:
    if isinstance(id_, str):
        ids.add(id_)
