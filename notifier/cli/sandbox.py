"""``notifier sandbox``: the simulated Clasp API alone, to develop against."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Annotated

import typer

from notifier.cli.common import run_async, say
from notifier.clock import SystemClock
from notifier.sandbox.build import build_world
from notifier.sandbox.server import SandboxServer


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("sandbox")(sandbox)


def sandbox(
    *,
    host: Annotated[str, typer.Option(help="Listen here.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8765,
    connections: Annotated[int, typer.Option(min=0, help="How many connections the account has.")] = 25,
    pace: Annotated[
        float, typer.Option(min=0, help="Seconds between transitions; 0: only when asked.")
    ] = 2.0,
    seed: Annotated[int, typer.Option(help="The same seed, the same world.")] = 1,
    api_key: Annotated[str, typer.Option(help="The bearer key that it accepts.")] = "sandbox-key",
) -> None:
    """Serve a simulated Clasp API: connections that live through their life cycle, errors, limits.

    Point `source.base_url` at it. Faults and steps are driven over HTTP, see docs/sandbox.md:

        curl -X POST localhost:8765/_sandbox/faults -d '{"kind": "status", "status": 500, "times": 3}'
    """

    async def go() -> None:
        clock = SystemClock()
        world = build_world(seed=seed, clock=clock, connections=connections)
        gap = timedelta(seconds=pace) if pace else None
        async with SandboxServer(
            world, host=host, port=port, api_key=api_key, pace=gap, clock=clock
        ) as server:
            say(f"simulated Clasp API at {server.base_url}, key {api_key}; Ctrl-C ends it")
            await asyncio.Event().wait()

    run_async(go)
