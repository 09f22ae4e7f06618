"""How an event becomes a signed request: the formats of a webhook. Pure.

A delivery's body is frozen when it is committed; a format is a function of it and of the attempt's time, so
that every attempt carries the same id and the same bytes, and a new timestamp.

- ``standard``: the frozen text as it is, signed after the Standard Webhooks specification.
- ``clasp``: the thin envelope of Clasp's own webhooks, with Clasp's headers and signature.
- ``cloudevents``: CloudEvents 1.0 in structured JSON, signed like ``standard``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from notifier.config.secrets import signing_key
from notifier.models import Delivery
from notifier.sinks.contract import body_of
from notifier.sinks.values import at, text

_CREATED = frozenset({"added", "reappeared", "opened"})


class Signed(msgspec.Struct, frozen=True):
    """A request's headers and body."""

    headers: Mapping[str, str]
    body: bytes


Format = Callable[[Delivery, int], Signed]
"""A delivery and the attempt's time (Unix seconds) -> what is sent. Raises ``PermanentFailure``."""


def format_of(name: str, secrets: Sequence[str]) -> Format:
    """The format of this name, with these secrets. Raises ``ValueError`` where one cannot sign.

    ``clasp`` signs with the first secret, and takes it as it is, like Clasp's receivers.
    """
    if not all(secrets) or not secrets:
        raise ValueError("at least one secret is needed to sign with")
    if name == "clasp":
        return _clasp(secrets[0].encode())
    keys = [signing_key(secret) for secret in secrets]
    if name == "cloudevents":
        return _cloudevents(keys)
    return _standard(keys)


def _standard(keys: Sequence[bytes]) -> Format:
    def sign(delivery: Delivery, timestamp: int) -> Signed:
        body = delivery.body.encode()
        return Signed(_standard_headers(keys, delivery.id, timestamp, body, "application/json"), body)

    return sign


def _cloudevents(keys: Sequence[bytes]) -> Format:
    def sign(delivery: Delivery, timestamp: int) -> Signed:
        body = json.dumps(cloud_event(delivery)).encode()
        content_type = "application/cloudevents+json"
        return Signed(_standard_headers(keys, delivery.id, timestamp, body, content_type), body)

    return sign


def _clasp(key: bytes) -> Format:
    def sign(delivery: Delivery, timestamp: int) -> Signed:
        # json.dumps with its defaults: a receiver that parses and dumps again hashes the same bytes
        body = json.dumps(clasp_envelope(delivery)).encode()
        signature = hmac.digest(key, body + f".{timestamp}".encode(), hashlib.sha256)
        headers = {
            "content-type": "application/json",
            "clasp-event-timestamp": str(timestamp),
            "clasp-event-signature": signature.hex(),
        }
        return Signed(headers, body)

    return sign


def _standard_headers(
    keys: Sequence[bytes], id_: str, timestamp: int, body: bytes, content_type: str
) -> dict[str, str]:
    content = f"{id_}.{timestamp}.".encode() + body
    signatures = (hmac.digest(key, content, hashlib.sha256) for key in keys)
    return {
        "content-type": content_type,
        "webhook-id": id_,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(f"v1,{base64.b64encode(one).decode()}" for one in signatures),
    }


def cloud_event(delivery: Delivery) -> dict[str, Any]:
    """The event as CloudEvents 1.0 has it: ``subject`` is the entity, ``partitionkey`` the connection."""
    body = body_of(delivery)
    data = at(body, "data")
    attributes = {
        "specversion": "1.0",
        "id": delivery.id,
        "source": at(data, "source"),
        "type": delivery.type,
        "subject": at(data, "entity", "id"),
        "time": at(body, "timestamp"),
        "partitionkey": at(data, "connection", "id"),
        "datacontenttype": "application/json",
    }
    return {**{name: value for name, value in attributes.items() if text(value)}, "data": data}


def clasp_envelope(delivery: Delivery) -> dict[str, Any]:
    """The event as Clasp's webhooks tell one: that something of an object changed, and not what.

    ``connection`` is ours: neither a group connection nor a milestone can be asked for by its own id.
    """
    body = body_of(delivery)
    data = at(body, "data")
    kind, _, verb = delivery.type.rpartition(".")
    object_id = {"alert": at(data, "alert", "id"), "notifier": at(data, "source")}.get(
        kind, at(data, "entity", "id")
    )
    envelope = {
        "id": delivery.id,
        "event_type": "created" if verb in _CREATED else "deleted" if verb == "removed" else "updated",
        "object_id": object_id,
        "object_type": kind,
        "employer": at(data, "connection", "employer", "id"),
        "created_at": at(body, "timestamp"),
    }
    connection = at(data, "connection", "id")
    is_told = connection is None or connection == object_id
    return envelope if is_told else {**envelope, "connection": connection}
