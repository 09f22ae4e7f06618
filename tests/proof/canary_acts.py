"""What the notifier goes through with its canaries: looks, refusals, faults, crashes, commands, bad files.

Each act is the real worker or a real command in a fork, with every logger of Python at DEBUG, whose whole
output is kept. The configuration is a file, loaded as ever; only its interval is shorter.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from unittest import mock

import msgspec

from notifier import cli, log, worker
from notifier.clasp import client
from notifier.clock import SystemClock
from notifier.config import load
from notifier.errors import NotifierError
from notifier.log import LogLevel
from notifier.sinks.webhook import WebhookSink
from notifier.web.health import Health
from tests.proof.canary_world import Secrets, World, configuration

_BEAT = timedelta(milliseconds=30)
_LOOKS = 4
_LONGEST_S = 20
STUCK = "the act got nowhere in its time"
_OWN_LEVEL = ("httpx", "httpcore", "aiohttp", "redis", "asyncio", "slack_sdk", "slack_sdk.web.async_client")


class Act(msgspec.Struct, frozen=True):
    """One of them. ``config`` gives the file's text for a store; ``moods`` are the world's meanwhile."""

    name: str
    config: Callable[[World, str], str]
    moods: Mapping[str, str] = {}
    go: Callable[[Path, Mapping[str, str]], int] = lambda path, env: look(path, env)  # noqa: PLW0108 - defined below
    asks_for_ein: bool = False


def loud(level: LogLevel = LogLevel.DEBUG, *, as_json: bool = True) -> None:
    """``log.configure``, and then everything that Python's libraries have to say."""
    log.configure(level, json=as_json)
    for name in ("", *_OWN_LEVEL):
        logging.getLogger(name or None).setLevel(logging.DEBUG)


def look(path: Path, env: Mapping[str, str], *, as_json: bool = True, looks: int = _LOOKS) -> int:
    """A worker until it has polled so often; before it stops, its pages are fetched."""
    loud(as_json=as_json)
    config = load(path, env)
    source = config.source.model_copy(update={"poll_interval": _BEAT})
    config = config.model_copy(update={"source": source})
    try:
        asyncio.run(_look(config, env, looks))
    except NotifierError as error:
        print(f"ended: {error}")
    return 0


async def _look(config, env: Mapping[str, str], looks: int) -> None:
    stop, polled, healths = asyncio.Event(), asyncio.Semaphore(0), []
    original, serve = Health.polled, worker.serve

    def noting(self, result) -> None:
        original(self, result)
        healths.append(self)
        polled.release()

    addresses: list[str] = []

    def listening(*args):
        context = serve(*args)

        class Noting:
            async def __aenter__(self) -> str:
                addresses.append(await context.__aenter__())
                return addresses[0]

            async def __aexit__(self, *exception):
                return await context.__aexit__(*exception)

        return Noting()

    with (
        mock.patch.object(Health, "polled", noting),
        mock.patch.object(worker, "serve", listening),
        mock.patch.object(client, "_BACKOFF_S", 0.01),
    ):
        running = asyncio.create_task(worker.run(config, env, SystemClock(), stop=stop))
        waiting = asyncio.create_task(_times(polled, looks))
        done, _ = await asyncio.wait(
            {running, waiting}, timeout=_LONGEST_S, return_when=asyncio.FIRST_COMPLETED
        )
        if not done:
            print(STUCK)
            for task in asyncio.all_tasks():
                task.print_stack(file=sys.stdout)
        for page in ("healthz", "readyz", "metrics") if not running.done() else ():
            print(await asyncio.to_thread(_page, f"{addresses[0]}/{page}"))
        stop.set()
        waiting.cancel()
        await running


async def _times(polled: asyncio.Semaphore, count: int) -> None:
    for _ in range(count):
        await polled.acquire()


def _page(url: str) -> str:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own worker
            return answer.read().decode()
    except urllib.error.HTTPError as refusal:
        with refusal:
            return refusal.read().decode()


