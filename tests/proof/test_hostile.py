"""The hostile source in small, and the notifiers that it must find out."""

from __future__ import annotations

import re
from unittest import mock

import httpx
import msgspec
import pytest

from notifier.clasp import answers, client, lenient
from notifier.clasp.decode import Unreadable, read
from notifier.errors import SourceInvalid
from notifier.poller import traversal
from tests.proof import hostile
from tests.proof.hostile import Trial
from tests.proof.hostile_answers import ANSWERS
from tests.proof.hostile_cases import every_case
from tests.proof.hostile_lists import LISTS
from tests.proof.hostile_source import Reply
from tests.proof.hostile_wire import SCRIPTS
from tests.proof.spread import quiet_log, quietly

SEED = 20261123


def verdict_on(name: str, *, is_cold: bool = False) -> str:
    """What is wrong after one trial, line by line; nothing where all is well."""
    with quiet_log():
        (verdict,) = hostile.verdicts([Trial(name, is_cold)])
    return "\n".join(verdict.lines())


def test_whatever_the_source_answers_nothing_is_invented_removed_or_forgotten():
    tally = hostile.run(0.025, SEED, quietly)
    assert tally.is_clean, f"seed {SEED}: {tally}"
    assert tally.trials > 80
    assert tally.faults == tally.trials * hostile.POLLS


def test_the_catalogue_is_large_and_each_place_is_tried():
    assert len(ANSWERS) > 150
    assert len(SCRIPTS) > 70
    assert len(LISTS) > 70
    assert {case.place for case in every_case().values()} == {
        "page 1",
        "page 2",
        "by id",
        "names",
        "first look",
    }


# --- controls: each takes one guard out, and must be found out ---


def test_control_an_item_that_cannot_be_read_is_taken_for_absent():
    def readable(items, seen, untracked):
        for fingerprint, raw in items:
            try:
                yield fingerprint, traversal.without_fields(read(raw), untracked)
            except Unreadable:
                continue

    name = "page 2: item, connection.id: null"
    assert not verdict_on(name)
    with mock.patch.object(traversal, "readable", readable):
        said = verdict_on(name)
    assert "was never gone: connection conn_06" in said


def test_control_a_child_that_cannot_be_read_is_taken_for_absent():
    name = "page 2: item, group a.id: NaN"
    assert not verdict_on(name)
    real = traversal.read

    def whole(raw):
        seen = real(raw)
        return type(seen)(seen.id, seen.fields, seen.group_connections, seen.milestones)

    with mock.patch.object(traversal, "read", whole):
        said = verdict_on(name)
    assert "was never gone: group_connection gc_06_a" in said, said


@pytest.mark.parametrize("name", ["404", "nothing", "cut after 9 of 16 parts", "wire, length: too long"])
def test_control_an_answer_that_is_no_page_is_taken_for_the_end_of_the_list(name):
    real = client.ClaspClient.pages

    async def pages(self):
        try:
            async for page in real(self):
                yield page
        except client.SourceError:
            return

    assert not verdict_on(f"page 2: {name}")
    with mock.patch.object(client.ClaspClient, "pages", pages):
        said = verdict_on(f"page 2: {name}")
    assert "was never gone: connection conn_05" in said


@pytest.mark.parametrize("name", ["list, next: another host", "wire, next on another server"])
def test_control_a_next_that_leads_elsewhere_is_followed(name):
    real = client.ClaspClient._cursor_in

    def follows(self, next_):
        try:
            return real(self, next_)
        except SourceInvalid:
            self._list_url = httpx.URL(next_).copy_with(query=None)
            return "9"

    assert not verdict_on(f"page 2: {name}")
    with mock.patch.object(client.ClaspClient, "_cursor_in", follows):
        said = verdict_on(f"page 2: {name}")
    assert "a request went to" in said, said


def test_control_gzip_is_unpacked_whole():
    class Whole(answers.Gunzip):
        def feed(self, chunk):
            yield b"".join(super().feed(chunk))

    name = "page 2: a bomb of 300 MB"
    assert not verdict_on(name)
    with mock.patch.object(answers, "Gunzip", Whole), mock.patch.object(hostile, "POLLS", 1):
        said = verdict_on(name)
    assert re.search(r"it took [0-9]{3,} MB", said), said


def test_control_a_gateways_404_removes():
    name = "by id: 404 of a gateway"
    assert not verdict_on(name)
    with mock.patch.object(client.Answer, "is_clasps_refusal", True):
        said = verdict_on(name)
    assert "was never gone: connection conn_02" in said, said


def test_control_a_loop_that_stands_still_is_noticed():
    name = "page 2: a text that does not end, full of quotes"
    assert not verdict_on(name, is_cold=True)
    slow = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]:,]|[^\s"{}\[\]:,]+', re.DOTALL)
    shorter = Reply(b'{"next": null, "results": ["' + b'\\"' * 8_000, shown=b"")
    case = msgspec.structs.replace(
        every_case()[name], hostility=lambda _source, ask: shorter if ask.page == 2 else None
    )
    with (
        mock.patch.object(lenient, "_TOKEN", slow),
        mock.patch.dict(every_case(), {name: case}),
        mock.patch.multiple(hostile, POLLS=1, MAX_STEP_S=0.3),
    ):
        said = verdict_on(name, is_cold=True)
    assert "the loop stood still" in said, said


def test_control_our_key_in_a_message_is_noticed():
    name = "page 2: 401 that says our key"
    assert not verdict_on(name)
    with mock.patch.object(answers, "clean", lambda text, _key="", limit=300: text[:limit]):
        said = verdict_on(name)
    assert "our key was shown" in said, said
