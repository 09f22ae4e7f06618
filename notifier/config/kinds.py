"""The kinds of sinks that packages bring along: found by the entry points of the group ``notifier.sinks``.

The name of an entry point is the word of ``type``; it leads to a :class:`SinkKind`. Only those that a
configuration names are loaded, so what is installed and not used costs nothing and can break nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any, NamedTuple, get_args

from pydantic import Field, create_model

from notifier.config.fields import Name
from notifier.config.model import Config
from notifier.config.sinks import ConsoleConfig, SinkSettings, SlackConfig, WebhookConfig
from notifier.config.words import SINK_TYPES

GROUP = "notifier.sinks"


class SinkKind(NamedTuple):
    """A kind of sink: the keys of its configuration, and what builds one of a name and those keys.

    ``build`` gets a ``notifier.sinks.plugin.Place`` third.
    """

    settings: type[SinkSettings]
    build: Callable[[str, Any, Any], Any]


class UnusableKind(ValueError):
    """A kind of sink is installed and cannot be used."""


def known_types() -> tuple[str, ...]:
    """Every word that ``type`` may be: ours, and those of installed packages."""
    return (*SINK_TYPES, *sorted(_installed()))


def kind_of(word: str) -> SinkKind | None:
    """The kind of this name; None where no package brings it. Raises :class:`UnusableKind`."""
    found = _installed().get(word)
    if found is None:
        return None
    brought = f'sinks of type "{word}" are brought by {found.value}'
    try:
        kind = found.load()
    except Exception as error:  # noqa: BLE001 - another's module may fail in any way
        raise UnusableKind(f"{brought}, which cannot be loaded: {type(error).__name__}: {error}") from None
    if not isinstance(kind, SinkKind):
        raise UnusableKind(f"{brought}, which is no SinkKind")
    field = kind.settings.model_fields.get("type")
    if field is None or get_args(field.annotation) != (word,):
        raise UnusableKind(f'{brought}, whose settings have no `type: Literal["{word}"]`')
    return kind


def kinds_of(words: Iterable[Any]) -> dict[str, SinkKind]:
    """The kinds of those of the words that are no type of ours and that some package brings."""
    wanted = {word for word in words if isinstance(word, str) and word not in SINK_TYPES}
    found = {word: kind_of(word) for word in sorted(wanted)}
    return {word: kind for word, kind in found.items() if kind is not None}


def config_model(kinds: Mapping[str, SinkKind]) -> type[Config]:
    """The model of a configuration that may have these kinds of sinks beside ours."""
    if not kinds:
        return Config
    members: Any = SlackConfig | WebhookConfig | ConsoleConfig
    for kind in kinds.values():
        members |= kind.settings
    sinks = dict[Name, Annotated[members, Field(discriminator="type")]]
    described: Any = Field(default_factory=dict, description=Config.model_fields["sinks"].description)
    return create_model("Config", __base__=Config, __doc__=Config.__doc__, sinks=(sinks, described))


def _installed() -> dict[str, EntryPoint]:
    return {found.name: found for found in entry_points(group=GROUP) if found.name not in SINK_TYPES}
