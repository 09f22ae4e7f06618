"""How an event becomes one of PagerDuty's: trigger, acknowledge or resolve. Pure.

An alert's id is the ``dedup_key``: what is told of an alert reaches its incident, and what comes twice is
taken once. Any other event has a key of its own, and opens an incident that only a person resolves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from notifier.sinks.plugin import Delivery, at, body_of, clean, tell

_ACTIONS = {"alert.acknowledged": "acknowledge", "alert.resolved": "resolve"}  # all others trigger
_SEVERITIES = ("critical", "warning", "info")
_LONGEST_SUMMARY, _LONGEST_KEY, _LONGEST_FIELD = 1024, 255, 255  # characters
_LARGEST_EVENT = 512 * 1024  # bytes


def incident(delivery: Delivery) -> dict[str, Any]:
    """An event as PagerDuty takes it, but for the key. Raises ``PermanentFailure``."""
    body = body_of(delivery)
    data = at(body, "data")
    action = _ACTIONS.get(delivery.type, "trigger")
    which = {
        "event_action": action,
        "dedup_key": _line(at(data, "alert", "id"), _LONGEST_KEY) or delivery.id[:_LONGEST_KEY],
    }
    if action != "trigger":
        return which  # the incident is there, with all that its opening said
    told = tell(body)
    severity = at(data, "severity")
    payload = {
        "summary": clean(f"{told.title}: {told.change}" if told.change else told.title)[:_LONGEST_SUMMARY],
        "source": _line(at(data, "source")) or "clasp-notifier",
        "severity": severity if severity in _SEVERITIES else "error",
        "timestamp": _line(at(body, "timestamp")),
        "component": _line(at(data, "carrier", "name")) or _line(at(data, "carrier", "id")),
        "group": _line(at(data, "connection", "employer", "name")),
        "class": _line(at(data, "rule")),
        "custom_details": data if isinstance(data, Mapping) else None,
    }
    links = [{"href": url, "text": clean(label)} for label, url in told.links]
    return {
        **which,
        "payload": {name: value for name, value in payload.items() if value is not None},
        "client": "Clasp",
        **({"client_url": links[0]["href"], "links": links} if links else {}),
    }


def encoded(event: dict[str, Any]) -> bytes:
    """The request's body; without its details where it would be larger than PagerDuty takes."""
    body = json.dumps(event).encode()
    if len(body) > _LARGEST_EVENT and "payload" in event:
        less = {name: value for name, value in event["payload"].items() if name != "custom_details"}
        body = json.dumps({**event, "payload": less}).encode()
    return body


def _line(value: Any, longest: int = _LONGEST_FIELD) -> str | None:
    """A text on one line; None where it says nothing."""
    return (clean(value)[:longest] or None) if isinstance(value, str) else None
