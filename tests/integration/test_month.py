"""A scripted month: the exact list of messages that each sink must have, with and without restarts."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import fakeredis
import pytest

from tests.integration.month import NEW_YORK, Month
from tests.proof.spread import quiet_log

OPEN, OVER, DONE = "needs_attention", "processing", "completed"
EXPECTED = Path(__file__).with_name("month.txt")


def at(day: int, hour: int) -> datetime:
    return datetime(2026, 12, day, hour, tzinfo=NEW_YORK)


STORY = {
    # Wednesday: it begins; two need attention already.
    "11-18 07:00": lambda month: month.turn(11, 12, to=OPEN),
    # Thursday: one opens, Sam takes it, it is completed. One is over before it could open.
    "11-19 10:00": lambda month: month.turn(1, to=OPEN),
    "11-19 11:00": lambda month: month.take(1),
    "11-19 13:00": lambda month: month.turn(5, to=OPEN),
    "11-19 13:10": lambda month: month.turn(5, to=OVER),
    "11-19 15:00": lambda month: month.turn(1, to=DONE),
    # Friday evening and the weekend: one opens in hours; at night one comes and goes, one stays.
    "11-20 16:50": lambda month: month.turn(2, to=OPEN),
    "11-20 22:00": lambda month: month.turn(9, to=OPEN),
    "11-21 08:00": lambda month: month.turn(9, to=OVER),
    "11-22 12:00": lambda month: month.turn(4, to=OPEN),
    # Monday: it flaps all day and settles as completed.
    "11-23 10:00": lambda month: month.turn(13, to=OPEN),
    "11-23 10:30": lambda month: month.turn(13, to=OVER),
    "11-23 10:40": lambda month: month.turn(13, to=OPEN),
    "11-23 11:10": lambda month: month.turn(13, to=OVER),
    "11-23 11:20": lambda month: month.turn(13, to=OPEN),
    "11-23 11:50": lambda month: month.turn(13, to=OVER),
    "11-23 12:00": lambda month: month.turn(13, to=OPEN),
    "11-23 12:30": lambda month: month.turn(13, to=DONE),
    # Tuesday: an incident at Guardian, over after lunch.
    "11-24 11:00": lambda month: month.turn(1, 3, 5, 6, 7, 8, to=OPEN),
    "11-24 13:00": lambda month: month.turn(1, 3, 5, 6, 7, 8, to=OVER),
    # Wednesday: a silence over Aetna for four hours.
    "11-25 10:00": lambda month: month.silence(4, carrier="carr_aetna"),
    "11-25 11:00": lambda month: month.turn(9, 10, to=OPEN),
    "11-25 12:00": lambda month: month.turn(10, 12, to=DONE),
    # Thanksgiving: nobody is disturbed but by what is critical.
    "11-26 10:00": lambda month: month.turn(6, to=OPEN),
    # Friday: Clasp is away for three hours; meanwhile one begins.
    "11-27 10:10": lambda month: month.source(503),
    "11-27 11:00": lambda month: month.turn(7, to=OPEN),
    "11-27 13:00": lambda month: month.source(None),
    # Monday: Slack is away for forty minutes; meanwhile one ends, one begins, one comes and goes.
    "11-30 09:50": lambda month: month.turn(8, to=OPEN),
    "11-30 10:00": lambda month: month.slack(is_down=True),
    "11-30 10:01": lambda month: month.turn(3, to=OPEN),
    "11-30 10:10": lambda month: month.turn(7, to=OVER),
    "11-30 10:30": lambda month: month.turn(8, to=OVER),
    "11-30 10:40": lambda month: month.slack(is_down=False),
    # Tuesday: snoozed until tomorrow, and until it changes, which it does.
    "12-01 10:00": lambda month: month.take(3, at(2, 9)),
    "12-01 10:01": lambda month: month.take(4, until_it_changes=True),
    "12-04 10:00": lambda month: month.account["co_04"]["group_connections"][0].update(group_id="new"),
    # One leaves Clasp while it is open.
    "12-08 10:00": lambda month: month.account.drop("co_09"),
    # All is well in the end.
    "12-10 10:00": lambda month: month.turn(2, 3, 4, 6, 11, to=DONE),
}


@pytest.mark.parametrize("restarts", [False, True], ids=["one worker", "a new one every hour"])
async def test_a_month_says_what_it_should_and_nothing_else(restarts: bool) -> None:
    month = Month(fakeredis.FakeAsyncRedis(), restarts=restarts)
    with quiet_log():
        await month.run(STORY)
    told = [line for sink in sorted(month.said) for line in (f"# {sink}", *month.said[sink])]
    assert told == EXPECTED.read_text().splitlines()
