"""What a poll and an attempt came to: told to readiness, metrics and the log."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from notifier.core.reports import SinkFacts
from notifier.core.retry import Outcome

SILENT_INTERVALS = 3  # without a Complete snapshot for so long, nobody is watching


class PollResult(msgspec.Struct, frozen=True):
    """One poll.

    ``outcome`` is ``complete``, ``partial``, ``standby`` (another replica polls) or ``failed`` (the store).
    ``complete_age_s`` is how long ago the last Complete snapshot began, whoever took it; None: never.
    ``problems`` are for a person to look at; ``stalls`` say that something does not move any more.
    """

    outcome: str
    reason: str = ""
    connections: int = 0
    changed: int = 0
    events: int = 0
    deliveries: int = 0
    baseline: str = ""
    seconds: float = 0.0
    complete_age_s: float | None = None
    problems: tuple[str, ...] = ()
    stalls: tuple[str, ...] = ()
    known: Mapping[str, int] = {}
    sinks: Mapping[str, SinkFacts] = {}


class AttemptResult(msgspec.Struct, frozen=True):
    """One settled attempt at one sink."""

    sink: str
    outcome: Outcome
    seconds: float
