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
from notifier.core.alerts import Alert, Phase
from notifier.core.carrying import Sighting, Trail, Way, message_of, told_by, trail
from notifier.core.events import Event, recorded
from notifier.core.rules import Router
from notifier.core.untold import Case, kept_back, unmet_by, why_untold
from notifier.store.health import SinkHealth
from notifier.store.lanes import DeadLetter
from notifier.store.records import Waiting
from notifier.store.stores import Stores

_EARLIER = timedelta(hours=1)  # before the event, where the ledger is begun to be read: clocks differ


class Found(msgspec.Struct, frozen=True):
    """What the store knows of an event; ``at`` maps every sink to what carries the event there."""

    case: Case
    at: Mapping[str, Carried]
    health: Mapping[str, SinkHealth]

    @property
    def event(self) -> Event:
        """The event."""
        return self.case.event


class Carried(msgspec.Struct, frozen=True):
    """The deliveries that carry an event at one sink, and how: attempts, what waits, dead letters."""

    ways: Mapping[str, Way] = {}
    attempts: Sequence[Mapping[str, Any]] = ()
    waiting: Sequence[Waiting] = ()
    letters: Sequence[DeadLetter] = ()

    @property
    def deciding(self) -> set[str]:
        """The ids of those by which it is told: where a reply says it, the message beside it does not."""
        replies = {id_ for id_, way in self.ways.items() if way is Way.REPLY}
        return replies or {*self.ways}


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
        "sinks": [_sink(name, found) for name in _sinks(loaded, found)],
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
                f"the history has no event {id_}: write the whole id, as `notifier history` shows it. Events "
                f"are kept for {config.history.days} days. Of digests, and of what `resync` sent, only the "
                "attempts are recorded: `notifier history --deliveries`"
            )
        event = recorded(record["type"], record["timestamp"], record["data"])
        since = datetime.fromisoformat(event.timestamp) - _EARLIER
        subject = event.data.get("entity", {}).get("id")
        alerts = [one for one in (await store.state.alerts()).values() if one.subject.id == subject]
        later = [
            recorded(one["type"], one["timestamp"], one["data"])
            async for one in store.records.events(since)
            if subject is not None and one["data"].get("entity", {}).get("id") == subject
        ]
        of_alerts = told_by(event, later)
        silences = [*(await store.state.silences()).values()]
        case = Case(config, Router(config), event, of_alerts, alerts, silences, store.state.now())
        health = await sink_healths(config, store)
        return Found(
            case, await _carried(store, case, trail(event, of_alerts, alerts), since, [*health]), health
        )


async def _carried(
    store: Stores, case: Case, asked: Trail, since: datetime, sinks: Sequence[str]
) -> dict[str, Carried]:
    """What carries it at each sink; first is read what waits, for it may be a letter or delivered then."""
    connection, messages = case.event.connection, asked.messages
    waiting = {name: await store.records.waiting(name, connection, messages) for name in sinks}
    letters = {name: await dead_letters_of(store, name) for name in sinks}
    tried: dict[str, list[dict[str, Any]]] = {name: [] for name in sinks}
    async for attempt in store.records.attempts(since):
        id_ = str(attempt.get("id"))
        if id_ in asked.events or message_of(id_) in messages:
            tried.setdefault(str(attempt["sink"]), []).append(attempt)
    found = {}
    for name, attempts in tried.items():
        seen = [
            *(Sighting(one["id"], one["type"], one["at"], one["outcome"] == "delivered") for one in attempts),
            *(Sighting(one.delivery.id, one.delivery.type, one.at) for one in letters.get(name, ())),
            *(Sighting(one.id, one.type) for one in waiting.get(name, ())),
        ]
        ways = asked.ways(seen)
        carrying = [{**one, "kind": ways[one["id"]]} for one in attempts if one["id"] in ways]
        found[name] = Carried(
            ways,
            await with_links(case.config, carrying),
            [one for one in waiting.get(name, ()) if one.id in ways],
            [one for one in letters.get(name, ()) if one.delivery.id in ways],
        )
    return found


def _what(event: Event) -> str:
    data, row = event.data, event_row(event.type, event.timestamp, event.data)
    where = " · ".join(str(row[name]) for name in ("employer", "carrier", "entity") if row[name])
    moved = f"{data.get('from')} -> {data.get('to')}" if "to" in data else str(data.get("message", ""))
    return f"{where}: {moved}" if where else moved


