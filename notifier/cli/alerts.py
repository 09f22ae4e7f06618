"""``notifier alerts``: what is open, who has it, and what waits to open."""

from __future__ import annotations

import getpass
import os
from collections.abc import Callable, Collection
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import typer

from notifier.cli.common import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    counted,
    load_config,
    open_stores,
    print_json,
    run_async,
    say,
    show,
)
from notifier.cli.pulse import doubt, stalled
from notifier.config import Config, parse_duration, parse_target
from notifier.core.alerts import (
    TO_A_PROGRAM,
    UNTIL_IT_CHANGES,
    Alert,
    Phase,
    Taken,
    Taking,
    moment_text,
)
from notifier.core.book import messages_told
from notifier.core.calendars import Calendar
from notifier.core.conditions import calendar_of
from notifier.core.events import Names
from notifier.errors import ConfigError
from notifier.poller.inbox import TAKE

_LONGEST = timedelta(days=90)
_NINE = time(9)
_SHORTEST = 4  # characters of an id after its kind: with fewer one takes what one does not mean
_NAMED = 5  # ids that begin alike
_LONGEST_NAME = 100

IdsArgument = Annotated[
    list[str],
    typer.Argument(
        metavar="ID...",
        help="Alerts (`alert_...`), or messages (`msg_...`) for all that they tell of. The beginning "
        "of an id will do, where no other begins so.",
    ),
]
ByOption = Annotated[str | None, typer.Option(help="Who. By default the name of your account.")]


def add_to(app: typer.Typer) -> None:
    """Register the commands."""
    group = typer.Typer(
        help="See the alerts of rules with `while`, take them, and snooze them.\n\n"
        "An alert is a rule's problem with one entity. It is pending until the rule's time has come, open "
        "until the entity is otherwise, and then closed: its occurrences count for thirty days. Nobody can "
        "close an alert of which Clasp still says that it is so.",
        no_args_is_help=True,
    )
    group.command("list")(list_)
    group.command("ack")(ack)
    group.command("snooze")(snooze)
    app.add_typer(group, name="alerts")


