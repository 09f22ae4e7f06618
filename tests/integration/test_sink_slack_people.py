"""Mentions and direct messages in Slack: who is pinged, when, and what happens where nobody is found."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from notifier.errors import TemporaryFailure
from notifier.models import Delivery, Part
from notifier.sinks.contract import Attempt
from notifier.sinks.session import Sessions
from notifier.sinks.slack import SlackSink
from tests.doubles.slack import GONE, SAM, TOKEN, running_slack
from tests.unit.test_sink_slack_message import alert_event

FIRST = Attempt(1, datetime(2026, 11, 23, 22, 0, tzinfo=UTC), version=1)


@pytest.fixture
async def slack():
    async with running_slack() as slack:
        yield slack


@pytest.fixture
async def make(slack):
    sessions = Sessions()

    def make(deadline: timedelta = timedelta(seconds=5)) -> SlackSink:
        options = {"token": TOKEN, "channel": "#carrier-ops", "api_url": f"{slack.url}/api"}
        return SlackSink("ops", sessions=sessions, deadline=deadline, **options)

    yield make
    await sessions.close()


@pytest.fixture
def sink(make) -> SlackSink:
    return make()


@pytest.fixture
async def hook(slack):
    sessions = Sessions()
    url = f"{slack.url}/services/hush"
    yield SlackSink("ops", sessions=sessions, deadline=timedelta(seconds=5), webhook_url=url)
    await sessions.close()


def delivery(*mention: str, part: Part | None = Part.ROOT, target: str | None = None) -> Delivery:
    body = alert_event("opened")
    body["data"] |= {"mention": list(mention), "owner": {"owner": "sam@example.com", "team": "Benefits"}}
    message = "msg_1" if part else None
    return Delivery(f"msg_1.{part}", "alert.opened", "rule", json.dumps(body), target, message, part)


def mentions(message: dict) -> list[str]:
    """The mrkdwn sections of a message that are nothing but mentions."""
    texts = [
        block["text"]["text"] for block in message["blocks"] if block.get("text", {}).get("type") == "mrkdwn"
    ]
    return [text for text in texts if text.startswith("<") or "@" in text]


def later(attempt: Attempt, **passed: float) -> Attempt:
    return msgspec.structs.replace(attempt, at=attempt.at + timedelta(**passed))


async def test_everybody_and_everything_that_may_be_mentioned_is(slack, sink):
    words = (
        "here",
        "channel",
        "U0000000007",
        "W0000000008",
        "S0000000009",
        "sam@example.com",
        "sam@example.com",
    )
    await sink.send(delivery(*words), FIRST)
    [message] = slack.messages
    assert mentions(message) == [
        f"<!here> <!channel> <@U0000000007> <@W0000000008> <!subteam^S0000000009> <@{SAM}>"
    ]
    assert "<" not in message["text"]
    assert "Owner: sam@\u2060example.com (Benefits)" in json.dumps(message, ensure_ascii=False)


@pytest.mark.parametrize(
    "word", ["everyone", "<!channel>", "U1> <!here", "C0000000001", "!here", "@sam", "", 7, None, ["here"]]
)
async def test_nothing_else_becomes_a_mention(slack, sink, word):
    await sink.send(delivery(word), FIRST)
    assert mentions(slack.messages[0]) == []


async def test_a_message_that_mentions_many_is_taken(slack, sink):
    slack.people = {}
    await sink.send(delivery(*(f"{'x' * 60}{n}@{'y' * 60}.example.com" for n in range(60))), FIRST)
    assert len(slack.messages) == 1


async def test_only_news_mention_anybody_never_an_edit(slack, sink):
    receipt = await sink.send(delivery("here"), FIRST)
    after = msgspec.structs.replace(FIRST, posted=receipt.posted, version=2)
    await sink.send(delivery("here"), after)
    [there] = slack.there.values()
    assert mentions(there) == []
    await sink.send(delivery("here", part=Part.NEWS), after)
    assert mentions(slack.messages[-1]) == ["<!here>"]
    slack.there.clear()
    await sink.send(delivery("here"), after)  # somebody has deleted it: posted anew
    assert len(slack.messages) == 3
    assert mentions(slack.messages[-1]) == []


async def test_an_address_is_looked_up_once_an_hour(slack, sink):
    for minutes in (0, 59, 61):
        await sink.send(delivery("sam@example.com", part=None), later(FIRST, minutes=minutes))
    assert slack.calls.count("users.lookupByEmail") == 2


@pytest.mark.parametrize(
    "spoil",
    [
        lambda slack: slack.people.clear(),
        lambda slack: slack.scopes.clear(),
        lambda slack: slack.people["sam@example.com"].update(deleted=True),
        lambda slack: slack.people["sam@example.com"].update(id="<!channel>"),
        lambda slack: slack.script.append("ratelimited"),
        lambda slack: slack.script.append("something_new"),
        lambda slack: slack.script.append(web.Response(status=500)),
        lambda slack: slack.script.append(web.json_response({"ok": True})),
    ],
    ids=["unknown", "scope", "deleted", "strange", "limited", "new", "error", "empty"],
)
async def test_who_cannot_be_looked_up_is_named_by_the_address(slack, sink, spoil):
    spoil(slack)
    await sink.send(delivery("sam@example.com", "here"), FIRST)
    assert mentions(slack.messages[0]) == ["sam@\u2060example.com <!here>"]


async def test_a_scope_that_is_missing_is_logged_once_and_not_with_each_message(slack, sink):
    slack.scopes = {"chat:write"}
    with capture_logs() as logs:
        await sink.send(delivery("sam@example.com", "kim@example.com"), FIRST)
        await sink.send(delivery("sam@example.com"), later(FIRST, hours=2))
    [warned] = [line for line in logs if line["event"] == "slack.lookup_refused"]
    assert (warned["log_level"], warned["sink"]) == ("warning", "ops")
    assert "users:read and users:read.email" in warned["error"]
    assert "example.com" not in str(warned)


async def test_a_look_up_that_hangs_does_not_hold_up_the_message(slack, make):
    slack.stuck, slack.stuck_on = asyncio.Event(), "users.lookupByEmail"
    sink = make(timedelta(seconds=0.3))
    await sink.send(delivery("sam@example.com", "kim@example.com"), FIRST)
    assert mentions(slack.messages[0]) == ["sam@\u2060example.com kim@\u2060example.com"]
    with pytest.raises(TemporaryFailure) as caught:
        await sink.send(delivery(target="sam@example.com"), FIRST)
    assert (caught.value.reason, caught.value.may_have_arrived) == ("lookup_failed", False)


async def test_an_incoming_webhook_mentions_ids_and_names_addresses(slack, hook):
    await hook.send(delivery(SAM, "sam@example.com"), FIRST)
    assert mentions(slack.messages[0]) == [f"<@{SAM}> sam@\u2060example.com"]
    assert slack.calls == ["hook"]


@pytest.mark.parametrize("target", ["sam@example.com", SAM])
async def test_a_person_gets_a_direct_message_which_lives_on(slack, sink, target):
    receipt = await sink.send(delivery(target=target), FIRST)
    assert receipt.posted.channel == "D0000000001"
    assert slack.messages[0]["channel"] == SAM
    after = msgspec.structs.replace(FIRST, posted=receipt.posted, version=2)
    await sink.send(delivery(target=target), after)
    await sink.send(delivery(target=target, part=Part.NEWS), after)
    assert [message["channel"] for message in slack.there.values()] == ["D0000000001"] * 2
    assert "cannot be reached" not in json.dumps(list(slack.there.values()))


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("kim@example.com", None),
        (GONE, None),
        (SAM, "messages_tab_disabled"),
        (SAM, "user_disabled"),
        (SAM, "missing_scope"),
        ("sam@example.com", "something_new"),
    ],
)
async def test_who_cannot_be_reached_is_told_of_in_the_sinks_own_channel(slack, sink, target, error):
    slack.script = [error]
    receipt = await sink.send(delivery(target=target), FIRST)
    assert receipt.posted.channel == "C0000000001"
    said = f"This is for {target}, who cannot be reached in Slack".replace("@", "@\u2060")
    [there] = slack.there.values()
    assert said in json.dumps(there, ensure_ascii=False)
    await sink.send(delivery(target=target), msgspec.structs.replace(FIRST, posted=receipt.posted, version=2))
    [there] = slack.there.values()
    assert said in json.dumps(there, ensure_ascii=False)


async def test_an_id_that_is_none_is_written_to_nowhere(slack, sink):
    slack.people["sam@example.com"]["id"] = "#dental"
    receipt = await sink.send(delivery(target="sam@example.com"), FIRST)
    assert receipt.posted.channel == "C0000000001"


async def test_a_person_is_looked_up_again_where_slack_cannot_say_now(slack, sink):
    slack.script = [web.Response(status=500)]
    with pytest.raises(TemporaryFailure) as caught:
        await sink.send(delivery(target="sam@example.com"), FIRST)
    assert (caught.value.reason, caught.value.may_have_arrived) == ("lookup_failed", False)
    assert slack.messages == []
    await sink.send(delivery(target="sam@example.com"), FIRST)
    assert slack.messages[0]["channel"] == SAM
