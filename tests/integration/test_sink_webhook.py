"""What a webhook's receiver sees, and what its answers amount to."""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import socket
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook

from notifier.errors import ConfigError, DeliveryError, PermanentFailure, SinkFault, TemporaryFailure
from notifier.models import Delivery
from notifier.sinks.contract import Attempt, Receipt
from notifier.sinks.session import MAX_REPLY, USER_AGENT, Access, Sessions
from notifier.sinks.webhook import WebhookSink
from tests.doubles.receiver import Raw, answer, running_receiver

SECRET = "whsec_" + base64.b64encode(b"old secret of 24 bytes!!").decode()
OTHER = "whsec_" + base64.b64encode(b"new secret of 24 bytes!!").decode()
BODY = '{"type": "group_connection.added", "data": {"name": "Caf\\u00e9 &  <b>"}}'
DELIVERY = Delivery("evt_1", "group_connection.added", "rule", BODY)


def at(moment: datetime | None = None) -> Attempt:
    return Attempt(1, moment or datetime.now(UTC))


@pytest.fixture
async def sessions():
    sessions = Sessions()
    yield sessions
    await sessions.close()


@pytest.fixture
def sink(sessions):
    def make(url: str, *, secrets=(SECRET,), deadline=5.0, allow_private=True, **kwargs) -> WebhookSink:
        return WebhookSink(
            "backend",
            url=url,
            secrets=secrets,
            sessions=sessions,
            deadline=timedelta(seconds=deadline),
            access=Access(allow_private),
            **kwargs,
        )

    return make


async def outcome(sink: WebhookSink, attempt: Attempt | None = None) -> Receipt | DeliveryError:
    try:
        return await sink.send(DELIVERY, attempt or at())
    except DeliveryError as failure:
        error = failure
    assert "hush" not in str(error), "the query of a URL is shown"
    assert "/in" not in str(error), "the path of a URL is shown"
    return error


# --- what is sent ---


async def test_sends_the_body_byte_for_byte_signed_for_the_official_library(sink):
    async with running_receiver() as receiver:
        receipt = await sink(receiver.url).send(DELIVERY, at())
        (request,) = receiver.requests
    assert receipt == Receipt(204)
    assert (request.method, request.path) == ("POST", "/in?token=hush")
    assert request.body == BODY.encode()
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == USER_AGENT
    request.verify(SECRET)


