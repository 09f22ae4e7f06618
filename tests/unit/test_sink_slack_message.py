"""What a Slack message says, and that no text of the source can do anything in it."""

from __future__ import annotations

import html
import json
import re
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from notifier.sinks.slack_message import render, reply
from notifier.sinks.slack_text import JOINER, mrkdwn, note, plain
from notifier.sinks.values import clean
from tests.doubles.slack import MAX_TEXT, defect


def group_event(type_="group_connection.status_changed", **changes) -> dict:
    """A body as event sinks receive it."""
    data = {
        "id": "evt_1",
        "source": "clasp-production",
        "epoch": "e1",
        "sequence": 7,
        "rule": "group-needs-attention",
        "severity": "warning",
        "entity": {
            "kind": "group_connection",
            "id": "gc_1",
            "status": "needs_attention",
            "group_id": "00123",
        },
        "from": "processing",
        "to": "needs_attention",
        "changed": {},
        "connection": {
            "id": "con_1",
            "status": "processing",
            "broker_url": None,
            "employer": {"id": "er_1", "name": "Acme Corp", "external_id": "48213"},
        },
        "carrier": {"id": "carr_1", "name": "Guardian"},
        "observed_between": ["2026-11-23T22:00:07.001Z", "2026-11-23T22:01:07.120Z"],
    }
    return {"type": type_, "timestamp": "2026-11-23T22:01:07.120Z", "data": {**data, **changes}}


MILESTONE = {"kind": "milestone", "id": "m_1", "status": "completed", "category": "carrier_sync_completed"}
CONNECTION = {"kind": "connection", "id": "con_1", "status": "completed"}


def shown(body: dict) -> str:
    return json.dumps(render(body).blocks, ensure_ascii=False)


def test_tells_at_a_glance_who_what_since_when_and_where():
    body = group_event(
        note="Look at the carrier's request.", links={"employer": "https://admin.example.com/48213"}
    )
    header, moved, note_, when, ids = render(body).blocks
    assert header["text"]["text"] == "⚠️ Acme Corp · Guardian needs attention"
    assert moved["text"]["text"] == "Processing → Needs Attention"
    assert [field["text"] for field in moved["fields"]] == [
        "Employer: Acme Corp (48213)",
        "Carrier: Guardian",
        "Group number: 00123",
        "Connection: Processing",
    ]
    assert note_["text"]["text"] == "*What to do:* Look at the carrier's request."
    assert "|2026-11-23 22:00 UTC> and <!date^1795471267^" in when["elements"][0]["text"]
    assert "<https://admin.example.com/48213|employer>" in when["elements"][0]["text"]
    assert "group connection gc_1 · connection con_1" in ids["elements"][0]["text"]
    assert render(body).text == "⚠️ Acme Corp · Guardian needs attention (Processing → Needs Attention)"


@pytest.mark.parametrize(
    ("type_", "changes", "title"),
    [
        ("group_connection.added", {"from": None, "to": "pending"}, "Acme Corp · Guardian is new: Pending"),
        ("group_connection.added", {"from": None}, "Acme Corp · Guardian is new and needs attention"),
        ("group_connection.status_changed", {"to": "completed"}, "Acme Corp · Guardian is completed"),
        ("group_connection.status_changed", {"to": "odd value"}, "Acme Corp · Guardian is now odd value"),
        ("group_connection.removed", {"to": None}, "Acme Corp · Guardian was removed"),
        ("group_connection.reappeared", {"to": "pending"}, "Acme Corp · Guardian is back: Pending"),
        (
            "group_connection.updated",
            {"changed": {"group_id": ["1", "2"]}},
            "Acme Corp · Guardian changed: Group number",
        ),
        ("connection.status_changed", {"entity": CONNECTION, "to": 7}, "Acme Corp · connection is now 7"),
        ("connection.removed", {"entity": CONNECTION}, "Acme Corp · connection was removed"),
        (
            "milestone.status_changed",
            {"entity": MILESTONE, "to": "completed"},
            'Acme Corp · milestone "Carrier Sync Completed" is completed',
        ),
        ("group_connection.status_changed", {"carrier": {"id": "carr_1", "name": None}}, "Acme Corp · carr_1 needs attention"),
        ("group_connection.status_changed", {"connection": {}}, "Unknown employer · Guardian needs attention"),
    ],
)  # fmt: skip
def test_every_type_of_event_has_a_title(type_, changes, title):
    assert render(group_event(type_, **changes)).blocks[0]["text"]["text"] == f"⚠️ {title}"


