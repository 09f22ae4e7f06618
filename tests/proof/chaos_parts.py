"""What the chaos run shakes: a store's server that dies and comes back, and replicas of the notifier.

The server is a real one. It writes what it acknowledges before it answers (``appendfsync`` is ``always`` or
``no``: with ``everysec`` a server whose fsync is under way answers before it writes), so that a SIGKILL, after
which the machine lives on, takes nothing back, and the verdict can be exact.
"""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from tests.support.process import STOP_WITHIN_S, Worker
from tests.support.servers import binaries, is_listening, wait_until


class Server:
    """Redis or Valkey, by chance, with an append-only file in ``place``; listens at ``path``."""

    def __init__(self, place: Path, rng: random.Random) -> None:
        found = binaries()
        self.binary = found[rng.choice(sorted(found))]
        self.fsync = rng.choice(("always", "no"))
        self.path = place / "redis.sock"
        self.is_up = False
        self._directory = place / "redis"
        self._directory.mkdir()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        flags = {
            "port": "0",
            "unixsocket": str(self.path),
            "dir": str(self._directory),
            "logfile": str(self._directory / "log"),
            "save": "",
            "appendonly": "yes",
            "appendfsync": self.fsync,
        }
        words = [part for flag, value in flags.items() for part in (f"--{flag}", value)]
        self._process = subprocess.Popen([self.binary, *words], stdout=subprocess.DEVNULL)
        wait_until(lambda: is_listening(self.path), f"{self.binary} listens")
        self.is_up = True

    def kill(self) -> None:
        """SIGKILL."""
        self.is_up = False
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    def stand_still(self) -> None:
        self.is_up = False
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)
        self.is_up = True

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)


class Reading(NamedTuple):
    """What a replica held at a moment."""

    at: float
    rss_mib: float
    descriptors: int


class Replica:
    """``notifier run`` as one of several, started again and again. ``wrong`` says what it did that it must not."""

    def __init__(self, number: int, place: Path, config: Path, env: dict[str, str]) -> None:
        self.name = f"replica-{number}"
        self.state: Literal["up", "still", "ending", "down"] = "down"
        self.wrong: list[str] = []
        self.starts = 0
        self.readings: dict[int, list[Reading]] = {}
        self._place, self._config, self._env = place, config, env
        self._worker: Worker | None = None
        self._has_started = False
        self._end_by = 0.0

    @property
    def worker(self) -> Worker:
        assert self._worker is not None
        return self._worker

    @property
    def has_started(self) -> bool:
        """Whether this process has come so far that it takes signals as its own."""
        if not self._has_started:
            self._has_started = bool(self.worker.log("worker.started"))
        return self._has_started

    def start(self) -> None:
        self.starts += 1
        name = f"{self.name}.{self.starts}"
        self._worker = Worker(self._place, self._config, name=name, **self._env)
        self._has_started = False
        self.state = "up"

    def kill(self) -> None:
        """SIGKILL."""
        self.worker.kill()
        self.state = "down"

    def stand_still(self) -> None:
        self.worker.signal(signal.SIGSTOP)
        self.state = "still"

    def go_on(self) -> None:
        if self.state == "still":
            self.worker.signal(signal.SIGCONT)
            self.state = "up"

    def ask_to_end(self) -> None:
        """SIGTERM; :meth:`has_just_ended` sees to the rest."""
        self.worker.signal(signal.SIGTERM)
        self._end_by = time.monotonic() + STOP_WITHIN_S
        self.state = "ending"

    def has_just_ended(self) -> bool:
        """Whether its process has ended since it was looked at last, and not by :meth:`kill`."""
        if self.state == "down":
            return False
        is_late = self.state == "ending" and time.monotonic() > self._end_by
        if self.worker.is_running and is_late:
            self.wrong.append(f"{self.name} still ran 10 s after SIGTERM: {self._last_words()}")
            self.worker.kill()
        elif self.worker.is_running:
            return False
        elif self.state != "ending" or self.worker.wait() != 0:
            self.wrong.append(
                f"{self.name}, {self.state}, ended with {self.worker.wait()}: {self._last_words()}"
            )
        self.state = "down"
        return True

    def end_at_once(self) -> None:
        if self._worker is not None and self._worker.is_running:
            self._worker.kill()

    def read(self) -> None:
        """Note what the process holds."""
        with suppress(OSError, StopIteration):
            process = Path(f"/proc/{self.worker.pid}")
            lines = (process / "status").read_text().splitlines()
            rss_kib = int(next(line for line in lines if line.startswith("VmRSS:")).split()[1])
            count = len(list((process / "fd").iterdir()))
            reading = Reading(time.monotonic(), rss_kib / 1024, count)
            self.readings.setdefault(self.worker.pid, []).append(reading)

    def versions(self) -> set[str]:
        """What its processes call themselves."""
        lines = [
            line
            for file in self._logs()
            for line in file.read_text().splitlines()
            if "worker.started" in line
        ]
        return {json.loads(line)["version"] for line in lines}

    def defects(self) -> list[str]:
        """Lines of its logs that no fault from outside explains."""
        marks = ("Traceback", "sink.defect", '"level": "error"', '"level":"error"', "Exception ignored")
        return [
            f"{file.name}: {line[:300]}"
            for file in self._logs()
            for line in file.read_text(errors="replace").splitlines()
            if any(mark in line for mark in marks)
        ]

    def _logs(self) -> list[Path]:
        return sorted(self._place.glob(f"{self.name}.*.err"))

    def _last_words(self) -> str:
        return " | ".join(self.worker.err.splitlines()[-4:])[-1500:]


def leaks(replicas: Iterable[Replica]) -> list[str]:
    """Processes that held much more late in their life than early, or very many descriptors."""
    wrong = []
    for replica in replicas:
        for pid, readings in replica.readings.items():
            if (most := max(reading.descriptors for reading in readings)) > MOST_DESCRIPTORS:
                wrong.append(f"{replica.name} ({pid}) had {most} descriptors open")
            settled = [reading for reading in readings if reading.at > readings[0].at + WARM_S]
            if len(settled) >= 6:
                third = len(settled) // 3
                early = sum(reading.rss_mib for reading in settled[:third]) / third
                late = sum(reading.rss_mib for reading in settled[-third:]) / third
                if late > early * 1.5 + 30:
                    wrong.append(f"{replica.name} ({pid}) grew from {early:.0f} to {late:.0f} MiB")
    return wrong


MOST_DESCRIPTORS = 200  # 32 to the store, one for each place at each sink, a few to the source
WARM_S = 20.0
