"""Secrets and EINs as canaries: planted, taken through everything, and searched for in all that came out.

What came out of an act: output and log with every logger at DEBUG, the pages of the worker's own server,
what receivers, Slack and the monitor were sent but for the header or path that must hold it, every key and
value in Redis, what is packed in ``state``, the append-only file, and the command lines of the processes.
Each canary is searched for as it is, percent-encoded, in base64, in hexadecimal, as JSON and Python write
it, and by its first and last twelve characters.
"""

from __future__ import annotations

import base64
import json
import random
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import redis as sync_redis

from notifier.core import codec
from notifier.core.codec import Words
from notifier.store.keys import Keys
from tests.proof.bombs import in_child
from tests.proof.canary_acts import STUCK, Act, acts
from tests.proof.canary_world import Secrets, World, configuration, environment
from tests.proof.tally import Proof, Tally, Verdict
from tests.support.process import Worker, end_processes_of, processes_of
from tests.support.servers import binaries, running_server, wait_until

PART = 12
_MEMORY = 2**30
_CPU_S = 60
#: Canaries that are searched for whole, and in digits: they are short.
_SHORT = {"employer EIN", "phone", "broker EIN", "broker EIN, later"}


def forms(name: str, value: str) -> set[bytes]:
    """What a canary may look like."""
    found = {value, json.dumps(value)[1:-1], repr(value)[1:-1], quote(value, safe=""), quote(value)}
    found |= {"".join(f"%{byte:02X}" for byte in value.encode()), value.encode().hex(), value[::-1]}
    found |= {value.replace("/", "\\/"), json.dumps(json.dumps(value))[3:-3]}
    for shift in range(3):
        packed = base64.b64encode(b"\0" * shift + value.encode()).decode()
        found.add(packed[4 if shift else 0 : len(packed) - 4])
    if name in _SHORT:
        found.add("".join(char for char in value if char.isdigit()))
    else:
        found |= {value[:PART], value[-PART:]}
    return {form.encode() for form in found}


def canaries(secrets: Secrets) -> dict[str, set[bytes]]:
    """Every canary's forms, by name."""
    known = secrets.values | {"broker EIN": secrets.ein(), "broker EIN, later": secrets.ein(1)}
    return {name: forms(name, value) for name, value in known.items()}


def search(places: Mapping[str, bytes], wanted: Mapping[str, set[bytes]]) -> tuple[int, list[str]]:
    """How many searches were made, and every find: the place, the canary, and what stands around it."""
    searches, found = 0, []
    for place, data in places.items():
        for name, spellings in wanted.items():
            searches += len(spellings)
            hit = next((at for form in spellings if (at := _where(form, data)) >= 0), -1)
            if hit >= 0:
                found.append(f"{name} in {place}: ...{data[max(0, hit - 60) : hit + 40]!r}")
    return searches, found


def _where(form: bytes, data: bytes) -> int:
    """Where the form stands; one of digits stands alone, or every long number might hold it."""
    if not form.isdigit():
        return data.find(form)
    found = re.search(rb"(?<![0-9])" + form + rb"(?![0-9])", data)
    return found.start() if found else -1


