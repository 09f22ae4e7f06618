"""Owners: the people who look after employers and carriers, from a table that is kept elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any

from pydantic import Field

from notifier.config.document import Path
from notifier.config.fields import Model, Name, PositiveDuration, Text
from notifier.config.people import OWNER
from notifier.config.rules import TargetText, parse_target
from notifier.config.sinks import Headers, SecretUrl
from notifier.config.words import UnknownWord, closest

_Finding = tuple[Path, ValueError]


class OwnersConfig(Model):
    """Who owns which employers and carriers: a table in CSV. Either `file` or `url`."""

    file: Text | None = None
    """The table, relative to the directory of this file. Read again as soon as it has changed."""

    url: SecretUrl | None = None
    """Where the table is fetched from. On loopback, or at a public address; redirects are not followed."""

    headers: Headers = Field(default_factory=dict)
    """With `url`: more headers for the request."""

    refresh: PositiveDuration = timedelta(minutes=10)
    """With `url`: how often the table is fetched again."""

    sink: Name | None = None
    """The Slack sink through which owners are reached. By default the only one there is."""

    fallback: TargetText | None = None
    """Where `owner` leads when nobody owns the entity. By default the own channel of that sink."""


def check(data: Mapping[str, Any]) -> Iterator[_Finding]:
    """What is wrong with the owners, and with what names them, in the plain data of a file."""
    sinks = _mapping(data.get("sinks"))
    if OWNER in sinks:
        yield ("sinks", OWNER), ValueError('"owner" is a target of its own; give the sink another name')
    uses = list(_uses(data))
    if "owners" not in data:
        for path in uses:
            yield path, ValueError('names the owner, and there are no owners; add "owners"')
    for path, named in _named(data):
        if named.partition("#")[1]:
            yield path, ValueError('"owner" takes no channel: the table of owners says which it is')
    yield from _nowhere(("self_reports",), data.get("self_reports"), "no report has an owner; name a sink")
    digests = data.get("digests")
    for index, digest in enumerate(digests if isinstance(digests, list) else ()):
        path = ("digests", index, "notify")
        yield from _nowhere(path, _mapping(digest).get("notify"), "no digest has an owner; name a sink")
    owners = data.get("owners")
    if isinstance(owners, dict):
        yield from _source(owners)
        yield from _reach(owners, sinks, is_reached=any("mention" not in path for path in uses))


def _source(owners: Mapping[str, Any]) -> Iterator[_Finding]:
    has_file, has_url = "file" in owners, "url" in owners
    if has_file and has_url:
        yield ("owners", "url"), ValueError('"file" and "url" exclude each other; keep one')
    is_misspelt = any(closest(str(key), ("file", "url")) for key in owners)
    if not has_file and not has_url and not is_misspelt:
        yield ("owners",), ValueError('needs "file" or "url": the table of owners')
    if "headers" in owners and not has_url:
        yield ("owners", "headers"), ValueError('belongs to "url"; remove the key')


def _reach(owners: Mapping[str, Any], sinks: Mapping[str, Any], *, is_reached: bool) -> Iterator[_Finding]:
    """Through which sink; ``is_reached``: a rule sends something to the owner."""
    name = owners.get("sink")
    slack = [one for one, sink in sinks.items() if _mapping(sink).get("type") == "slack"]
    if isinstance(name, str) and name not in sinks:
        yield ("owners", "sink"), UnknownWord("sink", name, sinks)
    elif isinstance(name, str) and name not in slack:
        yield (
            ("owners", "sink"),
            ValueError("owners are reached in Slack, and this sink is not of type slack"),
        )
    elif name is None and is_reached and len(slack) != 1:
        there = "there is none" if not slack else f"there are {len(slack)}"
        yield ("owners", "sink"), ValueError(f"required: the Slack sink that reaches owners; {there}")
    else:
        where = ("owners", "sink") if name is not None else ("owners",)
        used = name if isinstance(name, str) else slack[0] if slack else None
        if is_reached and used is not None and "token" not in _mapping(sinks[used]):
            yield (
                where,
                ValueError(
                    "owners are reached in channels of their own; that needs a Slack sink with a token"
                ),
            )
    yield from _fallback(owners.get("fallback"), sinks)


def _fallback(fallback: Any, sinks: Mapping[str, Any]) -> Iterator[_Finding]:
    path = ("owners", "fallback")
    try:
        target = parse_target(fallback)
    except ValueError:
        return
    if target.sink == OWNER:
        yield path, ValueError("is where things go that nobody owns; name a sink")
    elif target.sink not in sinks:
        yield path, UnknownWord("sink", target.sink, sinks)
    elif target.target is not None and "token" not in _mapping(sinks[target.sink]):
        yield path, ValueError('"#" chooses a Slack channel, which needs a Slack sink with a token')


def _uses(data: Mapping[str, Any]) -> Iterator[Path]:
    """Where rules name the owner."""
    yield from (path for path, _ in _named(data))
    for index, rule in _rules(data):
        path = ("rules", index, "mention")
        yield from (where for where, one in _listed(path, rule.get("mention")) if one == OWNER)


def _named(data: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """The targets of rules that are the owner."""
    for index, rule in _rules(data):
        for key in ("notify", "fallback"):
            for where, one in _listed(("rules", index, key), rule.get(key)):
                if isinstance(one, str) and one.partition("#")[0] == OWNER:
                    yield where, one


def _nowhere(path: Path, listed: Any, why: str) -> Iterator[_Finding]:
    for where, one in _listed(path, listed):
        if isinstance(one, str) and one.partition("#")[0] == OWNER:
            yield where, ValueError(why)


def _rules(data: Mapping[str, Any]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    rules = data.get("rules")
    for index, rule in enumerate(rules if isinstance(rules, list) else ()):
        yield index, _mapping(rule)


def _listed(path: Path, value: Any) -> Iterator[tuple[Path, Any]]:
    """The items of a list, or the single value, with their paths."""
    if isinstance(value, list):
        yield from (((*path, index), item) for index, item in enumerate(value))
    else:
        yield path, value


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
