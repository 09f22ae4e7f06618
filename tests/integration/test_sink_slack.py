"""The Slack sink against a double that refuses what Slack refuses."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from notifier.errors import ConfigError, DeliveryError, PermanentFailure, SinkFault, TemporaryFailure
from notifier.models import Delivery
from notifier.sinks.contract import Attempt, Receipt
from notifier.sinks.session import USER_AGENT, Sessions
from notifier.sinks.slack import SlackSink
from notifier.sinks.slack_errors import KNOWN
from tests.doubles.receiver import Raw, answer, running_receiver
from tests.doubles.slack import TOKEN, running_slack
from tests.unit.test_sink_slack_message import group_event

ATTEMPT = Attempt(1, datetime(2026, 11, 23, 22, 0, tzinfo=UTC))
DELIVERY = Delivery("evt_1", "group_connection.status_changed", "rule", json.dumps(group_event()))


@pytest.fixture
async def slack():
    async with running_slack() as slack:
        yield slack


@pytest.fixture
async def sessions():
    sessions = Sessions()
    yield sessions
    await sessions.close()


@pytest.fixture
def bot(slack, sessions):
    def make(*, token=TOKEN, channel="#carrier-ops", deadline=5.0, api_url=None) -> SlackSink:
        return SlackSink(
            "ops",
            sessions=sessions,
            deadline=timedelta(seconds=deadline),
            token=token,
            channel=channel,
            api_url=api_url or f"{slack.url}/api",
        )

    return make


@pytest.fixture
def hook(slack, sessions):
    def make() -> SlackSink:
        url = f"{slack.url}/services/hush"
        return SlackSink("ops", sessions=sessions, deadline=timedelta(seconds=5), webhook_url=url)

    return make


async def fault(sink: SlackSink, delivery: Delivery = DELIVERY) -> DeliveryError:
    with pytest.raises(DeliveryError) as raised:
        await sink.send(delivery, ATTEMPT)
    assert TOKEN not in str(raised.value)
    assert "hush" not in str(raised.value)
    return raised.value


async def test_posts_a_message_that_can_be_recognised_and_notifies_nobody(slack, bot):
    assert await bot().send(DELIVERY, ATTEMPT) == Receipt(200, place="C0000000001/1700000000.000001")
    (message,) = slack.messages
    assert message["channel"] == "#carrier-ops"
    assert "Acme Corp · Guardian needs attention" in message["text"]
    assert message["metadata"] == {"event_type": "clasp_notifier", "event_payload": {"id": "evt_1"}}
    assert (message["parse"], message["mrkdwn"]) == ("none", False)
    assert not message["link_names"]
    assert not message["unfurl_links"]
    assert not message["unfurl_media"]


async def test_a_rule_may_name_another_channel(slack, bot):
    await bot().send(Delivery("e", "t", "r", DELIVERY.body, target="#dental"), ATTEMPT)
    assert slack.messages[0]["channel"] == "#dental"


async def test_an_incoming_webhook_takes_the_same_message(slack, hook):
    assert await hook().send(DELIVERY, ATTEMPT) == Receipt(200)
    assert "needs attention" in slack.messages[0]["text"]


@pytest.mark.parametrize("error", sorted(KNOWN))
@pytest.mark.parametrize("way", ["bot", "hook"])
async def test_every_documented_error_is_a_failure_of_a_known_class(slack, bot, hook, error, way):
    slack.script = [error]
    result = await fault(bot() if way == "bot" else hook())
    assert type(result) in {TemporaryFailure, PermanentFailure, SinkFault}
    assert result.reason == error
    assert error in str(result)
    assert len(slack.calls) == 1, "the SDK tries nothing again by itself"


@pytest.mark.parametrize(
    ("error", "kind", "advice"),
    [
        ("not_in_channel", SinkFault, "/invite"),
        ("channel_not_found", SinkFault, "#carrier-ops"),
        ("invalid_auth", SinkFault, "correct token"),
        ("invalid_blocks", PermanentFailure, "report"),
        ("fatal_error", TemporaryFailure, "again"),
        ("ratelimited", TemporaryFailure, "again"),
    ],
)
async def test_an_error_says_what_to_do(slack, bot, error, kind, advice):
    slack.script = [error]
    result = await fault(bot())
    assert type(result) is kind
    assert advice in str(result)


@pytest.mark.parametrize("error", ["brand_new_error", "<!channel> \x1b[31m", "x" * 5000])
async def test_an_unknown_error_is_tried_again_under_a_bounded_reason(slack, bot, error):
    slack.script = [error]
    result = await fault(bot())
    assert (type(result), result.reason) == (TemporaryFailure, "unknown_error")
    assert len(str(result)) < 300
    assert "\x1b" not in str(result)


async def test_only_what_goes_to_a_rules_own_channel_waits_for_that_channel(slack, bot):
    slack.members = {"C0000000001"}
    elsewhere = Delivery("e", "t", "r", DELIVERY.body, target="#dental")
    assert type(await fault(bot(), elsewhere)) is TemporaryFailure
    assert type(await fault(bot(channel="#dental"))) is SinkFault


@pytest.mark.parametrize("way", ["bot", "hook"])
async def test_a_429_is_waited_for_as_long_as_slack_says(slack, bot, hook, way):
    slack.script = [web.json_response({"ok": False}, status=429, headers={"Retry-After": "30"})]
    result = await fault(bot() if way == "bot" else hook())
    assert isinstance(result, TemporaryFailure)
    assert (result.status, result.retry_after) == (429, timedelta(seconds=30))


@pytest.mark.parametrize("way", ["bot", "hook"])
@pytest.mark.parametrize(
    "said",
    [
        lambda: web.Response(status=500, text="oops"),
        lambda: web.Response(status=503, text="<h1>sorry</h1>", content_type="text/html"),
        lambda: web.Response(text="<h1>log in to the guest network</h1>", content_type="text/html"),
        lambda: web.Response(text="okay"),
        lambda: web.Response(text="{", content_type="application/json"),
        lambda: web.Response(text="", content_type="application/json"),
        lambda: web.Response(text="[1]", content_type="application/json"),
        lambda: web.Response(text="null", content_type="application/json"),
        lambda: web.Response(text='"ok"', content_type="application/json"),
        lambda: web.Response(text="[" * 60_000, content_type="application/json"),
        lambda: web.Response(text='{"ok": "x' + "y" * 200_000 + '"}', content_type="application/json"),
        lambda: web.Response(body=b"\xff\xfe{", content_type="application/json", charset="utf-8"),
        lambda: web.Response(body=b"\xff", content_type="text/plain", charset="utf-8"),
        lambda: web.json_response({"ok": False}),
        lambda: web.json_response({"ok": False, "error": {"a": 1}}),
        lambda: web.json_response({}),
        lambda: web.Response(status=204),
        lambda: web.Response(status=403, text="blocked by the proxy", content_type="text/html"),
        lambda: web.Response(body=b"x", content_type="application/gzip"),
    ],
)
async def test_anything_that_is_not_slacks_answer_is_tried_again(slack, bot, hook, said, way):
    slack.script = [said()]
    result = await fault(bot() if way == "bot" else hook())
    assert type(result) is TemporaryFailure, result


@pytest.mark.parametrize("way", ["api_url", "webhook_url"])
async def test_a_redirect_is_not_followed_and_the_token_goes_nowhere(sessions, way):
    async with running_receiver() as elsewhere:
        said = [answer(status, {"Location": elsewhere.url}) for status in (301, 302, 303, 307, 308)]
        async with running_receiver(*said) as receiver:
            root = f"http://127.0.0.1:{receiver.port}/"
            more = {"token": TOKEN, "channel": "#c", "api_url": root} if way == "api_url" else {way: root}
            sink = SlackSink("ops", sessions=sessions, deadline=timedelta(seconds=5), **more)
            for status in (301, 302, 303, 307, 308):
                result = await fault(sink)
                assert (type(result), result.reason) == (SinkFault, f"http_{status}")
        assert elsewhere.connections == 0


@pytest.mark.parametrize(
    "said", [Raw(), Raw(reset=True), Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", reset=True)]
)
async def test_a_conversation_that_breaks_is_tried_again(bot, said):
    async with running_receiver(said) as receiver:
        result = await fault(bot(api_url=f"http://127.0.0.1:{receiver.port}/"))
    assert type(result) is TemporaryFailure
    assert len(receiver.requests) == 1
    assert receiver.requests[0].headers["user-agent"].startswith(USER_AGENT)


async def test_a_slack_that_is_slow_ends_at_the_deadline(slack, bot):
    slack.stuck = asyncio.Event()
    result = await fault(bot(deadline=0.2))
    assert (type(result), result.reason) == (TemporaryFailure, "timeout")


async def test_a_body_that_is_no_json_is_a_dead_letter(bot, slack):
    assert type(await fault(bot(), Delivery("e", "t", "r", "{"))) is PermanentFailure
    assert slack.calls == []


async def test_neither_token_nor_text_is_logged_at_debug(slack, bot, hook, caplog):
    caplog.set_level(logging.DEBUG)
    logging.getLogger("slack_sdk").setLevel(logging.DEBUG)
    await bot().send(DELIVERY, ATTEMPT)
    await hook().send(DELIVERY, ATTEMPT)
    for secret in (TOKEN, "hush", "Acme"):
        assert secret not in caplog.text


# --- probe ---


async def test_a_probe_says_who_the_token_is_and_whether_the_channel_is_there(slack, bot):
    assert await bot(channel="C0000000001").probe() == (
        "the token belongs to notifier in Payroll Inc; it is a member of C0000000001"
    )
    slack.members = set()
    assert "/invite" in await bot(channel="C0000000001").probe()
    assert slack.messages == []


async def test_a_probe_looks_for_a_name_among_the_channels_it_is_a_member_of(slack, bot):
    slack.tells_scopes = True
    assert (await bot(channel="#dental").probe()).endswith("; it is a member of #dental")
    slack.members = {"C0000000001"}
    assert "may not see private ones (it lacks groups:read)" in await bot(channel="#dental").probe()
    slack.scopes |= {"groups:read"}
    with pytest.raises(PermanentFailure, match="in no channel #dental: correct the name, or /invite the app"):
        await bot(channel="#dental").probe()
    slack.scopes |= {"chat:write.public"}
    assert "unless it has chat:write.public" in await bot(channel="#dental").probe()


async def test_a_probe_says_nothing_of_a_channel_where_it_could_not_see_all(slack, bot):
    slack.tells_scopes, slack.scopes, slack.members = True, slack.scopes | {"groups:read"}, set()
    slack.others = 11  # more pages than it reads
    assert "only known by sending" in await bot(channel="#dental").probe()
    slack.is_busy = True
    with pytest.raises(TemporaryFailure, match="ratelimited"):
        await bot(channel="#dental").probe()


async def test_a_probe_without_leave_to_look_at_channels_says_so(slack, bot):
    slack.scopes = {"chat:write"}
    assert "could not be verified" in await bot(channel="C0000000001").probe()
    assert "only known by sending" in await bot(channel="#carrier-ops").probe()


async def test_a_probe_fails_with_what_to_do(slack, bot):
    with pytest.raises(SinkFault, match="correct token"):
        await bot(token="xoxb-wrong").probe()
    with pytest.raises(SinkFault, match="C0999999999"):
        await bot(channel="C0999999999").probe()
    slack.archived = {"C0000000001"}
    with pytest.raises(SinkFault, match="archived"):
        await bot(channel="C0000000001").probe()


async def test_a_webhook_cannot_be_probed_and_says_so(slack, hook):
    assert "send-test" in await hook().probe()
    assert slack.calls == []


@pytest.mark.parametrize("more", [{}, {"token": "t", "webhook_url": "https://x/"}, {"token": "t"}])
def test_a_sink_needs_a_token_with_a_channel_or_a_webhook(sessions, more):
    with pytest.raises(ConfigError, match=r"sinks\.ops"):
        SlackSink("ops", sessions=sessions, deadline=timedelta(seconds=1), **more)
