"""Items that are wrong: every field with every kind of value, and oddities of ids, times and children.

What is expected of a field with a value is not looked up in the notifier: it follows from Clasp's documentation
(``FIELDS``) and from three rules. An undocumented value is passed on where the field may hold any; else it is
unknown, told as drift, and moves nothing. Without a readable id an item says that something is there, not what.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import msgspec

from tests.support.account import group, milestone

Step = tuple[str, str, Any, Any]
Item = Mapping[str, Any]
UNREADABLE = ...  # no value can be got from this JSON
C, GA, GB, M = "connection", "group a", "group b", "milestone"  # the item and those under it, in ``told``
UNASKABLE = ("../employers/er_1", ".", "..")  # ids that are no part of a path: never asked for, never removed


class Odd(msgspec.Struct, frozen=True):
    """What is made of an item, and what it is to lead to.

    ``told`` names the item and its children by C, GA, GB, M. ``has_id``: the snapshot stays Complete. ``left`` are
    the ids that are removed by it or after it.
    """

    make: Callable[[Item], bytes]
    told: tuple[Step, ...] = ()
    is_drift: bool = False
    has_id: bool = True
    left: tuple[str, ...] = ()


VALUES: Mapping[str, tuple[bytes | None, Any]] = {
    "missing": (None, UNREADABLE),
    "null": (b"null", None),
    "true": (b"true", True),
    "a number": (b"7", 7),
    "minus nothing": (b"-0", 0),
    "a fraction": (b"-1.5e3", -1500.0),
    "a text": (b'"odd"', "odd"),
    "an empty text": (b'""', ""),
    "a list": (b'["odd"]', ["odd"]),
    "an empty list": (b"[]", []),
    "an object": (b'{"odd": 1}', {"odd": 1}),
    "a control character": (b'"a\\u0000b"', "a\x00b"),
    "bidi marks": ('"a\u202eb\u2066"'.encode(), "a\u202eb\u2066"),
    "an escaped surrogate pair": (b'"\\ud83d\\ude00"', "\U0001f600"),
    "300 characters": (b'"' + b"x" * 300 + b'"', "x" * 300),
    "a text of 1 MB": (b'"' + b"x" * 1_000_000 + b'"', UNREADABLE),
    "100,000 digits": (b"9" * 100_000, UNREADABLE),
    "1e400": (b"1e400", UNREADABLE),
    "NaN": (b"NaN", UNREADABLE),
    "-Infinity": (b"-Infinity", UNREADABLE),
    "a word": (b"undefined", UNREADABLE),
    "a lone surrogate": (b'"\\ud800"', UNREADABLE),
    "no UTF-8": (b'"caf\xe9"', UNREADABLE),
    "a bare zero byte": (b'"a\x00b"', UNREADABLE),
    "100,000 levels": (b"[" * 100_000 + b"]" * 100_000, UNREADABLE),
    "100,000 objects": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, UNREADABLE),
}

#: field -> what it may hold: any JSON, text, a known word, a time, a list, an id, or what nobody looks at;
#: with ``?`` null is documented.
FIELDS: Mapping[str, Mapping[str, str]] = {
    C: {
        "id": "id",
        "status": "any",
        "employer": "text",
        "broker_url": "text?",
        "group_connections": "list",
        "events": "list",
        "unheard_of": "ignored",
    },
    GA: {
        "id": "id",
        "status": "word",
        "carrier": "text?",
        "group_id": "text?",
        "broker_federal_ein": "private?",
        "initiated_at": "time?",
        "completed_at": "time?",
        "connection": "ignored",
        "unheard_of": "ignored",
    },
    M: {
        "id": "id",
        "status": "word",
        "category": "word",
        "created_at": "untold",
        "unheard_of": "ignored",
    },
}
_ARE_NULL = ("broker_url", "completed_at")
_KIND = {C: "connection", GA: "group_connection", GB: "group_connection", M: "milestone"}
_STATUS = {C: "processing", GA: "pending", GB: "pending", M: "completed"}


def _same(item: Item) -> bytes:
    return json.dumps(item).encode()


def with_field(level: str, name: str, raw: bytes | None, item: Item) -> bytes:
    """The item with this JSON for one field of it, of its first group connection, or of its milestone."""
    mark = "\ue000here"
    changed = json.loads(_same(item))
    at = {C: changed, GA: changed["group_connections"][0], M: changed["events"][0]}[level]
    if raw is None:
        at.pop(name, None)
        return json.dumps(changed).encode()
    at[name] = mark
    return json.dumps(changed).encode().replace(json.dumps(mark).encode(), raw)


def every_field() -> Iterator[tuple[str, Odd]]:
    """Every field with every value."""
    for level, fields in FIELDS.items():
        for name, holds in fields.items():
            for words, (raw, value) in VALUES.items():
                if raw is None and name == "unheard_of":
                    continue
                expected = _expected(level, name, holds, raw, value)
                odd = msgspec.structs.replace(expected, make=partial(with_field, level, name, raw))
                yield f"{level}.{name}: {words}", odd


def _expected(level: str, name: str, holds: str, raw: bytes | None, value: Any) -> Odd:
    if holds == "ignored":
        return Odd(_same)
    if holds == "id":
        return _of_id(level, value)
    if holds == "list":
        return _of_list(name, value)
    if holds == "any":
        told = () if value is UNREADABLE else (("connection.status_changed", C, "processing", value),)
        return Odd(_same, told, is_drift=not told)
    if raw is None:  # an optional field that is not there is unknown, not null
        return Odd(_same, is_drift=name == "status")
    return _of_text(level, name, holds, value)


def _of_text(level: str, name: str, holds: str, value: Any) -> Odd:
    kind, status, is_text = _KIND[level], _STATUS[level], isinstance(value, str)
    if name == "status":
        told = ((f"{kind}.status_changed", level, status, value),) if is_text else ()
        return Odd(_same, told, is_drift=True)
    is_null = value is None and holds.endswith("?")
    if not (is_text or is_null) or (is_text and holds == "time?"):
        return Odd(_same, is_drift=True)
    if holds in {"private?", "untold"} or (is_null and name in _ARE_NULL):
        return Odd(_same)
    return Odd(_same, ((f"{kind}.updated", level, status, status),), is_drift=name == "category")


def is_id(value: Any) -> bool:
    """At most 255 characters, none of which could make two ids look like one."""
    return isinstance(value, str) and 0 < len(value) <= 255 and "\x00" not in value and "\u202e" not in value


def _of_id(level: str, value: Any) -> Odd:
    if not is_id(value):
        return Odd(_same, is_drift=True, has_id=level != C)
    kind = _KIND[level]
    if level != C:  # another child came, and the one that was there leaves
        came, left = (
            (f"{kind}.added", value, None, _STATUS[level]),
            (f"{kind}.removed", level, _STATUS[level], None),
        )
        return Odd(_same, (came, left), left=(value, level))
    under = ((f"{_KIND[child]}.added", child, None, _STATUS[child]) for child in (GA, GB, M))
    return Odd(_same, (("connection.added", value, None, "processing"), *under), left=(value,))


def _of_list(name: str, value: Any) -> Odd:
    if value == []:
        children = (GA, GB) if name == "group_connections" else (M,)
        told = tuple((f"{_KIND[child]}.removed", child, _STATUS[child], None) for child in children)
        return Odd(_same, told, left=children)
    return Odd(_same, is_drift=True)


# --- by hand ---

_TIMES = {
    "year 1": ("0001-01-01T00:00:00Z", True),
    "year 9999": ("9999-12-31T23:59:59.999999Z", True),
    "year 0": ("0000-01-01T00:00:00Z", False),
    "year 10000": ("10000-01-01T00:00:00Z", False),
    "24 hours ahead": ("2026-01-02T03:04:05+24:00", False),
    "23:59 ahead": ("2026-01-02T03:04:05+23:59", True),
    "year 1, ahead of UTC": ("0001-01-01T00:00:00+14:00", True),
    "year 9999, behind UTC": ("9999-12-31T23:59:59-12:00", True),
    "a leap second": ("2016-12-31T23:59:60Z", False),
    "a leap day that is none": ("2026-02-29T00:00:00Z", False),
    "no zone": ("2026-05-02T03:04:05", True),
    "a day": ("2026-05-02", True),
    "a week": ("2026-W18-6", True),
    "30 digits of a second": ("2026-05-02T03:04:05." + "1" * 30 + "Z", True),
    "a time of day": ("03:04:05", False),
    "seconds since 1970": ("1767323045", False),
    "digits of another script": ("２０２６-05-02T03:04:05Z", False),
    "a zone by name": ("2026-05-02T03:04:05 Europe/Berlin", False),
    "negative": ("-2026-05-02T03:04:05Z", False),
    "the same moment otherwise": ("2026-01-02T04:04:05.000+01:00", None),
}


def _with(**changes: Any) -> Callable[[Item], bytes]:
    return lambda item: json.dumps({**item, **changes}).encode()


def by_hand() -> Iterator[tuple[str, Odd]]:
    """What is odd in other ways than by one value of one field."""
    yield from _odd_times()
    yield from _odd_ids()
    yield from _odd_children()
    yield from _odd_objects()


def _odd_times() -> Iterator[tuple[str, Odd]]:
    for words, (text, is_moment) in _TIMES.items():
        told = ((("group_connection.updated", GA, "pending", "pending"),)) if is_moment else ()
        make = partial(with_field, GA, "initiated_at", json.dumps(text).encode())
        yield f"time: {words}", Odd(make, told, is_drift=is_moment is False)


_READABLE_IDS = {
    "255 characters": "x" * 255,
    "slashes": "../employers/er_1",
    "a dot": ".",
    "two dots": "..",
    "percent": "conn%2f02",
    "a question": "conn_02?x=1#y",
    "a space behind": "conn_02 ",
    "capitals": "CONN_02",
    "composed": "caf\u00e9",
    "decomposed": "cafe\u0301",
    "emoji": "\U0001f600" * 60,
    "braces of a hash tag": "{x}:lane:backend",
    "our own lane": "notifier",
    "a number as text": "7",
    "Slack's markup": "<!channel>",
    "a zero-width space": "conn_02\u200b",
}
_UNREADABLE_IDS = {
    "256 characters": "x" * 256,
    "1 MB": "x" * 1_000_000,
    "a line break": "conn_02\n",
    "an escape": "conn_02\x1b[31m",
    "a delete character": "conn_02\x7f",
    "a C1 control": "conn_02\x85",
    "a line separator": "conn_02\u2028",
    "a right-to-left mark": "conn_02\u202e",
}


def _odd_ids() -> Iterator[tuple[str, Odd]]:
    for words, text in _READABLE_IDS.items():
        yield f"id: {words}", msgspec.structs.replace(_of_id(C, text), make=_with(id=text))
    for words, text in _UNREADABLE_IDS.items():
        yield f"id: {words}", Odd(_with(id=text), is_drift=True, has_id=False)


def _more(name: str, *children: Any) -> Callable[[Item], bytes]:
    return lambda item: json.dumps({**item, name: [*item[name], *children]}).encode()


def _odd_children() -> Iterator[tuple[str, Odd]]:
    for words, ids in (
        ("another's, too", ["gc_04_a"]),
        ("one called as a connection", ["conn_04"]),
        ("one called as a milestone", ["ms_04"]),
        ("five more", [f"gc_x{n}" for n in range(5)]),
    ):
        told = tuple(("group_connection.added", id_, None, "pending") for id_ in ids)
        make = _more("group_connections", *map(group, ids))
        yield f"group connections: {words}", Odd(make, told, left=tuple(ids))
    for words, child in (
        ("null", None),
        ("a text", "gc"),
        ("a list", [group("gc")]),
        ("no id", {"status": "pending"}),
        ("a long id", group("x" * 256)),
        ("an odd id", group("a\x00")),
    ):
        only = {"group_connections": [child], "events": [child]}
        yield f"children: {words} in place of all", Odd(_with(**only), is_drift=True)
        yield f"children: {words} among them", Odd(_more("group_connections", child), is_drift=True)

    def twin(item: Item, **changes: Any) -> bytes:
        groups = item["group_connections"]
        return json.dumps({**item, "group_connections": [*groups, {**groups[0], **changes}]}).encode()

    moved = (("group_connection.status_changed", GA, "pending", "completed"),)
    yield "children: one twice", Odd(twin)
    yield (
        "children: one as it was and otherwise",
        Odd(partial(twin, status="completed"), moved, is_drift=True),
    )
    yield "children: one twice, the last unreadable", Odd(partial(twin, status=None), is_drift=True)
    yield "children: backwards", Odd(lambda item: json.dumps({**item, "group_connections": item["group_connections"][::-1]}).encode())  # fmt: skip
    yield "children: no lists", Odd(_without("group_connections", "events"), is_drift=True)
    new = ("milestone.added", "ms_new", None, "completed")
    odd = milestone("ms_new", category="audited")
    yield "children: a milestone of an unknown category", Odd(_more("events", odd), (new,), is_drift=True, left=("ms_new",))  # fmt: skip
    yield "children: a milestone called as a connection", Odd(_more("events", {**odd, "id": "conn_04", "category": "review_submitted"}), (("milestone.added", "conn_04", None, "completed"),), left=("conn_04",))  # fmt: skip


def _without(*names: str) -> Callable[[Item], bytes]:
    return lambda item: json.dumps({name: item[name] for name in item if name not in names}).encode()


def _ends(text: bytes) -> Callable[[Item], bytes]:
    return lambda item: _same(item)[:-1] + text


def _odd_objects() -> Iterator[tuple[str, Odd]]:
    on_fire = ("connection.status_changed", C, "processing", "on_fire")
    all_on_fire = tuple((f"{_KIND[it]}.status_changed", it, _STATUS[it], "on_fire") for it in (C, GA, GB, M))
    yield "object: an id alone", Odd(lambda item: b'{"id": "%s"}' % item["id"].encode(), is_drift=True)
    yield "object: a status twice", Odd(_ends(b', "status": "on_fire"}'), (on_fire,))
    yield "object: a status twice, the last broken", Odd(_ends(b', "status": NaN}'), is_drift=True)
    yield "object: an id twice, the last null", Odd(_ends(b', "id": null}'), is_drift=True, has_id=False)
    yield "object: 10,000 fields more", Odd(_with(**{f"field_{n}": n for n in range(10_000)}))
    yield "object: a key that is no text", Odd(_ends(b', "\\ud800": 1}'))
    yield "object: an empty key", Odd(_with(**{"": {"": []}}))
    yield (
        "object: a status in capitals",
        Odd(lambda item: _same(item).replace(b'"status"', b'"STATUS"'), is_drift=True),
    )
    yield "object: a trailing comma", Odd(_ends(b",}"))
    yield "object: brackets in a text", Odd(_with(unheard_of='"]}{[\\ud800'))
    yield "object: indented", Odd(lambda item: json.dumps(item, indent=8).encode())
    yield "object: escaped", Odd(lambda item: _same(item).replace(b"conn_", b"\\u0063onn_"))
    yield (
        "object: every status unknown",
        Odd(
            lambda item: re.sub(rb'"status": "[a-z]+"', b'"status": "on_fire"', _same(item)),
            all_on_fire,
            is_drift=True,
        ),
    )
