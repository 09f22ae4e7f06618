"""A month in the life of a notifier, on a virtual clock: what happens to it, and what each sink was sent.

The times are those of New York, where the people of the story work. Polls come every ten minutes by day on
working days, and every three hours otherwise.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import msgspec

from notifier.core.alerts import UNTIL_IT_CHANGES, Taken, Taking, moment_text
from notifier.core.quiet import Silence
from notifier.core.retry import SLACK_SCHEDULE
from notifier.dispatcher import Dispatcher, Route
from notifier.errors import TemporaryFailure
from notifier.models import Part
from notifier.poller.inbox import TAKE
from notifier.sinks.contract import Receipt
from notifier.sinks.wording import tell
from tests.support.account import Account, connection, group
from tests.support.clock import FakeClock
from tests.support.configs import config_with
from tests.support.rig import MemorySink, Rig

NEW_YORK = ZoneInfo("America/New_York")
BEGIN, END = datetime(2026, 11, 18, 7, tzinfo=NEW_YORK), datetime(2026, 12, 18, 18, tzinfo=NEW_YORK)
CONFIG = config_with(
    """\
  - name: needs
    while: {entity: group_connection, status: needs_attention}
    for: 20m
    notify: [ops, hook, backend]
  - name: too-long
    while: {entity: group_connection, status: needs_attention}
    for: 3bd
    calendar: office
    remind: 2bd
    severity: critical
    notify: ["ops#escalations"]
  - name: stuck
    while: {entity: connection, connection: [co_13, co_14], unchanged: 5bd}
    calendar: office
    notify: ["ops#stuck"]
