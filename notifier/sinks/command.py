"""A program of yours for each event: the event's JSON on its standard input, its exit code the answer.

No shell: the program and its arguments are a list. It runs with an environment of its own, so that no secret
of ours reaches it, and in a process group of its own, which ends with the attempt. What it prints is not
kept, but for the last line of its standard error where it fails.
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
from typing import Annotated, Literal

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
_LAST_WORDS_S = 0.2  # after its end, for what it said; something that it left behind may keep the pipe open


class CommandSettings(LiveSettings):
    """A program that is run once for each event."""

    type: Literal["command"]
    """The kind of sink."""

    command: Annotated[tuple[Text, ...], Field(min_length=1, max_length=100)]
    """The program and its arguments. No shell reads them."""

    environment: dict[Text, Annotated[SecretStr, secret_from(text)]] = Field(default_factory=dict)
    """Variables that the program gets beside PATH, HOME and the locale."""


class CommandSink:
    """Runs ``command``, whose program is looked for in PATH and from ``directory`` on."""

    def __init__(
        self,
        name: str,
        *,
        command: Sequence[str],
        directory: str,
        environment: Mapping[str, str],
        deadline: timedelta,
    ) -> None:
        self.name = name
        self.deadline = deadline
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
        try:
            async with asyncio.timeout(self.deadline.total_seconds()):
                code, said = await self._run(delivery.body.encode() + b"\n", environment)
        except TimeoutError:
            raise TemporaryFailure(
                "timeout", f"{self._command[0]} did not end within {self.deadline.total_seconds():g} s"
            ) from None
        if code == 0:
            return Receipt()
        raise self._failure(code, said)

    async def probe(self) -> str:
        """Whether the program is there and may be run; it is not."""
        program = self._command[0]
        own = str(Path(self._directory) / program)
        if not any(shutil.which(one, path=self._environment.get("PATH")) for one in (program, own)):
            raise SinkFault("not_found", f"{self._command[0]} is no program that can be run; correct command")
        return f"{self._command[0]} is there; it was not run"

    async def close(self) -> None:
        """Nothing: each program ends with its attempt."""

    async def _run(self, event: bytes, environment: Mapping[str, str]) -> tuple[int, bytearray]:
        """The exit code, and the end of what it said.

        None of the pipes is asyncio's own, which would wait for all who hold them, and not for the program.
        """
        with TemporaryFile() as given:
            given.write(event)
            given.seek(0)
            async with _listening() as (pipe, said):
                process = await self._start(given.fileno(), pipe, environment)
                try:
                    return await process.wait(), said
                finally:
                    with suppress(ProcessLookupError, PermissionError):
                        os.killpg(process.pid, signal.SIGKILL)  # also what it left running
                    await process.wait()

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
        await asyncio.wait({reader}, timeout=_LAST_WORDS_S)
        reader.cancel()
        transport.close()


def _build(name: str, config: CommandSettings, place: Place) -> CommandSink:
    return CommandSink(
        name,
        command=config.command,
        directory=str(place.directory),
        environment={key: value.get_secret_value() for key, value in config.environment.items()},
        deadline=config.timeout,
    )


SINK = SinkKind(CommandSettings, _build)
