"""No request goes where it should not: every spelling, every way in, with a listener that counts.

Sinks are sent to forbidden addresses as literals, behind names, beside public ones, after a rebinding between
look-ups or between probe and send, by redirects and by proxies of the environment. The source lies about
``next``, redirects, and names things like addresses: its client talks to its own origin only, and only there
with the key. All sockets of the process lead to one listener, so what gets out is seen.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from unittest import mock
from urllib.parse import unquote

from yarl import URL

from notifier import worker
from notifier.clasp.client import ClaspClient
from notifier.errors import DeliveryError, NotifierError
from notifier.models import Delivery
from notifier.sinks.addresses import PRIVATE, is_forbidden
from notifier.sinks.contract import Attempt
from notifier.sinks.session import Access, Sessions
from notifier.sinks.slack import SlackSink
from notifier.sinks.webhook import WebhookSink
from tests.integration.test_sink_guard import LITERALS
from tests.proof.crossing import PUBLIC, Answers, Crossing, Numbers, crossing, listed, plain
from tests.proof.spread import spread
from tests.proof.tally import Proof, Tally, Verdict
from tests.support.clock import FakeClock
from tests.support.configs import config_with
from tests.unit.test_sink_addresses import FORBIDDEN

ATTEMPT = Attempt(1, datetime(2026, 11, 23, tzinfo=UTC))
BODY = (
    '{"type": "connection.added", "data": {"entity": {"kind": "connection", "id": "c", "status": "x"}, "from": null,'
    ' "to": "x", "connection": {"id": "c", "status": "x", "broker_url": "http://169.254.169.254/latest",'
    ' "employer": {"id": "http://10.0.0.1/", "name": "http://127.0.0.1/", "external_id": null}}}}'
)
DELIVERY = Delivery("evt_1", "connection.added", "rule", BODY)
KINDS = ("webhook", "probe", "slack", "slack probe", "hook")
CODES = (301, 302, 303, 307, 308)
KEY = "sk_only_for_the_source"
_DEADLINE = timedelta(seconds=5)
_ADDRESSES = [
    address for address, reason in FORBIDDEN.items() if reason != "unreadable" and "%" not in address
]
_ODD = (
    *LITERALS, "127.0.1", "0x7f000001.", "0177.1", "127.0x1", "[::ffff:7f00:1%25lo]", "[fe80::1%25eth0]",
    "[::1%25lo]", "[0000::0001]", "[::ffff:127.1]", "127.0.0.1%00.example", "127.0.0.1%2f@example",
    "①２7.0.0.1", "0xa9fea9fe", "2852039166", "0251.0376.0251.0376", "169.254.43518", "１６９.254.169.254",
    "[::ffff:a9fe:a9fe]", "[64:ff9b::a9fe:a9fe]", "0xA000001", "10.1", "192.168.257", "[fd00:ec2::254]",
)  # fmt: skip
_PLACES = (
    "http://127.0.0.1:1/x", "http://169.254.169.254/latest/meta-data/", "http://[::1]/", "http://10.0.0.1/",
    "//localhost/x", "https://2130706433/", "file:///etc/passwd", "gopher://127.0.0.1:6379/_FLUSHALL",
)  # fmt: skip
_PROXIES = (
    "http://127.0.0.1:3128",
    "http://169.254.169.254:80",
    "https://10.0.0.1:3128",
    "http://u:p@[::1]:3128",
)


class Try(NamedTuple):
    """One attempt: by whom, how the address is brought in, and the address or place."""

    kind: str
    how: str
    what: str


def tries() -> Iterator[Try]:
    """All of them."""
    for kind in KINDS:
        yield from (Try(kind, how, address) for address in _ADDRESSES for how in ("name", "literal"))
        yield from (Try(kind, "odd", literal) for literal in _ODD)
        yield from (Try(kind, how, address) for address in _ADDRESSES[::3] for how in ("before", "behind"))
        yield from (
            Try(kind, how, address) for address in _ADDRESSES[::2] for how in ("rebound", "restarted")
        )
        if kind != "probe":  # which sends nothing, so that nothing is answered
            yield from (Try(kind, f"redirect {code}", place) for code in CODES for place in _PLACES)
        yield from (Try(kind, "proxy", proxy) for proxy in _PROXIES)
    for address in _ADDRESSES:
        yield Try("webhook", "after a probe", address)
        yield Try("webhook", "allowed private", address)
        yield Try("probe", "allowed private", address)
        yield Try("slack", "localhost", address)
        yield Try("webhook", "https", address)
    yield from (Try("source", "next", place) for place in _NEXT)
    yield from (Try("source", f"redirect {code}", place) for code in CODES for place in _PLACES)
    yield from (
        Try("source", f"id {kind}", id_) for kind in ("connections", "employers", "carriers") for id_ in _IDS
    )
    for kind in ("source", "heartbeat"):
        yield from (Try(kind, "proxy", proxy) for proxy in _PROXIES)
    yield from (Try("heartbeat", f"redirect {code}", place) for code in CODES for place in _PLACES)


async def attempt(given: Try, here: Crossing) -> list[str]:
    """What is wrong after one attempt."""
    here.forget()
    here.answer = lambda _line: plain()
    if given.kind in {"source", "heartbeat"}:
        return await _by_source(given, here) if given.kind == "source" else await _by_heartbeat(given, here)
    async with AsyncExitStack() as stack:
        if given.how == "proxy":
            stack.enter_context(mock.patch.dict(os.environ, _as_proxy(given.what)))
        sinks, allowed = _sinks(given, here)
        said = []
        for number, (sessions, send) in enumerate(sinks):
            stack.push_async_callback(sessions.close)
            said.append(await _outcome(send))
            if number + 1 < len(sinks):
                here.heads.clear()
    wrong = [f"connected to {one}" for one in here.targets if one.partition(" ")[0] not in allowed]
    if not allowed and here.accepted:
        wrong.append(f"{here.accepted} connections came")
    if not allowed and said[-1] not in {
        "forbidden_address",
        "invalid_url",
        "dns",
        "connect",
        "invalid_response",
    }:
        wrong.append(f"was not refused: {said[-1]}")
    if given.how.startswith(("redirect", "proxy")) and not here.targets:
        wrong.append("nothing was connected to: the attempt is not as meant")
    wrong += [f"asked a proxy: {head[:60]}" for head in here.heads if not head.split(" ")[1].startswith("/")]
    return wrong


def _sinks(
    given: Try, here: Crossing
) -> tuple[list[tuple[Sessions, Callable[[], Awaitable[Any]]]], set[str]]:
    """What is sent, one after the other, and the addresses that may be connected to by it."""
    kind, how, what = given
    name, private, resolver = "hooks.example.com", False, Answers((what,))
    allowed: set[str] = set()
    count = 1
    match how.split(" "):
        case ["name"] | ["https"]:
            pass
        case ["literal"]:
            name = f"[{what}]" if ":" in what else what
        case ["odd"]:
            name, resolver = what, Numbers()
        case ["before"] | ["behind"]:
            both = (what, *PUBLIC) if how == "before" else (*PUBLIC, what)
            resolver, allowed = Answers(both), set(PUBLIC)
        case ["rebound"] | ["restarted"]:
            resolver, allowed, count = Answers((PUBLIC[0],), (what,)), set(PUBLIC), 2
        case ["after", *_]:
            resolver, allowed, count = Answers((PUBLIC[0],), (what,)), set(PUBLIC), 2
        case ["allowed", *_] | ["localhost"]:
            private = True
            name = "localhost" if how == "localhost" else name
            allowed = {what} if is_forbidden(what) in PRIVATE else set()
        case ["redirect", code]:
            resolver, allowed = Answers((PUBLIC[0],)), set(PUBLIC)
            here.answer = lambda _line: plain(int(code), f"Location: {what}")
        case ["proxy"]:
            resolver, allowed = Answers((PUBLIC[0],)), set(PUBLIC)
    url = f"{'https' if how == 'https' else 'http'}://{name}/services/x"
    if how in {"literal", "odd"} and _may_be_loopback(kind, url):
        allowed = {"127.0.0.1", "::1"}
    shared = Sessions(resolver)
    made = []
    for number in range(count):
        sessions = Sessions(resolver) if how == "restarted" else shared
        by = "probe" if how == "after a probe" and number == 0 else kind
        made.append((sessions, _sender(by, url, sessions, private=private)))
    return made, allowed


def _may_be_loopback(kind: str, url: str) -> bool:
    """A Slack that is written as loopback may be there, for tests; documented, and nothing else is let through."""
    try:
        return kind in {"slack", "slack probe", "hook"} and URL(url).host in {"localhost", "127.0.0.1", "::1"}
    except ValueError:
        return False


def _sender(kind: str, url: str, sessions: Sessions, *, private: bool) -> Callable[[], Awaitable[Any]]:
    """The attempt itself; the sink is made in it, since that may refuse the address already."""

    async def send() -> Any:
        if kind in {"webhook", "probe"}:
            hook = WebhookSink(
                "w", url=url, secrets=["s"], sessions=sessions, deadline=_DEADLINE, access=Access(private)
            )
            return await (hook.probe() if kind == "probe" else hook.send(DELIVERY, ATTEMPT))
        if kind == "hook":
            sink = SlackSink("s", sessions=sessions, deadline=_DEADLINE, webhook_url=url)
        else:
            sink = SlackSink(
                "s", sessions=sessions, deadline=_DEADLINE, token="t", channel="#c", api_url=f"{url}/"
            )
        return await (sink.probe() if kind == "slack probe" else sink.send(DELIVERY, ATTEMPT))

    return send


async def _outcome(send: Callable[[], Awaitable[Any]]) -> str:
    try:
        await send()
    except DeliveryError as error:
        return error.reason
    except (NotifierError, ValueError):  # of the address, before anything was done
        return "invalid_url"
    return "sent"


def _as_proxy(url: str) -> dict[str, str]:
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    return {name: url for upper in names for name in (upper, upper.lower())} | {
        "NO_PROXY": "",
        "no_proxy": "",
    }


# --- the source, and the monitor ---

_NEXT = (
    *_PLACES,
    "http://evil.example/connections?cursor=x", "https://127.0.0.1/connections?cursor=x",
    "http://127.0.0.1:{port}@evil.example/connections?cursor=x", "http://127.0.0.1:{port}.evil.example/connections?cursor=x",
    "http://evil.example#@127.0.0.1:{port}/connections?cursor=x", "http://evil.example\\@127.0.0.1:{port}/connections?cursor=x",
    "http://u:p@127.0.0.1:{port}/connections?cursor=x", "http://127.0.0.1:{port}/admin?cursor=x",
    "http://127.0.0.1:{port}/connections/../admin?cursor=x", "http://127.0.0.1:{port}/connections/x?cursor=x",
    "http://127.1:{port}/connections?cursor=x", "http://localhost:{port}/connections?cursor=x",
    "http://[::ffff:127.0.0.1]:{port}/connections?cursor=x", "//evil.example/connections?cursor=x",
    "/connections?cursor=x", "?cursor=x", "http://127.0.0.1:{port}/connections?cursor=x%0d%0aHost:%20evil.example",
    "http://127.0.0.1:{port}/connections?cursor=x&cursor=http://evil.example/", "javascript:alert(1)",
    "http://127.0.0.1:{port}/connections?cursor=http://169.254.169.254/", "ftp://127.0.0.1:{port}/connections?cursor=x",
)  # fmt: skip
_IDS = (
    "../admin", "..", ".", "%2e%2e%2fadmin", "http://169.254.169.254/", "//evil.example/x", "@evil.example/",
    "a?b=c", "a#b", "a/../../b", "a\\..\\b", "a\r\nHost: evil.example", "a b", "é", "a;b", "a%00b", "*", "x" * 300,
)  # fmt: skip


def _client(base: str) -> ClaspClient:
    return ClaspClient(
        base_url=base, api_key=KEY, api_version=None, page_size=100,
        timeout=_DEADLINE, clock=FakeClock(), rng=random.Random(1),
    )  # fmt: skip


async def _by_source(given: Try, here: Crossing) -> list[str]:
    base = f"http://127.0.0.1:{here.port}"
    pages = iter([listed(given.what.replace("{port}", str(here.port)))])
    how, _, word = given.how.partition(" ")
    if how == "next":
        here.answer = lambda _line: next(pages, listed(None))
    elif how == "redirect":
        here.answer = lambda _line: plain(int(word), f"Location: {given.what}")
    else:
        here.answer = lambda _line: listed(None) if how == "proxy" else plain(body=b'{"id": "x"}')
    with mock.patch.dict(os.environ, _as_proxy(given.what) if how == "proxy" else {}):
        client = _client(base)
        try:
            if how == "id":
                await getattr(client, word.removesuffix("s"))(given.what)
            else:
                async for page in client.pages():
                    assert page.count
        except NotifierError:
            pass
        finally:
            await client.close()
    wrong = [f"connected to {one}" for one in here.targets if one != f"127.0.0.1 {here.port}"]
    if how != "id" and not here.heads:
        wrong.append("no request came: the attempt is not as meant")
    return wrong + [
        line for head in here.heads for line in _strange(head, here.port, word if how == "id" else "")
    ]


def _strange(head: str, port: int, kind: str) -> list[str]:
    """What is wrong with a request to the source: only its own paths, under its own name, each part one part."""
    target = head.split(" ")[1]
    headers = [line.partition(": ") for line in head.split("\r\n")[1:] if line]
    hosts = [value for name, _, value in headers if name.lower() == "host"]
    wrong = [] if hosts == [f"127.0.0.1:{port}"] else [f"asked for the hosts {hosts}"]
    path = target.partition("?")[0]
    if not kind and path != "/connections":
        wrong.append(f"asked for {target[:80]}")
    if kind and (
        path.count("/") != 2 or not path.startswith(f"/{kind}/") or unquote(path).endswith(("/..", "/."))
    ):
        wrong.append(f"asked for {target[:80]}")
    return wrong


async def _by_heartbeat(given: Try, here: Crossing) -> list[str]:
    """``heartbeat_url`` may lead anywhere, as it is documented; but nothing else decides where it leads."""
    config = config_with(extra=f"heartbeat_url: http://127.0.0.1:{here.port}/ping")
    code = given.how.partition(" ")[2]
    here.answer = lambda _line: plain(int(code or 200), f"Location: {given.what}")
    with mock.patch.dict(os.environ, _as_proxy(given.what) if given.how == "proxy" else {}):
        async with worker._heartbeat(config) as start:
            start()
            await asyncio.gather(
                *(one for one in asyncio.all_tasks() if "beat" in one.get_coro().__qualname__)  # type: ignore[union-attr]
            )
    wrong = [f"connected to {one}" for one in here.targets if one != f"127.0.0.1 {here.port}"]
    return wrong + ([] if here.accepted == 1 else [f"{here.accepted} connections came in place of one"])


async def _attempts(trials: Sequence[Try], seed: int) -> Tally:
    tally = Tally()
    async with crossing() as here:
        for given in trials:
            tally.take(Verdict(broken=await attempt(given, here)), f"forgery {tuple(given)} (seed {seed})")
    return tally


def _piece(trials: Sequence[Try]) -> Tally:
    return asyncio.run(_attempts(trials, 0))


def run(scale: float, seed: int, say: Callable[[str], None]) -> Tally:
    """Every attempt, or below scale 1 a choice of them."""
    chosen = list(tries())
    random.Random(seed).shuffle(chosen)
    return spread(_piece, chosen[: max(1, round(len(chosen) * scale))], say, piece=150)


PROOF = Proof("forgery", "requests that somebody else wants to direct", ("P22",), run)
