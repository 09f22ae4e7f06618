"""Secrets that change while the worker runs: the files that they come from are looked at again and again.

A file that changed gives a new reading of the configuration. What of it concerns a sink, and the key of the
source, is taken from it, and nothing else; the rest waits for a restart. A reading that has a problem
changes nothing: a file may be half written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path

import msgspec
import structlog

from notifier.clock import Clock
from notifier.config import Config, ConfigFile, SinkSettings
from notifier.config.files import Mark, mark_of
from notifier.errors import ConfigError

LOOK_EVERY = timedelta(seconds=5)

_log = structlog.get_logger()


class Renewed(msgspec.Struct, frozen=True):
    """What is to be used from now on: sinks by name, and the source's key (None: as before)."""

    sinks: dict[str, SinkSettings]
    api_key: str | None


class Renewal:
    """Looks at the files of one configuration, which is in use; ``use`` may refuse what is new."""

    def __init__(
        self, file: ConfigFile, config: Config, clock: Clock, use: Callable[[Renewed], None]
    ) -> None:
        self._file = file
        self._config = config
        self._clock = clock
        self._use = use
        self._marks = _marks(self._files())
        self._said = ""

    async def keep(self) -> None:
        """Look, again and again; never ends."""
        while True:
            await self._clock.sleep(LOOK_EVERY.total_seconds())
            await self.look()

    async def look(self) -> None:
        """Look once; where a file has changed, read and use what is new."""
        marks = await asyncio.to_thread(_marks, self._files())
        changed = {path for path, mark in marks.items() if mark != self._marks.get(path)}
        if not changed:
            return
        try:
            fresh = await asyncio.to_thread(self._file.read)
            renewed = self._difference(fresh, changed)
            self._use(renewed)
        except ConfigError as error:  # said once, and tried again: it may be half written, or unreadable now
            if self._said != str(error):
                _log.warning("secrets.not_renewed", error=str(error))
            self._said = str(error)
            return
        self._config, self._marks, self._said = fresh, marks, ""
        _log.info("secrets.renewed", sinks=sorted(renewed.sinks), source=renewed.api_key is not None)

    def _difference(self, fresh: Config, changed: set[Path]) -> Renewed:
        now = self._config
        key = fresh.source.api_key
        return Renewed(
            {
                name: sink
                for name, sink in fresh.sinks.items()
                if sink != now.sinks.get(name) or changed & set(sink.files(fresh.directory))
            },
            None if key == now.source.api_key else key.get_secret_value(),
        )

    def _files(self) -> list[Path]:
        sinks = self._config.sinks.values()
        return [*self._file.files, *(path for sink in sinks for path in sink.files(self._config.directory))]


def _marks(files: Iterable[Path]) -> dict[Path, Mark | None]:
    return {path: mark_of(path) for path in files}
