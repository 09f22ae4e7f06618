from __future__ import annotations

import random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.diff import diff, first_state, has_moved, missing_children, remove
from notifier.models import TRACKED, Kind, Observed, ObservedConnection
from tests.unit import strategies

NOW = 1_700_000_000


def group(id_="gc_1", status="pending", **fields):
    return Observed(id_, {"status": status, **fields})


def connection(*groups, milestones=(), status="live", **fields):
    return ObservedConnection(
        "conn_1", {"status": status, "employer": "er_1", **fields}, tuple(groups), tuple(milestones)
    )


def steps(stored, seen, **options):
    return [
        (step.type, step.id, step.from_status, step.to_status, step.changed)
        for step in diff(stored, seen, now=NOW, **options).transitions
    ]


def fold(state, transitions):
    """Apply transitions to {(kind, id): tracked fields}, as a receiver would."""
    mirror = dict(state)
    for step in transitions:
        key = (step.kind, step.id)
        if step.verb == "removed":
            mirror.pop(key)
            continue
        mirror[key] = {name: step.fields[name] for name in TRACKED[step.kind] if name in step.fields}
    return mirror


def without_adopted(after, transitions, before):
    """A null where nothing was known before is taken over in silence, where nothing else was told."""
    told = {(step.kind, step.id) for step in transitions}
    return {
        key: fields
        if key in told
        else {name: value for name, value in fields.items() if value is not None or name in before[key]}
        for key, fields in after.items()
    }


def live(state):
    mirror = {(Kind.CONNECTION, "conn_1"): dict(state.fields)}
    for kind, entities in (
        (Kind.GROUP_CONNECTION, state.group_connections),
        (Kind.MILESTONE, state.milestones),
    ):
        mirror |= {(kind, id_): dict(e.fields) for id_, e in entities.items() if e.removed_at is None}
    return mirror


@given(strategies.connections(), strategies.connections())
def test_applying_the_events_of_a_diff_to_the_old_state_gives_the_new_one(before, after):
    stored = first_state(before)
    step = diff(stored, after, now=NOW, removable=missing_children(stored, after))
    assert fold(live(stored), step.transitions) == without_adopted(
        live(step.state), step.transitions, live(stored)
    )


@given(strategies.connections(), strategies.connections(), st.randoms())
def test_the_order_of_lists_never_matters(before, after, rng: random.Random):
    def shuffled(seen):
        groups, milestones = list(seen.group_connections), list(seen.milestones)
        rng.shuffle(groups)
        rng.shuffle(milestones)
        return msgspec.structs.replace(seen, group_connections=tuple(groups), milestones=tuple(milestones))

    stored = first_state(before)
    assert diff(stored, after, now=NOW) == diff(first_state(shuffled(before)), shuffled(after), now=NOW)


@given(strategies.connections())
def test_what_is_as_it_was_makes_no_transition(seen):
    stored = first_state(seen)
    assert diff(stored, seen, now=NOW).transitions == ()
    assert diff(stored, seen, now=NOW).state == stored


@given(strategies.connections(), strategies.connections())
def test_the_quick_look_agrees_with_the_diff(before, after):
    stored = first_state(before)
    gone = diff(stored, after, now=NOW, removable=missing_children(stored, after)).state
    for state in (stored, gone):
        for seen in (before, after):
            assert has_moved(state, seen) is bool(diff(state, seen, now=NOW).transitions)


@given(strategies.connections(), strategies.connections())
def test_from_is_what_was_committed_and_to_is_what_was_shown(before, after):
    stored = first_state(before)
    shown = {item.id: item.fields.get("status") for item in (*after.group_connections, *after.milestones)}
    committed = {**stored.group_connections, **stored.milestones}
    for step in diff(stored, after, now=NOW).transitions:
        if step.kind is not Kind.CONNECTION:
            assert step.to_status == shown[step.id]
            was = committed.get(step.id)
            assert step.from_status == (was.fields.get("status") if was else None)


def test_a_status_that_changes_is_one_event_with_the_other_fields_that_changed():
    stored = first_state(connection(group(initiated_at=None)))
    seen = connection(group(status="needs_attention", initiated_at="2026-01-01T00:00:00Z"))
    assert steps(stored, seen) == [
        (
            "group_connection.status_changed",
            "gc_1",
            "pending",
            "needs_attention",
            {"initiated_at": [None, "2026-01-01T00:00:00Z"]},
        )
    ]


def test_another_field_alone_is_an_update_whose_from_equals_its_to():
    stored = first_state(connection(group(group_id=None)))
    assert steps(stored, connection(group(group_id="00123"))) == [
        ("group_connection.updated", "gc_1", "pending", "pending", {"group_id": [None, "00123"]})
    ]


def test_unknown_fields_move_nothing_and_keep_their_value():
    stored = first_state(connection(group(group_id="00123", completed_at=None), broker_url="https://b"))
    step = diff(stored, connection(group()), now=NOW)
    assert step.transitions == ()
    assert step.state.group_connections["gc_1"].fields["group_id"] == "00123"
    assert step.state.fields["broker_url"] == "https://b"


