"""What people wrote since the last poll, as the next commit applies it; what cannot be read is left out."""

from __future__ import annotations

import msgspec
import structlog

from notifier.core.alerts import Taking
from notifier.core.quiet import Silence
from notifier.core.removals import Held
from notifier.store.state import InboxEntry, Meta

APPROVE = "approve"
TAKE = "take"  # entries of people who take alerts or give them back
_log = structlog.get_logger()


def approved(meta: Meta, inbox: list[InboxEntry]) -> tuple[Held | None, bool]:
    """What is held after people spoke, and whether they accepted the list of another account."""
    held = meta.held
    for entry in inbox:
        if held is None or entry.what != APPROVE:
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


class Wishes(msgspec.Struct, frozen=True):
    """What people asked for: silences by id (None: ended), and alerts taken or given back, in their order."""

    silences: dict[str, Silence | None] = {}
    takings: tuple[Taking, ...] = ()


def wishes(inbox: list[InboxEntry]) -> Wishes:
    """What people asked for that concerns alerts."""
    silences: dict[str, Silence | None] = {}
    takings: list[Taking] = []
    for entry in inbox:
        try:
            if entry.what == "silence":
                silence = msgspec.convert(entry.value, Silence)
                silences[silence.id] = silence
            elif entry.what == "expire":
                silences[msgspec.convert(entry.value, str)] = None
            elif entry.what == TAKE:
                takings.append(msgspec.convert(entry.value, Taking))
        except msgspec.ValidationError as error:
            _log.warning("inbox.unreadable", entry=entry.id, error=str(error))
    return Wishes(silences, tuple(takings))


def applied(inbox: list[InboxEntry], *, has_watched: bool) -> str:
    """The id of the last entry that a poll has applied ('': none).

    Alerts are taken where they are watched: a poll that did not leaves that, and what came after it, to the
    next. Silences may be applied again. An approval may not, for it is about what was held then: rather
    nobody has taken anything.
    """
    if not has_watched:
        first = next((at for at, entry in enumerate(inbox) if entry.what == TAKE), len(inbox))
        if any(entry.what == APPROVE for entry in inbox[first:]):
            _log.warning("inbox.not_taken", reason="alerts were not watched when a held list was approved")
        else:
            inbox = inbox[:first]
    return inbox[-1].id if inbox else ""
