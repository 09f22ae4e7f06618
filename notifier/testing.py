"""What every sink keeps, as checks for its author's tests.

::

    class MyCase(Case):
        type = "pigeon"
        def settings(self): return {"loft": "..."}   # the keys of a sink that reaches your double
        def told(self): return len(double.messages)  # how many messages that has taken

    @pytest.mark.parametrize("check", CONTRACT, ids=lambda check: check.__name__)
    def test_contract(check):
        asyncio.run(check(MyCase()))

Each check builds the sink from its configuration, as a worker does, and raises ``AssertionError`` where the
contract (``notifier.sinks.contract``) is broken. ``silent`` and ``away`` give more of them something to try.
"""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from notifier.config import Config
from notifier.config.kinds import config_model, kinds_of
from notifier.config.words import EVENT_TYPES, REPORT_TYPES
from notifier.errors import DeliveryError
from notifier.models import Delivery
from notifier.sinks.contract import Attempt, Receipt, Sink
from notifier.sinks.registry import build_sinks

AT = datetime(2026, 11, 23, 22, 1, 7, tzinfo=UTC)
_LONGEST_REASON = 40
_PATIENCE_S = 10.0
_ALERTS = tuple(f"alert.{word}" for word in ("opened", "reminder", "acknowledged", "released", "resolved"))
_OTHERS = ("alert.digest", "connection.current", "notifier.test", "connection.of_a_later_release")


class Case:
    """A kind of sink, and a receiver of yours for it."""

    type: str
    directory = Path()

    def settings(self) -> Mapping[str, Any]:
        """The keys of a sink, without ``type``, that reaches the receiver."""
        raise NotImplementedError

    def told(self) -> int:
        """How many messages the receiver has taken so far."""
        raise NotImplementedError

    def silent(self) -> Mapping[str, Any] | None:
        """The keys of a sink whose receiver hears everything and never answers; None: there is none."""
        return None

    def heard(self) -> int:
        """How many attempts that receiver has heard."""
        return 0

    def away(self) -> Mapping[str, Any] | None:
        """The keys of a sink whose receiver is not there; None: that cannot be."""
        return None

    def secrets(self) -> tuple[str, ...]:
        """Texts in the keys that no error may show."""
        return ()


def event(type_: str = "group_connection.status_changed", **data: Any) -> Delivery:
    """A delivery as a worker sends it: of a change, an alert (``alert.opened``) or the notifier itself."""
    kind = type_.partition(".")[0]
    body: dict[str, Any] = {
        "id": "evt_1",
        "source": "clasp-test",
        "epoch": "e1",
        "sequence": 7,
        "rule": "rule",
        "severity": "warning",
        "entity": {"kind": kind, "id": "gc_1", "status": "needs_attention", "group_id": "00123"},
        "from": "processing",
        "to": "needs_attention",
        "changed": {},
        "connection": {"id": "conn_1", "employer": {"id": "er_1", "name": "Acme", "external_id": "48213"}},
        "carrier": {"id": "carr_1", "name": "Guardian"},
        "observed_between": ["2026-11-23T22:00:07.001Z", "2026-11-23T22:01:07.120Z"],
        **data,
    }
    if type_.startswith("alert."):
        body |= {"entity": {**body["entity"], "kind": "group_connection"}, "alert": _alert(type_), **data}
    if type_.startswith("notifier."):
        body = {name: body[name] for name in ("id", "source", "epoch", "severity")}
        body |= {"message": "Something of its own.", "cause": "test", **data}
    text = json.dumps({"type": type_, "timestamp": "2026-11-23T22:01:07.120Z", "data": body})
    return Delivery("evt_1", type_, "rule", text)


def _alert(type_: str) -> dict[str, Any]:
    """What the events of one alert say of it: its id is the same in all of them."""
    is_over = type_ == "alert.resolved"
    return {
        "id": "alert_1",
        "since": "2026-11-23T20:19:07.000Z",
        "since_after": "2026-11-23T20:18:07.000Z",
        "opened_at": "2026-11-23T20:19:07.000Z",
        "existing": False,
        "unchanged": False,
        "occurrence": 1,
        "unstable": None,
        "acknowledged": None,
        "ended_at": "2026-11-23T22:01:07.120Z" if is_over else None,
        "end": "moved" if is_over else None,
    }


@asynccontextmanager
async def built(case: Case, settings: Mapping[str, Any], **more: Any) -> AsyncIterator[Sink]:
    """The sink of a case, as a worker builds it."""
    model = config_model(kinds_of([case.type]))
    sinks = {"mine": {"type": case.type, **settings, **more}}
    source = {"base_url": "https://clasp.example.com", "api_key": "key"}
    config: Config = model.model_validate(
        {"name": "test", "source": source, "sinks": sinks, "directory": case.directory}
    )
    async with build_sinks(config) as found:
        yield found["mine"]


