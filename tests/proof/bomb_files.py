"""Configuration files that are bombs, each given to the real ``notifier check``; and bombs in its rules."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from notifier import cli
from notifier.core.events import Event
from notifier.core.rules import Router
from tests.support.configs import config_with

FINE, CONFIG = 0, 2
M = 10**6
HEAD = 'name: t\nsource: {base_url: "https://clasp.test", api_key: key}\n'
SINKS = "sinks:\n  b: {type: console}\n"
RULES = "rules:\n  - {name: a, when: {}, notify: [b]}\n"
BASE = HEAD + SINKS + RULES


class Bomb(msgspec.Struct, frozen=True):
    """``go`` sets it off in a directory, and gives the exit code, which ``may_end`` lists if all is well."""

    name: str
    go: Callable[[Path], int]
    may_end: tuple[int, ...] = (CONFIG,)


def check(place: Path, text: str | bytes, env: Mapping[str, str], files: Mapping[str, str]) -> int:
    """``notifier check`` on a file, in this process; its exit code."""
    path = place / "notifier.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    for name, content in files.items():
        (place / name.lower()).write_text(content)
        os.environ[f"{name}_FILE"] = str(place / name.lower())
    os.environ.update(env)
    sys.argv = ["notifier", "check", "--config", str(path)]
    try:
        cli.main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0


def _file(
    name: str,
    text: Callable[[], str | bytes],
    *may_end: int,
    env: Mapping[str, str] | None = None,
    files: Mapping[str, str] | None = None,
) -> Bomb:
    return Bomb(name, lambda place: check(place, text(), env or {}, files or {}), may_end or (CONFIG,))


def bombs() -> Iterator[Bomb]:
    """All of this module."""
    yield from _yaml()
    yield from _words()
    yield from _variables()
    yield from _rules()


def laughs(levels: int = 12) -> str:
    """A billion of them, and more: each line nine times the one before."""
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines) + "\n"


def _yaml() -> Iterator[Bomb]:
    yield _file("billion laughs", lambda: laughs() + BASE)
    yield _file("an anchor in itself", lambda: "a: &a [*a]\n" + BASE)
    yield _file("aliases without end", lambda: BASE + "x: [" + "*a," * 300_000 + "]")
    yield _file("merge keys", lambda: BASE + "<<: {a: 1}\n")
    yield _file("merge keys of merge keys", lambda: BASE + "x: {<<: {<<: {<<: [{a: 1}, {b: 1}]}}}\n")
    yield _file("a python object", lambda: BASE + "x: !!python/object/apply:os.system [exit 3]\n")
    yield _file("a python name", lambda: BASE + "x: !!python/name:os.system\n")
    yield _file("a binary", lambda: BASE + "x: !!binary " + "QUFB" * 200_000 + "\n")
    yield _file("a set", lambda: BASE + "x: !!set {a, b}\n")
    yield _file("a tag of its own", lambda: "%TAG ! tag:evil.example,2026:\n---\n" + BASE)
    yield _file("a thousand documents", lambda: BASE + "---\n" * 200_000)
    yield _file("flow lists in flow lists", lambda: BASE + "x: " + "[" * 900_000)
    yield _file("flow mappings in flow mappings", lambda: BASE + "x: " + "{a: " * 220_000)
    yield _file("block lists in block lists", lambda: BASE + "x:\n" + "- " * 450_000)
    yield _file("block mappings in block mappings", lambda: "".join(" " * n + "a:\n" for n in range(1300)))
    yield _file("question marks", lambda: BASE + "? " * 450_000)
    yield _file("a huge plain text", lambda: BASE + "x: " + "a " * 450_000)
    yield _file("a huge quoted text", lambda: BASE + "x: '" + "a\n\n" * 300_000 + "'")
    yield _file("a huge literal", lambda: BASE + "x: |\n" + " a\n" * 300_000)
    yield _file("a huge folded text", lambda: BASE + "x: >\n" + " a\n" * 300_000)
    yield _file("escapes", lambda: BASE + 'x: "' + "\\x41" * 220_000 + '"')
    yield _file("spaces", lambda: BASE + "x:" + " " * 900_000 + "1")
    yield _file("a huge comment", lambda: BASE + "#" * 900_000, FINE)
    yield _file("a million lines", lambda: BASE + "\n" * 900_000, FINE)
    yield _file("more than 20,000 values", lambda: BASE + "x: [" + "1," * 400_000 + "]")
    yield _file("a key a hundred thousand times", lambda: BASE + "a: 1\n" * 100_000)
    yield _file("a number of a million digits", lambda: BASE + "x: " + "9" * 900_000)
    yield _file("a number with a large exponent", lambda: BASE + "x: 1e999999999\n")
    yield _file("ten million bytes", lambda: BASE + "#" * 10 * M)
    yield _file("nothing but NUL", lambda: b"\0" * 900_000)
    yield _file("a NUL in a text", lambda: BASE.replace("key}", 'k\0y"}'))
    yield _file("an escaped NUL in a key", lambda: BASE.replace("key}", '"k\\0y"}'))
    yield _file("no UTF-8", lambda: BASE.encode() + b"x: " + b"\xff\xfe" * 400_000)
    yield _file("UTF-16", lambda: BASE.encode("utf-16"))
    yield _file("surrogates", lambda: BASE + 'x: "' + "\\ud800" * 100_000 + '"')
    yield _file("many byte order marks", lambda: "\ufeff" * 300_000 + BASE)
    yield _file("one token that never ends", lambda: BASE + "x" + ":" * 900_000)


def _words() -> Iterator[Bomb]:
    """What is wrong with a word is said by looking at the word: that must not take for ever either."""
    long = "a" * 900_000
    yield _file("a huge type of sink", lambda: BASE.replace("console", long))
    yield _file("a huge name of a sink", lambda: BASE.replace("[b]", f"[{long}]"))
    yield _file("a huge key", lambda: BASE + f"? {long}\n: 1\n")
    yield _file(
        "problems under a huge key",
        lambda: BASE.replace(
            "sinks:\n", f"sinks:\n  ? {'a' * 400_000}\n  : {{type: console, {_keys(9000)}}}\n"
        ),
    )
    yield _file("ten thousand unknown keys", lambda: BASE + "".join(f"k{n}: 1\n" for n in range(9000)))
    yield _file("a huge field", lambda: BASE.replace("{}", f"{{field: {long}}}"))
    yield _file("a huge duration", lambda: BASE + f"history: {'9' * 900_000}d\n")
    yield _file("a huge address", lambda: BASE + f"heartbeat_url: https://{'a.' * 400_000}test/\n")
    yield _file("an address of numbers", lambda: BASE + f"heartbeat_url: https://{'1.' * 400_000}1/\n")
    yield _file("a huge channel", lambda: BASE.replace("[b]", f'["b#{long}"]'))
    yield _file("a huge store", lambda: BASE + f"store: redis://{'@' * 900_000}\n")
    yield _file("a huge listen", lambda: BASE + f'http: {{listen: "{":" * 900_000}"}}\n')
    yield _file("a long retry", lambda: BASE.replace("console", f"console, retry: [{'1s,' * 15_000}]"))


def _keys(count: int) -> str:
    return ", ".join(f"k{n}: 1" for n in range(count))


def _variables() -> Iterator[Bomb]:
    yield _file("values that multiply", lambda: _link("${A}" * 200_000), env={"A": "x" * 100_000})
    yield _file("a file that multiplies", lambda: _link("${A}" * 200_000), files={"A": "x" * 60_000})
    yield _file("defaults in defaults", lambda: _link("${A:-" * 150_000 + "}" * 150_000))
    yield _file("defaults that are missing", lambda: _link("${A:-${B:-${C:-${D}}}}" * 40_000))
    circle = {"A": "${B}", "B": "${A}"}
    yield _file("a circle", lambda: _link("${A}"), env=circle)
    yield _file("marks that mean nothing", lambda: _link("$${" * 300_000))
    yield _file("a variable that is a document", lambda: _link("${A}"), env={"A": "x\n" + BASE})
    yield _file("a huge name", lambda: _link("${" + "A" * 1000 + "}"))
    endless = {"A_FILE": "/dev/zero"}
    yield _file("a file without an end", lambda: _link("${A}"), env=endless)
    yield _file("a link through the object", lambda: _link("{id.__class__.__mro__}"))
    yield _file("a link by position", lambda: _link("{0}{}"))
    yield _file("a link with a width", lambda: _link("{external_id:>999999999}"))
    yield _file("a link with a nested width", lambda: _link("{id:{external_id}}"))
    yield _file("a link with a conversion", lambda: _link("{id!r:>99999}"))
    yield _file("a link of another name", lambda: _link("{employer.__init__.__globals__}"))
    yield _file("a link of fields", lambda: _link("{id}" * 200_000))
    yield _file("a link of braces", lambda: _link("{" * 300_000))


def _link(end: str) -> str:
    return BASE + f'links: {{a: "https://x.test/{end}"}}\n'


def _rules() -> Iterator[Bomb]:
    yield _file("a hundred thousand rules", lambda: HEAD + SINKS + "rules:\n" + _rule_lines(20_000))
    yield _file("as many rules as there may be", lambda: HEAD + SINKS + "rules:\n" + _rule_lines(2_200), FINE)
    for key in ("type", "carrier_name", "employer_name"):
        may_end = (CONFIG,) if key == "type" else (FINE,)
        yield _file(f"stars in {key}", lambda key=key: _with(key, "*a" * 100_000), *may_end)
        yield _file(f"marks in {key}", lambda key=key: _with(key, "?*" * 100_000), *may_end)
        yield _file(f"brackets in {key}", lambda key=key: _with(key, "[!a]" * 100_000), *may_end)
    yield Bomb("many stars against long names", _match_long_names, (FINE,))
    yield Bomb("links filled with huge ids", _fill_links, (FINE,))


def _rule_lines(count: int) -> str:
    return "".join(f"- {{name: a{n}, when: {{}}, notify: b}}\n" for n in range(count))


def _with(key: str, pattern: str) -> str:
    return BASE.replace("{}", f"{{{key}: '{pattern}'}}")


def _event(name: str, id_: str) -> Event:
    employer = {"id": id_, "name": name, "external_id": id_}
    data = {
        "entity": {"kind": "connection", "id": "c", "status": "x"},
        "from": "y",
        "to": "x",
        "connection": {"id": "c", "status": "x", "broker_url": None, "employer": employer},
    }
    return Event("evt_1", "connection.status_changed", "2026-11-23T22:00:00.000Z", "c", data)


def _match_long_names(_place: Path) -> int:
    patterns = (
        "*a" * 5000 + "*b",
        "*[ab]" * 100 + "c",
        "*?" * 100 + "c",
        "a*" * 100 + "b",
        "*" * 9999 + "a*b",
    )
    rules = "".join(
        f"  - {{name: r{n}, when: {{employer_name: '{pattern}'}}, notify: [backend], fallback: [backend]}}\n"
        for n, pattern in enumerate(patterns)
    )
    router = Router(config_with(rules=rules))
    for name in ("a" * 255, "ab" * 127, "ß" * 255, "a" * 254 + "\n"):
        router.route(_event(name, "er_1"))
    return FINE


def _fill_links(_place: Path) -> int:
    link = "https://x.test/" + "{id}" * 10
    links = "links: {" + ", ".join(f'l{n}: "{link}"' for n in range(40)) + "}"
    sinks = "  backend: {type: slack, webhook_url: 'https://hooks.slack.test/x'}\n"
    router = Router(config_with(sinks=sinks, extra=links))
    routed = router.route(_event("n", "\U0001f4a3" * 4096))
    assert routed.owed
    return FINE
