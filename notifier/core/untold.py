"""Why a sink was sent nothing of an event, in words: no rule, not yet, kept back. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec

from notifier.config import Config, RuleConfig, Target, parse_target
from notifier.core.alerts import Alert, Phase, Told, moment_text
from notifier.core.carrying import occurrence
from notifier.core.events import Event
from notifier.core.explaining import unmet
from notifier.core.owners import NOBODY, Owner
from notifier.core.quiet import Silence
from notifier.core.rules import Router
from notifier.models import is_report

_SOMEBODY = Owner(owner="somebody")


class Case(msgspec.Struct, frozen=True):
    """An event, with the alerts of its entity and the silences as they are ``now``.

    ``of_alerts`` are the events of alerts that tell of it.
    """

    config: Config
    router: Router
    event: Event
    of_alerts: Sequence[Event]
    alerts: Sequence[Alert]
    silences: Sequence[Silence]
    now: datetime


def unmet_by(rule: RuleConfig, event: Event) -> tuple[str, ...]:
    """The keys that keep a rule from an event, which may be one of an alert: that is its rule's alone."""
    if event.type.startswith("alert."):
        return () if event.data.get("rule") == rule.name else ("rule",)
    return unmet(rule, event)


def why_untold(case: Case, sink: str) -> str:
    """Why nothing was tried at a sink."""
    naming = [rule for rule in case.config.rules if sink in _sinks(case, rule.notify)]
    matching = [rule for rule in naming if not unmet_by(rule, case.event)]
    names = {rule.name for rule in matching}
    if courses := [course for alert in _alerts(case) for course in _course(case, alert, sink, names)]:
        return "; ".join(courses)
    if _is_forgotten(case, {rule.name for rule in naming}):
        return "no attempt on record: its alert has opened again since, and how it was told is not kept"
    if is_report(case.event.type) and sink in {target.sink for target in case.config.self_reports}:
        return "no attempt on record: it hears of such things, and is newer than the event"
    if matching:
        return _by_rule(case, matching, sink)
    return "not told: no rule that names it matches" if naming else "not told: no rule names it"


def _by_rule(case: Case, matching: Sequence[RuleConfig], sink: str) -> str:
    """Why rules that match and name the sink gave it nothing."""
    moment = next((rule.name for rule in matching if rule.when is not None), None)
    if moment is not None and case.router.has(sink) and not case.router.has_news(case.event, sink):
        return f"not told: nothing changed but what it excludes ({', '.join(case.event.data['changed'])})"
    if moment is not None:
        return f"no attempt on record: {moment} is newer than the event, or another rule's alert told it"
    return f"not told: what {matching[0].name} asks for did not last long enough, or ended long ago"


def kept_back(case: Case, sink: str) -> str:
    """What is kept from the readers of a sink for now, and why; '' where that is nothing."""
    kept = (
        _known(case, alert, place, told)
        for alert in _alerts(case)
        for place, told in alert.told.items()
        if told.hushed and parse_target(place).sink == sink
    )
    return next(kept, "")


def _sinks(case: Case, targets: Sequence[Target]) -> set[str]:
    """The sinks of these targets; for owners, those where some are reached."""
    return {place.sink for owner in (NOBODY, _SOMEBODY) for place in case.router.places(targets, owner)}


def _alerts(case: Case) -> Iterator[Alert]:
    """Those that the event is of, or that it began or ended."""
    for alert in case.alerts:
        is_pending = alert.phase is Phase.PENDING and alert.since == case.event.timestamp
        if is_pending or any(_is_of(alert, event) for event in case.of_alerts):
            yield alert


def _is_of(alert: Alert, event: Event) -> bool:
    return alert.rule == event.data.get("rule") and occurrence(alert, event) is not None


def _is_forgotten(case: Case, rules: set[str]) -> bool:
    """Whether alerts of these rules told of it, of which nothing is known any more."""
    return any(
        event.data.get("rule") in rules and not any(_is_of(alert, event) for alert in case.alerts)
        for event in case.of_alerts
    )


def _course(case: Case, alert: Alert, sink: str, names: set[str]) -> Iterator[str]:
    """How it stands with an alert at a sink that has not been tried."""
    told = {place: one for place, one in alert.told.items() if parse_target(place).sink == sink}
    for place, one in told.items():
        yield _known(case, alert, place, one)
    if told or alert.rule not in names or alert.phase is Phase.CLOSED:
        return
    if alert.phase is Phase.OPEN and _is_told_of_another(case, alert, sink):
        yield f"not told: an alert of another rule about the same is told there, and not that of {alert.rule}"
    else:
        yield _not_yet(alert)


def _known(case: Case, alert: Alert, place: str, told: Told) -> str:
    if told.hushed:
        return f"kept back: there is news of {alert.rule}, and {_hush(case, alert, place)}"
    if not told.message:
        return _not_yet(alert)
    if case.event.type == "alert.reminder":
        return "not told: a reminder is left out in quiet hours, in a silence and while the alert is unstable"
    return f"no attempt on record: the alert of {alert.rule} is told there"


def _not_yet(alert: Alert) -> str:
    until = f", due {alert.due}" if alert.due and alert.phase is Phase.PENDING else ""
    return f"not told yet: the alert of {alert.rule} is {alert.phase} since {alert.since}{until}"


def _hush(case: Case, alert: Alert, place: str) -> str:
    """Why nobody is to be disturbed with an alert, and until when."""
    sink, now = parse_target(place).sink, moment_text(case.now)
    for silence in case.silences:
        if silence.until > now and silence.covers(alert):
            return f"there is a silence until {silence.until} ({silence.id}, by {silence.by})"
    if opens := case.router.quiet.ends(sink, case.now):
        return f"{sink} has quiet hours until {moment_text(opens)}"
    if alert.unstable is not None:
        return f"it comes and goes since {alert.unstable}: the rest is told once it has settled"
    return "the time in which nobody was to be disturbed is over: it is told with the next poll"


def _is_told_of_another(case: Case, alert: Alert, sink: str) -> bool:
    return any(
        parse_target(place).sink == sink
        for other in case.alerts
        if other.rule != alert.rule and other.phase is Phase.OPEN
        for place in other.told
    )
