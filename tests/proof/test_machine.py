"""Random runs against the reference model at a small scale, and notifiers without a guard, which must go red."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

from notifier.clasp.decode import read
from notifier.core.absences import Absences
from notifier.core.retry import Outcome, Verdict
from notifier.core.view import View
from notifier.errors import PermanentFailure
from notifier.models import ObservedConnection
from notifier.poller import cycle, loop, traversal
from tests.proof import machine
from tests.proof.machine_rules import Machine
from tests.proof.machine_stage import Bench
from tests.proof.spread import quiet_log, quietly
from tests.proof.tally import Tally
from tests.support.servers import binaries, running_server

SEED = 20_261_124
RUNS = 40
_LONGEST = 400  # runs within which every control must have gone red

Patch = Callable[[pytest.MonkeyPatch], None]


@pytest.mark.timeout(600)  # Hypothesis takes up to five minutes to make a failing run short
def test_nothing_that_chance_does_makes_the_notifier_break_a_promise():
    tally = machine.run(RUNS / machine.RUNS, SEED, quietly)
    print(f"seed {SEED}: {tally}")
    assert tally.is_clean, tally
    assert tally.trials == RUNS
    assert tally.faults > 5 * RUNS


@contextmanager
def one_run() -> Iterator[Any]:
    """A run whose steps the test chooses."""
    with quiet_log(), running_server(binaries()["bundled"]) as path:
        bench = Bench(path)
        try:
            yield type("Machine", (Machine,), {"bench": bench})()
        finally:
            bench.close()


def test_the_judge_knows_what_a_poller_read_before_it_was_disturbed():
    with one_run() as steps:
        steps.begin(size=7, what="")
        steps.another_account(is_on=True, how="only its id", polls=["", "", ""])
        steps.another_account(is_on=False, how="", polls=["cut"])
        steps.another_account(is_on=True, how="only its id", polls=["takeover", "flush"])
        steps.teardown()


def test_the_judge_knows_that_what_was_forgotten_and_shows_only_its_id_is_not_told():
    with one_run() as steps:
        steps.begin(size=7, what="")
        steps.settings_change(name="api_version", other=False, which=True)
        steps.another_account(how="only its id", is_on=True, polls=[""])
        steps.another_account(how="", is_on=True, polls=[])
        steps.goes_and_returns(is_child=False, place=0, polls=[], restarts=False, seconds=31 * 86_400)
        steps.another_account(how="", is_on=True, polls=[""])
        steps.another_account(how="only its id", is_on=True, polls=[""])
        steps.teardown()


def test_the_judge_takes_no_other_of_two_contradicting_items_than_the_one_that_was_told():
    with one_run() as steps:
        steps.begin(size=7, what="")
        steps.goes_and_returns(
            is_child=False, place=3, polls=["contradicts before"], restarts=False, seconds=31 * 86_400
        )
        steps.teardown()


def _one_absence_is_a_removal(patch: pytest.MonkeyPatch) -> None:
    proven_at_once = Absences.missed

    def missed(self: Absences[Any], keys: Any, at: float, last_seen: str | None = None) -> set[Any]:
        proven_at_once(self, keys, at, last_seen)
        return set(keys)

    patch.setattr(Absences, "missed", missed)


def _read_with(change: Callable[[ObservedConnection], ObservedConnection]) -> Callable[[Any], Any]:
    return lambda raw: change(read(raw))


def _an_unknown_status_becomes_a_known_one(patch: pytest.MonkeyPatch) -> None:
    known = {"on_fire": "needs_attention", "Pending": "pending"}

    def changed(seen: ObservedConnection) -> ObservedConnection:
        groups = [
            msgspec.structs.replace(
                one, fields={name: known.get(value, value) for name, value in one.fields.items()}
            )
            for one in seen.group_connections or ()
        ]
        return msgspec.structs.replace(seen, group_connections=seen.group_connections and tuple(groups))

    patch.setattr(traversal, "read", _read_with(changed))


def _an_absent_field_is_null(patch: pytest.MonkeyPatch) -> None:
    def changed(seen: ObservedConnection) -> ObservedConnection:
        return msgspec.structs.replace(seen, fields={"status": None, "employer": None, **seen.fields})

    patch.setattr(traversal, "read", _read_with(changed))


def _the_guard_is_off(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(cycle, "held_kinds", lambda *_args, **_rest: frozenset())


def _a_baseline_tells_what_it_finds(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(loop, "cause_for", lambda *_args, **_rest: None)


def _a_view_keeps_old_fingerprints(patch: pytest.MonkeyPatch) -> None:
    def update(self: View, version: str, learned: Any) -> None:
        self._loose -= {*learned.same, *learned.loose, *learned.gone}
        self._loose.update(learned.loose)
        self._known.update((fingerprint, id_) for id_, fingerprint in learned.same.items())
        self.is_whole = self.is_whole or learned.is_whole
        self.version = version

    patch.setattr(View, "update", update)


def _what_comes_back_is_new(patch: pytest.MonkeyPatch) -> None:
    right = cycle.diff

    def diff(stored: Any, *args: Any, **rest: Any) -> Any:
        return right(None if stored and stored.removed_at is not None else stored, *args, **rest)

    patch.setattr(cycle, "diff", diff)


def _a_part_of_the_list_counts_as_the_whole(patch: pytest.MonkeyPatch) -> None:
    right = cycle.traverse

    async def traverse(*args: Any) -> Any:
        seen, _ = await right(*args)
        return seen, traversal.Complete()

    patch.setattr(cycle, "traverse", traverse)


def _a_refused_message_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    from notifier import dispatcher

    right = dispatcher.decide

    def decide(error: Any, **rest: Any) -> Outcome:
        return Outcome(Verdict.DELIVERED) if isinstance(error, PermanentFailure) else right(error, **rest)

    patch.setattr(dispatcher, "decide", decide)


def _a_failed_message_lets_others_pass(patch: pytest.MonkeyPatch) -> None:
    """The settle moves what failed to the end of its lane."""
    from notifier.store import scripts

    right = scripts.load
    head = "try(function() return {'LSET', lane, 0, delivery} end, 'LSET', lane, 0, kept)"
    tail = "redis.call('LPOP', lane) redis.call('RPUSH', lane, kept)"
    assert scripts.text("settle").count(head) == 1, "settle.lua has changed"

    def load(redis: Any, name: str) -> Any:
        if name != "settle":
            return right(redis, name)
        return redis.register_script(scripts.text(name).replace(head, tail))

    patch.setattr("notifier.store.lanes.load", load)


CONTROLS = (
    _one_absence_is_a_removal,
    _an_unknown_status_becomes_a_known_one,
    _an_absent_field_is_null,
    _the_guard_is_off,
    _a_baseline_tells_what_it_finds,
    _a_view_keeps_old_fingerprints,
    _what_comes_back_is_new,
    _a_part_of_the_list_counts_as_the_whole,
    _a_refused_message_is_forgotten,
    _a_failed_message_lets_others_pass,
)


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.__name__.strip("_"))
def test_control_a_notifier_without_a_guard_goes_red(control: Patch, monkeypatch: pytest.MonkeyPatch):
    control(monkeypatch)
    with quiet_log():
        tally: Tally = machine.play([(SEED, number) for number in range(_LONGEST)], does_shrink=False)
    print(f"seed {SEED}: {tally}")
    assert not tally.is_clean
