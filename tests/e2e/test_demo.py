"""``notifier demo`` needs nothing, shows an alert, ends by itself and leaves nothing behind."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.process import processes_of, run_notifier


def test_the_demo_shows_an_alert_and_leaves_nothing_behind(place: Path) -> None:
    ended = run_notifier(place, "demo", seconds=40)
    assert ended.code == 0, ended
    assert ended.err == ""
    events = [json.loads(line) for line in ended.out.splitlines() if line.startswith("{")]
    assert next(event["type"] for event in events) == "notifier.baseline"
    assert any(
        event["data"].get("to") == "needs_attention" and event["data"]["entity"]["kind"] == "group_connection"
        for event in events[1:]
    )
    assert "notifier run" in ended.out
    assert not processes_of(place)
    assert not list((place / "tmp").iterdir())
    assert not [path for path in place.iterdir() if path.name != "tmp"]
