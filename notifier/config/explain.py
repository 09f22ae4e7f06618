"""Errors of the models, rewritten: where in the file, what is wrong, what word was meant.

pydantic's own messages may quote the input and are never used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from notifier.config import later
from notifier.config.calendars import CalendarConfig
from notifier.config.digests import DigestConfig
from notifier.config.document import ListNode, MapNode, Node, Path, Problem, Scalar
from notifier.config.kinds import UnusableKind, kind_of, known_types
from notifier.config.model import Config, GuardsConfig, HttpConfig, SourceConfig
from notifier.config.owners import OwnersConfig
from notifier.config.rules import RuleConfig, When, While
from notifier.config.sinks import ActiveConfig, ConsoleConfig, SinkSettings, SlackConfig, WebhookConfig
from notifier.config.words import UnknownWord, closest, nearest, shown

SINK_MODELS: Mapping[str, type[BaseModel]] = {
    "slack": SlackConfig,
    "webhook": WebhookConfig,
    "console": ConsoleConfig,
}
_IN: Mapping[str, type[BaseModel]] = {"calendars": CalendarConfig, "digests": DigestConfig}
_AT: Mapping[str, type[BaseModel]] = {
    "source": SourceConfig,
    "http": HttpConfig,
    "guards": GuardsConfig,
    "owners": OwnersConfig,
}
_SINK_TAG_AT = 2  # sinks, NAME, tag of the union
_NOT_KEYS = {"directory"}
_CONSEQUENCE = "default_factory_not_called"  # a default that is made from keys with errors of their own


def problems(errors: Iterable[ErrorDetails], root: MapNode) -> list[Problem]:
    """One problem for each error of pydantic's that says something new."""
    listed = [error for error in errors if error["type"] != _CONSEQUENCE]
    inner = {error["loc"][:-1] for error in listed}
    listed = [error for error in listed if not (error["type"] == "too_short" and error["loc"] in inner)]
    meant = {_meant(error, root) for error in listed if error["type"] == "extra_forbidden"}
    return [
        _problem(error, root)
        for error in listed
        if not (error["type"] == "missing" and _Place(root, _without_tag(error["loc"])).path in meant)
    ]


def finding(root: MapNode, path: Path, error: ValueError) -> Problem:
    """A problem at a path, in words."""
    place = _Place(root, path)
    return Problem(place.line, place.path, place.because(_words_of(error, place)))


class _Place:
    """Where in the document an error's location is: as deep as the document goes."""

    def __init__(self, root: MapNode, loc: Iterable[str | int]) -> None:
        self.line = root.line
        self.path: Path = ()
        self.node: Node | None = root
        for part in loc:
            if not self._step(part):
                break

    def _step(self, part: str | int) -> bool:
        node = self.node
        if isinstance(node, MapNode) and isinstance(part, str) and part != "[key]":
            self.path = (*self.path, part)
            self.node = node.items.get(part)
            self.line = node.lines.get(part, self.line)
        elif isinstance(node, ListNode) and isinstance(part, int) and part < len(node.items):
            self.path = (*self.path, part)
            self.node = node.items[part]
            self.line = self.node.line
        return self.node is not None

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables that the value came from."""
        return self.node.variables if isinstance(self.node, Scalar) else ()

    def because(self, message: str) -> str:
        """The message, and where the value came from if not from the file."""
        return f"{message} (the value comes from {', '.join(self.variables)})" if self.variables else message


def _without_tag(loc: Path) -> Path:
    tag = loc[_SINK_TAG_AT] if loc[:1] == ("sinks",) and len(loc) > _SINK_TAG_AT else None
    is_tagged = tag in SINK_MODELS or (
        tag is not None and tag in known_types()
    )  # those are looked for on disk
    return (*loc[:_SINK_TAG_AT], *loc[_SINK_TAG_AT + 1 :]) if is_tagged else loc


def _meant(error: ErrorDetails, root: MapNode) -> Path:
    """The path of the key that an unknown key was meant to be; that one's absence is not told as well."""
    path = _Place(root, _without_tag(error["loc"])).path
    model, _ = _level(root, path[:-1])
    key = closest(str(path[-1]), keys(model))
    return (*path[:-1], key or "")


