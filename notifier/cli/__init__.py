"""The ``notifier`` command. One module a group of commands; each only asks, calls and prints."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from notifier import __version__
from notifier.cli import (
    alerts,
    check,
    dead,
    demo,
    digest,
    inspect,
    owners,
    preview,
    run,
    sandbox,
    silence,
    sinks,
)
from notifier.cli.common import Failed, fail
from notifier.errors import NotifierError

app = typer.Typer(
    name="notifier",
    help="Watches Clasp carrier connections and tells Slack and your webhooks what changed.\n\n"
    "Start with `notifier demo`, which needs nothing. Then write a configuration, try it with "
    "`notifier check --online`, and start `notifier run`.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:  # noqa: FBT001 - typer's signature
    if asked:
        typer.echo(f"notifier {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and leave.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    """Options that stand before a command."""


run.add_to(app)
check.add_to(app)
demo.add_to(app)
sandbox.add_to(app)
inspect.add_to(app)
alerts.add_to(app)
preview.add_to(app)
silence.add_to(app)
digest.add_to(app)
owners.add_to(app)
dead.add_to(app)
sinks.add_to(app)


def main() -> None:
    """Run the command line; every expected error is a message and an exit code, never a traceback."""
    try:
        app()
    except (NotifierError, Failed) as error:
        sys.exit(fail(error))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
