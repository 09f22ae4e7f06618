"""What the documentation says is true: its configurations load, its commands exist, its links lead somewhere."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
import typer
from ruamel.yaml import YAML

from notifier.cli import COMMANDS, whole_app
from notifier.config import load
from notifier.sinks import slack_errors

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
TEXTS = dict(zip(NAMES, (page.read_text(encoding="utf-8") for page in PAGES), strict=True))

_FENCE = re.compile(r"^```([a-z]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`` ?(.+?) ?``|(?<!`)`([^`\n]+)`(?!`)")
_LINK = re.compile(r"\[[^\]\n]+\]\(([^)\s]+)\)")
_ENV = {
    "CLASP_API_KEY": "key",
    "SLACK_BOT_TOKEN": "xoxb-dummy",
    "SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/T0/B0/x",
    "WEBHOOK_URL": "https://hooks.example.com/clasp",
    "WEBHOOK_SECRET": "whsec_ZHVtbXk=",
    "REDIS_URL": "rediss://redis.example.com:6379/0",
    "REDIS_PASSWORD": "secret",
    "PAGER_TOKEN": "secret",
    "PAGERDUTY_ROUTING_KEY": "secret",
    "MAIL_USER": "ops",
    "MAIL_PASSWORD": "secret",
}
#: Put together here, so that this file does not hold what it forbids.
_FORBIDDEN = re.compile(
    "|".join(
        (
            "/" + r"work\b",
            r"\b" + "shared" + "/",
            r"\b(?:issue|ticket|PR) ?#?\d+",
            r"(?<![\w&/(])#\d+\b",
            "pythonhosted" + r"\.org",
            r"\b(?:curl|wget|pip install)\b[^\n]*\bhttps?://(?!localhost|127\.0\.0\.1)",
            r"\b(?:TODO|FIXME|XXX)\b",
        )
    ),
    re.IGNORECASE,
)


def fences(name: str, *languages: str) -> Iterator[str]:
    """The bodies of the page's code blocks in these languages."""
    for language, body in _FENCE.findall(TEXTS[name]):
        if language in languages:
            yield body


def is_whole(block: str) -> bool:
    return all(re.search(rf"^{key}:", block, re.MULTILINE) for key in ("name", "source", "sinks"))


def configurations() -> list[tuple[str, str]]:
    return [(name, block) for name in NAMES for block in fences(name, "yaml") if is_whole(block)]


def fragments() -> list[tuple[str, str]]:
    """Blocks that are some of a configuration's keys: they load with the rest filled in."""
    keys = re.compile(r"^(store|sinks|rules|links|http|guards):", re.MULTILINE)
    return [
        (name, block)
        for name in NAMES
        for block in fences(name, "yaml")
        if not is_whole(block) and keys.search(block)
    ]


def command_lines(name: str) -> Iterator[tuple[str, bool]]:
    """Each ``notifier ...`` of a page, and whether it is meant to be typed as it stands."""
    for body in fences(name, "", "sh"):
        for line in body.splitlines():
            words = re.sub(r"\s+#.*$", "", line).removeprefix("$ ")
            if re.match(r"(?:\.venv/bin/)?notifier ", words):
                yield words.removeprefix(".venv/bin/"), True
    outside = _FENCE.sub("", TEXTS[name])
    for match in _INLINE.finditer(outside):
        words = match[1] or match[2]
        if words.startswith("notifier ") and "..." not in words:
            yield words, False


def loads(block: str, directory: Path) -> None:
    path = directory / "notifier.yaml"
    path.write_text(block, encoding="utf-8")
    load(path, _ENV)


@pytest.mark.parametrize(("name", "block"), configurations())
def test_every_whole_configuration_loads(name, block, tmp_path):
    loads(block, tmp_path)


@pytest.mark.parametrize(("name", "block"), fragments())
def test_every_part_of_a_configuration_loads_with_the_rest_filled_in(name, block, tmp_path):
    whole = block
    if not re.search(r"^name:", block, re.MULTILINE):
        whole += "name: docs\n"
    if not re.search(r"^source:", block, re.MULTILINE):
        whole += 'source: {base_url: "https://sandbox.withclasp.com", api_key: key}\n'
    if not re.search(r"^sinks:", block, re.MULTILINE):
        whole += 'sinks: {carrier-ops: {type: slack, token: xoxb-dummy, channel: "#carrier-ops"}}\n'
    if not re.search(r"^rules:", block, re.MULTILINE):
        sink = re.search(r"^sinks:\n\s+([\w-]+):", whole, re.MULTILINE)
        named = sink[1] if sink else "carrier-ops"
        whole += f"rules: [{{name: everything, when: {{}}, notify: [{named}]}}]\n"
    loads(whole, tmp_path)


def test_the_documentation_shows_whole_configurations():
    assert {name for name, _ in configurations()} >= {"README.md", "docs/sandbox.md"}


@pytest.mark.parametrize("name", NAMES)
def test_every_command_exists_with_its_options(name):
    root = typer.main.get_command(whole_app())
    for line, is_typed in command_lines(name):
        words = shlex.split(line)[1:]
        command, path = root, "notifier"
        while words and hasattr(command, "commands"):
            if words[0].startswith("-"):
                break
            assert words[0] in command.commands, f"{line}: {path} has no command {words[0]}"
            path, command = f"{path} {words[0]}", command.commands[words[0]]
            words = words[1:]
        is_group = hasattr(command, "commands")
        assert not (is_typed and is_group and not words), f"{line}: this only shows help"
        if is_group:
            continue
        try:
            command.make_context(path, words, resilient_parsing=not is_typed)
        except Exception as error:  # noqa: BLE001 - typer brings its own copy of click's errors
            pytest.fail(f"{line}: {error}")


