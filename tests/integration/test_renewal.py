"""Secrets in files, renewed under a worker that runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from notifier.config import ConfigFile
from notifier.errors import ConfigError
from notifier.sinks.registry import build
from notifier.sinks.renewal import Renewal, Renewed
from notifier.sinks.session import Sessions
from tests.doubles.slack import TOKEN, running_slack

TEXT = """\
name: test
source: {base_url: https://clasp.example.com, api_key: "${KEY}"}
sinks:
  backend: {type: slack, token: "${TOKEN}", channel: "#carrier-ops", api_url: "%s/api/"}
  other: {type: webhook, url: "https://hooks.example.com/", secrets: ["${SECRET}"], tls: {ca: ca.pem}}
rules:
  - {name: "rule-${WORD}", when: {}, notify: [backend, other]}
"""


class Place:
    """A configuration with a file for each of its secrets, and what a renewal gave."""

    def __init__(self, directory: Path, slack: str = "https://slack.example.com") -> None:
        self.directory, self.used = directory, []
        for name, value in (
            ("KEY", "key-old"),
            ("TOKEN", "xoxb-old"),
            ("SECRET", "secret-old"),
            ("WORD", "a"),
        ):
            self.write(name, value)
        trustme.CA().cert_pem.write_to_path(str(directory / "ca.pem"))
        (directory / "notifier.yaml").write_text(TEXT % slack)
        env = {f"{name}_FILE": str(directory / name) for name in ("KEY", "TOKEN", "SECRET", "WORD")}
        self.file = ConfigFile(directory / "notifier.yaml", env)
        self.config = self.file.read()
        self.renewal = Renewal(self.file, self.config, None, self.use)

    def write(self, name: str, value: str) -> None:
        (self.directory / name).write_text(value + "\n")

    def use(self, renewed: Renewed) -> None:
        self.used.append(renewed)


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


async def test_what_has_not_changed_is_not_read_again(place):
    await place.renewal.look()
    assert place.used == []


async def test_a_secret_in_a_file_is_read_again_where_the_file_has_changed(place):
    place.write("SECRET", "secret-new")
    await place.renewal.look()
    await place.renewal.look()
    [renewed] = place.used
    assert [*renewed.sinks] == ["other"]
    assert [one.get_secret_value() for one in renewed.sinks["other"].secrets] == ["secret-new"]
    assert renewed.api_key is None


async def test_the_key_of_the_source_is_renewed_too(place):
    place.write("KEY", "key-new")
    await place.renewal.look()
    assert place.used == [Renewed({}, "key-new")]


async def test_a_certificate_that_was_renewed_is_loaded_again(place):
    trustme.CA().cert_pem.write_to_path(str(place.directory / "ca.pem"))
    await place.renewal.look()
    assert [[*renewed.sinks] for renewed in place.used] == [["other"]]


async def test_what_is_no_secret_and_the_text_itself_wait_for_a_restart(place):
    text = (place.directory / "notifier.yaml").read_text()
    (place.directory / "notifier.yaml").write_text(text.replace("#carrier-ops", "#elsewhere"))
    place.write("WORD", "b")
    await place.renewal.look()
    assert place.used == [Renewed({}, None)]


@pytest.mark.parametrize("broken", ["", "with a\nline", None])
async def test_a_file_that_is_half_written_changes_nothing_until_it_is_whole(place, broken, capsys):
    if broken is None:
        (place.directory / "TOKEN").unlink()
    else:
        (place.directory / "TOKEN").write_text(broken)
    for _ in range(3):
        await place.renewal.look()
    assert place.used == []
    assert capsys.readouterr().out.count("secrets.not_renewed") == 1, "it is said once"
    place.write("TOKEN", "xoxb-new")
    await place.renewal.look()
    assert [[*renewed.sinks] for renewed in place.used] == [["backend"]]


async def test_what_cannot_be_used_leaves_the_old_in_use(place):
    def refuse(_renewed: Renewed) -> None:
        raise ConfigError("no")

    refusing = Renewal(place.file, place.config, None, refuse)
    place.write("SECRET", "secret-new")
    await refusing.look()
    place.write("KEY", "key-new")
    refusing._use = place.use
    await refusing.look()
    assert [([*one.sinks], one.api_key) for one in place.used] == [(["other"], "key-new")]


async def test_a_rotated_token_costs_no_dead_letter(tmp_path, rig, owe, clock):
    async with running_slack() as slack, Sessions() as sessions:
        place = Place(tmp_path, slack.url)

        def use(renewed: Renewed) -> None:
            rig.sinks["backend"] = build("backend", renewed.sinks["backend"], sessions, tmp_path)

        use(Renewed(place.config.sinks, None))
        renewal = Renewal(place.file, place.config, None, use)
        await owe(("a", "a1"), ("a", "a2"), ("b", "b1"))
        for _ in range(5):
            await rig.deliver()
            clock.advance(75)
        assert slack.messages == []
        assert (await rig.lanes.health("backend")).reason == "invalid_auth"
        place.write("TOKEN", TOKEN)
        await renewal.look()
        for _ in range(3):
            await rig.deliver()
            clock.advance(75)
    ids = [message["metadata"]["event_payload"]["id"] for message in slack.messages]
    assert sorted(ids) == ["a1", "a2", "b1"]
    assert ids.index("a1") < ids.index("a2")
    assert await rig.lanes.dead_letters("backend") == []
