"""The store's append-only file cut where a crash or a power cut may cut it, and the notifier started on it.

A recording is made once a server binary (``cut_recording``). Each trial then takes the file up to one byte,
has a real server load it and looks: is the state the fold of the history, is what was kept a beginning of
what was recorded, is nothing half there? Then a new notifier polls the source, which is as it was when that
byte was written, and delivers to rest. What the cut undid must be found again under the ids that it had,
and what the receivers get once more must be what they got.

The receivers of a trial had taken everything by the time of the cut, also what the file no longer knows. For
``judge`` only those of their arrivals count that the kept ledger knows as delivered: all else must arrive
(again), so no check of the oracle need be relaxed. That a repeat says what was said is checked here, on
everything but when it was observed.

Cuts within one commit should leave one and the same store. A hash over all of it tells whether they do: then
only some are taken to rest again.
"""

from __future__ import annotations

import asyncio
import copy
import math
import random
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from redis.asyncio import Redis

from tests.e2e.oracle import statuses_of
from tests.proof.cut_recording import SINKS, Moment, Recording, Running, record, rig_on, small_chunks
from tests.proof.oracle import examine, judge
from tests.proof.spread import quiet_log, spread
from tests.proof.tally import Proof, Tally, Verdict
from tests.support.account import Account
from tests.support.rig import Rig
from tests.support.servers import binaries

_AHEAD = 4  # servers that start while a trial runs: one of them sleeps for most of its start
_PIECE = 250
_GO_ON = 0.05  # of the cuts that leave a store which was taken to rest before
_BACK = 400  # cuts that undo several polls, at full scale
_BASELINE = 300  # cuts inside the baseline
_LATER_S = 60.0  # between the cut and the restart: the lease of whoever polled then has ended
#: What the commits do that are cut at every byte (the removal is told when nothing more happens).
_KINDS = {"bundled": ("status", "add", "nothing", "several"), "redis": ("status",)}
_COMMITS = 60  # the last ones, with and without events, that are cut at every command

Body = dict[str, Any]


class Cut(msgspec.Struct, frozen=True):
    """The file ends after ``at`` bytes; the source and the receivers are as they were at ``moment``.

    ``goes_on``: the notifier is started on it even where it leaves a store that was seen before.
    """

    at: int
    moment: int
    goes_on: bool = False


# --- one trial ---


async def try_cut(redis: Redis, recording: Recording, cut: Cut) -> Verdict:
    """What is wrong after this cut. ``redis`` is a client of the server that has loaded what is left."""
    moment = recording.moments[cut.moment]
    account = Account(*copy.deepcopy(moment.listed), page_size=4)
    rig = rig_on(redis, account, moment.passed_s + _LATER_S)
    if not (await rig.store.meta()).epoch:
        return await _begin_anew(rig)
    kept = await _events(rig)
    verdict = Verdict(broken=await examine(redis, rig.store, rig.keys, recording.before, is_at_rest=False))
    if kept != recording.events[: len(kept)]:
        verdict.broken.append("what the file keeps is no beginning of what was recorded")
    settled = await _settled(rig)
    await rig.poll(2)  # the second one removes what is missing
    await rig.deliver()
    verdict.broken += await examine(redis, rig.store, rig.keys, recording.before)
    found = await _events(rig)
    earlier = {sink: recording.arrived[sink][: moment.arrived[sink]] for sink in SINKS}
    judged = judge(
        before=recording.before,
        after=statuses_of(moment.listed),
        shown=moment.shown,
        gone=moment.gone,
        history=found,
        arrived={
            sink: [
                *(body for body in earlier[sink] if (sink, body["data"]["id"]) in settled),
                *rig.sinks[sink].got,
            ]
            for sink in SINKS
        },
    )
    was = recording.events[: moment.events]
    is_one_poll = cut.moment == recording.moment_at(cut.at)
    judged.broken += verdict.broken
    judged.lost += _not_found_again(was[len(kept) :], found, moment)
    if is_one_poll:
        judged.invented += _new(was, found, moment)
    judged.invented += _told_otherwise(was, found, "history", is_one_poll=is_one_poll)
    for sink in SINKS:
        judged.invented += _told_otherwise(earlier[sink], rig.sinks[sink].got, sink, is_one_poll=is_one_poll)
        judged.repeats += len(_ids(earlier[sink]) & _ids(rig.sinks[sink].got))
    return judged