def test_a_field_that_appears_was_null_before():
    stored = first_state(connection(group()))
    assert steps(stored, connection(group(group_id="7", completed_at=None))) == [
        ("group_connection.updated", "gc_1", "pending", "pending", {"group_id": [None, "7"]})
    ]


def test_an_ein_that_is_tracked_from_now_on_is_taken_over_in_silence():
    stored = first_state(connection(group()))
    step = diff(stored, connection(group(broker_federal_ein="12-3456789")), now=NOW)
    assert step.transitions == ()
    assert step.state.group_connections["gc_1"].fields["broker_federal_ein"] == "12-3456789"


def test_what_the_baseline_could_not_read_changes_from_null_once_it_can_be_read():
    seen = msgspec.structs.replace(connection(Observed("gc_1", {})), fields={"employer": "er_1"})
    stored = first_state(seen)
    assert steps(stored, connection(group(status="needs_attention"), status="live")) == [
        ("connection.status_changed", "conn_1", None, "live", {}),
        ("group_connection.status_changed", "gc_1", None, "needs_attention", {}),
    ]


def test_the_same_moment_written_otherwise_is_no_change():
    stored = first_state(connection(group(initiated_at="2026-01-01T00:00:00Z")))
    for text in ("2026-01-01T00:00:00+00:00", "2026-01-01T01:00:00+01:00", "2026-01-01T00:00:00.000000Z"):
        assert steps(stored, connection(group(initiated_at=text))) == []


def test_json_values_are_compared_as_json_compares_them():
    for one, other in ((1, True), (0, False), ({"a": 1}, {"a": True})):
        stored = first_state(connection(status=one))
        assert [step[0] for step in steps(stored, connection(status=other))] == ["connection.status_changed"]


def test_a_child_that_does_not_decode_counts_as_seen():
    stored = first_state(connection(group()))
    seen = connection(Observed("gc_1", {}))
    assert missing_children(stored, seen) == frozenset()
    assert steps(stored, seen) == []


def test_a_child_that_does_not_decode_yet_is_not_added():
    stored = first_state(connection())
    assert steps(stored, connection(Observed("gc_9", {}))) == []


def test_a_missing_or_broken_list_proves_nothing():
    stored = first_state(connection(group()))
    unknown = msgspec.structs.replace(connection(), group_connections=None)
    broken = msgspec.structs.replace(connection(), groups_whole=False)
    assert missing_children(stored, unknown) == frozenset()
    assert missing_children(stored, broken) == frozenset()
    assert missing_children(stored, connection()) == {(Kind.GROUP_CONNECTION, "gc_1")}


def test_a_child_is_removed_only_where_its_absence_is_proven_and_returns_as_reappeared():
    stored = first_state(connection(group(status="completed")))
    assert steps(stored, connection()) == []
    gone = diff(stored, connection(), now=NOW, removable={(Kind.GROUP_CONNECTION, "gc_1")})
    assert [(s.type, s.from_status, s.to_status) for s in gone.transitions] == [
        ("group_connection.removed", "completed", None)
    ]
    assert gone.transitions[0].fields["status"] == "completed"
    back = diff(gone.state, connection(group(status="pending")), now=NOW)
    assert [(s.type, s.from_status, s.to_status, s.revision, s.sequence) for s in back.transitions] == [
        ("group_connection.reappeared", None, "pending", 2, 2)
    ]


def test_a_removed_connection_is_one_event_and_returns_with_its_children_on_the_same_sequence():
    stored = first_state(connection(group()))
    gone = remove(stored, "conn_1", now=NOW)
    assert [s.type for s in gone.transitions] == ["connection.removed"]
    back = diff(gone.state, connection(group(), group("gc_2")), now=NOW)
    assert [(s.type, s.id, s.sequence) for s in back.transitions] == [
        ("connection.reappeared", "conn_1", 2),
        ("group_connection.reappeared", "gc_1", 3),
        ("group_connection.added", "gc_2", 4),
    ]


def test_tombstones_of_children_are_forgotten_in_time():
    stored = first_state(connection(group()))
    gone = diff(stored, connection(), now=NOW, removable={(Kind.GROUP_CONNECTION, "gc_1")}).state
    assert "gc_1" in diff(gone, connection(), now=NOW, forget_before=NOW).state.group_connections
    assert "gc_1" not in diff(gone, connection(), now=NOW + 1, forget_before=NOW + 1).state.group_connections


def test_a_new_connection_is_told_with_everything_under_it():
    seen = connection(group(), milestones=[Observed("ms_1", {"status": "review", "category": "c"})])
    assert [(s[0], s[2], s[3]) for s in steps(None, seen)] == [
        ("connection.added", None, "live"),
        ("group_connection.added", None, "pending"),
        ("milestone.added", None, "review"),
    ]
