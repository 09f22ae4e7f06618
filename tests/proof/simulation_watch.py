"""What must hold at every instant of a simulation, watched where store and receivers see it.

The watch sees every script as the store runs it, every request as a sink begins it, and every message as a
receiver gets it. It keeps its own account of who may poll, who holds which claim, and when what may be sent
again, and compares. What is wrong is collected; at the end ``oracle`` judges what was told.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import msgspec

from notifier.core.retry import PROBES
from notifier.dispatcher import SUSPECT
from notifier.store.health import FAILING_AFTER
from tests.proof.simulated_world import EPOCH, Machine, World

HOLD_S = 20.0  # a claim: fifteen seconds for the attempt and five to spare
SLACK_S = 6.0  # what slow links and slow clocks may shift a moment by
_EPOCH_US = int(EPOCH.timestamp() * 1_000_000)


class Held(msgspec.Struct):
    """A claim as the store granted it."""

    machine: Machine
    until: float
    delivery: str
    claims: int
    is_sent: bool = False


class Taken(msgspec.Struct):
    """A message that a receiver took, and whether its sender could learn of that in time."""

    at: float
    machine: Machine
    is_answered: bool


class Watch:
    """Collects what is wrong."""

    def __init__(self, world: World, schedules: dict[str, Sequence[timedelta]]) -> None:
        self.world = world
        self.broken: list[str] = []
        self.faults: list[tuple[float, float, str]] = []  # from, to, place ('' for everywhere)
        self.counts: Counter[str] = Counter()
        self.poller = ""  # the place of who committed last
        self.complete_at = 0.0  # when the last Complete poll ended
        self.bodies: dict[str, list[tuple[float, str, bytes]]] = defaultdict(list)  # taken, by sink
        self.shown: dict[str, tuple[int, bytes]] = {}  # by message: version and body
        self.replayed: dict[tuple[str, str], float] = {}
        self.refused: set[tuple[str, str]] = set()  # deliveries that their receiver refused for good
        self._kills: Counter[tuple[str, str]] = Counter()
        self._settles: dict[tuple[str, str], tuple[float, int]] = {}  # the last: when, and ``ends`` before
        self.off: dict[str, float] = {}  # sinks that a person paused, and when
        self._schedules = schedules
        self._trace = hashlib.blake2b(digest_size=8)
        self._leader: tuple[str, str] | None = None
        self._fence = 0
        self._claims: dict[tuple[str, str], Held] = {}
        self.ends: Counter[tuple[str, str]] = Counter()  # of claims in a row that something interrupted
        self._tries: Counter[tuple[str, str]] = Counter()  # answered, and settled as to be tried again
        self._taken: dict[tuple[str, str], list[Taken]] = defaultdict(list)
        self._done: dict[tuple[str, str], float] = {}
        self._not_before: dict[tuple[str, str], float] = {}
        self.asked: dict[tuple[str, str], float] = {}  # until when a receiver wants rest, by what it refused
        self._rests: dict[str, tuple[float, float]] = {}
        self._in_a_row: Counter[str] = Counter()  # settles that failed since the sink's last success
        self._holds: dict[str, tuple[int, float]] = {}  # rounds in which a sink was at fault, and the last

    @property
    def digest(self) -> str:
        return self._trace.hexdigest()

    def say(self, what: str) -> None:
        self.broken.append(f"at {self.world.now:.3f} s: {what}")

    def fault(self, seconds: float, place: str = "", *, kind: str) -> None:
        """Note that something is done to a place, or to all, from now on for so long."""
        self.counts[kind] += 1
        self.faults.append((self.world.now, self.world.now + seconds, place))

    def note(self, *what: object) -> None:
        self._trace.update(repr((round(self.world.now, 6), *what)).encode())

    # --- the store ---

    def asked_store(self, machine: Machine, name: str, args: Sequence[Any], answer: Any) -> None:
        """The store has just run this."""
        self.note(machine.place, name, args, answer)
        if name == "lease":
            holder, _, ttl, *_ = args[1]
            if ttl and answer[0]:
                self._leader = (str(answer[0]), holder)
        elif name == "commit":
            self._committed(machine, args[1], answer)
        elif name == "claim":
            self._claimed(machine, args[0][0].rpartition("lanes:")[2], answer)
        elif name == "settle":
            for (keys, given), one in zip(args, answer, strict=True):
                self._settled(machine, keys[0].rpartition("lanes:")[2], given, one)

    def _committed(self, machine: Machine, args: Sequence[Any], answer: Any) -> None:
        self.counts[answer[0].decode()] += 1
        if answer[0] != b"committed":
            return
        number, holder = int(args[0]), args[1]
        if (str(number), holder) != self._leader:
            self.say(f"{machine.place} committed under lease {number}, which it had lost to {self._leader}")
        if number < self._fence:
            self.say(f"{machine.place} committed under {number} after a successor did under {self._fence}")
        self._fence = max(self._fence, number)
        self.poller = machine.place
        if "complete_at" in args:
            self.complete_at = self.world.now

    def _claimed(self, machine: Machine, sink: str, answer: Any) -> None:
        for key, token, value in answer[3:]:
            before = self._claims.get((sink, key.decode()))
            if before is not None and before.until > self.world.now + SLACK_S:
                self.say(f"{sink}/{key.decode()} was claimed while {before.machine.place} holds it")
            if before is not None and self._was_hit(before.machine, before.until - HOLD_S):
                self.ends[sink, before.delivery] += 1  # who stands still or hears nothing is as good as dead
            head, _, text = value.partition(b"\n")
            id_ = msgspec.json.decode(text)["id"]
            until = (int(token) - _EPOCH_US) / 1e6
            self._claims[sink, key.decode()] = Held(machine, until, id_, int(head.split()[0]))
        if machine.is_dead:  # it asked, and died before it could know
            self.died(machine)

    def _settled(self, machine: Machine, sink: str, args: Sequence[Any], answer: Any) -> None:
        key, verdict, reason = args[0], str(args[2]), args[10]
        if answer != b"settled":
            self.counts["claims lost"] += 1
            return
        held = self._claims.pop((sink, key), None)
        if held is not None and held.machine is not machine:
            self.say(f"{machine.place} settled {sink}/{key}, which {held.machine.place} has claimed since")
        if verdict == "release":
            return
        record = msgspec.json.decode(args[12])
        what = (sink, record["id"])
        if verdict == "dead" and reason == "poison" and self.ends[what] <= SUSPECT:
            self.say(f"{what[1]} is poison at {sink} after {self.ends[what]} interrupted claims")
        if reason != "poison":
            self._settles[what] = (self.world.now, self.ends.pop(what, 0))
            self._kills.pop(what, None)
        now = self.world.now
        # When the attempt ended: a settle may be sent late, by a worker that stood still.
        ended = min(now, (int(args[3]) - _EPOCH_US) / 1e6)
        if verdict == "delivered":
            self._done[what] = now
            if self._in_a_row[sink] >= FAILING_AFTER or sink in self._holds:
                self.waive(sink)
            self._in_a_row[sink] = 0
        elif verdict == "retry":
            schedule = self._schedules[sink]
            planned = schedule[min(record["attempt"], len(schedule)) - 1].total_seconds()
            self._not_before[what] = ended + planned - SLACK_S
            self._tries[what] += 1
            if record["status"] == HTTPStatus.TOO_MANY_REQUESTS and what in self.asked:
                self._rests[sink] = (now + SLACK_S, self.asked[what] - SLACK_S)
            self._in_a_row[sink] += 1
            self._holds.pop(sink, None)
        elif verdict == "hold":
            self._in_a_row[sink] += 1
            rounds, last = self._holds.get(sink, (0, 0.0))
            # Attempts that were under way together are one round.
            self._holds[sink] = (rounds + (ended - last > HOLD_S), ended)  # the last to say so counts
        elif reason != "poison":
            self._holds.pop(sink, None)

    def waive(self, sink: str) -> None:
        """What waits at a sink may be sent: it has recovered, or a person said so."""
        self._holds.pop(sink, None)
        for what in [what for what in self._not_before if sink in {"", what[0]}]:
            del self._not_before[what]

    def died(self, machine: Machine) -> None:
        """A worker ended: whatever it held was interrupted by that."""
        for (sink, key), held in list(self._claims.items()):
            if held.machine is machine:
                self.ends[sink, held.delivery] += 1
                del self._claims[sink, key]

    def set_back(self, store_says: tuple[str, str]) -> None:
        """The store has forgotten its last second."""
        self._leader, self._fence = store_says, 0
        self._done = {what: at for what, at in self._done.items() if at < self.world.now - 2.0}
        self._not_before.clear()
        self._rests.clear()
        self._holds.clear()
        self._claims = {
            at: held for at, held in self._claims.items() if held.until - HOLD_S < self.world.now - 2.0
        }
        self._kills.clear()
        for what, (at, ends) in self._settles.items():
            if at > self.world.now - 2.0:
                self.ends[what] = ends + 1
        self._in_a_row = Counter(dict.fromkeys(self._schedules, FAILING_AFTER))

    # --- sinks ---

    def sending(self, machine: Machine, sink: str, id_: str) -> None:
        """A worker begins to send."""
        now, what = self.world.now, (sink, id_)
        mine = {
            (where, held.delivery): held
            for (where, _), held in self._claims.items()
            if held.machine is machine and held.claims > SUSPECT and held.until > now
        }
        if what in mine:
            mine.pop(what).is_sent = True
            if others := [other for other, held in mine.items() if held.is_sent]:
                self.say(f"{machine.place} sends two suspects at once: {what} and {others}")
        self.note(machine.place, "sends", *what)
        self.counts["attempts"] += 1
        if now < self._not_before.get(what, 0.0):
            self.say(f"{id_} is sent to {sink} {self._not_before[what] - now:.0f} s too early")
        if now > self.off.get(sink, now) + SLACK_S:
            self.say(f"{sink} is paused by a person and is sent {id_}")
        since, until = self._rests.get(sink, (0.0, 0.0))
        if since < now < until:
            self.say(f"{sink} asked for rest until {until:.0f} and is sent {id_}")
        rounds, last = self._holds.get(sink, (0, 0.0))
        if rounds > 1 and last + SLACK_S < now < last + self._probe_gap(rounds):
            self.say(f"{sink} is at fault for the {rounds}th time and is probed after {now - last:.0f} s")

    def _probe_gap(self, rounds: int) -> float:
        return PROBES[min(rounds - 1, len(PROBES)) - 1].total_seconds() - SLACK_S

    def killed(self, sink: str, id_: str) -> None:
        """A worker dies of sending this."""
        self._kills[sink, id_] += 1
        if self._kills[sink, id_] > SUSPECT + 1 and (sink, id_) not in self.replayed:
            self.say(f"{id_} at {sink} is the end of a worker for the {self._kills[sink, id_]}th time")

    def took(self, machine: Machine, sink: str, id_: str, body: bytes, *, is_answered: bool) -> None:
        """A receiver took a message; a second time only where the first left somebody in doubt."""
        what = (sink, id_)
        before = self._taken[what]
        if before and what not in self.replayed:
            self.counts["repeats"] += 1
            if what in self._done:
                self.say(f"{id_} was delivered to {sink}, noted as such, and sent again")
            elif not self._is_in_doubt(before[-1]):
                self.say(f"{id_} was sent to {sink} again, and nothing had happened")
        before.append(Taken(self.world.now, machine, is_answered))
        self.bodies[sink].append((self.world.now, id_, body))
        self.note(machine.place, sink, "took", id_)

    def shows(self, machine: Machine, message: str, version: int, body: bytes) -> None:
        """A message shows this from now on. Who stood still before it sent shows what is past: a limit."""
        before = self.shown.get(message, (0, b""))[0]
        if version >= before or not self._was_hit(machine, self.world.now):
            self.shown[message] = version, body

    def _is_in_doubt(self, taken: Taken) -> bool:
        """Whether the answer was lost, or its sender or what the sender talks to was hit then."""
        return not taken.is_answered or self._was_hit(taken.machine, taken.at)

    def _was_hit(self, machine: Machine, at: float) -> bool:
        """Whether something happened to a machine, or to what it talks to, while it held a claim."""
        end = at + HOLD_S + SLACK_S
        return any(
            since <= end and until >= at - SLACK_S and place in {"", machine.place}
            for since, until, place in self.faults
        )

    def justified(self, sink: str, id_: str, reason: str) -> bool:
        """Whether a dead letter has its reason in what was seen here."""
        if reason == "poison":
            return self.ends[sink, id_] > SUSPECT
        return (sink, id_) in self.refused or self._tries[sink, id_] >= len(self._schedules[sink])