def test_each_command_is_in_the_module_that_its_start_loads():
    """Else a command would not be found, or its start would load what all the others need."""
    for module in set(COMMANDS.values()):
        own = typer.Typer()
        own.callback()(lambda: None)
        import_module(f"notifier.cli.{module}").add_to(own)
        commands = set(typer.main.get_command(own).commands)
        assert commands == {name for name, place in COMMANDS.items() if place == module}


def test_every_command_is_in_the_readme():
    root = typer.main.get_command(whole_app())
    told = {line.split()[1] for line, _ in command_lines("README.md")}
    assert told == set(root.commands)


@pytest.mark.parametrize("name", NAMES)
def test_every_make_target_exists(name):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"(?:^|`)make ([a-z]+)", TEXTS[name], re.MULTILINE)
    assert set(named) <= targets


@pytest.mark.parametrize("name", NAMES)
def test_every_relative_link_resolves(name):
    for link in _LINK.findall(_FENCE.sub("", TEXTS[name])):
        if re.match(r"[a-z]+:", link):
            continue
        place, _, anchor = link.partition("#")
        target = (ROOT / name).parent / place if place else ROOT / name
        assert target.exists(), f"{link} leads nowhere"
        if anchor:
            assert anchor in anchors(target.read_text(encoding="utf-8")), f"{link}: there is no such heading"


def anchors(text: str) -> set[str]:
    """The headings of a page, as links name them."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", NAMES)
def test_every_file_and_test_that_is_named_exists(name):
    sources = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    for match in _INLINE.finditer(_FENCE.sub("", TEXTS[name])):
        words = match[1] or match[2]
        if re.fullmatch(r"(?:notifier|tests|config|docs|bench)/[\w./-]+", words):
            assert (ROOT / words).exists() or words == "notifier/sinks/NAME.py", f"there is no {words}"
        if re.fullmatch(r"test_\w+", words):
            assert f"def {words}(" in sources, f"there is no test {words}"


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_named_that_readers_cannot_know(name):
    found = _FORBIDDEN.search(TEXTS[name])
    assert found is None, f"{name} says {found[0]!r}"


def test_every_page_is_reached_from_the_readme():
    text = TEXTS["README.md"]
    for name in NAMES:
        if name.startswith("docs/decisions/"):
            assert "docs/decisions/" in text
        elif name.startswith("docs/"):
            assert f"({name})" in text, f"README.md does not lead to {name}"


def test_the_code_that_checks_signatures_agrees_with_the_sink():
    """The Python of docs/webhooks.md, run against what the webhook sink signs."""
    from datetime import UTC, datetime

    from notifier.models import Delivery
    from notifier.sinks.formats import format_of

    [code] = fences("docs/webhooks.md", "python")
    space: dict = {}
    exec(code, space)  # noqa: S102 - our own page
    is_genuine = space["is_genuine"]
    secrets = ["whsec_MDEyMzQ1Njc4OWFiY2RlZg==", "plain text"]
    sign = format_of("standard", secrets)
    delivery = Delivery("evt_1", "connection.added", "rule", '{"name": "Zoë"}')
    headers, body = (signed := sign(delivery, int(datetime.now(UTC).timestamp()))).headers, signed.body
    assert all(is_genuine(secret, headers, body) for secret in secrets)
    assert not is_genuine("other", headers, body)
    assert not is_genuine(secrets[0], headers, body + b" ")
    assert not is_genuine(secrets[0], sign(delivery, 1).headers, body)
    assert not is_genuine(secrets[0], {}, body)


def test_the_recipe_for_a_sink_makes_one_that_keeps_the_contract(tmp_path, monkeypatch):
    """The module and the test of docs/sinks.md, as a package beside the notifier."""
    module, checks = fences("docs/sinks.md", "python")
    [registration] = fences("docs/sinks.md", "toml")
    [(name, place)] = re.findall(r'^(\w+) = "([\w:]+)"$', registration, re.MULTILINE)
    info = tmp_path / "clasp_mailbox-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: clasp-mailbox\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[notifier.sinks]\n{name} = {place}\n")
    (tmp_path / f"{place.partition(':')[0]}.py").write_text(module)
    monkeypatch.syspath_prepend(str(tmp_path))
    space: dict = {}
    exec(checks, space)  # noqa: S102 - our own page
    [marks] = space["test_contract"].pytestmark
    for number, check in enumerate(marks.args[1]):
        directory = tmp_path / str(number)
        directory.mkdir()
        space["test_contract"](check, directory)


def test_every_error_of_slack_is_explained_with_what_to_do():
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \| (.+) \|$", TEXTS["docs/slack.md"], re.MULTILINE)
    told = {error: advice for errors, advice in rows for error in re.findall(r"`([a-z_]+)`", errors)}
    for error in slack_errors.KNOWN:
        failure = slack_errors.failure(error, status=200)
        assert str(failure).endswith(f": {told[error]}"), error


def test_the_slack_app_asks_for_no_scope_that_is_not_explained():
    manifest = YAML(typ="safe").load(ROOT / "config/slack-app.yaml")
    scopes = manifest["oauth_config"]["scopes"]["bot"]
    assert scopes[0] == "chat:write"
    assert all(f"`{scope}`" in TEXTS["docs/slack.md"] for scope in scopes)
