"""The installed ``notifier`` command as processes of a test, and the proof that none is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.support.servers import wait_until
from tests.support.warm import Warm

NOTIFIER = str(Path(sys.executable).with_name("notifier"))
STOP_WITHIN_S = 10.0
_WARM = Warm()


class Ended(NamedTuple):
    """A command that has ended."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)


def environment(place: Path, **more: str) -> dict[str, str]:
    """A small environment of its own: nothing of the developer's reaches the command.

    ``TMPDIR`` lies in ``place``, so that every process names it somewhere (see :func:`processes_of`).
    """
    (place / "tmp").mkdir(exist_ok=True)
    return {
        "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
        "HOME": str(place),
        "TMPDIR": str(place / "tmp"),
        "NO_COLOR": "1",
        **more,
    }


def run_notifier(place: Path, *args: str, seconds: float = 30.0, **env: str) -> Ended:
    """Run a command to its end."""
    return Ended(*_WARM.run([*args], cwd=place, env=environment(place, **env), seconds=seconds))


def run_installed(place: Path, *args: str, seconds: float = 30.0, **env: str) -> Ended:
    """The same by the installed script, from its first import on."""
    done = subprocess.run(
        [NOTIFIER, *args],
        cwd=place,
        env=environment(place, **env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


class Worker:
    """``notifier run``, its output in files. Ended at the latest by ``kill``; the end of a block kills it."""

    def __init__(self, place: Path, config: Path, *args: str, name: str = "worker", **env: str) -> None:
        self._out, self._err = place / f"{name}.out", place / f"{name}.err"
        with self._out.open("ab") as out, self._err.open("ab") as err:
            self._log_from = err.tell()
            self._process = subprocess.Popen(
                [NOTIFIER, "run", "--config", str(config), "--listen", "127.0.0.1:0", *args],
                cwd=place,
                env=environment(place, **env),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        if self.is_running:
            self.kill()

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    @property
    def out(self) -> str:
        return self._out.read_text()

    @property
    def err(self) -> str:
        """What this process, not an earlier one of its name, wrote to standard error."""
        with self._err.open("rb") as stream:
            stream.seek(self._log_from)
            return stream.read().decode()

    def log(self, event: str = "") -> list[dict[str, Any]]:
        """The whole lines of the log, or those of one event."""
        lines = [json.loads(line) for line in self.err.splitlines(keepends=True) if line.endswith("\n")]
        return [line for line in lines if event in {"", line["event"]}]

    @property
    def address(self) -> str:
        """Where its own HTTP server listens, once it does."""
        wait_until(
            lambda: self.log("worker.started") or not self.is_running, f"it starts: {self.err}", seconds=30
        )
        return str(self.log("worker.started")[0]["listening"])

    def get(self, path: str) -> tuple[int, str]:
        """The status and body of one of its pages."""
        try:
            with urllib.request.urlopen(self.address + path, timeout=5) as answer:  # noqa: S310 - our own worker
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as refusal:
            with refusal:
                return refusal.code, refusal.read().decode()

    def readiness(self) -> dict[str, Any]:
        return json.loads(self.get("/readyz")[1])

    def metric(self, line: str) -> float:
        """The value of a line of /metrics that begins with ``line``; 0 where there is none yet."""
        found = [row for row in self.get("/metrics")[1].splitlines() if row.startswith(line)]
        return sum(float(row.rpartition(" ")[2]) for row in found)

    def until_polled(self, seconds: float = 30.0) -> None:
        """Wait for its first Complete poll."""
        wait_until(lambda: self._polled() or not self.is_running, "a complete poll", seconds)
        assert self.is_running, self.err

    def _polled(self) -> bool:
        return any(line["outcome"] == "complete" for line in self.log("poll.completed"))

    def kill(self) -> None:
        """SIGKILL, and reap."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(STOP_WITHIN_S)

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait(self, seconds: float = STOP_WITHIN_S) -> int:
        return self._process.wait(seconds)

    def stop(self) -> int:
        """SIGTERM; the exit code, which must come in time."""
        self.signal(signal.SIGTERM)
        return self.wait()


def end_processes_of(place: Path) -> None:
    """SIGKILL for what a failed test has left behind in its directory."""
    for pid in processes_of(place):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not processes_of(place), "what was left is ended", seconds=5)


def processes_of(place: Path) -> dict[int, str]:
    """Every process but our own whose command line or environment names ``place``."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes()
            known = command + (entry / "environ").read_bytes()
        except OSError:
            continue
        if f"{place}/".encode() in known:
            found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace")
    return found
