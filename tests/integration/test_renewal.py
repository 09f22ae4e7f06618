"""Secrets in files, renewed under a worker that runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import trustme

from notifier.config import ConfigFile, SinkSettings
from notifier.errors import ConfigError
from notifier.sinks.registry import build
from notifier.sinks.renewal import Renewal
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
        self.directory, self.sinks, self.keys, self.refused = directory, {}, [], {}
        for name, value in (
            ("KEY", "key-old"),
            ("TOKEN", "xoxb-old"),
            ("SECRET", "secret-old"),
            ("WORD", "a"),
        ):
            self.write(name, value)
        self.certify()
        (directory / "notifier.yaml").write_text(TEXT % slack)
        env = {f"{name}_FILE": str(directory / name) for name in ("KEY", "TOKEN", "SECRET", "WORD")}
        self.file = ConfigFile(directory / "notifier.yaml", env)
        self.config = self.file.read()
        self.renewal = self.begin()

    def begin(self) -> Renewal:
        """A renewal, as a worker makes one once its store is there."""
        return Renewal(self.file, self.config, None, self.use, self.keys.append)

    def write(self, name: str, value: str) -> None:
        (self.directory / name).write_text(value + "\n")

    def certify(self) -> None:
        trustme.CA().cert_pem.write_to_path(str(self.directory / "ca.pem"))

    def use(self, name: str, settings: SinkSettings) -> None:
        """Take it as a worker does, and refuse what cannot be built."""
        build(name, settings, None, self.directory)
        if name in self.refused:
            raise self.refused[name]
        self.sinks.setdefault(name, []).append(settings)

    async def look(self, times: int = 2) -> None:
        """Once to see what changed, and once more to see that it lasts."""
        for _ in range(times):
            await self.renewal.look()

    def secrets(self) -> list[str]:
        """What `other` signs with, after each renewal of it."""
        return [secret.get_secret_value() for one in self.sinks.get("other", ()) for secret in one.secrets]


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


async def test_what_has_not_changed_is_not_read_again(place):
    await place.look(3)
    assert (place.sinks, place.keys) == ({}, [])


async def test_a_secret_in_a_file_is_read_again_where_the_file_has_changed(place):
    place.write("SECRET", "secret-new")
    await place.look(4)
    assert ([*place.sinks], place.secrets(), place.keys) == (["other"], ["secret-new"], [])


async def test_the_key_of_the_source_is_renewed_too(place):
    place.write("KEY", "key-new")
    await place.look(4)
    assert (place.sinks, place.keys) == ({}, ["key-new"])


async def test_a_certificate_that_was_renewed_is_loaded_again(place):
    place.certify()
    await place.look(4)
    assert ([*place.sinks], place.secrets()) == (["other"], ["secret-old"])


async def test_what_is_no_secret_and_the_text_itself_wait_for_a_restart(place):
    text = (place.directory / "notifier.yaml").read_text()
    (place.directory / "notifier.yaml").write_text(text.replace("#carrier-ops", "#elsewhere"))
    place.write("WORD", "b")
    await place.look()
    assert (place.sinks, place.keys) == ({}, [])


@pytest.mark.parametrize("name", ["SECRET", "ca.pem"])
async def test_what_changes_before_the_renewal_begins_is_noticed(place, name):
    if name == "SECRET":
        place.write(name, "secret-new")
    else:
        place.certify()
    place.renewal = place.begin()
    await place.look()
    assert [*place.sinks] == ["other"]


async def test_a_file_is_used_when_it_lasts_from_one_look_to_the_next(place):
    for part in ("s", "se", "secret-n", "secret-new\n"):
        (place.directory / "SECRET").write_text(part)
        await place.look(1)
        assert place.sinks == {}
    await place.look(1)
    assert place.secrets() == ["secret-new"]


@pytest.mark.parametrize("broken", ["", "with a\nline", None])
async def test_a_file_that_is_not_right_changes_nothing_until_it_is(place, broken, capsys):
    if broken is None:
        (place.directory / "TOKEN").unlink()
    else:
        (place.directory / "TOKEN").write_text(broken)
    await place.look(4)
    assert place.sinks == {}
    assert capsys.readouterr().out.count("secrets.not_renewed") == 1, "it is said once"
    place.write("TOKEN", "xoxb-new")
    await place.look()
    assert [*place.sinks] == ["backend"]


@pytest.mark.parametrize("broken", ["ca.pem", "SECRET", "WORD"])
async def test_a_broken_file_keeps_back_what_comes_of_it_and_nothing_else(place, broken, capsys):
    (place.directory / broken).write_text("")
    await place.look()
    place.write("TOKEN", "xoxb-new")
    place.write("KEY", "key-new")
    await place.look(4)
    assert ([*place.sinks], place.keys) == (["backend"], ["key-new"])
    assert capsys.readouterr().out.count("secrets.not_renewed") == 1
    place.certify()
    place.write("WORD", "b")
    place.write("SECRET", "secret-new")
    await place.look(4)
    assert {name: len(renewed) for name, renewed in place.sinks.items()} == {"backend": 1, "other": 1}
    assert place.secrets() == ["secret-new"]


@pytest.mark.parametrize("error", [ConfigError("no"), OSError("secret-new"), KeyError("secret-new")])
async def test_what_cannot_be_used_leaves_the_old_in_use_and_is_tried_again(place, error, capsys):
    place.refused["other"] = error
    place.write("SECRET", "secret-new")
    place.write("KEY", "key-new")
    await place.look(4)
    assert (place.sinks, place.keys) == ({}, ["key-new"])
    said = capsys.readouterr().out
    assert said.count("secrets.not_renewed") == 1
    assert "secret-new" not in said
    place.refused.clear()
    await place.look(4)
    assert place.secrets() == ["secret-new"]


async def test_a_certificate_that_could_not_be_loaded_is_tried_again_though_its_file_is_the_same(
    place, monkeypatch
):
    place.refused["other"] = OSError("too many open files")
    place.certify()
    await place.look()
    place.refused.clear()
    monkeypatch.setattr(place.file, "read_again", lambda: 1 / 0)  # nor the configuration, for once
    await place.look(1)
    monkeypatch.undo()
    await place.look(4)
    assert len(place.sinks["other"]) == 1


async def test_a_rotated_token_costs_no_dead_letter(tmp_path, rig, owe, clock):
    async with running_slack() as slack, Sessions() as sessions:
        place = Place(tmp_path, slack.url)

        def use(name: str, settings: SinkSettings) -> None:
            rig.sinks[name] = build(name, settings, sessions, tmp_path)

        use("backend", place.config.sinks["backend"])
        place.renewal = Renewal(place.file, place.config, None, use, place.keys.append)
        await owe(("a", "a1"), ("a", "a2"), ("b", "b1"))
        for _ in range(5):
            await rig.deliver()
            clock.advance(75)
        assert slack.messages == []
        assert (await rig.lanes.health("backend")).reason == "invalid_auth"
        place.write("TOKEN", TOKEN)
        await place.look()
        for _ in range(3):
            await rig.deliver()
            clock.advance(75)
    ids = [message["metadata"]["event_payload"]["id"] for message in slack.messages]
    assert sorted(ids) == ["a1", "a2", "b1"]
    assert ids.index("a1") < ids.index("a2")
    assert await rig.lanes.dead_letters("backend") == []