def command(*args: str) -> Callable[[Path, Mapping[str, str]], int]:
    """A command of ``notifier``, on the act's configuration."""

    def go(path: Path, env: Mapping[str, str]) -> int:
        os.environ.update(env)
        loud()
        sys.argv = ["notifier", *args, *(() if args == ("schema",) else ("--config", str(path)))]
        try:
            cli.main()
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 1
        return 0

    return go


def _defect(path: Path, env: Mapping[str, str], *, as_json: bool) -> int:
    """A sink with a defect: an error that nobody foresaw, in frames that hold every secret."""

    async def send(self, delivery, attempt):
        secret, headers = self._format.__closure__[0].cell_contents, self._headers
        raise KeyError(len(secret) + len(headers))

    with mock.patch.object(WebhookSink, "send", send):
        return look(path, env, as_json=as_json)


def _crash(path: Path, env: Mapping[str, str]) -> int:
    """The end of the poller by an error that nobody foresaw: the process ends with a traceback."""

    def mean(*_args):
        raise RuntimeError("a defect")

    with mock.patch("notifier.poller.loop.decide", mean):
        return look(path, env)


def acts(secrets: Secrets) -> Iterator[Act]:
    """All of them, in order: the last ones look at what the first ones left in the store."""
    yield Act("all is well", configuration)
    for mood in (
        "401 json",
        "401 text",
        "403 html",
        "500 json",
        "400 text",
        "302 header",
        "500 header",
        "reset",
    ):
        yield Act(f"the source answers {mood}", configuration, {"source": mood})
    for mood in ("401 text", "500 json", "reset"):
        yield Act(f"names are answered with {mood}", configuration, {"names": mood})
        yield Act(f"the monitor answers {mood}", configuration, {"monitor": mood})
    for mood in ("400 json", "500 text", "401 text", "302 header", "429 header", "404 json", "reset"):
        moods = {"backend": mood, "slack": mood}
        yield Act(f"receivers answer {mood}", configuration, moods)
    for error in ("invalid_auth", "invalid_blocks", "channel_not_found", "fatal_error", "made_up"):
        yield Act(f"Slack answers ok: false, {error}", configuration, {"slack": f"200 {error}"})
    yield Act("the source has no TLS", lambda world, store: configuration(world, store, source="https"))
    yield Act("receivers have no TLS", lambda world, store: configuration(world, store, sinks="https"))
    wrong = lambda world, store: configuration(world, _with_password(store, secrets["wrong store password"]))  # noqa: E731
    yield Act("the store refuses the password", wrong)
    nowhere = f"redis://user:{secrets['wrong store password']}@127.0.0.1:1/0"
    yield Act("the store is nowhere", lambda world, _store: configuration(world, nowhere), go=_once)
    yield Act("a sink has a defect", configuration, go=lambda path, env: _defect(path, env, as_json=True))
    yield Act(
        "a sink has a defect, on a terminal", configuration, go=lambda p, e: _defect(p, e, as_json=False)
    )
    yield Act("the poller has a defect", configuration, go=_crash)
    yield from _commands()
    yield from _bad_files(secrets)
    asking = lambda world, store: configuration(world, store, ein=True)  # noqa: E731
    yield Act("a sink asks for the EIN", asking, asks_for_ein=True)
    yield Act("nobody asks for it any more", configuration)


def _once(path: Path, env: Mapping[str, str]) -> int:
    return look(path, env, looks=1)


def _with_password(store: str, password: str) -> str:
    return f"unix://:{password}@{store.partition('@')[2]}"


def _commands() -> Iterator[Act]:
    for words in (
        "check", "check --online", "schema", "status", "status --json", "history", "history --json",
        "history --deliveries", "history --deliveries --json", "dead list", "dead list --json",
        "sinks list", "sinks list --json", "sinks pause backend", "sinks resume backend", "sinks drop backend --yes",
        "send-test backend", "send-test slack", "send-test hook", "send-test nobody", "approve --yes",
        "dead replay backend --all", "dead drop backend --all --yes", "run --log-level loud",
    ):  # fmt: skip
        yield Act(f"notifier {words}", configuration, go=command(*words.split()))
    refusing = {"backend": "500 text", "slack": "200 invalid_auth", "source": "401 json"}
    for words in ("check --online", "send-test backend", "send-test slack", "send-test hook"):
        yield Act(f"notifier {words}, refused", configuration, refusing, command(*words.split()))


