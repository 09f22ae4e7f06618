"""What a sink is: the whole contract, as the dispatcher knows it.

A sink sends one delivery and returns a :class:`Receipt`, or raises ``TemporaryFailure``,
``PermanentFailure`` or ``SinkFault``. It keeps no queue, does not retry and does not log bodies: lanes,
the schedule and the ledger belong to the dispatcher. ``send`` must end by itself within ``deadline``; the
dispatcher cancels it there.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Protocol

import msgspec

from notifier.models import Delivery


class Attempt(msgspec.Struct, frozen=True):
    """Circumstances of one attempt: ``number`` counts from 1, ``at`` is wall time, UTC."""

    number: int
    at: datetime


class Receipt(msgspec.Struct, frozen=True):
    """What a successful attempt left behind: an HTTP status, and a reference such as a Slack ``ts``."""

    status: int | None = None
    reference: str | None = None


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
