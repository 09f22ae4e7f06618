"""Judges one poll: what the source answered and what was committed, against the reference model.

What was shown must be told exactly. What must not be told (a removal too early, anything at a baseline or from
another account's list) is checked against bounds. It knows of the poller only what a person could: its
settings, whether it was restarted, and what it keeps in ``meta`` for people to see (what is held).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import msgspec

from notifier.core.removals import Guard, Held
from notifier.store.state import Meta
from tests.proof.machine_source import Answer, Snapshot
from tests.proof.model import CONNECTION, KINDS, Model, Reading, Step, need, step_of

Body = dict[str, Any]
_BEGINNINGS = {"notifier.baseline", "notifier.state_lost"}
_HARMLESS = {"first_run", "api_version", "approved"}
_KEPT = {"first_run", "state_lost", "approved"}  # an unfinished baseline with one of these must go on


class Look(NamedTuple):
    """One poll: ``began`` and ``ended`` on the monotonic clock, ``told`` what it committed, in order.

    ``place`` is (base_url, api_version); ``knew`` how many connections this process knew before it;
    ``is_disturbed`` says that somebody else wrote to the store meanwhile.
    """

    began: float
    ended: float
    answers: list[Answer]
    outcome: str
    told: list[Body]
    before: Meta
    after: Meta
    approvals: list[Held]
    place: tuple[str, str]
    knew: int
    is_disturbed: bool


class Judge:
    """Remembers what bounds need: absences, what baselines are due, what may be approved."""

    def __init__(self, guard: Guard, interval_s: float, history_s: float) -> None:
        self.model = Model(history_s)
        self.removed = 0
        self._guard = guard
        self._interval_s = interval_s
        self._absent: dict[tuple[str, ...], float] = {}
        self._place: tuple[str, str] | None = None  # of the last baseline; None: there is no state
        self._begun: set[str] = set()  # causes of baselines that were begun and not finished

    def flushed(self) -> None:
        """The store was emptied."""
        self._place = None
        self._begun = set()

    def is_due(self, place: tuple[str, str]) -> bool:
        """Whether a poller with these settings may have to begin with a baseline."""
        return bool(self._place != place or self._begun)

    def poll(self, look: Look) -> bool:
        """Judge one poll, and believe what it told; whether the poller knows the state after it."""
        snap = Snapshot(look.answers)
        if look.outcome not in {"complete", "partial"} or look.is_disturbed:
            need(not look.told, "invented", f"a poll that ended as {look.outcome} told {_types(look.told)}")
            self._sighted(snap)
            return False
        held, is_new_account = approved(look.before.held, look.approvals)
        due = self._due(look, is_new_account)
        is_begun = any(body["type"] in _BEGINNINGS for body in look.told) or not look.after.epoch
        if due or (self._begun and is_begun):
            self._baseline(look, snap, due)
            return not self._begun
        need(not is_begun, "broken", f"a baseline out of nothing: {_types(look.told)}")
        self._begun = set()
        self._cycle(look, snap, held)
        return True

    # --- baselines ---

    def _due(self, look: Look, is_new_account: bool) -> set[str]:
        """Why this poll has to be a baseline."""
        if is_new_account:
            return {"approved"}
        if not look.before.version:
            return {"state_lost" if look.knew else "first_run"}
        if self._begun & _KEPT:
            return self._begun | {"state_lost"}
        if self._place and self._place != look.place:
            return {"base_url" if self._place[0] != look.place[0] else "api_version"}
        return set()

    def _baseline(self, look: Look, snap: Snapshot, due: Collection[str]) -> None:
        events, reports = split(look.told)
        need(not events, "invented", f"a baseline told {_types(events)}")
        said = [body for body in reports if body["type"] in _BEGINNINGS]
        self._absent.clear()
        is_new = bool(look.after.epoch) and look.after.epoch != look.before.epoch
        need(len(said) == is_new, "broken", f"a baseline that {is_new=} said {_types(said)}")
        causes = self._begun | set(due)
        is_new_account = "approved" in causes
        is_held = look.before.held is not None and look.before.held.whole_snapshot
        is_known = bool(look.before.counts.get(CONNECTION) or is_held) and not is_new_account
        if not is_new:
            was_known = is_known or bool(look.knew and not is_new_account)
            is_odd = snap.has_ended and (snap.items or not was_known)
            need(not is_odd, "lost", "a whole list was no baseline")
            self._begun = causes
            return
        need(snap.has_ended, "broken", "a baseline was finished with a part of the list")
        need(snap.items or not is_known, "broken", "an empty list became a baseline")
        cause = said[0]["data"]["cause"]
        need(cause in causes, "broken", f"a baseline for {cause}, due were {causes}")
        right = "notifier.baseline" if cause in _HARMLESS else "notifier.state_lost"
        need(said[0]["type"] == right, "broken", f"{said[0]['type']} for {cause}")
        self.model.begin(snap.order)
        self._place, self._begun = look.place, set()

    # --- cycles ---

    def _cycle(self, look: Look, snap: Snapshot, held: Held | None) -> None:
        events, reports = split(look.told)
        live = self.model.live
        _held_is_told_once(look, reports, held)
        if live and snap.items and not live & snap.readings.keys():
            need(not events, "invented", f"another account's list told {_types(events)}")
            is_held = look.after.held is not None and look.after.held.whole_snapshot
            need(is_held or not snap.is_complete, "broken", "another account's list was not held")
            return
        is_right = (look.outcome == "complete") == snap.is_complete
        need(is_right, "broken", f"a poll was {look.outcome}, its answers {snap.is_complete=}")
        missing = live - snap.readings.keys() if snap.is_complete else set()
        below = self._missing_below(snap)
        tripped = self._tripped(snap, held, missing, below)
        if snap.is_complete:
            self._held_is_right(look.after.held, held, tripped, missing, below)
        by_id: dict[str, list[Body]] = defaultdict(list)
        for body in events:
            by_id[body["data"]["connection"]["id"]].append(body)
        shown = {**{id_: readings[-1] for id_, readings in snap.readings.items()}, **snap.found}
        for id_ in shown.keys() | by_id.keys():
            self._connection(id_, by_id.get(id_, []), look, snap, missing, tripped)
        self._note_absences(snap, missing, look.began)

    def _missing_below(self, snap: Snapshot) -> set[tuple[str, str, str]]:
        """Children that every whole list of their parent lacked; of contradictions nothing can be said."""
        return {
            (id_, *child)
            for id_, readings in snap.readings.items()
            if all(reading == readings[0] for reading in readings)
            for child in self.model.missing_below(readings[0])
        }

    def _tripped(
        self, snap: Snapshot, held: Held | None, missing: set[str], below: set[tuple[str, str, str]]
    ) -> set[str]:
        """The kinds of which nothing may be removed in this poll."""
        asked = {id_ for ids in held.ids.values() for id_ in ids} if held and held.approved else set()
        ids = {kind: [id_ for _, its_kind, id_ in below if its_kind == kind] for kind in KINDS}
        ids[CONNECTION] = list(missing)
        unasked = {kind: [id_ for id_ in ids[kind] if id_ not in asked] for kind in KINDS}
        over = {kind for kind in KINDS if len(unasked[kind]) > self._guard.limit(self.model.count(kind))}
        if not snap.items and unasked[CONNECTION]:
            over.add(CONNECTION)
        if not snap.is_complete and held and not held.approved:
            over |= {kind for kind in KINDS if held.ids.get(kind)}  # a part cannot end the wait
        return over

    def _held_is_right(
        self,
        after: Held | None,
        held: Held | None,
        tripped: set[str],
        missing: set[str],
        below: set[tuple[str, str, str]],
    ) -> None:
        """What a person is shown is what is missing; what was approved are ids that a person saw."""
        if tripped:
            need(after and not after.approved, "broken", f"too much vanished and is not held: {tripped}")
            for kind in tripped:
                gone = missing if kind == CONNECTION else {one[2] for one in below if one[1] == kind}
                is_whole = after is not None and set(after.ids.get(kind, ())) == gone
                need(is_whole, "broken", f"held are {after}, missing {kind}s {sorted(gone)}")
        elif after is not None:
            seen = {id_ for ids in held.ids.values() for id_ in ids} if held and held.approved else set()
            ids = {id_ for its in after.ids.values() for id_ in its}
            need(after.approved and ids <= seen, "broken", f"held without a reason: {after}, before {held}")

    def _connection(
        self,
        id_: str,
        told: Sequence[Body],
        look: Look,
        snap: Snapshot,
        missing: set[str],
        tripped: set[str],
    ) -> None:
        """Everything that was told of one connection in this poll."""
        model, now = self.model, look.ended
        readings = [snap.found[id_]] if id_ in snap.found and id_ in missing else snap.readings.get(id_, [])
        steps = [step_of(body) for body in told]
        for step in steps:
            if step.verb == "removed":
                self._removal(id_, step, look, snap, missing, tripped)
        rest = [step for step in steps if step.verb != "removed"]
        if not steps and model.may_be_forgotten(id_, now) and not any(one.fields for one in readings):
            return  # as with any id that is not known: it is there, and that is all that can be said of it
        fitting = next((one for one in readings if self._is_told(one, rest, now)), None)
        is_contradicted = any(one != readings[0] for one in readings)
        if fitting is None and not (is_contradicted and not rest):
            wanted = [sorted(model.steps(one, now)) for one in readings] if readings else "nothing"
            sort = "invented" if rest else "lost"
            need(not readings and not rest, sort, f"{id_}: told {rest}, to be told {wanted}")
        model.take(id_, told, fitting, now)
        self.removed += len(steps) - len(rest)

    def _is_told(self, shown: Reading, steps: Sequence[Step], now: float) -> bool:
        mine = [self.model.in_our_words(shown, step, now) for step in steps]
        return sorted(map(repr, mine)) == sorted(map(repr, self.model.steps(shown, now)))

    def _removal(
        self, id_: str, step: Step, look: Look, snap: Snapshot, missing: set[str], tripped: set[str]
    ) -> None:
        """It must have been absent twice, an interval apart; a connection must be gone by id too."""
        what = f"{step.kind} {step.id} of {id_} was told as removed"
        key = (id_,) if step.kind == CONNECTION else (id_, step.kind, step.id)
        since = self._absent.get(key)
        need(since is not None and look.began - since >= self._interval_s, "invented", f"{what} too early")
        need(step.kind not in tripped, "invented", f"{what} although its kind is held")
        if step.kind == CONNECTION:
            need(id_ in missing, "invented", f"{what} and was not missing")
            need(id_ in snap.gone, "invented", f"{what} and Clasp did not say so")
            return
        child = (step.kind, step.id)
        was_missing = any(child in self.model.missing_below(one) for one in snap.readings.get(id_, ()))
        need(was_missing, "invented", f"{what} and was not missing")

    # --- absences ---

    def _sighted(self, snap: Snapshot) -> None:
        for reading in [*snap.order, *snap.found.values()]:
            self._absent.pop((reading.id,), None)
            for child in reading.children:
                self._absent.pop((reading.id, *child), None)

    def _note_absences(self, snap: Snapshot, missing: set[str], began: float) -> None:
        for reading in snap.order:
            self._absent.pop((reading.id,), None)
            for child in reading.children:
                self._absent.pop((reading.id, *child), None)
            for child in self.model.missing_below(reading):
                self._absent.setdefault((reading.id, *child), began)
        for id_ in missing:
            self._absent.setdefault((id_,), began)
        for reading in snap.found.values():
            self._absent.pop((reading.id,), None)
            for child in reading.children:
                self._absent.pop((reading.id, *child), None)
        for key in [key for key in self._absent if key[0] not in self.model.live]:
            del self._absent[key]


def split(told: Sequence[Body]) -> tuple[list[Body], list[Body]]:
    """Events of entities, and reports."""
    events = [body for body in told if not body["type"].startswith("notifier.")]
    return events, [body for body in told if body["type"].startswith("notifier.")]


def _types(told: Sequence[Body]) -> list[str]:
    return [f"{body['type']} {body['data'].get('entity', {}).get('id', '')}".strip() for body in told]


def approved(held: Held | None, approvals: Sequence[Held]) -> tuple[Held | None, bool]:
    """What is held after people spoke, and whether they accepted another account's list."""
    for asked in approvals:
        if held is None:
            continue
        if held.whole_snapshot and asked.whole_snapshot:
            return None, True
        if not held.whole_snapshot and not asked.whole_snapshot:
            held = msgspec.structs.replace(asked, since=held.since, approved=True)
    return held, False


def _held_is_told_once(look: Look, reports: Sequence[Body], held: Held | None) -> None:
    """A report when something begins to be held, and none while it is."""
    said = [
        body["type"] for body in reports if body["type"].endswith("s_held") or "snapshot_held" in body["type"]
    ]
    after = look.after.held
    due: list[str] = []
    if after is not None and not after.approved:
        type_ = "notifier.snapshot_held" if after.whole_snapshot else "notifier.removals_held"
        was_told = held is not None and not held.approved and held.whole_snapshot == after.whole_snapshot
        due = [] if was_told else [type_]
    need(said == due, "broken", f"said {said} of what is held, due was {due}")
