"""redis-py's connections, less one trap: a task that is cancelled while it sends a command stays cancelled.

redis-py sends with ``asyncio.wait_for``, which before Python 3.12 may return its result to a task that was
cancelled meanwhile. The cancellation is then lost: a loop that was told to end goes on for ever. Here one
deadline of ``asyncio.timeout`` bounds connecting and sending, and nothing swallows anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from redis import exceptions
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)


class _Cancellable(AbstractConnection):
    async def send_packed_command(
        self,
        command: bytes | str | Iterable[bytes],
        check_health: bool = True,  # noqa: FBT001, FBT002 - redis-py's signature
    ) -> None:
        # Without a limit of its own redis-py does without wait_for. Nested calls (it connects) find none.
        limit, self.socket_timeout = self.socket_timeout, None
        try:
            async with asyncio.timeout(limit):
                await super().send_packed_command(command, check_health)
        except TimeoutError:
            raise exceptions.TimeoutError("Timeout writing to socket") from None
        finally:
            self.socket_timeout = limit


class Tcp(_Cancellable, Connection):
    """A connection over TCP."""


class Tls(_Cancellable, SSLConnection):
    """A connection over TLS."""


class Unix(_Cancellable, UnixDomainSocketConnection):
    """A connection on a unix socket."""
