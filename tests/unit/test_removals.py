from __future__ import annotations

import pytest

from notifier.core.absences import Absences
from notifier.core.removals import Guard, held_kinds
from notifier.models import Kind

GUARD = Guard(0.05, 5)


@pytest.mark.parametrize(
    ("missing", "known", "is_held"),
    [
        (5, 10, False),
        (6, 10, True),
        (5, 100, False),
        (6, 100, True),
        (50, 1000, False),
        (51, 1000, True),
        (0, 0, False),
    ],
)
def test_more_than_five_and_more_than_five_percent_are_held(missing, known, is_held):
    ids = [f"c{n}" for n in range(missing)]
    kinds = held_kinds({Kind.CONNECTION: ids}, {Kind.CONNECTION: known}, (), GUARD, is_empty=False)
    assert (Kind.CONNECTION in kinds) is is_held


def test_each_kind_is_counted_alone():
    missing = {Kind.CONNECTION: ["c1"], Kind.MILESTONE: [f"m{n}" for n in range(9)]}
    known = {Kind.CONNECTION: 20, Kind.MILESTONE: 100}
    assert held_kinds(missing, known, (), GUARD, is_empty=False) == {Kind.MILESTONE}


def test_an_empty_list_is_held_whatever_the_numbers_are():
    assert held_kinds({Kind.CONNECTION: ["c1"]}, {Kind.CONNECTION: 1}, (), GUARD, is_empty=True)
    assert not held_kinds({}, {Kind.CONNECTION: 0}, (), GUARD, is_empty=True)


def test_what_a_person_approved_does_not_count():
    ids = [f"c{n}" for n in range(9)]
    assert not held_kinds({Kind.CONNECTION: ids}, {Kind.CONNECTION: 20}, ids, GUARD, is_empty=True)
    more = [*ids, *(f"d{n}" for n in range(6))]
    assert held_kinds({Kind.CONNECTION: more}, {Kind.CONNECTION: 20}, ids, GUARD, is_empty=False)


def test_an_absence_is_proven_by_two_misses_an_interval_apart_with_no_sighting_between():
    absences: Absences[str] = Absences(60.0)
    assert absences.missed(["a", "b"], 0.0) == set()
    assert absences.missed(["a", "b"], 59.9) == set()
    absences.seen(["b"])
    assert absences.missed(["a", "b"], 60.0) == {"a"}
    assert absences.missed(["b"], 120.0) == {"b"}
    absences.keep_only(["a"])
    assert list(absences) == ["a"]
