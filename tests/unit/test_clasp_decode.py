import json

import msgspec
import pytest

from notifier.clasp.decode import MAX_NOTES, Unreadable, read
from notifier.models import Observed

GROUP = {
    "id": "grp_1",
    "carrier": "carr_1",
    "status": "pending",
    "broker_federal_ein": "123456789",
    "group_id": "00123",
    "connection": "conn_1",
    "initiated_at": "2026-11-23T22:01:07.120Z",
    "completed_at": None,
}
MILESTONE = {
    "id": "cev_1",
    "category": "payroll_connected",
    "status": "review",
    "created_at": "2026-11-23T22:01:07Z",
}
CONNECTION = {
    "id": "conn_1",
    "broker_url": None,
    "employer": "er_1",
    "group_connections": [GROUP],
    "events": [MILESTONE],
    "status": "processing",
}


def read_with(**changes):
    return read(json.dumps(CONNECTION | changes).encode())


def read_group(**changes):
    return read_with(group_connections=[GROUP | changes])


def test_reads_a_connection_as_documented():
    seen = read(json.dumps(CONNECTION | {"new_field": {"a": [1]}}).encode())
    assert seen.id == "conn_1"
    assert seen.fields == {"status": "processing", "employer": "er_1", "broker_url": None}
    assert seen.group_connections == (
        Observed("grp_1", {k: v for k, v in GROUP.items() if k not in {"id", "connection"}}),
    )
    assert seen.milestones == (Observed("cev_1", {k: v for k, v in MILESTONE.items() if k != "id"}),)
    assert (seen.groups_whole, seen.milestones_whole, seen.drift) == (True, True, ())


def test_reads_what_a_page_holds_undecoded():
    (raw,) = msgspec.json.decode(b"[" + json.dumps(CONNECTION).encode() + b"]", type=list[msgspec.Raw])
    assert read(raw) == read(json.dumps(CONNECTION).encode())


@pytest.mark.parametrize(
    "status", ["a new word", "", None, 7, -1.5, True, {"code": "x", "n": [1]}, ["a"], 2**62, 2**70]
)
def test_carries_any_status_of_a_connection(status):
    assert read_with(status=status).fields["status"] == status


@pytest.mark.parametrize("status", ["x" * 5000, [[[[[[[[[[1]]]]]]]]]], {"a": "b" * 5000}])
def test_leaves_out_a_status_of_no_proportion(status):
    seen = read_with(status=status)
    assert "status" not in seen.fields
    assert seen.drift == ("connection.status: a value that cannot be carried",)


@pytest.mark.parametrize(
    ("changes", "missing", "note"),
    [
        ({"employer": None}, "employer", "connection.employer: null instead of string"),
        ({"employer": 5}, "employer", "connection.employer: number instead of string"),
        ({"broker_url": ["x"]}, "broker_url", "connection.broker_url: array instead of string"),
        ({"broker_url": "x" * 5000}, "broker_url", "connection.broker_url: longer than 4096 characters"),
    ],
)
def test_a_wrong_field_of_a_connection_is_unknown_and_told(changes, missing, note):
    seen = read_with(**changes)
    assert seen.fields == {k: v for k, v in read_with().fields.items() if k != missing}
    assert seen.drift == (note,)
    assert seen.group_connections == read_with().group_connections


@pytest.mark.parametrize(
    ("changes", "missing", "note"),
    [
        ({"group_id": 123}, "group_id", "group_connection.group_id: number instead of string"),
        ({"carrier": {"id": "x"}}, "carrier", "group_connection.carrier: object instead of string"),
        ({"completed_at": "soon"}, "completed_at", "group_connection.completed_at: not a time"),
        ({"initiated_at": ""}, "initiated_at", "group_connection.initiated_at: not a time"),
        (
            {"broker_federal_ein": False},
            "broker_federal_ein",
            "group_connection.broker_federal_ein: boolean instead of string",
        ),
    ],
)
def test_a_wrong_field_of_a_group_is_unknown_and_told(changes, missing, note):
    seen = read_group(**changes)
    (group,) = seen.group_connections
    assert missing not in group.fields
    assert len(group.fields) == 5
    assert seen.drift == (note,)


@pytest.mark.parametrize(
    "name", ["carrier", "group_id", "broker_federal_ein", "initiated_at", "completed_at"]
)
def test_an_absent_field_is_unknown_and_a_null_is_null(name):
    absent = read_with(group_connections=[{k: v for k, v in GROUP.items() if k != name}])
    assert name not in absent.group_connections[0].fields
    assert read_group(**{name: None}).group_connections[0].fields[name] is None
    assert absent.drift == ()


