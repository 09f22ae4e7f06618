"""The source of the state machine: an account that lies in every way a list can lie, and keeps what it said.

``truth`` is what the account really holds; faults of one traversal, distorted items, hidden items and answers
by id lie over it and can be taken away. Each replica comes in by a door of its own, which keeps the answers
of one poll for the model to read.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import httpx

from tests.proof.model import Reading, read, same
from tests.support.account import BASE, connection, group, milestone

Item = dict[str, Any]
PAGE_SIZE = 3
_PATH = "/connections"
_GONE = {404, 410}

#: Ids that begin with one another; the children's come up under several parents.
IDS = [f"conn_{n}" for n in (1, 10, 11, 111, 2, 20, 3, 30)]
CHILDREN = ("a", "aa", "aaa", "b", "ba")
STATUSES = ("pending", "processing", "needs_attention", "completed", "on_fire", "Pending")
ODD = ("active", "inactive", None, 1, True, 0, "", {"a": [1, None]}, ["x"], "1")
FIELDS: dict[str, Sequence[Any]] = {
    "carrier": ("carr_A", "carr_B", None),
    "group_id": ("00123", "123", None),
    "initiated_at": ("2026-01-02T03:04:05Z", "2026-01-02T03:04:05+00:00", "2026-05-05T00:00:00.5Z", None),
    "completed_at": ("2026-03-03T00:00:00Z", None),
    "employer": ("er_1", "er_2"),
    "broker_url": ("https://broker.test/x", "", None),
    "category": ("payroll_connected", "review_submitted", "a_new_one"),
}


class Answer(NamedTuple):
    """``path`` was asked for and this was answered."""

    path: str
    status: int
    body: bytes


class Fault(NamedTuple):
    """What goes wrong on page ``page`` (or the last, if there are fewer) of the next traversal."""

    what: str
    page: int


class Source:
    """The account. ``meanwhile`` is done once, while a page is being asked for."""

    def __init__(self) -> None:
        self.truth: dict[str, Item] = {}
        self.hidden: set[str] = set()
        self.distorted: dict[str, str] = {}
        self.by_id: dict[str, str] = {}
        self.last_seen: dict[str, Item] = {}  # of what has left
        self.others: list[Item] | None = None  # shown in place of the truth: another account's
        self.fault: Fault | None = None
        self.meanwhile: tuple[int, Callable[[], Awaitable[None]]] | None = None

    def listed(self) -> list[Any]:
        if self.others is not None:
            return self.others
        return [self._as_shown(id_) for id_ in self.truth if id_ not in self.hidden]

    def _as_shown(self, id_: str) -> Item:
        return distort(self.truth[id_], self.distorted[id_]) if id_ in self.distorted else self.truth[id_]

    def leave(self, id_: str | None) -> None:
        """It is gone, as far as it was there."""
        if id_ in self.truth:
            self.last_seen[id_] = self.truth.pop(id_)

    def mend(self) -> None:
        """Nothing lies over the truth any more."""
        self.hidden.clear()
        self.distorted.clear()
        self.by_id.clear()
        self.others = self.fault = self.meanwhile = None

    def page(self, start: int) -> httpx.Response:
        listed = self.listed()
        pages = max(1, -(-len(listed) // PAGE_SIZE))
        number = start // PAGE_SIZE
        fault = self.fault.what if self.fault and self.fault.page % pages == number else ""
        end = start + PAGE_SIZE
        if fault in {"overlap", "skip"} and number:
            start += 1 if fault == "skip" else -1  # the list moved under the cursor
        items = listed[start:end]
        if fault == "empty" or (self.fault and self.fault.what == "empty"):
            return _json({"next": None, "previous": None, "results": []})
        if fault in _ANSWERS:
            return _answer(fault)
        following = f"{BASE}{_PATH}?cursor={end}" if end < len(listed) else None
        page = {"next": following, "previous": None, "results": items}
        if fault in _PAGES:
            _PAGES[fault](page, listed, number)
        answer = _json(page)
        return httpx.Response(200, content=answer.content[:-20]) if fault == "truncated" else answer

    def one(self, id_: str) -> httpx.Response:
        how = self.by_id.get(id_, "")
        if how in _ANSWERS:
            return _answer(how)
        if how == "other":
            return _json({"id": f"{id_}x"})
        there = id_ in self.truth
        if how == "ghost" and not there and id_ in self.last_seen:
            return _json(self.last_seen[id_])
        return _json(self._as_shown(id_)) if there and how != "gone" else _answer("404")


def fresh(id_: str, at: int) -> dict[str, Any]:
    """A connection of which ``at`` decides how it looks."""
    children = [CHILDREN[(at + n) % len(CHILDREN)] for n in range(at % 4)]
    return connection(
        id_,
        *(group(f"gc_{child}", STATUSES[at % 4]) for child in children),
        milestones=[milestone(f"ms_{child}") for child in children[:2]],
        status=ODD[at % 3],
    )


class Door:
    """What one replica takes for its account."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self.answers: list[Answer] = []

    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self._handle)

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        path, source = request.url.path, self._source
        if path == _PATH:
            start = int(request.url.params.get("cursor") or 0)
            if source.meanwhile and source.meanwhile[0] == start // PAGE_SIZE:
                (_, act), source.meanwhile = source.meanwhile, None
                await act()
            answer = source.page(start)
        elif path.startswith(_PATH):
            answer = source.one(path.rpartition("/")[2])
        else:
            return _json({"id": path.rpartition("/")[2], "legal_name": "Somebody"})
        self.answers.append(Answer(path, answer.status_code, answer.content))
        return answer