async def _begin_anew(rig: Rig) -> Verdict:
    """The cut undid the end of the baseline: it begins again, without an event, and then all is as ever."""
    broken = []
    result = await rig.poll()
    before = statuses_of(rig.account.listed)
    if not result.baseline or await _events(rig):
        broken.append(f"no baseline without events: {result}")
    item = rig.account.listed[0]
    item["status"] = "completed" if item["status"] != "completed" else "pending"
    await rig.poll(2)
    await rig.deliver()
    broken += await examine(rig.redis, rig.store, rig.keys, before)
    history = await _events(rig)
    verdict = judge(
        before=before,
        after=statuses_of(rig.account.listed),
        shown={item["id"]: [item["status"]]},
        gone=(),
        history=history,
        arrived={sink: rig.sinks[sink].got for sink in SINKS},
    )
    verdict.broken += broken
    return verdict


async def _events(rig: Rig) -> list[Body]:
    return [body for body in reversed(await rig.store.history(newest=1_000_000)) if "entity" in body["data"]]


async def _settled(rig: Rig) -> set[tuple[str, str]]:
    """(sink, id) of what the ledger knows as delivered."""
    entries = await rig.redis.xrange(rig.keys.attempts)
    records = [msgspec.json.decode(fields[b"attempt"]) for _, fields in entries]
    return {(it["sink"], it["id"]) for it in records if it["outcome"] == "delivered"}


def _ids(bodies: Iterable[Body]) -> set[str]:
    return {body["data"]["id"] for body in bodies if "entity" in body["data"]}


def _entities_of(moment: Moment) -> set[str]:
    """Everything that the source showed then, by id."""
    return {id_ for statuses in statuses_of(moment.listed).values() for id_ in statuses}


def _not_found_again(undone: Sequence[Body], found: Sequence[Body], moment: Moment) -> list[str]:
    """Events that the cut undid, that the source still shows, and that did not come back under their ids.

    Where it undid several steps of an entity, or took back a connection's coming or going, what comes back is
    their sum, which is another event.
    """
    steps = Counter(body["data"]["entity"]["id"] for body in undone)
    live = {item["id"] for item in moment.listed}
    shown = _entities_of(moment)

    def is_due(body: Body) -> bool:
        entity, parent = body["data"]["entity"], body["data"]["connection"]["id"]
        is_alone = steps[entity["id"]] == 1 and steps[parent] <= 1
        if body["type"].endswith(".removed"):
            return is_alone and (parent in live or body["type"] == "connection.removed")
        return is_alone and entity["id"] in shown  # else it went meanwhile, which is not told yet

    again = _ids(found)
    return [
        f"not found again: {body['type']} {body['data']['id']}"
        for body in undone
        if is_due(body) and body["data"]["id"] not in again
    ]


def _new(was: Sequence[Body], found: Sequence[Body], moment: Moment) -> list[str]:
    """Events that were not there before the cut, though the source is the same: only a removal may be due."""
    there = _entities_of(moment)
    known = _ids(was)
    return [
        f"is new: {body['type']} {body['data']['id']}"
        for body in found
        if body["data"]["id"] not in known
        and not (body["type"].endswith(".removed") and body["data"]["entity"]["id"] not in there)
    ]


def _told_otherwise(
    before: Sequence[Body], after: Sequence[Body], where: str, *, is_one_poll: bool
) -> list[str]:
    """Ids under which something else is told than before the cut."""
    told = {body["data"]["id"]: body for body in before if "entity" in body["data"]}
    pairs = [(told[body["data"]["id"]], body) for body in after if body["data"]["id"] in told]
    return [
        f"{where}: {is_['data']['id']} was {was['data']}, is {is_['data']}"
        for was, is_ in pairs
        if _what(was, is_one_poll=is_one_poll) != _what(is_, is_one_poll=is_one_poll)
    ]


def _what(body: Body, *, is_one_poll: bool) -> Body:
    """What an event tells, without when it was seen.

    Where several polls were undone, their sum may come in fewer steps, and what stands beside the entity is
    what is there now.
    """
    whole = {"type": body["type"], **body["data"]}
    if is_one_poll:
        return {name: value for name, value in whole.items() if name != "observed_between"}
    entity = {name: whole["entity"][name] for name in ("kind", "id", "status")}
    return {"entity": entity, **{name: whole[name] for name in ("type", "from", "to", "changed")}}


# --- all of them ---


def try_cuts(recording: Recording, cuts: Sequence[Cut]) -> Tally:
    """Each cut on a server of its own, in the order given."""
    with TemporaryDirectory(prefix="ntf-", dir="/tmp") as place, small_chunks():
        return asyncio.run(_try_each(recording, cuts, Path(place)))


