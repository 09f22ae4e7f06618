"""The commands on the store of a rig: as from a shell, in a thread, for they have an event loop of their own."""

from __future__ import annotations

import asyncio
import io
import json
from contextlib import redirect_stderr, redirect_stdout
from typing import Any
from unittest.mock import patch

import pytest
from pydantic import SecretStr

from notifier.cli import main
from tests.support.rig import Rig, VirtualTimeStore


class Shell:
    """Runs commands with a rig's configuration, on the rig's server, at the rig's time."""

    def __init__(self, socket: str) -> None:
        self._store = SecretStr(f"unix://{socket}")

    async def __call__(self, rig: Rig, *args: str, code: int = 0) -> str:
        """What a command says, on both streams."""
        config = rig.config.model_copy(update={"store": self._store})
        said = io.StringIO()
        with (
            patch("notifier.cli.common.load", lambda *_: config),
            patch("notifier.cli.common.SystemClock", lambda: rig.still),
            patch("notifier.store.state.StateStore.sync_time", VirtualTimeStore.sync_time),
            patch("sys.argv", ["notifier", *args]),
            redirect_stdout(said),
            redirect_stderr(said),
        ):
            ended = await asyncio.to_thread(_code)
        assert ended == code, said.getvalue()
        return said.getvalue()

    async def json(self, rig: Rig, *args: str) -> Any:
        """What a command lists."""
        return json.loads(await self(rig, *args, "--json"))


def _code() -> Any:
    try:
        main()
    except SystemExit as ended:
        return ended.code
    return 0


#: In place of all servers: one is enough for what only reads, and it has to be a real one.
ON_A_SERVER = pytest.mark.parametrize("server", ["bundled"], indirect=True)
