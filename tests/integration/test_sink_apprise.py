"""What Apprise is given to say."""

from __future__ import annotations

import json
from datetime import timedelta

import apprise
import pytest

from notifier.errors import ConfigError
from notifier.models import Delivery, Part, Posted
from notifier.sinks.apprise import AppriseSink
from notifier.sinks.contract import Attempt, Receipt
from notifier.sinks.oneway import OneWay
from notifier.testing import AT, event
from tests.doubles.receiver import running_receiver


def sink(*urls: str) -> AppriseSink:
    return AppriseSink("mine", urls=urls, deadline=timedelta(seconds=10))


async def said(delivery: Delivery, **attempt) -> dict:
    async with running_receiver() as receiver:
        await sink(f"json://127.0.0.1:{receiver.port}/").send(delivery, Attempt(1, AT, **attempt))
        [request] = receiver.requests
    return json.loads(request.body)


async def test_a_message_says_who_what_and_what_to_do():
    body = json.loads(event(note="Open the connection.").body)
    told = await said(Delivery("evt_1", body["type"], "rule", json.dumps(body)))
    assert told["title"] == "Acme · Guardian needs attention"
    assert "Open the connection." in told["message"]
    assert told["type"] == "warning"


async def test_one_that_may_have_been_said_already_says_so():
    assert (await said(event(), may_repeat=True))["message"].endswith("May be a repeat.")


@pytest.mark.parametrize(("severity", "type_"), [("info", "info"), ("critical", "failure")])
async def test_the_severity_is_the_kind_of_message(severity, type_):
    assert (await said(event(severity=severity)))["type"] == type_


async def test_text_of_the_source_is_no_markup():
    hostile = "<b>x</b> &amp; *y* \x1b[31m\n# z"
    told = await said(event(carrier={"id": "c", "name": hostile}))
    assert "\x1b" not in json.dumps(told)
    assert "<b>x</b> &amp; *y* [31m # z" in told["title"], "as it was, on one line"
    html = apprise.conversion.convert_between(apprise.NotifyFormat.TEXT, apprise.NotifyFormat.HTML, hostile)
    assert "<b>" not in html, "the library makes plain text harmless where a service wants HTML"


async def test_each_piece_of_news_is_a_message_and_an_edit_is_none():
    root = Delivery(**{**event_fields(), "message": "msg_1", "part": Part.ROOT})
    async with running_receiver() as receiver:
        one = OneWay(sink(f"json://127.0.0.1:{receiver.port}/"))
        first = await one.send(root, Attempt(1, AT, version=3))
        assert first == Receipt(posted=Posted("", "", 3))
        edited = await one.send(root, Attempt(1, AT, posted=first.posted, version=4))
        assert edited == Receipt(posted=Posted("", "", 4))
        assert len(receiver.requests) == 1
        await one.send(Delivery(**{**event_fields(), "message": "msg_1", "part": Part.NEWS}), Attempt(1, AT))
        assert len(receiver.requests) == 2


def event_fields() -> dict:
    delivery = event()
    return {name: getattr(delivery, name) for name in ("id", "type", "rule", "body")}


def test_what_is_no_url_of_apprise_is_refused_without_being_shown():
    with pytest.raises(ConfigError, match=r"sinks\.mine\.urls\[1\]: is no URL that Apprise knows") as refused:
        sink("json://localhost", "hush://nothing")
    assert "hush" not in str(refused.value)
