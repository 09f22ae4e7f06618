"""The formats of a webhook, as receivers that are not ours read them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from datetime import datetime
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cloudevents.v1.http import from_http
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook
from svix.webhooks import Webhook as SvixWebhook

from notifier.models import Delivery
from notifier.sinks.formats import Signed, format_of

OLD = "whsec_" + base64.b64encode(b"old secret of 24 bytes!!").decode()
NEW = "whsec_" + base64.b64encode(b"new secret of 24 bytes!!").decode()
PLAIN = "a shared secret, plain"
NOW = int(time.time())
TEXTS = st.text(max_size=30) | st.sampled_from(['"', "\\", "\u2028", "Café <b>&", "\ud800", "\x00\x1f"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
VALUES = SCALARS | st.lists(SCALARS, max_size=2) | st.dictionaries(TEXTS, SCALARS, max_size=2)
CALM = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def delivery(type_: str = "group_connection.status_changed", **data: Any) -> Delivery:
    body = {
        "type": type_,
        "timestamp": "2026-11-23T22:01:07.120Z",
        "data": {
            "id": "evt_1",
            "source": "clasp-production",
            "sequence": 7,
            "entity": {"kind": "group_connection", "id": "gc_1", "status": "needs_attention"},
            "from": "processing",
            "to": "needs_attention",
            "connection": {"id": "conn_1", "employer": {"id": "er_1", "name": "Café Acme"}},
            "carrier": {"id": "carr_1", "name": "Guardian"},
            **data,
        },
    }
    return Delivery("evt_1", type_, "rule", json.dumps(body))


def signed(shape: str, *secrets: str, of: Delivery | None = None, now: int = NOW) -> Signed:
    return format_of(shape, secrets or (OLD,))(of or delivery(), now)


def clasps_receiver(body: bytes, headers: dict[str, str], secret: str, *, parses: bool) -> bool:
    """Clasp's own example: the HMAC of payload, a dot and the timestamp; some parse the payload before."""
    payload = json.dumps(json.loads(body)) if parses else body.decode()
    expected = hmac.new(
        secret.encode(), f"{payload}.{headers['clasp-event-timestamp']}".encode(), hashlib.sha256
    ).hexdigest()
    return hmac.compare_digest(expected, headers["clasp-event-signature"])


# --- signatures ---


@pytest.mark.parametrize("shape", ["standard", "cloudevents"])
@pytest.mark.parametrize("library", [Webhook, SvixWebhook])
def test_official_libraries_verify_each_secret_of_a_rotation(shape, library):
    request = signed(shape, OLD, NEW)
    for secret in (OLD, NEW):
        library(secret).verify(request.body, dict(request.headers))
    stranger = "whsec_" + base64.b64encode(b"somebody else's secret!!").decode()
    with pytest.raises(Exception, match="No matching signature"):
        library(stranger).verify(request.body, dict(request.headers))
    with pytest.raises(Exception, match="No matching signature"):
        library(OLD).verify(request.body + b" ", dict(request.headers))


@pytest.mark.parametrize("parses", [False, True])
@pytest.mark.parametrize("secret", [PLAIN, OLD])
def test_clasps_own_receiver_verifies_the_first_secret_as_it_is_written(parses, secret):
    request = signed("clasp", secret, NEW)
    assert clasps_receiver(request.body, dict(request.headers), secret, parses=parses)
    assert not clasps_receiver(request.body, dict(request.headers), NEW, parses=parses)
    assert not clasps_receiver(request.body + b" ", dict(request.headers), secret, parses=False)


@given(
    st.sampled_from(["group_connection.removed", "connection.added", "alert.opened", "notifier.drift"]),
    st.fixed_dictionaries(
        {},
        optional={
            name: VALUES | st.builds(lambda id_, of: {"id": id_, "employer": of}, VALUES, VALUES)
            for name in ("entity", "connection", "alert", "source", "x")
        },
    ),
)
@CALM
def test_whatever_an_event_holds_clasps_receivers_and_the_standard_ones_verify_it(type_, data):
    event = delivery(type_, **data)
    request = signed("clasp", PLAIN, of=event)
    for parses in (False, True):
        assert clasps_receiver(request.body, dict(request.headers), PLAIN, parses=parses)
    for shape in ("standard", "cloudevents"):
        request = signed(shape, of=event)
        told = Webhook(OLD).verify(request.body, dict(request.headers))
        assert told["data"] == json.loads(event.body)["data"]


