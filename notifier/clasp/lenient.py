"""A page that is not wholly valid JSON, taken apart all the same, so that one bad item costs only itself.

The strict decoder refuses a page for one lone surrogate, one NaN or one thousandfold nesting in any item.
Here only strings and brackets are looked at: enough to find where each item of ``results`` begins and ends.
What stands inside an item is for ``decode`` to judge. Used only where the strict decoder gave up.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from notifier.errors import SourceInvalid

# Never tries anything twice (`++`), and takes a text that does not end for one token: else an answer full of
# quotes would cost the square of its length.
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.?)*+"?|[{}\[\]:,]|[^\s"{}\[\]:,]++', re.DOTALL)
MAX_BYTES = 4 * 2**20  # ten times a large page; more would keep the worker busy for too long
MAX_TOKENS = 1_000_000  # likewise: a page of a hundred connections has some thirty thousand
_OPENING, _CLOSING = frozenset((b"{", b"[")), frozenset((b"}", b"]"))
_SHAPE = "Clasp's answer is JSON of another shape than documented, or cut short"


def split_page(body: bytes) -> tuple[list[msgspec.Raw], Any]:
    """The items of ``results`` and the value of ``next``. Raises ``SourceInvalid`` where it cannot tell."""
    if len(body) > MAX_BYTES:
        raise SourceInvalid(_SHAPE)
    members = split_object(body)
    if "results" not in members or "next" not in members:
        raise SourceInvalid(_SHAPE)
    try:
        next_ = msgspec.json.decode(members["next"])
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise SourceInvalid("Clasp's list has a `next` that is neither a URL nor null") from None
    return split_list(bytes(members["results"])), next_


def split_object(text: bytes) -> dict[str, msgspec.Raw]:
    """The members of an object, each value as it stands there; a key that is no valid string is left out."""
    members = {}
    for start, end in _values(text, b"{"):
        key = _TOKEN.match(text, start, end)
        colon = _TOKEN.match(text, key.end(), end) if key else None
        if key is None or colon is None or colon[0] != b":":
            raise SourceInvalid(_SHAPE)
        try:
            members[msgspec.json.decode(key[0], type=str)] = msgspec.Raw(text[colon.end() : end].strip())
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return members


def split_list(text: bytes) -> list[msgspec.Raw]:
    """The elements of an array, as they stand there."""
    return [msgspec.Raw(text[start:end].strip()) for start, end in _values(text, b"[")]


def _values(text: bytes, bracket: bytes) -> list[tuple[int, int]]:
    """Where each member of the object or array that ``text`` is begins and ends."""
    spans: list[tuple[int, int]] = []
    depth, start, is_over = 0, 0, False
    for count, token in enumerate(_TOKEN.finditer(text)):
        word = token[0]
        if is_over or (depth == 0 and word != bracket) or count >= MAX_TOKENS:
            raise SourceInvalid(_SHAPE)
        if word in _OPENING:
            depth += 1
            if depth == 1:
                start = token.end()
        elif word in _CLOSING:
            depth -= 1
            is_over = depth == 0
        if is_over or (depth == 1 and word == b","):
            if text[start : token.start()].strip():
                spans.append((start, token.start()))
            start = token.end()
    if not is_over:
        raise SourceInvalid(_SHAPE)
    return [(start + _leading(text[start:end]), end) for start, end in spans]


def _leading(text: bytes) -> int:
    return len(text) - len(text.lstrip())
