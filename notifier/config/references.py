"""What values must be to each other: names that must exist, keys that need or exclude one another.

Works on the plain data of the file, whatever shape it is in, so that these problems are told together with
those of single values. What has the wrong shape is passed over here; the models speak of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from notifier.config import owners
from notifier.config.document import Path
from notifier.config.durations import parse_span
from notifier.config.people import OWNER
from notifier.config.rules import parse_target
from notifier.config.urls import is_private
from notifier.config.words import UnknownWord, closest

Finding = tuple[Path, ValueError]
_MOST_OPEN = timedelta(days=10)  # of open hours: months of office time
_WHILE_KEYS = {"for", "remind", "resolve", "include_existing", "group_by", "group_window", "calendar"}


def check(data: Mapping[str, Any]) -> Iterator[Finding]:
    """Path of the key and what is wrong with it, for every problem."""
    sinks = _mapping(data.get("sinks"))
    rules = data.get("rules")
    if "sinks" not in data or data["sinks"] == {}:
        yield ("sinks",), ValueError("no sink: there is nowhere to send anything; add one (type: console)")
    if "rules" not in data or rules == []:
        yield ("rules",), ValueError("no rule: nothing would be sent; add one (when: {} matches every event)")
    for name, sink in sinks.items():
        yield from _sink(("sinks", name), _mapping(sink))
        yield from _active(("sinks", name, "active"), _mapping(sink), data.get("calendars"))
    listed = list(enumerate(rules)) if isinstance(rules, list) else []
    yield from _names("rules", listed)
    for index, rule in listed:
        yield from _rule(("rules", index), _mapping(rule), sinks)
        yield from _timing(("rules", index), _mapping(rule), _mapping(data.get("calendars")))
    yield from _targets(("self_reports",), data.get("self_reports"), sinks)
    yield from _digests(data.get("digests"), data, sinks)
    yield from owners.check(data)


def _sink(path: Path, sink: Mapping[str, Any]) -> Iterator[Finding]:
    if sink.get("type") == "slack":
        yield from _slack(path, sink)
    elif sink.get("type") == "webhook":
        is_refused = str(sink.get("allow_private_addresses", False)).lower() == "false"
        if is_refused and _has_private_host(sink.get("url")):
            yield (
                (*path, "url"),
                ValueError(
                    "is on loopback or in a private network; that needs allow_private_addresses: true"
                ),
            )

        yield from _authorization(path, sink)
    yield from _certificate((*path, "tls"), _mapping(sink.get("tls")))


def _authorization(path: Path, sink: Mapping[str, Any]) -> Iterator[Finding]:
    headers = [name for name in _mapping(sink.get("headers")) if str(name).lower() == "authorization"]
    if "basic_auth" in sink and headers:
        yield (
            (*path, "headers", headers[0]),
            ValueError('"basic_auth" sets this header; keep one of the two'),
        )


def _certificate(path: Path, tls: Mapping[str, Any]) -> Iterator[Finding]:
    for key, other in (("certificate", "key"), ("key", "certificate"), ("key_password", "key")):
        if key in tls and other not in tls:
            yield (*path, key), ValueError(f'needs "{other}" beside it')


def _slack(path: Path, sink: Mapping[str, Any]) -> Iterator[Finding]:
    has_token, has_url = "token" in sink, "webhook_url" in sink
    if has_token and has_url:
        yield (*path, "webhook_url"), ValueError('"token" and "webhook_url" exclude each other; keep one')
    if not has_token and not has_url:
        yield path, ValueError('a Slack sink needs "token" (with "channel") or "webhook_url"')
    if has_token and not has_url and "channel" not in sink:
        yield (*path, "channel"), ValueError('required with "token", and not there')
    if has_url and not has_token and "channel" in sink:
        yield (*path, "channel"), ValueError("an incoming webhook posts to its own channel; remove the key")


def _active(path: Path, sink: Mapping[str, Any], calendars: Any) -> Iterator[Finding]:
    active = sink.get("active")
    if sink.get("type") in ("webhook", "console"):
        return  # it is no key there
    if isinstance(active, str):
        yield from _calendar(path, active, _mapping(calendars))
    else:
        yield from _calendar((*path, "calendar"), _mapping(active).get("calendar"), _mapping(calendars))


def _calendar(path: Path, name: Any, calendars: Mapping[str, Any]) -> Iterator[Finding]:
    if isinstance(name, str) and name not in calendars:
        if calendars:
            yield path, UnknownWord("calendar", name, calendars)
        else:
            yield path, ValueError('names a calendar, and there are none; add "calendars"')


def _has_private_host(url: Any) -> bool:
    try:
        return is_private(urlsplit(url).hostname or "") if isinstance(url, str) else False
    except ValueError:
        return False


def _names(where: str, listed: list[tuple[int, Any]]) -> Iterator[Finding]:
    first: dict[str, int] = {}
    for index, item in listed:
        name = _mapping(item).get("name")
        if isinstance(name, str) and first.setdefault(name, index) != index:
            yield (where, index, "name"), ValueError(f"{where}[{first[name]}] has this name already")


def _rule(path: Path, rule: Mapping[str, Any], sinks: Mapping[str, Any]) -> Iterator[Finding]:
    yield from _targets((*path, "notify"), rule.get("notify"), sinks)
    yield from _targets((*path, "fallback"), rule.get("fallback"), sinks)
    which = [rule[key] for key in ("when", "while") if key in rule]
    is_misspelt = any(closest(str(key), ("when", "while")) for key in rule)
    if not which and rule and not is_misspelt:
        yield path, ValueError('needs "when" (a moment) or "while" (a condition), and has neither')
    if len(which) > 1:
        yield (*path, "while"), ValueError('"when" and "while" exclude each other; make two rules of them')
    names = {"carrier_name", "employer_name"}
    if (
        "fallback" in rule
        and which
        and all(isinstance(one, dict) and not one.keys() & names for one in which)
    ):
        yield (
            (*path, "fallback"),
            ValueError('only for rules on "carrier_name" or "employer_name"; remove the key'),
        )


def _timing(path: Path, rule: Mapping[str, Any], calendars: Mapping[str, Any]) -> Iterator[Finding]:
    """The keys of rules with ``while``."""
    if "when" in rule and "while" not in rule:
        for key in _WHILE_KEYS & rule.keys():
            yield (*path, key), ValueError('belongs to rules with "while"; this one has "when"')
    calendar = rule.get("calendar")
    asked = _mapping(rule.get("while"))
    for place, value in (
        ((*path, "for"), rule.get("for")),
        ((*path, "remind"), rule.get("remind")),
        ((*path, "while", "unchanged"), asked.get("unchanged")),
    ):
        if calendar is not None and _is_longer(value, _MOST_OPEN):
            yield (
                place,
                ValueError('counts open hours of the calendar: at most 10d; use business days ("20bd")'),
            )
    yield from _calendar((*path, "calendar"), calendar, calendars)


def _digests(digests: Any, data: Mapping[str, Any], sinks: Mapping[str, Any]) -> Iterator[Finding]:
    listed = list(enumerate(digests)) if isinstance(digests, list) else []
    calendars = _mapping(data.get("calendars"))
    yield from _names("digests", listed)
    for index, item in listed:
        path, digest = ("digests", index), _mapping(item)
        yield from _targets((*path, "notify"), digest.get("notify"), sinks)
        yield from _calendar((*path, "calendar"), digest.get("calendar"), calendars)
        yield from _told_of((*path, "rules"), digest.get("rules"), data.get("rules"))
        if "calendar" in digest and "timezone" in digest:
            yield (
                (*path, "timezone"),
                ValueError('"calendar" and "timezone" exclude each other; a calendar has a time zone'),
            )
        has_zone = any(closest(str(key), ("calendar", "timezone")) for key in digest)  # or misspells it
        if digest and not has_zone and len(calendars) != 1:
            yield (
                path,
                ValueError('needs "calendar" or "timezone": there is not exactly one calendar to take'),
            )


def _told_of(path: Path, named: Any, rules: Any) -> Iterator[Finding]:
    """The rules whose alerts a digest tells of."""
    known = {
        rule["name"]: rule
        for rule in (rules if isinstance(rules, list) else [])
        if isinstance(rule, dict) and isinstance(rule.get("name"), str)
    }
    for index, name in enumerate(named if isinstance(named, list) else [named]):
        where = (*path, index) if isinstance(named, list) else path
        if isinstance(name, str) and name not in known:
            yield where, UnknownWord("rule", name, known)
        elif isinstance(name, str) and "while" not in known[name]:
            yield where, ValueError('has "when"; a digest tells of alerts, of rules with "while"')


def _is_longer(value: Any, limit: timedelta) -> bool:
    try:
        span = parse_span(value)
    except ValueError:
        return False
    return isinstance(span, timedelta) and span > limit


def _targets(path: Path, listed: Any, sinks: Mapping[str, Any]) -> Iterator[Finding]:
    is_list = isinstance(listed, list)
    seen: set[str] = set()
    for index, item in enumerate(listed if is_list else [] if listed is None else [listed]):
        where = (*path, index) if is_list else path
        try:
            target = parse_target(item)
        except ValueError:
            continue
        if not sinks:
            return  # said already
        if target.sink not in {OWNER, *sinks}:
            yield where, UnknownWord("sink", target.sink, sinks)
        elif target.sink in seen:
            yield where, ValueError("names this sink twice; one event goes to one sink once")
        elif target.sink == OWNER:
            pass  # no sink; the owners' own checks speak of it
        elif target.target is not None:
            yield from _override(where, _mapping(sinks[target.sink]))
        seen.add(target.sink)


def _override(where: Path, sink: Mapping[str, Any]) -> Iterator[Finding]:
    if sink.get("type") != "slack":
        yield where, ValueError('"#" chooses a Slack channel, and this sink is not of type slack')
    elif "token" not in sink:
        yield (
            where,
            ValueError("an incoming webhook posts to its own channel; another needs a sink with a token"),
        )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
