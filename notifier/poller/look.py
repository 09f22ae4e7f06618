"""What every look at the source needs, and what it finds: shared by the baseline and the cycle."""

from __future__ import annotations

from datetime import timedelta
from typing import Protocol

import msgspec

from notifier.clasp.client import ClaspClient
from notifier.clock import Clock
from notifier.core.absences import Absences
from notifier.core.book import Book
from notifier.core.diff import ChildKey
from notifier.core.removals import Guard, Held
from notifier.core.rules import Router
from notifier.core.view import View
from notifier.poller.counting import Counting
from notifier.poller.names import NameBook
from notifier.poller.roster import Roster
from notifier.poller.traversal import Complete, Partial, Seen
from notifier.store.state import Commit, StateStore

ConnectionChild = tuple[str, ChildKey]  # a child by the id of its connection


class Settings(msgspec.Struct, frozen=True):
    """What of the configuration a poll needs. ``untracked`` names fields that no sink asks for."""

    name: str
    base_url: str
    api_version: str
    interval: timedelta
    guard: Guard
    history: timedelta
    request_budget: int
    untracked: frozenset[str]


class Tools(msgspec.Struct, frozen=True):
    """What a poll works with."""

    source: ClaspClient
    store: StateStore
    names: NameBook
    router: Router
    clock: Clock
    roster: Roster | None = None


class Memory(msgspec.Struct):
    """What a poller keeps between polls; all of it may be lost, which only costs time."""

    view: View
    absent: Absences[str]
    absent_children: Absences[ConnectionChild]
    read_all_s: float = 0.0  # when the whole state was last read, on the monotonic clock
    known_before: int = 0  # connections at our last commit: tells a flushed store from a new one
    book: Book | None = None  # the alerts at the view's version; None: not read yet
    counting: Counting = msgspec.field(default_factory=Counting)  # of the state at the view's version
    digest_at: str = ""  # when to look again whether a digest is due; '': not known yet

    @staticmethod
    def empty(interval: timedelta, version: str = "", known_before: int = 0) -> Memory:
        """Nothing known yet about the state at ``version``."""
        seconds = interval.total_seconds()
        return Memory(View(version), Absences(seconds), Absences(seconds), known_before=known_before)


class Findings(msgspec.Struct, frozen=True):
    """What a look came to.

    ``held`` waits for a person after it. ``baseline`` is (cause, counts) where it finished a baseline.
    ``last`` is what is left to commit, together with the reports. ``has_watched``: it looked after alerts.
    """

    outcome: Complete | Partial
    seen: Seen
    held: Held | None
    baseline: tuple[str, dict[str, int]] | None = None
    last: Commit = Commit()
    has_watched: bool = False


class Look(Protocol):
    """A baseline or a cycle."""

    async def run(self) -> Findings:
        """Look at the source and commit what was found, all but ``Findings.last``."""
        ...

    def remember(self, version: str) -> None:
        """All of it is committed, the last part at ``version``: what was learned may be relied on."""
        ...
