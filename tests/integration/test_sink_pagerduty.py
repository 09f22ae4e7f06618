"""What PagerDuty is told of an event, and what its answers amount to."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from notifier.config import ConfigFile, Target
from notifier.core.events import recorded
from notifier.core.rules import Router
from notifier.errors import DeliveryError, PermanentFailure, SinkFault, TemporaryFailure
from notifier.models import Delivery
from notifier.sinks.contract import Attempt, Receipt
from notifier.sinks.registry import build, build_sinks
from notifier.sinks.renewal import Renewal
from notifier.sinks.session import USER_AGENT, Sessions
from notifier.testing import AT, event
from tests.doubles.receiver import Raw, answer, running_receiver
from tests.support.configs import config_with

KEY = "R0123456789ABCDEF0123456789ABCDE"
TAKEN = b'{"status": "success", "message": "Event processed", "dedup_key": "alert_1"}'
EIN = "98-7654321"
ATTEMPT = Attempt(1, AT)
RULES = """
  - name: rule
    while: {entity: group_connection}
    severity: critical
    notify: [on-call]
"""


def config_for(port: int, more: str = ""):
    url = f"http://127.0.0.1:{port}/v2/enqueue"
    return config_with(RULES, f'  on-call: {{type: pagerduty, routing_key: {KEY}, url: "{url}"{more}}}\n')


@asynccontextmanager
async def pagerduty(*script, more: str = ""):
    """A PagerDuty that answers so, and then takes everything; and a sink for it, as a worker builds it."""
    said = [*script, *[answer(202, {"Content-Type": "application/json"}, TAKEN)] * 20]
    async with (
        running_receiver(*said) as receiver,
        build_sinks(config_for(receiver.port, more)) as sinks,
    ):
        yield sinks["on-call"], receiver


async def told(delivery: Delivery) -> dict:
    async with pagerduty() as (sink, receiver):
        assert await sink.send(delivery, ATTEMPT) == Receipt(202)
        [request] = receiver.requests
    return json.loads(request.body)


async def outcome(*script, **delivery) -> DeliveryError | Receipt:
    async with pagerduty(*script) as (sink, _):
        try:
            return await sink.send(alert("opened", **delivery), ATTEMPT)
        except DeliveryError as failure:
            error = failure
    assert KEY not in str(error)
    return error


def alert(what: str, **data) -> Delivery:
    return event(f"alert.{what}", **data)


# --- what is sent ---


async def test_a_request_is_as_the_events_api_has_it():
    async with pagerduty() as (sink, receiver):
        assert await sink.send(alert("opened", severity="critical"), ATTEMPT) == Receipt(202)
        [request] = receiver.requests
    assert (request.method, request.path) == ("POST", "/v2/enqueue")
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == USER_AGENT
    said = json.loads(request.body)
    details = said["payload"].pop("custom_details")
    assert said == {
        "routing_key": KEY,
        "event_action": "trigger",
        "dedup_key": "alert_1",
        "client": "Clasp",
        "payload": {
            "summary": "Acme · Guardian needs attention: Processing → Needs Attention",
            "source": "clasp-test",
            "severity": "critical",
            "timestamp": "2026-11-23T22:01:07.120Z",
            "component": "Guardian",
            "group": "Acme",
            "class": "rule",
        },
    }
    assert details == json.loads(alert("opened", severity="critical").body)["data"]


@pytest.mark.parametrize(
    ("what", "action"),
    [
        ("opened", "trigger"),
        ("reminder", "trigger"),
        ("released", "trigger"),
        ("of_a_later_release", "trigger"),
        ("acknowledged", "acknowledge"),
        ("resolved", "resolve"),
    ],
)
async def test_what_is_told_of_an_alert_reaches_its_incident(what, action):
    said = await told(alert(what))
    assert (said["event_action"], said["dedup_key"]) == (action, "alert_1")
    assert ("payload" in said) is (action == "trigger"), "only the key, where the incident is there"


@pytest.mark.parametrize("type_", ["group_connection.added", "notifier.source_failing", "connection.current"])
async def test_what_is_no_alert_is_an_incident_of_its_own(type_):
    said = await told(event(type_))
    assert (said["event_action"], said["dedup_key"]) == ("trigger", "evt_1")
    assert said["payload"]["summary"]


async def test_what_is_sent_again_is_the_same_incident_on_the_same_connection():
    async with pagerduty(503) as (sink, receiver):
        with pytest.raises(TemporaryFailure):
            await sink.send(alert("opened"), ATTEMPT)
        await sink.send(alert("opened"), Attempt(2, AT + timedelta(minutes=1), may_repeat=True))
        first, second = receiver.requests
        assert receiver.connections == 1
    assert first.body == second.body


@pytest.mark.parametrize(
    ("severity", "told_as"),
    [("info", "info"), ("warning", "warning"), ("critical", "critical"), ("fatal", "error"), ([], "error")],
)
async def test_severities(severity, told_as):
    assert (await told(alert("opened", severity=severity)))["payload"]["severity"] == told_as


async def test_the_broker_page_is_a_link_where_it_is_one():
    page = "https://clasp.example.com/broker/1"
    said = await told(alert("opened", connection={"id": "conn_1", "broker_url": page}))
    assert said["links"] == [{"href": page, "text": "broker page"}]
    assert said["client_url"] == page
    other = await told(alert("opened", connection={"id": "conn_1", "broker_url": "javascript:alert(1)"}))
    assert "links" not in other
    assert "client_url" not in other


async def test_no_text_of_the_source_is_longer_than_pagerduty_takes():
    long = "x\x1b\n" * 3000
    said = await told(
        alert(
            "opened", source=long, rule=long, carrier={"name": long}, connection={"employer": {"name": long}}
        )
    )
    payload = said["payload"]
    assert len(payload["summary"]) == 1024
    assert {len(payload[name]) for name in ("source", "component", "group", "class")} == {255}
    assert "\\u001b" not in json.dumps({**payload, "custom_details": None})
    for delivery in (Delivery(long, "x", "rule", "{}"), alert("opened", alert={"id": long})):
        assert len((await told(delivery))["dedup_key"]) == 255


async def test_an_event_that_is_too_large_is_told_without_its_details():
    async with pagerduty() as (sink, receiver):
        for size in (500_000, 600_000):
            await sink.send(alert("opened", entity={"kind": "connection", "status": "y" * size}), ATTEMPT)
        fits, large = (request.body for request in receiver.requests)
    assert "custom_details" in json.loads(fits)["payload"]
    assert "custom_details" not in json.loads(large)["payload"]
    assert len(large) < 512 * 1024


@pytest.mark.parametrize(("more", "is_told"), [("", False), (", exclude: []", True)])
async def test_federal_eins_are_told_only_where_the_sink_asks_for_them(more, is_told):
    """From the event of the core to the request, by the configuration's rules."""
    data = json.loads(alert("opened").body)["data"]
    data["entity"] |= {"broker_federal_ein": EIN}
    data["changed"] = {"broker_federal_ein": [None, EIN]}
    async with pagerduty(more=more) as (sink, receiver):
        router = Router(config_for(receiver.port, more))
        rule = config_for(receiver.port, more).rules[0]
        owed = router.owe(
            recorded("alert.opened", "2026-11-23T22:01:07Z", data), Target("on-call"), "rule", rule
        )
        await sink.send(owed.delivery, ATTEMPT)
        [request] = receiver.requests
    assert (EIN.encode() in request.body) is is_told
    assert (b"broker_federal_ein" in request.body) is is_told


