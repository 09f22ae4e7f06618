"""Which digests are due, what happened in a period, and what is said of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.config import warnings
from notifier.core.alerts import moment_text
from notifier.core.digests import NEVER, Standing, decide, digests
from notifier.core.past import Past, Record, happened
from notifier.sinks.slack_message import render
from tests.support.alerts import rule
from tests.support.configs import config_with
from tests.unit.test_config import RULE, assert_told
from tests.unit.test_sink_slack_message import (
    VALUES,
    alert_event,
    assert_valid_and_inert,
    group_event,
    shown,
)

MINUTE = timedelta(minutes=1)
WEEKLY = "  - {name: weekly, at: [mon 09:00, 'thu 14:30'], calendar: office, notify: backend}\n"
OFFICE = "calendars: {office: {timezone: America/New_York, holidays: 2026-11-26}, other: {timezone: UTC}}\n"


def asked(text: str = WEEKLY, sinks: str = "  backend: {type: console}\n", rules: str = ""):
    return config_with(rules or rule(notify="[backend]"), sinks, f"digests:\n{text}{OFFICE}")


# --- when ---

STEPS = st.lists(st.timedeltas(timedelta(seconds=1), timedelta(days=6)), min_size=1, max_size=25)


@given(st.datetimes(datetime(2026, 1, 1), datetime(2027, 1, 1)), STEPS)
def test_each_time_is_told_once_whenever_somebody_looks_and_periods_meet(start, steps):
    [digest] = plan = digests(asked())
    at, standing, told = start.replace(tzinfo=UTC), {}, []
    standing = decide(plan, standing, moment_text(at)).standing
    for step in steps:
        before, at = at, at + step
        result = decide(plan, standing, moment_text(at))
        assert result.next_at > moment_text(at)
        due_at = digest.next_after(moment_text(before))
        assert [due.at for due in result.due] == ([due_at] if due_at <= moment_text(at) else [])
        told += [(due.since, moment_text(at)) for due in result.due]
        standing = msgspec.json.decode(msgspec.json.encode(result.standing), type=dict[str, Standing])
        assert decide(plan, standing, moment_text(at)).due == ()
    assert all(earlier[1] == later[0] for earlier, later in pairwise(told))


def test_where_there_is_no_digest_nothing_is_ever_due():
    assert decide((), {}, "2026-11-23T09:00:00.000Z") == decide((), {"gone": Standing("", "")}, "")
    assert decide((), {}, "").next_at == NEVER


# --- what happened ---


def record(type_: str, at: str, looks: tuple[str | None, str] | None = None, **data) -> Record:
    """``at`` is an hour and a minute."""
    told = {"observed_between": looks and tuple(look and moment(look) for look in looks), **data}
    return msgspec.convert({"type": type_, "timestamp": moment(at), "data": told}, Record)


def moment(at: str) -> str:
    return f"2026-11-23T{at}:00.000Z"


def found(*records: Record, since: str = "09:00", now: str = "18:00", before: str = "17:59", **more):
    return happened(
        Past(records, **more), moment(since), moment(now), (), MINUTE, moment(before), is_first=False
    )


@pytest.mark.parametrize(("since", "at_least"), [("09:00", True), ("10:00", False), ("11:00", False)])
def test_only_a_digest_that_reaches_back_too_far_says_at_least(since, at_least):
    """Others that are due at the same time may do so."""
    assert found(record("x.added", "12:00"), since=since, whole_since=moment("10:00")).at_least is at_least


FAILS, WORKS = "notifier.source_failing", "notifier.source_recovered"


@pytest.mark.parametrize(
    ("records", "blind"),
    [
        ((), []),
        ((record(FAILS, "10:00"), record(WORKS, "11:00")), [("10:00", "11:00")]),
        ((record(WORKS, "11:00"),), [("09:00", "11:00")]),  # it began before
        ((record(FAILS, "17:00"),), [("17:00", "18:00")]),  # it ends with this look
        ((record("x.added", "12:00", ("11:49", "12:00")),), [("11:49", "12:00")]),
        ((record("x.added", "12:00", ("11:50", "12:00")),), []),  # ten intervals are not long
        ((record("x.added", "12:00", ("11:00", "12:00")), record("y.added", "12:00", ("11:00", "12:00"))), [("11:00", "12:00")]),
        ((record("x.removed", "12:00", ("10:00", "12:00")),), []),  # that it was absent had to be certain
        ((record("x.added", "12:00", (None, "12:00")),), []),
        ((record("x.added", "09:30", ("08:00", "09:30")),), [("09:00", "09:30")]),  # the rest was told before
        ((record(FAILS, "10:00"), record("x.added", "11:05", ("09:57", "11:05")), record(WORKS, "11:05")), [("09:57", "11:05")]),
        ((record(FAILS, "10:00"), record("x.added", "11:05", ("10:30", "10:50")), record(WORKS, "11:05")), [("10:00", "11:05")]),
        ((record("x.added", "08:30", ("08:00", "08:30")), record("x.added", "18:30", ("18:00", "18:30"))), []),
    ],
)  # fmt: skip
def test_knows_from_the_history_when_nobody_saw(records, blind):
    assert [*found(*records).blind] == [(moment(begin), moment(end)) for begin, end in blind]


def test_a_gap_before_the_look_that_tells_counts_as_well():
    assert found(before="12:00").blind == ((moment("12:00"), moment("18:00")),)


def test_an_alert_that_was_there_already_or_ended_with_its_rule_says_nothing_of_how_long_it_takes():
    def over(minutes: int, end: str = "completed", since_after: str | None = "x"):
        alert = {"since": moment("09:00"), "since_after": since_after, "end": end}
        return record("alert.resolved", "12:00", alert={**alert, "ended_at": moment(f"10:{minutes:02}")})

    happened_ = found(
        over(10), over(20, "moved"), over(50, "removed"), over(1, "rule"), over(2, since_after=None)
    )
    assert happened_.median_s == 80 * 60
    assert dict(happened_.ended) == {"completed": 2, "moved": 1, "removed": 1, "rule": 1}


# --- what is said ---


def told(**data) -> dict:
    facts = {"opened": 0, "existing": 0, "ended": {}, "median_s": None, "open": 0, "elsewhere": 0}
    facts |= {"carriers": [], "blind": [], "blind_s": 0, "entries": [], "source": "clasp-production"}
    facts |= {"digest": {"name": "monday", "due_at": "2026-11-23T09:00:00Z", "is_late": False}}
    period = {"period": ["2026-11-16T09:00:12Z", "2026-11-23T09:00:07Z"], "at_least": False}
    return {"type": "alert.digest", "timestamp": "2026-11-23T09:00:07Z", "data": {**facts, **period, **data}}


def test_a_digest_says_how_things_stand_and_what_happened():
    ended = {"completed": 6, "moved": 2, "removed": 1, "rule": 0}
    carriers = [{"id": "carr_1", "name": "Guardian", "open": 1200}, {"id": "carr_2", "name": None, "open": 1}]
    reminder = alert_event("reminder")
    body = told(
        opened=12, ended=ended, median_s=8040, open=1203, carriers=carriers, elsewhere=2, entries=[reminder]
    )
    header, facts, lines, when, ids = render(body).blocks
    assert header["text"]["text"] == "ℹ️ monday: 1,203 alerts are open"
    assert facts["text"]["text"] == "12 opened, 9 are over."
    assert [field["text"] for field in facts["fields"]] == [
        "Over: 6 completed, 2 moved on, 1 no longer listed",
        "Half were over within: 2 h 14 min",
        "Open at: Guardian 1,200, carr_2 1, 2 elsewhere",
    ]
    first, rest = lines["text"]["text"].split("\n")
    assert first.startswith("• Acme Corp · Guardian still needs attention (group 00123, For 3 h")
    assert rest == "• and 1,202 more"
    assert "Happened between" in when["elements"][0]["text"]
    assert ids["elements"][0]["text"] == "source clasp-production · digest monday"


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ({}, "monday: nothing is open (All is well: nothing waits for you. Nothing opened, and nothing ended.)"),
        ({"open": 1}, "monday: 1 alert is open (Nothing opened, and nothing ended.)"),
        ({"open": 1, "ended": {"completed": 1}}, "(0 opened, 1 is over.)"),
        ({"open": 1, "at_least": True}, "(At least 0 opened, at least 0 are over.)"),
        ({"open": 1, "existing": 1}, "(0 opened, 0 are over. 1 was there already when their rule began.)"),
    ],
)  # fmt: skip
def test_a_digest_is_kind_and_exact(data, text):
    assert text in render(told(**data)).text


def test_what_does_not_fit_is_counted():
    line = group_event("alert.reminder", alert={"since": "2026-11-23T08:00:00Z"})
    line["data"]["connection"]["employer"]["name"] = "W" * 4000
    text = shown(told(open=10, entries=[line] * 10))
    assert "and 1 more" in text or text.count("WWW") >= 10


COUNTS = VALUES | st.integers()
PAIRS = st.lists(VALUES | st.sampled_from(["2026-11-23T08:00:00Z", "2026-11-23T08:00:00"]), max_size=3)
BODIES = st.fixed_dictionaries(
    {},
    optional={
        "digest": VALUES | st.fixed_dictionaries({"name": VALUES, "due_at": VALUES, "is_late": st.just(True)}),
        "period": VALUES | PAIRS,
        "at_least": VALUES | st.booleans(),
        "opened": COUNTS,
        "existing": COUNTS,
        "ended": VALUES | st.dictionaries(st.sampled_from(["completed", "moved", "removed"]), COUNTS),
        "median_s": COUNTS | st.floats(),
        "blind": VALUES | st.lists(VALUES | PAIRS, max_size=5),
        "blind_s": COUNTS,
        "open": COUNTS,
        "carriers": VALUES | st.lists(VALUES | st.fixed_dictionaries({"id": VALUES, "name": VALUES, "open": COUNTS}), max_size=7),
        "elsewhere": COUNTS,
        "source": VALUES,
        "entries": VALUES | st.lists(st.just(alert_event("reminder")) | VALUES, max_size=25),
    },
)  # fmt: skip


@given(BODIES)
@settings(max_examples=200, deadline=None)
def test_any_digest_makes_a_valid_and_inert_message(data):
    assert_valid_and_inert(render({"type": "alert.digest", "timestamp": "x", "data": data}))


# --- the configuration ---

DIGEST = "digests:\n  - {name: d, at: mon 09:00, timezone: UTC, notify: [log]}\n"
# fmt: off
BAD = {
    "at": ("mon 09:00", "monday", ':24: digests[0].at: is not a time of the week; write days and a time: "mon 09:00" or "daily 09:00"'),
    "at_list": ("mon 09:00", "[mon 09:00, mon 9]", "digests[0].at[1]: is not a time of the week"),
    "at_day": ("mon 09:00", '"mon,thx 09:00"', 'digests[0].at: unknown day of the week "thx"; did you mean "thu"?'),
    "at_time": ("mon 09:00", "mon 24:00", "digests[0].at: names no time of day; a day begins at 00:00 and ends with 23:59"),
    "key": ("timezone", "timezon", 'digests[0].timezon: unknown key; did you mean "timezone"?'),
    "zone": ("UTC", "Utopia", "digests[0].timezone: unknown time zone"),
    "no_zone": ("timezone: UTC, ", "", ':24: digests[0]: needs "calendar" or "timezone": there is not exactly one calendar to take'),
    "both": (DIGEST, "calendars: {office: {timezone: UTC}}\n" + DIGEST.replace("UTC", "UTC, calendar: office"), 'digests[0].timezone: "calendar" and "timezone" exclude each other; a calendar has a time zone'),
    "calendar": ("timezone: UTC", "calendar: office", 'digests[0].calendar: names a calendar, and there are none; add "calendars"'),
    "sink": ("[log]", "[lag]", 'digests[0].notify[0]: unknown sink "lag"; did you mean "log"?'),
    "sink_twice": ("[log]", "[log, log]", "digests[0].notify[1]: names this sink twice"),
    "channel": ("[log]", '["log#x"]', 'digests[0].notify[0]: "#" chooses a Slack channel'),
    "rule": ("[log]", "[log], rules: [frist]", 'digests[0].rules[0]: unknown rule "frist"; did you mean "first"?'),
    "moment": ("[log]", "[log], rules: first", 'digests[0].rules: has "when"; a digest tells of alerts, of rules with "while"'),
    "twice": ("digests:\n", "digests:\n  - {name: d, at: mon 09:00, timezone: UTC, notify: [log]}\n", ":25: digests[1].name: digests[0] has this name already"),
    "shape": ("digests:\n  - {", "digests:\n  a: {", "digests: expected a list"),
    "never": ("digests:", "calendars: {office: {timezone: UTC, days: sun, hours: '09:00-10:00'}}\ndigests:", "is open for less than five hours a week"),
}
# fmt: on


@pytest.mark.parametrize(("old", "new", "said"), BAD.values(), ids=BAD)
def test_tells_what_is_wrong_and_where(tmp_path, old, new, said):
    assert_told(tmp_path, RULE, RULE + DIGEST.replace(old, new), said)


def test_takes_the_only_calendar_where_it_names_none():
    [digest] = digests(
        config_with(
            extra="calendars: {o: {timezone: Europe/Berlin}}\ndigests: [{name: d, at: daily 9:00, notify: backend}]"
        )
    )
    assert digest.next_after("2026-11-20T09:00:00.000Z") == "2026-11-23T08:00:00.000Z"


def test_advises_where_a_digest_has_nothing_to_tell_or_another_day_than_it_says():
    text = "  - {name: weekly, at: [sat 09:00], calendar: office, notify: backend}\n"
    sinks = "  backend: {type: console}\n  only: {type: console}\n"
    found = warnings(asked(text, sinks, "  - {name: all, when: {type: 'notifier.*'}, notify: backend}\n"))
    assert found[1:] == [
        'digests[0] "weekly" tells of alerts, and no rule has "while": it has nothing to tell',
        'digests[0] "weekly" names a day on which its calendar is always closed: it waits for the next open day',
    ]
    assert found[0].startswith("sinks.only: no rule")
    assert not any("sinks.only" in said for said in warnings(asked(text.replace("backend", "only"), sinks)))
