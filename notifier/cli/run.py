"""``notifier run``: the worker."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from notifier import log, worker
from notifier.cli.common import DEFAULT_CONFIG, ConfigOption, err, load_config, run_async
from notifier.clock import SystemClock
from notifier.config import parse_listen, warnings


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("run")(run)


def run(
    config: ConfigOption = DEFAULT_CONFIG,
    listen: Annotated[
        str | None, typer.Option(help="Serve /healthz, /readyz and /metrics here, e.g. 127.0.0.1:9464.")
    ] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Poll Clasp, and deliver what changed, until stopped.

    Start as many as you like with one configuration and one Redis: one of them polls, all of them deliver,
    and another takes over within seconds when the one that polls goes away. Stops cleanly within ten
    seconds on SIGTERM or Ctrl-C. The log goes to standard error, one line a poll and one a delivery attempt;
    console sinks write to standard output.
    """
    loaded = load_config(config)
    log.configure(log_level)
    if listen is not None:
        loaded = loaded.model_copy(update={"http": parse_listen(listen)})
    for warning in warnings(loaded):
        err.print(f"warning: {warning}", markup=False)
    run_async(lambda: worker.run(loaded, os.environ, SystemClock()))
