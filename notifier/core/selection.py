"""What a rule asks of an entity, apart from its statuses: shared by moments and conditions. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from notifier.config import Selection, is_among


class Traits(msgspec.Struct, frozen=True):
    """What may be asked of an entity. A name is None where it is not known, or where there is none.

    ``employer`` holds the employer's id and our own ``external_id`` of it.
    """

    kind: Any = None
    category: Any = None
    carrier: Any = None
    group_id: Any = None
    connection: Any = None
    employer: Collection[Any] = ()
    carrier_name: str | None = None
    employer_name: str | None = None


def selects(entity: Collection[Any], asked: Selection, traits: Traits) -> bool | None:
    """Whether an entity is meant; None where all is well but for a name that is asked for and not known."""
    exact = (
        (entity, (traits.kind,)),
        (asked.category, (traits.category,)),
        (asked.carrier, (traits.carrier,)),
        (asked.employer, traits.employer),
        (asked.connection, (traits.connection,)),
        (asked.group_id, (traits.group_id,)),
    )
    if any(wanted and not any(is_among(value, wanted) for value in values) for wanted, values in exact):
        return False
    names = ((asked.carrier_name, traits.carrier_name), (asked.employer_name, traits.employer_name))
    wanted = [(globs, name) for globs, name in names if globs]
    if any(name is not None and not _any_glob(globs, name) for globs, name in wanted):
        return False
    return None if any(name is None for _, name in wanted) else True


def _any_glob(globs: Iterable[str], text: str) -> bool:
    """Names are matched without regard to case: people type them."""
    return any(fnmatchcase(text.casefold(), glob.casefold()) for glob in globs)
