"""What a sink is: the whole contract, as the dispatcher knows it.

A sink sends one delivery and returns a :class:`Receipt`, or raises ``TemporaryFailure``,
``PermanentFailure`` or ``SinkFault``. It keeps no queue, does not retry and does not log bodies: lanes,
the schedule and the ledger belong to the dispatcher. ``send`` must end by itself within ``deadline``; the
dispatcher cancels it there.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any, Protocol

import msgspec

from notifier.errors import PermanentFailure
from notifier.models import Delivery, Posted


class Attempt(msgspec.Struct, frozen=True):
    """Circumstances of one attempt: ``number`` counts from 1, ``at`` is wall time, UTC.

    ``may_repeat``: an earlier attempt may have been taken without our knowing. Of a part of a living message:
    where that was ``posted`` (None: nowhere yet), where the one ``previous`` to it was, and its ``version``.
    """

    number: int
    at: datetime
    may_repeat: bool = False
    posted: Posted | None = None
    previous: Posted | None = None
    version: int = 0


class Receipt(msgspec.Struct, frozen=True):
    """What a successful attempt left behind: an HTTP status, and where a living message is now.

    ``reason`` is a word for the ledger, where something was taken and not sent; ``place`` is
    where a person finds it: of a Slack message the channel and its ts.
    """

    status: int | None = None
    posted: Posted | None = None
    reason: str = ""
    place: str = ""


class Sink(Protocol):
    """One configured destination."""

    name: str
    deadline: timedelta  # for a whole attempt

    async def send(self, delivery: Delivery, attempt: Attempt) -> Receipt:
        """Send one delivery, once."""
        ...

    async def probe(self) -> str:
        """Try what can be tried without sending a message (``check --online``); one line on what works.

        Raises a ``DeliveryError`` whose message says what to do.
        """
        ...

    async def close(self) -> None:
        """Release what the sink holds."""
        ...


def body_of(delivery: Delivery) -> Any:
    """The event that a delivery tells, read. Raises ``PermanentFailure``."""
    try:
        return json.loads(delivery.body)
    except (ValueError, RecursionError):
        raise PermanentFailure("unreadable_body", "the stored event is not JSON") from None
