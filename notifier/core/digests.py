"""Digests: which are due, and what is remembered of them. Pure.

What a digest was told through, and what its times were then, is state. A poll compares that with now. So
whatever was missed is told once, as soon as somebody looks again, and nothing is told twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec

from notifier.config import Config, DigestConfig
from notifier.core.alerts import moment_text
from notifier.core.calendars import Calendar
from notifier.core.conditions import calendar_of
from notifier.core.schedule import Schedule

NEVER = "9999-12-31T00:00:00.000Z"
_EVERY_DAY = frozenset(range(7))


class Standing(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is remembered of a digest: it is due at its first time ``after`` this moment.

    ``through`` is the moment through which it was told; None: never yet. ``tag`` changes with its times.
    """

    after: str
    tag: str
    through: str | None = None


class Digest(msgspec.Struct, frozen=True):
    """One digest of the configuration."""

    asked: DigestConfig
    schedule: Schedule
    tag: str

    @property
    def name(self) -> str:
        """Its name, which is its identity."""
        return self.asked.name

    def tells_of(self, rule: str) -> bool:
        """Whether the alerts of a rule are told in it."""
        return not self.asked.rules or rule in self.asked.rules

    def next_after(self, moment: str) -> str:
        """When it is due next; far away where that is never."""
        due = self.schedule.next_after(datetime.fromisoformat(moment))
        return NEVER if due is None else moment_text(due)


class Due(msgspec.Struct, frozen=True):
    """A digest whose time has come: since ``at``. It tells of what happened after ``since``.

    ``is_first``: nothing was told before, so ``since`` may lie before anybody watched.
    """

    digest: Digest
    at: str
    since: str
    is_first: bool = False


class Plan(msgspec.Struct, frozen=True):
    """What is due in a poll, what is remembered after it, and when to look again."""

    due: tuple[Due, ...]
    standing: dict[str, Standing]
    next_at: str


def digests(config: Config) -> tuple[Digest, ...]:
    """The digests of a configuration, in their order."""
    return tuple(
        Digest(digest, Schedule(digest.at, _calendar(config, digest)), _tag(config, digest))
        for digest in config.digests
    )


def decide(asked: Iterable[Digest], standing: Mapping[str, Standing], now: str) -> Plan:
    """What is due now. One that is new, or has other times than before, counts from now on."""
    due: list[Due] = []
    after: dict[str, Standing] = {}
    moments: list[str] = []
    for digest in asked:
        known = standing.get(digest.name, Standing(now, digest.tag))
        if known.tag != digest.tag:
            known = Standing(now, digest.tag, known.through)
        at = digest.next_after(known.after)
        if at <= now:
            due.append(told_at(digest, known, at))
            known = Standing(now, digest.tag, now)
            at = digest.next_after(now)
        after[digest.name] = known
        moments.append(at)
    return Plan(tuple(due), after, min(moments, default=NEVER))


def told_at(digest: Digest, standing: Standing, at: str) -> Due:
    """A digest that is told for the time ``at``, and the period that it covers."""
    if standing.through is not None:
        return Due(digest, at, standing.through)
    before = digest.schedule.last_before(datetime.fromisoformat(at))
    return Due(digest, at, moment_text(before), is_first=True)


def _calendar(config: Config, digest: DigestConfig) -> Calendar:
    calendar = config.calendar_of(digest)
    if calendar is not None:
        return calendar_of(calendar)
    return Calendar(digest.timezone or ZoneInfo("UTC"), _EVERY_DAY)


def _tag(config: Config, digest: DigestConfig) -> str:
    times = (digest.at, digest.timezone, config.calendar_of(digest))
    return hashlib.blake2b(repr(times).encode(), digest_size=8).hexdigest()
