from __future__ import annotations

import msgspec
import pytest

from notifier.core.removals import Held
from notifier.core.reports import Facts, SinkFacts, decide

FINE = Facts(
    at="2026-01-01T00:00:00.000Z",
    is_complete=True,
    source_fault=None,
    drift=(),
    held=None,
    sinks={},
    known={},
)


def said(told, **facts):
    after, reports = decide(told, msgspec.structs.replace(FINE, **facts))
    return after, [item.type.removeprefix("notifier.") for item in reports]


def test_when_all_is_well_nothing_is_said():
    assert said({}) == ({}, [])


@pytest.mark.parametrize(
    ("cause", "type_"),
    [
        ("first_run", "baseline"),
        ("api_version", "baseline"),
        ("approved", "baseline"),
        ("state_lost", "state_lost"),
        ("base_url", "state_lost"),
        ("size", "state_lost"),
        ("schema", "state_lost"),
        ("unreadable", "state_lost"),
    ],
)
def test_a_baseline_is_told_and_lost_state_as_such(cause, type_):
    assert said({}, baseline=(cause, {}))[1] == [type_]


def test_a_failing_source_is_told_once_and_its_recovery_once():
    told, first = said({}, is_complete=False, source_fault="401")
    told, second = said(told, is_complete=False, source_fault="401")
    told, partial = said(told, is_complete=False, source_fault=None)
    told, third = said(told)
    told, fourth = said(told)
    assert (first, second, partial, third, fourth) == (["source_failing"], [], [], ["source_recovered"], [])


def test_each_kind_of_drift_is_told_once():
    told, first = said({}, drift=("a", "b"))
    told, second = said(told, drift=("b", "a"))
    told, third = said(told, drift=("a", "c"))
    assert (first, second, third) == (["drift"], [], ["drift"])


def test_held_removals_are_told_once_until_they_end():
    held = Held("t", {"connection": ["c1"]})
    told, first = said({}, held=held)
    told, second = said(told, held=held)
    told, approved = said(told, held=msgspec.structs.replace(held, approved=True))
    told, ended = said(told)
    told, again = said(told, held=held)
    assert (first, second, approved, ended, again) == (["removals_held"], [], [], [], ["removals_held"])


def test_what_is_held_anew_at_once_after_an_approval_is_told():
    told, _ = said({}, held=Held("t", {"connection": ["c1"]}))
    assert said(told, held=Held("later", {"connection": ["c1", "c2"]}))[1] == ["removals_held"]


def test_a_held_snapshot_is_told_as_such():
    assert said({}, held=Held("t", whole_snapshot=True))[1] == ["snapshot_held"]


def test_a_failing_sink_is_told_once_and_its_recovery_once():
    failing = {"ops": SinkFacts(failing="invalid_auth", paused=True, waiting=3)}
    told, first = said({}, sinks=failing)
    told, second = said(told, sinks=failing)
    told, third = said(told, sinks={"ops": SinkFacts()})
    assert (first, second, third) == (["sink_failing"], [], ["sink_recovered"])


def test_dead_letters_are_told_when_another_event_died():
    told, first = said({}, sinks={"ops": SinkFacts(dead=1, deaths=1)})
    told, second = said(told, sinks={"ops": SinkFacts(dead=1, deaths=1)})
    told, dropped = said(told, sinks={"ops": SinkFacts(dead=0, deaths=1)})
    told, third = said(told, sinks={"ops": SinkFacts(dead=1, deaths=2)})
    told, report = said(told, sinks={"ops": SinkFacts(dead=2, deaths=2)})
    assert (first, second, dropped, third, report) == (["dead_letters"], [], [], ["dead_letters"], [])


def test_dead_letters_that_were_replayed_before_anybody_heard_of_them_are_not_told():
    told, first = said({}, sinks={"ops": SinkFacts(dead=0, deaths=2)})
    told, second = said(told, sinks={"ops": SinkFacts(dead=1, deaths=3)})
    assert (first, second) == ([], ["dead_letters"])


def test_every_message_says_what_to_do_in_whole_sentences():
    facts = msgspec.structs.replace(
        FINE,
        is_complete=False,
        source_fault="Clasp answered 401",
        drift=("x",),
        held=Held("t", {"connection": ["c1"]}),
        sinks={"ops": SinkFacts(failing="invalid_auth", dead=2, deaths=2)},
        baseline=("state_lost", {"connection": 1}),
    )
    for item in decide({}, facts)[1]:
        assert item.message.endswith("."), item
        assert item.cause
        assert len(item.message) < 800
