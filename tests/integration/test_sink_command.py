"""A program for each event: what it gets, and what its end amounts to."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest

from notifier.errors import DeliveryError, PermanentFailure, SinkFault, TemporaryFailure
from notifier.sinks.command import CommandSink
from notifier.sinks.contract import Attempt, Receipt
from notifier.testing import AT, event


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Send one event to a Python program."""
    monkeypatch.setenv("CLASP_API_KEY", "hush")

    async def run(program: str, *args: str, timeout_s: float = 20.0, **environment: str):
        (tmp_path / "program.py").write_text(program)
        sink = CommandSink(
            "mine",
            command=[sys.executable, "program.py", *args],
            directory=str(tmp_path),
            environment=environment,
            deadline=timedelta(seconds=timeout_s),
        )
        try:
            return await sink.send(event(), Attempt(3, AT))
        except DeliveryError as error:
            return error

    return run


async def test_it_gets_the_event_its_arguments_and_an_environment_of_its_own(run, tmp_path):
    program = """
import json, os, sys
json.dump([sys.stdin.read(), sys.argv[1:], dict(os.environ)], open("got", "w"))
print("this goes nowhere")
"""
    assert await run(program, "$HOME; rm -rf /", "b c", TOKEN="mine") == Receipt()
    said, arguments, environment = json.loads((tmp_path / "got").read_text())
    assert said == event().body + "\n"
    assert arguments == ["$HOME; rm -rf /", "b c"], "no shell reads them"
    assert "CLASP_API_KEY" not in environment
    assert environment["TOKEN"] == "mine"
    told = [environment[f"NOTIFIER_{name}"] for name in ("ID", "TYPE", "ATTEMPT")]
    assert told == ["evt_1", "group_connection.status_changed", "3"]


@pytest.mark.parametrize(
    ("end", "kind", "reason"),
    [
        ("sys.exit(1)", TemporaryFailure, "exit_1"),
        ("sys.exit(75)", TemporaryFailure, "exit_75"),
        ("sys.exit(65)", PermanentFailure, "exit_65"),
        ("sys.exit(78)", SinkFault, "exit_78"),
        ("sys.exit(127)", SinkFault, "exit_127"),
        ("os.kill(os.getpid(), 15)", TemporaryFailure, "signal_15"),
    ],
)
async def test_each_end_has_its_class(run, end, kind, reason):
    error = await run(f"import os, sys\nprint('one\\ntwo \\x1b[31m', file=sys.stderr, flush=True)\n{end}")
    assert (type(error), error.reason) == (kind, reason)
    assert str(error).endswith(": two [31m"), "the last line that it said, without what a screen would obey"


async def test_a_program_need_not_read_and_may_say_much(run):
    error = await run("import sys\nsys.stderr.write('x' * 3_000_000 + '\\n' + 'y' * 1000)\nsys.exit(1)")
    assert str(error).endswith("y" * 200)
    assert not str(error).endswith("y" * 201)


async def test_what_does_not_end_is_ended_with_all_that_it_began(run, tmp_path):
    program = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open("child", "w").write(str(child.pid))
time.sleep(600)
"""
    error = await run(program, timeout_s=3.0)
    assert (type(error), error.reason) == (TemporaryFailure, "timeout")
    assert error.may_have_arrived
    await gone(int((tmp_path / "child").read_text()))


async def test_a_program_that_leaves_something_behind_is_done_when_it_ends(run, tmp_path):
    program = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open("child", "w").write(str(child.pid))
"""
    began = time.monotonic()
    assert await run(program) == Receipt()
    assert time.monotonic() - began < 15
    await gone(int((tmp_path / "child").read_text()))


async def gone(pid: int) -> None:
    """Wait until a process is no more, or is what nobody has buried yet."""
    async with asyncio.timeout(10):
        while True:
            try:
                if "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text():
                    return
                os.kill(pid, 0)
            except (ProcessLookupError, FileNotFoundError):
                return
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("program", ["./nowhere", "nowhere-at-all", "/etc/passwd", "/tmp"])
async def test_what_is_no_program_is_the_sinks_fault(tmp_path, program):
    sink = CommandSink(
        "mine", command=[program], directory=str(tmp_path), environment={}, deadline=timedelta(seconds=5)
    )
    for attempt in (sink.send(event(), Attempt(1, AT)), sink.probe()):
        with pytest.raises(SinkFault, match="correct command"):
            await attempt
