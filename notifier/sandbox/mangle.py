"""What a fault does to a page of the list, and to single connections. Pure: bytes in, bytes out.

The same connection is always mangled in the same way, so that one page is the same in every poll.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from yarl import URL

from notifier.sandbox.faults import Fault, Faults
from notifier.sandbox.pages import Cursor, Page, link
from notifier.sandbox.world import dump

_FOREIGN_HOST = "elsewhere.example"
_TAIL = 21
_ACCOUNT_ID = re.compile(rb'(?<=["/])(conn|gcon|cevt|er)_([-\w]{21})(?=")')
_CRC_RANGE = 2**32


def mangle(page: Page, fault: Fault, cursor: Cursor, url: URL) -> Page | bytes:
    """The page as a fault leaves it; bytes where it is no page any more."""
    if fault.kind == "empty":
        return Page([], None, None).body()
    if fault.kind == "truncate":
        body = page.body()
        return body[: len(body) // 2]
    if fault.kind == "foreign_next":
        following = page.next or link(url, Cursor(cursor.position, cursor.number + 1))
        return page._replace(next=str(URL(following).with_host(_FOREIGN_HOST)))
    if fault.kind == "loop_next":
        return page._replace(next=link(url, cursor))
    if fault.kind == "wrong_types" and fault.what == "envelope":
        return dump({"next": None, "previous": None, "results": {"connections": len(page.items)}})
    change = _ITEMS.get(fault.kind)
    return page._replace(items=change(list(page.items), fault)) if change else page


def listed_id(id_: str, faults: Faults) -> str | None:
    """The world's id of what is asked for as ``id_`` under ``faults``; None: it does not exist."""
    if faults.of_kind("other_account"):
        id_ = other_id(id_)
    for fault in faults.of_kind("vanish"):
        if not fault.still_by_id and has_vanished(id_, fault):
            return None
    return id_


def shown(text: bytes, faults: Faults) -> bytes:
    """An object as it is answered by id while ``faults`` are in force."""
    return _other_account(text) if faults.of_kind("other_account") else text


def other_id(id_: str) -> str:
    """The id of the other account's twin; the twin's twin is the same again."""
    return id_[:-_TAIL] + id_[-_TAIL:][::-1]


def has_vanished(id_: str, fault: Fault) -> bool:
    """Whether a ``vanish`` fault hides this connection."""
    return id_ in fault.ids if fault.ids else zlib.crc32(id_.encode()) < fault.fraction * _CRC_RANGE


def _other_account(text: bytes) -> bytes:
    return _ACCOUNT_ID.sub(lambda found: b"%b_%b" % (found[1], found[2][::-1]), text)


def _vanish(items: list[bytes], fault: Fault) -> list[bytes]:
    return [item for item in items if not has_vanished(json.loads(item)["id"], fault)]


def _repeat(items: list[bytes], _fault: Fault) -> list[bytes]:
    return items + items[:1]


def _contradict(items: list[bytes], _fault: Fault) -> list[bytes]:
    if not items:
        return items
    twin = json.loads(items[0])
    for group in twin["group_connections"]:
        group["status"] = "processing" if group["status"] != "processing" else "needs_attention"
    return [*items, dump(twin | {"status": "inactive"})]


def _confuse(items: list[bytes], fault: Fault) -> list[bytes]:
    if fault.what == "fields":
        return [dump(_WRONG_FIELDS[n % len(_WRONG_FIELDS)](json.loads(item))) for n, item in enumerate(items)]
    if not items:
        return items
    wrong: Any = 7
    if fault.what == "no_id":
        wrong = {name: value for name, value in json.loads(items[0]).items() if name != "id"}
    return [dump(wrong), *items[1:]]


def _with_wrong_statuses(item: dict[str, Any]) -> dict[str, Any]:
    groups = [group | {"status": ["processing"], "carrier": 7} for group in item["group_connections"]]
    return item | {"group_connections": groups}


_ITEMS: Mapping[str, Callable[[list[bytes], Fault], list[bytes]]] = {
    "vanish": _vanish,
    "duplicate": _repeat,
    "conflicting_duplicate": _contradict,
    "wrong_types": _confuse,
    "other_account": lambda items, _fault: [_other_account(item) for item in items],
}
_WRONG_FIELDS: tuple[Callable[[dict[str, Any]], dict[str, Any]], ...] = (
    lambda item: item | {"group_connections": "none"},
    lambda item: item | {"events": None, "employer": 7},
    lambda item: item | {"status": {"code": 3}, "broker_url": ["https://broker.example"]},
    _with_wrong_statuses,
)
