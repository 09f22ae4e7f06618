"""A worker may die at any opcode, twice, or stand still; and with a known mistake of design it may not."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import socket
from urllib.parse import urlsplit

import pytest

from tests.proof import crashes, paused
from tests.proof.patched import BUGS, tally_with
from tests.proof.spread import quietly
from tests.proof.taker import running_taker, wait_for_all
from tests.proof.tally import Tally

#: Each bug with the proof that must find it, as short as finds it surely.
FOUND_BY = {
    "two-writes": 'from tests.proof import crashes; tally = crashes.edges("commit")',
    "settled-before-sent": 'from tests.proof import crashes; tally = crashes.edges("deliver")',
    "retry-in-memory": 'from tests.proof import crashes; tally = crashes.edges("retry")',
    "claim-without-end": 'from tests.proof import crashes; tally = crashes.edges("deliver")',
    "no-commit-id": (
        "from tests.proof import lost_replies as lost; from tests.proof.proxy import Fault, How; "
        "tally = lost.work([lost.Trial('changes', lost.Aim('commit', 0, Fault(How.DROP_REPLY)))])"
    ),
    "no-fence": "from tests.proof import paused; tally = paused.run(0.02, 1, print)",
}


@pytest.fixture
def seed() -> int:
    chosen = random.SystemRandom().randrange(10**6)
    print(f"seed {chosen}")
    return chosen


def test_nothing_is_lost_invented_or_misordered_wherever_a_worker_dies(seed):
    tally = crashes.run(0.01, seed, quietly)
    assert tally.is_clean, tally
    assert tally.trials >= 100
    assert tally.faults > tally.trials  # some died twice


def test_a_poller_that_stood_still_past_its_lease_commits_nothing(seed):
    tally = paused.run(0.06, seed, quietly)
    assert tally.is_clean, tally
    assert tally.trials >= 30


@pytest.mark.parametrize("bug", FOUND_BY)
def test_control_a_notifier_with_a_mistake_of_design_is_found_out(bug):
    tally = tally_with(bug, FOUND_BY[bug])
    assert tally.trials, tally
    assert not tally.is_clean, tally


def test_what_a_proof_says_on_its_way_does_not_hide_what_it_found():
    code = "from tests.proof.tally import Tally; print('10 of 20 trials'); tally = Tally(trials=20, lost=1)"
    assert tally_with("no-fence", code) == Tally(trials=20, lost=1)


def test_what_the_dead_had_sent_is_taken_before_a_trial_is_judged(tmp_path):
    taken = tmp_path / "taken"
    request = b"POST /in HTTP/1.1\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000
    with running_taker(taken) as url:
        (taker,) = multiprocessing.active_children()
        os.kill(taker.pid, signal.SIGSTOP)  # as a machine does that has too much to do
        for _ in range(20):
            with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port)) as dying:
                dying.sendall(request)
        os.kill(taker.pid, signal.SIGCONT)
        wait_for_all(url)
        assert taken.read_bytes().count(b"\n") == 20


def test_every_mistake_that_is_kept_is_tried():
    assert FOUND_BY.keys() == BUGS.keys()