def _json(value: Any) -> httpx.Response:
    return httpx.Response(200, content=json.dumps(value).encode())


_HTML = b"<html>a gateway</html>"
_NO = b'{"type": "error", "message": "no"}'
_ANSWERS: dict[str, tuple[int, bytes]] = {
    "500": (500, _HTML),
    "429": (429, _NO),  # to be tried again after two minutes, so not in this poll
    "401": (401, _NO),
    "404": (404, _NO),
    "410": (410, _NO),
    "html": (200, _HTML),
    "html404": (404, _HTML),
    "no list": (200, b'{"next": null, "results": {}}'),
}


def _answer(name: str) -> httpx.Response:
    status, body = _ANSWERS[name]
    return httpx.Response(status, content=body, headers={"retry-after": "120"} if status == 429 else {})


BY_ID = ("404", "410", "gone", "ghost", "500", "html", "html404", "401", "other")


def _lead_away(page: dict[str, Any], _listed: list[Item], _number: int) -> None:
    page["next"] = "https://elsewhere.test/connections?cursor=9"


def _lead_round(page: dict[str, Any], _listed: list[Item], number: int) -> None:
    page["next"] = f"{BASE}{_PATH}?cursor={number * PAGE_SIZE}"


def _lose_next(page: dict[str, Any], _listed: list[Item], _number: int) -> None:
    del page["next"]


def _lose_id(page: dict[str, Any], _listed: list[Item], number: int) -> None:
    page["results"] = [
        {name: value for name, value in item.items() if at != number or name != "id"}
        for at, item in enumerate(page["results"])
    ]


def _repeat(page: dict[str, Any], listed: list[Item], number: int) -> None:
    page["results"] = [*page["results"], *listed[number : number + 1]]


def _contradict(page: dict[str, Any], listed: list[Item], number: int) -> None:
    page["results"] = [
        *page["results"],
        *({**item, "status": "twin"} for item in listed[number : number + 1]),
    ]


def _contradict_before(page: dict[str, Any], listed: list[Item], number: int) -> None:
    poorer = ({**item, "group_connections": [], "status": "twin"} for item in listed[-1 - number :][:1])
    page["results"] = [*poorer, *page["results"]]


