"""Nothing that a sink does reaches an address it must not reach: SSRF, rebinding, proxies, TLS."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp.abc import AbstractResolver

from notifier.errors import DeliveryError, SinkFault, TemporaryFailure
from notifier.models import Delivery
from notifier.sinks.contract import Attempt, Receipt
from notifier.sinks.session import Access, Sessions
from notifier.sinks.slack import SlackSink
from notifier.sinks.webhook import WebhookSink
from tests.doubles.receiver import running_receiver
from tests.unit.test_sink_addresses import FORBIDDEN

DELIVERY = Delivery("evt_1", "group_connection.added", "rule", "{}")
ATTEMPT = Attempt(1, datetime(2026, 11, 23, tzinfo=UTC))


class Flipping(AbstractResolver):
    """Resolves every name to the next of its lists of addresses; the last one stays."""

    def __init__(self, *answers: tuple[str, ...]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def resolve(self, host, port=0, family=socket.AF_INET):
        self.asked += 1
        addresses = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return [
            {
                "hostname": host,
                "host": address,
                "port": port,
                "family": socket.AF_INET6 if ":" in address else socket.AF_INET,
                "proto": 0,
                "flags": 0,
            }
            for address in addresses
        ]

    async def close(self) -> None:
        pass


@pytest.fixture
async def connected(monkeypatch):
    """The addresses that any socket of this process was told to connect to."""
    seen = []
    original = asyncio.selector_events.BaseSelectorEventLoop.sock_connect

    async def sock_connect(loop, sock, address):
        seen.append(address[0])
        return await original(loop, sock, address)

    monkeypatch.setattr(asyncio.selector_events.BaseSelectorEventLoop, "sock_connect", sock_connect)
    return seen


def webhook(url: str, sessions: Sessions, *, allow_private=False) -> WebhookSink:
    deadline = timedelta(seconds=5)
    return WebhookSink(
        "w", url=url, secrets=["s"], sessions=sessions, deadline=deadline, access=Access(allow_private)
    )


async def fault(sink, *, probe=False) -> DeliveryError:
    with pytest.raises(DeliveryError) as raised:
        await (sink.probe() if probe else sink.send(DELIVERY, ATTEMPT))
    return raised.value


@pytest.mark.parametrize("probe", [False, True], ids=["send", "probe"])
async def test_no_name_that_leads_to_a_forbidden_address_is_connected_to(connected, probe):
    for address, reason in FORBIDDEN.items():
        sessions = Sessions(Flipping((address,)))
        error = await fault(webhook("https://hooks.example.com/x", sessions), probe=probe)
        assert (type(error), error.reason) == (SinkFault, "forbidden_address"), address
        assert f"a {reason} address" in str(error)
        assert ("allow_private_addresses" in str(error)) == (
            reason in {"loopback", "private", "carrier-grade NAT", "unique local"}
        )
        await sessions.close()
    assert connected == []


LITERALS = [
    "127.0.0.1",
    "localhost",
    "localhost.",
    "LOCALHOST",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0x7f.1",
    "0x7f.0x0.0x0.0x1",
    "0177.0.0.1",
    "017700000001",
    "127.0.0.1.",
    "0",
    "0.0.0.0",
    "[::]",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "①②⑦.⓪.⓪.①",
    "127。0。0。1",
    "%31%32%37.0.0.1",
]


@pytest.mark.parametrize("literal", LITERALS)
async def test_no_spelling_of_loopback_gets_through(connected, literal):
    async with running_receiver() as receiver:
        sessions = Sessions()
        for url in (f"http://{literal}:{receiver.port}/in", f"https://{literal}:{receiver.port}/in"):
            error = await fault(webhook(url, sessions))
            assert error.reason in {"forbidden_address", "invalid_url", "dns"}, error.reason
        await sessions.close()
        assert receiver.connections == 0
    assert connected == []


async def test_a_name_that_is_rebound_between_attempts_is_refused_at_the_connection(connected):
    async with running_receiver() as receiver:
        resolver = Flipping(("127.0.0.1",), ("169.254.169.254",))
        url = f"http://rebind.example:{receiver.port}/in"
        for expected in (Receipt(204), "forbidden_address"):
            sessions = Sessions(resolver)  # a new one each time: no connection is kept
            sink = webhook(url, sessions, allow_private=True)
            if isinstance(expected, Receipt):
                assert await sink.send(DELIVERY, ATTEMPT) == expected
            else:
                assert (await fault(sink)).reason == expected
            await sessions.close()
    assert resolver.asked == 2
    assert connected == ["127.0.0.1"]


async def test_of_several_addresses_only_those_that_may_be_are_tried(connected):
    async with running_receiver() as receiver:
        sessions = Sessions(Flipping(("169.254.169.254", "fe80::1", "127.0.0.1", "0.0.0.0")))
        sink = webhook(f"http://many.example:{receiver.port}/in", sessions, allow_private=True)
        assert await sink.send(DELIVERY, ATTEMPT) == Receipt(204)
        assert (
            await fault(webhook(f"http://many.example:{receiver.port}/", sessions))
        ).reason == "forbidden_address"
        await sessions.close()
    assert connected == ["127.0.0.1"]


async def test_leave_for_one_sink_is_no_leave_for_another(connected):
    async with running_receiver() as receiver:
        sessions = Sessions()
        await webhook(receiver.url, sessions, allow_private=True).send(DELIVERY, ATTEMPT)
        connected.clear()
        assert (await fault(webhook(receiver.url, sessions))).reason == "forbidden_address"
        await sessions.close()
    assert connected == []
    assert len(receiver.requests) == 1


async def test_proxies_of_the_environment_are_not_used(monkeypatch):
    async with running_receiver() as proxy, running_receiver() as receiver:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
            monkeypatch.setenv(name.lower(), f"http://127.0.0.1:{proxy.port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        sessions, deadline = Sessions(), timedelta(seconds=5)
        await webhook(receiver.url, sessions, allow_private=True).send(DELIVERY, ATTEMPT)
        root = f"http://127.0.0.1:{receiver.port}"
        for sink in (
            SlackSink("s", sessions=sessions, deadline=deadline, token="xoxb-1", channel="#c", api_url=root),
            SlackSink("s", sessions=sessions, deadline=deadline, webhook_url=f"{root}/services/x"),
        ):
            await fault(sink)
        await sessions.close()
        assert proxy.connections == 0
        assert len(receiver.requests) == 3


@pytest.mark.parametrize("how", ["api", "hook"])
async def test_slack_may_be_on_loopback_only_where_it_is_written_so(connected, how):
    sessions, deadline = Sessions(Flipping(("127.0.0.1",))), timedelta(seconds=5)
    url = "https://slack.example.com/api/"
    if how == "api":
        sink = SlackSink("s", sessions=sessions, deadline=deadline, token="t", channel="#c", api_url=url)
    else:
        sink = SlackSink("s", sessions=sessions, deadline=deadline, webhook_url=url)
    assert (await fault(sink)).reason == "forbidden_address"
    await sessions.close()
    assert connected == []


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed certificate for hooks.example.com, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl command")
    cert, key = (tmp_path_factory.mktemp("tls") / name for name in ("cert.pem", "key.pem"))
    subprocess.run(
        [
            openssl,
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=hooks.example.com",
            "-addext",
            "subjectAltName=DNS:hooks.example.com",
            "-keyout",
            str(key),
            "-out",
            str(cert),
        ],
        check=True,
        capture_output=True,
    )
    return cert, key


@pytest.mark.parametrize("probe", [False, True], ids=["send", "probe"])
async def test_a_certificate_is_verified_and_its_name_too(certificate, probe):
    cert, key = certificate
    server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_tls.load_cert_chain(cert, key)
    trusting = ssl.create_default_context(cafile=str(cert))
    async with running_receiver(ssl=server_tls) as receiver:
        for host, tls, is_valid in [
            ("hooks.example.com", trusting, True),
            ("other.example.com", trusting, False),
            ("hooks.example.com", None, False),
        ]:
            sessions = Sessions(Flipping(("127.0.0.1",)), tls)
            sink = webhook(f"https://{host}:{receiver.port}/in", sessions, allow_private=True)
            if is_valid:
                assert await (sink.probe() if probe else sink.send(DELIVERY, ATTEMPT))
            else:
                error = await fault(sink, probe=probe)
                assert (type(error), error.reason) == (SinkFault, "tls")
                assert "certificate" in str(error)
            await sessions.close()
        assert len(receiver.requests) == (0 if probe else 1)


async def test_slack_verifies_certificates_too(certificate):
    server_tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_tls.load_cert_chain(*certificate)
    async with running_receiver(ssl=server_tls) as receiver:
        sessions, deadline, root = Sessions(), timedelta(seconds=5), f"https://127.0.0.1:{receiver.port}/"
        for sink in (
            SlackSink("s", sessions=sessions, deadline=deadline, token="t", channel="#c", api_url=root),
            SlackSink("s", sessions=sessions, deadline=deadline, webhook_url=root),
        ):
            assert (await fault(sink)).reason == "tls"
        await sessions.close()
        assert receiver.requests == []


@pytest.mark.parametrize("probe", [False, True], ids=["send", "probe"])
async def test_a_receiver_without_tls_is_tried_again(probe):
    def speak_plainly(_reader, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(speak_plainly, "127.0.0.1", 0)
    async with server:
        sessions = Sessions()
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        error = await fault(webhook(url, sessions, allow_private=True), probe=probe)
        assert (type(error), error.reason) == (TemporaryFailure, "tls_handshake")
        await sessions.close()


class Nameless(Flipping):
    """Knows no name."""

    async def resolve(self, host, port=0, family=socket.AF_INET):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.mark.parametrize("probe", [False, True], ids=["send", "probe"])
async def test_a_name_that_cannot_be_looked_up_is_tried_again(probe):
    sessions = Sessions(Nameless(()))
    error = await fault(webhook("https://no-such-host.invalid/x", sessions), probe=probe)
    assert (type(error), error.reason, error.unreachable) == (TemporaryFailure, "dns", True)
    await sessions.close()
