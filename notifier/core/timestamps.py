"""ISO 8601 moments of the source: comparing and packing them without losing how they were written."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import msgspec

_NAIVE_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - both sides of the packing are UTC
_SHAPE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.(\d{3}|\d{6}))?(Z|\+00:00)")
_UNIT = {0: timedelta(seconds=1), 3: timedelta(milliseconds=1), 6: timedelta(microseconds=1)}
_TIMESPEC = {0: "seconds", 3: "milliseconds", 6: "microseconds"}
_BYTES = {0: 4, 3: 6, 6: 7}  # enough for every moment until 2106


class Style(msgspec.Struct, frozen=True):
    """How a timestamp is written: digits of its fraction (0, 3 or 6) and its suffix (``Z``, ``+00:00``)."""

    digits: int
    suffix: str


def parse(text: object) -> datetime | None:
    """The moment that ``text`` names, or None where it names none. A moment without a zone is UTC."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def is_same_moment(one: object, other: object) -> bool:
    """Whether both are timestamps of one moment, however they are written."""
    moment = parse(one)
    return moment is not None and moment == parse(other)


def style_of(text: str) -> Style | None:
    """The style of a timestamp that :func:`pack` can take, or None."""
    match = _SHAPE.fullmatch(text)
    return Style(len(match[1] or ""), match[2]) if match else None


def pack(text: str, style: Style) -> bytes | None:
    """``text`` in 4 to 7 bytes, or None where :func:`unpack` would not give back the same text."""
    if style_of(text) != style:
        return None
    try:
        units = (datetime.fromisoformat(text[: -len(style.suffix)]) - _NAIVE_EPOCH) // _UNIT[style.digits]
    except ValueError:
        return None
    size = _BYTES[style.digits]
    return units.to_bytes(size, "big") if 0 <= units < 1 << (8 * size) else None


def packed_size(style: Style) -> int:
    """Bytes that :func:`pack` makes in this style."""
    return _BYTES[style.digits]


def unpack(packed: bytes, style: Style) -> str:
    """The text that :func:`pack` was given."""
    moment = _NAIVE_EPOCH + int.from_bytes(packed, "big") * _UNIT[style.digits]
    return moment.isoformat(timespec=_TIMESPEC[style.digits]) + style.suffix
