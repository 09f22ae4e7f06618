"""``notifier alerts``: what is open, and what waits to open."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from notifier.cli.common import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    load_config,
    open_stores,
    print_json,
    run_async,
    show,
)
from notifier.config import Config
from notifier.core.alerts import Alert, Phase
from notifier.core.events import Names
from notifier.poller.names import name_keys, names_of


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    group = typer.Typer(
        help="See the alerts of rules with `while`.\n\n"
        "An alert is a rule's problem with one entity. It is pending until the rule's time has come, open "
        "until the entity is otherwise, and then closed: its occurrences count for thirty days.",
        no_args_is_help=True,
    )
    group.command("list")(list_)
    app.add_typer(group, name="alerts")


def list_(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    rule: Annotated[str | None, typer.Option(help="Only this rule's.")] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Also those that wait, and those that are closed.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List open alerts, oldest first."""
    loaded = load_config(config)
    alerts, names = run_async(lambda: _read(loaded))
    wanted = sorted(
        (
            alert
            for alert in alerts
            if (everything or alert.phase is Phase.OPEN) and (rule is None or alert.rule == rule)
        ),
        key=lambda alert: (alert.opened_at or alert.since, alert.rule, alert.subject.id),
    )
    if as_json:
        print_json([_entry(alert) for alert in wanted])
    else:
        show([_row(alert, names) for alert in wanted], as_json=False, empty="no alerts")


async def _read(config: Config) -> tuple[list[Alert], Names]:
    async with open_stores(config) as store:
        alerts = list((await store.state.alerts()).values())
        employers = {str(alert.subject.above.get("employer")) for alert in alerts}
        carriers = {str(alert.subject.fields.get("carrier")) for alert in alerts}
        return alerts, names_of(await store.names.get(name_keys(employers, carriers)))


def _entry(alert: Alert) -> dict[str, Any]:
    entry: dict[str, Any] = msgspec.to_builtins(alert)
    subject = entry.pop("subject")
    hidden = {"due", "said", "opened_revision", "quiet", "was", "last", "remind", "past"}
    return {
        **{name: value for name, value in entry.items() if name not in hidden},
        "told": list(alert.told),
        "entity": {"kind": subject["kind"], "id": subject["id"], "status": alert.subject.status},
        "connection": subject["connection"],
    }


def _row(alert: Alert, names: Names) -> dict[str, Any]:
    employer, carrier = alert.subject.above.get("employer"), alert.subject.fields.get("carrier")
    since = alert.since if alert.since_after is not None else f"{alert.since} or before"
    return {
        "rule": alert.rule,
        "phase": alert.phase,
        "since": since,
        "employer": names.employer(employer)[0] or employer,
        "carrier": names.carrier(carrier) or carrier,
        "status": alert.subject.status,
        "entity": alert.subject.id,
        "times": len(alert.times),
        "told": ", ".join(alert.told),
    }
