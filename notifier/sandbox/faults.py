"""Faults that a simulated API can be asked for: what they are, and how often they hit.

A fault hits requests of one target (``on``), on one page of the list or on all, ``times`` times or until it
is cleared. Kinds:

==========================  =====================================================================
``status``                  answer ``status``, as Clasp's error body or (``html``) a gateway's page
``throttle``                429 with ``retry_after`` (seconds or a date; null: without the header)
``slow``                    wait ``seconds`` before going on
``drop``                    close the connection: before the answer, or (``midway``) half through its body
``empty``                   200 with an empty list
``truncate``                200 with JSON that is cut in half
``foreign_next``            ``next`` leads to another host
``loop_next``               ``next`` leads to the page that it is on, for ever
``vanish``                  a ``fraction`` of the connections (or ``ids``) is missing from the list; by id
                            they answer 404 or, with ``still_by_id``, as ever
``wrong_types``             fields of every item have types that are not documented; ``what`` may also be
                            ``no_id``, ``not_object`` (the first item) or ``envelope`` (``results`` no list)
``other_account``           every connection and employer has another id
``duplicate``               the page's first connection is on it twice
``conflicting_duplicate``   the same, the second time with another status of its group connections
==========================  =====================================================================

The kinds from ``empty`` on concern the list and are counted there; the last ones hold by id as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, get_args, get_type_hints

from notifier.errors import ConfigError

LIST, CONNECTION, NAME, ANY = "list", "connection", "name", "any"
TARGETS = (LIST, CONNECTION, NAME, ANY)
REQUEST_KINDS = ("status", "throttle", "slow", "drop")
PAGE_KINDS = (
    "empty", "truncate", "foreign_next", "loop_next", "vanish", "wrong_types", "other_account", "duplicate",
    "conflicting_duplicate",
)  # fmt: skip
WRONG = ("fields", "no_id", "not_object", "envelope")
_MIN_STATUS, _MAX_STATUS = 200, 599


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. ``times`` None: until it is cleared. ``page``: from 1; None: every page."""

    kind: str
    times: int | None = 1
    page: int | None = None
    on: str = LIST
    status: int = 500
    html: bool = False
    retry_after: str | None = "1"
    seconds: float = 1.0
    midway: bool = False
    fraction: float = 0.5
    ids: tuple[str, ...] = ()
    still_by_id: bool = False
    what: str = "fields"

    def __post_init__(self) -> None:
        problems = list(_problems(self))
        if problems:
            raise ConfigError(*problems)

    def as_json(self) -> dict[str, Any]:
        """The fault as the control endpoints show it."""
        return asdict(self)


def read_fault(given: Mapping[str, Any]) -> Fault:
    """A fault from JSON. ConfigError, with a line for each problem, where it is not one."""
    hints = get_type_hints(Fault)
    problems = [f"{name}: unknown (known are {', '.join(hints)})" for name in given if name not in hints]
    values: dict[str, Any] = {}
    for name in given.keys() & hints.keys():
        value = _converted(name, given[name])
        if _has_type(value, hints[name]):
            values[name] = value
        else:
            problems.append(f"{name}: has the wrong type")
    if "kind" not in given:
        problems.append("kind: is missing")
    if problems:
        raise ConfigError(*sorted(problems))
    return Fault(**values)


class Faults:
    """The faults that are in force, the oldest first."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._left: list[int | None] = []

    def add(self, kind: str, **options: Any) -> Fault:
        """Put a fault in force, ``faults.add("status", status=503, times=2)``."""
        fault = Fault(kind, **options)
        self.put(fault)
        return fault

    def put(self, fault: Fault) -> None:
        """Put a fault in force."""
        self._faults.append(fault)
        self._left.append(fault.times)

    def clear(self) -> None:
        """Behave again."""
        self._faults.clear()
        self._left.clear()

    def active(self) -> list[dict[str, Any]]:
        """The faults in force, each with the number of times that is ``left``."""
        return [
            fault.as_json() | {"left": left} for fault, left in zip(self._faults, self._left, strict=True)
        ]

    def take(self, on: str, page: int | None = None) -> list[Fault]:
        """The faults that hit a request, each counted as having hit."""
        hits: list[Fault] = []
        for index, fault in enumerate(self._faults):
            left = self._left[index]
            if fault.on not in {on, ANY} or fault.page not in {None, page}:
                continue
            if fault.kind in PAGE_KINDS and on != LIST:
                continue
            hits.append(fault)
            self._left[index] = None if left is None else left - 1
        kept = [n for n, left in enumerate(self._left) if left is None or left > 0]
        self._faults, self._left = [self._faults[n] for n in kept], [self._left[n] for n in kept]
        return hits

    def of_kind(self, kind: str) -> list[Fault]:
        """The faults of a kind that are in force, without counting a hit."""
        return [fault for fault in self._faults if fault.kind == kind]


def _problems(fault: Fault) -> Sequence[str]:
    checks = {
        f"kind: must be one of {', '.join(REQUEST_KINDS + PAGE_KINDS)}": fault.kind
        in REQUEST_KINDS + PAGE_KINDS,
        f"on: must be one of {', '.join(TARGETS)}": fault.on in TARGETS,
        f"what: must be one of {', '.join(WRONG)}": fault.what in WRONG,
        "times: must be 1 or more, or null": fault.times is None or fault.times >= 1,
        "page: must be 1 or more, or null": fault.page is None or fault.page >= 1,
        "page: only the list has pages": fault.page is None or fault.on in {LIST, ANY},
        "status: must be 200 to 599": _MIN_STATUS <= fault.status <= _MAX_STATUS,
        "fraction: must be 0 to 1": 0 <= fault.fraction <= 1,
        "seconds: must be 0 or more": fault.seconds >= 0,
        f"on: {fault.kind} concerns the list": fault.kind not in PAGE_KINDS or fault.on in {LIST, ANY},
    }
    return [problem for problem, is_fine in checks.items() if not is_fine]


def _converted(name: str, value: Any) -> Any:
    if name == "ids" and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return tuple(value)
    if name == "retry_after" and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if name in {field.name for field in fields(Fault) if field.type == "float"} and type(value) is int:
        return float(value)
    return value


def _has_type(value: Any, hint: Any) -> bool:
    allowed = get_args(hint) if get_args(hint) and hint != tuple[str, ...] else (hint,)
    return type(value) in {tuple if option == tuple[str, ...] else option for option in allowed}