def _rule(rule: RuleConfig, found: Found) -> dict[str, Any]:
    keys = [*unmet_by(rule, found.event)]
    alerts = [alert for alert in found.case.alerts if alert.rule == rule.name] if rule.while_ else []
    return {
        "rule": rule.name,
        "kind": "while" if rule.while_ else "when",
        "matches": not keys,
        "unmet": keys,
        "sinks": [str(target.sink) for target in rule.notify],
        "alerts": [_alert(alert) for alert in alerts],
    }


def _alert(alert: Alert) -> dict[str, Any]:
    return {
        "id": alert.id,
        "phase": alert.phase,
        "since": alert.since,
        "opened_at": alert.opened_at,
        "ended_at": alert.ended_at,
        "due": alert.due,
        "told": {place: told.message or None for place, told in alert.told.items()},
        "kept_back": [place for place, told in alert.told.items() if told.hushed],
    }


def _sinks(config: Config, found: Found) -> list[str]:
    """Those of the configuration, then others that had it or are owed it."""
    return list(dict.fromkeys([*config.sinks, *(name for name, carried in found.at.items() if carried.ways)]))


def _sink(name: str, found: Found) -> dict[str, Any]:
    carried = found.at.get(name, Carried())
    return {"sink": name, "state": _state(name, found, carried), "attempts": carried.attempts}


def _state(name: str, found: Found, carried: Carried) -> str:
    """In words: how it stands with this event at this sink."""
    attempts = [one for one in carried.attempts if one["id"] in carried.deciding]
    letters = [one for one in carried.letters if one.delivery.id in carried.deciding]
    if delivered := [one for one in attempts if one["outcome"] == "delivered"]:
        is_only_shown = {carried.ways[one["id"]] for one in delivered} == {Way.EDIT}
        kept = kept_back(found.case, name) if is_only_shown else ""
        told = f"shown by an edit; {kept}" if kept else _told(name, delivered, letters)
        return told + _elsewhere(name, found, carried)
    if waiting := [one for one in carried.waiting if one.id in carried.deciding]:
        return _waits(waiting[0], found.health[name])
    if letters:
        return f"not told: {_given_up(name, letters[0])}"
    if any(one["outcome"] == "dead" for one in attempts):
        return "not told: it was a dead letter, which somebody replayed or dropped"
    if attempts:
        return "not told: what it was owed is gone; somebody dropped it"
    return why_untold(found.case, name)


def _told(name: str, delivered: Sequence[Mapping[str, Any]], letters: Sequence[DeadLetter]) -> str:
    if all(one.get("reason") == "preview" for one in delivered):
        return "not told: the sink was in preview, and only wrote down what it would have sent"
    repeats = {one["id"]: one["at"] for one in delivered}
    if again := [one for one in letters if repeats.get(one.delivery.id, one.at) < one.at]:
        return f"told; sent once more, it was {_given_up(name, again[0])}"
    return "told"


def _elsewhere(name: str, found: Found, carried: Carried) -> str:
    """What another place of the sink is still owed, or never got: each has a message of its own."""
    had = {message_of(one["id"]) for one in carried.attempts if one["outcome"] == "delivered"}
    if waiting := [one for one in carried.waiting if message_of(one.id) not in had]:
        return f"; at another place it {_waits(waiting[0], found.health[name])}"
    if letters := [one for one in carried.letters if message_of(one.delivery.id) not in had]:
        where = letters[0].delivery.target or "another place"
        return f"; not told at {where}: {_given_up(name, letters[0])}"
    return ""


def _given_up(name: str, letter: DeadLetter) -> str:
    return (
        f"given up at {letter.at} ({letter.reason}: {letter.message}); "
        f"`notifier dead replay {name} {letter.id}` sends it again"
    )


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
            is_over = alert["phase"] == Phase.CLOSED
            ended = f"ended at {alert['ended_at']}, after it had been so" if is_over else alert["phase"]
            yield f"    alert {alert['id'] or ''} {ended} since {alert['since']}"
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
    kind = attempt["kind"] if attempt["kind"] == Way.POST else f"{attempt['kind']} of {attempt['type']}"
    end = f"attempt {attempt['attempt']}  {attempt['outcome']} ({details})"
    return "  ".join(filter(None, (attempt["at"], kind, end, link)))
