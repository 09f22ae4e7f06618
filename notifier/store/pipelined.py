"""Calls of a script that are made side by side share a round trip.

While one pipeline is on its way the next calls gather, so that nobody waits for others to come: a call alone
goes at once. Each call is a transition of its own as before; what is shared is only the way to the server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from redis.exceptions import NoScriptError

from notifier.store.scripts import Client

_MOST = 100  # calls in a pipeline: more gain nothing, and their answers come later


class _Call(msgspec.Struct, frozen=True):
    """What EVALSHA is to be sent with, and who waits for the answer."""

    words: tuple[Any, ...]
    answer: asyncio.Future[Any]


class PipelinedScript:
    """A script that many tasks call at once. Raises redis-py's errors, as the script itself does."""

    def __init__(self, redis: Client, script: Any) -> None:
        self._redis = redis
        self._script = script
        self._gathered: list[_Call] = []
        self._sending: asyncio.Task[None] | None = None

    async def __call__(self, *, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run it. A call that is cancelled may still be made."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._gathered.append(_Call((len(keys), *keys, *args), answer))
        if self._sending is None or self._sending.done():
            self._sending = asyncio.create_task(self._send())
        try:
            return await answer
        except NoScriptError:  # the server is new, or forgot it
            return await self._script(keys=keys, args=args)

    async def _send(self) -> None:
        while self._gathered:
            calls, self._gathered = self._gathered[:_MOST], self._gathered[_MOST:]
            for call, answer in zip(calls, await self._answers(calls), strict=True):
                if call.answer.done():  # whoever called was cancelled
                    continue
                if isinstance(answer, Exception):
                    call.answer.set_exception(answer)
                else:
                    call.answer.set_result(answer)

    async def _answers(self, calls: Sequence[_Call]) -> list[Any]:
        """What the server said to each; the same error for all where it could not be asked."""
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                for call in calls:
                    pipe.evalsha(self._script.sha, *call.words)
                return list(await pipe.execute(raise_on_error=False))
        except Exception as error:  # noqa: BLE001 - it is theirs who wait, whatever it is
            return [error] * len(calls)
