"""One item of the list -> what was observed. One bad field costs that field, one bad item that item.

Almost every item is as documented: it is decoded and checked by msgspec in one go. Only what fails that is
taken apart field by field: a field that is absent or of a wrong type is left out (unknown), and told as
drift. Nothing is mapped onto a known value, and nothing that is not understood is taken for an absence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Required, TypedDict, get_args

import msgspec
from msgspec import Meta, Raw

from notifier.clasp.lenient import split_list, split_object
from notifier.errors import SourceInvalid
from notifier.models import Kind, Observed, ObservedConnection

MAX_ID = 255
MAX_VALUE = 4096  # characters of a text, bytes of a connection's status as JSON: far over what is documented
MAX_NOTES = 20
_MAX_QUOTED = 60
_MAX_DEPTH = 8

_Status = Literal["pending", "processing", "needs_attention", "completed"]
_MilestoneStatus = Literal[
    "not_started", "pending", "processing", "needs_attention", "review", "completed", "inactive"
]
_Category = Literal[
    "initial_connection",
    "payroll_accessed",
    "payroll_connected",
    "broker_link_generated",
    "carrier_details_submitted",
    "carrier_sync_updated",
    "carrier_sync_completed",
    "review_submitted",
]
_KNOWN: Mapping[Kind, Mapping[str, tuple[str, ...]]] = {
    Kind.GROUP_CONNECTION: {"status": get_args(_Status)},
    Kind.MILESTONE: {"status": get_args(_MilestoneStatus), "category": get_args(_Category)},
}
#: field -> whether null is documented (or, for what the page does not say, to be expected)
_FIELDS: Mapping[Kind, Mapping[str, bool]] = {
    Kind.GROUP_CONNECTION: {
        "status": False,
        "carrier": True,
        "group_id": True,
        "broker_federal_ein": True,
        "initiated_at": True,
        "completed_at": True,
    },
    Kind.MILESTONE: {"status": False, "category": False, "created_at": False},
}
_MOMENTS = ("initiated_at", "completed_at")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")

_Id = Annotated[str, Meta(min_length=1, max_length=MAX_ID)]
_Text = Annotated[str, Meta(max_length=MAX_VALUE)]
_Items = tuple[Observed, ...] | None
_FAILURES = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Group(TypedDict, total=False):
    id: Required[_Id]
    status: Required[_Status]
    carrier: _Text | None
    group_id: _Text | None
    broker_federal_ein: _Text | None
    initiated_at: _Text | None
    completed_at: _Text | None


class _Milestone(TypedDict, total=False):
    id: Required[_Id]
    status: Required[_MilestoneStatus]
    category: Required[_Category]
    created_at: _Text


class _Connection(msgspec.Struct):
    id: _Id
    status: _Text
    employer: _Text
    group_connections: list[_Group]
    events: list[_Milestone]
    broker_url: _Text | None


_quick = msgspec.json.Decoder(_Connection)
_object = msgspec.json.Decoder(dict[str, Raw])
_list = msgspec.json.Decoder(list[Raw])
_any = msgspec.json.Decoder()


class Unreadable(SourceInvalid):
    """An item of which not even the id can be read."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def read(raw: bytes | Raw) -> ObservedConnection:
    """What an item of the list, or the answer for one connection, shows. Raises ``Unreadable``."""
    try:
        item = _quick.decode(raw)
        groups = tuple([Observed(group.pop("id"), group) for group in item.group_connections])  # type: ignore[misc, arg-type]
        milestones = tuple([Observed(event.pop("id"), event) for event in item.events])  # type: ignore[misc, arg-type]
        for group in groups:
            for name in _MOMENTS:
                if (moment := group.fields.get(name)) is not None:
                    datetime.fromisoformat(moment)
    except (ValueError, RecursionError):  # msgspec's and Unicode's errors are ValueErrors
        return _read_slowly(raw)
    if _has_odd_ids(bytes(raw), item.id, groups, milestones):
        return _read_slowly(raw)
    fields = {"status": item.status, "employer": item.employer, "broker_url": item.broker_url}
    return ObservedConnection(item.id, fields, groups, milestones)


def _has_odd_ids(data: bytes, id_: str, *lists: Sequence[Observed]) -> bool:
    """Whether an id may hold control characters (they cannot be in plain JSON unescaped) or comes twice."""
    for items in lists:
        if len({item.id for item in items}) < len(items):
            return True
    if data.isascii() and b"\\" not in data and b"\x7f" not in data:
        return False
    return not all(_is_id(one) for one in (id_, *(item.id for items in lists for item in items)))


def _is_id(text: Any) -> bool:
    if not isinstance(text, str) or not 0 < len(text) <= MAX_ID:
        return False
    return (text.isascii() and text.isprintable()) or not _CONTROL.search(text)


# --- field by field ---


class _Notes:
    """What was not as documented: each thing once, and not without end."""

    def __init__(self) -> None:
        self._notes: dict[str, None] = {}

    def add(self, note: str) -> None:
        if len(self._notes) < MAX_NOTES:
            self._notes[note] = None

    def all(self) -> tuple[str, ...]:
        return tuple(self._notes)


