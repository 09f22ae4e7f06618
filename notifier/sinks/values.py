"""Single values -> the words in which people read them. Pure, and total."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

_WORD = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*", re.ASCII)
_KEPT_FORMAT = "\u200c\u200d"  # joiners that scripts and emoji need; other format characters can hide text
LONGEST = 4000  # characters of one source text that anybody will ever read


def words(value: Any) -> str:
    """A value as people write it: ``needs_attention`` -> Needs Attention; others as they are."""
    if value is None:
        return "none"
    if not isinstance(value, str):
        return json.dumps(value)[:LONGEST]
    return value.replace("_", " ").title() if _WORD.fullmatch(value) else value[:LONGEST]


def clean(raw: str, *, keep_lines: bool = False) -> str:
    """The text on one line, without what a screen would obey: control, escape and direction characters."""
    kept = []
    for char in raw[: LONGEST * 3]:
        category = unicodedata.category(char)
        if category in {"Cc", "Zl", "Zp", "Zs"}:
            kept.append("\n" if keep_lines and char == "\n" else " ")
        elif category == "Cs":
            kept.append("\ufffd")
        elif category != "Cf" or char in _KEPT_FORMAT:
            kept.append(char)
    return re.sub(r" +", " ", "".join(kept)).strip()


def utc(moment: datetime) -> str:
    """``2026-11-23 22:01 UTC``."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def moment(value: Any) -> datetime | None:
    """The moment that an ISO 8601 text means, aware."""
    try:
        then = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return None
    return then if then.tzinfo else then.replace(tzinfo=UTC)


def at(value: Any, *path: str) -> Any:
    """What stands at a path of keys, or None."""
    for key in path:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def text(value: Any) -> str | None:
    """A text that says something, or None."""
    return value[: LONGEST * 3] if isinstance(value, str) and value.strip() else None


def length(span: timedelta) -> str:
    """``2 d 3 h``, ``1 h 42 min``, ``5 min``."""
    minutes = int(span.total_seconds()) // 60
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    units = [(days, "d"), (hours, "h"), (minutes, "min")]
    first = next((at for at, (count, _) in enumerate(units) if count), None)
    if first is None:
        return "less than a minute"
    return " ".join(f"{count} {unit}" for count, unit in units[first : first + 2] if count)


def ordinal(number: int) -> str:
    """``2nd``."""
    teen = 10 <= number % 100 < 20  # noqa: PLR2004
    return f"{number}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


def count(value: Any) -> int:
    """A count; 0 where it is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