@pytest.mark.parametrize("shape", ["standard", "clasp", "cloudevents"])
def test_a_later_attempt_has_another_time_and_signature_and_the_same_body(shape):
    first, second = signed(shape), signed(shape, now=NOW + 300)
    assert first.body == second.body
    changed = {name for name in first.headers if first.headers[name] != second.headers[name]}
    assert {name.rpartition("-")[2] for name in changed} == {"timestamp", "signature"}


@pytest.mark.parametrize("shape", ["standard", "clasp", "cloudevents"])
@pytest.mark.parametrize("secrets", [(), ("",), (OLD, "")])
def test_nothing_is_sent_unsigned(shape, secrets):
    with pytest.raises(ValueError, match="secret"):
        format_of(shape, secrets)


# --- clasp ---


def test_clasps_envelope_has_clasps_keys_and_the_connection_to_ask_for():
    assert json.loads(signed("clasp").body) == {
        "id": "evt_1",
        "event_type": "updated",
        "object_id": "gc_1",
        "object_type": "group_connection",
        "employer": "er_1",
        "created_at": "2026-11-23T22:01:07.120Z",
        "connection": "conn_1",
    }
    connection = signed("clasp", of=delivery("connection.updated", entity={"id": "conn_1"}))
    assert list(json.loads(connection.body)) == [
        "id",
        "event_type",
        "object_id",
        "object_type",
        "employer",
        "created_at",
    ]


@pytest.mark.parametrize(
    ("type_", "said"),
    [
        ("connection.added", ("connection", "created", "gc_1")),
        ("group_connection.reappeared", ("group_connection", "created", "gc_1")),
        ("milestone.status_changed", ("milestone", "updated", "gc_1")),
        ("milestone.updated", ("milestone", "updated", "gc_1")),
        ("group_connection.removed", ("group_connection", "deleted", "gc_1")),
        ("alert.opened", ("alert", "created", "alert_1")),
        ("alert.reminder", ("alert", "updated", "alert_1")),
        ("alert.resolved", ("alert", "updated", "alert_1")),
        ("notifier.baseline", ("notifier", "updated", "clasp-production")),
    ],
)
def test_every_type_of_event_has_a_place_in_clasps_envelope(type_, said):
    envelope = json.loads(signed("clasp", of=delivery(type_, alert={"id": "alert_1"})).body)
    assert (envelope["object_type"], envelope["event_type"], envelope["object_id"]) == said


# --- cloudevents ---


def test_the_official_library_reads_the_cloud_event():
    request = signed("cloudevents")
    event = from_http_event(HTTPMessage(dict(request.headers), request.body))
    assert (event.get_specversion(), event.get_id()) == ("1.0", "evt_1")
    assert event.get_type() == "group_connection.status_changed"
    assert (event.get_source(), event.get_subject()) == ("clasp-production", "gc_1")
    assert event.get_time() == datetime.fromisoformat("2026-11-23T22:01:07.120+00:00")
    assert event.get_extension("partitionkey") == "conn_1"
    assert event.get_data() == json.loads(delivery().body)["data"]
    older = from_http(dict(request.headers), request.body)
    assert older["id"] == "evt_1"
    assert older.data == event.get_data()


@given(st.sampled_from(["connection.added", "alert.opened", "notifier.drift"]), VALUES)
@CALM
def test_whatever_an_event_holds_it_is_a_valid_cloud_event(type_, value):
    event = delivery(type_, entity=value, connection=value, x=value)
    request = signed("cloudevents", of=event)
    read = from_http_event(HTTPMessage(dict(request.headers), request.body))
    assert read.get_data() == json.loads(event.body)["data"]
