"""``notifier demo``: the whole thing at work, with nothing to set up."""

from __future__ import annotations

import asyncio
import os
import tempfile
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from notifier import log, worker
from notifier.cli.common import Failed, run_async, say
from notifier.clock import SystemClock
from notifier.config import Config, load
from notifier.sandbox.build import build_world
from notifier.sandbox.server import SandboxServer
from notifier.store.stores import stores

_ALERT_WITHIN_S = 15.0
_LOOK_EVERY_S = 0.2
_INTERRUPTED = 130  # as a shell counts a Ctrl-C
_CONFIG = """\
name: demo
source:
  base_url: {base_url}
  api_key: demo-key
  poll_interval: 1s
store: "embedded:store?ephemeral=ok"
sinks:
  terminal: {{type: console}}
rules:
  - name: group-needs-attention
    when: {{entity: group_connection, to: needs_attention}}
    severity: warning
    notify: [terminal]
  - name: everything-else
    when: {{}}
    notify: [terminal]
  - name: the-notifier-itself
    when: {{type: "notifier.*"}}
    notify: [terminal]
"""


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("demo")(demo)


def demo(
    *,
    forever: Annotated[bool, typer.Option("--forever", help="Go on until Ctrl-C.")] = False,
    seed: Annotated[int, typer.Option(help="Another seed, another story.")] = 1,
) -> None:
    """Show the whole notifier at work: a simulated Clasp account, a real store, alerts on your terminal.

    Needs no account, no Redis and no configuration; leaves nothing behind. Ends by itself after the first
    group connection that needs attention was told.
    """
    log.configure(log.LogLevel.ERROR)
    with tempfile.TemporaryDirectory(prefix="notifier-demo-") as directory:
        was_told = run_async(lambda: _demo(Path(directory), seed, forever=forever))
    if was_told is None:
        say("interrupted; nothing is left behind")
        raise typer.Exit(_INTERRUPTED)
    if not was_told:
        raise Failed(f"no alert within {_ALERT_WITHIN_S:.0f} s: please report this with the output above")
    say("")
    say("That was a real alert, through the real path: poll, diff, one atomic commit, delivery.")
    say("To watch your own account:")
    say("  1. . .venv/bin/activate                (where `make` put the notifier command)")
    say("  2. export CLASP_API_KEY=...            (a sandbox key of Clasp's will do)")
    say("     export NOTIFIER_CONFIG=config/examples/minimal-console.yaml")
    say("  3. notifier check --online             (tries the key, the store and every sink)")
    say("  4. notifier run")
    say("Then add Slack and your webhook: see config/notifier.yaml and docs/configuration.md.")


async def _demo(directory: Path, seed: int, *, forever: bool) -> bool | None:
    """Whether the alert was told; None where the demo was interrupted before."""
    clock = SystemClock()
    world = build_world(seed=seed, clock=clock, connections=8)
    async with SandboxServer(
        world, api_key="demo-key", clock=clock, pace=timedelta(seconds=1.5), scenario="demo"
    ) as server:
        path = directory / "demo.yaml"
        path.write_text(_CONFIG.format(base_url=server.base_url))
        config = load(path, os.environ)
        say(f"A simulated Clasp API with 8 carrier connections runs at {server.base_url}.")
        say("The notifier polls it every second, keeps its state in an embedded store, and tells you here:")
        say("")
        stop = asyncio.Event()
        running = asyncio.create_task(worker.run(config, os.environ, clock, stop=stop))
        watching = asyncio.create_task(_watch(config, clock, stop))
        limit = None if forever else _ALERT_WITHIN_S
        await asyncio.wait({running, watching}, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        if forever:
            await running
        was_told: bool | None = watching.done() and watching.exception() is None and watching.result()
        if not was_told and stop.is_set():  # nobody here has set it: a signal did
            was_told = None
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        stop.set()
        await running
        return was_told


async def _watch(config: Config, clock: SystemClock, stop: asyncio.Event) -> bool:
    """Whether the ledger came to say, before the stop, that a group connection's need was delivered."""
    async with stores(config, os.environ, clock) as store:
        while not stop.is_set():
            needs = {
                event["data"]["id"]
                for event in await store.state.history(newest=100)
                if event["type"].startswith("group_connection.")
                and event["data"].get("to") == "needs_attention"
            }
            told = {attempt["id"] for attempt in await store.lanes.attempts(newest=100)}
            if needs & told:
                return True
            await clock.sleep(_LOOK_EVERY_S)
        return False
