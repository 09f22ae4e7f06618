"""Readiness and metrics, gathered from what polls and attempts report.

Ready means: somebody saw the whole list within three intervals, the store answers, and what is owed is
being delivered. What needs a person but does not stall (held removals, dead letters, a paused sink) is
listed as a problem and leaves the answer at 200, so that it cannot block a deployment.
"""

from __future__ import annotations

from datetime import timedelta

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from notifier.clock import Clock
from notifier.core.results import SILENT_INTERVALS, AttemptResult, PollResult


class Readiness(msgspec.Struct, frozen=True):
    """The answer of /readyz. ``status`` is ``ready``, ``degraded`` (see ``problems``) or ``stalled``."""

    status: str
    role: str
    problems: tuple[str, ...]
    complete_age_s: float | None


class Health:
    """Collects results; answers readiness and metrics."""

    def __init__(self, clock: Clock, interval: timedelta) -> None:
        self._clock = clock
        self._interval_s = interval.total_seconds()
        self._last: PollResult | None = None
        self._last_at_s = clock.monotonic()
        self._store_fault = ""
        self.registry = CollectorRegistry()
        self._polls = Counter("notifier_polls", "Polls by outcome.", ["outcome"], registry=self.registry)
        self._poll_s = Histogram("notifier_poll_seconds", "Time of one poll.", registry=self.registry)
        self._events = Counter("notifier_events", "Committed events.", registry=self.registry)
        self._attempts = Counter(
            "notifier_attempts",
            "Attempts by sink, outcome and reason.",
            ["sink", "outcome", "reason"],
            registry=self.registry,
        )
        self._attempt_s = Histogram(
            "notifier_attempt_seconds", "Time of one attempt.", ["sink"], registry=self.registry
        )
        self._known = Gauge("notifier_known", "Live entities by kind.", ["kind"], registry=self.registry)
        self._lanes = Gauge(
            "notifier_lanes_waiting", "Lanes with something owed.", ["sink"], registry=self.registry
        )
        self._dead = Gauge("notifier_dead_letters", "Dead letters.", ["sink"], registry=self.registry)
        self._failing = Gauge(
            "notifier_sink_failing", "1 while a sink fails.", ["sink"], registry=self.registry
        )
        self._problems = Gauge("notifier_problems", "What needs a person.", registry=self.registry)
        self._leader = Gauge("notifier_leader", "1 while this replica polls.", registry=self.registry)
        age = Gauge(
            "notifier_complete_age_seconds",
            "Since the last complete snapshot began; NaN before the first.",
            registry=self.registry,
        )
        age.set_function(lambda: float("nan") if (seconds := self._complete_age_s()) is None else seconds)

    def polled(self, result: PollResult) -> None:
        """Take in one poll."""
        if result.complete_age_s is None and self._last is not None:
            result = msgspec.structs.replace(result, complete_age_s=self._complete_age_s())
        self._last, self._last_at_s = result, self._clock.monotonic()
        self._polls.labels(result.outcome).inc()
        self._leader.set(result.outcome in {"complete", "partial"})
        if result.outcome not in {"complete", "partial"}:
            for gauge in (self._known, self._lanes, self._dead, self._failing):
                gauge.clear()  # not ours to know: the replica that polls tells them
            self._problems.set(0)
            return
        self._poll_s.observe(result.seconds)
        self._events.inc(result.events)
        self._problems.set(len(result.problems) + len(result.stalls))
        for kind, count in result.known.items():
            self._known.labels(kind).set(count)
        for name, sink in result.sinks.items():
            self._lanes.labels(name).set(sink.waiting)
            self._dead.labels(name).set(sink.dead)
            self._failing.labels(name).set(sink.failing is not None)

    def attempted(self, result: AttemptResult) -> None:
        """Take in one attempt."""
        self._attempts.labels(result.sink, result.outcome.verdict, result.outcome.reason).inc()
        self._attempt_s.labels(result.sink).observe(result.seconds)

    def readiness(self) -> Readiness:
        """How things stand now."""
        last = self._last
        if last is None:
            return Readiness("stalled", "starting", ("starting: nothing polled yet",), None)
        stalls = list(last.stalls)
        if last.outcome == "failed":
            stalls.append(f"the store: {last.reason}")
        age_s = self._complete_age_s()
        if age_s is None:
            stalls.append("no complete snapshot yet" + (f": {last.reason}" if last.reason else ""))
        elif age_s > SILENT_INTERVALS * self._interval_s:
            why = f": {last.reason}" if last.reason else ""
            stalls.append(f"no complete snapshot for {age_s:.0f} s{why}")
        role = "standby" if last.outcome == "standby" else "polling"
        status = "stalled" if stalls else "degraded" if last.problems else "ready"
        return Readiness(status, role, (*stalls, *last.problems), age_s)

    def metrics(self) -> bytes:
        """The numbers in Prometheus' text format."""
        return generate_latest(self.registry)

    def _complete_age_s(self) -> float | None:
        if self._last is None or self._last.complete_age_s is None:
            return None
        return self._last.complete_age_s + self._clock.monotonic() - self._last_at_s
