"""Events on a text stream: one JSON object a line, or on a terminal a few words for whoever looks on.

A pipe that nobody reads blocks its writer for as long as it likes. So a thread of its own writes, and what
waits here is only the attempt, up to its deadline; while a write is stuck, no further one begins.
"""

from __future__ import annotations

import asyncio
import errno
import json
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TextIO

from rich.console import Console
from rich.text import Text

from notifier.errors import SinkFault, TemporaryFailure
from notifier.models import Delivery
from notifier.sinks.contract import Attempt, Receipt
from notifier.sinks.values import clean, moment, utc
from notifier.sinks.wording import Told, tell

_STYLES = {"info": "bold", "warning": "bold yellow", "critical": "bold red"}
_SHORT = 70  # what moved, on the line of the title
_LONGEST = 500  # characters of one text on a terminal


class ConsoleSink:
    """Writes to ``stream`` (standard output), flushed after each event."""

    def __init__(self, name: str, *, deadline: timedelta, stream: TextIO | None = None) -> None:
        self.name = name
        self.deadline = deadline
        self._stream = stream or sys.stdout
        self._writing: asyncio.Future[None] | None = None

    async def send(self, delivery: Delivery, attempt: Attempt) -> Receipt:  # noqa: ARG002
        """Write the event, once."""
        stream = self._stream
        if _is_terminal(stream):
            await self._output(lambda: _show(stream, delivery))
        else:
            await self.write(delivery.body)
        return Receipt()

    async def write(self, line: str) -> None:
        """Write a line as it is, once."""
        await self._output(lambda: _write(self._stream, line + "\n"))

    async def _output(self, write: Callable[[], None]) -> None:
        if self._writing is not None and not self._writing.done():
            raise TemporaryFailure(
                "blocked", "nobody reads the console's output; the last line is still waiting"
            )
        self._writing = _in_thread(write)
        try:
            async with asyncio.timeout(self.deadline.total_seconds()):
                await asyncio.shield(self._writing)
        except TimeoutError:
            raise TemporaryFailure("timeout", "nobody reads the console's output") from None
        except (OSError, ValueError) as error:
            raise _fault(error) from None

    async def probe(self) -> str:
        """Whether the stream is open."""
        if self._stream.closed:
            raise _fault(ValueError())
        return "a terminal" if _is_terminal(self._stream) else "one JSON object a line"

    async def close(self) -> None:
        """Nothing: the stream is not ours to close."""


def _in_thread(write: Callable[[], None]) -> asyncio.Future[None]:
    """Run ``write`` in a daemon thread: a stuck one must not hold up other threads' work, nor the exit."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()

    def settle(error: Exception | None) -> None:
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
            future.exception()  # looked at, also when the attempt has given up meanwhile

    def run() -> None:
        error: Exception | None = None
        try:
            write()
        except (OSError, ValueError) as failure:
            error = failure
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, error)

    threading.Thread(target=run, name="console", daemon=True).start()
    return future


def _write(stream: TextIO, text: str) -> None:
    encoding = getattr(stream, "encoding", None) or "utf-8"
    stream.write(text.encode(encoding, "replace").decode(encoding))
    stream.flush()


def _show(stream: TextIO, delivery: Delivery) -> None:
    body = json.loads(delivery.body)
    console = Console(file=stream, soft_wrap=True, highlight=False, markup=False, emoji=False)
    with console.capture() as captured:
        for line in _lines(tell(body), moment(body.get("timestamp")) if isinstance(body, dict) else None):
            console.print(line)
    _write(stream, captured.get())


def _lines(told: Told, at: datetime | None) -> list[Text]:
    """The block for one event: what happened; then, dimmed, what one needs to look it up."""
    clock = at.astimezone(UTC).strftime("%H:%M:%S") if at else "--:--:--"
    is_long = len(told.change or "") > _SHORT
    change = "" if is_long else f"   ({_safe(told.change or '').replace('→', '->')})" if told.change else ""
    first = Text.assemble(
        (f"{clock}  ", "dim"), (_safe(told.title), _STYLES.get(told.severity, "bold")), change
    )
    details = [f"{label} {value}" for label, value in (*told.facts, *told.ids)]
    if told.seen is not None:
        before, after = told.seen
        details.append(f"seen between {utc(before)} and {utc(after)}" if before else f"seen {utc(after)}")
    lines = [first]
    if is_long:
        lines.append(Text(f"          {_safe(told.change or '')}"))
    if told.note:
        lines.append(Text(f"          {_safe(told.note)}"))
    if details:
        lines.append(Text("          " + _safe(" · ".join(details), 4 * _LONGEST), style="dim"))
    return lines


def _safe(text: str, limit: int = _LONGEST) -> str:
    cleaned = clean(text)
    return cleaned if len(cleaned) <= limit else cleaned[: limit - 1] + "…"


def _is_terminal(stream: TextIO) -> bool:
    return not stream.closed and stream.isatty()


def _fault(error: OSError | ValueError) -> SinkFault:
    if isinstance(error, ValueError) or error.errno in {errno.EPIPE, errno.EBADF}:
        return SinkFault("closed", "the console's output is closed: whoever read it has gone")
    return SinkFault("io", f"the console's output cannot be written: {error.strerror or 'unknown'}")
