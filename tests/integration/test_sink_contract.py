"""The contract, once for every kind of sink, as the registry builds them from a configuration."""

from __future__ import annotations

import asyncio
import json
import sys
import traceback
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from notifier.errors import DeliveryError, SinkFault, TemporaryFailure
from notifier.sinks.contract import Attempt
from notifier.testing import AT, CONTRACT, Case, built, event
from tests.doubles.receiver import Raw, running_receiver
from tests.doubles.slack import TOKEN, running_slack

ATTEMPT = Attempt(1, AT)
SECRETS = ("hush", TOKEN, "aGVsbG8", "services/")
KINDS = [
    "console",
    "webhook",
    "webhook as clasp",
    "webhook as cloudevents",
    "slack",
    "slack-hook",
    "webhook in preview",
    "slack in preview",
    "command",
    "apprise",
    "pagerduty",
]
REMOTE = ["webhook", "webhook as clasp", "slack", "slack-hook", "pagerduty"]
#: A program for each event: it notes that it was run, and then does as its first argument says.
PROGRAM = """
import sys, time
event = sys.stdin.read()
with open("told", "a") as told: told.write(".")
if sys.argv[1:] == ["hang"]: time.sleep(60)
"""


class World(Case):
    """A receiver of each kind, and the configuration of a sink for it."""

    def __init__(self, kind: str, receiver, slack, directory: Path) -> None:
        self.kind, self.receiver, self.slack, self.directory = kind, receiver, slack, directory
        self.type = kind.partition(" ")[0].partition("-")[0]
        self.printed = lambda: ""
        self._lines = 0
        (directory / "program.py").write_text(PROGRAM)

    def settings(self, root: str | None = None, *, mood: str = "tell") -> dict:
        at = root or f"http://127.0.0.1:{self.receiver.port}"
        slack = root or self.slack.url
        webhook = {
            "url": f"{at}/in?token=hush",
            "secrets": ["whsec_aGVsbG8gd29ybGQ="],
            "allow_private_addresses": True,
            "headers": {"Authorization": "Basic hush"},
        }
        kind, _, mode = self.kind.partition(" in ")
        kind, _, shape = kind.partition(" as ")
        found = {
            "console": {},
            "webhook": webhook,
            "slack": {"token": TOKEN, "channel": "#carrier-ops", "api_url": f"{slack}/api"},
            "slack-hook": {"webhook_url": f"{slack}/services/hush"},
            "command": {"command": [sys.executable, "program.py", mood], "environment": {"TOKEN": "hush"}},
            "pagerduty": {"routing_key": "hush", "url": f"{at}/v2/enqueue"},
            "apprise": {"urls": [f"json://user:hush@{at.partition('//')[2]}/in"]},
        }[kind]
        return {**found, **({"mode": mode} if mode else {}), **({"format": shape} if shape else {})}

    def told(self) -> int:
        self._lines += len(self.printed().splitlines())
        program = self.directory / "told"
        count = len(program.read_text()) if program.exists() else 0
        return len(self.receiver.requests) + len(self.slack.messages) + self._lines + count

    def silent(self) -> dict | None:
        if self.kind == "command":
            return self.settings(mood="hang")
        if self.kind not in REMOTE:
            return None
        self.receiver.script = [Raw(hang=True)] * 10
        return self.settings(f"http://127.0.0.1:{self.receiver.port}")

    def heard(self) -> int:
        return self.told()

    def away(self) -> dict | None:
        if self.kind == "command":
            return {**self.settings(), "command": ["./nowhere", "hush"]}
        return self.settings("http://127.0.0.1:9") if self.kind in {*REMOTE, "apprise"} else None

    def secrets(self) -> tuple[str, ...]:
        return SECRETS


@asynccontextmanager
async def a_world(kind: str, directory: Path):
    async with running_receiver() as receiver, running_slack() as slack:
        yield World(kind, receiver, slack, directory)


@pytest.fixture(params=KINDS)
async def world(request, tmp_path, capsys):
    async with a_world(request.param, tmp_path) as world:
        world.printed = lambda: capsys.readouterr().out
        yield world


@pytest.fixture(params=REMOTE)
async def remote(request, tmp_path):
    """The kinds that send over the network by our sessions."""
    async with a_world(request.param, tmp_path) as world:
        yield world


@pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
async def test_every_kind_of_sink_keeps_the_contract(world, check):
    await check(world)


