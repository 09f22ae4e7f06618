"""A sink in ``mode: preview``: writes what it would send, as people would read it, and sends nothing.

One JSON object a line on standard output, of the type ``preview``. For whoever owes, all is as ever: order,
rate and ledger, where the attempt has the reason ``preview``.
"""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any, TextIO

from notifier.models import Delivery, Part, Posted
from notifier.sinks.console import ConsoleSink
from notifier.sinks.contract import Attempt, Receipt, body_of
from notifier.sinks.values import clean
from notifier.sinks.wording import tell


class PreviewSink:
    """Stands in for a sink; ``is_for_people``: for one that makes messages of events."""

    def __init__(
        self, name: str, *, is_for_people: bool, deadline: timedelta, stream: TextIO | None = None
    ) -> None:
        self.name = name
        self.deadline = deadline
        self._is_for_people = is_for_people
        self._out = ConsoleSink(name, deadline=deadline, stream=stream)
        self._turn = asyncio.Lock()  # one line at a time, however many attempts there may be at once

    async def send(self, delivery: Delivery, attempt: Attempt) -> Receipt:
        """Write what would be sent, once."""
        body = body_of(delivery)
        shown = read_by_people(body) if self._is_for_people else {"body": body}
        line = {
            "type": "preview",
            "sink": self.name,
            "channel": delivery.target,
            "id": delivery.id,
            "event": delivery.type,
            "rule": delivery.rule,
            "message": delivery.message,
            "part": delivery.part,
            "is_edit": delivery.part is Part.ROOT and attempt.posted is not None,
            **shown,
        }
        async with self._turn:
            await self._out.write(
                json.dumps({key: value for key, value in line.items() if value is not None})
            )
        return Receipt(posted=_posted(delivery, attempt), reason="preview")

    async def probe(self) -> str:
        """Nothing is tried: nothing is sent there."""
        return "in preview: writes to standard output what it would send, and sends nothing"

    async def close(self) -> None:
        """Nothing: the stream is not ours to close."""


def read_by_people(body: Any) -> dict[str, Any]:
    """What people read of an event's body: title, text, lines and note, as plain text."""
    told = tell(body)
    shown = {
        "title": clean(told.title),
        "text": clean(told.change) if told.change else None,
        "lines": [clean(line) for line, _ in told.lines] or None,
        "note": clean(told.note) if told.note else None,
    }
    return {key: value for key, value in shown.items() if value}


def _posted(delivery: Delivery, attempt: Attempt) -> Posted | None:
    """Of a living message: this version is shown. It stays where it is, or is posted when that is wanted."""
    if delivery.part is not Part.ROOT:
        return None
    where = attempt.posted or Posted("", "", 0)
    return Posted(where.channel, where.ts, attempt.version)
