"""How requests reach a receiver: own certificates, proxies, private networks, passwords; and what goes wrong."""

from __future__ import annotations

import base64
import json
import ssl
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
import trustme
from aiohttp import web
from pydantic import TypeAdapter

from notifier.config.sinks import SinkConfig
from notifier.errors import ConfigError, DeliveryError, SinkFault, TemporaryFailure
from notifier.models import Delivery
from notifier.sinks.contract import Attempt, Receipt
from notifier.sinks.registry import build_sinks
from tests.doubles.proxy import running_proxy
from tests.doubles.receiver import running_receiver
from tests.unit.test_sink_slack_message import group_event

ATTEMPT = Attempt(1, datetime(2026, 11, 23, 22, 0, tzinfo=UTC))
DELIVERY = Delivery("evt_1", "group_connection.status_changed", "rule", json.dumps(group_event()))


class Files:
    """An authority of its own, its server for localhost and its client, as files of a directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._authority = trustme.CA()
        self._authority.cert_pem.write_to_path(str(directory / "ca.pem"))
        client = self._authority.issue_cert("client@example.com")
        client.private_key_pem.write_to_path(str(directory / "client.key"))
        for index, part in enumerate(client.cert_chain_pems):
            part.write_to_path(str(directory / "client.pem"), append=index > 0)

    def server(self, *, asks_for_a_certificate: bool = False) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._authority.issue_cert("localhost").configure_cert(context)
        if asks_for_a_certificate:
            self._authority.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return Files(tmp_path_factory.mktemp("certificates"))


def built(config: dict, directory: Path = Path()):
    sink = TypeAdapter(SinkConfig).validate_python(config)
    return build_sinks(SimpleNamespace(sinks={"mine": sink}, directory=directory))


def webhook(port: int, scheme: str = "https", **more) -> dict:
    return {
        "type": "webhook",
        "url": f"{scheme}://localhost:{port}/in",
        "secrets": ["hush"],
        "allow_private_addresses": True,
        **more,
    }


async def tried(
    config: dict, directory: Path = Path(), *, probe: bool = False
) -> Receipt | DeliveryError | str:
    async with built(config, directory) as sinks:
        try:
            return await (sinks["mine"].probe() if probe else sinks["mine"].send(DELIVERY, ATTEMPT))
        except DeliveryError as error:
            return error


# --- certificates ---


@pytest.mark.parametrize("probe", [False, True], ids=["send", "probe"])
async def test_an_authority_of_ones_own_is_trusted_by_that_sink_only(files, probe):
    async with running_receiver(ssl=files.server()) as receiver:
        one = webhook(receiver.port)
        assert not isinstance(
            await tried({**one, "tls": {"ca": "ca.pem"}}, files.directory, probe=probe), DeliveryError
        )
        stranger = await tried(one, files.directory, probe=probe)
    assert (type(stranger), stranger.reason) == (SinkFault, "tls")


async def test_a_receiver_may_ask_for_our_certificate(files):
    async with running_receiver(ssl=files.server(asks_for_a_certificate=True)) as receiver:
        ours = {"ca": "ca.pem", "certificate": "client.pem", "key": "client.key"}
        assert await tried(webhook(receiver.port, tls=ours), files.directory) == Receipt(204)
        nameless = await tried(webhook(receiver.port, tls={"ca": "ca.pem"}), files.directory)
    assert isinstance(nameless, TemporaryFailure | SinkFault)
    assert len(receiver.requests) == 1


async def test_slack_may_be_behind_an_authority_of_ones_own(files):
    app = web.Application()
    app.router.add_post("/api/chat.postMessage", _post_message)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "localhost", 0, ssl_context=files.server())
    await site.start()
    port = runner.addresses[0][1]
    slack = {"type": "slack", "token": "xoxb-x", "channel": "#c", "api_url": f"https://localhost:{port}/api"}
    try:
        assert isinstance(await tried({**slack, "tls": {"ca": "ca.pem"}}, files.directory), Receipt)
        assert (await tried(slack, files.directory)).reason == "tls"
    finally:
        await runner.cleanup()


async def _post_message(_request: web.Request) -> web.Response:
    return web.json_response({"ok": True, "channel": "C0000000001", "ts": "1.1"})


@pytest.mark.parametrize(
    ("tls", "told"),
    [
        ({"ca": "nowhere.pem"}, "sinks.mine.tls.ca: .*nowhere.pem cannot be read: No such file"),
        ({"ca": "client.key"}, "client.key holds no certificates in PEM"),
        ({"certificate": "client.pem", "key": "nowhere"}, "nowhere cannot be read: No such file"),
        ({"certificate": "client.pem", "key": "ca.pem"}, "are no certificate and its key in PEM"),
        ({"certificate": "ca.pem", "key": "client.key"}, "are no certificate and its key in PEM"),
    ],
)
async def test_a_certificate_that_cannot_be_used_is_told_before_anything_is_sent(files, tls, told):
    with pytest.raises(ConfigError, match=told):
        async with built(webhook(1, tls=tls), files.directory):
            pass


# --- proxies ---


async def test_a_proxy_is_gone_through_with_its_user_and_password(files, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    async with running_receiver(ssl=files.server()) as receiver, running_proxy(receiver.port) as proxy:
        one = webhook(receiver.port, tls={"ca": "ca.pem"}, proxy=f"http://me:p%40ss@127.0.0.1:{proxy.port}")
        assert await tried(one, files.directory) == Receipt(204)
        assert proxy.asked == [f"localhost:{receiver.port}"]
        said = base64.b64encode(b"me:p@ss").decode()
        assert f"Proxy-Authorization: Basic {said}" in proxy.heads[0]
        assert "proxy-authorization" not in receiver.requests[0].headers
        assert "accepts a connection" in await tried(one, files.directory, probe=True)
        assert len(receiver.requests) == 1


@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [
        (407, SinkFault, "proxy_refused"),
        (403, SinkFault, "proxy_refused"),
        (502, TemporaryFailure, "proxy"),
        (503, TemporaryFailure, "proxy"),
    ],
)
@pytest.mark.parametrize("type_", ["webhook", "slack"])
async def test_what_a_proxy_answers_is_not_taken_for_the_receivers_answer(type_, status, kind, reason):
    async with running_proxy(9, status) as proxy:
        if type_ == "webhook":
            config = webhook(9, proxy=f"http://me:hush@127.0.0.1:{proxy.port}")
        else:
            config = {
                "type": "slack",
                "token": "xoxb-x",
                "channel": "#c",
                "proxy": f"http://me:hush@127.0.0.1:{proxy.port}",
            }
        error = await tried(config)
    assert (type(error), error.reason) == (kind, reason)
    assert "hush" not in str(error)
    assert {*proxy.asked} == {"localhost:9" if type_ == "webhook" else "slack.com:443"}


async def test_a_proxy_that_is_away_says_so(files):
    error = await tried(webhook(9, proxy="http://me:hush@127.0.0.1:9"))
    assert (error.reason, error.unreachable) == ("proxy", True)
    assert "hush" not in str(error)
    assert (await tried(webhook(9, proxy="http://127.0.0.1:9"), probe=True)).unreachable


# --- private networks ---


@pytest.mark.parametrize(
    ("allowed", "is_reached"),
    [
        (True, True),
        (["127.0.0.0/8"], True),
        (["10.0.0.0/8", "127.0.0.1", "::1"], True),
        ("127.0.0.0/8", True),
        ("true", True),
        (["10.0.0.0/8"], False),
        (["127.0.0.2"], False),
        (["0.0.0.0/32"], False),
        (False, False),
    ],
)
async def test_only_the_networks_that_are_named_are_reached(allowed, is_reached):
    async with running_receiver() as receiver:
        config = {**webhook(receiver.port, "http"), "url": receiver.url, "allow_private_addresses": allowed}
        result = await tried(config)
        assert receiver.connections == is_reached
    if not is_reached:
        assert (type(result), result.reason) == (SinkFault, "forbidden_address")


# --- who we are ---


async def test_a_user_and_password_go_with_every_request():
    async with running_receiver() as receiver:
        config = webhook(receiver.port, "http", basic_auth={"username": "me", "password": "hüsh:x"})
        config["url"] = receiver.url
        assert await tried(config) == Receipt(204)
    said = receiver.requests[0].headers["authorization"]
    assert base64.b64decode(said.removeprefix("Basic ")).decode() == "me:hüsh:x"
