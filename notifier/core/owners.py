"""Owners: who looks after which employers and carriers. Pure.

A table of rows in CSV. The row that says most about an entity has it: one for its employer and its carrier,
then one for its employer, then one for its carrier, then one for neither.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from notifier.config import RuleConfig, Target
from notifier.config.fields import text
from notifier.config.people import OWNER, person
from notifier.config.sinks import slack_channel
from notifier.config.words import closest, nearest, shown

COLUMNS = ("employer", "carrier", "owner", "team", "channel")
MOST_MENTIONED = 10  # in one message
_LONGEST_CELL = 200
EMPLOYER_ID, CARRIER_ID = "er_", "carr_"  # how Clasp's ids begin
_WORD = re.compile(r"[\w -]{1,40}")
_LINE_END = re.compile(r"\r\n|\r|\n")


class Owner(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who looks after something; '' is not known. ``owner``: an e-mail address, or a Slack member's id."""

    owner: str = ""
    team: str = ""
    channel: str = ""


NOBODY = Owner()
_Key = tuple[str, str]  # employer and carrier; '' is any


class BadTable(Exception):
    """The table cannot be read; ``problems`` are lines and what is wrong there."""

    def __init__(self, problems: Sequence[tuple[int, str]]) -> None:
        super().__init__(problems[0][1])
        self.problems = problems


class Owners:
    """The table, by employer (an id, or our external id) and carrier (an id, or a name in small letters).

    ``by_external_id`` and ``by_carrier_name``: whether some row is found only by what has been looked up.
    """

    def __init__(self, rows: Mapping[_Key, Owner] = {}) -> None:
        self._rows = dict(rows)
        self.by_external_id = any(one and not one.startswith(EMPLOYER_ID) for one, _ in rows)
        self.by_carrier_name = any(one and not one.startswith(CARRIER_ID) for _, one in rows)

    def __len__(self) -> int:
        return len(self._rows)

    def everyone(self) -> Iterable[Owner]:
        """Those whom it names, in its order."""
        return self._rows.values()

    def of(self, employer: Any, external_id: Any, carrier: Any, carrier_name: Any) -> Owner | None:
        """Who owns what is of this employer and carrier; each may be anything that the source says."""
        employers = [one for one in (employer, external_id) if isinstance(one, str) and one]
        carriers = [_carrier(one) for one in (carrier, carrier_name) if isinstance(one, str) and one]
        for keys in (
            [(one, other) for one in employers for other in carriers],
            [(one, "") for one in employers],
            [("", other) for other in carriers],
            [("", "")],
        ):
            for key in keys:
                if key in self._rows:
                    return self._rows[key]
        return None


class Reach(msgspec.Struct, frozen=True):
    """Where owners are reached: in places of ``sink``, whose own channel is ``own``; else at ``fallback``."""

    sink: str
    own: str | None
    fallback: Target

    def of(self, owner: Owner | None) -> Target:
        """Where this owner is reached: the channel, or else the person."""
        place = (owner.channel or owner.owner) if owner is not None else ""
        if not place:
            return self.fallback
        return Target(self.sink, None if place == self.own else place)


def mentioned(rule: RuleConfig | None, owner: Owner | None) -> list[str]:
    """Whom news of a rule mentions: ``here``, ``channel``, ids, e-mail addresses."""
    words = [
        (owner.owner if owner else "") if word == OWNER else word for word in (rule.mention if rule else ())
    ]
    return list(dict.fromkeys(filter(None, words)))


def parse(table: str) -> Owners:
    """The owners in a text of CSV whose first line names the columns. Raises :class:`BadTable`."""
    rows: dict[_Key, Owner] = {}
    first: dict[_Key, int] = {}
    problems: list[tuple[int, str]] = []
    columns: Sequence[str] = ()
    for number, line in _lines(table):
        try:
            cells = [cell.strip() for cell in _cells(line)]
            if not columns:
                columns = _columns(cells)
            elif any(cells):
                key, owner = _row(columns, cells)
                if first.setdefault(key, number) != number:
                    raise ValueError(f"has the employer and carrier of line {first[key]}")  # noqa: TRY301
                rows[key] = owner
        except ValueError as error:
            problems.append((number, str(error)))
            if not columns:
                break  # without them no row can be read
    if not columns and not problems:
        problems.append((1, f"is empty; the first line names the columns: {', '.join(COLUMNS)}"))
    if problems:
        raise BadTable(problems)
    return Owners(rows)


def _lines(table: str) -> Iterator[tuple[int, str]]:
    """The lines that say something, with their numbers; one that begins with ``#`` is a comment."""
    for number, line in enumerate(_LINE_END.split(table), start=1):
        if line.strip() and not line.startswith("#"):
            yield number, line


def _cells(line: str) -> list[str]:
    """A line's cells. No cell holds a line's end, so that one bad quote spoils one line."""
    try:
        return next(csv.reader([line], strict=True))
    except csv.Error:
        raise ValueError("is not CSV: a quote is open or in the wrong place, or a cell is too long") from None


def _columns(cells: Iterable[str]) -> Sequence[str]:
    names = [cell.lower() for cell in cells]
    if len(names) == 1 and re.search(r"[;\t]", names[0]):
        raise ValueError("separates its cells otherwise than by commas; export it as CSV with commas")
    if not any(name in COLUMNS or closest(name, COLUMNS) for name in names):
        raise ValueError(f"names no column; the first line must: {','.join(COLUMNS)}, or some of these")
    for name in names:
        if name not in COLUMNS:
            named = shown(name) if _WORD.fullmatch(name) else '"..."'  # it may be no table, and hold a secret
            raise ValueError(f"unknown column {named}{nearest(name, COLUMNS)}")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ValueError(f"has the column {twice} twice")
    if not {"owner", "channel"} & set(names):
        raise ValueError('needs a column "owner" or "channel"')
    if names[0] == "channel":
        raise ValueError('"channel" cannot be the first column: a line that begins with # is a comment')
    return names


def _row(columns: Sequence[str], cells: Sequence[str]) -> tuple[_Key, Owner]:
    if len(cells) != len(columns):
        raise ValueError(f"has {len(cells)} cells; the first line has {len(columns)}")
    found = dict(zip(columns, cells, strict=True))
    read: dict[str, str] = {}
    checks: Mapping[str, Callable[[str], str]] = {"owner": person, "channel": slack_channel}
    for column, cell in found.items():
        try:
            read[column] = checks.get(column, _plain)(cell) if cell else ""
        except ValueError as error:
            raise ValueError(f"{column}: {error}") from None
    owner = Owner(read.get("owner", ""), read.get("team", ""), read.get("channel", ""))
    if not owner.owner and not owner.channel:
        raise ValueError("names neither an owner nor a channel")
    return (read.get("employer", ""), _carrier(read.get("carrier", ""))), owner


def _plain(cell: str) -> str:
    if len(cell) > _LONGEST_CELL:
        raise ValueError(f"is longer than {_LONGEST_CELL} characters")
    return text(cell)


def _carrier(word: str) -> str:
    """An id as it is; a name without regard to capitals."""
    return word if word.startswith(CARRIER_ID) else word.casefold()
