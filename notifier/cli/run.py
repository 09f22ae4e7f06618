"""``notifier run``: the worker."""

from __future__ import annotations

import os
from typing import Annotated

import structlog
import typer

from notifier import log, worker
from notifier.cli.common import DEFAULT_CONFIG, ConfigOption, run_async
from notifier.clock import SystemClock
from notifier.config import ConfigFile, HttpConfig, parse_listen, warnings
from notifier.errors import ConfigError
from notifier.log import LogLevel

_log = structlog.get_logger()


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("run")(run)


def run(
    config: ConfigOption = DEFAULT_CONFIG,
    listen: Annotated[
        str | None, typer.Option(help="Serve /healthz, /readyz and /metrics here, e.g. 127.0.0.1:9464.")
    ] = None,
    log_level: Annotated[LogLevel, typer.Option(help="What is logged at least.")] = LogLevel.INFO,
) -> None:
    """Poll Clasp, and deliver what changed, until stopped.

    Start as many as you like with one configuration and one Redis: one of them polls, all of them deliver,
    and another takes over within seconds when the one that polls goes away. Stops cleanly within ten
    seconds on SIGTERM or Ctrl-C. The log goes to standard error, one line a poll and one a delivery attempt;
    console sinks write to standard output.
    """
    file = ConfigFile(config, os.environ)
    loaded = file.read()
    if listen is not None:
        loaded = loaded.model_copy(update={"http": _http(listen)})
    log.configure(log_level)
    for warning in warnings(loaded):
        _log.warning("config.warning", warning=warning)
    run_async(lambda: worker.run(loaded, os.environ, SystemClock(), file=file))


def _http(listen: str) -> HttpConfig:
    try:
        parse_listen(listen)  # for its words; the model's error would speak of the file
        return HttpConfig.model_validate({"listen": listen})
    except ValueError as error:
        raise ConfigError(f"--listen: {error}") from None
