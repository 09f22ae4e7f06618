"""Commands as processes that start at once: forked from one that has loaded the notifier already.

Loading it takes most of a second of the machine's time, a hundred times over in all tests. What a process
forked here does is what the installed command does: its own arguments, environment, directory and exit code.
Workers are started as users start them (``process.Worker``).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import traceback
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any


class Warm:
    """The process to fork from, started when it is first needed; it ends with whoever started it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(self, args: list[str], *, cwd: Path, env: dict[str, str], seconds: float) -> tuple[int, str, str]:
        """Exit code, output and error output of a command."""
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.warm"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {"args": args, "cwd": str(cwd), "env": env, "seconds": seconds}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if answer["code"] is None:
            raise subprocess.TimeoutExpired(args, seconds)
        return answer["code"], answer["out"], answer["err"]


def _serve() -> None:
    from notifier.cli import whole_app

    whole_app()  # loads every command
    for line in sys.stdin:
        print(json.dumps(_command(json.loads(line))), flush=True)


def _command(asked: dict[str, Any]) -> dict[str, Any]:
    import signal

    with TemporaryFile() as out, TemporaryFile() as err:
        child = os.fork()
        if child == 0:
            _become(asked, out.fileno(), err.fileno())
        signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
        signal.setitimer(signal.ITIMER_REAL, asked["seconds"])
        _, status = os.waitpid(child, 0)
        is_late = not signal.setitimer(signal.ITIMER_REAL, 0)[0]
        out.seek(0)
        err.seek(0)
        code = None if is_late else os.waitstatus_to_exitcode(status)
        return {"code": code, "out": out.read().decode(), "err": err.read().decode()}


def _become(asked: dict[str, Any], out: int, err: int) -> None:
    """Be the command; never returns."""
    from notifier import cli

    code = 1
    try:
        os.chdir(asked["cwd"])
        os.environ.clear()
        os.environ.update(asked["env"])
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out, 1)
        os.dup2(err, 2)
        sys.argv = ["notifier", *asked["args"]]
        cli.main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:  # noqa: BLE001 - told to whoever asked, as Python itself would
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
