"""Who has something at which carrier: the count kept up is the count taken anew, whatever happens."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.alerts import Alert, Phase, Subject
from notifier.core.census import Affected, Census
from notifier.core.diff import diff, missing_children, remove
from notifier.models import ConnectionState, EntityState, Kind, Observed, ObservedConnection

carriers = st.sampled_from(["carr_A", "carr_B", None])
seen = st.builds(
    lambda id_, employer, groups: ObservedConnection(
        id_,
        {"status": "processing", "employer": employer},
        tuple(
            Observed(group, {"status": "pending", "carrier": carrier}) for group, carrier in groups.items()
        ),
        (),
    ),
    st.sampled_from(["conn_1", "conn_2", "conn_3"]),
    st.sampled_from(["er_1", "er_2"]),
    st.dictionaries(st.sampled_from(["gc_1", "gc_2", "gc_3"]), carriers),
)
steps = st.lists(st.tuples(seen, st.booleans(), st.booleans()), max_size=12)


def taken(states: dict[str, ConnectionState]) -> Census:
    census = Census()
    for id_, state in states.items():
        census.move(id_, None, state)
    return census


@given(steps, st.integers(0, 12))
def test_a_census_that_is_kept_up_is_one_that_is_taken_anew(happened, begin):
    states: dict[str, ConnectionState] = {}
    census = None
    for at, (seen, has_gone, is_proven) in enumerate(happened):
        if at == begin:
            census = taken(states)
        before = states.get(seen.id)
        if has_gone and before is not None and before.removed_at is None:
            after = remove(before, seen.id, now=1).state
        else:
            removable = missing_children(before, seen) if before and is_proven else ()
            after = diff(before, seen, now=1, removable=removable).state
        states[seen.id] = after
        if census is not None:
            census.move(seen.id, before, after)
            assert census.as_counts() == taken(states).as_counts() == counted(states)


def counted(states: dict[str, ConnectionState]) -> dict[str, dict[str, int]]:
    """The same in the plainest way."""
    found: dict[str, dict[str, int]] = {}
    for state in states.values():
        for group in state.group_connections.values():
            if state.removed_at is None and group.removed_at is None and group.fields["carrier"]:
                at = found.setdefault(group.fields["carrier"], {})
                at[state.fields["employer"]] = at.get(state.fields["employer"], 0) + 1
    return found


def state(employer: Any, *carriers: Any) -> ConnectionState:
    groups = {f"gc_{n}": EntityState({"carrier": carrier}) for n, carrier in enumerate(carriers)}
    return ConnectionState({"employer": employer}, groups, {})


def test_an_employer_counts_once_until_the_last_is_gone():
    census = Census()
    census.move("c1", None, state("er_1", "A", "A"))
    census.move("c2", None, state("er_1", "A"))
    assert census.employers("A") == 1
    census.move("c2", state("er_1", "A"), None)
    census.move("c1", state("er_1", "A", "A"), state("er_1", "A", "B"))
    assert (census.employers("A"), census.employers("B")) == (1, 1)
    census.move("c1", state("er_1", "A", "B"), msgspec.structs.replace(state("er_1", "A", "B"), removed_at=1))
    assert census.as_counts() == {}


def test_where_the_employer_is_not_known_a_connection_is_one():
    census = Census()
    for id_ in ("c1", "c2"):
        census.move(id_, None, state(None, "A", None, 7))
    assert census.as_counts() == {"A": {"c1": 1, "c2": 1}}


def alert(employer, carrier="A", rule="r", phase=Phase.OPEN, kind=Kind.GROUP_CONNECTION) -> Alert:
    subject = Subject(kind, "gc", f"c_{employer}", {"carrier": carrier}, {"employer": employer})
    return Alert(rule, subject, phase, "2026-11-25T09:00:00.000Z")


FOUR = taken({f"c{n}": state(f"er_{n}", "A") for n in range(4)})


@pytest.mark.parametrize(
    ("others", "told"),
    [
        ([], None),
        ([alert("er_0")], None),
        ([alert("er_1")], {"employers": 2, "of": 4}),
        ([alert("er_1"), alert("er_1"), alert("er_2")], {"employers": 3, "of": 4}),
        ([alert("er_1", carrier="B")], None),
        ([alert("er_1", rule="other")], None),
        ([alert("er_1", phase=Phase.PENDING), alert("er_2", phase=Phase.CLOSED)], None),
        ([alert("er_1", kind=Kind.MILESTONE), alert("er_2", carrier=None)], None),
    ],
)
def test_others_are_employers_with_an_open_alert_of_the_rule_at_the_carrier(others, told):
    affected = Affected([alert("er_0"), *others])
    assert affected.told(alert("er_0")) is None
    assert affected.is_several([alert("er_0")]) is (told is not None)
    affected.census = FOUR
    assert affected.told(alert("er_0")) == told


@pytest.mark.parametrize(
    "other", [alert("er_0", phase=Phase.CLOSED), alert("er_0", carrier=["A"]), alert("er_0", carrier=None)]
)
def test_of_what_is_over_or_at_no_carrier_nothing_is_told(other):
    affected = Affected([alert(f"er_{n}") for n in range(3)])
    affected.census = FOUR
    assert affected.told(other) is None
