"""Private real servers for the tests: the bundled valkey-server and, where present, redis-server."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from notifier.store.server import bundled_binary


def binaries() -> dict[str, str]:
    """Every server binary of this machine, by a name for test ids."""
    found = {
        "bundled": bundled_binary(),
        "valkey": shutil.which("valkey-server"),
        "redis": shutil.which("redis-server"),
    }
    return {name: str(path) for name, path in found.items() if path}


@contextmanager
def running_server(binary: str, *flags: str) -> Iterator[str]:
    """The path of the unix socket of a new server with nothing in it, ended at the end of the block."""
    with TemporaryDirectory(prefix="ntf-", dir="/tmp") as directory:
        path = f"{directory}/s"
        process = subprocess.Popen(
            [
                binary,
                "--port",
                "0",
                "--unixsocket",
                path,
                "--dir",
                directory,
                "--save",
                "",
                "--databases",
                "16",
                *flags,
            ],
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            wait_until(lambda: is_listening(path) or process.poll() is not None, f"{binary} listens")
            assert process.poll() is None, f"{binary} ended at once"
            yield path
        finally:
            process.kill()
            process.wait(10)


def is_listening(path: str | Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def wait_until(predicate, description: str, seconds: float = 20.0) -> None:
    """Return when ``predicate()`` holds; fail saying what never happened."""
    end = time.monotonic() + seconds
    while not predicate():
        assert time.monotonic() < end, f"not within {seconds} s: {description}"
        time.sleep(0.005)