# --- what the answers amount to ---

NO_KEY = (
    b'{"status": "invalid event", "message": "Event object is invalid", "errors": ["Invalid routing key"]}'
)
NO_EVENT = (
    b'{"status": "invalid event", "message": "Event object is invalid", "errors": ["summary is missing"]}'
)


@pytest.mark.parametrize(
    ("said", "kind", "reason"),
    [
        (answer(400, body=NO_EVENT), PermanentFailure, "http_400"),
        (answer(400), PermanentFailure, "http_400"),
        (answer(413), PermanentFailure, "http_413"),
        (answer(400, body=NO_KEY), SinkFault, "invalid_routing_key"),
        (
            answer(400, body=NO_KEY.replace(b"routing key", b"'routing_key'")),
            SinkFault,
            "invalid_routing_key",
        ),
        (answer(401), SinkFault, "http_401"),
        (answer(403), SinkFault, "http_403"),
        (answer(404), SinkFault, "http_404"),
        (answer(302, {"Location": "https://elsewhere.example.com"}), SinkFault, "http_302"),
        (answer(429), TemporaryFailure, "http_429"),
        (answer(500, body=NO_KEY), TemporaryFailure, "http_500"),
        (answer(503), TemporaryFailure, "http_503"),
        (Raw(), TemporaryFailure, "connection_lost"),
        (Raw(reset=True), TemporaryFailure, "connection_lost"),
    ],
)
async def test_each_answer_has_its_class(said, kind, reason):
    error = await outcome(said)
    assert (type(error), error.reason) == (kind, reason)


