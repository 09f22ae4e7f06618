from __future__ import annotations

import json

import pytest

from notifier.core.events import Names, Origin, from_transition, report
from notifier.core.rules import Router
from notifier.models import Kind, Transition
from tests.support.configs import config_with

ORIGIN = Origin("prod", "e1", "2026-01-01T00:01:00.000Z", "2026-01-01T00:00:00.000Z")
NAMES = Names({"er_1": ("Acme Corp", "48213")}, {"carr_A": "Guardian"})
SINKS = """
  backend: {type: console}
  other: {type: console, exclude: []}
  ops: {type: slack, token: "${TOKEN:-xoxb-1}", channel: "#ops"}
"""


def event(
    kind=Kind.GROUP_CONNECTION,
    verb="status_changed",
    from_="pending",
    to="needs_attention",
    names=NAMES,
    **more,
):
    fields = {
        Kind.GROUP_CONNECTION: {"carrier": "carr_A", "group_id": "00123", "broker_federal_ein": "12-3456789"},
        Kind.MILESTONE: {"category": "payroll_connected"},
        Kind.CONNECTION: {"broker_url": None, "employer": "er_1"},
    }[kind]
    step = Transition(kind, "x_1", verb, from_, to, more.get("changed", {}), {"status": to, **fields}, 1, 7)
    return from_transition(step, "conn_1", {"status": "live", "employer": "er_1"}, ORIGIN, names)


def matches(when: str, subject=None) -> bool:
    router = Router(config_with(f"  - {{name: r, when: {when}, notify: [backend]}}"))
    return bool(router.route(subject or event()).owed)


MILESTONE = event(Kind.MILESTONE, "added", None, "completed")
UPDATED = event(
    verb="updated", from_="needs_attention", to="needs_attention", changed={"group_id": ["1", "2"]}
)


@pytest.mark.parametrize(
    ("when", "subject", "expected"),
    [
        ("{}", event(), True),
        ("{type: group_connection.status_changed}", event(), True),
        ("{type: 'group_connection.*'}", event(), True),
        ("{type: '*.status_changed'}", event(), True),
        ("{type: '*.removed'}", event(), False),
        ("{type: ['*.removed', '*.status_changed']}", event(), True),
        ("{entity: group_connection}", event(), True),
        ("{entity: [connection, milestone]}", event(), False),
        ("{to: needs_attention}", event(), True),
        ("{to: needs_attention}", event(verb="added", from_=None), True),
        ("{to: needs_attention}", UPDATED, False),
        ("{to: completed}", event(), False),
        ("{from: pending}", event(), True),
        ("{from: [processing, pending]}", event(), True),
        ("{from: processing}", event(), False),
        ("{not_from: pending}", event(), False),
        ("{not_from: processing}", event(), True),
        ("{not_to: completed}", event(), True),
        ("{not_to: [completed, needs_attention]}", event(), False),
        ("{to: 0}", event(to=0), True),
        ("{to: false}", event(to=0), False),
        ("{to: [2, true]}", event(to=1), False),
        ("{from: 1}", event(from_=True), False),
        ("{not_to: false}", event(to=0), True),
        ("{not_from: 1}", event(from_=True), True),
        ("{from: 0, to: false, field: status}", event(from_=0, to=False), True),
        ("{category: payroll_connected}", MILESTONE, True),
        ("{category: payroll_connected}", event(), False),
        ("{category: review_submitted}", MILESTONE, False),
        ("{carrier: carr_A}", event(), True),
        ("{carrier: carr_B}", event(), False),
        ("{carrier: carr_A}", MILESTONE, False),
        ("{employer: er_1}", event(), True),
        ("{employer: '48213'}", event(), True),
        ("{employer: er_2}", event(), False),
        ("{carrier_name: 'guard*'}", event(), True),
        ("{carrier_name: 'Aetna*'}", event(), False),
        ("{employer_name: ['*corp', 'x']}", event(), True),
        ("{connection: conn_1}", event(), True),
        ("{connection: conn_2}", event(), False),
        ("{group_id: '00123'}", event(), True),
        ("{group_id: '123'}", event(), False),
        ("{field: status}", event(), True),
        ("{field: group_id}", UPDATED, True),
        ("{field: group_id}", event(), False),
        ("{field: status}", UPDATED, False),
        ("{entity: group_connection, to: needs_attention, carrier_name: Guardian}", event(), True),
        ("{entity: group_connection, to: needs_attention, carrier_name: Aetna}", event(), False),
    ],
)
def test_when(when, subject, expected):
    assert matches(when, subject) is expected


def routed(rules: str, subject=None):
    owed = Router(config_with(rules, SINKS)).route(subject or event())
    return [(item.sink, item.delivery.rule, item.delivery.target) for item in owed.owed], owed


