"""One item that is not valid JSON costs only itself."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.clasp.decode import Unreadable, read
from notifier.clasp.lenient import split_list, split_object, split_page
from notifier.errors import SourceInvalid

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
GOOD = b'{"id": "c1", "employer": "er_1", "status": "live", "group_connections": [], "events": []%s}'
BAD_VALUES = {
    "lone surrogate": b'"\\ud800"',
    "nan": b"NaN",
    "deep": b"[" * 5000 + b"]" * 5000,
    "not utf-8": b'"\xff\xfe"',
    "control character": b'"\x00"',
    "a word": b"undefined",
    "brackets in a string": b'"]}{[\\ud800"',
}


def plain(raws):
    return [json.loads(bytes(raw)) for raw in raws]


@given(st.lists(json_values, max_size=6), st.none() | st.text(), st.integers(0, 3))
def test_takes_valid_pages_apart_as_the_strict_decoder_does(items, next_, indent):
    body = json.dumps({"next": next_, "x": items, "results": items}, indent=indent or None).encode()
    results, read_next = split_page(body)
    assert (plain(results), read_next) == (items, next_)


@given(st.dictionaries(st.text(), json_values, max_size=6))
def test_takes_objects_apart(value):
    members = split_object(json.dumps(value).encode())
    assert {key: json.loads(bytes(raw)) for key, raw in members.items()} == value


@pytest.mark.parametrize("name", BAD_VALUES)
def test_a_broken_value_costs_its_own_member(name):
    item = GOOD % (b', "unheard_of": ' + BAD_VALUES[name])
    seen = read(msgspec.Raw(item))
    assert (seen.id, seen.fields["status"], seen.group_connections) == ("c1", "live", ())
    page = b'{"next": null, "results": [%s, {"id": "c2"}]}' % item
    results, _ = split_page(page)
    assert [read(raw).id for raw in results] == ["c1", "c2"]


@pytest.mark.parametrize("name", BAD_VALUES)
def test_a_broken_child_costs_itself(name):
    child = b'{"id": "g1", "status": "pending", "group_id": %s}' % BAD_VALUES[name]
    item = (GOOD % b"").replace(
        b'"group_connections": []', b'"group_connections": [%s, {"id": "g2", "status": "pending"}]' % child
    )
    seen = read(msgspec.Raw(item))
    assert [(group.id, "group_id" in group.fields) for group in seen.group_connections] == [
        ("g1", False),
        ("g2", False),
    ]
    assert seen.groups_whole


def test_an_item_without_a_readable_id_is_told_from_the_others():
    results, _ = split_page(b'{"next": null, "results": [NaN, {"id": "\\ud800"}, {"id": "c3"}]}')
    ids = []
    for raw in results:
        try:
            ids.append(read(raw).id)
        except Unreadable:
            ids.append(None)
    assert ids == [None, None, "c3"]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b'{"next": null, "results": [', b'{"next": null, "results": [{]}', b'{"results": []}', b"[]", b"null",
     b'{"next": null, "results": []}{}', b'{"next": NaN, "results": []}', b'{"next" null, "results": []}', b'"', b"}"],
)  # fmt: skip
def test_what_cannot_be_told_apart_is_refused(body):
    with pytest.raises(SourceInvalid):
        split_page(body)


def test_splitting_is_bounded_by_the_length_of_the_page():
    item = b'{"id": "c", "x": "%s"},' % (b"y" * 1000)
    assert len(split_list(b"[" + item * 2000 + b"null]")) == 2001


@pytest.mark.parametrize("end", [b"", b"\\"])
def test_quotes_that_do_not_end_cost_their_length_and_not_its_square(end):
    with pytest.raises(SourceInvalid):  # took hours
        split_page(b'{"next": null, "results": ["' + b'\\"' * 500_000 + end)


def test_a_page_of_nothing_but_brackets_is_refused_early():
    with pytest.raises(SourceInvalid):
        split_page(b'{"next": null, "results": [' + b"[]" * 1_000_000 + b"]}")
