"""What follows from an attempt: the delivery is done, is tried again, waits for its sink, or is dead.

Pure: sinks raise, this decides, the dispatcher settles.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta
from enum import StrEnum
from itertools import chain, repeat

import msgspec

from notifier.errors import DeliveryError, PermanentFailure, SinkFault, TemporaryFailure

_S, _M, _H = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)

#: Delays before the second and each later attempt, before jitter. The Standard Webhooks specification's
#: spirit: quick at first, then patient for three days.
WEBHOOK_SCHEDULE = (5 * _S, 5 * _M, 30 * _M, 2 * _H, 5 * _H, 10 * _H, 14 * _H, 20 * _H, 24 * _H)
#: People read Slack: late is better than never, for three days.
SLACK_SCHEDULE = tuple(chain((5 * _S, 15 * _S, 1 * _M), repeat(5 * _M, 863)))
#: How long a faulty or unreachable sink rests before each probe; the last one repeats.
PROBES = (5 * _S, 15 * _S, 30 * _S)
MAX_RETRY_AFTER = 1 * _H
_JITTER = 0.2
_REFUSED_EVERYWHERE = 2  # rounds of attempts in which nobody answered: that speaks of the sink


class Verdict(StrEnum):
    """How a delivery is settled."""

    DELIVERED = "delivered"
    RETRY = "retry"
    HOLD = "hold"  # the sink is paused; the delivery keeps its place and its count of attempts
    DEAD = "dead"


class Outcome(msgspec.Struct, frozen=True):
    """The verdict on one attempt; ``delay`` is until the next attempt (or probe of the sink).

    ``rest`` is for how long nothing at all is to be sent there, because the receiver asked for it; ``probe``
    is until when some delivery is to be tried there, if nothing gets through at all; ``place`` is where a
    person finds what was delivered.
    """

    verdict: Verdict
    reason: str = ""
    message: str = ""
    delay: timedelta = timedelta()
    status: int | None = None
    rest: timedelta = timedelta()
    probe: timedelta = timedelta()
    place: str = ""


def decide(
    error: DeliveryError | None,
    *,
    attempts: int,
    age: timedelta,
    sink_failures: int,
    schedule: Sequence[timedelta],
    rng: random.Random,
    probes: bool = False,
) -> Outcome:
    """The outcome of an attempt; with ``probes`` an outage of the sink's is felt for until it ends.

    ``attempts`` counts this one and the earlier ones of the delivery, ``age`` is the time since its first.
    ``sink_failures`` counts the rounds of attempts at the sink that failed in a row, this one included: it
    chooses the time of a probe, and tells a sink that nobody reaches from one message that fails.
    """
    match error:
        case None:
            return Outcome(Verdict.DELIVERED)
        case PermanentFailure():
            return _outcome(Verdict.DEAD, error)
        case SinkFault():
            return _outcome(Verdict.HOLD, error, _jittered(_probe_delay(sink_failures), rng))
        case TemporaryFailure(unreachable=True) if sink_failures >= _REFUSED_EVERYWHERE:
            return _outcome(Verdict.HOLD, error, _jittered(_probe_delay(sink_failures - 1), rng))
        case _:
            outcome = _retry(error, attempts, age, schedule, rng)
            was_asked = isinstance(error, TemporaryFailure) and error.retry_after is not None
            if probes and outcome.verdict is Verdict.RETRY and not was_asked:
                return msgspec.structs.replace(outcome, probe=_jittered(PROBES[-1], rng))
            return outcome


def _retry(
    error: DeliveryError, attempts: int, age: timedelta, schedule: Sequence[timedelta], rng: random.Random
) -> Outcome:
    is_spent = attempts > len(schedule)
    if is_spent and age >= sum(schedule, timedelta()):  # attempts that were brought forward do not shorten it
        return _outcome(Verdict.DEAD, error)
    planned = _jittered(schedule[min(attempts, len(schedule)) - 1], rng) if schedule else timedelta()
    asked = error.retry_after if isinstance(error, TemporaryFailure) else None
    delay = max(planned, min(asked, MAX_RETRY_AFTER)) if asked is not None else planned
    outcome = _outcome(Verdict.RETRY, error, delay)
    if isinstance(error, TemporaryFailure) and error.throttled:
        return msgspec.structs.replace(outcome, rest=min(asked or delay, MAX_RETRY_AFTER))
    return outcome


def _outcome(verdict: Verdict, error: DeliveryError, delay: timedelta = timedelta()) -> Outcome:
    return Outcome(verdict, error.reason, str(error), delay, error.status)


def _probe_delay(failures: int) -> timedelta:
    return PROBES[min(max(failures, 1), len(PROBES)) - 1]


def _jittered(delay: timedelta, rng: random.Random) -> timedelta:
    return delay * (1 + _JITTER * rng.random())
