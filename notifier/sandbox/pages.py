"""One page of the list: which connections are on it, its links, its bytes.

As Django REST Framework does it: ``page_size`` over the maximum means the maximum, and one that is no
positive number means the default; the cursor is base64 of a query string that holds a position. The
position is an ordinal that never changes, so here, unlike perhaps at Clasp, a traversal misses nothing.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import parse_qs, urlencode

from yarl import URL

from notifier.sandbox.world import Slice, World, dump

DEFAULT_PAGE_SIZE = 25
MAX_PAGE_SIZE = 100


class Cursor(NamedTuple):
    """Where a page begins (or, reversed, ends): beyond ``position``. ``number`` is the page's, from 1."""

    position: int = 0
    number: int = 1
    is_reversed: bool = False

    def text(self) -> str:
        """The opaque form."""
        parts = {"p": self.position, "n": self.number} | ({"r": 1} if self.is_reversed else {})
        return base64.urlsafe_b64encode(urlencode(parts).encode()).decode()


FIRST = Cursor()


def read_cursor(text: str) -> Cursor:
    """The inverse of :meth:`Cursor.text`; none at all is the first page. ValueError where it is no cursor."""
    if not text:
        return FIRST
    try:
        parts = parse_qs(
            base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True).decode("ascii")
        )
        return Cursor(int(parts["p"][0]), int(parts["n"][0]), parts.get("r") == ["1"])
    except (binascii.Error, UnicodeError, KeyError, ValueError):
        raise ValueError("Invalid cursor") from None


def read_page_size(text: str | None) -> int:
    """A page's size, never an error: see this module's docstring."""
    wanted = (
        int(text)
        if text is not None and text.isascii() and text.isdigit() and len(text) <= MAX_PAGE_SIZE
        else 0
    )
    return min(wanted, MAX_PAGE_SIZE) or DEFAULT_PAGE_SIZE


class Page(NamedTuple):
    """A page before it is written. Faults replace parts of it."""

    items: Sequence[bytes]
    next: str | None
    previous: str | None

    def body(self) -> bytes:
        """The envelope."""
        head = b'{"next":%b,"previous":%b,"results":[' % (dump(self.next), dump(self.previous))
        return head + b",".join(self.items) + b"]}"


def page_at(world: World, cursor: Cursor, size: int, url: URL) -> Page:
    """The page at a cursor; its links are ``url`` (absolute) with another cursor."""
    number = cursor.number
    look = world.before if cursor.is_reversed else world.after
    found = look(cursor.position, size)
    return Page(found.items, _next(found, number, url), _previous(found, number, url))


def _next(found: Slice, number: int, url: URL) -> str | None:
    return link(url, Cursor(found.last, number + 1)) if found.has_after else None


def _previous(found: Slice, number: int, url: URL) -> str | None:
    return link(url, Cursor(found.first, max(1, number - 1), is_reversed=True)) if found.has_before else None


def link(url: URL, cursor: Cursor) -> str:
    """``url`` with that cursor, its other parameters kept."""
    return str(url.update_query(cursor=cursor.text()))
