"""The digests that are due in a poll, with all that they tell, for the poll's last commit.

They are told in polls that saw everything, like all that waits for its time. What is open is in the poller's
memory; what happened is read from the history, once for all that are due. Where none is, a poll compares two
texts.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

import msgspec

from notifier.core.alerts import Alert, moment_text
from notifier.core.digests import Due, decide
from notifier.core.past import Past, happened
from notifier.core.summary import Digester, Summary, ids_named, told_in
from notifier.models import Owed
from notifier.poller.look import Settings, Tools
from notifier.poller.watching import Watching
from notifier.store.state import Commit, Meta, StateStore

_MOST_READ = 20_000  # events, some 20 MB: beyond, a digest says "at least"


async def tell_digests(
    tools: Tools, settings: Settings, meta: Meta, watching: Watching, last: Commit
) -> tuple[Commit, str]:
    """The poll's last commit with the digests that are due, and when the next one is."""
    plan = decide(tools.router.digests, meta.digests, watching.origin.seen_at)
    owed: list[Owed] = []
    if plan.due:
        owed = await _owed(plan.due, tools, settings, watching)
    if plan.standing == meta.digests:
        return last, plan.next_at
    fields = {**last.meta, "digests": plan.standing}
    return msgspec.structs.replace(last, meta=fields, owed=[*last.owed, *owed]), plan.next_at


async def _owed(due: Collection[Due], tools: Tools, settings: Settings, watching: Watching) -> list[Owed]:
    origin, alerts = watching.origin, watching.open_alerts()
    past = await read_past(tools.store, min(one.since for one in due), origin.seen_at, settings.history)
    told = [
        summarize(one, alerts, past, settings.interval, origin.seen_before, origin.seen_at) for one in due
    ]
    told = [summary for summary in told if not summary.is_silent]
    employers: set[str] = set()
    carriers: set[str] = set()
    for summary in told:
        of_employers, of_carriers = ids_named(summary)
        employers |= of_employers
        carriers |= of_carriers
    names, _ = await tools.names.look_up(employers, carriers, watching.budget)
    digester = Digester(tools.router, origin, names)
    return [one for summary in told for one in digester.owe(summary)]


def summarize(
    due: Due, alerts: Collection[Alert], past: Past, interval: timedelta, seen_before: str | None, now: str
) -> Summary:
    """What a digest has to tell; ``past`` reaches back to where it begins."""
    rules = due.digest.asked.rules
    found = happened(past, due.since, now, rules, interval, seen_before, is_first=due.is_first)
    return Summary(due, told_in(due.digest, alerts), found)


async def read_past(store: StateStore, since: str, now: str, kept: timedelta) -> Past:
    """The history after ``since``, as far as it is ``kept`` and not endless."""
    newest_first = [record async for record in store.records(since, most=_MOST_READ)]
    whole_since = moment_text(datetime.fromisoformat(now) - kept)
    if len(newest_first) >= _MOST_READ:
        whole_since = max(whole_since, newest_first[-1].timestamp)
    return Past(tuple(reversed(newest_first)), whole_since)