def alert_event(what, *, status="needs_attention", timestamp="2026-11-24T01:03:08.000Z", **alert):
    body = group_event(
        f"alert.{what}", entity={**group_event()["data"]["entity"], "status": status}, to=status
    )
    body["timestamp"] = timestamp
    body["data"]["alert"] = {
        "since": "2026-11-23T22:01:07.120Z",
        "since_after": "2026-11-23T22:00:07.001Z",
        "occurrence": 1,
        "end": None,
        "unchanged": False,
        **alert,
    }
    return body


@pytest.mark.parametrize(
    ("body", "title", "course"),
    [
        (alert_event("opened"), "⚠️ Acme Corp · Guardian needs attention", "Processing → Needs Attention"),
        (alert_event("opened", status="odd one"), "⚠️ Acme Corp · Guardian is odd one", "Processing → odd one"),
        (alert_event("opened", occurrence=2), "⚠️ Acme Corp · Guardian needs attention", "Processing → Needs Attention, 2nd time in 30 days"),
        (alert_event("opened", occurrence=13), "⚠️ Acme Corp · Guardian needs attention", "Processing → Needs Attention, 13th time in 30 days"),
        (alert_event("reminder", occurrence=3), "⚠️ Acme Corp · Guardian still needs attention", "For 3 h 2 min"),
        (alert_event("reminder", since_after=None, timestamp="2026-11-26T01:03:07Z"), "⚠️ Acme Corp · Guardian still needs attention", "For at least 2 d 3 h"),
        (alert_event("opened", unchanged=True, status="pending"), "⚠️ Acme Corp · Guardian does not move: Pending", None),
        (alert_event("reminder", since_after=None, timestamp="2026-11-23T22:01:30Z"), "⚠️ Acme Corp · Guardian still needs attention", None),
        (alert_event("reminder", unchanged=True, status="pending"), "⚠️ Acme Corp · Guardian still does not move: Pending", "For 3 h 2 min"),
        (alert_event("resolved", end="completed", status="completed"), "✅ Acme Corp · Guardian is completed", "After 3 h 2 min"),
        (alert_event("resolved", end="completed", status="completed", ended_at="2026-11-23T22:21:08Z"), "✅ Acme Corp · Guardian is completed", "After 20 min"),
        (alert_event("resolved", end="moved", status="pending"), "🔵 Acme Corp · Guardian moved on: Processing → Pending", "After 3 h 2 min"),
        (alert_event("resolved", end="moved", unchanged=True), "🔵 Acme Corp · Guardian has moved again: Processing → Needs Attention", "After 3 h 2 min"),
        (alert_event("resolved", end="moved", unchanged=True, status="processing"), "🔵 Acme Corp · Guardian has moved again", "After 3 h 2 min"),
        (alert_event("resolved", end="removed"), "⚪ Acme Corp · Guardian is no longer listed by Clasp", "After 3 h 2 min"),
        (alert_event("resolved", end="rule"), "⚪ Acme Corp · Guardian is no longer watched: its rule has changed", "After 3 h 2 min"),
        (alert_event("resolved", end="moved", timestamp="2026-11-23T22:01:30Z"), "🔵 Acme Corp · Guardian moved on: Processing → Needs Attention", "After less than a minute"),
    ],
)  # fmt: skip
def test_an_alert_says_how_it_stands_and_how_it_ended(body, title, course):
    header, section, *_ = render(body).blocks
    assert header["text"]["text"] == title
    assert section.get("text", {}).get("text") == course
    assert "Began between <!date^" in shown(body) or "So since <!date^" in shown(body)


def test_what_to_do_is_said_for_as_long_as_there_is_something_to_do():
    opened, resolved = alert_event("opened"), alert_event("resolved", end="completed")
    for body in (opened, resolved):
        body["data"]["note"] = "Look."
    assert "What to do" in shown(opened)
    assert "What to do" not in shown(resolved)


def test_an_update_tells_old_and_new_values():
    changed = {"group_id": ["00123", "00456"], "completed_at": [None, "2026-11-23T10:00:00Z"]}
    said = render(group_event("group_connection.updated", changed=changed, to="processing"))
    assert "Group number: 00123 → 00456; Completed: none → 2026-11-23 10:00 UTC" in said.text


@pytest.mark.parametrize(
    ("severity", "mark"), [("info", "ℹ️"), ("warning", "⚠️"), ("critical", "🚨"), ("odd", "ℹ️")]
)
def test_the_severity_is_the_first_thing_one_sees(severity, mark):
    assert render(group_event(severity=severity)).text.startswith(mark)


