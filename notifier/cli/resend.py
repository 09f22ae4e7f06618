"""What ``notifier replay`` and ``notifier resync`` share: for whom they are, and writing beside a worker.

Both only put deliveries behind what waits in the sink's lanes; workers send them. So they may run while
workers run, and a lane's order is kept. What they put there is true at one version of the state.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from notifier.cli.common import Failed, need_sink
from notifier.clock import Clock
from notifier.config import Config
from notifier.errors import ConfigError

T = TypeVar("T")
AT_ONCE = 100  # connections, or deliveries: what one script takes is as bounded as a commit
_TRIES = 20  # of a batch in which a poll came in between
_PAUSE_S = 1.0  # before another try, at most; the first comes after a twentieth of it


def need_programs(config: Config, sink: str) -> None:
    """Refuse a sink that the configuration does not have, or that is for people."""
    need_sink(config, sink)
    if config.sinks[sink].is_for_people:
        raise ConfigError(
            f'"{sink}" tells people what lasts, and its messages show that as it is: there is nothing to do. '
            f"What could not be delivered is sent again by `notifier dead replay {sink}`. This is for sinks "
            "that take events: webhook, console, command, pagerduty"
        )


async def undisturbed(attempt: Callable[[], Awaitable[T | None]], clock: Clock) -> T:
    """What ``attempt`` gives; made again where that is None, for a poll came in between."""
    for tries in range(_TRIES):
        done = await attempt()
        if done is not None:
            return done
        await clock.sleep(_PAUSE_S * min(1.0, (tries + 1) / _TRIES))
    raise Failed("polls came in between each time: what was sent until now is not all of it, so run it again")
