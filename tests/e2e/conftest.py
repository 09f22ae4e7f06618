"""A directory, an API and a receiver for each test; and no process or file may outlive it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.e2e.stage import Receiver, Stage
from tests.support.process import end_processes_of, processes_of
from tests.support.servers import wait_until


@pytest.fixture
def place() -> Iterator[Path]:
    """A short directory of the test's own. The test fails if one of its processes outlives it."""
    directory = Path(tempfile.mkdtemp(prefix="ntf-e2e-", dir="/tmp"))
    try:
        yield directory
        with suppress(AssertionError):  # an ended process may take a moment to leave the list
            wait_until(lambda: not processes_of(directory), "no process is left", seconds=2)
        assert not processes_of(directory)
        assert not list((directory / "tmp").glob("*")), "something is left in TMPDIR"
    finally:
        end_processes_of(directory)
        shutil.rmtree(directory)


@pytest.fixture
def stage(place: Path) -> Iterator[Stage]:
    """A simulated account of twelve connections, three pages."""
    with Stage() as running:
        yield running


@pytest.fixture
def receiver(stage: Stage) -> Receiver:
    return stage.receiver()
