"""Lists that are wrong as a whole: ``next``, ``results``, pages that repeat, other accounts' connections.

Each pages are fine JSON; what is wrong is how they hang together. A list says whether it makes a Complete
snapshot, whose changes it lets through, and what else is to be told.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec

from tests.proof.hostile_source import BASE, GONE, PAGE_SIZE, Ask, Hostility, Reply, Source, page_of
from tests.support.account import connection, group

LIST = f"{BASE}/connections"
NEXT = f"{LIST}?cursor={PAGE_SIZE}"
WITNESSES = ("gc_00_a", "gc_07_a")  # one on each page; they change when the hostility begins
HELD = "the list shares no connection with what is known"
Step = tuple[str, str, Any, Any]


class Listing(msgspec.Struct, frozen=True):
    """``reason``: of the Partial snapshot; none for a Complete one. ``sees`` are the pages whose changes are told.

    ``told`` and ``reports`` come besides; ``left`` names what leaves the source with the hostility.
    Single connections answer with a 404 meanwhile, unless it ``is_honest_by_id``.
    """

    hostility: Hostility
    reason: str = ""
    sees: str = "12"
    told: tuple[Step, ...] = ()
    told_cold: tuple[Step, ...] = ()  # after a restart, if that makes a difference
    reports: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    first_look: str = ""  # "taken": it makes a baseline all the same; "not given": it would be believed
    is_honest_by_id: bool = False


def _pages(make: Callable[[Source, Ask], Reply | None]) -> Hostility:
    """Asks for pages are answered by ``make``; others honestly."""
    return lambda source, ask: make(source, ask) if ask.page else None


def _on_page(number: int, make: Callable[[Source], Reply | None]) -> Hostility:
    return _pages(lambda source, ask: make(source) if ask.page == number else None)


def _items(source: Source, first: int, last: int) -> list[bytes]:
    return [json.dumps(item).encode() for item in source.listed[first:last]]


# --- next ---


def _next(value: Any, reason: str) -> Listing:
    return Listing(_on_page(1, lambda source: source.page(0, value)), reason, sees="1")


_ELSEWHERE, _NO_URL, _NO_CURSOR, _NO_TEXT = (
    "leads elsewhere",
    "not a URL",
    "without a usable cursor",
    "neither a URL",
)

_NEXTS = {
    "another host": _next("https://canary.test/connections?cursor=5", _ELSEWHERE),
    "another port": _next("https://clasp.test:8443/connections?cursor=5", _ELSEWHERE),
    "the port of plain HTTP": _next("https://clasp.test:80/connections?cursor=5", _ELSEWHERE),
    "another path": _next(f"{BASE}/employers?cursor=5", _ELSEWHERE),
    "a path that climbs": _next(f"{BASE}/connections/../employers?cursor=5", _ELSEWHERE),
    "a longer path": _next(f"{BASE}/connections/conn_02?cursor=5", _ELSEWHERE),
    "a user": _next("https://clasp.test@canary.test/connections?cursor=5", _ELSEWHERE),
    "a user of ours": _next("https://user:pass@clasp.test/connections?cursor=5", _ELSEWHERE),
    "a file": _next("file:///connections?cursor=5", _ELSEWHERE),
    "another scheme": _next("gopher://clasp.test/connections?cursor=5", _ELSEWHERE),
    "a script": _next("javascript:alert(1)//connections?cursor=5", _ELSEWHERE),
    "the metadata service": _next("http://169.254.169.254/connections?cursor=5", _ELSEWHERE),
    "a host behind a backslash": _next(
        "https://canary.test\\@clasp.test/connections?cursor=5", f"{_ELSEWHERE}|{_NO_URL}"
    ),
    "a subdomain": _next("https://clasp.test.canary.test/connections?cursor=5", _ELSEWHERE),
    "a host with a look-alike": _next(
        "https://cl\u0430sp.test/connections?cursor=5", f"{_ELSEWHERE}|{_NO_URL}"
    ),
    "a relative one": _next("/connections?cursor=5", _ELSEWHERE),
    "a query alone": _next("?cursor=5", _ELSEWHERE),
    "no scheme": _next("//clasp.test/connections?cursor=5", _ELSEWHERE),
    "a cursor alone": _next("5", _ELSEWHERE),
    "an empty text": _next("", _ELSEWHERE),
    "a space": _next(" ", _ELSEWHERE),
    "no cursor": _next(LIST, _NO_CURSOR),
    "an empty cursor": _next(f"{LIST}?cursor=", _NO_CURSOR),
    "two cursors": _next(f"{LIST}?cursor=5&cursor=0", _NO_CURSOR),
    "a cursor of 5,000": _next(f"{LIST}?cursor={'5' * 5000}", _NO_CURSOR),
    "a cursor in the fragment": _next(f"{LIST}#cursor=5", _NO_CURSOR),
    "a URL of 1 MB": _next(f"{LIST}?cursor={'5' * 1_000_000}", f"{_NO_URL}|{_NO_CURSOR}"),
    "a port out of range": _next(
        "https://clasp.test:99999999/connections?cursor=5", f"{_NO_URL}|{_ELSEWHERE}"
    ),
    "a broken address": _next("https://[::1/connections?cursor=5", _NO_URL),
    "a zero": _next("\x00", f"{_NO_URL}|{_ELSEWHERE}"),
    "a line break": _next(f"{LIST}?cursor=5\r\nHost: canary.test", _NO_URL),
    "a number": _next(7, _NO_TEXT),
    "true": _next(True, _NO_TEXT),
    "false": _next(False, _NO_TEXT),
    "a list": _next([NEXT], _NO_TEXT),
    "an object": _next({"href": NEXT}, _NO_TEXT),
}

# --- circles and lists without end ---


def _always(cursor: Callable[[int], str], items: Callable[[Source, Ask], list[bytes]]) -> Hostility:
    """Every page has a next one; ``cursor`` makes it from the number of the page."""

    def answer(source: Source, ask: Ask) -> Reply:
        number = int(ask.cursor.strip("c") or 0) if ask.cursor else 0
        return Reply(page_of(items(source, ask), f"{LIST}?cursor={cursor(number)}"))

    return _pages(answer)


def _first(source: Source, _ask: Ask) -> list[bytes]:
    return _items(source, 0, PAGE_SIZE)


def _both(source: Source, ask: Ask) -> list[bytes]:
    return _first(source, ask) if not ask.cursor else _items(source, PAGE_SIZE, 99)


def _ends_after(pages: int, items: Callable[[Source, Ask], list[bytes]]) -> Hostility:
    """So many pages more after the first two, which are honest but for their ``next``."""

    def answer(source: Source, ask: Ask) -> Reply:
        number = int(ask.cursor or 0)
        found = (
            _items(source, number * PAGE_SIZE, (number + 1) * PAGE_SIZE) if number < 2 else items(source, ask)
        )
        return Reply(page_of(found, f"{LIST}?cursor={number + 1}" if number <= pages else None))

    return _pages(answer)


def _nobody(_source: Source, _ask: Ask) -> list[bytes]:
    return []


_CIRCLE = "a cursor came twice"
_CIRCLES = {
    "to itself": Listing(_always(lambda _: "5", _both), _CIRCLE),
    "to the first page": Listing(_on_page(2, lambda source: source.page(PAGE_SIZE, NEXT)), _CIRCLE),
    "there and back": Listing(_always({0: "5", 5: "6", 6: "5"}.__getitem__, _both), _CIRCLE),
    "pages without end": Listing(_always(lambda number: f"{number + 1}", _both), "did not end within"),
    "empty pages without end": Listing(_always(lambda number: f"{number + 1}", _nobody), "without a connection", sees=""),
    "empty pages without end behind it": Listing(_ends_after(1_000_000, _nobody), "without a connection"),
    "an empty page behind it": Listing(_ends_after(1, _nobody)),
    "99 empty pages behind it": Listing(_ends_after(99, _nobody)),
    "100 pages more that are the first": Listing(_ends_after(100, _first)),
    "a hundred times the first page": Listing(
        _pages(lambda source, ask: Reply(page_of(_first(source, ask), f"{LIST}?cursor={int(ask.cursor or 0) + 1}" if int(ask.cursor or 0) < 99 else None))),
        is_honest_by_id=True,
    ),
}  # fmt: skip

# --- results ---


def _results(value: bytes | None, reason: str, reports: tuple[str, ...] = ()) -> Listing:
    results = b"" if value is None else b', "results": ' + value
    return Listing(
        _on_page(2, lambda _source: Reply(b'{"next": null%s}' % results)), reason, "1", reports=reports
    )


def _among(value: bytes) -> Listing:
    """Something that is no connection, among the connections of the second page."""

    def answer(source: Source) -> Reply:
        return Reply(
            page_of([*_items(source, PAGE_SIZE, 99), value]), shown=page_of(_items(source, PAGE_SIZE, 99))
        )

    return Listing(_on_page(2, answer), "no readable id", reports=("notifier.drift",))


_SHAPE = "another shape"
_RESULTS = {
    "missing": _results(None, _SHAPE),
    "null": _results(b"null", _SHAPE),
    "an object": _results(b"{}", _SHAPE),
    "a text": _results(b'"conn_05"', _SHAPE),
    "a number": _results(b"7", _SHAPE),
    "a list in a list": _results(b"[[]]", "no readable id", reports=("notifier.drift",)),
    "null among them": _among(b"null"),
    "a text among them": _among(b'"conn_05"'),
    "a number among them": _among(b"7"),
    "NaN among them": _among(b"NaN"),
    "a list among them": _among(b"[]"),
    "an empty object among them": _among(b"{}"),
    "100,000 levels among them": _among(b"[" * 100_000 + b"]" * 100_000),
    "no next": Listing(_on_page(2, lambda source: Reply(source.page(PAGE_SIZE).body.replace(b'"next": null, ', b""))), _NO_TEXT),
    "next twice": Listing(_on_page(1, lambda source: Reply(source.page(0).body[:-1] + b', "next": 7}')), _NO_TEXT, "1"),
    "results twice, the last empty": Listing(
        _on_page(2, lambda source: Reply(source.page(PAGE_SIZE).body[:-1] + b', "results": []}')), sees="12", is_honest_by_id=True
    ),
    "none at all": Listing(_pages(lambda _source, _ask: Reply(page_of([]))), sees="", reports=("notifier.removals_held",)),
    "an empty second page": Listing(_on_page(2, lambda _source: Reply(page_of([]))), is_honest_by_id=True),
    "an end after the first page": Listing(_on_page(1, lambda source: source.page(0, None)), is_honest_by_id=True),
}  # fmt: skip

# --- duplicates, other accounts ---


def _again(page: int, *ids: str, told: tuple[Step, ...] = (), **changes: Any) -> Listing:
    """Connections that are shown once more on a page, with changes."""

    def answer(source: Source) -> Reply:
        start = PAGE_SIZE * (page - 1)
        twins = [json.dumps({**source[id_], **changes}).encode() for id_ in ids]
        return Reply(
            page_of([*_items(source, start, start + PAGE_SIZE), *twins], NEXT if page == 1 else None)
        )

    if not changes:
        return Listing(_on_page(page, answer))
    # Which of two is the newer one shows in the order, unless one is as committed and known by its bytes.
    cold = (("connection.status_changed", *ids, "processing", "completed"),) if "status" in changes else ()
    reason = "twice with different content"
    return Listing(_on_page(page, answer), reason, told=told, told_cold=cold, first_look="taken")


def _strangers(count: int) -> list[bytes]:
    return [json.dumps(connection(f"conn_other_{n}", group(f"gc_other_{n}"))).encode() for n in range(count)]


def _added(count: int) -> tuple[Step, ...]:
    return tuple(
        step
        for n in range(count)
        for step in (
            ("connection.added", f"conn_other_{n}", None, "processing"),
            ("group_connection.added", f"gc_other_{n}", None, "pending"),
        )
    )


def _left(count: int) -> tuple[str, ...]:
    return tuple(f"{kind}_other_{n}" for n in range(count) for kind in ("conn", "gc"))


def _all_moved(source: Source, ask: Ask) -> Reply:
    body = source.page(int(ask.cursor or 0)).body
    return Reply(body.replace(b'"status": "pending"', b'"status": "completed"'))


_MOVED = tuple(
    ("group_connection.status_changed", f"gc_{n:02}_{which}", "pending", "completed")
    for n in range(8)
    for which in "ab"
    if f"gc_{n:02}_{which}" not in WITNESSES
)

_ALIKE = ("CONN_05", "Conn_05", "conn_05 ", "caf\u00e9", "cafe\u0301")

_OTHERS = {
    "one twice on its page": _again(1, "conn_02"),
    "one twice on two pages": _again(2, "conn_02"),
    "all twice": _again(2, *(f"conn_{n:02}" for n in range(8))),
    "one as it was and otherwise": _again(1, "conn_02", status="completed"),
    "one as it was and otherwise on two pages": _again(2, "conn_02", status="completed"),
    "one that moved, as it moved and otherwise": _again(2, "conn_00", broker_url="https://x.test",
        told=(("connection.updated", "conn_00", "processing", "processing"),)),
    "another account": Listing(
        _pages(lambda _source, _ask: Reply(page_of(_strangers(8)))), HELD, "", reports=("notifier.snapshot_held",), first_look="not given"
    ),
    "another account from its first page": Listing(
        _pages(lambda _source, ask: Reply(page_of(_strangers(5), NEXT)) if ask.page == 1 else Reply(status=500)), "answered 500", ""
    ),
    "another account behind the first page": Listing(
        _on_page(2, lambda _source: Reply(page_of(_strangers(3)))), sees="12", told=_added(3), left=_left(3), is_honest_by_id=True
    ),
    "mostly another account": Listing(  # nothing is removed; what is new is believed, for some are known
        _pages(
            lambda source, _ask: Reply(
                page_of([*_items(source, 0, 1), *_items(source, 7, 8), *_strangers(5)])
            )
        ),
        told=_added(5),
        reports=("notifier.removals_held",),
        left=_left(5),
        first_look="not given",
    ),
    "ids that look alike": Listing(
        _on_page(2, lambda source: Reply(page_of([*_items(source, PAGE_SIZE, 99), *(json.dumps(connection(id_)).encode() for id_ in _ALIKE)]))),
        told=tuple(("connection.added", id_, None, "processing") for id_ in _ALIKE),
        left=_ALIKE,
    ),
    "half of another account": Listing(
        _on_page(2, lambda source: Reply(page_of([*_items(source, PAGE_SIZE, 99), *_strangers(4)]))), told=_added(4), left=_left(4)
    ),
    "every item changed": Listing(_pages(_all_moved), told=_MOVED),
    "the second page first": Listing(
        _pages(lambda source, ask: source.page(PAGE_SIZE, f"{LIST}?cursor=0") if not ask.cursor else source.page(0, None))
    ),
    "backwards": Listing(
        _pages(lambda source, _ask: Reply(page_of(_items(source, 0, 99)[::-1])))
    ),
}  # fmt: skip

LISTS: dict[str, Listing] = {
    **{f"next: {name}": listing for name, listing in _NEXTS.items()},
    **_CIRCLES,
    **{f"results: {name}": listing for name, listing in _RESULTS.items()},
    **_OTHERS,
}


def with_lies_by_id(listing: Listing) -> Hostility:
    """The hostility, and a 404 for every single connection, so that nothing but the list stands for them."""

    def answer(source: Source, ask: Ask) -> Reply | None:
        if ask.kind == "connections" and ask.id and not listing.is_honest_by_id:
            return GONE
        return listing.hostility(source, ask)

    return answer
