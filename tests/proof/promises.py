"""The promises by number, in the words of docs/guarantees.md."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "guarantees.md"
_HEADING = re.compile(r"^### (P\d+) (.+)$", re.MULTILINE)


def promises() -> dict[str, str]:
    """Each promise's heading, by its number."""
    return dict(_HEADING.findall(PAGE.read_text(encoding="utf-8")))


def sections() -> dict[str, str]:
    """What the page says about each promise, by its number."""
    parts = re.split(r"^##+ (?=P?\d|[A-Z])", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {part.split(" ", 1)[0]: part for part in parts if re.match(r"P\d+ ", part)}