def list_(
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    rule: Annotated[str | None, typer.Option(help="Only this rule's.")] = None,
    free: Annotated[bool, typer.Option("--free", help="Only those that nobody has taken.")] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Also those that wait, and those that are closed.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """List open alerts, oldest first."""
    loaded = load_config(config)
    alerts, names, shown = run_async(lambda: _read(loaded))
    wanted = sorted(
        (
            alert
            for alert in alerts
            if (everything or alert.phase is Phase.OPEN)
            and (rule is None or alert.rule == rule)
            and not (free and alert.taken)
        ),
        key=lambda alert: (alert.opened_at or alert.since, alert.rule, alert.subject.id),
    )
    if as_json:
        print_json([_entry(alert, shown) for alert in wanted])
    else:
        show([_row(alert, names, shown) for alert in wanted], as_json=False, empty="no alerts")


def ack(
    ids: IdsArgument,
    by: ByOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    undo: Annotated[bool, typer.Option("--undo", help="Give them back: nobody has them any more.")] = False,
) -> None:
    """Take alerts: `notifier alerts ack alert_1f... --by Sam`. Everybody sees who has them.

    Reminders go on, and say so.
    """
    loaded = load_config(config)
    who = _name(by)

    def taken(now: datetime, _: Collection[Alert]) -> Taken | None:
        return None if undo else Taken(who, moment_text(now))

    found, why = run_async(lambda: _take(loaded, ids, taken))
    say(f"{counted(len(found), 'alert')} {'given back' if undo else f'taken by {who}'} with the next poll")
    doubt(why)


def snooze(
    ids: IdsArgument,
    until: Annotated[
        str | None,
        typer.Option(
            help="`change`: until something of it moves. `tomorrow`: when people begin to work on the next "
            "day on which they do, by the calendar of its rule; else at nine. Or a date, or a moment "
            "(2026-12-01T09:00).",
        ),
    ] = None,
    for_: Annotated[str | None, typer.Option("--for", help="For how long: `4h`, `7d`; at most 90d.")] = None,
    by: ByOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Take alerts and be reminded later: `notifier alerts snooze alert_1f... --until tomorrow`.

    Then, if it still is as it was, it is said once more, and reminders go on. Its end is told in any case.
    """
    loaded = load_config(config)
    if (until is None) is (for_ is None):
        raise ConfigError("say either --until or --for")
    who = _name(by)

    how = "until it changes"

    def taken(now: datetime, alerts: Collection[Alert]) -> Taken:
        nonlocal how
        if until == UNTIL_IT_CHANGES:
            return Taken(who, moment_text(now), UNTIL_IT_CHANGES)
        calendar = _calendar(loaded, alerts)
        end = snooze_end(until, for_, now, calendar)
        how = f"until {end.astimezone(calendar.zone):%Y-%m-%d %H:%M %Z}"
        return Taken(who, moment_text(now), moment_text(end))

    found, why = run_async(lambda: _take(loaded, ids, taken))
    say(f"{counted(len(found), 'alert')} taken by {who} with the next poll, and snoozed {how}")
    doubt(why)


def _name(by: str | None) -> str:
    name = (getpass.getuser() if by is None else by).strip()
    if not name or not name.isprintable() or len(name) > _LONGEST_NAME:
        raise ConfigError(f"--by: write a name of at most {_LONGEST_NAME} characters, on one line")
    return name


def snooze_end(until: str | None, for_: str | None, now: datetime, calendar: Calendar) -> datetime:
    """When a snooze ends."""
    try:
        end = now + parse_duration(for_) if for_ is not None else _until(str(until), now, calendar)
    except (ValueError, OverflowError) as error:
        what = f"--until {until}" if for_ is None else f"--for {for_}"
        raise ConfigError(f"{what}: {error}") from error
    if not now < end <= now + _LONGEST:
        raise ConfigError(f"{moment_text(end)} is not within the next {_LONGEST.days} days")
    return end


def _until(text: str, now: datetime, calendar: Calendar) -> datetime:
    if text == "tomorrow":
        tomorrow = now.astimezone(calendar.zone).date() + timedelta(days=1)
        opens = calendar.next_open(datetime.combine(tomorrow, time(), calendar.zone))
        if opens is None:
            raise ValueError("the rule's calendar is never open")
        return _morning(opens.astimezone(calendar.zone).date(), calendar)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("write change, tomorrow, 2026-12-01 or 2026-12-01T09:00") from None
    if moment.tzinfo:
        return moment
    is_date = "T" not in text and " " not in text
    return _morning(moment.date(), calendar) if is_date else moment.replace(tzinfo=calendar.zone)


def _morning(day: date, calendar: Calendar) -> datetime:
    """When people begin to work on a day; at nine where the calendar does not say."""
    midnight = datetime.combine(day, time(), calendar.zone)
    opens = (calendar.next_open(midnight) or midnight).astimezone(calendar.zone)
    return opens if midnight < opens and opens.date() == day else datetime.combine(day, _NINE, calendar.zone)


def _calendar(config: Config, alerts: Collection[Alert]) -> Calendar:
    """That of these alerts' rules; else the only one there is; else every day by this machine's zone."""
    rules = {rule.name: rule.calendar for rule in config.rules}
    named = {rules.get(alert.rule) for alert in alerts} - {None}
    names = named or (set(config.calendars) if len(config.calendars) == 1 else set())
    if len(names) == 1:
        return calendar_of(config.calendars[str(names.pop())])
    return Calendar(_zone(), frozenset(range(7)))


def _zone() -> ZoneInfo:
    """This machine's time zone, where it can be read; else UTC."""
    try:
        return ZoneInfo(os.environ["TZ"]) if os.environ.get("TZ") else _zone_of(Path("/etc/localtime"))
    except (OSError, ValueError, ZoneInfoNotFoundError):
        return ZoneInfo("UTC")


def _zone_of(file: Path) -> ZoneInfo:
    with file.open("rb") as data:
        return ZoneInfo.from_file(data)


async def _read(config: Config) -> tuple[list[Alert], Names, set[str]]:
    """Alerts, the names in them, and the messages that were sent."""
    async with open_stores(config) as store:
        alerts = list((await store.state.alerts()).values())
        employers = {str(alert.subject.above.get("employer")) for alert in alerts}
        carriers = {str(alert.subject.fields.get("carrier")) for alert in alerts}
        messages: dict[str, set[str]] = {}
        for place, told in (one for alert in alerts for one in alert.told.items()):
            messages.setdefault(parse_target(place).sink, set()).add(told.message)
        shown = [await store.records.shown(sink, ids) for sink, ids in messages.items()]
        return alerts, await store.names.known(employers, carriers), set().union(*shown)


async def _take(
    config: Config, ids: Collection[str], taken: Callable[[datetime, Collection[Alert]], Taken | None]
) -> tuple[list[Alert], str]:
    """Ask the poller to have these alerts taken, as ``taken`` says; the alerts, and why no poll may come."""
    async with open_stores(config) as store:
        alerts = [alert for alert in (await store.state.alerts()).values() if alert.phase is Phase.OPEN]
        known = {alert.id for alert in alerts}.union(*map(messages_told, alerts))
        whole = {_whole(id_, known) for id_ in ids}
        found = [alert for alert in alerts if alert.id in whole or not messages_told(alert).isdisjoint(whole)]
        now = store.state.now()
        taking = Taking(tuple(alert.id for alert in found), taken(now, found))
        await store.state.write_inbox(TAKE, msgspec.to_builtins(taking))
        return found, await stalled(config, store)


def _whole(text: str, known: Collection[str]) -> str:
    """The one id that begins so; `alert_fa870ea6...` is a beginning."""
    start = text.rstrip(".…")
    found = {text} & set(known)
    if not found and len(start.partition("_")[2]) >= _SHORTEST:
        found = {id_ for id_ in known if id_.startswith(start)}
    if len(found) > 1:
        some = ", ".join(sorted(found)[:_NAMED])
        raise ConfigError(f"{text} is the beginning of {len(found)} ids, as {some}: write more of it")
    if not found:
        is_short = 0 < len(start.partition("_")[2]) < _SHORTEST
        how = f"; a beginning has at least {_SHORTEST} characters after the _" if is_short else ""
        raise ConfigError(f"no open alert or message has the id {text}{how}; see `notifier alerts list`")
    return found.pop()


def _untold(alert: Alert, shown: Collection[str]) -> dict[str, str]:
    """The places that have yet to hear of an alert, or of its end, and how that stands.

    A program counts as told: what it is owed waits as an event of its own.
    """
    found = {}
    for place, told in alert.told.items():
        is_known = told.message == TO_A_PROGRAM or told.message in shown
        if told.hushed and not (is_known and alert.phase is Phase.OPEN):
            found[place] = "its end is kept back" if is_known else "kept back"
        elif not is_known:
            found[place] = "not yet"
    return found


def _entry(alert: Alert, shown: Collection[str]) -> dict[str, Any]:
    entry: dict[str, Any] = msgspec.to_builtins(alert)
    subject, untold = entry.pop("subject"), _untold(alert, shown)
    hidden = {
        "due",
        "said",
        "opened_revision",
        "quiet",
        "was",
        "last",
        "saying",
        "kept",
        "stale",
        "past",
        "moved_at",
    }
    return {
        **{name: value for name, value in entry.items() if name not in hidden},
        "told": [place for place in alert.told if place not in untold],
        "untold": untold,
        "entity": {"kind": subject["kind"], "id": subject["id"], "status": alert.subject.status},
        "connection": subject["connection"],
    }


def _row(alert: Alert, names: Names, shown: Collection[str]) -> dict[str, Any]:
    untold = _untold(alert, shown)
    employer, carrier = alert.subject.above.get("employer"), alert.subject.fields.get("carrier")
    since = alert.since if alert.since_after is not None else f"{alert.since} or before"
    return {
        "rule": alert.rule,
        "phase": "unstable" if alert.unstable else alert.phase,
        "since": since,
        "employer": names.employer(employer)[0] or employer,
        "carrier": names.carrier(carrier) or carrier,
        "status": alert.subject.status,
        "entity": alert.subject.id,
        "times": len(alert.times),
        "told": ", ".join(f"{place} ({untold[place]})" if place in untold else place for place in alert.told),
        "taken": alert.taken and alert.taken.by,
        "id": alert.id,
    }