async def test_an_independent_check_verifies_id_timestamp_and_body(sink):
    moment = datetime(2026, 11, 23, 22, 1, 7, 900_000, tzinfo=UTC)
    async with running_receiver() as receiver:
        await sink(receiver.url, secrets=("plain text",)).send(DELIVERY, at(moment))
        headers = receiver.requests[0].headers
    assert headers["webhook-id"] == "evt_1"
    assert headers["webhook-timestamp"] == "1795471267"
    signed = f"evt_1.1795471267.{BODY}".encode()
    digest = hmac.new(b"plain text", signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()


async def test_both_secrets_verify_during_a_rotation(sink):
    async with running_receiver() as receiver:
        await sink(receiver.url, secrets=(SECRET, OTHER)).send(DELIVERY, at())
        (request,) = receiver.requests
    for secret in (SECRET, OTHER):
        request.verify(secret)
    with pytest.raises(Exception, match="No matching signature"):
        Webhook("whsec_" + base64.b64encode(b"somebody else's").decode()).verify(
            request.body, request.headers
        )


async def test_every_attempt_has_a_new_timestamp_and_the_same_id_and_body(sink):
    start = datetime(2026, 11, 23, tzinfo=UTC)
    async with running_receiver() as receiver:
        one = sink(receiver.url)
        for minutes in (0, 5):
            await one.send(DELIVERY, at(start + timedelta(minutes=minutes)))
        first, second = receiver.requests
        assert receiver.connections == 1, "the connection is kept"
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    assert int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"]) == 300
    assert first.headers["webhook-signature"] != second.headers["webhook-signature"]


async def test_configured_headers_are_sent_and_cannot_replace_ours(sink):
    mine = {
        "X-Team": "ops",
        "Webhook-Id": "forged",
        "WEBHOOK-SIGNATURE": "v1,x",
        "Content-Type": "text/plain",
    }
    async with running_receiver() as receiver:
        await sink(receiver.url, headers=mine).send(DELIVERY, at())
        (request,) = receiver.requests
    assert request.headers["x-team"] == "ops"
    assert request.headers["webhook-id"] == "evt_1"
    assert request.headers["content-type"] == "application/json"
    request.verify(SECRET)


@pytest.mark.parametrize("secret", ["whsec_not base64!", "whsec_", "whsec_abc", ""])
def test_a_secret_that_cannot_sign_is_refused_without_being_shown(sink, secret):
    with pytest.raises(ConfigError) as refused:
        sink("https://hooks.example.com/x", secrets=(secret,))
    assert "sinks.backend.secrets" in str(refused.value)
    assert "not base64!" not in str(refused.value)


@pytest.mark.parametrize("value", ["a\r\nX-Forged: b", "a\nb", "\x00", "caf\u00e9"])
def test_a_header_that_could_end_early_is_refused_without_being_shown(sink, value):
    with pytest.raises(ConfigError, match=r"sinks\.backend\.headers\.X-Team") as refused:
        sink("https://hooks.example.com/x", headers={"X-Team": value})
    assert value not in str(refused.value)


@pytest.mark.parametrize("url", ["ftp://x/", "no url", "http://", "http://[::1", ""])
def test_a_url_that_is_none_is_refused(sink, url):
    with pytest.raises(ConfigError, match=r"sinks\.backend\.url"):
        sink(url)


# --- what answers mean ---


def expected(status: int) -> type:
    if 200 <= status < 300:
        return Receipt
    if status in {401, 403, 404, 410}:
        return SinkFault
    if status in {408, 425, 429} or status < 200 or status >= 500:
        return TemporaryFailure
    return PermanentFailure


async def test_every_status_from_100_to_599_has_its_class(sink):
    statuses = range(100, 600)
    said = [Raw(answer(status)) if status < 200 else answer(status) for status in statuses]
    async with running_receiver(*said) as receiver:
        one = sink(receiver.url)
        for status in statuses:
            result = await outcome(one)
            assert type(result) is expected(status), (status, result)
            if status >= 200:
                assert result.status == status
        assert len(receiver.requests) == 500, "nothing was sent twice"


@pytest.mark.parametrize("status", [0, 99, 600, 999])
async def test_a_status_that_does_not_exist_is_tried_again(sink, status):
    async with running_receiver(Raw(f"HTTP/1.1 {status:03} X\r\n\r\n".encode())) as receiver:
        assert type(await outcome(sink(receiver.url))) is TemporaryFailure


NOW = datetime(2026, 11, 23, 22, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0),
        ("7", 7),
        (" 30 ", 30),
        ("3600", 3600),
        ("99999", 3600),
        ("999999999999", 3600),
        ("Mon, 23 Nov 2026 22:00:30 GMT", 30),
        ("Monday, 23-Nov-26 22:00:30 GMT", 30),
        ("Mon, 23 Nov 2026 22:00:30", 30),
        ("Tue, 24 Nov 2026 22:00:00 GMT", 3600),
        ("Mon, 23 Nov 2026 21:00:00 GMT", None),
        ("-5", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("9" * 400, None),
        ("Mon, 99 Nov 2026 22:00:30 GMT", None),
        ("Mon, 23 Nov 99999 22:00:30 GMT", None),
        ("\u0663", None),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
async def test_retry_after_is_obeyed_as_seconds_or_date_up_to_an_hour(sink, header, seconds, status):
    said = f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\nRetry-After: {header}\r\n\r\n".encode()
    async with running_receiver(said) as receiver:
        result = await outcome(sink(receiver.url), at(NOW))
    assert isinstance(result, TemporaryFailure)
    assert result.retry_after == (None if seconds is None else timedelta(seconds=seconds))


async def test_a_redirect_is_final_and_not_followed(sink):
    async with running_receiver() as secret_place:
        headers = {"Location": secret_place.url}
        script = [answer(status, headers) for status in (301, 302, 303, 307, 308)]
        async with running_receiver(*script) as receiver:
            one = sink(receiver.url)
            for status in (301, 302, 303, 307, 308):
                result = await outcome(one)
                assert isinstance(result, PermanentFailure)
                assert result.reason == f"http_{status}"
                assert "set url" in str(result)
        assert secret_place.connections == 0


# --- broken conversations ---


@pytest.mark.parametrize(
    "said",
    [
        Raw(),
        Raw(reset=True),
        Raw(b"HTTP/1.1 2"),
        Raw(b"HTTP/1.1 200 OK\r\nContent-Le", reset=True),
        Raw(b"\x16\x03\x01\x00\x00garbage\r\n\r\n"),
        Raw(b"SSH-2.0-OpenSSH_9.6\r\n"),
        Raw(b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n"),
        Raw(b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(1000)) + b"\r\n"),
        Raw(b"HTTP/1.1 200 " + b"K" * 100_000 + b"\r\n\r\n"),
        Raw(b"HTTP/9.9 200 OK\r\nContent-Length: nine\r\n\r\n"),
        Raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 50),
        Raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nnope"),
    ],
    ids=lambda raw: raw.data[:20].decode("latin-1") + ("+reset" if raw.reset else ""),
)
async def test_a_conversation_that_breaks_before_the_headers_end_is_tried_again(sink, said):
    async with running_receiver(said) as receiver:
        result = await outcome(sink(receiver.url))
        assert type(result) is TemporaryFailure
        assert not result.unreachable
        assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    "said",
    [
        Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", reset=True),
        Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"),
        Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf", hang=True),
        Raw(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (10 * MAX_REPLY)),
        Raw(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nnot gzip"),
    ],
    ids=["reset", "cut", "hangs", "huge", "bad gzip"],
)
async def test_what_follows_a_success_status_cannot_undo_it(sink, said):
    async with running_receiver(said) as receiver:
        assert await outcome(sink(receiver.url)) == Receipt(200)


async def test_headers_that_drip_end_at_the_deadline(sink):
    async with running_receiver(Raw(b"HTTP/1.1 200 OK\r\nX: ", hang=True)) as receiver:
        result = await outcome(sink(receiver.url, deadline=0.2))
    assert isinstance(result, TemporaryFailure)
    assert (result.reason, result.unreachable) == ("timeout", False)


async def test_a_reply_is_never_read_or_unpacked_past_its_limit(sessions):
    bomb = gzip.compress(b"\0" * 50_000_000)
    script = [
        answer(200, {"Content-Encoding": "gzip"}, bomb),
        Raw(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (20 * MAX_REPLY)),
        answer(200, {"Content-Encoding": "gzip"}, gzip.compress(b"hello")),
        answer(200, {}, b"y" * MAX_REPLY),
    ]
    async with running_receiver(*script) as receiver:
        sizes = []
        for _ in range(4):
            async with sessions.get(allow_private=True).post(receiver.url) as reply:
                sizes.append(len(await reply.read()))
    assert sizes == [MAX_REPLY, MAX_REPLY, 5, MAX_REPLY]


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def test_a_refused_connection_says_that_nobody_listens(sink):
    result = await outcome(sink(f"http://127.0.0.1:{closed_port()}/in?token=hush"))
    assert isinstance(result, TemporaryFailure)
    assert (result.reason, result.unreachable) == ("connect", True)
    assert "connection refused" in str(result)


async def test_a_probe_connects_and_sends_nothing(sink):
    async with running_receiver() as receiver:
        assert "no request was sent" in await sink(receiver.url).probe()
        assert receiver.requests == []
    with pytest.raises(TemporaryFailure, match="cannot be reached"):
        await sink(f"http://127.0.0.1:{closed_port()}/in").probe()
    with pytest.raises(SinkFault, match="loopback"):
        await sink(receiver.url, allow_private=False).probe()
