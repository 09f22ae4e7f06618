"""Canaries at a small scale, and leaks that were planted: each must be found."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import httpx
import msgspec
import pytest
import structlog

from notifier import worker
from notifier.clasp import answers
from notifier.clasp.answers import Answer, error_of
from notifier.config import words
from notifier.sinks import webhook
from notifier.sinks.slack_api import SlackApi
from tests.proof.canaries import PART, canaries, run, search, tripping
from tests.proof.canary_acts import acts
from tests.proof.canary_world import Secrets
from tests.proof.spread import quietly

SEED = 20261123


def test_no_canary_comes_out_of_a_choice_of_acts():
    tally = run(0.04, SEED, quietly)
    assert tally.is_clean, f"seed {SEED}: {tally}"
    assert tally.trials > 1500
    assert tally.faults >= 8


def test_every_form_of_every_canary_is_found_wherever_it_stands():
    for name, spellings in canaries(Secrets(SEED)).items():
        for form in spellings:
            _, found = search({"log": b"before: " + form + b" after"}, {name: spellings})
            assert found, (name, form)


@pytest.fixture
def trip():
    with tripping(SEED) as running:
        yield running


def leaks(trip, name: str) -> list[str]:
    """What is found in an act."""
    act = next(act for act in acts(trip.secrets) if act.name == name)
    searches, verdict = trip.take(act)
    assert searches > 100
    return verdict.broken


def test_control_a_monitor_that_is_called_with_an_ordinary_client_leaks_its_url(trip, monkeypatch):
    @asynccontextmanager
    async def chatty(config):
        async with httpx.AsyncClient(trust_env=False) as http:
            yield lambda: asyncio.ensure_future(http.get(config.heartbeat_url.get_secret_value()))

    assert leaks(trip, "all is well") == []
    monkeypatch.setattr(worker, "_heartbeat", chatty)
    assert any("heartbeat token in output" in leak for leak in leaks(trip, "all is well"))


def test_control_an_error_of_the_source_that_is_told_as_it_is_leaks_the_key(trip, monkeypatch):
    name = "the source answers 401 json"
    assert leaks(trip, name) == []
    assert leaks(trip, "all is well") == []  # what fails next is told anew
    original = answers.clean
    monkeypatch.setattr(answers, "clean", lambda text, key="", limit=300: original(text, "", limit))
    found = leaks(trip, name)
    assert any("api key in output" in leak for leak in found)
    assert any("api key in slack" in leak for leak in found), "the report of it was not searched"
    assert trip.look_at_store()[1].broken, "the store was not searched"


def test_control_an_error_of_slack_that_is_told_as_it_is_leaks_the_token(trip, monkeypatch):
    name = "Slack answers ok: false, invalid_blocks"
    assert leaks(trip, name) == []
    monkeypatch.setattr(SlackApi, "quoted", lambda self, text, limit: text)
    assert any("Slack token in output" in leak for leak in leaks(trip, name))


def test_control_an_error_with_the_address_of_the_sink_leaks_it(trip, monkeypatch):
    name = "receivers answer 400 json"
    assert leaks(trip, name) == []
    monkeypatch.setattr(webhook, "origin", str)
    assert any("url token in output" in leak for leak in leaks(trip, name))


def test_control_a_traceback_with_its_variables_leaks_keys_and_headers(trip, monkeypatch):
    name = "a sink has a defect, on a terminal"
    with tripping(SEED) as other:  # of its own: what failed once is not tried again so soon
        assert leaks(other, name) == []
    monkeypatch.setattr(structlog.dev, "plain_traceback", structlog.dev.rich_traceback)
    assert any("signing secret" in leak or "header" in leak for leak in leaks(trip, name))


def test_control_words_that_are_shown_as_they_are_leak_what_is_in_the_wrong_place(trip, monkeypatch):
    bad = [act.name for act in acts(trip.secrets) if act.name.startswith("notifier check, bad file")]
    monkeypatch.setattr(words, "_may_be_secret", lambda _word: False)
    assert any(leaks(trip, name) for name in bad)


def test_control_an_ein_that_is_tracked_though_nobody_asks_for_it_is_found(monkeypatch):
    with tripping(SEED + 1) as trip:
        original = worker.settings
        monkeypatch.setattr(
            worker,
            "settings",
            lambda config: msgspec.structs.replace(original(config), untracked=frozenset()),
        )
        leaks(trip, "all is well")
        places = " ".join(trip.look_at_store()[1].broken)
        assert all(f"in {place}" in places for place in ("store", "state", "files"))


def test_a_key_that_an_answer_repeats_is_cut_out_before_the_answer_is_cut_off():
    key = "k" * 30 + "0123456789" * 7
    for size in range(1, 40):
        body = ("x" * size + key).encode() * 50
        error = error_of(Answer(401, "text/plain", None, body), datetime(2026, 11, 23, tzinfo=UTC), key)
        assert key[:PART] not in str(error), size
