"""Kinds of sinks that other packages bring, as a configuration meets them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from notifier.config import json_schema, load
from notifier.config.kinds import known_types
from notifier.errors import ConfigError

PIGEON = """
from typing import Literal
from notifier.sinks.plugin import LiveSettings, Receipt, SinkKind, Text

class PigeonSettings(LiveSettings):
    '''Carrier pigeons.'''
    type: Literal["pigeon"]
    loft: Text

class PigeonSink:
    def __init__(self, name, loft, deadline):
        self.name, self.loft, self.deadline = name, loft, deadline

    async def send(self, delivery, attempt):
        return Receipt()

    async def probe(self):
        return self.loft

    async def close(self):
        pass

SINK = SinkKind(PigeonSettings, lambda name, config, place: PigeonSink(name, config.loft, config.timeout))
WRONG = PigeonSink
UNNAMED = SinkKind(LiveSettings, lambda *_: None)
"""
CONFIG = """\
name: test
source: {base_url: https://clasp.example.com, api_key: k}
sinks:
  birds: {type: TYPE, loft: the roof}
rules: [{name: all, when: {}, notify: [birds]}]
"""


@pytest.fixture
def bring(tmp_path, monkeypatch):
    """Install a package with a kind of sink, as pip would."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def bring(module: str = PIGEON, name: str = "pigeon", attribute: str = "SINK") -> None:
        (tmp_path / "carrier_pigeons.py").write_text(module)
        info = tmp_path / "carrier_pigeons-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: carrier-pigeons\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[notifier.sinks]\n{name} = carrier_pigeons:{attribute}\n")

    yield bring
    sys.modules.pop("carrier_pigeons", None)


def loaded(directory: Path, text: str):
    file = directory / "notifier.yaml"
    file.write_text(text)
    return load(file, {})


def problem(directory: Path, text: str) -> str:
    with pytest.raises(ConfigError) as refused:
        loaded(directory, text)
    [said] = refused.value.problems
    return said


def test_a_kind_that_is_installed_is_a_type_like_ours(bring, tmp_path):
    bring()
    config = loaded(tmp_path, CONFIG.replace("TYPE", "pigeon"))
    assert config.sinks["birds"].loft == "the roof"
    assert not config.sinks["birds"].is_for_people
    assert "pigeon" in known_types()
    assert "PigeonSettings" in json_schema()["$defs"]


def test_its_keys_are_checked_like_ours(bring, tmp_path):
    bring()
    text = CONFIG.replace("TYPE", "pigeon")
    assert 'birds.loff: unknown key; did you mean "loft"?' in problem(
        tmp_path, text.replace("loft:", "loff:")
    )
    assert "birds.loft: " in problem(tmp_path, text.replace("the roof", "[]"))


def test_a_kind_that_is_not_installed_names_those_that_are(tmp_path):
    assert 'unknown type of sink "pigeon"' in problem(tmp_path, CONFIG.replace("TYPE", "pigeon"))
    assert 'did you mean "command"?' in problem(tmp_path, CONFIG.replace("TYPE", "comand"))


@pytest.mark.parametrize(
    ("brought", "told"),
    [
        ({"module": "raise ZeroDivisionError('oops')"}, "cannot be loaded: ZeroDivisionError: oops"),
        ({"attribute": "NOTHING"}, "cannot be loaded: AttributeError"),
        ({"attribute": "WRONG"}, "which is no SinkKind"),
        ({"attribute": "UNNAMED"}, 'whose settings have no `type: Literal["pigeon"]`'),
        ({"name": "dove"}, 'whose settings have no `type: Literal["dove"]`'),
    ],
)
def test_a_kind_that_cannot_be_used_is_told_with_where_it_comes_from(bring, tmp_path, brought, told):
    bring(**brought)
    said = problem(tmp_path, CONFIG.replace("TYPE", brought.get("name", "pigeon")))
    assert told in said
    assert "carrier_pigeons:" in said
    assert "notifier.yaml:4" in said


def test_a_kind_that_is_not_named_is_not_loaded(bring, tmp_path):
    bring(module="raise ZeroDivisionError")
    config = CONFIG.replace("TYPE, loft: the roof", "console")
    assert loaded(tmp_path, config).sinks["birds"].type == "console"


def test_no_package_takes_the_place_of_one_of_ours(bring, tmp_path):
    bring(name="console")
    assert (
        loaded(tmp_path, CONFIG.replace("TYPE, loft: the roof", "console")).sinks["birds"].type == "console"
    )
