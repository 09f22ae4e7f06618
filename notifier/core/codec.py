"""The bytes of one connection's state in Redis.

A state holds a hundred thousand connections with three group connections and five or six milestones each,
so its size is what a deployment pays for. Nearly all of it is random ids, which no compressor shortens:
here they are joined and kept at 6 bits a character, what repeats across connections (statuses, carriers,
milestone values, the shape of the ids) is one index into a list of :class:`Words`, and counters cost
nothing until something moves. A connection that does not fit this form is kept as JSON: larger, never
wrong. :func:`decode` gives back exactly what :func:`encode` was given, tracked fields only.

Form: one byte (1 packed, 2 plain, +128 for a tombstone), then the body. The words live beside the state
and only ever grow, so a value that was written can be read for as long as both exist.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from notifier.core import timestamps
from notifier.core.timestamps import Style
from notifier.models import ConnectionState, EntityState, Kind, tracked

_PACKED, _PLAIN, _TOMBSTONE = 1, 2, 128
_MAX_WORDS = 4096  # beyond this the source has no common words, and plain serves as well
_MAX_WORD_CHARS = 300
_ID = re.compile(r"((?:[A-Za-z0-9]{1,12}_)?)([-A-Za-z0-9_]{1,64})")
_URL = re.compile(
    r"(https?://[^\s]{3,80}[/=](?:[a-z]{1,12}_)?)([-A-Za-z0-9_]{12,64})"
)  # one that ends in an id
_MAX_LAYOUTS_WITH_URL = 256  # words; a source whose URLs share no beginning must not use them all up
_ABSENT, _NULL, _TEXT, _MOMENT, _DIGITS = range(5)  # how an optional field is written
_MAX_DIGITS = 18

_plain = msgspec.json.Encoder()
_from_plain = msgspec.json.Decoder(ConnectionState)
_to_json = msgspec.json.Encoder(order="sorted")


class Unpackable(Exception):
    """This connection does not fit the packed form."""


class Undecodable(ValueError):
    """Stored bytes that :func:`encode` did not write, or whose words are gone."""


class Words:
    """The list of JSON values that states refer to by index; index 0 stands for an absent value."""

    def __init__(self, values: Iterable[Any] = ()) -> None:
        self.values: list[Any] = [None, *values]
        self._index = {_to_json.encode(value): at for at, value in enumerate(self.values) if at}

    def index(self, value: Any) -> int:
        """The index of ``value``, added if it is new."""
        key = _to_json.encode(value)
        at = self._index.get(key)
        if at is None:
            if len(key) > _MAX_WORD_CHARS or len(self.values) >= _MAX_WORDS:
                raise Unpackable
            at = self._index[key] = len(self.values)
            self.values.append(value)
        return at

    def __len__(self) -> int:
        return len(self.values) - 1


def is_tombstone(value: bytes) -> bool:
    """Whether an encoded state is that of a removed connection (looks at one byte)."""
    return bool(value[0] & _TOMBSTONE)


def encode(state: ConnectionState, words: Words) -> bytes:
    """The bytes of ``state``; ``words`` may grow and must then be stored with them."""
    mark = _TOMBSTONE if state.removed_at is not None else 0
    try:
        return bytes([_PACKED | mark]) + _pack(state, words)
    except Unpackable:
        return bytes([_PLAIN | mark]) + _plain.encode(_tracked_only(state))


def decode(value: bytes, words: Words) -> ConnectionState:
    """The inverse of :func:`encode`. Raises ``Undecodable`` for bytes it did not write."""
    try:
        form = value[0] & ~_TOMBSTONE
        if form == _PLAIN:
            return _from_plain.decode(value[1:])
        if form == _PACKED:
            return _unpack(value, words)
    except (IndexError, msgspec.DecodeError, TypeError, ValueError, KeyError) as error:
        raise Undecodable(f"a stored state cannot be read: {error}") from error
    raise Undecodable(f"a stored state has the unknown form {form}")


def _tracked_only(state: ConnectionState) -> ConnectionState:
    def children(kind: Kind, entities: dict[str, EntityState]) -> dict[str, EntityState]:
        return {
            id_: msgspec.structs.replace(entity, fields=tracked(kind, entity.fields))
            for id_, entity in entities.items()
        }

    return msgspec.structs.replace(
        state,
        fields=tracked(Kind.CONNECTION, state.fields),
        group_connections=children(Kind.GROUP_CONNECTION, state.group_connections),
        milestones=children(Kind.MILESTONE, state.milestones),
    )


# --- packed form: layout, counts, connection, ids, group connections, milestones, counters ---


def _pack(state: ConnectionState, words: Words) -> bytes:
    groups, milestones = state.group_connections, state.milestones
    employer = state.fields.get("employer")
    if not isinstance(employer, str):
        raise Unpackable
    style = _common_style(groups.values())
    url_shape, bodies = _split_url(state.fields.get("broker_url"), words)
    shapes = [url_shape]
    for ids in ([employer], list(groups), list(milestones)):
        shape, texts = _split_ids(ids)
        shapes.append(shape)
        bodies += texts
    out = bytearray()
    _put_int(out, words.index([shapes, style.digits, style.suffix, len(groups), len(milestones)]))
    _put_int(out, words.index(state.fields["status"]) if "status" in state.fields else 0)
    if url_shape is None:
        code, body = _optional(state.fields, "broker_url", style)
        out.append(code)
        out += body
    joined = "".join(bodies)
    out += base64.urlsafe_b64decode(joined + "A" * (-len(joined) % 4))
    for entity in groups.values():
        out += _pack_group(entity.fields, style, words)
    for entity in milestones.values():
        _put_int(out, words.index(tracked(Kind.MILESTONE, entity.fields)))
    return bytes(out + _counters(state))


def _unpack(value: bytes, words: Words) -> ConnectionState:
    read = _Reader(value)
    (url_shape, *shapes), digits, suffix, group_count, milestone_count = words.values[read.number()]
    style = Style(digits, suffix)
    fields: dict[str, Any] = {}
    if status := read.number():
        fields["status"] = words.values[status]
    if url_shape is None:
        read.optional(fields, "broker_url", read.byte(), style)
        ids = _join_ids(read, shapes, (1, group_count, milestone_count))
    else:
        fields["broker_url"], *ids = _join_ids(
            read, [url_shape, *shapes], (1, 1, group_count, milestone_count)
        )
    fields["employer"] = ids[0]
    group_ids, milestone_ids = ids[1 : 1 + group_count], ids[1 + group_count :]
    groups = {id_: EntityState(_read_group(read, style, words)) for id_ in group_ids}
    milestones = {id_: EntityState(dict(words.values[read.number()])) for id_ in milestone_ids}
    state = ConnectionState(fields, groups, milestones)
    return _with_counters(state, read, removed=is_tombstone(value)) if read.is_more else state


def _split_url(url: Any, words: Words) -> tuple[list[Any] | None, list[str]]:
    """A URL that ends in an id, as what such URLs share and the id; or nothing."""
    match = _URL.fullmatch(url) if isinstance(url, str) and len(words) < _MAX_LAYOUTS_WITH_URL else None
    return ([match[1], len(match[2])], [match[2]]) if match else (None, [])


def _split_ids(ids: Sequence[str]) -> tuple[list[Any], list[str]]:
    """What the ids share (prefix and length), and the rest of each."""
    shape: list[Any] = ["", 0]
    bodies = []
    for at, id_ in enumerate(ids):
        match = _ID.fullmatch(id_)
        if match is None:
            raise Unpackable
        mine = [match[1], len(match[2])]
        if at and mine != shape:
            raise Unpackable
        shape = mine
        bodies.append(match[2])
    return shape, bodies


def _join_ids(read: _Reader, shapes: Sequence[Any], counts: Sequence[int]) -> list[str]:
    chars = sum(shape[1] * count for shape, count in zip(shapes, counts, strict=True))
    text = base64.urlsafe_b64encode(read.take((chars + 3) // 4 * 3)).decode()
    ids, at = [], 0
    for (prefix, length), count in zip(shapes, counts, strict=True):
        for _ in range(count):
            ids.append(prefix + text[at : at + length])
            at += length
    return ids


def _common_style(groups: Iterable[EntityState]) -> Style:
    """The style of the first timestamp that can be packed; others are kept as text."""
    for entity in groups:
        for name in ("initiated_at", "completed_at"):
            text = entity.fields.get(name)
            style = timestamps.style_of(text) if isinstance(text, str) else None
            if style is not None:
                return style
    return Style(0, "Z")


_OPTIONAL = ("initiated_at", "completed_at", "group_id", "broker_federal_ein")


def _pack_group(fields: dict[str, Any], style: Style, words: Words) -> bytes:
    """How the fields are written is one word with the status; then the carrier; then what has no word."""
    forms, tail = [], bytearray()
    for name in _OPTIONAL:
        form, body = _optional(fields, name, style)
        forms.append(form)
        tail += body
    out = bytearray()
    _put_int(out, words.index([*forms, fields["status"]] if "status" in fields else forms))
    _put_int(out, words.index(fields["carrier"]) if "carrier" in fields else 0)
    return bytes(out + tail)


def _read_group(read: _Reader, style: Style, words: Words) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    forms = words.values[read.number()]
    if len(forms) > len(_OPTIONAL):
        fields["status"] = forms[-1]
    if at := read.number():
        fields["carrier"] = words.values[at]
    for name, form in zip(_OPTIONAL, forms, strict=False):
        read.optional(fields, name, form, style)
    return fields


def _optional(fields: dict[str, Any], name: str, style: Style) -> tuple[int, bytes]:
    """The form of a field that may be absent or null and is a string otherwise, and its bytes.

    The form of a number as a carrier writes it, leading zeros kept, is ``_DIGITS`` plus its length.
    """
    if name not in fields:
        return _ABSENT, b""
    value = fields[name]
    if value is None:
        return _NULL, b""
    if not isinstance(value, str):
        raise Unpackable
    if name.endswith("_at"):
        packed = timestamps.pack(value, style)
        if packed is not None:
            return _MOMENT, packed
    elif 0 < len(value) <= _MAX_DIGITS and value.isascii() and value.isdigit():
        return _DIGITS + len(value), int(value).to_bytes(_digit_bytes(len(value)), "big")
    out = bytearray()
    data = value.encode()
    _put_int(out, len(data))
    return _TEXT, bytes(out + data)


def _digit_bytes(digits: int) -> int:
    largest: int = 10**digits - 1
    return (largest.bit_length() + 7) // 8


def _counters(state: ConnectionState) -> bytes:
    """What has moved since the baseline; nothing at all where nothing has."""
    entities = [*state.group_connections.values(), *state.milestones.values()]
    moved = [(at, entity) for at, entity in enumerate(entities) if entity.revision or entity.removed_at]
    out = bytearray()
    if not (moved or state.sequence or state.revision or state.removed_at is not None):
        return b""
    for number in (state.sequence, state.revision, state.removed_at or 0, len(moved)):
        _put_int(out, number)
    for at, entity in moved:
        for number in (at, entity.revision, entity.removed_at or 0):
            _put_int(out, number)
    return bytes(out)


def _with_counters(state: ConnectionState, read: _Reader, *, removed: bool) -> ConnectionState:
    sequence, revision, removed_at, moved = (read.number() for _ in range(4))
    names = [*state.group_connections, *state.milestones]
    for _ in range(moved):
        at, entity_revision, entity_removed_at = (read.number() for _ in range(3))
        under = state.group_connections if at < len(state.group_connections) else state.milestones
        entity = under[names[at]]
        under[names[at]] = EntityState(entity.fields, entity_revision, entity_removed_at or None)
    return ConnectionState(
        state.fields,
        state.group_connections,
        state.milestones,
        sequence,
        revision,
        removed_at if removed else None,
    )


def _put_int(out: bytearray, number: int) -> None:
    """A non-negative integer, seven bits a byte."""
    while number > 0x7F:  # noqa: PLR2004
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


class _Reader:
    """Reads what ``_pack`` wrote, from the second byte on."""

    def __init__(self, value: bytes) -> None:
        self._value = value
        self._at = 1

    @property
    def is_more(self) -> bool:
        return self._at < len(self._value)

    def byte(self) -> int:
        self._at += 1
        return self._value[self._at - 1]

    def number(self) -> int:
        number = shift = 0
        while True:
            byte = self.byte()
            number |= (byte & 0x7F) << shift
            if byte < 0x80:  # noqa: PLR2004
                return number
            shift += 7

    def take(self, size: int) -> bytes:
        if self._at + size > len(self._value):
            raise IndexError("the value ends early")
        self._at += size
        return self._value[self._at - size : self._at]

    def optional(self, fields: dict[str, Any], name: str, form: int, style: Style) -> None:
        """Set ``fields[name]`` as ``_optional`` found it."""
        if form == _NULL:
            fields[name] = None
        elif form == _TEXT:
            fields[name] = self.take(self.number()).decode()
        elif form == _MOMENT:
            fields[name] = timestamps.unpack(self.take(timestamps.packed_size(style)), style)
        elif form > _DIGITS:
            digits = form - _DIGITS
            fields[name] = f"{int.from_bytes(self.take(_digit_bytes(digits)), 'big'):0{digits}d}"