""",
    """\
  ops: {type: slack, token: xoxb-1, channel: "#ops", active: {calendar: office, except: critical}}
  hook: {type: slack, webhook_url: https://hooks.slack.com/services/hook}
  backend: {type: console}
""",
    """\
self_reports: [ops]
calendars:
  office: {timezone: America/New_York, days: mon-fri, hours: "09:00-17:30", holidays: US}
""",
)


class Company(Account):
    """Fourteen employers with a group connection each: eight at Guardian, four at Aetna, two at Cigna."""

    def __init__(self) -> None:
        carriers = ["guardian"] * 8 + ["aetna"] * 4 + ["cigna"] * 2
        super().__init__(
            *(
                connection(f"co_{n:02}", group(f"g_{n:02}", "processing", carrier=f"carr_{carrier}"))
                for n, carrier in enumerate(carriers, 1)
            ),
            page_size=10,
        )

    def _answer(self, request: httpx.Request) -> httpx.Response:
        _, kind, *id_ = request.url.path.split("/")
        if kind not in self.names:
            return super()._answer(request)
        self.names[kind] = id_[0].rpartition("_")[2].capitalize() if kind == "carriers" else id_[0][-2:]
        return super()._answer(request)


class Recorder(MemorySink):
    """Notes when what was said there; while ``is_down`` it takes nothing."""

    def __init__(self, name: str, clock: Callable[[], datetime]) -> None:
        super().__init__(name)
        self.said: list[tuple[datetime, str]] = []
        self.is_down = False
        self._now = clock

    async def send(self, delivery: Any, attempt: Any) -> Receipt:
        if self.is_down:
            raise TemporaryFailure("http_503", "Slack is away")
        how = delivery.part or "event"
        if how is Part.ROOT:
            how = "edit" if attempt.posted else "post"
        receipt = await super().send(delivery, attempt)
        body = msgspec.json.decode(delivery.body)
        told = tell(body)
        where = f"{self.name}{delivery.target or ''}"
        lines = f" [{len(told.lines)} lines]" if told.lines else ""
        self.said.append((self._now(), f"{where} {how}: {told.title}{lines}"))
        return receipt


class Month:
    """``run`` plays it. ``restarts``: at every full hour the worker ends, and another takes over now and then."""

    def __init__(self, redis: Any, *, restarts: bool) -> None:
        self.account = Company()
        self._clock = FakeClock()
        self._restarts = restarts
        self._rigs = [
            Rig(redis, self._clock, self.account, CONFIG, interval=timedelta(minutes=10)) for _ in "ab"
        ]
        self._sinks = {name: Recorder(name, self._now) for name in CONFIG.sinks}
        for rig in self._rigs:
            rig.sinks = dict(self._sinks)

    @property
    def said(self) -> dict[str, list[str]]:
        """What each sink was sent, minute by minute: in one minute, messages come in any order."""
        return {
            name: [f"{when:%a %d %H:%M} {what}" for when, what in sorted(sink.said)]
            for name, sink in self._sinks.items()
        }

    async def run(self, story: dict[str, Callable[[Month], Any]]) -> None:
        """Play the story: what happens at ``MM-DD HH:MM``."""
        rig = self._rigs[0]
        await rig.store.sync_time()
        left = dict(story)
        for at in _polls():
            self._clock.advance((at - self._now()).total_seconds())
            for moment in [moment for moment in left if moment <= f"{at:%m-%d %H:%M}"]:
                result = left.pop(moment)(self)
                if result is not None:
                    await result
            if self._restarts and at.minute == 0:
                rig = self._rigs[at.hour % 5 == 0]
                rig.restart()
            await rig.poller.poll_once()
            await self._deliver(rig)
        assert not left, f"never came to {sorted(left)}"

    def _now(self) -> datetime:
        return self._rigs[0].store.now().astimezone(NEW_YORK)

    async def _deliver(self, rig: Rig) -> None:
        stop = asyncio.Event()
        routes = {name: Route(sink, SLACK_SCHEDULE, 16, None) for name, sink in self._sinks.items()}
        dispatcher = Dispatcher(routes, rig.lanes, rig.still, random.Random(0))
        running = asyncio.create_task(dispatcher.run(stop, timedelta(seconds=1)))
        while await rig.is_due():
            await asyncio.sleep(0)
        stop.set()
        await running

    # --- what happens ---

    def turn(self, *numbers: int, to: str) -> None:
        """The group connections of these employers have another status."""
        for n in numbers:
            self.account.set_status(f"co_{n:02}", f"g_{n:02}", to)

    def source(self, status: int | None) -> None:
        """Clasp answers with this, or as ever (None)."""
        answer = None if status is None else httpx.Response(status, json={"type": "error"})
        self.account.answer = lambda _request, _page: answer

    def slack(self, *, is_down: bool) -> None:
        """Slack is away, or there."""
        self._sinks["ops"].is_down = is_down

    async def silence(self, hours: int, **where: str) -> None:
        """A person does not want to hear of these."""
        now = self._rigs[0].store.now()
        asked = Silence("sil_1", where, moment_text(now), moment_text(now + timedelta(hours=hours)), "Sam")
        await self._rigs[0].store.write_inbox("silence", msgspec.to_builtins(asked))

    async def take(self, n: int, until: datetime | None = None, *, until_it_changes: bool = False) -> None:
        """Sam takes the alerts of an employer's group connection."""
        store = self._rigs[0].store
        known = (await store.alerts()).values()
        ids = tuple(alert.id for alert in known if alert.subject.id == f"g_{n:02}" and alert.id)
        end = UNTIL_IT_CHANGES if until_it_changes else until and moment_text(until)
        taking = Taking(ids, Taken("Sam", moment_text(store.now()), end))
        await store.write_inbox(TAKE, msgspec.to_builtins(taking))


def _polls() -> Iterator[datetime]:
    at = BEGIN.astimezone(UTC)
    while at <= END:
        local = at.astimezone(NEW_YORK)
        yield local
        is_day = local.weekday() < 5 and 8 <= local.hour < 18
        at += timedelta(minutes=10) if is_day else timedelta(hours=1 if local.hour in {7, 18} else 3)
