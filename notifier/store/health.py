"""How a sink stands, as its hash and its lanes say it."""

from __future__ import annotations

import msgspec

from notifier.store.formats import iso_of

#: Rounds of failures in a row after which a sink counts as failing; its recovery wakes what waits.
FAILING_AFTER = 3
#: The fields of the hash that are about it.
FIELDS = (
    "deaths",
    "failures",
    "failing_since",
    "paused_until",
    "reason",
    "message",
    "off",
    "next_at",
)


class SinkHealth(msgspec.Struct, frozen=True):
    """What the store knows of a sink. Moments are ISO 8601; ``off`` is set while an operator paused it.

    ``deaths`` counts every event that ever became a dead letter, without the notifier's own reports.
    """

    waiting: int
    dead: int
    deaths: int = 0
    failures: int = 0
    failing_since: str | None = None
    paused_until: str | None = None
    reason: str | None = None
    message: str | None = None
    off: str | None = None
    oldest_due: str | None = None
    is_resting: bool = False  # it asked us to wait, or its rate does

    @property
    def is_failing(self) -> bool:
        """Whether it failed so often in a row that this is no matter of one attempt."""
        return self.failures >= FAILING_AFTER


def read_health(
    fields: list[bytes | None], waiting: int, dead: int, first: list[tuple[bytes, float]], now_us: int
) -> SinkHealth:
    """What the store says: the hash's ``FIELDS``, and the first lane with its score."""
    found = zip(FIELDS, fields, strict=True)
    text = {name: value.decode() for name, value in found if value is not None}
    return SinkHealth(
        waiting=waiting,
        dead=dead,
        deaths=int(text.get("deaths", 0)),
        failures=int(text.get("failures", 0)),
        failing_since=_iso_or_none(text.get("failing_since")),
        paused_until=_iso_or_none(text.get("paused_until")),
        reason=text.get("reason") or None,
        message=text.get("message") or None,
        off=text.get("off"),
        is_resting=int(text.get("next_at", 0)) > now_us,
        oldest_due=iso_of(int(first[0][1])) if first else None,
    )


def _iso_or_none(text: str | None) -> str | None:
    return iso_of(int(text)) if text else None
