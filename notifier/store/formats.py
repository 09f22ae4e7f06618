"""How values are written in the store, where more than one module writes or reads them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from notifier.clock import iso
from notifier.models import Delivery

_json = msgspec.json.Encoder()


def fresh_delivery(delivery: Delivery) -> bytes:
    """A delivery as it enters a lane: no claims, no attempts, none begun (see claim.lua), then its JSON.

    What could not be read goes back as it was: another release may know what it is.
    """
    if delivery.is_unreadable:
        return delivery.body.encode()
    return b"0 0 0\n" + _json.encode(delivery)


def oldest_id(now_us: int, age: timedelta) -> str:
    """The id of a stream's entry of ``age`` ago: what is older is trimmed."""
    return f"{max(0, (now_us - microseconds(age)) // 1000)}-0"


def microseconds(span: timedelta) -> int:
    """The store counts time in these."""
    return int(span.total_seconds() * 1_000_000)


def iso_of(us: int) -> str:
    """A moment of the store's time, for people."""
    return iso(datetime.fromtimestamp(us / 1_000_000, UTC))
