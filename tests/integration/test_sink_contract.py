"""The contract, once for every kind of sink, as the registry builds them from a configuration."""

from __future__ import annotations

import asyncio
import json
import traceback
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import TypeAdapter

from notifier.config.sinks import SinkConfig
from notifier.errors import DeliveryError, SinkFault, TemporaryFailure
from notifier.models import Delivery
from notifier.sinks.contract import Attempt, Receipt
from notifier.sinks.registry import build_sinks
from tests.doubles.receiver import Raw, running_receiver
from tests.doubles.slack import TOKEN, running_slack
from tests.unit.test_sink_slack_message import group_event

ATTEMPT = Attempt(1, datetime(2026, 11, 23, 22, 0, tzinfo=UTC))
DELIVERY = Delivery("evt_1", "group_connection.status_changed", "rule", json.dumps(group_event()))


class World:
    """A receiver of each kind, and the configuration of a sink for it."""

    def __init__(self, kind: str, receiver, slack) -> None:
        self.kind, self.receiver, self.slack = kind, receiver, slack

    def config(self, *, root: str | None = None) -> dict:
        at = root or f"http://127.0.0.1:{self.receiver.port}"
        slack = root or self.slack.url
        configs = {
            "console": {"type": "console"},
            "webhook": {
                "type": "webhook",
                "url": f"{at}/in?token=hush",
                "secrets": ["whsec_aGVsbG8gd29ybGQ="],
                "allow_private_addresses": True,
                "headers": {"Authorization": "Basic hush"},
            },
            "slack": {"type": "slack", "token": TOKEN, "channel": "#carrier-ops", "api_url": f"{slack}/api"},
            "slack-hook": {"type": "slack", "webhook_url": f"{slack}/services/hush"},
        }
        kind, _, mode = self.kind.partition(" in ")
        kind, _, shape = kind.partition(" as ")
        return {**configs[kind], **({"mode": mode} if mode else {}), **({"format": shape} if shape else {})}


@asynccontextmanager
async def a_world(kind: str):
    async with running_receiver() as receiver, running_slack() as slack:
        yield World(kind, receiver, slack)


@pytest.fixture(
    params=[
        "console",
        "webhook",
        "webhook as clasp",
        "webhook as cloudevents",
        "slack",
        "slack-hook",
        "webhook in preview",
        "slack in preview",
    ]
)
async def world(request):
    async with a_world(request.param) as world:
        yield world


@pytest.fixture(params=["webhook", "webhook as clasp", "slack", "slack-hook"])
async def remote(request):
    """The kinds that send over the network."""
    async with a_world(request.param) as world:
        yield world


def built(config: dict, **more):
    sink = TypeAdapter(SinkConfig).validate_python({**config, **more})
    return build_sinks(SimpleNamespace(sinks={"mine": sink}, directory=Path()))


async def test_a_sink_knows_its_name_and_deadline(world):
    async with built(world.config(), timeout="3s") as sinks:
        assert list(sinks) == ["mine"]
        assert sinks["mine"].name == "mine"
        assert sinks["mine"].deadline == timedelta(seconds=3)


async def test_a_delivery_gives_a_receipt_each_time_it_is_sent(world, capsys):
    async with built(world.config()) as sinks:
        for number in (1, 2):
            receipt = await sinks["mine"].send(DELIVERY, Attempt(number, ATTEMPT.at))
            assert isinstance(receipt, Receipt)
    told = (
        len(world.receiver.requests) + len(world.slack.messages) + len(capsys.readouterr().out.splitlines())
    )
    assert told == 2


async def test_a_probe_sends_nothing_and_says_one_line(world, capsys):
    async with built(world.config()) as sinks:
        line = await sinks["mine"].probe()
    assert line
    assert "\n" not in line
    assert world.receiver.requests == world.slack.messages == []
    assert capsys.readouterr().out == ""


async def test_a_receiver_that_never_answers_ends_at_the_deadline(remote):
    remote.receiver.script = [Raw(hang=True)]
    config = remote.config(root=f"http://127.0.0.1:{remote.receiver.port}")
    async with built(config, timeout="200ms") as sinks:
        with pytest.raises(TemporaryFailure) as raised:
            await sinks["mine"].send(DELIVERY, ATTEMPT)
    assert raised.value.reason == "timeout"


async def test_nobody_listening_is_said_of_the_sink(remote):
    async with built(remote.config(root="http://127.0.0.1:9")) as sinks:
        with pytest.raises(TemporaryFailure) as raised:
            await sinks["mine"].send(DELIVERY, ATTEMPT)
    assert raised.value.unreachable


@pytest.mark.parametrize(
    "status",
    [300, 301, 302, 303, 305, 307, 308, 400, 401, 403, 404, 408, 410, 413, 422, 425, 429, 500, 502, 503, 504],
)
async def test_no_failure_shows_a_secret_and_every_one_has_a_bounded_reason(remote, status):
    remote.receiver.script = [
        Raw(f"HTTP/1.1 {status} hush\r\nContent-Length: 4\r\nLocation: /hush\r\n\r\nhush".encode())
    ]
    config = remote.config(root=f"http://127.0.0.1:{remote.receiver.port}")
    async with built(config) as sinks:
        with pytest.raises(DeliveryError) as raised:
            await sinks["mine"].send(DELIVERY, ATTEMPT)
    error = raised.value
    assert error.status == status
    assert error.reason.replace("_", "").isalnum()
    assert len(error.reason) < 40
    for secret in ("hush", TOKEN, "aGVsbG8", "services/"):
        assert secret not in str(error).replace("http://", "")
        assert secret not in "".join(traceback.format_exception(error)).replace("/integration/", "")
    if 300 <= status < 400 and not remote.kind.startswith("webhook"):
        assert isinstance(error, SinkFault)


async def test_a_cancelled_attempt_lets_go_at_once(remote):
    remote.receiver.script = [Raw(hang=True)]
    config = remote.config(root=f"http://127.0.0.1:{remote.receiver.port}")
    async with built(config) as sinks:
        attempt = asyncio.create_task(sinks["mine"].send(DELIVERY, ATTEMPT))
        while not remote.receiver.requests:
            await asyncio.sleep(0)
        attempt.cancel()
        with pytest.raises(asyncio.CancelledError):
            await attempt


async def test_attempts_side_by_side_do_not_wait_for_each_other(remote):
    count = 150  # more than a connection pool's usual 100
    remote.receiver.script = [Raw(hang=True)] * count
    config = remote.config(root=f"http://127.0.0.1:{remote.receiver.port}")
    async with built(config) as sinks:
        attempts = [asyncio.create_task(sinks["mine"].send(DELIVERY, ATTEMPT)) for _ in range(count)]
        async with asyncio.timeout(10):
            while len(remote.receiver.requests) < count:
                await asyncio.sleep(0)
        for attempt in attempts:
            attempt.cancel()
        await asyncio.gather(*attempts, return_exceptions=True)
