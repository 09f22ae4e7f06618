"""``embedded:DIR``: a real server of our own, on a unix socket, append-only, in DIR.

Started by the first client, adopted by the others, ended by the last one's clean stop; a client that is
killed leaves it running for the next. Three file locks (flock) in DIR say who is there, and the kernel drops
them with their holder, whatever end it meets:

- ``lock`` is held around probing, starting and ending: two workers started at once share one server;
- ``clients`` is held, shared, by every client: who gets it exclusively is the last;
- ``server.lock`` is inherited by the server: while it is held a server runs on these files, even one that
  does not answer, and a second one is never started on them.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import stat
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from notifier.clock import Clock
from notifier.errors import StoreUnavailable, StoreUnfit
from notifier.store import server as servers
from notifier.store.server import Process

MAX_SOCKET_PATH = 100  # bytes; the kernel takes 104 to 108 with the final zero
_LOCK_WAIT_S = 30.0
_START_WAIT_S = 30.0
_LOAD_WAIT_S = 300.0
_END_WAIT_S = 10.0
_FIRST_PAUSE_S, _MAX_PAUSE_S = 0.005, 0.1
_MAX_ROOT = 60  # characters of a TMPDIR in which a socket still fits
_MAX_LOG = 1024 * 1024
_FLEETING = {  # platforms whose disk does not outlive the process, by a variable that they set
    "DYNO": "Heroku",
    "KUBERNETES_SERVICE_HOST": "Kubernetes",
}


class Embedded:
    """One client's hold on the server of a directory. Built by :func:`open_embedded`."""

    def __init__(self, directory: Path, env: Mapping[str, str], clock: Clock) -> None:
        self._dir = directory
        self._env = env
        self._clock = clock
        self._clients = -1
        self._process: Process | None = None
        self.socket = ""

    async def acquire(self) -> None:
        """Find or start the server, and wait until it takes commands."""
        try:
            self._dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            async with self._locked(_LOCK_WAIT_S):
                self._clients = _open(self._dir / "clients")
                fcntl.flock(self._clients, fcntl.LOCK_SH | fcntl.LOCK_NB)
                await self._find_or_start()
        except OSError as error:
            raise StoreUnfit(
                f"the embedded store cannot use {self._dir}: {error.strerror or error}. It needs a directory "
                "that can be written to and locked; choose another, or set `store` to a redis:// URL"
            ) from error
        await self._until_loaded()

    async def release(self) -> None:
        """Let go; the last client ends the server."""
        if self._clients < 0:
            return
        clients, self._clients = self._clients, -1
        try:
            with suppress(StoreUnavailable, OSError):  # then it is left running: the next one adopts it
                async with self._locked(_END_WAIT_S):
                    if _try_lock(clients):
                        await self._end()
        finally:
            os.close(clients)

    # --- under DIR/lock ---

    @asynccontextmanager
    async def _locked(self, patience_s: float) -> AsyncIterator[None]:
        descriptor = _open(self._dir / "lock")
        try:
            async for _ in self._ticks(patience_s):
                if _try_lock(descriptor):
                    break
            else:
                raise StoreUnavailable(f"another process has held {self._dir}/lock for {patience_s:g} s")
            yield
        finally:
            os.close(descriptor)

    async def _find_or_start(self) -> None:
        descriptor = _open(self._dir / "server.lock")
        try:
            async for _ in self._ticks(_START_WAIT_S):
                if _try_lock(descriptor):
                    await self._start(descriptor)
                    return
                if await self._adopt():
                    return
        finally:
            os.close(descriptor)
        raise StoreUnavailable(
            f"the embedded server in {self._dir}{self._pid()} does not answer; end it first"
        )

    async def _adopt(self) -> bool:
        socket = self._recorded_socket()
        answer = await servers.ask(socket, "CONFIG GET dir")
        if answer is None:
            return False
        claimed = answer.rstrip(b"\r\n").rpartition(b"\n")[2]
        if not self._is_here(os.fsdecode(claimed)):
            raise StoreUnfit(f"the server behind {socket} works on another directory than {self._dir}")
        self.socket = socket
        return True

    def _is_here(self, place: str) -> bool:
        try:
            return self._dir.samefile(place)
        except (OSError, ValueError):
            return False

    async def _start(self, lock: int) -> None:
        binary = servers.find_binary(self._env)
        self._clear()
        self.socket = self._new_socket()
        log = self._dir / "server.log"
        if log.exists() and log.stat().st_size > _MAX_LOG:
            log.unlink()
        self._process = await asyncio.to_thread(
            servers.start, binary, self._dir, self.socket, self._env, lock
        )
        async for _ in self._ticks(_START_WAIT_S):
            if await servers.ask(self.socket, "PING") is not None:
                return
            if self._process.has_ended:
                raise self._failed()
        raise StoreUnavailable(f"the embedded server in {self._dir} does not answer; see {log}")

    async def _end(self) -> None:
        if not self.socket:  # it never answered us
            return
        await servers.ask(self.socket, "SHUTDOWN")
        async for _ in self._ticks(_END_WAIT_S):
            descriptor = _open(self._dir / "server.lock")
            try:
                if _try_lock(descriptor):
                    self._clear()
                    return
            finally:
                os.close(descriptor)

    # --- without it ---

    async def _until_loaded(self) -> None:
        """A server that reads its file answers, but takes no commands yet."""
        async for _ in self._ticks(_LOAD_WAIT_S):
            answer = await servers.ask(self.socket, "PING")
            if answer is not None and answer.startswith(b"+PONG"):
                return
            if answer is None and not self._is_running():
                raise self._failed()
        raise StoreUnavailable(
            f"the embedded server in {self._dir} is still loading after {_LOAD_WAIT_S:g} s"
        )

    def _is_running(self) -> bool:
        descriptor = _open(self._dir / "server.lock")
        try:
            return not _try_lock(descriptor)
        finally:
            os.close(descriptor)

    def _failed(self) -> StoreUnfit:
        said = servers.last_lines(self._dir / "server.log", self._process.said if self._process else "")
        return StoreUnfit(
            f"the embedded server in {self._dir} stopped while starting. Its last words:\n{said}\n"
            "If its append-only file is damaged: restore a copy of the directory, repair it with "
            "`valkey-check-aof --fix` (or redis-check-aof), or move it away (a new baseline follows, and "
            "what was not yet delivered is lost). If the disk is full: make room and start again."
        )

    async def _ticks(self, patience_s: float) -> AsyncIterator[None]:
        """Turns, further and further apart, until the patience ends."""
        pause_s, end = _FIRST_PAUSE_S, self._clock.monotonic() + patience_s
        while True:
            yield
            if self._clock.monotonic() >= end:
                return
            await self._clock.sleep(pause_s)
            pause_s = min(_MAX_PAUSE_S, 1.5 * pause_s)

    # --- the socket's place ---

    def _new_socket(self) -> str:
        """In DIR, or, where that would be too long for a socket, in a new private directory."""
        socket = self._dir / "server.sock"
        if len(os.fsencode(socket)) <= MAX_SOCKET_PATH:
            return str(socket)
        root = tempfile.gettempdir()
        private = tempfile.mkdtemp(prefix="notifier-", dir=root if len(root) < _MAX_ROOT else "/tmp")  # noqa: S108
        (self._dir / "server.socket").write_text(private, encoding="utf-8")
        return str(Path(private) / "server.sock")

    def _recorded_socket(self) -> str:
        private = self._private_directory()
        return str((private or self._dir) / "server.sock")

    def _private_directory(self) -> Path | None:
        """Where the socket lies if not in DIR. It must be ours alone: its place is open to others."""
        try:
            path = Path((self._dir / "server.socket").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        try:
            found = path.lstat()
        except FileNotFoundError:
            return path
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise StoreUnfit(f"{path} is not a private directory of ours; remove {self._dir}/server.socket")
        return path

    def _clear(self) -> None:
        """Remove what a server that no longer runs has left. Only under both locks."""
        private = self._private_directory()
        if private:
            (private / "server.sock").unlink(missing_ok=True)
            with suppress(OSError):
                private.rmdir()
        for name in ("server.sock", "server.socket", "server.pid"):
            (self._dir / name).unlink(missing_ok=True)

    def _pid(self) -> str:
        with suppress(OSError):
            return f" (process {(self._dir / 'server.pid').read_text(encoding='utf-8').strip()})"
        return ""


@asynccontextmanager
async def open_embedded(
    directory: Path, *, ephemeral_ok: bool, env: Mapping[str, str], clock: Clock
) -> AsyncIterator[str]:
    """Hold the server of ``directory`` and yield the path of its socket.

    Raises ``StoreUnfit`` where it cannot be had, with what to do.
    """
    if not ephemeral_ok:
        for variable, platform in _FLEETING.items():
            if variable in env:
                raise StoreUnfit(
                    f"the embedded store would lie on a disk that does not outlive this process ({platform}: "
                    f"{variable} is set). Set `store` to a redis:// URL, or, where {directory} is a volume "
                    "that lasts or losing it is fine, add ?ephemeral=ok"
                )
    held = Embedded(Path.cwd() / directory, env, clock)
    try:
        await held.acquire()
        yield held.socket
    finally:
        await held.release()


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