async def test_what_is_to_be_mended_is_said():
    assert "check routing_key" in str(await outcome(403))
    assert "correct routing_key" in str(await outcome(answer(400, body=NO_KEY)))


async def test_a_limit_of_rate_lets_the_sink_rest_as_long_as_it_is_asked_to():
    error = await outcome(answer(429, {"Retry-After": "30"}))
    assert (error.retry_after, error.throttled) == (timedelta(seconds=30), True)
    assert not (await outcome(429)).throttled


async def test_an_answer_that_never_ends_is_bounded():
    endless = Raw(b"HTTP/1.1 202 Accepted\r\nContent-Length: 1000\r\n\r\n{", hang=True)
    assert await outcome(endless) == Receipt(202), "the status alone decides"
    large = answer(400, body=b"x" * 200_000 + NO_KEY)
    assert (await outcome(large)).reason == "http_400", "what is beyond the bound is not read"


# --- where it leads, and who may know the key ---


async def test_only_what_is_written_as_loopback_may_be_private():
    async with Sessions() as sessions:
        for host in ("10.1.2.3", "169.254.169.254", "192.168.0.1"):
            config = config_with(
                RULES,
                f'  on-call: {{type: pagerduty, routing_key: {KEY}, url: "https://{host}/v2/enqueue"}}\n',
            )
            sink = build("on-call", config.sinks["on-call"], sessions, Path())
            for attempt in (sink.send(alert("opened"), ATTEMPT), sink.probe()):
                with pytest.raises(SinkFault) as refused:
                    await attempt
                assert refused.value.reason == "forbidden_address"


async def test_a_proxy_is_asked():
    async with running_receiver(502) as proxy:
        config = config_with(
            RULES,
            f"  on-call: {{type: pagerduty, routing_key: {KEY}, proxy: 'http://127.0.0.1:{proxy.port}'}}\n",
        )
        async with build_sinks(config) as sinks:
            with pytest.raises(TemporaryFailure) as failed:
                await sinks["on-call"].send(alert("opened"), ATTEMPT)
        assert failed.value.reason == "proxy"
        assert (proxy.requests[0].method, proxy.requests[0].path) == ("CONNECT", "events.pagerduty.com:443")


def test_the_key_is_shown_nowhere():
    config = config_for(1)
    assert KEY not in repr(config) + str(config.model_dump())


async def test_a_key_in_a_file_is_renewed_under_a_running_worker(tmp_path):
    used = []
    secret = tmp_path / "key"
    secret.write_text("old\n")
    async with running_receiver() as receiver, Sessions() as sessions:
        (tmp_path / "notifier.yaml").write_text(
            'name: test\nsource: {base_url: "https://clasp.example.com", api_key: k}\nsinks:\n  on-call: {type: '
            'pagerduty, routing_key: "${PAGERDUTY_ROUTING_KEY}", '
            f'url: "http://127.0.0.1:{receiver.port}/v2/enqueue"}}\nrules:{RULES}'
        )
        file = ConfigFile(tmp_path / "notifier.yaml", {"PAGERDUTY_ROUTING_KEY_FILE": str(secret)})
        config = file.read()
        renewal = Renewal(file, config, None, lambda _name, settings: used.append(settings), None)
        secret.write_text("new-key\n")
        await renewal.look()
        await renewal.look()
        for settings in (config.sinks["on-call"], *used):
            await build("on-call", settings, sessions, tmp_path).send(alert("opened"), ATTEMPT)
        assert [json.loads(one.body)["routing_key"] for one in receiver.requests] == ["old", "new-key"]
