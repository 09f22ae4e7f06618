"""YAML text -> a tree of nodes that know their lines.

YAML 1.2, and of that only what cannot surprise: no anchors, aliases, tags, merge keys, directives or second
documents; each key once. Plain scalars are typed by the core schema here, so ``on``, ``no``, ``12:30`` and
``2026-04-24`` are strings. The parser's events are read one by one and counted: nothing recurses, and a
bomb costs no more than its own size. Messages never quote the text, which may hold secrets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

Path = tuple[str | int, ...]
MAX_DEPTH = 50
MAX_NODES = 20_000
MAX_KEY = 1024  # characters; YAML's own limit of keys that are not marked with "?"

#: Half a character, which an escape can write and no text can hold: it cannot be sent, stored or logged.
SURROGATE = re.compile(r"[\ud800-\udfff]")
HALVED = "holds half a character (U+D800 to U+DFFF); write the whole one, or \\U and its eight digits"

_BOOL = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_NULL = {"", "~", "null", "Null", "NULL"}
_INT = re.compile(r"[-+]?[0-9]+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]{1,3})?", re.ASCII)
_LONGEST_NUMBER = 18  # digits that survive as a number everywhere


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong, and where. ``line`` counts from 1; None speaks of the whole file."""

    line: int | None
    path: Path
    message: str


@dataclass(frozen=True, slots=True)
class Scalar:
    """A value. ``variables`` names the environment variables it came from, if any."""

    line: int
    value: Any
    variables: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ListNode:
    """A list."""

    line: int
    items: list[Node] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class MapNode:
    """A mapping. ``lines`` holds the line of each key."""

    line: int
    items: dict[str, Node] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)


Node = Scalar | ListNode | MapNode


def plain(node: Node) -> Any:
    """The tree as Python's own lists, dicts and scalars."""
    match node:
        case Scalar():
            return node.value
        case ListNode():
            return [plain(item) for item in node.items]
        case MapNode():
            return {key: plain(item) for key, item in node.items.items()}


class Unparsable(Exception):
    """The text cannot be made sense of past this line."""

    def __init__(self, line: int | None, message: str) -> None:
        super().__init__(message)
        self.problem = Problem(line, (), message)


def parse(text: str) -> tuple[MapNode | None, list[Problem]]:
    """The tree of a document, and what is wrong with it; no tree where it cannot be read at all."""
    builder = _Builder()
    try:
        for event in _events(text):
            builder.take(event)
    except Unparsable as failure:
        return None, [*builder.problems, failure.problem]
    if builder.root is None:
        return None, [*builder.problems, Problem(None, (), "the file is empty; it needs at least a name")]
    if not isinstance(builder.root, MapNode):
        return None, [
            Problem(builder.root.line, (), "expected keys and values at the top (name: ..., source: ...)")
        ]
    return builder.root, builder.problems


