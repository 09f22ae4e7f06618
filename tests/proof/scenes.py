"""What the notifier is doing when it is killed or paused: one scene for each thing that it does.

A scene has a source (``account``), what happens to it (``change``), what the worker has done before
(``prepare``, which calls ``change`` where it belongs) and what it does while it may be stopped (``act``).
Everything in a scene is decided beforehand, so that whoever judges it knows what the source showed without
having been there.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any
from unittest import mock

import msgspec

from notifier.core.alerts import Taken, Taking, moment_text
from notifier.core.removals import Guard
from notifier.core.retry import WEBHOOK_SCHEDULE
from notifier.dispatcher import Dispatcher, Route
from notifier.errors import PermanentFailure, TemporaryFailure
from notifier.models import Part, Posted
from notifier.poller import baseline, commits
from notifier.poller.inbox import TAKE
from notifier.sinks.contract import Receipt
from notifier.sinks.session import Access, Sessions
from notifier.sinks.webhook import WebhookSink
from tests.support.account import Account, connection, group, milestone
from tests.support.clock import FakeClock
from tests.support.configs import config_with
from tests.support.rig import Rig

SECRET = "whsec_Y2FuYXJ5LXdlYmhvb2stc2VjcmV0LTA4MTU="


class FileSink:
    """Takes a delivery by writing it to a file that outlives the process; raises ``errors`` first."""

    def __init__(self, path: str, name: str = "backend") -> None:
        self.name = name
        self.deadline = timedelta(seconds=15)
        self.errors: list[Exception] = []
        self.hangs = False
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def send(self, delivery, attempt) -> Receipt:
        if self.errors:
            raise self.errors.pop(0)
        os.write(self._file, delivery.body.encode() + b"\n")
        if self.hangs:  # it was taken, and the answer never comes
            await asyncio.Event().wait()
        return Receipt(status=200)

    async def probe(self) -> str:
        return ""

    async def close(self) -> None:
        os.close(self._file)


class PeopleSink(FileSink):
    """The same for messages: what each shows, in the order in which it was changed."""

    async def send(self, delivery, attempt) -> Receipt:
        if delivery.part is not Part.ROOT:
            return Receipt(status=200)
        page = {"message": delivery.message, "show": json.loads(delivery.body)}
        os.write(self._file, json.dumps(page).encode() + b"\n")
        return Receipt(status=200, posted=Posted("C1", str(delivery.message), attempt.version))


class Props(msgspec.Struct, frozen=True):
    """What a scene's processes share: the store's socket, the file of what was taken, a webhook receiver."""

    socket: str
    taken: str
    receiver_url: str

    @property
    def shown(self) -> str:
        """The file of what people were shown."""
        return self.taken + ".shown"


class Stage(msgspec.Struct, frozen=True):
    """One process's part in a scene: a worker, and the moment at which the source changes."""

    rig: Rig
    clock: FakeClock
    change: Callable[[], None]
    props: Props


Play = Callable[[Stage], Awaitable[Any]]


class Scene(msgspec.Struct, frozen=True):
    """See the module. ``gone`` are entities that leave the source in it.

    ``cut_off`` counts how often the scene itself ends an attempt that the receiver may have taken.
    """

    name: str
    change: Callable[[Account], None]
    prepare: Play
    act: Play
    gone: frozenset[str] = frozenset()
    guard: Guard = Guard(0.05, 5)
    cut_off: int = 0
    config: Any = None  # None: everything goes to backend

    def stage(self, redis: Any, props: Props) -> Stage:
        """A worker that knows nothing yet, and the source as it is before the change."""
        account = self.account()
        clock = FakeClock()
        rig = Rig(redis, clock, account, self.config, guard=self.guard)
        rig.sinks["backend"] = FileSink(props.taken)
        if "people" in rig.sinks:
            rig.sinks["people"] = PeopleSink(props.shown, "people")
        return Stage(rig, clock, lambda: self.change(account), props)

    def account(self) -> Account:
        """Three connections; the first has two group connections and a milestone."""
        return Account(
            connection("c1", group("g1a"), group("g1b", "processing"), milestones=[milestone("m1")]),
            connection("c2", group("g2a", "processing")),
            connection("c3", group("g3a", "needs_attention")),
        )


def _trouble(account: Account) -> None:
    """Two connections change: three deliveries in two lanes."""
    account.set_status("c1", "g1a", "needs_attention")
    account["c1"]["events"].append(milestone("m2", "needs_attention"))
    account.set_status("c2", "g2a", "completed")


def _nothing(_account: Account) -> None:
    pass


def _leave(account: Account) -> None:
    """A connection and a group connection leave; another changes."""
    account.drop("c3")
    account["c1"]["group_connections"].pop()
    account.set_status("c1", "g1a", "processing")


def _mostly_leave(account: Account) -> None:
    account.drop("c1", "c2")


async def _poll(stage: Stage) -> None:
    await stage.rig.poll()


async def _poll_in_small_chunks(stage: Stage) -> None:
    with mock.patch.object(commits, "CHUNK", 1), mock.patch.object(baseline, "CHUNK", 1):
        await stage.rig.poll()


async def _unprepared(_stage: Stage) -> None:
    pass


