"""Transitions -> events: the bodies that event sinks receive, and the ids that make repeats recognisable.

An event's id is a hash of what happened, never of when or how often it was told: what is detected again
after the store lost its last second has the same id, and after a new baseline (another epoch) an old id
never comes back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from notifier.models import Kind, Transition


class Names(msgspec.Struct, frozen=True):
    """What is known of the employers and carriers that events mention. A missing name is null in the body.

    ``employers`` maps an id to (name, external id), ``carriers`` an id to a name.
    """

    employers: Mapping[str, tuple[str | None, str | None]] = {}
    carriers: Mapping[str, str | None] = {}


class Origin(msgspec.Struct, frozen=True):
    """What all events of one poll share; the moments are ISO 8601 in UTC."""

    source: str
    epoch: str
    seen_at: str
    seen_before: str | None


class Event(msgspec.Struct, frozen=True):
    """A transition with everything a receiver is told, before a rule adds its name and severity.

    ``connection`` is the ordering key. ``data`` is the body's ``data`` object.
    """

    id: str
    type: str
    timestamp: str
    connection: str
    data: dict[str, Any]


def from_transition(
    step: Transition, connection_id: str, connection_fields: Mapping[str, Any], origin: Origin, names: Names
) -> Event:
    """The event of one transition; ``connection_fields`` are those of the connection as it is now."""
    employer = connection_fields.get("employer")
    employer_name, external_id = (
        names.employers.get(employer, (None, None)) if isinstance(employer, str) else (None, None)
    )
    id_ = event_id(step, connection_id, origin)
    data: dict[str, Any] = {
        "id": id_,
        "source": origin.source,
        "epoch": origin.epoch,
        "sequence": step.sequence,
        "entity": _entity(step),
        "from": step.from_status,
        "to": step.to_status,
        "changed": step.changed,
        "connection": {
            "id": connection_id,
            "status": connection_fields.get("status"),
            "broker_url": connection_fields.get("broker_url"),
            "employer": {"id": employer, "name": employer_name, "external_id": external_id},
        },
    }
    if step.kind is Kind.GROUP_CONNECTION:
        carrier = step.fields.get("carrier")
        name = names.carriers.get(carrier) if isinstance(carrier, str) else None
        data["carrier"] = {"id": carrier, "name": name}
    data["observed_between"] = [origin.seen_before, origin.seen_at]
    return Event(id_, step.type, origin.seen_at, connection_id, data)


def report(type_: str, origin: Origin, *, nonce: str, message: str, cause: str, severity: str) -> Event:
    """Something the notifier says of itself. ``nonce`` tells one occurrence of a type from the next."""
    id_ = _hash("report", origin.source, origin.epoch, type_, nonce)
    data = {
        "id": id_,
        "source": origin.source,
        "epoch": origin.epoch,
        "severity": severity,
        "message": message,
        "cause": cause,
    }
    return Event(id_, type_, origin.seen_at, "notifier", data)


def body(
    event: Event,
    *,
    rule: str,
    severity: str,
    exclude: Collection[str] = (),
    extra: Mapping[str, Any] | None = None,
) -> str:
    """The frozen JSON text of an event for one sink and rule.

    ``exclude`` names fields that never leave, wherever they stand. Written
    with ``json.dumps`` defaults, so that a receiver that parses and dumps again gets the same bytes.
    """
    told = {**event.data, "rule": rule, "severity": event.data.get("severity", severity), **(extra or {})}
    for name in ("entity", "changed", "connection"):
        if name in told:
            told[name] = {
                key: value for key, value in told[name].items() if key not in exclude or key in _ALWAYS_TOLD
            }
    if "carrier" in exclude:
        told.pop("carrier", None)
    order = [name for name in _ORDER if name in told]
    data = {name: told[name] for name in [*order, *(name for name in told if name not in _ORDER)]}
    return json.dumps({"type": event.type, "timestamp": event.timestamp, "data": data})


_ALWAYS_TOLD = {"id", "kind"}
_ORDER = ("id", "source", "epoch", "sequence", "rule", "severity")
#: What is told of an entity after its status; its connection and carrier stand beside it, with their names.
_ENTITY_ORDER = (
    "category",
    "group_id",
    "initiated_at",
    "completed_at",
    "broker_federal_ein",
    "broker_url",
    "employer",
    "created_at",
)


def _entity(step: Transition) -> dict[str, Any]:
    names = [name for name in _ENTITY_ORDER if name in step.fields]
    fields = {name: step.fields[name] for name in names}
    return {"kind": str(step.kind), "id": step.id, "status": step.fields.get("status"), **fields}


def event_id(step: Transition, connection_id: str, origin: Origin) -> str:
    """The same transition has the same id however often it is detected."""
    what = (step.revision, step.type, step.from_status, step.to_status, step.changed)
    return _hash(origin.source, origin.epoch, connection_id, step.id, *what)


def _hash(*parts: Any) -> str:
    text = json.dumps(parts, sort_keys=True).encode()
    return "evt_" + hashlib.blake2b(text, digest_size=16).hexdigest()
