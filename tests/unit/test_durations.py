"""What is usual: exact figures, from enough samples, of the newest."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.config import While
from notifier.core.alerts import Alert, Phase, Subject
from notifier.core.durations import ENOUGH, KEPT, MOST_PAIRS, Durations, Sample, sample
from notifier.models import Kind

PAIR = ("carr_1", "needs_attention")


def alert(carrier="carr_1", status="needs_attention", kind=Kind.GROUP_CONNECTION) -> Alert:
    subject = Subject(kind, "gc_1", "conn_1", {"carrier": carrier, "status": status})
    return Alert("r", subject, Phase.OPEN, "2026-11-25T09:00:00.000Z")


@pytest.mark.parametrize(
    ("seconds", "median", "p90"),
    [
        (range(1, 11), 5, 9),
        (range(1, 12), 6, 10),
        ([7] * 10, 7, 7),
        ([1] * 9 + [100], 1, 1),
        ([1] * 8 + [100] * 2, 1, 100),
        (range(50, 0, -1), 25, 45),
        ([0] * 5 + [3] * 5, 1, 3),
    ],
)
def test_the_figures_are_exact(seconds, median, p90):
    usual = Durations({PAIR: tuple(seconds)}).usual(alert())
    assert usual == {"median_s": median, "p90_s": p90, "samples": len(seconds)}


@given(st.lists(st.integers(0, 10**7), min_size=ENOUGH, max_size=KEPT))
def test_nine_in_ten_are_over_by_then_and_no_earlier_one_will_do(seconds):
    usual = Durations({PAIR: tuple(seconds)}).usual(alert())
    assert sum(one <= usual["p90_s"] for one in seconds) * 10 >= 9 * len(seconds)
    assert sum(one < usual["p90_s"] for one in seconds) * 10 < 9 * len(seconds)
    assert sum(one <= usual["median_s"] for one in seconds) * 2 >= len(seconds)


def test_nothing_is_usual_before_there_are_enough():
    assert Durations({PAIR: (1,) * (ENOUGH - 1)}).usual(alert()) is None
    assert Durations({PAIR: (1,) * ENOUGH}).usual(alert()) is not None


@pytest.mark.parametrize(
    "other",
    [
        alert(carrier="carr_2"),
        alert(status="pending"),
        alert(carrier=None),
        alert(status=None),
        alert(status=["needs_attention"]),
        alert(kind=Kind.MILESTONE),
    ],
)
def test_what_is_usual_is_that_of_the_status_at_the_carrier(other):
    assert Durations({PAIR: (1,) * ENOUGH}).usual(other) is None


def test_only_the_newest_are_kept_and_only_what_is_new_is_written():
    known = Durations({PAIR: tuple(range(KEPT)), ("carr_2", "pending"): (1,)})
    changed = known.after([Sample(PAIR, 100), Sample(PAIR, 101)])
    assert changed == {PAIR: (*range(2, KEPT), 100, 101)}
    assert known.after([]) == {}
    known.put(changed)
    assert known.after([Sample(PAIR, 102)])[PAIR][-3:] == (100, 101, 102)


def test_a_source_that_invents_carriers_fills_no_store():
    known = Durations({(f"carr_{n}", "pending"): (1,) for n in range(MOST_PAIRS - 1)})
    new = [Sample((f"new_{n}", "pending"), 5) for n in range(3)]
    assert known.after([*new, Sample(("carr_0", "pending"), 2)]) == {
        ("new_0", "pending"): (5,),
        ("carr_0", "pending"): (1, 2),
    }


SEEN = msgspec.structs.replace(alert(), since_after="2026-11-25T08:59:00.000Z", was="pending")
NEEDS = While(entity="group_connection", status="needs_attention")
MOVED_ON = alert(status="processing").subject
LATER = "2026-11-25T09:01:00.900Z"


@pytest.mark.parametrize("phase", [Phase.PENDING, Phase.OPEN])
def test_a_sample_is_how_long_it_was_seen_to_last_in_whole_seconds(phase):
    seen = msgspec.structs.replace(SEEN, phase=phase)
    assert sample(seen, NEEDS, MOVED_ON, LATER) == Sample(PAIR, 60)


@pytest.mark.parametrize(
    "other",
    [
        {"since_after": None},
        {"phase": Phase.CLOSED},
        {"quiet": True},
        {"moved": True},
        {"was": "needs_attention"},
        {"subject": alert(carrier=None).subject},
        {"subject": alert(status="review").subject},
        {"subject": alert(kind=Kind.MILESTONE).subject},
        {"since": "2026-11-25T09:02:00.000Z"},  # the clock was set back
    ],
)
def test_what_was_not_seen_from_its_beginning_to_its_end_is_no_sample(other):
    assert sample(msgspec.structs.replace(SEEN, **other), NEEDS, MOVED_ON, LATER) is None


def test_what_lasts_or_is_asked_for_among_others_is_no_sample():
    several = While(entity="group_connection", status=["needs_attention", "review"])
    assert sample(None, NEEDS, MOVED_ON, LATER) is None
    assert sample(SEEN, NEEDS, alert().subject, LATER) is None
    assert sample(SEEN, several, MOVED_ON, LATER) is None
    assert sample(SEEN, While(entity="group_connection"), MOVED_ON, LATER) is None
