"""The console: lines for programs, words for people, and a reader that has gone or does not read."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import os
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from notifier.errors import SinkFault, TemporaryFailure
from notifier.models import Delivery
from notifier.sinks.console import ConsoleSink
from notifier.sinks.contract import Attempt, Receipt
from tests.unit.test_sink_slack_message import group_event

ATTEMPT = Attempt(1, datetime(2026, 11, 23, 22, 0, tzinfo=UTC))


def delivery(**changes) -> Delivery:
    return Delivery("evt_1", "group_connection.status_changed", "rule", json.dumps(group_event(**changes)))


def console(stream, deadline=5.0) -> ConsoleSink:
    return ConsoleSink("log", deadline=timedelta(seconds=deadline), stream=stream)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


async def test_a_pipe_gets_the_body_byte_for_byte_on_a_line():
    stream = io.StringIO()
    sink = console(stream)
    assert await sink.send(delivery(), ATTEMPT) == Receipt()
    await sink.send(delivery(), ATTEMPT)
    assert stream.getvalue() == (delivery().body + "\n") * 2


async def test_a_terminal_gets_words():
    stream = Terminal()
    await console(stream).send(delivery(note="Look at it."), ATTEMPT)
    first, note, details = re.sub(r"\x1b\[[\d;]*m", "", stream.getvalue()).splitlines()
    assert first == "22:01:07  Acme Corp · Guardian needs attention   (Processing -> Needs Attention)"
    assert note.strip() == "Look at it."
    for part in ("Group number 00123", "gc_1", "con_1", "2026-11-23 22:00 UTC and 2026-11-23 22:01 UTC"):
        assert part in details


async def test_a_long_report_has_a_line_of_its_own():
    stream = Terminal()
    await console(stream).send(delivery(message="word " * 30), ATTEMPT)
    assert stream.getvalue().splitlines()[1].strip().startswith("word word")


async def test_the_sources_text_cannot_steer_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")  # no styles of ours either
    name = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e[bold red]x[/bold red] :fire:\r\nforged line"
    stream = Terminal()
    await console(stream).send(delivery(carrier={"id": name, "name": name}), ATTEMPT)
    text = stream.getvalue()
    assert len(text.splitlines()) == 2
    assert not any(char in text for char in "\x1b\x07\x9b\u202e\r")
    assert "[bold red]x[/bold red] :fire:" in text


async def test_a_terminal_that_cannot_show_a_character_shows_another():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    stream.isatty = lambda: True
    await console(stream).send(delivery(), ATTEMPT)
    stream.seek(0)
    assert "Acme Corp ? Guardian" in stream.read()


async def test_a_reader_that_has_gone_is_the_sinks_fault():
    read, write = os.pipe()
    os.close(read)
    stream = os.fdopen(write, "w", encoding="utf-8")
    with pytest.raises(SinkFault) as raised:
        await console(stream).send(delivery(), ATTEMPT)
    assert raised.value.reason == "closed"
    with suppress(BrokenPipeError):  # what is left in its buffers can never be written
        stream.close()


async def test_a_closed_stream_is_the_sinks_fault():
    stream = io.StringIO()
    stream.close()
    for attempt in (console(stream).send(delivery(), ATTEMPT), console(stream).probe()):
        with pytest.raises(SinkFault) as raised:
            await attempt
        assert raised.value.reason == "closed"


async def test_a_full_disk_is_the_sinks_fault():
    class Full(io.StringIO):
        def flush(self) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(SinkFault, match="No space left") as raised:
        await console(Full()).send(delivery(), ATTEMPT)
    assert raised.value.reason == "io"


async def test_a_reader_that_does_not_read_costs_only_this_sink_its_deadline():
    read, write = os.pipe()
    os.set_blocking(write, False)
    filled = 0
    try:
        while True:
            filled += os.write(write, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(write, True)
    stream = os.fdopen(write, "w", encoding="utf-8")
    sink = console(stream, deadline=0.2)
    for reason in ("timeout", "blocked"):
        with pytest.raises(TemporaryFailure) as raised:
            await sink.send(delivery(), ATTEMPT)
        assert raised.value.reason == reason
    os.set_blocking(read, False)
    body = (delivery().body + "\n").encode()
    got = b""
    async with asyncio.timeout(10):
        while len(got) < filled + len(body):  # read on: the writer ends by itself
            try:
                got += os.read(read, 65536)
            except BlockingIOError:
                await asyncio.sleep(0)
        while not sink._writing.done():
            await asyncio.sleep(0)
    assert await sink.send(delivery(), ATTEMPT) == Receipt()
    stream.close()
    os.close(read)
