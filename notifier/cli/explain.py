"""``notifier explain``: who was told of an event, when, and if not, why not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any

import msgspec
import typer

from notifier.cli.common import (
    DEFAULT_CONFIG,
    ConfigOption,
    Failed,
    JsonOption,
    dead_letters_of,
    load_config,
    open_stores,
    print_json,
    run_async,
    say,
    sink_healths,
)
from notifier.cli.ledger import event_row, with_links
from notifier.config import Config, RuleConfig
from notifier.core.alerts import Alert
from notifier.core.book import messages_told
from notifier.core.events import Event, recorded
from notifier.core.explaining import unmet
from notifier.store.health import SinkHealth
from notifier.store.lanes import DeadLetter
from notifier.store.records import Waiting
from notifier.store.stores import Stores

_EARLIER = timedelta(hours=1)  # before the event, where the ledger is begun to be read: clocks differ


class Found(msgspec.Struct, frozen=True):
    """What the store knows of an event; ``attempts`` also of the messages about its entity's alerts."""

    event: Event
    attempts: Sequence[Mapping[str, Any]]
    waiting: Mapping[str, Waiting]
    letters: Mapping[str, DeadLetter]
    alerts: Sequence[Alert]
    health: Mapping[str, SinkHealth]


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command("explain")(explain)


def explain(
    event: Annotated[str, typer.Argument(help="The id of an event, as `notifier history` shows it.")],
    config: ConfigOption = DEFAULT_CONFIG,
    *,
    as_json: JsonOption = False,
) -> None:
    """Explain an event: when it was seen, which rules took it, who was told when, and if not, why not.

    Rules are those of the configuration as it is now.
    """
    loaded = load_config(config)
    found = run_async(lambda: _find(loaded, event))
    told = {
        "event": found.event.id,
        "type": found.event.type,
        "what": _what(found.event),
        "seen": found.event.timestamp,
        "not_seen_before": (found.event.data.get("observed_between") or [None])[0],
        "rules": [_rule(rule, found) for rule in loaded.rules],
        "sinks": [_sink(name, loaded, found) for name in _sinks(loaded, found)],
    }
    if as_json:
        print_json(told)
        return
    for line in _lines(told):
        say(line)


async def _find(config: Config, id_: str) -> Found:
    async with open_stores(config) as store:
        record = await store.records.event(id_)
        if record is None:
            raise Failed(
                f"the history has no event {id_}; it goes back {config.history.days} days, "
                "and `notifier history` shows the ids"
            )
        event = recorded(record["type"], record["timestamp"], record["data"])
        subject = event.data.get("entity", {}).get("id")
        alerts = [one for one in (await store.state.alerts()).values() if one.subject.id == subject]
        messages = {message for alert in alerts for message in messages_told(alert)}
        health = await sink_healths(config, store)
        return Found(
            event,
            await with_links(config, await _attempts(store, event, messages)),
            await _waiting(store, health, event),
            await _letters(store, health, event),
            alerts,
            health,
        )


async def _attempts(store: Stores, event: Event, messages: set[str]) -> list[dict[str, Any]]:
    since = datetime.fromisoformat(event.timestamp) - _EARLIER
    return [
        attempt
        async for attempt in store.records.attempts(since)
        if attempt.get("id") == event.id or str(attempt.get("id")).partition(".")[0] in messages
    ]


async def _waiting(store: Stores, sinks: Mapping[str, SinkHealth], event: Event) -> dict[str, Waiting]:
    found = {name: await store.records.waiting(name, event.connection, event.id) for name in sinks}
    return {name: waiting for name, waiting in found.items() if waiting is not None}


async def _letters(store: Stores, sinks: Mapping[str, SinkHealth], event: Event) -> dict[str, DeadLetter]:
    found = {}
    for name in sinks:
        for letter in await dead_letters_of(store, name):
            if letter.delivery.id == event.id:
                found[name] = letter
    return found


def _what(event: Event) -> str:
    data, row = event.data, event_row(event.type, event.timestamp, event.data)
    where = " · ".join(str(row[name]) for name in ("employer", "carrier", "entity") if row[name])
    moved = f"{data.get('from')} -> {data.get('to')}" if "to" in data else str(data.get("message", ""))
    return f"{where}: {moved}" if where else moved


def _rule(rule: RuleConfig, found: Found) -> dict[str, Any]:
    keys = _unmet(rule, found.event)
    alerts = [alert for alert in found.alerts if alert.rule == rule.name] if rule.while_ else []
    return {
        "rule": rule.name,
        "kind": "while" if rule.while_ else "when",
        "matches": not keys,
        "unmet": keys,
        "sinks": [str(target.sink) for target in rule.notify],
        "alerts": [_alert(alert) for alert in alerts],
    }


def _unmet(rule: RuleConfig, event: Event) -> list[str]:
    if event.type.startswith("alert."):
        return [] if event.data.get("rule") == rule.name else ["rule"]
    return list(unmet(rule, event))


