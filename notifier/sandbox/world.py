"""The simulated account: connections that live, and a journal of what happened to them. No IO.

Each connection is kept as the JSON text that the API answers, so a page is a join of bytes and an unchanged
connection is never written again. A change reads the text, changes it, writes it and appends the difference
to ``journal``: the journal, folded over the world as it was built, always gives the world as it is.

Connections are listed by an ordinal that never changes; ordinals of removed ones are not used again.
"""

from __future__ import annotations

import base64
import json
import random
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from notifier.clock import Clock
from notifier.sandbox import lifecycle
from notifier.sandbox.journal import Entry, difference
from notifier.sandbox.lifecycle import Json
from notifier.sandbox.names import CARRIERS, employer_record, federal_ein

MAX_JOURNAL = 200_000  # entries; then the older half is forgotten
_RENEWAL = 0.03  # the part of the steps in which a new connection begins
_MAX_GROUPS = 5
_SCAN = 200  # connections looked through for a finished one to remove
_HELD_TRIES = 50


class Slice(NamedTuple):
    """A run of the list: JSON texts, the ordinals of its ends, and whether there is more on either side."""

    items: list[bytes]
    first: int
    last: int
    has_before: bool
    has_after: bool


class World:
    """An account without connections. ``build.build_world`` makes one that looks lived in.

    Everything in it follows from ``seed`` and the calls made; times come from ``clock``. Methods that change
    a connection return the journal entries of the change; KeyError where an id is unknown. With ``follow``
    the connection's own status is brought in line with what is under it (which may be an entry more).
    """

    def __init__(self, *, seed: int, clock: Clock) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.journal: list[Entry] = []
        self.forgotten = 0  # entries before the first one of the journal
        self.size = 0  # steps keep the number of connections near it
        self._clock = clock
        self._json: dict[str, bytes] = {}
        self._ids: list[str] = []
        self._ordinals: list[int] = []  # of _ids, ascending
        self._next_ordinal = 1
        self._employers: dict[str, int] = {}
        self._busy: list[str] = []  # connections that may have a next move; finished ones leave when drawn
        self._busy_ids: set[str] = set()
        self._held: set[str] = set()
        self._carriers = {
            id_: {
                "id": id_,
                "legal_name": legal,
                "trade_name": trade,
                "logo_url": f"https://logos.example/{id_}.png",
            }
            for trade, legal in CARRIERS
            for id_ in [self.new_id("carr")]
        }
        self._carrier_ids = list(self._carriers)

    # -- reading

    def __len__(self) -> int:
        return len(self._ids)

    def __contains__(self, id_: object) -> bool:
        return id_ in self._json

    def ids(self) -> list[str]:
        """The ids of all connections, in the order of the list."""
        return list(self._ids)

    def text(self, id_: str) -> bytes:
        """A connection as JSON."""
        return self._json[id_]

    def connection(self, id_: str) -> Json:
        """A connection as a dict of the caller's own."""
        found: Json = json.loads(self._json[id_])
        return found

    def connections(self) -> Iterator[Json]:
        """Every connection, in the order of the list."""
        return map(self.connection, self.ids())

    def carrier(self, id_: str) -> Json:
        """A carrier as the API answers it."""
        return dict(self._carriers[id_])

    def carrier_ids(self) -> list[str]:
        """The ids of all carriers."""
        return list(self._carrier_ids)

    def employer(self, id_: str) -> Json:
        """An employer as the API answers it."""
        return employer_record(id_, self._employers[id_], self.seed)

    def after(self, ordinal: int, limit: int) -> Slice:
        """At most ``limit`` connections with a higher ordinal, the lowest ones."""
        start = bisect_right(self._ordinals, ordinal)
        return self._slice(start, min(start + limit, len(self._ids)), ordinal)

    def before(self, ordinal: int, limit: int) -> Slice:
        """At most ``limit`` connections with a lower ordinal, the highest ones, ascending."""
        end = bisect_left(self._ordinals, ordinal)
        return self._slice(max(0, end - limit), end, ordinal)

    # -- the life cycle

    def step(self) -> list[Entry]:
        """Let one thing happen: a random legal move, or now and then a new connection for a finished one."""
        found = self._draw()
        if found is None or self.rng.random() < _RENEWAL:
            return self._renew()
        connection, options = found
        [move] = self.rng.choices(options, [option.weight for option in options])
        lifecycle.apply(connection, move, self._clock.now(), self.new_id)
        return self._put(connection)

    def trouble(self) -> tuple[str, str]:
        """Bring a group connection to ``needs_attention`` by legal moves; its connection's id and its own."""
        best: tuple[str, str] | None = None
        for connection in self.connections():
            for group in connection["group_connections"]:
                if group["status"] == "processing":
                    return self._to_trouble(connection["id"], group["id"])
                if group["status"] == "pending" and best is None:
                    best = (connection["id"], group["id"])
        if best is None:
            id_ = self.add_connection()
            best = (id_, self.connection(id_)["group_connections"][0]["id"])
        self.set_group_status(*best, "processing")
        return self._to_trouble(*best)

    def hold(self, id_: str) -> None:
        """Keep :meth:`step` away from a connection until it is released."""
        self._held.add(id_)

    def release(self, id_: str) -> None:
        """Undo :meth:`hold`."""
        self._held.discard(id_)

    def simulate_carriers(self, id_: str) -> list[Entry]:
        """Move every group connection of a connection one step towards completed."""

        def change(connection: Json) -> None:
            for group in connection["group_connections"]:
                onward = lifecycle.GROUP_ONWARD.get(str(group["status"]), group["status"])
                lifecycle.set_group(group, onward, self._clock.now())

        return self.change(id_, change)

    def submit_review(self, id_: str) -> list[Entry]:
        """Complete the ``review_submitted`` milestone of a connection, adding it where it has none."""
        for event in self.connection(id_)["events"]:
            if event["category"] == "review_submitted":
                return self.set_milestone_status(id_, event["id"], "completed")
        return self.add_milestone(id_, "review_submitted", "completed")

    # -- changes by hand

    def change(self, id_: str, change: Callable[[Json], Any], *, follow: bool = True) -> list[Entry]:
        """Change a connection in any way at all: ``change`` gets its dict. Its id must stay."""
        connection = self.connection(id_)
        change(connection)
        if follow:
            lifecycle.follow(connection)
        return self._put(connection)

    def set_status(self, id_: str, status: Any) -> list[Entry]:
        """Give a connection a status; the next change that follows may give it another."""
        return self.change(id_, lambda connection: connection.update(status=status), follow=False)

    def set_group_status(self, id_: str, group_id: str, status: Any, *, follow: bool = True) -> list[Entry]:
        """Give a group connection any status, with the times that go with it."""
        now = self._clock.now()

        def change(connection: Json) -> None:
            lifecycle.set_group(lifecycle.child(connection["group_connections"], group_id), status, now)

        return self.change(id_, change, follow=follow)

    def set_milestone_status(
        self, id_: str, milestone_id: str, status: Any, *, follow: bool = True
    ) -> list[Entry]:
        """Give a milestone any status."""

        def change(connection: Json) -> None:
            milestone = lifecycle.child(connection["events"], milestone_id)
            lifecycle.set_milestone(connection, milestone, status, self.new_id)

        return self.change(id_, change, follow=follow)

    def add_milestone(
        self, id_: str, category: str, status: str = "processing", *, follow: bool = True
    ) -> list[Entry]:
        """Add a milestone; its id is in the entry of its kind."""
        now = self._clock.now()
        return self.change(
            id_,
            lambda connection: lifecycle.begin_milestone(connection, category, status, now, self.new_id),
            follow=follow,
        )

    def add_group(self, id_: str, *, follow: bool = True) -> str:
        """Add a pending group connection; its id."""
        group = self._new_group(id_, self.rng.choice(self._carrier_ids))
        self.change(id_, lambda connection: connection["group_connections"].append(group), follow=follow)
        return str(group["id"])

    def remove_child(self, id_: str, child_id: str, *, follow: bool = True) -> list[Entry]:
        """Take a group connection or a milestone out of a connection."""

        def change(connection: Json) -> None:
            for name in ("group_connections", "events"):
                kept = [item for item in connection[name] if item["id"] != child_id]
                if len(kept) < len(connection[name]):
                    connection[name] = kept
                    return
            raise KeyError(child_id)

        return self.change(id_, change, follow=follow)

    def add_connection(self, *, groups: int | None = None) -> str:
        """Add a connection of a new employer that has only just begun; its id."""
        connection = self.new_connection(groups)
        lifecycle.begin_milestone(
            connection, "initial_connection", "processing", self._clock.now(), self.new_id
        )
        self._put(connection)
        return str(connection["id"])

    def remove_connection(self, id_: str) -> list[Entry]:
        """Take a connection out of the list; its id then answers 404."""
        gone = self.connection(id_)
        index = self._ids.index(id_)
        del self._ids[index], self._ordinals[index], self._json[id_]
        self._held.discard(id_)
        return self._record(list(difference(gone, None, self._clock.now())))

    # -- building

    def new_id(self, prefix: str) -> str:
        """A fresh id: the prefix, ``_`` and 21 characters of 64."""
        return f"{prefix}_{base64.urlsafe_b64encode(self.rng.randbytes(16))[:21].decode()}"

    def new_connection(self, groups: int | None = None) -> Json:
        """A connection of a new employer, without milestones and not yet in the list."""
        id_, employer = self.new_id("conn"), self.new_id("er")
        self.register_employer(employer)
        count = self.rng.randint(1, _MAX_GROUPS) if groups is None else groups
        carriers = self.rng.sample(self._carrier_ids, min(count, len(self._carrier_ids)))
        return {
            "id": id_,
            "broker_url": None,
            "employer": employer,
            "group_connections": [self._new_group(id_, carrier) for carrier in carriers],
            "events": [],
            "status": "pending",
        }

    def register_employer(self, id_: str) -> None:
        """Make an employer known under its id; its record follows from its number."""
        self._employers[id_] = len(self._employers)

    def load(self, id_: str, text: bytes, *, is_busy: bool) -> None:
        """Put a connection into the list that was there before the journal began."""
        self._list(id_)
        self._json[id_] = text
        if is_busy:
            self._busy.append(id_)
            self._busy_ids.add(id_)

    def _new_group(self, connection: str, carrier: str) -> Json:
        has_number, has_broker = self.rng.random() < 0.9, self.rng.random() < 0.85  # noqa: PLR2004
        return {
            "id": self.new_id("gcon"),
            "carrier": carrier,
            "status": "pending",
            "broker_federal_ein": federal_ein(self.rng) if has_broker else None,
            "group_id": f"{self.rng.randrange(10_000_000):08}" if has_number else None,
            "connection": connection,
            "initiated_at": None,
            "completed_at": None,
        }

    # -- inside

    def _slice(self, start: int, end: int, fallback: int) -> Slice:
        ids = self._ids[start:end]
        first, last = (self._ordinals[start], self._ordinals[end - 1]) if ids else (fallback, fallback)
        return Slice([self._json[id_] for id_ in ids], first, last, start > 0, end < len(self._ids))

    def _list(self, id_: str) -> None:
        self._ids.append(id_)
        self._ordinals.append(self._next_ordinal)
        self._next_ordinal += 1

    def _put(self, connection: Json) -> list[Entry]:
        """Keep the new shape of a connection, and write down how it differs from the old one."""
        id_ = connection["id"]
        before = self.connection(id_) if id_ in self._json else None
        if before is None:
            self._list(id_)
        self._json[id_] = dump(connection)
        if id_ not in self._busy_ids and lifecycle.moves(connection):
            self._busy.append(id_)
            self._busy_ids.add(id_)
        return self._record(list(difference(before, connection, self._clock.now())))

    def _record(self, entries: list[Entry]) -> list[Entry]:
        self.journal += entries
        if len(self.journal) > MAX_JOURNAL:
            del self.journal[: MAX_JOURNAL // 2]
            self.forgotten += MAX_JOURNAL // 2
        return entries

    def _draw(self) -> tuple[Json, list[lifecycle.Move]] | None:
        """A random connection that has a next move, with its moves."""
        tries = 0
        while self._busy and tries < _HELD_TRIES:
            index = self.rng.randrange(len(self._busy))
            id_ = self._busy[index]
            if id_ in self._held:
                tries += 1
                continue
            connection = self.connection(id_) if id_ in self._json else None
            options = lifecycle.moves(connection) if connection else []
            if connection and options:
                return connection, options
            self._busy[index] = self._busy[-1]
            self._busy.pop()
            self._busy_ids.discard(id_)
        return None

    def _renew(self) -> list[Entry]:
        """Begin a connection; where there are enough, an old finished one leaves."""
        start = len(self.journal) + self.forgotten
        self.add_connection()
        entries = self.journal[start - self.forgotten :]
        if len(self) > self.size:
            for id_ in self._ids[:_SCAN]:
                if id_ not in self._held and not lifecycle.moves(self.connection(id_)):
                    return entries + self.remove_connection(id_)
        return entries

    def _to_trouble(self, id_: str, group_id: str) -> tuple[str, str]:
        self.set_group_status(id_, group_id, "needs_attention")
        return id_, group_id


def dump(value: Any) -> bytes:
    """JSON as Django REST Framework writes it: compact, not escaped."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
