"""Secrets that change while the worker runs: the files that they come from are looked at again and again.

Where a file has changed, and is the same at the next look (it may be half written before), the configuration
is read again. Each sink whose part of it is new is built anew, the key of the source is taken from it, and
nothing else; the rest waits for a restart. What has a problem stays as it was, and keeps nothing else back:
it is said once, and tried again at each look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

import structlog
from pydantic import SecretStr

from notifier.clock import Clock
from notifier.config import Config, ConfigFile, SinkSettings
from notifier.config.files import marks_of
from notifier.errors import ConfigError

LOOK_EVERY = timedelta(seconds=5)
_KEY = "source.api_key"

_log = structlog.get_logger()


class Renewal:
    """Looks at the files of ``config``, which is the last reading of ``file`` and in use.

    ``renew_sink`` is given what a sink is to be from now on, ``renew_key`` the source's key; both may refuse.
    """

    def __init__(
        self,
        file: ConfigFile,
        config: Config,
        clock: Clock,
        renew_sink: Callable[[str, SinkSettings], None],
        renew_key: Callable[[str], None],
    ) -> None:
        self._file = file
        self._sinks: dict[str, SinkSettings] = dict(config.sinks)
        self._key = config.source.api_key
        self._clock = clock
        self._renew_sink = renew_sink
        self._renew_key = renew_key
        self._seen = file.marks
        self._problems: dict[str, str] = {}  # as they were told, by what each keeps back

    async def keep(self) -> None:
        """Look, again and again; never ends."""
        while True:
            await self._clock.sleep(LOOK_EVERY.total_seconds())
            await self.look()

    async def look(self) -> None:
        """Look once; where a file has changed before the last look and not since, use what is new."""
        seen = await asyncio.to_thread(marks_of, self._seen)
        is_steady, self._seen = seen == self._seen, seen
        if is_steady and (seen != self._file.marks or self._problems):
            await self._renew()

    async def _renew(self) -> None:
        known, self._problems = self._problems, {}
        marks = self._file.marks
        fresh = await asyncio.to_thread(self._read)
        if fresh is None:
            self._problems = known | self._problems  # what could not be built is still to be
        else:
            self._seen = self._file.marks
            changed = {path for path, mark in self._seen.items() if mark != marks.get(path)}
            due = self._due(fresh, changed, known)
            sinks = [name for name in due if self._takes(name, fresh.sinks[name])]
            is_key_new = fresh.source.api_key != self._key and self._takes_key(fresh.source.api_key)
            if sinks or is_key_new:
                _log.info("secrets.renewed", sinks=sorted(sinks), source=is_key_new)
        for place, problem in self._problems.items():
            if known.get(place) != problem:
                _log.warning("secrets.not_renewed", error=problem)

    def _read(self) -> Config | None:
        try:
            fresh, problem = self._file.read_again()
        except Exception as error:  # noqa: BLE001 - the settings of a brought kind of sink may fail in any way
            self._problems[""] = _told("the configuration", error)
            return None
        if problem is not None:
            self._problems[""] = str(problem)
        return fresh

    def _due(self, fresh: Config, changed: set[Path], known: Mapping[str, str]) -> list[str]:
        """The sinks that are to be built anew: with other settings, from another file, or not so far."""
        return [
            name
            for name, sink in fresh.sinks.items()
            if sink != self._sinks[name]
            or changed.intersection(sink.files(fresh.directory))
            or f"sinks.{name}" in known
        ]

    def _takes(self, name: str, settings: SinkSettings) -> bool:
        try:
            self._renew_sink(name, settings)
        except Exception as error:  # noqa: BLE001 - and so may what builds it
            self._problems[f"sinks.{name}"] = _told(f"sinks.{name}", error)
            return False
        self._sinks[name] = settings
        return True

    def _takes_key(self, key: SecretStr) -> bool:
        try:
            self._renew_key(key.get_secret_value())
        except ConfigError as error:
            self._problems[_KEY] = str(error)
            return False
        self._key = key
        return True


def _told(what: str, error: Exception) -> str:
    """What is wrong; a defect's own words may hold a secret."""
    return str(error) if isinstance(error, ConfigError) else f"{what}: a defect ({type(error).__name__})"