def _bad_files(secrets: Secrets) -> Iterator[Act]:
    """A secret in every wrong place that a hurried hand may find."""
    key, token, url = secrets["api key"], secrets["Slack token"], secrets["url token"]
    signing, ping = secrets["signing secret"], secrets["heartbeat token"]
    address = f"https://user:{secrets['url password']}@hooks.example.com/{url}"
    changes = [
        ('api_key: "${KEY}"', f'api_key: "{key} "'),
        ('api_key: "${KEY}"', f"api_key: [{key}]"),
        ('api_key: "${KEY}"', f'api_key: {{"{key}": 1}}'),
        ('api_key: "${KEY}"', f'api_key: "{key}'),
        ('api_key: "${KEY}"', f'"{key}": x'),
        ('api_key: "${KEY}"', f'api_key: "{key}", api_key: "{key}"'),
        ('api_key: "${KEY}"', f"api_key: &{key} x"),
        ('api_key: "${KEY}"', f"api_key: !{key} x"),
        ('api_key: "${KEY}"', f'api_key: "{key}é"'),
        ("base_url: ", f'base_url: "{address}", x: '),
        ("timeout: 2s", "timeout: ${SLACK}"),
        ("name: canaries", "name: ${HOOK}/"),
        ("name: canaries", f"name: {token}!"),
        ("store: ", f"store: 'redis://:{secrets['wrong store password']}@h:99999/0'\nx: "),
        ("store: ", f"store: 'redis://:{secrets['wrong store password']}@h/0?{token}=1'\nx: "),
        ("store: ", f"store: 'http://:{secrets['wrong store password']}@h/0'\nx: "),
        ("heartbeat_url: ", f'heartbeat_url: "ftp://x.example/{ping}"\nx: '),
        ("heartbeat_url: ", f'heartbeat_url: "https://x.example:port/{ping}"\nx: '),
        ('listen: "127.0.0.1:0"', "listen: ${SLACK}"),
        ("type: webhook", f"type: {token}"),
        ("  backend:\n", f'  backend:\n    "{token}": 1\n'),
        ("  backend:\n", f'  "{token}":\n'),
        ("    url: ", f'    url: "{address}"\n    x: '),
        ("    url: ", f'    url: "hooks.example.com/{url}"\n    x: '),
        ("    secrets: ", f'    secrets: ["whsec_!{signing}"]\n    x: '),
        ("    secrets: ", f'    secrets: {{"{signing}": 1}}\n    x: '),
        ("headers: {X-Canary: ", f'headers: {{"X {token}": x, X-Canary: '),
        ("headers: {X-Canary: ", f'headers: {{Host: "{secrets["header"]}", X-Canary: '),
        ("headers: {X-Canary: ", f'headers: {{X-C: "{secrets["header"]}\\n", X-Canary: '),
        ("notify: backend", f"notify: {token}"),
        ("notify: backend", f'notify: "backend#{token}"'),
        ("notify: backend", f'notify: ["{address}"]'),
        ("when: {}", f"when: {{type: {token}}}"),
        ("when: {}", f'when: {{"{token}": 1}}'),
        ("when: {}", f"when: {{field: {signing}}}"),
        ("webhook_url: ", f'token: "{token}", webhook_url: '),
        ('channel: "#c"', f'channel: "{token} {token}"'),
        ("rules:", f'links: {{x: "https://user:{secrets["url password"]}@h/{{id}}"}}\nrules:'),
        ("rules:", f'guards: {{removals: "{token}"}}\nrules:'),
        ("rules:", f"self_reports: ['{token}']\nrules:"),
        ("rules:", f"{token}: 1\nrules:"),
        ("rules:", f"\t{token}\nrules:"),
        ("rules:", f"? [{token}]\n: x\nrules:"),
    ]
    for number, (old, new) in enumerate(changes):
        text = lambda world, store, old=old, new=new: configuration(world, store).replace(old, new, 1)  # noqa: E731
        for words in ("check", "run"):
            yield Act(f"notifier {words}, bad file {number}", text, go=command(words))
