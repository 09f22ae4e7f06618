"""Rules: which event goes to which sinks."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from notifier.config.fields import (
    ONE_OR_MORE,
    Model,
    Name,
    Paragraph,
    PositiveDuration,
    RuleName,
    Span,
    Status,
    Switch,
    Text,
    text,
    word_from,
)
from notifier.config.people import Mention
from notifier.config.sinks import slack_place
from notifier.config.templates import rule_template
from notifier.config.words import EVENT_TYPES, FIELDS, REPORT_TYPES, SELF_REPORTS, SEVERITIES, UnknownWord
from notifier.models import Kind

_GLOB = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Target:
    """A sink, and where in it (a Slack channel, or a person there) if not at its default."""

    sink: str
    target: str | None = None


def parse_target(value: Any) -> Target:
    """``backend``, or ``carrier-ops#dental`` for another channel or a person. Raises ``ValueError``."""
    if isinstance(value, Target):
        return value
    sink, mark, channel = text(value).partition("#")
    if not sink:
        raise ValueError("names no sink; write the sink's name, or sink#channel")
    return Target(sink, slack_place(channel) if mark else None)


def _event_type(value: Any) -> str:
    """A type of event, or a glob that at least one type matches."""
    word = text(value)
    known = (*EVENT_TYPES, *REPORT_TYPES)
    if any(fnmatchcase(type_, word) for type_ in known):
        return word
    if word.startswith("alert."):
        raise ValueError('alerts are told by their own rule: one with "while" that names the sink')
    if _GLOB.search(word):
        raise UnknownWord("event type that this pattern matches", word, (*known, *_FAMILIES))
    raise UnknownWord("event type", word, known)


_FAMILIES = tuple(f"{family}.*" for family in (*Kind, "notifier"))


_FIELD_NAMES = tuple(dict.fromkeys(("status", *FIELDS)))


def _field(value: Any) -> str:
    if (word := text(value)) not in _FIELD_NAMES:
        raise UnknownWord("field", word, _FIELD_NAMES)
    return word


def _unreserved(value: Any) -> Any:
    if value == SELF_REPORTS:
        raise ValueError(
            f'"{SELF_REPORTS}" is the name that the notifier\'s own reports go under; take another'
        )
    return value


def _template(value: str) -> str:
    rule_template(value)
    return value


EventType = Annotated[
    str,
    BeforeValidator(_event_type),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "enum": [*EVENT_TYPES, *REPORT_TYPES]},
                {"type": "string", "pattern": _GLOB.pattern},
            ]
        }
    ),
]
FieldName = Annotated[
    str, BeforeValidator(_field), WithJsonSchema({"type": "string", "enum": list(_FIELD_NAMES)})
]
Entities = Annotated[tuple[Annotated[Kind, word_from(Kind, "entity")], ...], *ONE_OR_MORE]
Texts = Annotated[tuple[Text, ...], *ONE_OR_MORE]
Title = Annotated[Text, AfterValidator(_template)]
Message = Annotated[Paragraph, AfterValidator(_template)]
Statuses = Annotated[tuple[Status, ...], *ONE_OR_MORE]
TargetText = Annotated[
    Target, BeforeValidator(parse_target), WithJsonSchema({"type": "string", "pattern": r"^[^#]+(#.+)?$"})
]
Targets = Annotated[tuple[TargetText, ...], *ONE_OR_MORE]


def is_among(value: Any, asked: Collection[Any]) -> bool:
    """Whether ``asked`` holds this value. ``true`` is not 1 and ``false`` is not 0, as in JSON."""
    return value in asked and any(
        value == one and isinstance(value, bool) is isinstance(one, bool) for one in asked
    )


class Selection(Model):
    """Which entities: by what does not pass. Each key is a value or a list; all must match."""

    category: Texts = ()
    """Categories of milestones."""

    carrier: Texts = ()
    """Ids of carriers (`carr_...`). For group connections."""

    employer: Texts = ()
    """Ids of employers (`er_...`), or your own `external_id` of them."""

    carrier_name: Texts = ()
    """Names of carriers, with `*` for anything."""

    employer_name: Texts = ()
    """Names of employers, with `*` for anything."""

    connection: Texts = ()
    """Ids of connections."""

    group_id: Texts = ()
    """Group ids: the numbers that carriers give employers. Always in quotes."""

    @property
    def asks_names(self) -> bool:
        """Whether it can be decided only where names are known."""
        return bool(self.carrier_name or self.employer_name)


