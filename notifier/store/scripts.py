"""Loads the Lua scripts: each is one transition of the store."""

from __future__ import annotations

from importlib.resources import files

from redis.asyncio import Redis
from redis.commands.core import AsyncScript


def load(redis: Redis, name: str) -> AsyncScript:
    """The script ``lua/NAME.lua``, called by its digest and loaded again where the server forgot it."""
    return redis.register_script(files("notifier.store").joinpath("lua", f"{name}.lua").read_text())
