"""Templates of a rule: Jinja2 in which nothing can run for long, grow large or reach out of the text.

A list of what a template may hold is kept, not one of what it may not: names, texts, filters, comparisons and
``if``. Without loops, calls, arithmetic and assignments a template cannot make more than it is given. What it
holds is checked, and it is filled in with samples, when the configuration is loaded; what is then told is as
inert as any text of the source.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined, TemplateError, TemplateSyntaxError, nodes
from jinja2.filters import FILTERS
from jinja2.sandbox import ImmutableSandboxedEnvironment

from notifier.config.words import UnknownWord

LONGEST = 2000  # characters of a template
LONGEST_VALUE = 200  # characters of a value that is filled in
_LONGEST_PART = 4000

Values = Mapping[str, str | int]
#: What a template may name, with samples: an alert that is over; below, one of which nothing is known.
_FULL: Values = {
    "employer": "Acme Corp",
    "employer_id": "er_1",
    "external_id": "48213",
    "carrier": "Guardian",
    "carrier_id": "carr_1",
    "connection": "conn_1",
    "kind": "group connection",
    "entity": "gcon_1",
    "status": "Completed",
    "from": "Needs Attention",
    "to": "Completed",
    "group_id": "00123",
    "category": "Payroll Connected",
    "rule": "needs-attention",
    "severity": "warning",
    "event": "resolved",
    "since": "2026-11-23 22:01 UTC",
    "lasted": "1 h 42 min",
    "times": 3,
    "end": "completed",
}
_EMPTY: Values = {name: 0 if name == "times" else "" for name in _FULL}
_OPEN: Values = {**_FULL, "event": "opened", "status": "Needs Attention", "end": "", "times": 1}
NAMES = tuple(_FULL)
_OF_THE_END = {"end", "event"}
_IN_WORDS = {"status", "from", "to", "category", "kind"}
_WORD = re.compile(r"[a-z0-9]+(_[a-z0-9]+)*", re.ASCII)


def _default(value: str | int, other: str = "", *_: Any) -> str | int:
    """Unlike Jinja's own also for an empty text: that is how a value is here that is not known."""
    return value or other


def _replace(value: str | int, old: str, new: str) -> str:
    return str(value)[:_LONGEST_PART].replace(old, new[:LONGEST_VALUE], _LONGEST_PART)[:_LONGEST_PART]


_KEPT = ("capitalize", "lower", "title", "trim", "truncate", "upper")
_FILTERS: Mapping[str, Callable[..., Any]] = {
    **{name: FILTERS[name] for name in _KEPT},
    "default": _default,
    "replace": _replace,
}
_MAY_HOLD = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.Name,
    nodes.Const,
    nodes.If,
    nodes.CondExpr,
    nodes.Compare,
    nodes.Operand,
    nodes.And,
    nodes.Or,
    nodes.Not,
    nodes.Neg,
    nodes.Concat,
    nodes.Tuple,
    nodes.Filter,
    nodes.Keyword,
    nodes.Slice,
)
_HINTS = {
    "getattr": 'no part of a name: write "employer_id", not "employer.id"',
    "test": 'no "is": what is not known is an empty text; write {% if carrier %}',
    "getitem": "no part of a value but a span: {{ entity[:8] }}",
}
_REFUSED = (TemplateError, AssertionError, AttributeError, LookupError, TypeError, ValueError)


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)
    environment.globals.clear()
    environment.tests.clear()
    environment.filters = dict(_FILTERS)
    environment.policies["truncate.leeway"] = 0
    return environment


_JINJA = _environment()


@dataclass(frozen=True, slots=True)
class RuleTemplate:
    """A template that was checked. ``tells_ends``: it knows an alert that is over from one that lasts."""

    render: Callable[[Values], str]
    tells_ends: bool


@lru_cache(maxsize=256)
def rule_template(text: str) -> RuleTemplate:
    """The template with this text. Raises ``ValueError`` or :class:`UnknownWord`; neither quotes the text."""
    if len(text) > LONGEST:
        raise ValueError(f"is longer than {LONGEST} characters")
    try:
        tree = _JINJA.parse(text)
        _check(tree)
        template = _JINJA.from_string(tree)
    except TemplateSyntaxError as error:
        raise ValueError(_syntax(error)) from None
    except (RecursionError, SyntaxError, MemoryError):
        raise ValueError("is nested too deep") from None
    for sample in (_FULL, _OPEN, _EMPTY):
        try:
            template.render(sample)
        except _REFUSED:
            raise ValueError(
                "cannot be filled in: a filter or a comparison is given what it does not take"
            ) from None
    names = {name.name for name in tree.find_all(nodes.Name)}
    return RuleTemplate(template.render, bool(names & _OF_THE_END))


def filled(text: str, values: Values) -> str:
    """The template with this text, filled in. Raises ``ValueError`` where that cannot be done."""
    template = rule_template(text)
    try:
        return template.render(values)
    except _REFUSED as error:
        raise ValueError(f"cannot be filled in ({type(error).__name__})") from error


def _check(tree: nodes.Node) -> None:
    """Raise ``ValueError`` at the first thing that a template may not hold."""
    for node in tree.find_all(nodes.Node):
        is_span = isinstance(node, nodes.Getitem) and isinstance(node.arg, nodes.Slice)
        if not isinstance(node, _MAY_HOLD) and not is_span:
            raise ValueError(_refusal(node))
        if isinstance(node, nodes.Name) and node.name not in NAMES:
            raise UnknownWord("name in a template", node.name, NAMES)
        if isinstance(node, nodes.Filter) and node.name not in _FILTERS:
            raise UnknownWord("filter", node.name, _FILTERS)
        if isinstance(node, nodes.CondExpr) and node.expr2 is None:
            raise ValueError('holds an "if" in {{ }} without an "else"')
        if isinstance(node, nodes.Compare):
            _check_words(node)


def _check_words(compare: nodes.Compare) -> None:
    """A status is compared with what people read, not with what Clasp writes."""
    names = {name.name for name in compare.find_all(nodes.Name)} & _IN_WORDS
    texts = [text.value for text in compare.find_all(nodes.Const) if isinstance(text.value, str)]
    for name in sorted(names):
        machine = "_" in "".join(texts) if name == "kind" else any(map(_WORD.fullmatch, texts))
        if machine:
            read = '"group connection"' if name == "kind" else '"Needs Attention"'
            raise ValueError(
                f'compares "{name}" with what Clasp writes; here it is as people read it: {read}'
            )


def _refusal(node: nodes.Node) -> str:
    what = type(node).__name__.lower()
    if what in _HINTS:
        return f"holds what it may not: {_HINTS[what]}"
    word = {"assign": "set"}.get(what) or getattr(node, "operator", None) or what
    return f'holds "{word}"; a template may hold names, texts, filters, comparisons, "if" and "~"'


_JINJAS = {"string", "integer", "float", "name", "if", "elif", "else", "endif"}


def _syntax(error: TemplateSyntaxError) -> str:
    """Jinja's own words, less what they quote: that may come from a variable."""
    said = re.sub(
        r"'(\w+)'", lambda found: found[0] if found[1] in _JINJAS else '"..."', str(error.message)
    ).rstrip(".")
    line = f" in its line {error.lineno}" if error.lineno > 1 else ""
    return f"is not a template{line}: {said[:1].lower()}{said[1:]}"