def _read_slowly(raw: bytes | Raw) -> ObservedConnection:
    item = _members(raw)
    id_ = _id_of(item)
    if id_ is None:
        raise Unreadable("connection: no readable id")
    notes = _Notes()
    fields: dict[str, Any] = {}
    if "status" in item:
        _take_status(item["status"], fields, notes)
    else:
        notes.add("connection.status: missing")
    for name, nullable in (("employer", False), ("broker_url", True)):
        _take(item, name, "connection", fields, notes, nullable=nullable)
    groups, groups_whole = _children(item, "group_connections", Kind.GROUP_CONNECTION, notes)
    milestones, milestones_whole = _children(item, "events", Kind.MILESTONE, notes)
    return ObservedConnection(id_, fields, groups, milestones, groups_whole, milestones_whole, notes.all())


def _members(raw: bytes | Raw) -> dict[str, Raw]:
    """The members of an object. A value that is not valid JSON costs that member alone."""
    try:
        return _object.decode(raw)
    except _FAILURES:
        try:
            return split_object(bytes(raw))
        except SourceInvalid:
            return {}


def _elements(raw: Raw) -> list[Raw]:
    """The elements of an array. Raises ``SourceInvalid`` where it is none."""
    try:
        return _list.decode(raw)
    except _FAILURES:
        return split_list(bytes(raw))


def _id_of(item: Mapping[str, Raw]) -> str | None:
    value = _value(item["id"]) if "id" in item else None
    return value if _is_id(value) else None


def _value(raw: Raw) -> Any:
    """The JSON value, or ``...`` where it cannot be decoded, or is out of all proportion."""
    try:
        return _any.decode(raw)
    except _FAILURES:
        return ...


def _take_status(raw: Raw, fields: dict[str, Any], notes: _Notes) -> None:
    """A connection's status may be any JSON value of a size that can be told."""
    value = _value(raw)
    if value is ... or len(bytes(raw)) > MAX_VALUE or _depth(value) > _MAX_DEPTH:
        notes.add("connection.status: a value that cannot be carried")
    else:
        fields["status"] = value


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level and depth <= _MAX_DEPTH:
        depth += 1
        level = [
            inner
            for outer in level
            if isinstance(outer, list | dict)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
    return depth


def _take(
    item: Mapping[str, Raw], name: str, kind: str, fields: dict[str, Any], notes: _Notes, *, nullable: bool
) -> None:
    """Carry a text or null over; what is neither is unknown, and told. A missing one is just unknown."""
    if name not in item:
        return
    value = _value(item[name])
    if isinstance(value, str):
        if len(value) > MAX_VALUE:
            notes.add(f"{kind}.{name}: longer than {MAX_VALUE} characters")
        elif name in _MOMENTS and not _is_moment(value):
            notes.add(f"{kind}.{name}: not a time")
        else:
            fields[name] = value
    elif value is None and nullable:
        fields[name] = None
    else:
        notes.add(f"{kind}.{name}: {_type_of(value)} instead of string")


def _is_moment(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _type_of(value: Any) -> str:
    names = {type(None): "null", bool: "boolean", int: "number", float: "number", str: "string"}
    return (names | {list: "array", dict: "object"}).get(type(value), "something undecodable")


def _children(item: Mapping[str, Raw], name: str, kind: Kind, notes: _Notes) -> tuple[_Items, bool]:
    """The list, and whether absence from it says anything."""
    if name not in item:
        notes.add(f"connection.{name}: missing")
        return None, True
    try:
        raws = _elements(item[name])
    except SourceInvalid:
        notes.add(f"connection.{name}: {_type_of(_value(item[name]))} instead of array")
        return None, True
    whole = True
    found: dict[str, Observed] = {}
    for child in (_child(raw, kind, notes) for raw in raws):
        if child is None:
            whole = False
        elif found.setdefault(child.id, child) != child:
            notes.add(f"{kind}: one id with two contents")
            whole, found[child.id] = False, child
    return tuple(found.values()), whole


def _child(raw: Raw, kind: Kind, notes: _Notes) -> Observed | None:
    item = _members(raw)
    id_ = _id_of(item)
    if id_ is None:
        notes.add(f"{kind}: an item without a readable id")
        return None
    fields: dict[str, Any] = {}
    if not item.get("status"):
        notes.add(f"{kind}.status: missing")
    for name, nullable in _FIELDS[kind].items():
        _take(item, name, kind, fields, notes, nullable=nullable)
    _note_unknown_words(kind, fields, notes)
    return Observed(id_, fields if "status" in fields else {})


def _note_unknown_words(kind: Kind, fields: Mapping[str, Any], notes: _Notes) -> None:
    for name, known in _KNOWN[kind].items():
        if name in fields and fields[name] not in known:
            notes.add(f"{kind}.{name}: unknown value '{_quoted(fields[name])}'")


def _quoted(text: str) -> str:
    return _CONTROL.sub("", text[: 2 * _MAX_QUOTED])[:_MAX_QUOTED]
