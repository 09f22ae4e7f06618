"""What people wrote since the last poll, as the next commit applies it; what cannot be read is left out."""

from __future__ import annotations

import msgspec
import structlog

from notifier.core.quiet import Silence
from notifier.core.removals import Held
from notifier.store.state import InboxEntry, Meta

_log = structlog.get_logger()


def approved(meta: Meta, inbox: list[InboxEntry]) -> tuple[Held | None, bool]:
    """What is held after people spoke, and whether they accepted the list of another account."""
    held = meta.held
    for entry in inbox:
        if held is None or entry.what != "approve":
            continue
        try:
            asked = msgspec.convert(entry.value, Held)
        except msgspec.ValidationError as error:
            _log.warning("inbox.unreadable", entry=entry.id, error=str(error))
            continue
        if held.whole_snapshot and asked.whole_snapshot:
            return None, True
        if not held.whole_snapshot and not asked.whole_snapshot:
            held = Held(held.since, asked.ids, approved=True)  # what the person saw, and no more
    return held, False


def silences(inbox: list[InboxEntry]) -> dict[str, Silence | None]:
    """The silences that people asked for, by id; None where they ended one."""
    wishes: dict[str, Silence | None] = {}
    for entry in inbox:
        try:
            if entry.what == "silence":
                silence = msgspec.convert(entry.value, Silence)
                wishes[silence.id] = silence
            elif entry.what == "expire":
                wishes[msgspec.convert(entry.value, str)] = None
        except msgspec.ValidationError as error:
            _log.warning("inbox.unreadable", entry=entry.id, error=str(error))
    return wishes
