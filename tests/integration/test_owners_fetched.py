"""The table of owners from an address: fetched beside the polls, guarded, and never a secret in what is said."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from notifier.config import OwnersConfig
from notifier.core.owners import Owner
from notifier.errors import ConfigError, NotifierError, OwnersUnavailable
from notifier.poller.roster import Roster, fetch
from notifier.sinks.session import Sessions
from tests.doubles.receiver import Raw, answer, running_receiver
from tests.integration.test_sink_guard import Flipping

TABLE = b"employer,owner\ner_1,sam@example.com\n"


@pytest.fixture
async def receiver():
    async with running_receiver() as receiver:
        yield receiver


@pytest.fixture
async def sessions():
    sessions = Sessions()
    yield sessions
    await sessions.close()


def config(url: str) -> OwnersConfig:
    headers = {"Authorization": SecretStr("Bearer hush")}
    return OwnersConfig(url=SecretStr(url), headers=headers, refresh=timedelta(minutes=10))


async def test_a_table_is_fetched_with_its_headers(receiver, sessions):
    receiver.script = [answer(200, body=b"\xef\xbb\xbf" + TABLE)]
    owners = await fetch(config(receiver.url), sessions)
    assert owners.of("er_1", None, None, None) == Owner("sam@example.com")
    [request] = receiver.requests
    assert (request.method, request.path, request.headers["authorization"]) == (
        "GET",
        "/in?token=hush",
        "Bearer hush",
    )


@pytest.mark.parametrize(
    ("said", "kind", "told"),
    [
        (answer(403), OwnersUnavailable, "answered 403; check the URL and the headers"),
        (answer(302, {"Location": "http://127.0.0.1:1/"}), OwnersUnavailable, "redirect (302)"),
        (Raw(), OwnersUnavailable, "closed the connection"),
        (Raw(b"nonsense\r\n\r\n"), OwnersUnavailable, "not HTTP"),
        (answer(200, body=b""), ConfigError, "(owners.url):1: is empty"),
        (answer(200, body=TABLE + b"er_2,x\n"), ConfigError, "(owners.url):3: owner: is neither"),
        (answer(200, body=b"<html>hush</html>"), ConfigError, "names no column"),
        (answer(200, body=TABLE + b"#" * 5_000_000), ConfigError, "is larger than 5 MB"),
        (Raw(b"HTTP/1.1 200 OK\r\n\r\n" + b"#" * 5_000_001, hang=True), ConfigError, "is larger than 5 MB"),
        (
            Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n" + TABLE),
            OwnersUnavailable,
            "closed the connection",
        ),
    ],
    ids=["status", "redirect", "nothing", "nonsense", "empty", "row", "page", "large", "endless", "cut"],
)
async def test_what_is_no_table_is_told_without_a_secret(receiver, sessions, said, kind, told):
    receiver.script = [said, said]  # a connection that was lost is tried once more
    with pytest.raises(kind) as caught:
        await fetch(config(receiver.url), sessions)
    assert told in str(caught.value)
    assert "hush" not in str(caught.value)


async def test_a_name_that_leads_to_a_private_address_is_not_asked(receiver):
    sessions = Sessions(resolver=Flipping(("127.0.0.1",)))
    with pytest.raises(OwnersUnavailable, match="leads to an address that is not public"):
        await fetch(config(f"http://hr.example.com:{receiver.port}/"), sessions)
    await sessions.close()
    assert receiver.connections == 0


class Naps:
    """A clock whose sleeps are noted, and end when the test says so."""

    def __init__(self) -> None:
        self.asked: list[float] = []
        self.ended = asyncio.Semaphore(0)

    async def sleep(self, seconds: float) -> None:
        self.asked.append(seconds)
        await self.ended.acquire()


async def test_an_address_is_asked_again_and_again_and_the_last_good_table_stays(
    receiver, sessions, tmp_path
):
    clock = Naps()
    roster = Roster(config(receiver.url), tmp_path, clock, sessions)
    receiver.script = [500, answer(200, body=TABLE), answer(200, body=b"x"), answer(200, body=b"owner\n")]
    await roster.fetch()
    assert (len(roster.owners), "answered 500" in roster.problem) == (0, True)
    await roster.look()  # which is for files
    seen = []
    keeping = asyncio.create_task(roster.keep())
    async with asyncio.timeout(5):
        for count in range(1, 5):
            while len(clock.asked) < count:
                await asyncio.sleep(0)
            seen.append((len(roster.owners), bool(roster.problem)))
            clock.ended.release()
    keeping.cancel()
    assert seen == [(0, True), (1, False), (1, True), (0, False)]
    assert clock.asked[:4] == [60, 600, 60, 600]


async def test_what_goes_on_failing_is_logged_once(receiver, sessions, tmp_path):
    roster = Roster(config(receiver.url), tmp_path, Naps(), sessions)
    receiver.script = [500, 500, 404]
    with capture_logs() as logs:
        for _ in range(3):
            await roster.fetch()
    assert [log["error"].split("answered ")[1][:3] for log in logs] == ["500", "404"]


def test_every_error_of_it_is_one_that_the_roster_takes():
    assert issubclass(OwnersUnavailable, NotifierError)
