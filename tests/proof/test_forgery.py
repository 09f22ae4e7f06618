"""Forged requests at a small scale, and what gets out where a guard is taken out."""

from __future__ import annotations

import asyncio
import os
import socket

import aiohttp
import httpx
import pytest

from notifier.clasp.client import ClaspClient
from notifier.config.urls import is_private
from notifier.sinks import session, slack_api
from notifier.sinks.session import GuardedResponse
from tests.proof import forgery
from tests.proof.crossing import crossing
from tests.proof.forgery import KEY, Try, attempt, run, tries
from tests.proof.spread import quietly

SEED = 20261123
UNGUARDED = {"name", "literal", "before", "behind", "rebound", "restarted", "after a probe", "https"}


def results(*given: Try) -> list[list[str]]:
    """What is wrong after each of these attempts."""

    async def go() -> list[list[str]]:
        async with crossing() as here:
            return [await attempt(one, here) for one in given]

    return asyncio.run(go())


def leads_astray(*given: Try) -> bool:
    """Whether one of these attempts gets out; those after it are not made."""

    async def go() -> bool:
        async with crossing() as here:
            for one in given:
                if await attempt(one, here):
                    return True
        return False

    return asyncio.run(go())


def some(*kinds: str, how: str, step: int = 1) -> list[Try]:
    found = [one for one in tries() if one.kind in kinds and one.how.startswith(how)][::step]
    assert found
    return found


def test_nothing_connects_where_it_should_not():
    tally = run(0.21, SEED, quietly)
    assert tally.is_clean, f"seed {SEED}: {tally}"
    assert tally.trials == tally.faults >= 400


def test_the_table_has_many_addresses_and_every_way_in():
    everything = list(tries())
    assert len(set(everything)) == len(everything) >= 1000
    assert len({one.what for one in everything if one.how in {"name", "literal", "odd"}}) >= 60
    assert len({one.how for one in everything}) >= 20


@pytest.mark.parametrize("kind", forgery.KINDS)
def test_control_without_the_guard_of_sockets_every_address_is_reached(monkeypatch, kind):
    def careless(info, *, allow_private):
        return socket.socket(family=info[0], type=info[1], proto=info[2])

    given = [one for one in some(kind, how="", step=1) if one.how in UNGUARDED][::6]
    # A literal that a Slack sink may have, and a public address that is tried first and answers, are no leak.
    given = [
        one for one in given if one.how != "behind" and not (one.how == "literal" and one.what.endswith("1"))
    ]
    assert not any(results(*given))
    monkeypatch.setattr(session, "_guarded_socket", careless)
    got_out = [bool(wrong) for wrong in results(*given)]
    reusing = sum(one.how == "rebound" for one in given)  # aiohttp keeps what it looked up for some seconds
    assert sum(got_out) >= len(given) - reusing
    assert len(given) >= 10


def test_control_a_guard_of_names_instead_of_sockets_is_passed_by_odd_spellings(monkeypatch):
    given = [one for one in some("webhook", how="odd") if not is_private(one.what.strip("[]"))]
    monkeypatch.setattr(session, "is_forbidden", lambda *_args, **_more: None)
    assert sum(map(bool, results(*given))) >= 10


def test_control_a_session_that_follows_redirects_is_led_away(monkeypatch):
    original = aiohttp.ClientSession._request
    monkeypatch.setattr(GuardedResponse, "start", aiohttp.ClientResponse.start)

    async def follow(self, method, url, **options):
        return await original(self, method, url, **{**options, "allow_redirects": True})

    monkeypatch.setattr(aiohttp.ClientSession, "_request", follow)
    monkeypatch.setattr(session, "is_forbidden", lambda *_args, **_more: None)
    for kind in ("webhook", "slack", "hook"):
        assert leads_astray(*some(kind, how="redirect", step=4)), kind


def test_control_sessions_that_take_proxies_from_the_environment_ask_them(monkeypatch):
    original = aiohttp.ClientSession.__init__
    monkeypatch.setattr(
        aiohttp.ClientSession,
        "__init__",
        lambda self, *args, **options: original(self, *args, **{**options, "trust_env": True}),
    )
    monkeypatch.setattr(session, "is_forbidden", lambda *_args, **_more: None)
    assert leads_astray(*some("webhook", how="proxy"))


def test_control_a_slack_client_that_keeps_its_proxy_asks_it(monkeypatch):
    for name in ("AsyncWebClient", "AsyncWebhookClient"):
        client = getattr(slack_api, name)
        kept = type(name, (client,), {"__setattr__": _keeping})
        monkeypatch.setattr(slack_api, name, kept)
    monkeypatch.setattr(session, "is_forbidden", lambda *_args, **_more: None)
    for kind in ("slack", "hook"):
        assert leads_astray(*some(kind, how="proxy")), kind


def _keeping(self, name, value):
    """Set an attribute, but never a proxy to nothing."""
    if name == "proxy" and value is None:
        value = os.environ.get("HTTPS_PROXY") or os.environ.get("HTTP_PROXY")
    object.__setattr__(self, name, value)


def test_control_a_client_that_follows_next_as_it_is_carries_the_key_away(monkeypatch):
    async def pages(self):
        url = f"{self._list_url}"
        while url:
            answer = (await self._http.get(url)).json()
            yield forgery_page(answer)
            url = answer["next"]

    monkeypatch.setattr(ClaspClient, "pages", pages)
    given = [
        one for one in some("source", how="next") if one.what.startswith("http://") and "evil" in one.what
    ]
    names = lambda loop, host, port, **_more: _numbers(loop, "127.0.0.1", port)  # noqa: E731
    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", names)

    async def go() -> bool:
        async with crossing() as here:
            wrong = await attempt(given[0], here)
            return bool(wrong) and any(KEY in head and "evil.example" in head for head in here.heads)

    assert asyncio.run(go())


async def _numbers(_loop, host, port):
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)


def forgery_page(answer):
    from notifier.clasp.client import Page

    return Page(b"", b"", len(answer["results"]), None)


def test_control_a_client_that_follows_redirects_is_led_away(monkeypatch):
    original = httpx.AsyncClient.__init__
    monkeypatch.setattr(
        httpx.AsyncClient,
        "__init__",
        lambda self, **options: original(self, **{**options, "follow_redirects": True}),
    )
    assert leads_astray(*some("source", how="redirect", step=3))


def test_control_a_client_that_takes_proxies_from_the_environment_asks_them(monkeypatch):
    original = httpx.AsyncClient.__init__
    monkeypatch.setattr(
        httpx.AsyncClient,
        "__init__",
        lambda self, **options: original(self, **{**options, "trust_env": True}),
    )
    assert leads_astray(*some("source", how="proxy"))


def test_control_ids_that_are_put_into_the_path_as_they_are_lead_elsewhere(monkeypatch):
    monkeypatch.setattr(
        ClaspClient, "_object_url", lambda self, path, id_: httpx.URL(f"{self._base}/{path}/{id_.strip()}")
    )
    given = [
        one for one in some("source", how="id ") if one.what in {"../admin", "a/../../b", "//evil.example/x"}
    ]
    assert all(results(*given))
