"""The ``notifier`` command. One module a group of commands; each only asks, calls and prints."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from typing import Annotated

import typer

from notifier import __version__
from notifier.cli.common import Failed, fail
from notifier.errors import NotifierError

#: Every command and the module that has it, in the order of the help page.
COMMANDS = {
    "run": "run",
    "check": "check",
    "schema": "check",
    "demo": "demo",
    "sandbox": "sandbox",
    "status": "status",
    "history": "inspect",
    "explain": "explain",
    "approve": "inspect",
    "alerts": "alerts",
    "preview": "preview",
    "silence": "silence",
    "digest": "digest",
    "owners": "owners",
    "dead": "dead",
    "replay": "replay",
    "resync": "resync",
    "sinks": "sinks",
    "send-test": "sinks",
}


def whole_app() -> typer.Typer:
    """The command line with every command."""
    return _app(dict.fromkeys(COMMANDS.values()))


def main() -> None:
    """Run the command line; every expected error is a message and an exit code, never a traceback."""
    named = sys.argv[1] if len(sys.argv) > 1 else ""
    app = _app([COMMANDS[named]]) if named in COMMANDS else whole_app()
    try:
        app()
    except (NotifierError, Failed) as error:
        sys.exit(fail(error))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)


def _app(modules: Iterable[str]) -> typer.Typer:
    """The command line with the commands of these modules: no command waits for what only others need."""
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
    app.callback()(_root)
    for module in modules:
        import_module(f"notifier.cli.{module}").add_to(app)
    return app


def _show_version(asked: bool) -> None:  # noqa: FBT001 - typer's signature
    if asked:
        typer.echo(f"notifier {__version__}")
        raise typer.Exit


def _root(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and leave.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    """Options that stand before a command."""
