"""Events and attempts as people read them; attempts with the permalinks of what was posted in Slack."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping
from typing import Any

from notifier.config import Config, SlackConfig
from notifier.errors import NotifierError

_PATIENCE_S = 3.0  # links are a comfort: nothing waits longer for them


def event_row(type_: str, timestamp: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """An event as a row: who, what moved, and by which ids."""
    employer = data.get("connection", {}).get("employer", {})
    carrier = data.get("carrier", {})
    return {
        "time": timestamp,
        "type": type_,
        "employer": employer.get("name") or employer.get("id"),
        "carrier": carrier.get("name") or carrier.get("id"),
        "from": data.get("from"),
        "to": data.get("to") or data.get("message"),
        "entity": data.get("entity", {}).get("id"),
        "event": data["id"],
    }


async def with_links(config: Config, attempts: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The attempts; those that posted in Slack with their ``permalink``, where Slack tells its address."""
    found = [dict(attempt) for attempt in attempts]
    posted = {str(one["sink"]) for one in found if one.get("place")}
    asked = {name: sink for name, sink in config.sinks.items() if name in posted and _has_links(sink)}
    if not asked:
        return found
    from notifier.sinks.registry import build_sinks  # noqa: PLC0415 - not for every list
    from notifier.sinks.slack import SlackSink  # noqa: PLC0415

    async with build_sinks(config.model_copy(update={"sinks": asked})) as sinks:
        for one in found:
            sink = sinks.get(str(one["sink"]))
            if one.get("place") and isinstance(sink, SlackSink):
                link = await _within_patience(sink.address(str(one["place"])))
                if link is None:
                    del sinks[str(one["sink"])]
                else:
                    one["permalink"] = link
    return found


def _has_links(sink: Any) -> bool:
    return isinstance(sink, SlackConfig) and sink.token is not None and sink.mode == "live"


async def _within_patience(asking: Awaitable[str | None]) -> str | None:
    try:
        async with asyncio.timeout(_PATIENCE_S):
            return await asking
    except (NotifierError, TimeoutError):
        return None
