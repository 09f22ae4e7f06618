"""Rules with `while`: what they ask of an entity, and how they count time."""

from __future__ import annotations

import pytest

from notifier.core.alerts import Subject
from notifier.core.conditions import conditions, subjects
from notifier.core.events import Names
from notifier.models import ConnectionState, EntityState, Kind
from tests.support.configs import config_with

NAMES = Names({"er_1": ("Acme Corp", "48213")}, {"carr_A": "Guardian"})
ABOVE = {"status": "live", "employer": "er_1"}
GROUP = Subject(
    Kind.GROUP_CONNECTION,
    "gc_1",
    "conn_1",
    {"status": "needs_attention", "carrier": "carr_A", "group_id": "00123"},
    ABOVE,
)
MILESTONE = Subject(Kind.MILESTONE, "ms_1", "conn_1", {"status": True, "category": "c"}, ABOVE)
CALENDARS = """
calendars:
  office: {timezone: America/New_York, hours: "09:00-17:00", holidays: [US, 2026-12-24]}
  days: {timezone: America/New_York, holidays: US-MA}
"""


def condition(text: str, more: str = ""):
    rule = f"  - {{name: r, while: {text}, notify: [backend]{', ' if more else ''}{more}}}"
    [one] = conditions(config_with(rule, extra=CALENDARS))
    return one


@pytest.mark.parametrize(
    ("text", "subject", "expected"),
    [
        ("{entity: group_connection}", GROUP, True),
        ("{entity: [connection, milestone]}", GROUP, False),
        ("{entity: group_connection, status: needs_attention}", GROUP, True),
        ("{entity: group_connection, status: [pending, completed]}", GROUP, False),
        ("{entity: group_connection, not_status: completed}", GROUP, True),
        ("{entity: group_connection, not_status: [needs_attention]}", GROUP, False),
        ("{entity: milestone, status: 1}", MILESTONE, False),
        ("{entity: milestone, status: true}", MILESTONE, True),
        ("{entity: milestone, category: c, employer: er_1}", MILESTONE, True),
        ("{entity: milestone, carrier: carr_A}", MILESTONE, False),
        ("{entity: group_connection, carrier: carr_A, group_id: '00123'}", GROUP, True),
        ("{entity: group_connection, employer: '48213', connection: conn_1}", GROUP, True),
        ("{entity: group_connection, employer: er_2}", GROUP, False),
        ("{entity: group_connection, carrier_name: 'guard*', employer_name: '*corp'}", GROUP, True),
        ("{entity: group_connection, carrier_name: 'Aetna*'}", GROUP, False),
        ("{entity: milestone, carrier_name: '*'}", MILESTONE, None),  # it has none
    ],
)
def test_matches_what_is_asked(text, subject, expected):
    assert condition(text).matches(subject, NAMES) is expected


def test_a_name_that_is_not_known_leaves_it_open():
    asked = condition("{entity: group_connection, carrier_name: 'Guard*', employer: [er_1]}")
    assert asked.matches(GROUP, Names()) is None


def test_a_live_connection_has_its_live_entities_as_subjects():
    state = ConnectionState(
        ABOVE,
        {"gc_1": EntityState({"status": "pending"}, 3), "gc_2": EntityState({}, 1, removed_at=5)},
        {"ms_1": EntityState({"category": "c"}, 2)},
        sequence=9,
        revision=4,
    )
    found = list(subjects("conn_1", state, [(Kind.MILESTONE, "ms_1")], kinds=Kind))
    assert [(one.kind, one.id, one.revision, one.has_moved) for one in found] == [
        (Kind.CONNECTION, "conn_1", 9, True),  # the sequence: it grows with all that is under it
        (Kind.GROUP_CONNECTION, "gc_1", 3, False),
        (Kind.MILESTONE, "ms_1", 2, True),
    ]
    assert all((one.connection, one.above) == ("conn_1", ABOVE) for one in found)


@pytest.mark.parametrize(
    ("more", "since", "due"),
    [
        ("", "2026-11-25T14:00:00.000Z", "2026-11-25T14:00:00.000Z"),
        ("for: 10m", "2026-11-25T14:00:00.000Z", "2026-11-25T14:10:00.000Z"),
        ("for: 3bd", "2026-11-25T14:00:00.000Z", "2026-11-30T14:00:00.000Z"),  # no calendar: no holidays
        ("for: 3bd, calendar: days", "2026-11-25T14:00:00.000Z", "2026-12-01T14:00:00.000Z"),
        ("for: 1bd, calendar: office", "2026-11-25T23:00:00.000Z", "2026-11-30T14:00:00.000Z"),
        ("for: 15m, calendar: office", "2026-11-25T21:50:00.000Z", "2026-11-27T14:05:00.000Z"),
        ("calendar: office", "2026-11-25T03:00:00.000Z", "2026-11-25T14:00:00.000Z"),
        (
            "for: 1h, calendar: office",
            "2026-12-23T21:30:00.000Z",
            "2026-12-28T14:30:00.000Z",
        ),  # our own day off
    ],
)
def test_counts_time_by_its_calendar(more, since, due):
    assert condition("{entity: connection}", more).timing.due(since) == due


def test_what_does_not_move_counts_from_the_last_move_and_reminds_by_the_same_calendar():
    timing = condition("{entity: connection, unchanged: 3bd}", "remind: 1bd, calendar: days").timing
    assert timing.quiet("2026-11-25T14:00:00.000Z") == "2026-12-01T14:00:00.000Z"
    assert timing.again("2026-11-25T14:00:00.000Z") == "2026-11-27T14:00:00.000Z"
    assert timing.due("2026-11-25T14:00:00.000Z") == "2026-12-01T14:00:00.000Z"


def test_the_tag_changes_with_what_an_alert_depends_on_and_with_nothing_else():
    base = condition("{entity: connection, status: x}")
    assert condition("{entity: connection, status: x}", "severity: critical, note: n").tag == base.tag
    others = [
        condition("{entity: connection, status: y}"),
        condition("{entity: connection, status: x}", "for: 1m"),
        condition("{entity: connection, status: x}", "remind: 1m"),
        condition("{entity: connection, status: x}", "calendar: office"),
        condition("{entity: connection, status: x}", "calendar: days"),
        condition("{entity: connection, status: x, unchanged: 1m}"),
    ]
    assert len({base.tag, *(other.tag for other in others)}) == 7