async def test_nobody_listening_is_said_of_the_sink(remote):
    async with built(remote, remote.away()) as sink:
        with pytest.raises(TemporaryFailure) as raised:
            await sink.send(event(), ATTEMPT)
    assert raised.value.unreachable


@pytest.mark.parametrize(
    "status",
    [300, 301, 302, 303, 305, 307, 308, 400, 401, 403, 404, 408, 410, 413, 422, 425, 429, 500, 502, 503, 504],
)
async def test_no_failure_shows_a_secret_and_every_one_has_a_bounded_reason(remote, status):
    said = f"HTTP/1.1 {status} hush\r\nContent-Length: 4\r\nLocation: /hush\r\n\r\nhush"
    remote.receiver.script = [Raw(said.encode())]
    async with built(remote, remote.settings(f"http://127.0.0.1:{remote.receiver.port}")) as sink:
        with pytest.raises(DeliveryError) as raised:
            await sink.send(event(), ATTEMPT)
    error = raised.value
    assert error.status == status
    assert error.reason.replace("_", "").isalnum()
    assert len(error.reason) < 40
    for secret in SECRETS:
        assert secret not in str(error).replace("http://", "")
        assert secret not in "".join(traceback.format_exception(error)).replace("/integration/", "")
    if 300 <= status < 400 and not remote.kind.startswith("webhook"):
        assert isinstance(error, SinkFault)


async def test_attempts_side_by_side_do_not_wait_for_each_other(remote):
    count = 150  # more than a connection pool's usual 100
    remote.receiver.script = [Raw(hang=True)] * count
    async with built(remote, remote.settings(f"http://127.0.0.1:{remote.receiver.port}")) as sink:
        attempts = [asyncio.create_task(sink.send(event(), ATTEMPT)) for _ in range(count)]
        async with asyncio.timeout(10):
            while len(remote.receiver.requests) < count:
                await asyncio.sleep(0)
        for attempt in attempts:
            attempt.cancel()
        await asyncio.gather(*attempts, return_exceptions=True)


# --- and each check can fail ---


class Broken(Case):
    """A sink that breaks the contract in one way."""

    type = "console"

    def __init__(self, defect: str) -> None:
        self.defect, self.count = defect, 0

    def settings(self) -> dict:
        return {}

    def told(self) -> int:
        return self.count

    def silent(self) -> dict:
        return {}

    def heard(self) -> int:
        return self.count

    def away(self) -> dict:
        return {}

    def secrets(self) -> tuple[str, ...]:
        return ("hush",)


class BrokenSink:
    """What stands in for its sink."""

    def __init__(self, case: Broken) -> None:
        self.name = "other" if case.defect == "name" else "mine"
        self.deadline = None
        self._case = case

    async def send(self, delivery, attempt):
        self._case.count += 2 if self._case.defect == "twice" else 1
        if self._case.defect == "crash":
            json.loads(delivery.body)["data"]["entity"]["kind"].upper()
        if self._case.defect == "loud":
            raise TemporaryFailure("hush " * 20, "hush")
        if self._case.defect == "stubborn":
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                raise TemporaryFailure("x", "x") from None
        return None if self._case.defect == "no receipt" else "taken"

    async def probe(self) -> str:
        self._case.count += 1
        return ""

    async def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("check", "defect"),
    [
        ("knows_its_name_and_deadline", "name"),
        ("sends_once_each_time_and_gives_a_receipt", "no receipt"),
        ("tells_every_type_of_event", "twice"),
        ("fails_as_a_delivery_whatever_it_is_given", "crash"),
        ("probes_without_a_message", "probe"),
        ("ends_at_the_deadline", "taken"),
        ("lets_go_when_it_is_cancelled", "stubborn"),
        ("says_in_bounded_words_that_nobody_is_there", "loud"),
    ],
)
async def test_each_check_fails_where_the_contract_is_broken(check, defect, monkeypatch):
    case = Broken(defect)

    @asynccontextmanager
    async def stand_in(_case, _settings, **_more):
        yield BrokenSink(case)

    monkeypatch.setattr("notifier.testing.built", stand_in)
    by_name = {one.__name__: one for one in CONTRACT}
    with pytest.raises((AssertionError, ValueError, TypeError, KeyError)):
        await by_name[check](case)


def test_every_check_has_such_a_defect():
    [marks] = [
        mark
        for mark in test_each_check_fails_where_the_contract_is_broken.pytestmark
        if mark.name == "parametrize"
    ]
    assert {check for check, _ in marks.args[1]} == {check.__name__ for check in CONTRACT}