async def _watching(stage: Stage) -> None:
    """The baseline is taken and told; then the source changes."""
    await stage.rig.poll()
    await stage.rig.deliver()
    stage.change()


async def _owing(stage: Stage) -> None:
    """The changes are committed, and nothing of them is delivered."""
    await _watching(stage)
    await stage.rig.poll()


async def _absent_once(stage: Stage) -> None:
    await _watching(stage)
    await stage.rig.poll()


async def _held(stage: Stage) -> None:
    """Too much has left twice; it was held, and a person approves."""
    await _watching(stage)
    await stage.rig.poll(2)
    meta = await stage.rig.store.meta()
    assert meta.held is not None
    await stage.rig.store.write_inbox("approve", msgspec.to_builtins(meta.held))


async def _another_died(stage: Stage) -> None:
    """Another worker took the baseline and died with the lease in hand; this one knows nothing."""
    await _watching(stage)
    stage.rig.restart()


async def _dead_letter_lies(stage: Stage) -> None:
    await _owing(stage)
    stage.rig.sinks["backend"].errors = [PermanentFailure("http_400", "no") for _ in range(2)]
    await stage.rig.deliver()


async def _deliver_by_webhook(stage: Stage) -> None:
    sessions = Sessions()
    stage.rig.sinks["backend"] = WebhookSink(
        "backend",
        url=stage.props.receiver_url,
        secrets=[SECRET],
        sessions=sessions,
        deadline=timedelta(seconds=15),
        access=Access(private=True),
    )
    try:
        await stage.rig.deliver()
    finally:
        await sessions.close()


async def _deliver_at_the_second_try(stage: Stage) -> None:
    stage.rig.sinks["backend"].errors = [TemporaryFailure("http_503", "busy") for _ in range(2)]
    await stage.rig.deliver()
    stage.rig.clock.advance(7)
    await stage.rig.deliver()


async def _deliver_and_bury(stage: Stage) -> None:
    stage.rig.sinks["backend"].errors = [PermanentFailure("http_400", "no") for _ in range(2)]
    await stage.rig.deliver()


async def _replay(stage: Stage) -> None:
    await stage.rig.lanes.replay("backend", await stage.rig.lanes.dead_letters("backend"))
    await stage.rig.deliver()


async def _stop_at_work(stage: Stage) -> None:
    """Both loops run; the stop comes after a poll, while an attempt hangs and has to be given back."""
    stage.rig.sinks["backend"].hangs = True
    stop = asyncio.Event()
    routes = {"backend": Route(stage.rig.sinks["backend"], WEBHOOK_SCHEDULE, 2, None)}
    dispatcher = Dispatcher(routes, stage.rig.lanes, stage.rig.still, random.Random(0))
    stage.rig.clock.advance(60)

    async def stop_after_a_poll() -> None:
        while not stage.rig.results:
            await asyncio.sleep(0)
        stop.set()

    async with asyncio.TaskGroup() as parts:
        parts.create_task(stage.rig.poller.run(stop))
        parts.create_task(dispatcher.run(stop, timedelta(0)))
        parts.create_task(stop_after_a_poll())


async def _watching_alerts(stage: Stage) -> None:
    """An alert is open and told; then the source changes."""
    await stage.rig.poll(2)
    await stage.rig.deliver()
    stage.change()


async def _tell_of_alerts(stage: Stage) -> None:
    """Somebody takes the alert that is open, others open; people and programs are told."""
    rig = stage.rig
    taken = Taken("Sam", moment_text(rig.store.now()))
    ids = [alert.id for alert in (await rig.store.alerts()).values()]
    await rig.store.write_inbox(TAKE, msgspec.to_builtins(Taking(tuple(ids), taken)))
    await rig.poll()
    await rig.deliver()


ALERTS = config_with(
    """\
  - {name: everything, when: {}, notify: [backend]}
  - name: needs
    while: {entity: [group_connection, milestone], status: needs_attention}
    include_existing: each
    notify: [backend, people]
""",
    """\
  backend: {type: console}
  people: {type: slack, token: xoxb-1, channel: "#people"}
""",
)
SCENES = {
    scene.name: scene
    for scene in (
        Scene("first look", _nothing, _unprepared, _poll_in_small_chunks),
        Scene("commit", _trouble, _watching, _poll),
        Scene("commit in chunks", _trouble, _watching, _poll_in_small_chunks),
        Scene("deliver", _trouble, _owing, _deliver_by_webhook),
        Scene("retry", _trouble, _owing, _deliver_at_the_second_try),
        Scene("dead letter", _trouble, _owing, _deliver_and_bury),
        Scene("replay", _trouble, _dead_letter_lies, _replay),
        Scene("takeover", _trouble, _another_died, _poll),
        Scene("removal", _leave, _absent_once, _poll, frozenset({"c3", "g1b"})),
        Scene("approval", _mostly_leave, _held, _poll, frozenset({"c1", "c2"}), Guard(0, 0)),
        Scene("alerts", _trouble, _watching_alerts, _tell_of_alerts, config=ALERTS),
        Scene("shutdown", _trouble, _owing, _stop_at_work, cut_off=1),
    )
}
