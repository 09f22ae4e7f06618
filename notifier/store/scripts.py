"""Loads the Lua scripts: each is one transition of the store."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

#: A ``redis.asyncio`` client that does not decode. Its own types allow text and bytes in every answer, at
#: every level; ours are always bytes, and are read at once into typed values.
Client = Any


def load(redis: Client, name: str) -> Any:
    """The script ``lua/NAME.lua`` behind ``lua/try.lua``, called by its digest, loaded where unknown."""
    return redis.register_script(_text("try") + _text(name))


def _text(name: str) -> str:
    return files("notifier.store").joinpath("lua", f"{name}.lua").read_text()
