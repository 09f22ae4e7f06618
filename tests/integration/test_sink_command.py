"""A program for each event: what it gets, and what its end amounts to."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
import time
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from notifier.errors import DeliveryError, PermanentFailure, SinkFault, TemporaryFailure
from notifier.sinks.command import CommandSink
from notifier.sinks.contract import Attempt, Receipt
from notifier.testing import AT, event


def command(directory, *program, limit_s: float = 5.0, **environment: str) -> CommandSink:
    return CommandSink(
        "mine",
        command=program,
        directory=str(directory),
        environment=environment,
        limit=timedelta(seconds=limit_s),
    )


async def end_of(sink: CommandSink) -> str | None:
    """The reason of its failure, if it fails."""
    try:
        await sink.send(event(), Attempt(1, AT))
    except DeliveryError as error:
        return error.reason
    return None


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Send one event to a Python program."""
    monkeypatch.setenv("CLASP_API_KEY", "hush")

    async def run(program: str, *args: str, timeout_s: float = 20.0, **environment: str):
        """What `send` gives or raises, within the deadline that the dispatcher ends it at."""
        (tmp_path / "program.py").write_text(program)
        sink = command(tmp_path, sys.executable, "program.py", *args, limit_s=timeout_s, **environment)
        try:
            async with asyncio.timeout(sink.deadline.total_seconds()):
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


async def test_what_may_not_be_killed_is_the_sinks_fault_and_not_run_beside_itself(tmp_path, monkeypatch):
    running = []

    def refused(group: int, _signal: int) -> None:
        running.append(group)
        raise PermissionError(1, "Operation not permitted")  # sudo, setuid

    kill = os.killpg
    monkeypatch.setattr(os, "killpg", refused)
    (tmp_path / "program.py").write_text("import time; time.sleep(600)")
    one = command(tmp_path, sys.executable, "program.py", limit_s=0.5)
    try:
        for said in ("did not end within 0.5 s and goes on", "of an earlier attempt goes on"):
            async with asyncio.timeout(one.deadline.total_seconds()):
                with pytest.raises(SinkFault, match=f"{said}: we cannot kill it") as caught:
                    await one.send(event(), Attempt(1, AT))
            assert caught.value.reason == "not_killed"
        assert len(running) == 1, "it was run beside itself"
    finally:
        kill(running[0], 9)
    await gone(running[0])
    (tmp_path / "program.py").write_text("")
    async with asyncio.timeout(10):
        while (reason := await end_of(one)) == "not_killed":
            await asyncio.sleep(0.01)
    assert reason is None


DETACHES = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
open("child", "w").write(str(child.pid))
"""


async def test_what_ended_in_time_is_done_though_what_it_detached_may_still_speak(run, tmp_path, monkeypatch):
    monkeypatch.setattr("notifier.sinks.command._LAST_WORDS_S", 2.5)  # past the program's time
    try:
        assert await run(DETACHES, timeout_s=2.0) == Receipt()
    finally:
        os.kill(int((tmp_path / "child").read_text()), 9)


async def test_an_attempt_that_is_cancelled_while_it_listens_leaves_nothing_open(run, tmp_path, monkeypatch):
    cancel = asyncio.Event()

    async def wait(tasks, **_more):
        cancel.set()
        await real(tasks)

    real = asyncio.wait
    before, tasks = set(Path("/dev/fd").iterdir()), asyncio.all_tasks()
    monkeypatch.setattr("notifier.sinks.command.asyncio.wait", wait)
    attempt = asyncio.create_task(run(DETACHES))
    await cancel.wait()
    attempt.cancel()
    with pytest.raises(asyncio.CancelledError):
        await attempt
    os.kill(int((tmp_path / "child").read_text()), 9)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == tasks
    assert set(Path("/dev/fd").iterdir()) == before


@pytest.mark.parametrize("full", ["no directory", "no room"])
async def test_no_room_for_the_event_is_the_sinks_fault(run, tmp_path, monkeypatch, full):
    if full == "no directory":
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    else:
        monkeypatch.setattr("notifier.sinks.command.TemporaryFile", partial(open, "/dev/full", "r+b"))
    error = await run("")
    assert (type(error), error.reason) == (SinkFault, "no_room")
    assert "make room, or set TMPDIR" in str(error)


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
    sink = command(tmp_path, program)
    for attempt in (sink.send(event(), Attempt(1, AT)), sink.probe()):
        with pytest.raises(SinkFault, match="correct command"):
            await attempt


@pytest.mark.parametrize(("program", "is_found"), [("./mine.sh", True), ("mine.sh", False), ("cat", True)])
async def test_what_a_probe_finds_can_be_run(tmp_path, program, is_found):
    """A name without a slash is looked for in PATH only, as a shell does."""
    (tmp_path / "mine.sh").write_text("#!/bin/sh\n")
    (tmp_path / "mine.sh").chmod(0o755)
    sink = command(tmp_path, program)
    if is_found:
        await sink.probe()
        assert await sink.send(event(), Attempt(1, AT)) == Receipt()
        return
    with pytest.raises(SinkFault, match=r"in PATH \(\./mine\.sh is one beside the configuration\)"):
        await sink.probe()
    with pytest.raises(SinkFault, match="correct command"):
        await sink.send(event(), Attempt(1, AT))
