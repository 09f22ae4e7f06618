"""Transitions and alerts -> events: their bodies, and the ids that make repeats recognisable.

An event's id is a hash of what happened, never of when or how often it was told: what is detected again
after the store lost its last second has the same id, and after a new baseline (another epoch) an old id
never comes back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

from notifier.core.alerts import Alert, End, What
from notifier.models import ConnectionState, EntityState, Kind, Transition, is_report


class Names(msgspec.Struct, frozen=True):
    """What is known of the employers and carriers that events mention. A missing name is null in the body.

    ``employers`` maps an id to (name, external id), ``carriers`` an id to a name.
    """

    employers: Mapping[str, tuple[str | None, str | None]] = {}
    carriers: Mapping[str, str | None] = {}

    def employer(self, id_: Any) -> tuple[str | None, str | None]:
        """Name and external id; the id may be anything that the source says."""
        return self.employers.get(id_, (None, None)) if isinstance(id_, str) else (None, None)

    def carrier(self, id_: Any) -> str | None:
        """The name; the id may be anything that the source says."""
        return self.carriers.get(id_) if isinstance(id_, str) else None

    def knows_employer(self, id_: Any) -> bool:
        """Whether all is known that there is to know; False: nobody has looked, or the look-up failed."""
        return id_ in self.employers or not isinstance(id_, str)

    def knows_carrier(self, id_: Any) -> bool:
        """The same of a carrier."""
        return id_ in self.carriers or not isinstance(id_, str)


def ids_named(states: Iterable[ConnectionState]) -> tuple[set[str], set[str]]:
    """The employers and the carriers of connections; an id that is no text has no name."""
    employers: set[Any] = set()
    carriers: set[Any] = set()
    for state in states:
        for found, ids in (
            (employers, [state.fields.get("employer")]),
            (carriers, [group.fields.get("carrier") for group in state.group_connections.values()]),
        ):
            found.update(id_ for id_ in ids if isinstance(id_, str))
    return employers, carriers


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
    id_ = event_id(step, connection_id, origin)
    data: dict[str, Any] = {
        "id": id_,
        "source": origin.source,
        "epoch": origin.epoch,
        "sequence": step.sequence,
        "entity": _entity(step.kind, step.id, step.fields),
        "from": step.from_status,
        "to": step.to_status,
        "changed": step.changed,
        **_around(step.kind, step.fields, connection_id, connection_fields, names),
        "observed_between": [origin.seen_before, origin.seen_at],
    }
    return Event(id_, step.type, origin.seen_at, connection_id, data)


def current(
    state: ConnectionState, connection_id: str, origin: Origin, names: Names, nonce: str
) -> list[Event]:
    """How a connection and everything under it is, as events of the type ``*.current``: from = to.

    ``nonce`` is of one telling: told again, it has other ids, for a receiver that forgot is to believe it.
    """
    of_groups = [(Kind.GROUP_CONNECTION, *item) for item in state.group_connections.items()]
    of_milestones = [(Kind.MILESTONE, *item) for item in state.milestones.items()]
    entities = [
        (Kind.CONNECTION, connection_id, EntityState(dict(state.fields), state.revision)),
        *(one for one in (*of_groups, *of_milestones) if one[2].removed_at is None),
    ]
    events = []
    for kind, id_, entity in entities:
        status = entity.fields.get("status")
        step = Transition(
            kind, id_, "current", status, status, {}, entity.fields, entity.revision, state.sequence
        )
        event = from_transition(step, connection_id, state.fields, origin, names)
        told = _hash("current", origin.source, origin.epoch, connection_id, id_, nonce)
        events.append(msgspec.structs.replace(event, id=told, data={**event.data, "id": told}))
    return events


def recorded(type_: str, timestamp: str, data: dict[str, Any]) -> Event:
    """An event as the history keeps it. Raises ``KeyError`` where it is none."""
    connection = "notifier" if is_report(type_) else data["connection"]["id"]
    return Event(data["id"], type_, timestamp, connection, data)


def from_alert(
    alert: Alert,
    what: What,
    status_before: Any,
    origin: Origin,
    names: Names,
    usual: Mapping[str, int] | None = None,
) -> Event:
    """What happened to an alert; ``status_before`` is its entity's in the look before.

    ``usual`` says how long such a thing lasts, which is told while it does.

    The id holds no moment: what is found again after the store lost its last second has the same one.
    """
    subject = alert.subject
    type_ = f"alert.{what}"
    id_ = alert_event_id(alert, what, alert.said, origin.source, origin.epoch)
    data: dict[str, Any] = {
        "id": id_,
        "source": origin.source,
        "epoch": origin.epoch,
        "rule": alert.rule,
        "alert": {
            "id": alert.id,
            "since": alert.since,
            "since_after": alert.since_after,
            "opened_at": alert.opened_at,
            "existing": bool(alert.existing),
            "unchanged": alert.quiet,
            "occurrence": alert.occurrence,
            "unstable": _unstable(alert),
            "acknowledged": _taken(alert),
            "ended_at": alert.ended_at,
            "end": alert.end,
        },
        "entity": _entity(subject.kind, subject.id, subject.fields),
        "from": status_before,
        "to": None if alert.end is End.REMOVED else subject.status,
        **_around(subject.kind, subject.fields, subject.connection, subject.above, names),
        **({"usual": dict(usual)} if usual and what is not What.RESOLVED else {}),
        "observed_between": [origin.seen_before, origin.seen_at],
    }
    return Event(id_, type_, origin.seen_at, subject.connection, data)


def alert_event_id(alert: Alert, what: What, said: int, source: str, epoch: str) -> str:
    """The id of what happened to an alert, of which so many events had been ``said`` by then."""
    return _hash("alert", source, epoch, *_place_of(alert), alert.opened_revision, f"alert.{what}", said)


def alert_id(alert: Alert, origin: Origin) -> str:
    """The id of an occurrence that opens: the same in everything that is said of it."""
    place = (origin.source, origin.epoch, *_place_of(alert))
    return "alert_" + digest(place, alert.opened_revision, alert.said)


def _unstable(alert: Alert) -> dict[str, Any] | None:
    """Since when it opens and ends again and again, and how often it has opened since."""
    since = alert.unstable
    return since if since is None else {"since": since, "times": sum(at >= since for at in alert.times)}


def _taken(alert: Alert) -> dict[str, Any] | None:
    """Who has taken it, and whether anything has moved since."""
    taken = alert.taken
    if taken is None:
        return None
    has_moved = alert.moved_at is not None and alert.moved_at > taken.at
    return {
        "by": taken.by,
        "at": taken.at,
        "until": taken.until,
        "moved_at": alert.moved_at if has_moved else None,
    }


def _place_of(alert: Alert) -> tuple[str, ...]:
    """Which alert it is; of what a first look found, which look as well: nothing had moved."""
    look = (alert.since,) if alert.since_after is None else ()
    return (alert.rule, alert.subject.connection, alert.subject.kind, alert.subject.id, *look)


def report(
    type_: str, origin: Origin, *, nonce: str, message: str, cause: str, severity: str, sink: str = ""
) -> Event:
    """Something the notifier says of itself. ``nonce`` tells one occurrence of a type from the next.

    ``sink`` is the one that it is about, which is not to hear of it.
    """
    id_ = _hash("report", origin.source, origin.epoch, type_, nonce)
    data = {
        "id": id_,
        "source": origin.source,
        "epoch": origin.epoch,
        "severity": severity,
        "message": message,
        "cause": cause,
        **({"sink": sink} if sink else {}),
    }
    return Event(id_, type_, origin.seen_at, "notifier", data)


def sink_of_report(event: Event) -> str | None:
    """The sink that a report is about, and that is not to hear of it; None: there is none."""
    return event.data.get("sink") if is_report(event.type) else None


def told_body(
    event: Event,
    *,
    rule: str,
    severity: str,
    exclude: Collection[str] = (),
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """An event as one sink and rule tell it; ``exclude`` names fields that never leave, wherever they are."""
    told = {**event.data, "rule": rule, "severity": event.data.get("severity", severity), **(extra or {})}
    for name in ("entity", "changed", "connection"):
        if name in told:
            told[name] = {
                key: value for key, value in told[name].items() if key not in exclude or key in _ALWAYS_TOLD
            }
    if "carrier" in exclude:
        for name in _OF_THE_CARRIER:
            told.pop(name, None)
    order = [name for name in _ORDER if name in told]
    data = {name: told[name] for name in [*order, *(name for name in told if name not in _ORDER)]}
    return {"type": event.type, "timestamp": event.timestamp, "data": data}


_ALWAYS_TOLD = {"id", "kind"}
_OF_THE_CARRIER = ("carrier", "usual", "affected")
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


def _entity(kind: Kind, id_: str, fields: Mapping[str, Any]) -> dict[str, Any]:
    known = {name: fields[name] for name in _ENTITY_ORDER if name in fields}
    return {"kind": str(kind), "id": id_, "status": fields.get("status"), **known}


def _around(
    kind: Kind, fields: Mapping[str, Any], id_: str, above: Mapping[str, Any], names: Names
) -> dict[str, Any]:
    """The connection of an entity, with its employer, and the carrier of a group connection."""
    employer = above.get("employer")
    name, external_id = names.employer(employer)
    around: dict[str, Any] = {
        "connection": {
            "id": id_,
            "status": above.get("status"),
            "broker_url": above.get("broker_url"),
            "employer": {"id": employer, "name": name, "external_id": external_id},
        }
    }
    if kind is Kind.GROUP_CONNECTION:
        carrier = fields.get("carrier")
        around["carrier"] = {"id": carrier, "name": names.carrier(carrier)}
    return around


def event_id(step: Transition, connection_id: str, origin: Origin) -> str:
    """The same transition has the same id however often it is detected."""
    what = (step.revision, step.type, step.from_status, step.to_status, step.changed)
    return _hash(origin.source, origin.epoch, connection_id, step.id, *what)


def _hash(*parts: Any) -> str:
    return "evt_" + digest(*parts)


def digest(*parts: Any) -> str:
    """A hash of anything that is JSON, for ids."""
    return hashlib.blake2b(json.dumps(parts, sort_keys=True).encode(), digest_size=16).hexdigest()