async def knows_its_name_and_deadline(case: Case) -> None:
    """It is called as the configuration calls it, and takes ``timeout``; 2 s more to end what it began."""
    async with built(case, case.settings(), timeout="3s") as sink:
        assert sink.name == "mine", sink.name
        assert timedelta(seconds=3) <= sink.deadline <= timedelta(seconds=5), sink.deadline


async def sends_once_each_time_and_gives_a_receipt(case: Case) -> None:
    """An attempt is one message: nothing is remembered, repeated or swallowed."""
    async with built(case, case.settings()) as sink:
        for number in (1, 2):
            before = case.told()
            receipt = await sink.send(event(), Attempt(number, AT))
            assert isinstance(receipt, Receipt), receipt
            assert case.told() == before + 1, f"attempt {number} was {case.told() - before} messages"


async def tells_every_type_of_event(case: Case) -> None:
    """It knows no type of event that it cannot send, also of a later release."""
    async with built(case, case.settings()) as sink:
        for type_ in (*EVENT_TYPES, *REPORT_TYPES, *_ALERTS, *_OTHERS):
            before = case.told()
            await sink.send(event(type_), Attempt(1, AT))
            assert case.told() == before + 1, type_


async def fails_as_a_delivery_whatever_it_is_given(case: Case) -> None:
    """A body of any shape is sent, or fails as one of the delivery errors."""
    bodies = ("", "no json", "null", "[]", '{"data": 7}', '{"type": [], "data": {"entity": "x"}}', "[" * 5000)
    async with built(case, case.settings()) as sink:
        for body in bodies:
            try:
                await sink.send(Delivery("evt_1", "x", "rule", body), Attempt(1, AT))
            except DeliveryError as error:
                _check_words(error, ())


async def probes_without_a_message(case: Case) -> None:
    """``check --online`` says one line, and the receiver gets nothing."""
    async with built(case, case.settings()) as sink:
        before = case.told()
        line = await sink.probe()
        assert line, "it says nothing"
        assert "\n" not in line, line
        assert case.told() == before, "the probe sent something"


async def ends_at_the_deadline(case: Case) -> None:
    """A receiver that never answers costs one deadline, and is a failure that may have arrived."""
    settings = case.silent()
    if settings is None:
        return
    async with built(case, settings, timeout="200ms") as sink, asyncio.timeout(_PATIENCE_S):
        error = await _failure(sink)
        assert error.reason == "timeout", error.reason
        _check_words(error, case.secrets())


async def lets_go_when_it_is_cancelled(case: Case) -> None:
    """A stop does not wait for a receiver that does not answer."""
    settings = case.silent()
    if settings is None:
        return
    async with built(case, settings, timeout="1m") as sink, asyncio.timeout(_PATIENCE_S):
        before = case.heard()
        attempt = asyncio.create_task(sink.send(event(), Attempt(1, AT)))
        while case.heard() == before:
            await asyncio.sleep(0.001)
        attempt.cancel()
        await asyncio.wait({attempt})
        assert attempt.cancelled(), "the attempt ended otherwise than by being cancelled"


async def says_in_bounded_words_that_nobody_is_there(case: Case) -> None:
    """A receiver that is not there is a delivery error without a secret in it."""
    settings = case.away()
    if settings is None:
        return
    async with built(case, settings) as sink:
        _check_words(await _failure(sink), case.secrets())


async def _failure(sink: Sink) -> DeliveryError:
    try:
        receipt = await sink.send(event(), Attempt(1, AT))
    except DeliveryError as error:
        return error
    raise AssertionError(f"it was taken: {receipt}")


def _check_words(error: DeliveryError, secrets: tuple[str, ...]) -> None:
    assert error.reason.replace("_", "").isalnum(), f"the reason {error.reason!r} is no word"
    assert len(error.reason) <= _LONGEST_REASON, f"the reason {error.reason!r} is long"
    assert "\n" not in str(error), "the message has several lines"
    told = str(error) + "".join(traceback.format_exception(error))
    for secret in secrets:
        assert secret not in told, f"{secret!r} is shown"


CONTRACT: tuple[Callable[[Case], Awaitable[None]], ...] = (
    knows_its_name_and_deadline,
    sends_once_each_time_and_gives_a_receipt,
    tells_every_type_of_event,
    fails_as_a_delivery_whatever_it_is_given,
    probes_without_a_message,
    ends_at_the_deadline,
    lets_go_when_it_is_cancelled,
    says_in_bounded_words_that_nobody_is_there,
)
