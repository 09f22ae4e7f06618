"""A living message in Slack: posted once, edited, replied to; found again where its answer was lost."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from aiohttp import web

from notifier.errors import SinkFault, TemporaryFailure
from notifier.models import Delivery, Part, Posted
from notifier.sinks.contract import Attempt
from notifier.sinks.session import Sessions
from notifier.sinks.slack import SlackSink
from tests.doubles.slack import TOKEN, running_slack
from tests.unit.test_sink_slack_message import alert_event

FIRST = Attempt(1, datetime(2026, 11, 23, 22, 0, tzinfo=UTC), version=1)
AGAIN = msgspec.structs.replace(FIRST, number=2, may_repeat=True)


@pytest.fixture
async def slack():
    async with running_slack() as slack:
        yield slack


@pytest.fixture
async def make(slack):
    sessions = Sessions()

    def make(**options) -> SlackSink:
        options = options or {"token": TOKEN, "channel": "#carrier-ops", "api_url": f"{slack.url}/api"}
        return SlackSink("ops", sessions=sessions, deadline=timedelta(seconds=5), **options)

    yield make
    await sessions.close()


def delivery(part: Part, verb: str = "opened", **alert) -> Delivery:
    body = json.dumps(alert_event(verb, **alert))
    return Delivery(f"msg_1.1.{part}.{verb}", f"alert.{verb}", "rule", body, None, "msg_1", part)


ROOT = delivery(Part.ROOT)
OVER = delivery(Part.ROOT, "resolved", end="completed", status="completed")


async def posted(sink: SlackSink) -> Attempt:
    """The attempt that follows on the first post of ROOT."""
    receipt = await sink.send(ROOT, FIRST)
    return msgspec.structs.replace(FIRST, posted=receipt.posted, version=2)


async def test_it_is_posted_once_and_then_edited(slack, make):
    sink = make()
    receipt = await sink.send(ROOT, FIRST)
    assert receipt.posted == Posted("C0000000001", "1700000000.000001", 1)
    receipt = await sink.send(OVER, msgspec.structs.replace(FIRST, posted=receipt.posted, version=5))
    assert receipt.posted == Posted("C0000000001", "1700000000.000001", 5)
    assert len(slack.messages) == 1
    [there] = slack.there.values()
    assert "is completed" in there["text"]


@pytest.mark.parametrize(("part", "is_loud"), [(Part.NEWS, True), (Part.REPLY, False)])
async def test_what_is_new_is_a_reply_in_its_thread(slack, make, part, is_loud):
    sink = make()
    after = await posted(sink)
    receipt = await sink.send(delivery(part, "reminder"), after)
    assert receipt.posted is None
    said = slack.messages[1]
    assert (said["thread_ts"], said["reply_broadcast"]) == ("1700000000.000001", is_loud)
    assert said["channel"] == "C0000000001"
    assert "still needs attention" in said["text"]


@pytest.mark.parametrize("part", Part)
@pytest.mark.parametrize("error", ["", "message_not_found", "edit_window_closed", "cant_update_message"])
async def test_what_cannot_be_edited_or_replied_to_is_posted_anew(slack, make, part, error):
    sink = make()
    after = await posted(sink)
    if error:
        slack.script = [error]
    else:  # somebody has deleted it
        slack.there.clear()
    receipt = await sink.send(delivery(part), after)
    assert len(slack.messages) == 2
    assert "thread_ts" not in slack.messages[1]
    assert receipt.posted == (Posted("C0000000001", "1700000000.000002", 2) if part is Part.ROOT else None)


async def test_another_fault_of_an_edit_is_a_fault(slack, make):
    sink = make()
    after = await posted(sink)
    slack.script = ["invalid_auth"]
    with pytest.raises(SinkFault):
        await sink.send(OVER, after)


@pytest.mark.parametrize("part", Part)
async def test_a_post_whose_answer_was_lost_is_found_by_its_metadata(slack, make, part):
    slack.scopes.add("channels:history")
    sink = make()
    after = FIRST if part is Part.ROOT else await posted(sink)
    await sink.send(delivery(part), after)  # its answer never came
    count = len(slack.messages)
    receipt = await sink.send(delivery(part), msgspec.structs.replace(after, number=2, may_repeat=True))
    assert len(slack.messages) == count
    if part is Part.ROOT:
        assert receipt.posted == Posted("C0000000001", "1700000000.000001", 1)


async def test_what_is_found_again_is_brought_up_to_date(slack, make):
    slack.scopes.add("channels:history")
    sink = make()
    await sink.send(ROOT, FIRST)
    over = msgspec.structs.replace(OVER, id=ROOT.id)
    receipt = await sink.send(over, msgspec.structs.replace(AGAIN, version=2))
    assert receipt.posted == Posted("C0000000001", "1700000000.000001", 2)
    [there] = slack.there.values()
    assert "is completed" in there["text"]


async def test_what_is_looked_for_and_not_there_is_posted_as_it_is(slack, make):
    slack.scopes.add("channels:history")
    sink = make(token=TOKEN, channel="C0000000001", api_url=f"{slack.url}/api")
    await sink.send(ROOT, AGAIN)
    assert "May be a repeat" not in json.dumps(slack.messages[0])


@pytest.mark.parametrize("how", ["no scope", "by name", "webhook"])
async def test_what_cannot_be_looked_for_is_marked_as_a_repeat(slack, make, how):
    if how == "webhook":
        sink = make(webhook_url=f"{slack.url}/services/hush")
    elif how == "by name":
        slack.scopes.add("channels:history")
        sink = make()  # where a name leads is not known before something was posted there
    else:
        sink = make(token=TOKEN, channel="C0000000001", api_url=f"{slack.url}/api")
    await sink.send(ROOT, AGAIN)
    assert "May be a repeat" in json.dumps(slack.messages[0])


async def test_a_search_that_fails_for_a_while_is_not_taken_for_an_answer(slack, make):
    slack.scopes.add("channels:history")
    sink = make(token=TOKEN, channel="C0000000001", api_url=f"{slack.url}/api")
    slack.script = [web.Response(status=503)]
    with pytest.raises(TemporaryFailure):
        await sink.send(ROOT, AGAIN)
    assert slack.messages == []


async def test_it_links_to_the_message_that_told_of_the_time_before(slack, make):
    sink = make()
    before = Posted("C0000000001", "1690000000.000100", 3)
    for number in (1, 2):
        await sink.send(ROOT, msgspec.structs.replace(FIRST, previous=before))
        link = "<https://payroll.slack.com/archives/C0000000001/p1690000000000100|the message before>"
        assert link in json.dumps(slack.messages[number - 1])
    assert slack.calls.count("auth.test") == 1


async def test_without_the_address_of_the_workspace_it_is_posted_without_a_link(slack, make):
    slack.script = ["internal_error"]
    await make().send(ROOT, msgspec.structs.replace(FIRST, previous=Posted("C1", "16.1", 1)))
    assert "the message before" not in json.dumps(slack.messages[0])


async def test_an_incoming_webhook_posts_what_is_new_and_edits_nothing(slack, make):
    sink = make(webhook_url=f"{slack.url}/services/hush")
    receipt = await sink.send(ROOT, FIRST)
    after = msgspec.structs.replace(FIRST, posted=receipt.posted, version=2)
    await sink.send(OVER, after)
    await sink.send(delivery(Part.REPLY, "resolved", end="completed", status="completed"), after)
    assert len(slack.messages) == 2
    assert "is completed" in slack.messages[1]["text"]


async def test_what_an_incoming_webhook_posted_is_posted_anew_by_a_bot(slack, make):
    receipt = await make(webhook_url=f"{slack.url}/services/hush").send(ROOT, FIRST)
    await make().send(OVER, msgspec.structs.replace(FIRST, posted=receipt.posted, version=2))
    assert len(slack.messages) == 2
