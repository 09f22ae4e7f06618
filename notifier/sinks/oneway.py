"""For sinks for people where a message cannot be changed once it is sent: each piece of news is sent.

A living message is then its first version and what is said beside it; its edits are no news, and are
counted as shown.
"""

from __future__ import annotations

from notifier.models import Delivery, Part, Posted
from notifier.sinks.contract import Attempt, Receipt, Sink


class OneWay:
    """Stands before such a sink."""

    def __init__(self, sink: Sink) -> None:
        self.name = sink.name
        self.deadline = sink.deadline
        self._sink = sink

    async def send(self, delivery: Delivery, attempt: Attempt) -> Receipt:
        """Send what is news."""
        if delivery.part is not Part.ROOT:
            return await self._sink.send(delivery, attempt)
        shown = Posted("", "", attempt.version)
        if attempt.posted is not None:
            return Receipt(posted=shown)
        receipt = await self._sink.send(delivery, attempt)
        return Receipt(receipt.status, shown, receipt.reason, receipt.place)

    async def probe(self) -> str:
        """As the sink does."""
        return await self._sink.probe()

    async def close(self) -> None:
        """As the sink does."""
        await self._sink.close()