_PAGES: dict[str, Callable[[dict[str, Any], list[Item], int], None]] = {
    "leads away": _lead_away,
    "leads round": _lead_round,
    "next is missing": _lose_next,
    "an item without id": _lose_id,
    "repeats": _repeat,
    "contradicts": _contradict,
    "contradicts before": _contradict_before,
}
#: By page; each may happen to any page of a traversal.
FAULTS = (*_PAGES, "500", "429", "401", "404", "html", "no list", "truncated", "empty", "skip", "overlap")


def distort(item: Item, how: str) -> Item:
    """``item`` as a source shows it that changes its shape without telling."""
    item = json.loads(json.dumps(item))
    groups, milestones = item["group_connections"], item["events"]
    name, _, what = how.partition(": ")
    if name == "no":
        item.pop(what)
    elif name == "odd":
        item[what] = {"odd": ["thing"]}
    elif name == "null":
        item[what] = None
    elif name == "child":
        for child in [*groups, *milestones][:1]:
            _distort_child(child, what, groups)
    elif how == "only its id":
        return {"id": item["id"]}
    elif how == "status is NaN":
        item["status"] = float("nan")
    else:
        item |= {"brand_new": 1, "updated_at": "2026-01-01"}
    return item


def _distort_child(child: Item, what: str, groups: list[Item]) -> None:
    if what == "twin":
        groups.extend({**one, "status": "twin"} for one in groups[:1])
    elif what == "odd time":
        child["initiated_at"] = "yesterday"
    elif what == "number":
        child["status"] = 17
    else:
        child.pop(what, None)


DISTORTIONS = (
    *(f"no: {name}" for name in ("status", "employer", "group_connections", "events", "broker_url")),
    *(f"odd: {name}" for name in ("employer", "group_connections", "events", "broker_url")),
    *(f"null: {name}" for name in ("employer", "group_connections", "events")),
    *(f"child: {what}" for what in ("id", "status", "carrier", "number", "twin", "odd time")),
    "only its id",
    "status is NaN",
    "more",
)


# --- what was answered, as the model reads it ---


class Snapshot:
    """The answers of one poll: ``readings`` of the list in order, ``found`` and ``gone`` by id."""

    def __init__(self, answers: list[Answer]) -> None:
        self.readings: dict[str, list[Reading]] = {}
        self.order: list[Reading] = []
        self.items = 0
        self.found: dict[str, Reading] = {}
        self.gone: set[str] = set()
        self.has_ended = False  # the last page said so, and each item had an id
        self.contradicts = False
        raw: dict[str, Any] = {}
        has_ids = True
        for answer in answers:
            if answer.path != _PATH:
                self._by_id(answer)
                continue
            page = _page_of(answer)
            self.has_ended = page is not None and page.get("next", "") is None
            for item in page["results"] if page else ():
                self.items += 1
                shown = read(item)
                if shown is None:
                    has_ids = False
                    continue
                self.contradicts |= not same(raw.setdefault(shown.id, item), item)
                self.readings.setdefault(shown.id, []).append(shown)
                self.order.append(shown)
        self.has_ended &= has_ids

    @property
    def is_complete(self) -> bool:
        return self.has_ended and not self.contradicts

    def _by_id(self, answer: Answer) -> None:
        id_ = answer.path.rpartition("/")[2]
        is_json = not answer.body.startswith(b"<")
        if answer.status in _GONE and is_json:
            self.gone.add(id_)
        elif answer.status == 200 and is_json and b"NaN" not in answer.body:
            shown = read(json.loads(answer.body))
            if shown is not None and shown.id == id_:
                self.found[id_] = shown


def _page_of(answer: Answer) -> dict[str, Any] | None:
    try:
        page = json.loads(answer.body) if answer.status == 200 else None
    except ValueError:
        return None
    return page if isinstance(page, dict) and isinstance(page.get("results"), list) else None
