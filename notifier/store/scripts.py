"""Loads the Lua scripts: each is one transition of the store."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

#: A ``redis.asyncio`` client that does not decode. Its own types allow text and bytes in every answer, at
#: every level; ours are always bytes, and are read at once into typed values.
Client = Any


def load(redis: Client, name: str) -> Any:
    """The script NAME, called by its digest and loaded again where the server does not know it."""
    return redis.register_script(text(name))


def text(name: str) -> str:
    """The script ``lua/NAME.lua``, behind ``lua/try.lua``."""
    lua = files("notifier.store").joinpath("lua")
    return "".join(lua.joinpath(f"{part}.lua").read_text() for part in ("try", name))
