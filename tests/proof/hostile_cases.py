"""Catalogues and places -> cases: what is done to the source, and everything that may follow from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache

import msgspec

from tests.e2e.oracle import Snapshot
from tests.proof.hostile_answers import ANSWERS, NAMES, Said
from tests.proof.hostile_items import GA, GB, UNASKABLE, C, Item, M, Odd, Step, by_hand, every_field
from tests.proof.hostile_lists import LISTS, WITNESSES, Listing, with_lies_by_id
from tests.proof.hostile_source import GONE, Ask, Hostility, Reply, Source, honest
from tests.proof.hostile_wire import SCRIPTS, Played, Script

PAGES = ("page 1", "page 2")
PLACES = ("page 2", "by id", "first look", "page 1", "names")  # the most telling first
_HELD = "notifier.removals_held"  # nothing is, where nothing was known
NAMED = ("Guardian", "Acme Corp")
_AT: Mapping[str, Callable[[Ask], bool]] = {
    "page 1": lambda ask: ask.page == 1,
    "page 2": lambda ask: ask.page == 2,
    "first look": lambda ask: ask.page == 2,
    "by id": lambda ask: ask.kind == "connections" and ask.id != "",
    "names": lambda ask: ask.kind in {"carriers", "employers"},
}
_TARGET = {"page 1": "conn_02", "page 2": "conn_06", "by id": "conn_02", "first look": "conn_02"}
_SEEN = {"page 1": "", "page 2": "1"}


class Case(msgspec.Struct, frozen=True):
    """One hostility at one place.

    It makes a Partial snapshot where it has a ``reason`` (a pattern). While it lasts, told is what changed on the
    pages that it ``sees``, and ``told`` (after a restart ``told_cold``); reported are ``reports``, and ``maybe``
    may be; ``names`` are those of carrier and employer. ``left`` are ids that leave the source by it, ``stays`` is
    what is believed in beyond the source for ever. ``first_polls``: how many, if it lasts shorter at a first look.
    """

    name: str
    place: str
    hostility: Hostility = honest
    script: Script | None = None
    is_shown: bool = True
    instead: Mapping[str, Callable[[Item], bytes]] = {}
    hidden: frozenset[str] = frozenset()
    reason: str = ""
    sees: str = "12"
    told: tuple[Step, ...] = ()
    told_cold: tuple[Step, ...] = ()
    first_polls: int = 0
    reports: tuple[str, ...] = ()
    maybe: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    stays: Snapshot = {}
    names: tuple[str | None, str | None] = NAMED
    is_heavy: bool = False
    is_foldable: bool = True  # the oracle takes a connection whose status is null for a removed one

    def is_at(self, ask: Ask) -> bool:
        return _AT[self.place](ask)

    @property
    def seen(self) -> list[str]:
        """The witnesses whose change is told meanwhile."""
        return [id_ for page, id_ in zip("12", WITNESSES, strict=True) if page in self.sees]


def _answered(name: str, said: Said, place: str) -> Case:
    def hostility(source: Source, ask: Ask) -> Reply | None:
        if _AT[place](ask):
            return said.make(source.honest(ask).body)
        return _lies_by_id(source, ask) if place in PAGES and not said.is_page else None

    return _at_place(
        Case(name, place, hostility, is_heavy=said.is_heavy),
        said.reason,
        is_page=said.is_page,
        confirms=said.confirms,
    )


def _played(name: str, played: Played, place: str) -> Case:
    case = Case(
        name,
        place,
        _lies_by_id if place in PAGES and not played.is_page else honest,
        script=played.script,
        is_shown=played.is_page,
        is_heavy=played.is_heavy,
    )
    return _at_place(case, played.reason, is_page=played.is_page)


def _at_place(case: Case, reason: str, *, is_page: bool, confirms: bool = False) -> Case:
    """The case with what follows from an answer, or from none, at its place."""
    place = case.place
    if place == "by id":
        target = _TARGET[place]
        gone = (("connection.removed", target, "processing", None),) if confirms else ()
        left = (target,) if confirms else ()
        return msgspec.structs.replace(case, hidden=frozenset({target}), told=gone, left=left)
    if place == "names":
        return msgspec.structs.replace(case, names=NAMED if is_page else (None, None))
    if is_page:
        return case
    return msgspec.structs.replace(case, reason=reason, sees=_SEEN.get(place, ""))


def _listed(name: str, listing: Listing, place: str) -> Case:
    is_taken = place == "first look" and listing.first_look == "taken"
    return Case(
        name,
        place,
        with_lies_by_id(listing),
        reason="" if is_taken else listing.reason,
        sees=listing.sees,
        told=listing.told,
        told_cold=listing.told_cold,
        first_polls=int(is_taken),
        reports=tuple(said for said in listing.reports if place != "first look" or said != _HELD),
        left=listing.left,
    )


def _item(name: str, odd: Odd, place: str) -> Case:
    target = _TARGET[place]
    numbers = target[-2:]
    ids = {C: target, GA: f"gc_{numbers}_a", GB: f"gc_{numbers}_b", M: f"ms_{numbers}"}
    told = tuple((type_, ids.get(id_, id_), was, now) for type_, id_, was, now in odd.told)
    left = tuple(ids.get(id_, id_) for id_ in odd.left)
    drift = ("notifier.drift",) if odd.is_drift else ()
    is_foldable = name != "item, connection.status: null"
    is_other = odd.has_id and odd.told[:1] and odd.told[0][0] == "connection.added"
    if place == "by id":
        if is_other or not odd.has_id:
            told = left = ()
        told = tuple(step for step in told if not step[0].endswith(".removed"))

        def hostility(source: Source, ask: Ask) -> Reply | None:
            return Reply(odd.make(source[target])) if ask.id == target and ask.kind == "connections" else None

        return Case(
            name,
            place,
            hostility,
            hidden=frozenset({target}),
            told=told,
            maybe=drift,
            left=left,
            is_foldable=is_foldable,
        )
    stays = {}
    if is_other and odd.told[0][1] in UNASKABLE:
        stays = {odd.told[0][1]: {id_: now for _, id_, _, now in told}}
    return Case(
        name,
        place,
        honest if odd.has_id else _lies_by_id,
        instead={target: odd.make},
        reason="" if odd.has_id else "no readable id",
        told=told,
        reports=drift,
        left=left,
        stays=stays,
        is_foldable=is_foldable,
    )


def _lies_by_id(_source: Source, ask: Ask) -> Reply | None:
    return GONE if ask.kind == "connections" and ask.id else None


@cache
def every_case() -> dict[str, Case]:
    """All cases by their names; those at the most telling place, a page behind one that is well, come first."""
    cases = sorted(_all(), key=lambda case: PLACES.index(case.place))
    return {f"{case.place}: {case.name}": case for case in cases}


def _all() -> Iterator[Case]:
    for place in PLACES:
        yield from (_answered(name, said, place) for name, said in ANSWERS.items())
        yield from (_played(f"wire, {name}", played, place) for name, played in SCRIPTS.items())
    for name, (make, called) in NAMES.items():
        case = _answered(name, Said(make), "names")
        yield msgspec.structs.replace(case, names=(called, called))
    for name, listing in LISTS.items():
        places = ("page 2",) if listing.first_look == "not given" else ("page 2", "first look")
        yield from (_listed(f"list, {name}", listing, place) for place in places)
    for name, odd in by_hand():
        yield from (_item(f"item, {name}", odd, place) for place in ("page 2", "by id", "first look"))
    for number, (name, odd) in enumerate(every_field()):
        yield _item(f"item, {name}", odd, "page 2")
        yield _item(f"item, {name}", odd, ("by id", "first look")[number % 2])