class Trip:
    """One world, one store, one directory; acts are taken through them."""

    def __init__(self, world: World, socket: str, place: Path) -> None:
        self.world = world
        self.place = place
        self.secrets = world.secrets
        self.socket = socket
        self.store = f"unix://:{quote(self.secrets['store password'], safe='')}@{socket}"
        self.env = environment(world, place)
        self.wanted = canaries(self.secrets)
        self.ein_was_asked_for = False
        self._redis = sync_redis.Redis(unix_socket_path=socket, password=self.secrets["store password"])

    def take(self, act: Act) -> tuple[int, Verdict]:
        """Go through an act, and search what came out of it."""
        path = self.place / "notifier.yaml"
        path.write_text(act.config(self.world, self.store))
        self.world.moods, self.world.sent = dict(act.moods), {}
        self.ein_was_asked_for |= act.asks_for_ein
        ended = in_child(lambda _place: act.go(path, self.env), memory=_MEMORY, cpu_s=_CPU_S)
        sent = {who: "\n".join(said).encode() for who, said in self.world.sent.items()}
        searches, found = self.look({"output": ended.said.encode(), **sent}, asks=act.asks_for_ein)
        if ended.code < 0:
            found.append(f"the act was killed ({ended.code})")
        if STUCK in ended.said:
            found.append(f"{STUCK}: {ended.said[ended.said.index(STUCK) :][:4000]}")
        if not ended.said:
            found.append("the act said nothing: it was not made")
        return searches, Verdict(broken=found)

    def look(self, places: Mapping[str, bytes], *, asks: bool = False) -> tuple[int, list[str]]:
        """Search places; the broker's EIN may be where the one sink that asks for it has it from."""
        mine = {name: where for name, where in self.wanted.items() if not name.startswith("broker EIN")}
        eins = {name: where for name, where in self.wanted.items() if name.startswith("broker EIN")}
        searches, found = search(places, mine)
        strict = {name: data for name, data in places.items() if not (asks and name == "ein")}
        if self.ein_was_asked_for:
            strict.pop("store", None)  # history and what was owed keep it, as documented
            strict.pop("files", None)
        more, leaks = search(strict, eins)
        return searches + more, found + leaks

    def look_at_store(self) -> tuple[int, Verdict]:
        """Search Redis, as keys and values, unpacked, and as files."""
        values = b"\n".join(_everything(self._redis))
        files = [path.read_bytes() for path in Path(self.socket).parent.rglob("*") if path.is_file()]
        state = "\n".join(repr(one) for one in _states(self._redis)).encode()
        searches, found = self.look({"store": values, "state": state, "files": b"\n".join(files)})
        if len(values) < 2000 or not state or not files:
            found.append("there is next to nothing in the store: the acts were not made")
        return searches, Verdict(broken=found)

    def real_process(self) -> tuple[int, Verdict]:
        """``notifier run`` itself, stopped and killed; also its command lines."""
        path = self.place / "notifier.yaml"
        path.write_text(configuration(self.world, self.store).replace("timeout: 2s", "poll_interval: 1s"))
        self.world.moods, self.world.sent = {}, {}
        said, lines = [], []
        for end in (Worker.stop, Worker.kill):
            with Worker(self.place, path, "--log-level", "debug", **self.env) as running:
                running.until_polled()
                said += [running.get(page)[1] for page in ("/readyz", "/metrics", "/healthz", "/")]
                lines += processes_of(self.place).values()
                end(running)
                said += [running.out, running.err]
        wait_until(lambda: not processes_of(self.place), "no process is left")
        sent = {who: "\n".join(said).encode() for who, said in self.world.sent.items()}
        places = {"output": "\n".join(said).encode(), "command lines": "\n".join(lines).encode(), **sent}
        searches, found = self.look(places)
        return searches, Verdict(broken=found)


def _everything(redis: sync_redis.Redis) -> Iterator[bytes]:
    for key in redis.keys("*"):
        yield key
        kind = redis.type(key)
        if kind == b"hash":
            parts: Iterable[object] = redis.hgetall(key).items()
        elif kind == b"stream":
            parts = redis.xrange(key)
        elif kind == b"list":
            parts = redis.lrange(key, 0, -1)
        else:
            parts = redis.zrange(key, 0, -1)
        yield from _flat(parts)


def _flat(parts: object) -> Iterator[bytes]:
    if isinstance(parts, bytes):
        yield parts
    elif isinstance(parts, dict):
        yield from _flat(parts.items())
    elif isinstance(parts, Iterable):
        for part in parts:
            yield from _flat(part)


def _states(redis: sync_redis.Redis) -> list[object]:
    keys = Keys("canaries")
    words = Words(json.loads(redis.hget(keys.meta, "words") or b"[]"))
    return [codec.decode(value, words) for value in redis.hgetall(keys.state).values()]


def run(scale: float, seed: int, say: Callable[[str], None]) -> Tally:
    """Every act, or below scale 1 a choice of them in their order; then the store, and a real process.

    A trial is one search: for one form of one canary in one place.
    """
    secrets, tally = Secrets(seed), Tally()
    everything = list(acts(secrets))
    rng = random.Random(seed)
    must = {0, len(everything) - 2, len(everything) - 1}  # all is well; the EIN is asked for, and no more
    count = max(1, round(len(everything) * scale))
    chosen = must | set(rng.sample(range(len(everything)), count))

    def take(name: str, searches: int, verdict: Verdict) -> None:
        tally.take(verdict, f"canaries {name} (seed {seed})")
        tally.trials += searches - 1

    with tripping(seed) as trip:
        for number in sorted(chosen):
            act = everything[number]
            if act.asks_for_ein:
                take("store", *trip.look_at_store())
            take(act.name, *trip.take(act))
            say(f"{act.name}: {tally.trials:,} searches")
        take("store, at the end", *trip.look_at_store())
        take("a real process", *trip.real_process())
    return tally


@contextmanager
def tripping(seed: int) -> Iterator[Trip]:
    """A trip with everything that it needs; nothing of it is left."""
    secrets, place = Secrets(seed), Path(tempfile.mkdtemp(prefix="ntf-canaries-", dir="/tmp"))
    try:
        with running_server(binaries()["bundled"], "--appendonly", "yes") as socket, World(secrets) as world:
            with sync_redis.Redis(unix_socket_path=socket) as client:
                client.config_set("requirepass", secrets["store password"])
            yield Trip(world, socket, place)
    finally:
        end_processes_of(place)
        shutil.rmtree(place)


PROOF = Proof("canaries", "secrets and EINs, searched for in all that comes out", ("P23",), run)