async def _try_each(recording: Recording, cuts: Sequence[Cut], place: Path) -> Tally:
    tally, rested = Tally(), set()
    for cut, running in _started(recording, cuts, place):
        verdict = Verdict()
        try:
            async with running.client() as redis:
                store = (await redis.eval(FINGERPRINT, 0), cut.moment)
                if cut.goes_on or store not in rested:
                    rested.add(store)
                    verdict = await try_cut(redis, recording, cut)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the verdict on this trial
            verdict.broken.append(f"{type(error).__name__}: {error}")
        name = Path(recording.binary).name
        tally.take(verdict, f"seed {recording.seed}, {name} cut at {cut.at}, moment {cut.moment}")
    return tally


def _started(recording: Recording, cuts: Sequence[Cut], place: Path) -> Iterator[tuple[Cut, Running]]:
    """A server for each cut, a few started ahead; each is ended when the next is asked for."""
    places = [place / str(number) for number in range(_AHEAD)]
    for each in places:
        each.mkdir()
    ahead: deque[tuple[Cut, Running]] = deque()

    def start(number: int, cut: Cut) -> None:
        recording.write(places[number % _AHEAD], cut.at)
        ahead.append((cut, Running(recording.binary, places[number % _AHEAD])))

    try:
        waiting = iter(enumerate(cuts))
        for number, cut in islice(waiting, _AHEAD):
            start(number, cut)
        while ahead:
            yield ahead[0]
            ahead.popleft()[1].end()
            for number, cut in islice(waiting, 1):
                start(number, cut)
    finally:
        for _, running in ahead:
            running.end()


#: One hash over everything in the store, whatever order the server keeps it in.
FINGERPRINT = """
local said = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  local kind, value = redis.call('TYPE', key).ok, nil
  if kind == 'hash' then
    local flat, pairs_ = redis.call('HGETALL', key), {}
    for at = 1, #flat, 2 do pairs_[#pairs_ + 1] = cjson.encode({flat[at], flat[at + 1]}) end
    table.sort(pairs_)
    value = pairs_
  elseif kind == 'list' then value = redis.call('LRANGE', key, 0, -1)
  elseif kind == 'zset' then value = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  elseif kind == 'stream' then value = redis.call('XRANGE', key, '-', '+')
  end
  said[#said + 1] = key .. redis.sha1hex(cjson.encode(value))
end
table.sort(said)
return redis.sha1hex(table.concat(said))
"""


def cuts_of(recording: Recording, kinds: Sequence[str], rng: random.Random, scale: float) -> list[Cut]:
    """Where to cut: at scale 1 all places, below a part of each sort; neighbours stand together."""
    first = next(start for start, _, moment in recording.commits if moment)
    edges = {at + by for at in (command.end for command in recording.commands) for by in (-1, 0, 1)}
    late = sorted(at for at in edges if first < at <= len(recording.file))
    last = [at for at in late if at >= recording.commits[-_COMMITS][0]]
    early = sorted(at for at in range(first) if at in edges or not at % 7)

    def some(places: Sequence[int], most: float = math.inf) -> list[int]:
        return sorted(rng.sample(places, max(1, int(min(len(places), most) * scale))))

    one_poll = sorted(
        {
            *some(sorted(_bytes_of(recording, kinds))),
            *some(last),
            *some(early, _BASELINE),
        }
    )
    newest = len(recording.moments) - 1
    return [
        *(Cut(at, recording.moment_at(at), rng.random() < _GO_ON) for at in one_poll),
        *(
            Cut(at, min(recording.moment_at(at) + rng.randint(1, 6), newest), goes_on=True)
            for at in some(late, _BACK)
        ),
        *(Cut(at, rng.randint(1, newest), goes_on=True) for at in some(early, _BASELINE)),
    ]


def _bytes_of(recording: Recording, kinds: Sequence[str]) -> set[int]:
    """Every byte of the last commit with events of each of these kinds."""
    told = [
        (recording.moments[moment].what, start, end)
        for start, end, moment in recording.commits
        if any(it.words[0] == b"XADD" for it in recording.commands if start < it.start < end)
    ]
    last = {what: range(start + 1, end + 1) for what, start, end in told}
    return {at for kind in kinds for at in last[kind]}


def run(scale: float, seed: int, say: Callable[[str], None]) -> Tally:
    total = Tally()
    for name, binary in binaries().items():
        if name in _KINDS:
            with quiet_log():
                recording = record(binary, seed)
            rng = random.Random(f"cuts {seed} {name}")
            cuts = cuts_of(recording, _KINDS[name], rng, scale)
            total.merge(spread(partial(try_cuts, recording), cuts, say, piece=_PIECE))
    return total


PROOF = Proof(
    "cuts",
    "the store's file cut at every byte of some commits and at every command of the others, then a restart",
    ("P4", "P5", "P8", "P9", "P12"),
    run,
)
