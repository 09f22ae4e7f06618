"""What messages say of how long it usually takes, and of who else is affected."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.sinks.slack_message import render, reply
from notifier.sinks.wording import tell
from tests.unit.strategies import json_values
from tests.unit.test_sink_slack_message import alert_event, shown
from tests.unit.test_sink_slack_together import together

USUAL = {"median_s": 100_800, "p90_s": 259_200, "samples": 23}  # 1 d 4 h, 3 d


def event(what: str = "opened", *, usual: Any = USUAL, employers: Any = 3, of: Any = 14, **more: Any) -> dict:
    body = alert_event(what, **more)
    body["data"] |= {"usual": usual, "affected": {"employers": employers, "of": of}}
    return body


def facts(body: dict) -> dict[str, str]:
    return dict(tell(body).facts)


@pytest.mark.parametrize("what", ["opened", "reminder"])
def test_an_alert_says_what_is_usual_and_who_else_is_affected(what):
    said = facts(event(what))
    assert said["Usually"] == "1 d 4 h here (median of 23), 9 in 10 within 3 d"
    assert said["Also affected"] == "3 of 14 employers at Guardian"
    for text in said.values():
        assert text in shown(event(what))


@pytest.mark.parametrize(
    ("employers", "of", "said"),
    [
        (2, 2, "2 of 2 employers at Guardian"),
        (4, 4, "4 of 4 employers at Guardian"),
        (5, 11, "5 of 11 employers at Guardian"),
        (5, 10, "5 of 10 employers at Guardian: looks like the carrier, not the employers"),
        (12, 14, "12 of 14 employers at Guardian: looks like the carrier, not the employers"),
        (1200, 2500, "1,200 of 2,500 employers at Guardian"),
    ],
)
def test_half_of_them_and_at_least_five_look_like_the_carrier(employers, of, said):
    body = event(employers=employers, of=of)
    assert facts(body)["Also affected"] == said
    sentence = said if "looks like" in said else f"{said} are affected"
    assert tell(together(opened=3, entries=[body] * 3)).change == sentence


def test_a_carrier_whose_name_is_not_known_is_named_by_its_id():
    body = event()
    body["data"]["carrier"]["name"] = None
    assert facts(body)["Also affected"] == "3 of 14 employers at carr_1"


@pytest.mark.parametrize(
    ("what", "timestamp", "course"),
    [
        ("opened", "2026-11-26T22:01:07.120Z", "Processing → Needs Attention"),
        (
            "opened",
            "2026-11-26T22:01:07.121Z",
            "Processing → Needs Attention, lasts longer than 9 in 10 here",
        ),
        ("reminder", "2026-11-26T22:01:07.120Z", "For 3 d"),
        ("reminder", "2026-11-27T01:01:07.120Z", "For 3 d 3 h, longer than 9 in 10 here"),
    ],
)
def test_what_lasts_longer_than_nine_in_ten_is_called_so(what, timestamp, course):
    body = event(what, timestamp=timestamp)
    assert tell(body).change == course
    assert course in str(reply(body).blocks)
    assert course in str(render(together(opened=2, entries=[body] * 2)).blocks)


def test_alerts_together_say_what_is_usual_where_that_is_the_same_for_all_that_lasts():
    done = alert_event("resolved", end="completed", status="completed")
    other = event(usual={**USUAL, "samples": 11})
    assert "Usually" in facts(together(opened=2, ended=1, entries=[event(), event(), done]))
    assert facts(together(opened=2, entries=[event(), other])) == {}
    assert facts(together(ended=2, end="completed", entries=[done, done])) == {}


@pytest.mark.parametrize("by", ["employer", "storm"])
def test_only_alerts_that_share_their_carrier_say_it_together(by):
    told = tell(together(by=by, opened=2, entries=[event(), event()]))
    assert (told.change, told.facts) == (None, ())


def test_what_is_over_says_neither():
    over = alert_event("resolved", end="completed", status="completed")
    assert {"Usually", "Also affected"}.isdisjoint(facts(over))


@pytest.mark.parametrize(
    "usual",
    [
        None,
        [],
        {},
        {**USUAL, "p90_s": True},
        {**USUAL, "median_s": -1},
        {**USUAL, "samples": 0},
        {**USUAL, "p90_s": 10**30},
    ],
)
def test_figures_that_are_none_are_left_out(usual):
    assert "Usually" not in facts(event(usual=usual))


@pytest.mark.parametrize(("employers", "of"), [(0, 5), (6, 5), (2, None), (True, 5), ("2", "5"), (2.0, 5)])
def test_numbers_of_employers_that_cannot_be_are_left_out(employers, of):
    body = event(employers=employers, of=of)
    assert "Also affected" not in facts(body)
    assert tell(together(opened=2, entries=[body] * 2)).change is None


odd = st.one_of(json_values, st.integers(), st.floats(), st.dictionaries(
    st.sampled_from(["median_s", "p90_s", "samples", "employers", "of"]),
    st.one_of(json_values, st.integers(-5, 10**30), st.floats()),
))  # fmt: skip


@given(odd, odd, st.sampled_from(["opened", "reminder", "resolved"]))
def test_no_body_makes_it_fail(usual, affected, what):
    body = event(what, usual=usual)
    body["data"]["affected"] = affected
    tell(body)
    render(together(opened=2, entries=[body, body]))


def test_the_sources_words_stay_words():
    body = event()
    body["data"]["carrier"]["name"] = "<!channel> *Guardian*"
    for message in (render(body), reply(together(opened=2, entries=[body] * 2))):
        assert "<!channel>" not in str(message.blocks)
        assert "<!channel>" not in message.text