def _events(text: str) -> Iterator[Event]:
    yaml = YAML(typ="safe", pure=True)
    yaml.version = (1, 2)
    try:
        yield from yaml.parse(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = _plain_words(error.problem or "cannot be read")
        line = None if mark is None else mark.line + 1
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = "a control character; remove it, or write it as an escape in double quotes"
    except (YAMLError, ValueError, IndexError, AssertionError, AttributeError, TypeError, OverflowError):
        line, message = None, "is not YAML"  # the parser's own ways to fail on nonsense
    else:
        return
    raise Unparsable(line, message)


def _plain_words(problem: str) -> str:
    if "'\\t'" in problem:
        return "a tab: YAML is indented with spaces"
    if problem == "mapping values are not allowed here":
        return 'not YAML: ":" is not allowed here (indentation off, or a value that needs quotes?)'
    if "unexpected end of stream" in problem:
        return "not YAML: the file ends inside a quoted text"
    return f"not YAML: {problem}"


@dataclass(slots=True)
class _Open:
    """A list or mapping whose end was not read yet; ``key`` waits for its value."""

    node: ListNode | MapNode
    path: Path
    key: str | None = None
    key_line: int = 0
    is_repeated: bool = False


class _Builder:
    """Puts the parser's events together."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self.problems: list[Problem] = []
        self._open: list[_Open] = []
        self._count = 0

    def take(self, event: Event) -> None:
        """One event of the parser."""
        line = event.start_mark.line + 1
        match event:
            case DocumentStartEvent():
                self._start_document(event, line)
            case AliasEvent():
                raise Unparsable(line, "aliases (*name) are not allowed: write the value out")
            case MappingStartEvent() | SequenceStartEvent() | ScalarEvent():
                self._refuse_marks(event, line)
                self._node(event, line)
            case MappingEndEvent() | SequenceEndEvent():
                self._open.pop()
            case _:
                pass

    def _start_document(self, event: DocumentStartEvent, line: int) -> None:
        if self.root is not None:
            raise Unparsable(line, 'a second document ("---"): the file may hold one')
        if event.tags or event.version not in {None, (1, 2)}:
            raise Unparsable(line, "directives (%TAG, %YAML) are not allowed: the file is YAML 1.2")

    def _refuse_marks(self, event: Any, line: int) -> None:
        if event.anchor is not None:
            raise Unparsable(line, "anchors (&name) are not allowed: write the value out")
        if event.tag is not None:
            raise Unparsable(line, "tags (!name) are not allowed; a text that begins with ! needs quotes")
        self._count += 1
        if self._count > MAX_NODES:
            raise Unparsable(line, f"more than {MAX_NODES} values")

    def _node(self, event: Event, line: int) -> None:
        top = self._open[-1] if self._open else None
        if top is not None and isinstance(top.node, MapNode) and top.key is None:
            self._key(top, event, line)
            return
        path = () if top is None else (*top.path, top.key if top.key is not None else _length(top.node))
        if isinstance(event, ScalarEvent):
            # A value that is not there is read at the next token: the line of its key is meant.
            place = top.key_line if top is not None and top.key is not None and not event.value else line
            node: Node = self._scalar(event, place, path)
        else:
            node = MapNode(line) if isinstance(event, MappingStartEvent) else ListNode(line)
        self._attach(top, node)
        if not isinstance(node, Scalar):
            if len(self._open) >= MAX_DEPTH:
                raise Unparsable(line, f"nested more than {MAX_DEPTH} deep")
            self._open.append(_Open(node, path))

    def _key(self, top: _Open, event: Event, line: int) -> None:
        if not isinstance(event, ScalarEvent):
            raise Unparsable(
                line, "a key must be a word, not a list or mapping (a { or [ that needs quotes?)"
            )
        if len(event.value) > MAX_KEY:
            raise Unparsable(line, f"a key of more than {MAX_KEY} characters")
        if SURROGATE.search(event.value):
            raise Unparsable(line, f"a key {HALVED}")
        if event.value == "<<" and event.style is None:
            raise Unparsable(line, "merge keys (<<) are not allowed: write the keys out")
        top.key, top.key_line = event.value, line
        first = top.node.lines.get(event.value) if isinstance(top.node, MapNode) else None
        top.is_repeated = first is not None
        if first is not None:
            path = (*top.path, event.value)
            self.problems.append(Problem(line, path, f"written twice; the first is in line {first}"))

    def _attach(self, top: _Open | None, node: Node) -> None:
        if top is None:
            self.root = node
        elif isinstance(top.node, ListNode):
            top.node.items.append(node)
        elif top.key is not None:
            if not top.is_repeated:
                top.node.items[top.key] = node
                top.node.lines[top.key] = top.key_line
            top.key = None

    def _scalar(self, event: ScalarEvent, line: int, path: Path) -> Scalar:
        if event.style is not None:
            return Scalar(line, event.value)
        if event.value == "" and path:
            hint = 'has no value; remove the key, or write one (a text that begins with "#" needs quotes)'
            self.problems.append(Problem(line, path, hint))
        try:
            return Scalar(line, typed(event.value))
        except ValueError:
            self.problems.append(Problem(line, path, "is too long for a number; put it in quotes"))
            return Scalar(line, None)


def _length(node: ListNode | MapNode) -> int:
    return len(node.items)


def typed(text: str) -> Any:
    """What a plain scalar means in YAML 1.2's core schema, less octal and hexadecimal, inf and nan."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    is_whole = _INT.fullmatch(text) is not None
    if is_whole or _FLOAT.fullmatch(text):
        if len(text) > _LONGEST_NUMBER:
            raise ValueError("too long")
        if is_whole:
            return int(text)
        number = float(text)
        return text if number in {float("inf"), float("-inf")} else number
    return text