def _problem(error: ErrorDetails, root: MapNode) -> Problem:
    loc = _without_tag(error["loc"])
    if error["type"].startswith("union_tag"):
        loc = (*loc, "type")
    place = _Place(root, loc)
    if error["type"] == "extra_forbidden":
        return Problem(place.line, place.path, _unknown_key(root, place.path))
    return Problem(place.line, place.path, place.because(_words(error, place)))


_WORDS: Mapping[str, str] = {
    "missing": "required, and not there",
    "union_tag_not_found": "required, and not there",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le:g}",
    "too_short": "needs at least {min_length}",
    "too_long": "may hold at most {max_length}",
    "string_too_long": "is longer than {max_length} characters",
    "model_type": "expected keys and values",
    "model_attributes_type": "expected keys and values",
    "dict_type": "expected keys and values",
    "tuple_type": "expected a list",
}


def _words(error: ErrorDetails, place: _Place) -> str:
    context = error.get("ctx", {})
    if error["type"] == "value_error":
        return _words_of(context["error"], place)
    if error["type"] == "union_tag_invalid":
        return _unknown_sink_type(place)
    return _WORDS.get(error["type"], "is not a value that belongs here").format_map(context)


def _words_of(error: ValueError, place: _Place) -> str:
    if not isinstance(error, UnknownWord):
        return str(error)
    if place.variables:  # whatever it is, it may be secret
        return f"unknown {error.what}" + nearest("", error.known)
    return f"unknown {error.what} {shown(error.word)}" + nearest(error.meant or error.word, error.known)


def _unknown_sink_type(place: _Place) -> str:
    word = place.node.value if isinstance(place.node, Scalar) else None
    if isinstance(word, str) and word in later.SINK_TYPES:
        return later.SINK_TYPES[word]
    if not isinstance(word, str):
        return "expected a type of sink; known: " + ", ".join(known_types())
    return _words_of(UnknownWord("type of sink", word, known_types()), place)


def _unknown_key(root: MapNode, path: Path) -> str:
    key = str(path[-1])
    model, soon = _level(root, path[:-1])
    if key in soon:
        return soon[key]
    return "unknown key" + nearest(key, keys(model))


def keys(model: type[BaseModel]) -> list[str]:
    """The keys that a model takes, as they are written in the file."""
    return [field.alias or name for name, field in model.model_fields.items() if name not in _NOT_KEYS]


def _settings(kind: str) -> type[BaseModel]:
    """The model of a kind of sink; of one that nobody knows, what all of them take."""
    if kind in SINK_MODELS:
        return SINK_MODELS[kind]
    try:
        brought = kind_of(kind)
    except UnusableKind:
        brought = None
    return brought.settings if brought else SinkSettings


def _level(root: MapNode, path: Path) -> tuple[type[BaseModel], Mapping[str, str]]:
    """The model that stands at a path, and the keys that later releases know there."""
    match path:
        case ("sinks", str()):
            sink = _Place(root, (*path, "type")).node
            kind = sink.value if isinstance(sink, Scalar) else None
            return _settings(str(kind)), later.SINK
        case ("sinks", str(), "active"):
            return ActiveConfig, {}
        case ("rules", int()):
            return RuleConfig, {}
        case ("rules", int(), "when" | "while" as which):
            return (When, later.WHEN) if which == "when" else (While, later.WHILE)
        case ("calendars" | "digests" as which, str() | int()):
            return _IN[str(which)], {}
        case _:
            key = str(path[0]) if len(path) == 1 else ""
            return (_AT[key], {}) if key in _AT else (Config, later.TOP)
