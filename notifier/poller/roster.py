"""The table of owners, read from its file or fetched from its address; a poll uses it as it is.

A file is read again before the poll that finds it changed. An address is asked beside the polls, so a slow
one delays nothing. What cannot be read leaves the last good table in use, and is a problem for as long.
"""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Awaitable, Mapping
from datetime import timedelta
from pathlib import Path

import structlog
from yarl import URL

from notifier.clock import Clock
from notifier.config import Config, OwnersConfig
from notifier.config.files import Mark, mark_of, why_unreadable
from notifier.config.urls import is_loopback
from notifier.core.owners import BadTable, Owners, parse
from notifier.errors import ConfigError, DeliveryError, NotifierError, OwnersUnavailable
from notifier.sinks.session import RedirectRefused, Sessions
from notifier.sinks.transport import origin, within

MAX_BYTES = 5_000_000
_DEADLINE = timedelta(seconds=15)
_RETRY = timedelta(minutes=1)  # of an address that did not give the table
_MOST_TOLD = 20  # problems of one table

_log = structlog.get_logger()


class Unreadable(ConfigError):
    """The file is not there, or the machine does not let it be read: the table itself may be right."""


class Roster:
    """The owners of one configuration. ``problem``: why the table is not the newest, in a line; or ''."""

    def __init__(self, config: OwnersConfig, directory: Path, clock: Clock, sessions: Sessions) -> None:
        self.owners = Owners()
        self.problem = ""
        self._config = config
        self._file = directory / config.file if config.file is not None else None
        self._clock = clock
        self._sessions = sessions
        self._mark: Mark | bool | None = False  # of the file as it was last read; None: it was not there

    async def look(self) -> None:
        """Before a poll: read the file again, where it has changed."""
        if self._file is None:
            return
        mark = await asyncio.to_thread(mark_of, self._file)
        if mark != self._mark:
            error = await self._take(asyncio.to_thread(read_file, self._file))
            # What could not be read now may be readable at the next poll; a wrong table waits for a change.
            self._mark = False if isinstance(error, Unreadable) else mark

    async def fetch(self) -> None:
        """Ask the address, if there is one."""
        if self._config.url is not None:
            await self._take(fetch(self._config, self._sessions))

    async def keep(self) -> None:
        """Ask the address again and again; never ends."""
        while True:
            wait = min(_RETRY, self._config.refresh) if self.problem else self._config.refresh
            await self._clock.sleep(wait.total_seconds())
            await self.fetch()

    async def _take(self, reading: Awaitable[Owners]) -> NotifierError | None:
        """Use a table; or keep the one of before, and say why: the error."""
        try:
            self.owners = await reading
        except NotifierError as error:
            first, *rest = str(error).splitlines()
            more = f" and {len(rest)} more problems" if rest else ""
            problem = f"owners: {first}{more}; the table of before stays in use ({len(self.owners)} rows)"
            if problem != self.problem:
                _log.warning("owners.failed", error=str(error), rows=len(self.owners))
            self.problem = problem
            return error
        else:
            self.problem = ""
            _log.info("owners.read", rows=len(self.owners))
            return None


def roster_of(config: Config, clock: Clock, sessions: Sessions) -> Roster | None:
    """The owners of a configuration, not read yet; None where it has none."""
    return Roster(config.owners, config.directory, clock, sessions) if config.owners else None


def check_file(config: Config) -> Owners | None:
    """The owners in the file that a configuration names; None where it names none. Raises ``ConfigError``."""
    if config.owners is None or config.owners.file is None:
        return None
    return read_file(config.directory / config.owners.file)


def read_file(path: Path) -> Owners:
    """The owners in a file. Raises ``ConfigError`` with a line for each problem."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ConfigError(f"{path}: is not a file")
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise Unreadable(f"{path}: there is no such file (owners.file)") from None
    except (OSError, ValueError) as error:
        raise Unreadable(f"{path}: cannot be read: {why_unreadable(error)}") from None
    return _table(data, str(path))


async def fetch(config: OwnersConfig, sessions: Sessions) -> Owners:
    """The owners at the address. Raises ``OwnersUnavailable``; ``ConfigError`` where the table is wrong."""
    url = URL(config.url.get_secret_value() if config.url else "")
    where = f"{origin(url)} (owners.url)"
    headers = {name: value.get_secret_value() for name, value in config.headers.items()}
    try:
        async with within(_DEADLINE, where):
            data = await _body(url, where, headers, sessions)
    except RedirectRefused as redirect:
        raise OwnersUnavailable(
            f"{where} answered with a redirect ({redirect.status}), which is not followed; correct the URL"
        ) from None
    except DeliveryError as error:
        if error.reason == "forbidden_address":
            raise OwnersUnavailable(f"{where} leads to an address that is not public") from None
        raise OwnersUnavailable(str(error)) from None
    return await asyncio.to_thread(_table, data, where)


async def _body(url: URL, where: str, headers: Mapping[str, str], sessions: Sessions) -> bytes:
    """At most one byte more than a table may have."""
    session = sessions.get(allow_private=is_loopback(url.host or ""))
    async with session.get(url, headers=headers, allow_redirects=False) as reply:
        if reply.status != 200:  # noqa: PLR2004
            raise OwnersUnavailable(f"{where} answered {reply.status}; check the URL and the headers")
        body = bytearray()
        async for chunk in reply.content.iter_any():
            body += chunk
            if len(body) > MAX_BYTES:
                reply.close()
                break
        return bytes(body)


def _table(data: bytes, where: str) -> Owners:
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{where}: is larger than 5 MB: not a table of owners")
    try:
        return parse(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{where}:{line}: is not UTF-8 text") from None
    except BadTable as bad:
        told = [f"{where}:{line}: {what}" for line, what in bad.problems[:_MOST_TOLD]]
        rest = len(bad.problems) - len(told)
        raise ConfigError(*told, *([f"{where}: and {rest} more problems"] if rest else [])) from None
