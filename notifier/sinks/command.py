"""A program of yours for each event: the event's JSON on its standard input, its exit code the answer.

No shell: the program and its arguments are a list. It runs with an environment of its own, so that no secret
of ours reaches it, and in a process group of its own, which ends with the attempt, as far as we may end it.
What it prints is not kept, but for the last line of its standard error where it fails.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Annotated, Literal

from pydantic import Field, SecretStr

from notifier.sinks.plugin import (
    Attempt,
    Delivery,
    LiveSettings,
    PermanentFailure,
    Place,
    Receipt,
    SinkFault,
    SinkKind,
    TemporaryFailure,
    Text,
    clean,
    secret_from,
    text,
)

_DATA_ERROR = 65  # EX_DATAERR of sysexits.h: this event it will never take
_UNUSABLE = {
    78: "it says that it is not set up (exit code 78)",
    126: "it cannot be run (126)",
    127: "it is not found (127)",
}
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")
_MOST_SAID = 64 * 1024  # bytes of standard error that are looked at
_SHOWN = 200
_DEATH_S = 1.0  # from SIGKILL on; what runs as another user may not be killed
_LAST_WORDS_S = 0.2  # after its end, for what it said; something that it left behind may keep the pipe open
_AFTER = timedelta(seconds=1.5)  # for both of them, and its start


class CommandSettings(LiveSettings):
    """A program that is run once for each event."""

    type: Literal["command"]
    """The kind of sink."""

    command: Annotated[tuple[Text, ...], Field(min_length=1, max_length=100)]
    """The program and its arguments. No shell reads them."""

    environment: dict[Text, Annotated[SecretStr, secret_from(text)]] = Field(default_factory=dict)
    """Variables that the program gets beside PATH, HOME and the locale."""


class CommandSink:
    """Runs ``command`` in ``directory``; a program whose name holds no slash is looked for in PATH.

    ``limit`` is the program's, ``deadline`` that of an attempt, in which what is late has to be ended too.
    """

    def __init__(
        self,
        name: str,
        *,
        command: Sequence[str],
        directory: str,
        environment: Mapping[str, str],
        limit: timedelta,
    ) -> None:
        self.name = name
        self.deadline = limit + _AFTER
        self._limit_s = limit.total_seconds()
        self._left: list[asyncio.subprocess.Process] = []  # what went on after its time
        self._command = tuple(command)
        self._directory = directory
        self._environment = {key: os.environ[key] for key in _KEPT if key in os.environ} | dict(environment)

    async def send(self, delivery: Delivery, attempt: Attempt) -> Receipt:
        """Run the program, once."""
        environment = self._environment | {
            "NOTIFIER_ID": delivery.id,
            "NOTIFIER_TYPE": delivery.type,
            "NOTIFIER_ATTEMPT": str(attempt.number),
        }
        with _file_of(delivery.body.encode() + b"\n") as given:
            async with _listening() as (pipe, said):
                code = await self._run(given.fileno(), pipe, environment)
        if code == 0:
            return Receipt()
        raise self._failure(code, said)

    async def probe(self) -> str:
        """Whether the program is there and may be run; it is not."""
        program = self._command[0]
        if "/" in program:
            found, where = shutil.which(Path(self._directory) / program), ""
        else:
            found = shutil.which(program, path=self._environment.get("PATH"))
            where = f" in PATH (./{program} is one beside the configuration)"
        if found is None:
            raise SinkFault("not_found", f"{program} is no program that can be run{where}; correct command")
        return f"{program} is there; it was not run"

    async def close(self) -> None:
        """Nothing: each program ends with its attempt."""

    async def _run(self, given: int, pipe: int, environment: Mapping[str, str]) -> int:
        """The exit code.

        None of the pipes is asyncio's own, which would wait for all who hold them, and not for the program.
        """
        self._left = [one for one in self._left if one.returncode is None]
        if self._left:
            raise self._goes_on("of an earlier attempt goes on")
        process = await self._start(given, pipe, environment)
        code = None
        try:
            async with asyncio.timeout(self._limit_s):
                code = await process.wait()
        except TimeoutError:
            pass
        finally:
            is_ended = await _end(process)
        if code is not None:
            return code
        late = f"did not end within {self._limit_s:g} s"
        if is_ended:
            raise TemporaryFailure("timeout", f"{self._command[0]} {late}")
        self._left.append(process)
        raise self._goes_on(f"{late} and goes on")

    async def _start(
        self, given: int, pipe: int, environment: Mapping[str, str]
    ) -> asyncio.subprocess.Process:
        try:
            return await asyncio.create_subprocess_exec(
                *self._command,
                stdin=given,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=pipe,
                cwd=self._directory,
                env=dict(environment),
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "not a program"
            raise SinkFault(
                "not_found", f"{self._command[0]} cannot be run: {why}; correct command"
            ) from None

    def _goes_on(self, what: str) -> SinkFault:
        return SinkFault(
            "not_killed",
            f"{self._command[0]} {what}: we cannot kill it (is it another user's?); have it end in time",
        )

    def _failure(self, code: int, said: bytearray) -> Exception:
        lines = said.decode(errors="replace").strip().splitlines()
        more = f": {clean(lines[-1])[:_SHOWN]}" if lines else ""
        program = self._command[0]
        if code == _DATA_ERROR:
            return PermanentFailure("exit_65", f"{program} refuses this event (exit code 65){more}")
        if code in _UNUSABLE:
            return SinkFault(f"exit_{code}", f"{program}: {_UNUSABLE[code]}{more}")
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return TemporaryFailure(f"signal_{-code}" if code < 0 else f"exit_{code}", f"{program} {how}{more}")


def _file_of(event: bytes) -> IO[bytes]:
    """A file without a name, to be read from its start. Raises ``SinkFault`` where it has no room."""
    try:
        file = TemporaryFile()  # noqa: SIM115 - who asked for it closes it
        try:
            file.write(event)
            file.seek(0)
        except OSError:
            with suppress(OSError):  # which tries to write once more
                file.close()
            raise
    except OSError as error:
        raise SinkFault(
            "no_room", f"no temporary file for the event: {error.strerror}; make room, or set TMPDIR"
        ) from None
    return file


async def _end(process: asyncio.subprocess.Process) -> bool:
    """End it, and what it left running in its group; False where it goes on all the same."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    with suppress(TimeoutError):
        async with asyncio.timeout(_DEATH_S):
            await process.wait()
    return process.returncode is not None


@asynccontextmanager
async def _listening() -> AsyncIterator[tuple[int, bytearray]]:
    """A pipe to write to, and the end of what was written; all of it is read, so nobody is ever stuck."""
    reading, writing = os.pipe()
    said = bytearray()
    stream = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(reading, "rb", 0)
    )

    async def read() -> None:
        while chunk := await stream.read(8192):
            said.extend(chunk)
            del said[:-_MOST_SAID]

    reader = asyncio.create_task(read())
    try:
        yield writing, said
    finally:
        os.close(writing)
        try:
            await asyncio.wait({reader}, timeout=_LAST_WORDS_S)
        finally:
            reader.cancel()
            transport.close()


def _build(name: str, config: CommandSettings, place: Place) -> CommandSink:
    return CommandSink(
        name,
        command=config.command,
        directory=str(place.directory),
        environment={key: value.get_secret_value() for key, value in config.environment.items()},
        limit=config.timeout,
    )


SINK = SinkKind(CommandSettings, _build)