def test_one_event_goes_to_one_sink_once_and_the_first_rule_has_it():
    rules = """
  - {name: first, when: {to: needs_attention}, notify: ["ops#dental", backend]}
  - {name: second, when: {}, notify: [ops, backend, other]}
"""
    assert routed(rules)[0] == [
        ("ops", "first", "#dental"),
        ("backend", "first", None),
        ("other", "second", None),
    ]


def test_a_rule_on_a_name_that_is_not_known_goes_to_its_fallback():
    rules = """
  - {name: dental, when: {carrier_name: "Delta*"}, notify: [ops], fallback: [backend]}
"""
    assert routed(rules)[0] == []
    sent, owed = routed(rules, event(names=Names()))
    assert sent == [("backend", "dental", None)]
    assert owed.nameless == ("dental",)
    assert routed(rules, MILESTONE)[0] in ([], [("backend", "dental", None)])


def test_what_the_notifier_says_of_itself_goes_to_self_reports_and_to_rules_that_ask_by_type():
    rules = """
  - {name: everything, when: {}, notify: [backend]}
  - {name: health, when: {type: "notifier.*"}, notify: [other]}
"""
    said = report("notifier.drift", ORIGIN, nonce="1", message="m", cause="c", severity="warning")
    assert routed(rules, said)[0] == [("other", "health", None), ("ops", "self_reports", None)]
    body = json.loads(routed(rules, said)[1].owed[0].delivery.body)
    assert body["data"]["severity"] == "warning"


def test_fields_that_a_sink_excludes_never_leave_to_it():
    rules = "  - {name: all, when: {}, notify: [backend, other]}"
    moved = {"broker_federal_ein": ["12-3456789", "98-7654321"], "group_id": ["1", "2"]}
    subject = event(changed=moved, verb="updated", from_="pending", to="pending")
    bodies = {item.sink: item.delivery.body for item in routed(rules, subject)[1].owed}
    assert "3456789" not in bodies["backend"]
    assert "7654321" not in bodies["backend"]
    assert json.loads(bodies["other"])["data"]["entity"]["broker_federal_ein"] == "12-3456789"


def test_what_is_excluded_is_excluded_wherever_it_stands():
    sinks = "  backend: {type: console, exclude: [broker_url, employer, carrier, group_id]}"
    router = Router(config_with("  - {name: all, when: {}, notify: [backend]}", sinks))
    data = json.loads(router.route(event()).owed[0].delivery.body)["data"]
    assert data["connection"] == {"id": "conn_1", "status": "live"}
    assert "carrier" not in data
    assert "group_id" not in data["entity"]


def test_an_update_of_nothing_but_excluded_fields_is_no_news():
    rules = "  - {name: all, when: {}, notify: [backend, other]}"
    moved = {"broker_federal_ein": ["12-3456789", "98-7654321"]}
    assert routed(rules, event(changed=moved, verb="updated", from_="pending", to="pending"))[0] == [
        ("other", "all", None)
    ]


def test_only_messages_for_people_carry_notes_and_links():
    config = config_with(
        '  - {name: all, when: {}, notify: [backend, ops], note: "Look at it."}',
        SINKS,
        'links: {employer: "https://admin.example.com/c/{external_id}", other: "https://x.example/{id}"}',
    )
    bodies = {
        item.sink: json.loads(item.delivery.body)["data"] for item in Router(config).route(event()).owed
    }
    assert "note" not in bodies["backend"]
    assert "links" not in bodies["backend"]
    assert bodies["ops"]["note"] == "Look at it."
    assert bodies["ops"]["links"] == {
        "employer": "https://admin.example.com/c/48213",
        "other": "https://x.example/er_1",
    }


def test_bodies_are_written_as_json_dumps_writes_them():
    text = routed("  - {name: all, when: {}, notify: [backend]}")[1].owed[0].delivery.body
    assert json.dumps(json.loads(text)) == text


def test_an_id_depends_on_what_happened_and_not_on_when():
    later = Origin("prod", "e1", "2027-01-01T00:00:00.000Z", None)
    step = Transition(Kind.MILESTONE, "x", "added", None, "review", {}, {}, 1, 1)
    base = from_transition(step, "c", {}, ORIGIN, NAMES).id
    assert base == from_transition(step, "c", {}, later, Names()).id
    for other in (
        from_transition(step, "c", {}, Origin("prod", "e2", "", None), NAMES),
        from_transition(step, "c", {}, Origin("dev", "e1", "", None), NAMES),
        from_transition(step, "c2", {}, ORIGIN, NAMES),
        from_transition(
            Transition(Kind.MILESTONE, "x", "added", None, "review", {}, {}, 2, 1), "c", {}, ORIGIN, NAMES
        ),
        from_transition(
            Transition(Kind.MILESTONE, "x", "added", None, "done", {}, {}, 1, 1), "c", {}, ORIGIN, NAMES
        ),
    ):
        assert other.id != base
