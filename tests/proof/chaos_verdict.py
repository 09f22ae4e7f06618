"""The verdict on a chaos run: everything that was written down anywhere, held against everything else.

The journal of the simulated account, the history, what each receiver took, dead letters, the ledger of
attempts, the notices and the state must tell one story, and each transition must be in it exactly once.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec

from notifier.clock import SystemClock
from notifier.sandbox.journal import Entry
from notifier.store.client import open_store
from notifier.store.keys import Keys
from notifier.store.lanes import DeadLetter, Lanes
from notifier.store.state import StateStore
from tests.e2e.oracle import Snapshot, happened, told_by_connection
from tests.proof.chaos_receivers import Receiver
from tests.proof.oracle import examine, judge
from tests.proof.tally import Verdict

NEVER = ("notifier.state_lost", "notifier.snapshot_held", "notifier.drift")
UNHEARD = {"timeout", "connection_lost"}  # the receiver may have taken what failed so


class Story(msgspec.Struct):
    """What was seen from outside.

    ``refused`` says by receiver which ids it refuses for good. ``explained`` is how many attempts at one
    receiver the faults may have left unsettled, and ``empties`` how often the source showed an empty page.
    """

    before: Snapshot
    after: Snapshot
    journal: Sequence[Entry]
    receivers: Sequence[Receiver]
    refused: Mapping[str, Callable[[str], bool]]
    explained: int
    empties: int


class Told(msgspec.Struct):
    """A verdict, and the numbers beside it."""

    verdict: Verdict
    notices: Counter[str]
    dead: dict[str, Counter[str]]
    repeats: dict[str, int]
    leases: int


async def tell(socket: str, name: str, story: Story) -> Told:
    """Read the store at ``socket`` and judge."""
    keys, clock = Keys(name), SystemClock()
    async with open_store(f"unix://{socket}", Path(), {}, clock=clock) as redis:
        store = StateStore(redis, keys, clock, history=timedelta(days=30))
        await store.sync_time()
        lanes = Lanes(redis, keys, store.now_us, ledger=timedelta(days=30))
        history = [*reversed(await store.history(newest=1_000_000))]
        dead = {sink.name: await lanes.dead_letters(sink.name, most=1_000_000) for sink in story.receivers}
        ledger = await lanes.attempts(newest=1_000_000)
        inconsistent = await examine(redis, store, keys, story.before)
        fence = int(await redis.hget(keys.meta, "fence") or 0)
    arrived = {sink.name: sink.told() for sink in story.receivers}
    verdict = judge(
        before=story.before,
        after=story.after,
        shown=_shown(story),
        gone={entry.id for entry in story.journal if entry.is_removed},
        history=history,
        arrived=arrived,
        dead={sink: {letter.delivery.id for letter in letters} for sink, letters in dead.items()},
    )
    verdict.broken += inconsistent
    _compare_with_journal(verdict, story.journal, history)
    for sink in story.receivers:
        verdict.broken += _other_ids(sink)
        verdict.broken += _dead(sink.name, dead[sink.name], history, story.refused.get(sink.name))
    repeats = _repeats(arrived)
    verdict.broken += _too_many_repeats(repeats, ledger, story)
    notices = [body for body in history if body["type"].startswith("notifier.")]
    deaths = sum(map(len, dead.values()))
    verdict.broken += _odd_notices(notices, deaths, story.empties)
    verdict.lost += _untold_notices(notices, arrived["well"], dead["well"])
    return Told(
        verdict,
        Counter(body["type"] for body in notices),
        {sink: Counter(letter.reason for letter in letters) for sink, letters in dead.items()},
        repeats,
        fence,
    )


def _shown(story: Story) -> dict[str, list[Any]]:
    """The statuses that the source gave every entity, in order."""
    shown: dict[str, list[Any]] = defaultdict(list)
    for statuses in story.before.values():
        for id_, status in statuses.items():
            shown[id_].append(status)
    for entry in story.journal:
        shown[entry.id].append(entry.to_status)
    return shown


def _compare_with_journal(
    verdict: Verdict, journal: Sequence[Entry], history: Sequence[dict[str, Any]]
) -> None:
    """Each step that happened is an event, once and in its place, and there is no other."""
    expected = happened(journal)
    told = told_by_connection(body for body in history if "entity" in body["data"])
    for id_ in expected.keys() | told.keys():
        want, got = expected.get(id_, []), told.get(id_, [])
        verdict.lost += [f"happened and is no event: {step}" for step in (Counter(want) - Counter(got))]
        verdict.invented += [f"never happened: {step}" for step in (Counter(got) - Counter(want))]
        if Counter(want) == Counter(got) and want != got:
            verdict.misordered.append(f"{id_} was told as {got}, and was {want}")


def _other_ids(sink: Receiver) -> list[str]:
    """Requests whose header names another event than their body."""
    pairs = zip(sink.taken, sink.told(), strict=True)
    return [
        f"{sink.name} got {id_} around another body" for (id_, _), body in pairs if body["data"]["id"] != id_
    ]


def _dead(
    sink: str,
    letters: Sequence[DeadLetter],
    history: Sequence[dict[str, Any]],
    refuses: Callable[[str], bool] | None,
) -> list[str]:
    """Dead are exactly what the receiver refuses, and what one worker after another died of."""
    by_reason: dict[str, set[str]] = defaultdict(set)
    for letter in letters:
        by_reason[letter.reason].add(letter.delivery.id)
    poison = by_reason.pop("poison", set())
    refused = by_reason.pop("http_422", set())
    due = {body["data"]["id"] for body in history if "entity" in body["data"] and refuses is not None}
    due = {id_ for id_ in due if refuses is not None and refuses(id_)} - poison
    wrong = [f"{sink}: {len(ids)} are dead for {reason}" for reason, ids in by_reason.items()]
    if refused != due:
        wrong.append(f"{sink}: {len(refused)} are dead as refused, but {len(due)} are refused")
    return wrong


def _repeats(arrived: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, int]:
    counts = {sink: Counter(body["data"]["id"] for body in bodies) for sink, bodies in arrived.items()}
    return {sink: count.total() - len(count) for sink, count in counts.items()}


def _too_many_repeats(
    repeats: Mapping[str, int], ledger: Sequence[Mapping[str, Any]], story: Story
) -> list[str]:
    """A repeat follows an attempt that was taken and failed nevertheless, or that no worker settled."""
    failed = Counter(entry["sink"] for entry in ledger if entry["reason"] in UNHEARD)
    most = {sink: failed[sink] + story.explained for sink in repeats}
    return [
        f"{sink} got {count} repeats, {most[sink]} are explained"
        for sink, count in repeats.items()
        if count > most[sink]
    ]


def _odd_notices(notices: Sequence[Mapping[str, Any]], deaths: int, empties: int) -> list[str]:
    """Each trouble is told once, and its end once."""
    counts = Counter(body["type"] for body in notices)
    wrong = [f"{counts[type_]} times {type_}" for type_ in NEVER if counts[type_]]
    if counts["notifier.baseline"] != 1:
        wrong.append(f"{counts['notifier.baseline']} baselines")
    most = {"notifier.dead_letters": deaths, "notifier.removals_held": empties}
    wrong += [f"{counts[type_]} times {type_}, of {of}" for type_, of in most.items() if counts[type_] > of]
    for subject, said in groupby(sorted(notices, key=_subject), key=_subject):
        words = [body["type"].rpartition("_")[2] for body in said] if subject else []
        if any(word != ("failing", "recovered")[at % 2] for at, word in enumerate(words)):
            wrong.append(f"of {subject} was told {words}")
    return wrong


def _subject(notice: Mapping[str, Any]) -> str:
    """Whose failing or recovery a notice tells; empty where it tells neither."""
    if notice["type"].startswith("notifier.source_"):
        return "the source"
    return _sink_of(notice) if notice["type"].startswith("notifier.sink_") else ""


def _sink_of(notice: Mapping[str, Any]) -> str:
    return str(notice["data"]["message"]).partition('The sink "')[2].partition('"')[0]


def _untold_notices(
    notices: Sequence[Mapping[str, Any]], arrived: Sequence[Mapping[str, Any]], dead: Collection[DeadLetter]
) -> list[str]:
    """Notices that the receiver of notices never got, but for those that it fails itself."""
    got = {body["data"]["id"] for body in arrived} | {letter.delivery.id for letter in dead}
    return [
        f"a notice was not told: {body['data']['message']}"
        for body in notices
        if body["data"]["id"] not in got
        and not (body["type"] == "notifier.sink_failing" and _sink_of(body) == "well")
    ]
