"""A file -> a :class:`Config`, or every problem with it at once.

Read, parse, interpolate, validate. A later stage is silent about a value that an earlier one could not
make out. No message holds a value that a variable gave, nor one of a key that holds secrets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from notifier.config import explain, references
from notifier.config.document import MapNode, Node, Problem, parse, plain
from notifier.config.document import Path as Keys
from notifier.config.files import Mark, marks_of, why_unreadable
from notifier.config.interpolate import interpolate
from notifier.config.kinds import SinkKind, UnusableKind, config_model, kinds_of
from notifier.config.model import Config
from notifier.config.words import nearest, path_text
from notifier.errors import ConfigError

MAX_BYTES = 1024 * 1024


def load(path: Path, env: Mapping[str, str]) -> Config:
    """The configuration in a file, its variables taken from ``env``. Raises :class:`ConfigError`."""
    return ConfigFile(path, env).read()


class ConfigFile:
    """A configuration whose text is read once, and the files of its variables (VAR_FILE) each time.

    So a secret can be renewed under a worker that runs, and an edit of the text waits for its restart.
    ``marks`` are of the files that the last reading took something from, and of those that its sinks are
    built from, as they were just before it: a file with another mark has changed since.
    """

    def __init__(self, path: Path, env: Mapping[str, str]) -> None:
        self.marks: dict[Path, Mark | None] = {}
        self._path, self._env = path, env
        self._root, self._problems = parse(_read(path))
        self._last: MapNode | None = None  # its variables filled in

    def read(self) -> Config:
        """The configuration as it is now. Raises :class:`ConfigError`."""
        if self._root is None:
            raise _error(self._path, self._problems)
        filled = interpolate(self._root, self._env)
        config, problems = self._checked(filled.root, [*self._problems, *filled.problems])
        if config is None or problems:
            raise _error(self._path, problems)
        return self._taken(config, filled.root, filled.marks)

    def read_again(self) -> tuple[Config, ConfigError | None]:
        """The configuration as it is now, but for the sinks and keys at the top that have a problem.

        Those are as they were at the reading before. Raises :class:`ConfigError` where that makes no whole.
        """
        if self._root is None or self._last is None:
            return self.read(), None
        root, missing, marks = interpolate(self._root, self._env)
        config, problems = self._checked(root, missing)
        for part in {_part(problem.path) for problem in problems}:
            root = _with(root, part, self._last)
        error = _error(self._path, problems) if problems else None
        if error is not None:
            config, problems = self._checked(root, [])
        if config is None or problems:
            raise error or _error(self._path, problems)
        return self._taken(config, root, marks), error

    def _checked(self, root: MapNode, problems: list[Problem]) -> tuple[Config | None, list[Problem]]:
        """What the tree says, and what is wrong with it beside these problems."""
        config, found = _validate(root, plain(root), self._path.absolute().parent)
        unclear = {problem.path for problem in problems}
        return config, [*problems, *(problem for problem in found if not _is_within(problem, unclear))]

    def _taken(self, config: Config, root: MapNode, marks: dict[Path, Mark | None]) -> Config:
        files = [path for sink in config.sinks.values() for path in sink.files(config.directory)]
        self._last, self.marks = root, marks_of(files) | marks
        return config


def _part(path: Keys) -> Keys:
    """What is kept as it was where there is a problem at ``path``: a sink, or a key at the top."""
    return path[:2] if path[:1] == ("sinks",) else path[:1]


def _with(node: Node, path: Keys, other: Node) -> Any:
    """``node`` with what stands at ``path`` in ``other``; both come of one text."""
    if isinstance(node, MapNode) and isinstance(other, MapNode) and path and path[0] in node.items:
        key = str(path[0])
        inner = _with(node.items[key], path[1:], other.items[key])
        return replace(node, items={**node.items, key: inner})
    return other


def _validate(root: MapNode, data: dict[str, Any], directory: Path) -> tuple[Config | None, list[Problem]]:
    config: Config | None = None
    errors: list[ErrorDetails] = []
    kinds, unusable = _kinds(data, root)
    try:
        config = config_model(kinds).model_validate({**data, "directory": directory})
    except ValidationError as error:  # raised again elsewhere: this one's text may hold what must not be told
        errors = error.errors(include_url=False, include_input=False)
    found = [*unusable, *explain.problems(errors, root)]
    unclear = {problem.path for problem in unusable}
    found = [problem for problem in found if problem in unusable or problem.path not in unclear]
    if "directory" in data:
        line = root.lines["directory"]
        found.append(
            Problem(line, ("directory",), "unknown key" + nearest("directory", explain.keys(Config)))
        )
    found += [explain.finding(root, place, error) for place, error in references.check(data)]
    return config, found


def _kinds(data: Mapping[str, Any], root: MapNode) -> tuple[dict[str, SinkKind], list[Problem]]:
    """The kinds of sinks that packages bring and this file names, and those that cannot be used."""
    sinks = data.get("sinks")
    kinds: dict[str, SinkKind] = {}
    problems: list[Problem] = []
    for name, sink in sinks.items() if isinstance(sinks, dict) else ():
        try:
            kinds |= kinds_of([sink.get("type")] if isinstance(sink, dict) else [])
        except UnusableKind as error:
            problems.append(explain.finding(root, ("sinks", name, "type"), error))
    return kinds, problems


def _is_within(problem: Problem, unclear: Iterable[tuple[str | int, ...]]) -> bool:
    return any(problem.path[: len(path)] == path for path in unclear)


def _error(path: Path, problems: Iterable[Problem]) -> ConfigError:
    ordered = sorted(problems, key=lambda problem: (problem.line or 0, [str(part) for part in problem.path]))
    lines = []
    for problem in ordered:
        place = f"{path}:{problem.line}" if problem.line else str(path)
        key = f"{path_text(problem.path)}: " if problem.path else ""
        lines.append(f"{place}: {key}{problem.message}")
    return ConfigError(*dict.fromkeys(lines))


def _read(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no such file; name one with --config or in NOTIFIER_CONFIG "
            "(config/notifier.yaml is a commented example)"
        ) from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a directory; name the file in it") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read: {why_unreadable(error)}") from None
    if len(data) > MAX_BYTES:
        raise ConfigError(f"{path}: is larger than 1 MiB: not a configuration")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: is not UTF-8 text") from None
