"""Files that a configuration names: why one cannot be read, and whether it is still the one of before."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

Mark = tuple[int, ...]


def mark_of(path: Path) -> Mark | None:
    """What tells a file from the one that was there before; None where there is none."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino


def marks_of(paths: Iterable[Path]) -> dict[Path, Mark | None]:
    """The mark of each."""
    return {path: mark_of(path) for path in paths}


def why_unreadable(error: Exception) -> str:
    """What the machine says, or that the name is none (``ValueError``: it holds a NUL)."""
    return str(error.strerror) if isinstance(error, OSError) else "not a file name"
