"""Who else at a carrier is affected: employers with an open alert, of all that have something there. Pure."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator

from notifier.core.alerts import Alert, Phase
from notifier.models import ConnectionState, Kind

_SEVERAL = 2  # itself and another one


class Census:
    """How many live group connections each employer has at each carrier, as committed.

    Counts, so that an employer who loses one of two is still there. Ids are interned: it takes some 170 bytes
    for a connection with three of them.
    """

    def __init__(self) -> None:
        self._at: dict[str, dict[str, int]] = {}

    def as_counts(self) -> dict[str, dict[str, int]]:
        """Carrier -> employer -> group connections, for comparisons."""
        return {carrier: dict(employers) for carrier, employers in self._at.items()}

    def move(self, id_: str, before: ConnectionState | None, after: ConnectionState | None) -> None:
        """A connection that was counted as ``before`` (None: not yet) is ``after`` now."""
        for carrier, employer in _places(id_, after):
            employers = self._at.setdefault(carrier, {})
            employers[employer] = employers.get(employer, 0) + 1
        for carrier, employer in _places(id_, before):
            employers = self._at.get(carrier, {})
            employers[employer] = employers.get(employer, 0) - 1
            if employers[employer] <= 0:
                del employers[employer]
            if not employers:
                self._at.pop(carrier, None)

    def employers(self, carrier: str) -> int:
        """How many employers have a live group connection at a carrier."""
        return len(self._at.get(carrier, ()))


class Affected:
    """The employers of whom a rule has an open alert at a carrier, among ``alerts``.

    ``census`` says of how many; None: that is not known.
    """

    def __init__(self, alerts: Iterable[Alert] = ()) -> None:
        self.census: Census | None = None
        self._employers: dict[tuple[str, str], set[str]] = defaultdict(set)
        for alert in alerts:
            carrier = _carrier_of(alert)
            if carrier is not None:
                self._employers[alert.rule, carrier].add(alert.subject.employer)

    def is_several(self, alerts: Iterable[Alert]) -> bool:
        """Whether there is something to tell of any of these, which takes a census."""
        return any(self._count(alert) >= _SEVERAL for alert in alerts)

    def told(self, alert: Alert) -> dict[str, int] | None:
        """The same, and of how many; None where it is nobody else, or that is not known."""
        carrier, count = _carrier_of(alert), self._count(alert)
        if self.census is None or carrier is None or count < _SEVERAL:
            return None
        return {"employers": count, "of": self.census.employers(carrier)}

    def _count(self, alert: Alert) -> int:
        """How many there are by its rule at the carrier of an open alert; 0 for any other one."""
        return len(self._employers.get((alert.rule, _carrier_of(alert) or ""), ()))


def _places(id_: str, state: ConnectionState | None) -> Iterator[tuple[str, str]]:
    """Carrier and employer of each live group connection."""
    if state is None or state.removed_at is not None:
        return
    known = state.fields.get("employer")
    employer = sys.intern(known if isinstance(known, str) else id_)
    for group in state.group_connections.values():
        carrier = group.fields.get("carrier")
        if group.removed_at is None and isinstance(carrier, str):
            yield sys.intern(carrier), employer


def _carrier_of(alert: Alert) -> str | None:
    """The carrier of an open alert about a group connection."""
    carrier = alert.subject.fields.get("carrier")
    is_open = alert.phase is Phase.OPEN and alert.subject.kind is Kind.GROUP_CONNECTION
    return carrier if is_open and isinstance(carrier, str) else None