def test_what_the_notifier_says_of_itself_is_told_in_its_own_words():
    data = {"id": "evt_r", "source": "s", "severity": "critical", "message": "3 messages wait.", "cause": "c"}
    said = render({"type": "notifier.dead_letters", "timestamp": "x", "data": data})
    assert said.text == "🚨 Messages could not be delivered (3 messages wait.)"
    assert said.blocks[1]["text"]["text"] == "3 messages wait."


def test_the_operators_own_note_may_hold_links_and_lines_but_no_mentions():
    said = note("Call @oncall <!channel>\nsee https://wiki.example.com/run_book_1.", 2900)
    assert "<https://wiki.example.com/run_book_1>." in said
    assert "\n" in said
    assert "<!" not in said
    assert "@oncall" not in said


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "http://evil.example", "https://x|y", "https://x>", "https://x y", 7, None]
)
def test_a_brokers_url_is_a_link_only_where_it_is_clean_https(url):
    body = group_event()
    body["data"]["connection"]["broker_url"] = url
    assert "broker page" not in shown(body)
    body["data"]["connection"]["broker_url"] = "https://broker.example.com/a?b=1&c=2"
    assert "<https://broker.example.com/a?b=1&amp;c=2|broker page>" in shown(body)


HOSTILE = st.lists(
    st.sampled_from(
        ["<!channel>", "<!here|x>", "<@U012AB3CD>", "<#C012AB3CD>", "<!subteam^S1>", "@here", "@everyone", "#general", "http://evil.example", "https://evil.example|x", "<http://evil.example|click>", "www.evil.example", ":fire:", ":+1:", "*bold*", "_it_", "~no~", "`code`", "```", "\n> quote", "&lt;!channel&gt;", "&amp;", "&", "\u202e", "\u2066", "\u200b", "\x1b[31m", "\x00", "\r\n", "\u2028", "�", "😀", "é", "א", "mailto:a@b.c", "<!date^1^{time}|x>", "a" * 200, "&" * 3000, "😀" * 2000, "<" * 10000, " "]
    )
    | st.text(max_size=30),
    max_size=12,
).map("".join)  # fmt: skip

_BAD = re.compile(r"<[!@#]|@\w|://|:[\w+'-]+:|\bwww\.|mailto:|#\w", re.IGNORECASE)


def assert_inert(text: str) -> None:
    assert not _BAD.search(text), text
    for char in text:
        category = unicodedata.category(char)
        assert category not in {"Cc", "Cs", "Zl", "Zp"}, repr(char)
        assert category != "Cf" or char in {JOINER, "\u200c", "\u200d"}, repr(char)


@given(HOSTILE, st.integers(1, 400))
def test_plain_text_is_inert_within_its_limit_and_reads_as_it_was(text, limit):
    said = plain(text, limit)
    assert_inert(said)
    assert len(html.escape(said, quote=False).encode("utf-16-le")) // 2 <= max(limit, 1)
    whole = plain(text, 10**6)
    assert whole.replace(JOINER, "") == (clean(text) or " ")


@given(HOSTILE)
@example("_it_www.evil.example")
def test_mrkdwn_is_inert_escaped_and_reads_as_it_was(text):
    said = mrkdwn(text, 10**6)
    assert "<" not in said
    assert ">" not in said
    assert_inert(html.unescape(said))
    assert not re.search(r"(?<!\u2060)[*_~`]|[*_~`](?!\u2060)", said)
    assert re.sub(r"&(amp|lt|gt);", lambda m: {"amp": "&", "lt": "<", "gt": ">"}[m[1]], said).replace(
        JOINER, ""
    ) == (clean(text) or " ")


VALUES = (
    HOSTILE | st.none() | st.integers() | st.booleans() | st.dictionaries(st.text(max_size=5), st.integers())
)
TYPES = st.sampled_from(["connection", "group_connection", "milestone", "alert", "notifier", "x"]).flatmap(
    lambda kind: st.sampled_from(
        [
            "added",
            "status_changed",
            "updated",
            "removed",
            "reappeared",
            "baseline",
            "opened",
            "reminder",
            "acknowledged",
            "released",
            "settled",
            "resolved",
        ]
    ).map(lambda verb: f"{kind}.{verb}")
)


