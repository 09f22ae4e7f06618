"""Names of employers and carriers in place of ids: optional, cached, never in the way of an alert.

Looked up only for what a poll has to tell, within two seconds and the request budget; a name that is not
there in time is null in the body. The cache lies in the store; every value carries its expiry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from datetime import timedelta
from typing import Any

import structlog

from notifier.clasp.client import ClaspClient
from notifier.core.events import Names
from notifier.errors import SourceError
from notifier.store.formats import microseconds
from notifier.store.names import NameCache, name_keys, names_of

TIME_LIMIT_S = 2.0
_FOUND_FOR = timedelta(hours=24)
_ABSENT_FOR = timedelta(hours=1)
_REST = timedelta(minutes=2)  # before what failed is asked for again
_AT_ONCE = 4  # far below the account's limit, which others share

_log = structlog.get_logger()


class NameBook:
    """Looks names up in the cache, then at the source."""

    def __init__(self, source: ClaspClient, cache: NameCache, *, enabled: bool) -> None:
        self._source = source
        self._cache = cache
        self._enabled = enabled
        self._failed: dict[str, int] = {}  # key -> when it could last not be looked up (us)

    async def look_up(
        self, employers: Collection[str], carriers: Collection[str], budget: int, spare: int = 0
    ) -> tuple[Names, int]:
        """What is known of these ids by now or within ``TIME_LIMIT_S``, and how many requests that took.

        At most ``budget``, carriers first: they are few, and what is counted by carrier needs them. The last
        ``spare`` of it are for carriers only.
        """
        if not self._enabled or not (employers or carriers):
            return Names(), 0
        wanted = name_keys(employers, carriers)
        found = await self._cache.get(wanted)
        unknown = self._in_turn(key for key in wanted if key not in found)
        of_carriers = sum(key.startswith("carrier:") for key in unknown)
        missing = unknown[: max(min(of_carriers, budget), budget - spare)]
        if missing:
            fetched = await self._fetch(missing)
            failed = dict.fromkeys(missing, self._cache.now_us())
            self._failed = {key: at for key, at in (self._failed | failed).items() if key not in fetched}
            found |= fetched
        return names_of(found), len(missing)

    def _in_turn(self, keys: Iterable[str]) -> list[str]:
        """Carriers first, and last what failed last; what failed lately is left out."""
        lately = self._cache.now_us() - microseconds(_REST)
        due = (key for key in keys if self._failed.get(key, lately) <= lately)
        return sorted(due, key=lambda key: (not key.startswith("carrier:"), self._failed.get(key, 0)))

    async def _fetch(self, keys: Iterable[str]) -> dict[str, Any]:
        fetched: dict[str, Any] = {}
        turn = asyncio.Semaphore(_AT_ONCE)

        async def one(key: str) -> None:
            async with turn:
                fetched[key] = await self._ask(key)

        try:
            async with asyncio.timeout(TIME_LIMIT_S):
                answers = await asyncio.gather(*(one(key) for key in keys), return_exceptions=True)
        except TimeoutError:
            _log.warning("names.late", found=len(fetched))
        else:
            faults = [answer for answer in answers if isinstance(answer, BaseException)]
            if faults:
                _log.warning("names.failed", failed=len(faults), error=str(faults[0]))
                if not isinstance(faults[0], SourceError):
                    raise faults[0]
        for lifetime, entries in (
            (_FOUND_FOR, {key: value for key, value in fetched.items() if value is not None}),
            (_ABSENT_FOR, {key: None for key, value in fetched.items() if value is None}),
        ):
            await self._cache.put(entries, lifetime)
        return fetched

    async def _ask(self, key: str) -> Any:
        kind, _, id_ = key.partition(":")
        if kind == "carrier":
            carrier = await self._source.carrier(id_)
            return carrier and [carrier.name]
        employer = await self._source.employer(id_)
        return employer and [employer.name, employer.external_id]