class When(Selection):
    """What an event must be. Each key is a value or a list; all must match; `{}` matches every entity's."""

    type: Annotated[tuple[EventType, ...], *ONE_OR_MORE] = ()
    """Types of events, such as `group_connection.status_changed` or `notifier.*`."""

    entity: Entities = ()
    """`connection`, `group_connection` or `milestone`."""

    from_: Statuses = Field(default=(), alias="from")
    """The status before. An event without a change of status never matches."""

    to: Statuses = ()
    """The status after: of an entity that changes to it, and of one that appears in it."""

    not_from: Statuses = ()
    """Not these statuses before."""

    not_to: Statuses = ()
    """Not these statuses after."""

    field: Annotated[tuple[FieldName, ...], *ONE_OR_MORE] = ()
    """Names of fields, at least one of which changed."""


class While(Selection):
    """How an entity must be for as long as the alert lasts. Each key is a value or a list; all must match."""

    entity: Entities
    """`connection`, `group_connection` or `milestone`."""

    status: Statuses = ()
    """Its status."""

    not_status: Statuses = ()
    """Not these statuses."""

    unchanged: Span | None = None
    """Nothing of it, or of anything under it, has changed for so long: `3d`, or `3bd` for business days."""


class RuleConfig(Model):
    """What is sent where. A rule has either `when` or `while`.

    `when` is a moment: each event that matches goes to the sinks in `notify`, at once. `while` is a
    condition: an alert that opens, lasts and ends.
    """

    name: Annotated[RuleName, BeforeValidator(_unreserved)]
    """The rule's name, once in a file. It stands in every event that the rule sends."""

    when: When | None = None
    """Which events."""

    while_: While | None = Field(default=None, alias="while")
    """Which entities, and how they must be."""

    notify: Targets
    """Which sinks; `sink#channel` for another Slack channel than the sink's own; `owner` for the owner."""

    mention: Annotated[tuple[Mention, ...], *ONE_OR_MORE] = Field(default=(), max_length=10)
    """Whom news in Slack mentions: `owner`, `here`, `channel`, ids of members or user groups."""

    severity: Annotated[Literal["info", "warning", "critical"], word_from(SEVERITIES, "severity")] = "info"
    """How bad it is."""

    note: Paragraph | None = Field(default=None, max_length=2000)
    """A sentence for the reader of a Slack message: what to do."""

    title: Title | None = None
    """The headline of a Slack message, as a template: `{{ employer }} waits for {{ carrier }}`."""

    message: Message | None = None
    """The sentence below the headline of a Slack message, as a template."""

    for_: Span | None = Field(default=None, alias="for")
    """With `while`: it must have been so for this long before the alert opens. By default at once."""

    remind: Span | None = None
    """With `while`: say it again this often for as long as it lasts. By default never."""

    resolve: Switch = True
    """With `while`: whether the end of an alert is told."""

    include_existing: Annotated[
        Literal["summary", "each", "no"], word_from(("summary", "each", "no"), "value")
    ] = "summary"
    """With `while`: what is so already when the rule is new. `summary` tells it in one message a sink."""

    group_by: Annotated[
        Literal["employer", "carrier", "none"], word_from(("employer", "carrier", "none"), "value")
    ] = "employer"
    """With `while`: whose alerts a Slack message tells together; `none`: each alone.

    By the carrier in place of the employer once five employers open there within ten minutes."""

    group_window: PositiveDuration = timedelta(hours=1)
    """With `while`: how long a message takes in what opens later; after that a new one begins."""

    calendar: Name | None = None
    """With `while`: count `for`, `remind` and `unchanged` by this calendar, and speak only in its hours."""

    fallback: Targets = ()
    """Sinks for what would match, had the name that the rule asks for been known."""