def _alert(alert: Alert) -> dict[str, Any]:
    return {
        "id": alert.id,
        "phase": alert.phase,
        "since": alert.since,
        "opened_at": alert.opened_at,
        "due": alert.due,
        "told": {place: told.message or None for place, told in alert.told.items()},
        "kept_back": [place for place, told in alert.told.items() if told.hushed],
    }


def _sinks(config: Config, found: Found) -> list[str]:
    """Those of the configuration, then others that had it."""
    return list(dict.fromkeys([*config.sinks, *(str(attempt["sink"]) for attempt in found.attempts)]))


def _sink(name: str, config: Config, found: Found) -> dict[str, Any]:
    attempts = [attempt for attempt in found.attempts if attempt["sink"] == name]
    return {"sink": name, "state": _state(name, config, found, attempts), "attempts": attempts}


def _state(name: str, config: Config, found: Found, attempts: Sequence[Mapping[str, Any]]) -> str:
    """In words: how it stands with this event at this sink."""
    if name in found.waiting:
        return _waits(found.waiting[name], found.health[name])
    if name in found.letters:
        letter = found.letters[name]
        return (
            f"not told: given up at {letter.at} ({letter.reason}: {letter.message}); "
            f"`notifier dead replay {name} {letter.id}` sends it again"
        )
    ends = {attempt["outcome"] for attempt in attempts}
    if "delivered" in ends:
        return "told"
    if "dead" in ends:
        return "not told: it was a dead letter, which somebody replayed or dropped"
    if attempts:
        return "not told: what it was owed is gone; somebody dropped it"
    return _silent(name, config, found)


def _waits(waiting: Waiting, health: SinkHealth) -> str:
    if health.off is not None:
        why = f"the sink is paused by an operator{f' ({health.off})' if health.off else ''}"
    elif health.paused_until is not None:
        why = f"the sink is paused until {health.paused_until} ({health.reason}: {health.message})"
    elif waiting.is_under_way:
        why = "the first of its lane is being sent"
    else:
        why = f"its lane is sent next at {waiting.next_at}"
    return f"waits, with {waiting.before} before it in its lane: {why}"


def _silent(name: str, config: Config, found: Found) -> str:
    """Why nothing was tried."""
    naming = [rule for rule in config.rules if any(target.sink == name for target in rule.notify)]
    matching = [rule for rule in naming if not _unmet(rule, found.event)]
    moments = [rule.name for rule in matching if rule.when is not None]
    if moments:
        return f"no attempt on record: {moments[0]} is newer than the event, or another rule's alert told it"
    alerts = [alert for alert in found.alerts if alert.rule in {rule.name for rule in matching}]
    if alerts:
        return "; ".join(_course(alert, name) for alert in alerts)
    if matching:
        return f"not told: what {matching[0].name} asks for did not last long enough, or ended long ago"
    if naming:
        return "not told: no rule that names it matches"
    return "not told: no rule names it"


def _course(alert: Alert, sink: str) -> str:
    """How it stands with an alert at a sink that has not been tried."""
    if any(told.hushed for place, told in alert.told.items() if place.partition("#")[0] == sink):
        return (
            f"kept back: {alert.rule} has an alert, and nobody was to be disturbed (quiet hours or a silence)"
        )
    until = f", due {alert.due}" if alert.due else ""
    return f"not told yet: the alert of {alert.rule} is {alert.phase} since {alert.since}{until}"


def _lines(told: Mapping[str, Any]) -> Iterator[str]:
    yield f"{told['event']}  {told['type']}"
    yield f"  what   {told['what']}"
    before = told["not_seen_before"]
    yield f"  seen   {told['seen']}" + (f", and not yet at {before}" if before else "")
    yield ""
    yield "rules"
    for rule in told["rules"]:
        how = "matches" if rule["matches"] else f"does not match: {', '.join(rule['unmet'])}"
        yield f"  {rule['rule']} ({rule['kind']}): {how}" + (
            f"; sinks: {', '.join(rule['sinks'])}" if rule["matches"] else ""
        )
        for alert in rule["alerts"]:
            yield f"    alert {alert['id'] or ''} {alert['phase']} since {alert['since']}"
    yield ""
    yield "sinks"
    for sink in told["sinks"]:
        yield f"  {sink['sink']}: {sink['state']}"
        for attempt in sink["attempts"]:
            yield "    " + _attempt_line(attempt)


def _attempt_line(attempt: Mapping[str, Any]) -> str:
    said = [str(attempt.get("reason") or ""), f"HTTP {attempt['status']}" if attempt.get("status") else ""]
    details = ", ".join(one for one in (*said, f"{attempt['ms']} ms") if one)
    link = attempt.get("permalink") or attempt.get("place")
    return f"{attempt['at']}  attempt {attempt['attempt']}  {attempt['outcome']} ({details})" + (
        f"  {link}" if link else ""
    )
