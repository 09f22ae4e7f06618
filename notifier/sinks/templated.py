"""What a rule's own templates say of an event's body: the values they are filled in with, and the result.

What a template may say is what the body holds, so a field that a sink must not know is not known here either.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import structlog

from notifier.config.templates import LONGEST_VALUE, Values, filled, rule_template
from notifier.sinks.values import at, clean, moment, text, utc, words
from notifier.sinks.wording_alert import lasted

_OF_PEOPLE = {"acknowledged", "released"}
_LONGEST = {"headline": 150, "sentence": 2000}

_log = structlog.get_logger()


def templated(body: Any, key: str) -> str | None:
    """What the template at ``key`` of a body's data says, or None where our own words serve.

    They serve where there is no template or nothing is left of it, where it fails, and for an alert that is
    over or has just been taken, if the template does not ask about that: it speaks of what lasts.
    """
    template = text(at(body, "data", key))
    if template is None:
        return None
    values = values_of(body)
    try:
        is_other = values["end"] or values["event"] in _OF_PEOPLE
        if is_other and not rule_template(template).tells_ends:
            return None
        said = clean(filled(template, values))
    except ValueError as error:
        _tell_once(values["rule"], key, str(error))
        return None
    longest = _LONGEST[key]
    return (said if len(said) <= longest else said[: longest - 1] + "…") or None


def values_of(body: Any) -> Values:
    """The values of ``config.templates.NAMES``; what is not known is an empty text, or an id for a name."""
    data = at(body, "data")
    alert, entity, connection = (at(data, name) for name in ("alert", "entity", "connection"))
    employer, carrier = at(connection, "employer"), at(data, "carrier")
    times = at(alert, "occurrence")
    told: Mapping[str, Any] = {
        "employer": text(at(employer, "name")) or at(employer, "id"),
        "employer_id": at(employer, "id"),
        "external_id": at(employer, "external_id"),
        "carrier": text(at(carrier, "name")) or at(carrier, "id"),
        "carrier_id": at(carrier, "id"),
        "connection": at(connection, "id"),
        "kind": str(at(entity, "kind") or "").replace("_", " "),
        "entity": at(entity, "id"),
        "status": _read(at(entity, "status")),
        "from": _read(at(data, "from")),
        "to": _read(at(data, "to")),
        "group_id": at(entity, "group_id"),
        "category": _read(at(entity, "category")),
        "rule": at(data, "rule"),
        "severity": at(data, "severity"),
        "event": str(at(body, "type") or "").rpartition(".")[2],
        "since": _since(body),
        "lasted": lasted(alert, at(body, "timestamp")),
        "end": at(alert, "end"),
    }
    values = {
        name: clean(value)[:LONGEST_VALUE] if isinstance(value, str) else "" for name, value in told.items()
    }
    return {**values, "times": times if isinstance(times, int) else 0}


def _read(value: Any) -> str | None:
    return None if value is None else words(value)


def _since(body: Any) -> str | None:
    """When the condition of an alert began, or when an event was seen."""
    since = moment(at(body, "data", "alert", "since")) or moment(at(body, "timestamp"))
    return None if since is None else utc(since)


@lru_cache(maxsize=256)
def _tell_once(rule: str, key: str, problem: str) -> None:
    _log.warning("template.failed", rule=rule, key=key, error=problem)