@pytest.mark.parametrize("status", [None, 1, ["pending"], "__absent__"])
def test_a_group_without_a_readable_status_counts_as_seen_and_nothing_more(status):
    group = GROUP | {"status": status} if status != "__absent__" else {"id": "grp_1"}
    seen = read_with(group_connections=[group])
    assert seen.group_connections == (Observed("grp_1", {}),)
    assert seen.groups_whole
    assert len(seen.drift) == 1


def test_unknown_words_are_carried_as_they_are_and_told():
    seen = read_with(
        group_connections=[GROUP | {"status": "on\u202e\x07hold" + "x" * 100}],
        events=[MILESTONE | {"category": "odd"}],
    )
    assert seen.group_connections[0].fields["status"] == "on\u202e\x07hold" + "x" * 100
    assert seen.milestones[0].fields["category"] == "odd"
    first, second = seen.drift
    assert first == f"group_connection.status: unknown value 'onhold{'x' * 54}'"
    assert second == "milestone.category: unknown value 'odd'"


@pytest.mark.parametrize("value", [None, {}, "x", 3])
def test_a_list_that_is_none_is_unknown(value):
    seen = read_with(group_connections=value, events=value)
    assert seen.group_connections is None
    assert seen.milestones is None
    assert len(seen.drift) == 2


def test_a_missing_list_is_unknown():
    seen = read(b'{"id": "conn_1"}')
    assert (seen.fields, seen.group_connections, seen.milestones) == ({}, None, None)


@pytest.mark.parametrize(
    "item", [None, 5, "grp", [], {}, {"id": 5}, {"id": ""}, {"id": "a\nb"}, {"id": "x" * 256}]
)
def test_an_item_without_a_readable_id_spoils_absence_and_nothing_else(item):
    seen = read_with(group_connections=[GROUP, item])
    assert seen.group_connections == read_with().group_connections
    assert not seen.groups_whole
    assert seen.milestones_whole


def test_identical_duplicates_are_one_and_conflicting_ones_spoil_absence():
    assert read_with(group_connections=[GROUP, GROUP]).groups_whole
    assert len(read_with(group_connections=[GROUP, GROUP]).group_connections) == 1
    seen = read_with(group_connections=[GROUP, GROUP | {"status": "completed"}])
    assert [group.fields["status"] for group in seen.group_connections] == ["completed"]
    assert not seen.groups_whole


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"null", b"[]", b"5", b'"x"', b"{}", b'{"id": null}', b'{"id": 5}', b'{"id": ""}', b'{"id": "a\\u0000"}',
        b'{"id": "' + b"x" * 256 + b'"}', b'{"id": "\xff"}', b'{"id": "\\ud800"}', b"{" * 100_000, b"[" * 100_000 + b"]" * 100_000,
        b'{"id": 1' + b"0" * 100_000 + b"}", b'{"id": NaN}', b'{"id": "\xc2\x85"}',
    ],
)  # fmt: skip
def test_an_item_without_a_readable_id_is_unreadable(raw):
    with pytest.raises(Unreadable) as caught:
        read(raw)
    assert caught.value.why


@pytest.mark.parametrize(
    "value",
    [
        b"1" * 100_000, b"1e999", b'"\xff"', b'"\\ud800"', b"[" * 100_000 + b"]" * 100_000, b"[" * 500 + b"]" * 500,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000, b"-" + b"9" * 5000,
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "field", ["status", "employer", "broker_url", "group_connections", "events", "other"]
)
def test_a_hostile_value_costs_at_most_its_item(field, value):
    raw = b'{"id": "conn_1", "%s": %s}' % (field.encode(), value)
    try:
        seen = read(raw)
    except Unreadable as error:
        assert error.why  # noqa: PT017 - it may also decode
    else:
        assert seen.id == "conn_1"
        assert field not in seen.fields
        assert seen.group_connections is None or not seen.groups_whole
    nested = (
        b'{"id": "conn_1", "group_connections": [{"id": "g", "status": %s}, {"id": "h", "status": "pending"}]}'
        % value
    )
    try:
        seen = read(nested)
    except Unreadable:
        return
    assert [group.id for group in seen.group_connections] == ["g", "h"]
    assert seen.group_connections[0].fields == {}


def test_notes_have_an_end():
    seen = read_with(group_connections=[GROUP | {"id": f"g{n}", "status": f"odd{n}"} for n in range(100)])
    assert len(seen.group_connections) == 100
    assert len(seen.drift) == MAX_NOTES


def test_any_id_without_control_characters_is_an_id():
    for id_ in ("é", "a b", "x" * 255, "../..", "\U0001f600"):
        assert read_with(id=id_).id == id_
    assert read_with(id="conn\\u0041\\\\").id == "conn\\u0041\\\\"
