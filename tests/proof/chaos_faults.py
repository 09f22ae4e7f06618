"""What the chaos run does to everything, and that it ends: each fault is dealt from a deck and undone later."""

from __future__ import annotations

import heapq
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from tests.e2e.stage import Stage
from tests.proof.chaos_parts import Replica, Server
from tests.proof.chaos_receivers import Answer, Receiver
from tests.proof.proxy import Chance, Proxy, never

#: What may happen, and how often beside the others. The first round has one of each.
DECK = {
    "kill a replica": 4,
    "stop a replica past its lease": 4,
    "end a replica": 3,
    "kill the store": 2,
    "stop the store": 2,
    "cut all connections": 2,
    "cut one replica off": 3,
    "a black hole for one replica": 2,
    "lose and double messages of one replica": 3,
    "source": 4,
    "receivers": 3,
}
#: Those after which a replica may leave attempts unsettled, or settle them too late.
UNSETTLING = DECK.keys() - {"source", "receivers"}
SOURCE = (
    ("status", {"status": 500, "times": 3}),
    ("status", {"status": 503, "times": 6, "html": True}),
    ("slow", {"seconds": 0.7, "times": 4}),
    ("drop", {"midway": True, "times": 2}),
    ("truncate", {"times": 1}),
    ("empty", {"times": 1}),
    ("foreign_next", {"times": 1}),
    ("loop_next", {"times": 1}),
    ("throttle", {"times": 1}),
)
SLOW_S, DOWN, CLOSED = 0.6, Answer(503), Answer(401)


class Later:
    """What is to be done, and when."""

    def __init__(self) -> None:
        self._waiting: list[tuple[float, int, Callable[[], Any]]] = []
        self._count = 0

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def after(self, seconds: float, what: Callable[[], Any]) -> None:
        self._count += 1
        heapq.heappush(self._waiting, (time.monotonic() + seconds, self._count, what))

    def do_what_is_due(self) -> None:
        while self._waiting and self._waiting[0][0] <= time.monotonic():
            heapq.heappop(self._waiting)[2]()


class Faults:
    """Deals faults. ``counts`` has those of the deck, and ``source: KIND`` beside them.

    The first of three replicas is neither killed nor ended, so that what it holds can be watched.
    """

    def __init__(
        self,
        rng: random.Random,
        later: Later,
        stage: Stage,
        server: Server,
        replicas: Sequence[Replica],
        proxies: Sequence[Proxy],
        receivers: Sequence[Receiver],
        lease_s: float,
    ) -> None:
        self.counts: Counter[str] = Counter()
        self._rng = rng
        self._later = later
        self._stage = stage
        self._server = server
        self._replicas = replicas
        self._proxies = proxies
        self._receivers = receivers
        self._moods = {receiver.name: receiver.mood for receiver in receivers}
        self._lease_s = lease_s
        self._deck: list[str] = []

    def total(self) -> int:
        return sum(self.counts[kind] for kind in DECK)

    def deal(self) -> bool:
        """Do something terrible. What cannot be done now stays on the deck."""
        if not self._deck:
            once = not self.counts
            self._deck = [kind for kind, count in DECK.items() for _ in range(1 if once else count)]
            self._rng.shuffle(self._deck)
        if not self._hit(self._deck[-1]):
            return False
        self.counts[self._deck.pop()] += 1
        return True

    def _hit(self, kind: str) -> bool:
        """Do it, and see to its end; False where it cannot be done now."""
        match kind:
            case "source":
                self._hurt_source()
            case "receivers":
                self._hurt_receiver(self._rng.choice(self._receivers[:2]))
            case "kill the store" | "stop the store":
                return self._hurt_store(kind)
            case "kill a replica" | "end a replica":
                mortal = self._replicas[1:] if len(self._replicas) > 2 else self._replicas
                return self._hurt_replica(kind, self._rng.choice(mortal))
            case "stop a replica past its lease":
                return self._hurt_replica(kind, self._rng.choice(self._replicas))
            case _:
                self._hurt_network(kind, self._rng.choice(self._proxies))
        return True

    def _hurt_replica(self, kind: str, replica: Replica) -> bool:
        if replica.state != "up" or not replica.has_started:
            return False
        if kind == "kill a replica":
            replica.kill()
            self._later.after(self._rng.uniform(0, 0.5), replica.start)
        elif kind == "end a replica":
            replica.ask_to_end()  # started anew by whoever looks after it
        else:
            replica.stand_still()
            self._later.after(self._lease_s + self._rng.uniform(0.2, 1.5), replica.go_on)
        return True

    def _hurt_store(self, kind: str) -> bool:
        if not self._server.is_up:
            return False
        if kind == "kill the store":
            self._server.kill()
            self._later.after(self._rng.uniform(0.1, 1.0), self._server.start)
        else:
            self._server.stand_still()
            self._later.after(self._rng.uniform(0.1, 1.5), self._server.go_on)
        return True

    def _hurt_network(self, kind: str, proxy: Proxy) -> None:
        seconds = self._rng.uniform(0.2, 2.0)
        if kind == "cut all connections":
            for each in self._proxies:
                self._stage.do(each.cut_all)
        elif kind == "cut one replica off":
            self._stage.do(proxy.refuse)
            self._later.after(seconds, lambda: self._stage.do(lambda: proxy.refuse(on=False)))
        elif kind == "a black hole for one replica":
            self._stage.do(proxy.blackhole)
            self._later.after(seconds, lambda: self._stage.do(lambda: proxy.blackhole(on=False)))
        else:
            proxy.choose = Chance(random.Random(self._rng.random()), one_in=8, most_s=0.5)
            self._later.after(seconds, lambda: setattr(proxy, "choose", never))

    def _hurt_source(self) -> None:
        kind, options = self._rng.choice(SOURCE)
        self.counts[f"source: {kind}"] += 1
        self._stage.fault(kind, **options)

    def _hurt_receiver(self, receiver: Receiver) -> None:
        """It is slow, down, or refuses everybody, for a moment; slow, it refuses for good what it always does."""
        usual = self._moods[receiver.name]
        answer = self._rng.choice((None, DOWN, CLOSED))
        receiver.mood = lambda id_: answer or usual(id_)._replace(delay_s=SLOW_S)
        self._later.after(self._rng.uniform(0.5, 1.5), lambda: setattr(receiver, "mood", usual))
