"""What a Slack message says of several alerts, and a reply of one or more."""

from __future__ import annotations

import pytest

from notifier.sinks.slack_message import render, reply
from tests.unit.test_sink_slack_message import CONNECTION, alert_event, shown


def together(type_="alert.group", by="carrier", entries=(), kinds=None, end=None, **counts: int) -> dict:
    data = {"by": by, "opened": 0, "ended": 0, "passed": 0, **counts, "severity": "warning", "note": "Look."}
    data |= {"end": end, "needs_attention": kinds is None, "kinds": kinds or ["group_connection"]}
    data |= {"entries": list(entries), "rule": "r"}
    return {"type": type_, "timestamp": "2026-11-23T22:01:07.120Z", "data": data}


OPENED = alert_event("opened")
DONE = alert_event("resolved", end="completed", status="completed")
GONE = alert_event("resolved", end="removed")
CONNECTION_OPENED = alert_event("opened", unchanged=True, status="pending")
CONNECTION_OPENED["data"]["entity"] = CONNECTION


@pytest.mark.parametrize(
    ("body", "title"),
    [
        (together(opened=12, entries=[OPENED] * 3), "⚠️ Guardian · 12 group connections need attention"),
        (together(by="employer", opened=2, entries=[OPENED] * 2), "⚠️ Acme Corp · 2 group connections need attention"),
        (together(by="storm", opened=25, entries=[OPENED] * 20), "⚠️ 25 group connections need attention"),
        (together(opened=2, ended=1, entries=[OPENED, DONE, OPENED]), "⚠️ Guardian · 2 of 3 group connections still need attention"),
        (together(opened=1, ended=1, entries=[OPENED, DONE]), "⚠️ Guardian · 1 of 2 group connections still needs attention"),
        (together(ended=2, end="completed", entries=[DONE, DONE]), "✅ Guardian · 2 group connections are completed"),
        (together(ended=2, end="removed", entries=[DONE, GONE]), "⚪ Guardian · 2 group connections are over"),
        (together(ended=12, end="moved", entries=[DONE] * 11), "🔵 Guardian · 12 group connections are over"),
        (together(opened=2, entries=[alert_event("reminder")] * 2), "⚠️ Guardian · 2 group connections still need attention"),
        (together(by="storm", opened=2, entries=[OPENED, CONNECTION_OPENED], kinds=["connection", "group_connection"]), "⚠️ 2 entities open"),
        (together("alert.net", opened=3, ended=1, passed=4, entries=[OPENED] * 3 + [DONE]), "⚠️ While nobody was to be disturbed: 3 newly open, 1 over, 4 came and went"),
        (together("alert.net", by="net", passed=4), "⚠️ While nobody was to be disturbed: 4 came and went"),
        (together("alert.net", by="net", ended=12, end="completed", entries=[DONE] * 12), "✅ 12 group connections are completed"),
    ],
)  # fmt: skip
def test_alerts_together_are_counted_and_only_what_is_completed_is_green(body, title):
    assert render(body).blocks[0]["text"]["text"] == title
    assert ("What to do" in shown(body)) is bool(body["data"]["opened"])


def test_alerts_together_are_named_one_by_one_and_the_rest_is_counted():
    lines = render(together(opened=24, ended=1, entries=[OPENED, DONE])).blocks[1]["text"]["text"]
    assert lines.split("\n") == [
        "• Acme Corp · Guardian needs attention (group 00123, Processing → Needs Attention)",
        "✅ Acme Corp · Guardian is completed (group 00123, After 3 h 2 min)",
        "• and 23 more",
    ]


def test_a_reply_is_short():
    blocks = reply(GONE).blocks
    assert len(blocks) == 1
    assert (
        blocks[0]["text"]["text"] == "⚪ *Acme Corp · Guardian is no longer listed by Clasp*\nAfter 3 h 2 min"
    )


@pytest.mark.parametrize(
    ("owners", "told"),
    [
        (["sam@example.com", "sam@example.com"], "Owner: sam@\u2060example.com (Benefits)"),
        (["sam@example.com", "kim@example.com"], None),
        (["U0123456789", "U0123456789"], "Owner: Benefits"),
        ([None, "sam@example.com"], None),
        ([None, None], None),
    ],
)
def test_the_owner_of_all_that_is_told_together_is_named(owners, told):
    entries = [alert_event("opened") for _ in owners]
    for entry, owner in zip(entries, owners, strict=True):
        entry["data"]["owner"] = owner and {"owner": owner, "team": "Benefits"}
    body = together(by="employer", opened=2, entries=entries)
    fields = [field["text"] for block in render(body).blocks for field in block.get("fields", ())]
    assert fields == ([told] if told else [])
    body["data"]["opened"] = 3  # of whom one is not shown
    assert "Owner" not in shown(body)
