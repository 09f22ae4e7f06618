"""``${VAR}`` -> its value, on the scalars of a parsed document.

Because it comes after parsing, a value can never add structure; and what a value holds is not looked at
again, so ``$`` in a password is safe. The result is always a string, which the models then read as the
number, switch or duration that the key wants. No message ever holds a value.

``${VAR}``, ``${VAR:-default}`` (the default may hold further ``${...}``), ``$${`` for a literal ``${``. A
variable that is unset or empty is read from the file that VAR_FILE names; if there is none either, the
default applies; without a default that is an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path as FilePath
from typing import NamedTuple

from notifier.config.document import SURROGATE, ListNode, MapNode, Node, Path, Problem, Scalar
from notifier.config.files import Mark, mark_of

MAX_NESTING = 10
#: What all values together may come to, and what one VAR_FILE may hold: bytes.
MAX_EXPANDED = 1024 * 1024
MAX_FILE = 64 * 1024

_MARK = re.compile(r"\$\$\{|\$\{|\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_FORMS = 'write ${NAME} or ${NAME:-default} ("$${" for a literal "${")'


class _Unexpandable(Exception):
    """This scalar cannot be expanded; the message says why."""


class Interpolated(NamedTuple):
    """The tree with its variables filled in, those that could not be, and the files that were read.

    ``marks`` are those of the files just before they were read: what changes after that can be noticed.
    """

    root: MapNode
    problems: list[Problem]
    marks: dict[FilePath, Mark | None]


def interpolate(root: MapNode, env: Mapping[str, str]) -> Interpolated:
    """Fill in the variables of a tree."""
    expander = _Expander(env)
    filled = expander.mapping(root, ())
    return Interpolated(filled, expander.problems, expander.marks)


class _Expander:
    """Walks the tree; its depth is bounded by the parser."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.problems: list[Problem] = []
        self.marks: dict[FilePath, Mark | None] = {}
        self._env = env
        self._left = MAX_EXPANDED

    def mapping(self, node: MapNode, path: Path) -> MapNode:
        items = {key: self._node(item, (*path, key)) for key, item in node.items.items()}
        return replace(node, items=items)

    def _node(self, node: Node, path: Path) -> Node:
        match node:
            case MapNode():
                return self.mapping(node, path)
            case ListNode():
                items = [self._node(item, (*path, index)) for index, item in enumerate(node.items)]
                return replace(node, items=items)
            case Scalar(value=str() as text) if "${" in text:
                try:
                    value, variables = self._expand(text)
                except _Unexpandable as failure:
                    self.problems.append(Problem(node.line, path, str(failure)))
                    return node
                return replace(node, value=value, variables=variables)
            case _:
                return node

    def _expand(self, text: str) -> tuple[str, tuple[str, ...]]:
        variables: list[str] = []
        value, end = self._text(text, 0, variables, depth=0)
        if end != len(text):  # pragma: no cover -- at depth 0 a brace is text
            raise _Unexpandable(_FORMS)
        return value, tuple(dict.fromkeys(variables))

    def _text(self, text: str, start: int, variables: list[str], *, depth: int) -> tuple[str, int]:
        """What stands from ``start`` to the end, or within a default to its closing brace."""
        parts: list[str] = []
        while mark := _MARK.search(text, start):
            parts.append(text[start : mark.start()])
            start = mark.end()
            if mark[0] == "$${":
                parts.append("${")
            elif mark[0] == "${":
                value, start = self._variable(text, start, variables, depth=depth + 1)
                parts.append(value)
            elif depth:
                return "".join(parts), mark.start()
            else:
                parts.append("}")
        parts.append(text[start:])
        return "".join(parts), len(text)

    def _variable(self, text: str, start: int, variables: list[str], *, depth: int) -> tuple[str, int]:
        """The value of the variable whose name begins at ``start``, and where the text goes on."""
        if depth > MAX_NESTING:
            raise _Unexpandable(f"variables nested more than {MAX_NESTING} deep")
        name = _NAME.match(text, start)
        if name is None:
            raise _Unexpandable(f'"${{" is not followed by a name; {_FORMS}')
        default: str | None = None
        used: list[str] = []
        end = name.end()
        missing: _Unexpandable | None = None
        if text.startswith(":-", end):
            try:
                default, end = self._text(text, end + 2, used, depth=depth)
            except _MissingVariable as failure:  # only if the default is needed after all
                missing, end = failure, _closing(text, end + 2)
        if not text.startswith("}", end):
            raise _Unexpandable(f'"${{{name[0]}" does not end as it should; {_FORMS}')
        value = self._lookup(name[0])
        if value is not None:
            self._spend(len(value))
            variables.append(name[0])
            return value, end + 1
        if missing is not None:
            raise missing
        if default is None:
            raise _missing(name[0], is_empty=name[0] in self._env)
        variables.extend((name[0], *used))
        return default, end + 1

    def _spend(self, size: int) -> None:
        """Count a value before it is put in: what is refused was never built."""
        self._left -= size
        if self._left < 0:
            raise _Unexpandable(
                f"the values of all variables together come to more than {MAX_EXPANDED} bytes"
            )

    def _lookup(self, name: str) -> str | None:
        """The value, or None where there is none."""
        if value := self._env.get(name):
            if SURROGATE.search(value):  # what Python makes of bytes that it cannot decode
                raise _Unexpandable(f"the variable {name} is not UTF-8 text")
            return value
        pointer = f"{name}_FILE"
        if not self._env.get(pointer):
            return None
        file = FilePath(self._env[pointer])
        self.marks.setdefault(file, mark_of(file))  # of the first of several readings
        return _content(pointer, file)


class _MissingVariable(_Unexpandable):
    """It has no value and no default."""


def _missing(name: str, *, is_empty: bool) -> _MissingVariable:
    state = "is set but empty" if is_empty else "is not set"
    return _MissingVariable(
        f"the variable {name} {state}; set it in the environment, or {name}_FILE to a file that holds it"
    )


def _closing(text: str, start: int) -> int:
    """The brace that ends the default which begins at ``start``."""
    depth = 1
    for mark in _MARK.finditer(text, start):
        depth += {"${": 1, "}": -1}.get(mark[0], 0)
        if depth == 0:
            return mark.start()
    return len(text)


def _content(pointer: str, file: FilePath) -> str:
    """What the file holds, less one newline at its end."""
    try:
        if file.exists() and not file.is_file():
            raise _Unexpandable(f"the file that {pointer} names is not an ordinary file")
        with file.open("rb") as stream:
            data = stream.read(MAX_FILE + 1)
        text = data.decode()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise _Unexpandable(f"the file that {pointer} names cannot be read: {reason}") from None
    if len(data) > MAX_FILE:
        raise _Unexpandable(f"the file that {pointer} names holds more than {MAX_FILE} bytes")
    content = text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text
    if not content:
        raise _Unexpandable(f"the file that {pointer} names is empty")
    return content
