"""Files that are looked at again while the worker runs."""

from __future__ import annotations

from pathlib import Path

Mark = tuple[int, ...]


def mark_of(path: Path) -> Mark | None:
    """What tells a file from the one that was there before; None where there is none."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino
