from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.core.codec import Undecodable, Words, decode, encode, is_tombstone
from notifier.core.diff import diff, first_state, remove
from notifier.models import ConnectionState, EntityState
from tests.unit import strategies


@given(st.lists(strategies.connections(), min_size=1, max_size=4))
def test_every_state_comes_back_as_it_was_written(history):
    words = Words()
    state = first_state(history[0])
    for seen in history:
        state = diff(state, seen, now=1_700_000_000).state
        assert decode(encode(state, words), words) == state
    gone = remove(state, "conn_1", now=1_800_000_000).state
    value = encode(gone, words)
    assert is_tombstone(value)
    assert decode(value, words) == gone


@given(st.lists(strategies.ids, min_size=0, max_size=5, unique=True), strategies.ids)
def test_any_id_survives(ids, employer):
    state = ConnectionState(
        {"status": "x", "employer": employer}, {id_: EntityState({"status": "pending"}) for id_ in ids}, {}
    )
    words = Words()
    assert decode(encode(state, words), words) == state


def test_counters_and_tombstones_of_children_survive():
    state = ConnectionState(
        {"status": None, "broker_url": None, "employer": "er_1"},
        {
            "gc_1": EntityState({"status": "pending"}, 3),
            "gc_2": EntityState({"status": "completed"}, 1, 1_700_000_000),
        },
        {"ms_1": EntityState({"status": "review", "category": "c"}, 300)},
        sequence=1000,
        revision=2,
    )
    words = Words()
    assert decode(encode(state, words), words) == state


def test_words_that_come_back_from_the_store_read_what_was_written():
    words = Words()
    state = ConnectionState({"status": "live", "employer": "er_1"}, {}, {})
    value = encode(state, words)
    assert decode(value, Words(words.values[1:])) == state


def test_a_source_without_common_words_falls_back_to_the_plain_form():
    words = Words(range(5000))
    state = ConnectionState({"status": "never seen", "employer": "er_1"}, {}, {})
    assert decode(encode(state, words), words) == state


def test_a_number_of_any_size_survives_in_both_forms():
    for employer in ("er_1", None):
        state = ConnectionState({"status": 10**30, "employer": employer}, {}, {})
        words = Words()
        assert decode(encode(state, words), words) == state


@pytest.mark.parametrize("value", [b"\x09", b"\x01", b"\x01\x05", b"\x02\xff", b"\x81\x01\x01"])
def test_foreign_bytes_are_an_error_and_nothing_else(value):
    with pytest.raises(Undecodable):
        decode(value, Words())
