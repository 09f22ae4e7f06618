"""Bombs at a small scale, and what they do where a bound is taken out."""

from __future__ import annotations

import asyncio
import gzip
import json
from contextlib import asynccontextmanager

import httpx
import pytest
from ruamel.yaml import YAML

from notifier import worker
from notifier.clasp import answers, client
from notifier.config import document, interpolate, words
from notifier.sinks import session
from tests.proof.bomb_files import CONFIG, FINE, laughs
from tests.proof.bombs import bombs, in_child, judge, run
from tests.proof.spread import quietly

SEED = 20261123
HUGE = 10**15


def test_no_bomb_takes_more_than_its_share_of_memory_and_time():
    tally = run(0.06, SEED, quietly)
    assert tally.is_clean, f"seed {SEED}: {tally}"
    assert tally.trials == tally.faults >= 8


def test_there_are_many_bombs_each_under_its_own_name():
    names = [bomb.name for bomb in bombs()]
    assert len(names) == len(set(names)) >= 60


GUARDS = [
    ("values that multiply", interpolate, "MAX_EXPANDED"),
    ("a huge type of sink", words, "_LONGEST_JUDGED"),
    ("problems under a huge key", document, "MAX_KEY"),
    ("source: sixteen million numbers in gzip", client, "MAX_VALUES"),
    ("source: a thousand megabytes in gzip", answers, "MAX_BODY"),
    ("slack: a thousand megabytes in gzip", session, "MAX_REPLY"),
]


@pytest.mark.parametrize(("name", "module", "bound"), GUARDS, ids=[name for name, _, _ in GUARDS])
def test_control_without_its_bound_a_bomb_goes_off(monkeypatch, name, module, bound):
    bomb = next(bomb for bomb in bombs() if bomb.name == name)
    assert judge(in_child(bomb.go), bomb.may_end).is_good
    monkeypatch.setattr(module, bound, HUGE)
    assert not judge(in_child(bomb.go, cpu_s=1), bomb.may_end).is_good


def test_control_a_heartbeat_that_reads_the_whole_answer_goes_off(monkeypatch):
    @asynccontextmanager
    async def careless(config):
        async with httpx.AsyncClient() as http:
            yield lambda: asyncio.ensure_future(beat(http, config.heartbeat_url.get_secret_value()))

    async def beat(http, url):
        (await http.get(url)).raise_for_status()

    bomb = next(bomb for bomb in bombs() if bomb.name == "heartbeat: a body without an end")
    assert judge(in_child(bomb.go), bomb.may_end).is_good
    monkeypatch.setattr(worker, "_heartbeat", careless)
    assert not judge(in_child(bomb.go, cpu_s=4), bomb.may_end).is_good


def test_control_a_loader_with_aliases_goes_off():
    def load(_place):
        json.dumps(YAML(typ="safe", pure=True).load(laughs()))
        return FINE

    assert not judge(in_child(load, cpu_s=1), (FINE, CONFIG)).is_good


def test_control_a_gunzip_without_a_bound_goes_off():
    packed = gzip.compress(b" " * 10**8) * 10

    def unpack(_place):
        gzip.decompress(packed)
        return FINE

    assert not judge(in_child(unpack), (FINE, CONFIG)).is_good


def test_control_a_child_that_hangs_is_ended_and_told():
    def hang(_place):
        while True:
            pass

    assert "was killed" in judge(in_child(hang, cpu_s=1), (FINE,)).broken[0]