MOMENTS = st.sampled_from(["2026-11-23T22:00:07Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
DATA = st.fixed_dictionaries(
        {},
        optional={
            "from": VALUES,
            "to": VALUES,
            "severity": VALUES,
            "message": VALUES,
            "carrier": VALUES | st.fixed_dictionaries({"id": VALUES, "name": VALUES}),
            "changed": VALUES | st.dictionaries(HOSTILE, st.lists(VALUES, max_size=3), max_size=12),
            "entity": VALUES | st.fixed_dictionaries({"kind": VALUES, "id": VALUES, "group_id": VALUES, "category": VALUES}),
            "connection": VALUES
            | st.fixed_dictionaries({"id": VALUES, "status": VALUES, "broker_url": VALUES})
            | st.fixed_dictionaries({"employer": st.fixed_dictionaries({"name": VALUES, "external_id": VALUES})}),
            "observed_between": VALUES | st.lists(VALUES | st.just("2026-11-23T22:01:07Z"), max_size=3),
            "note": VALUES,
            "links": VALUES | st.dictionaries(HOSTILE, HOSTILE, max_size=8),
            "rule": VALUES,
            "headline": VALUES | st.just("{{ employer }}: {{ status }}"),
            "sentence": VALUES | st.just("{{ carrier }} for {{ lasted }}"),
            "owner": VALUES | st.fixed_dictionaries({"owner": VALUES, "team": VALUES}),
            "usual": VALUES | st.fixed_dictionaries({"median_s": VALUES, "p90_s": VALUES | st.integers(), "samples": VALUES}),
            "affected": VALUES | st.fixed_dictionaries({"employers": st.integers(), "of": st.integers()}),
            "alert": VALUES
            | st.fixed_dictionaries(
                {},
                optional={
                    "since": VALUES | st.just("2026-11-23T22:00:07Z"),
                    "since_after": VALUES | st.just("0001-01-01T00:00:00Z"),
                    "end": VALUES | st.sampled_from(["completed", "moved", "removed", "rule"]),
                    "occurrence": VALUES | st.integers(),
                    "unchanged": VALUES | st.booleans(),
                    "unstable": VALUES | st.fixed_dictionaries({"times": VALUES | st.integers()}),
                    "acknowledged": VALUES
                    | st.fixed_dictionaries(
                        {"by": HOSTILE, "at": MOMENTS},
                        optional={"until": MOMENTS | st.just("change") | VALUES, "moved_at": MOMENTS | VALUES},
                    ),
                },
            ),
        },
)  # fmt: skip
TOGETHER = st.fixed_dictionaries(
    {
        "entries": VALUES
        | st.lists(st.builds(lambda t, d: group_event(t, **d), TYPES, DATA) | VALUES, max_size=4)
    },
    optional={
        "by": VALUES | st.sampled_from(["employer", "carrier", "storm", "net"]),
        "opened": VALUES | st.integers(),
        "ended": VALUES | st.integers(),
        "passed": VALUES | st.integers(),
        "note": VALUES,
        "rule": VALUES,
        "kinds": VALUES | st.lists(VALUES, max_size=2),
        "end": VALUES | st.sampled_from(["completed", "moved"]),
        "needs_attention": VALUES,
    },
)
ADDRESSES = st.none() | st.just("https://acme.slack.com/archives/C1/p17") | HOSTILE


@given(TYPES, DATA, ADDRESSES, st.booleans())
@settings(max_examples=400, deadline=None)
def test_any_body_makes_a_valid_and_inert_message(type_, changes, previous, is_repeat):
    body = group_event(type_, **changes)
    assert_valid_and_inert(render(body, previous=previous, is_repeat=is_repeat))
    assert_valid_and_inert(reply(body, is_repeat=is_repeat))


@given(st.sampled_from(["alert.group", "alert.net", "alert.summary"]), TOGETHER)
@settings(max_examples=150, deadline=None)
def test_any_alerts_together_make_a_valid_and_inert_message(type_, data):
    body = {"type": type_, "timestamp": "2026-11-23T22:01:07.120Z", "data": data}
    assert_valid_and_inert(render(body))
    assert_valid_and_inert(reply(body))


def assert_valid_and_inert(said):
    assert defect(said.blocks) is None
    assert 0 < len(said.text) < MAX_TEXT
    assert "<" not in said.text
    assert_inert(html.unescape(said.text))
    for block in said.blocks:
        texts = [block.get("text"), *block.get("fields", []), *block.get("elements", [])]
        for text in (one for one in texts if one and one["type"] == "plain_text"):
            assert text["emoji"] is False
            lines = text["text"].split("\n")
            assert len(lines) <= 22
            for line in lines:
                assert_inert(line)
        for text in (one for one in texts if one and one["type"] == "mrkdwn"):
            assert text["verbatim"] is True
            for found in re.findall(r"<([^>]*)>?", text["text"]):
                assert re.match(r"!date\^\d+\^\{date_short_pretty\} \{time\}\||https?://", found), found


@pytest.mark.parametrize("body", [None, [], 7, {}, {"type": 3, "data": []}, {"data": {"entity": []}}])
def test_a_body_of_any_other_shape_still_makes_a_message(body):
    assert defect(render(body).blocks) is None
