"""A source that misbehaves: nothing is invented, nothing is taken for removed, and one notice says so.

Each test ends with a real change that is told: a notifier that says nothing at all would fail here.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from redis import Redis
from redis.exceptions import ConnectionError as StoreGone

from tests.e2e.configs import webhook, write_config
from tests.e2e.oracle import happened, told_by_connection
from tests.e2e.stage import Receiver, Stage
from tests.support.process import Worker, run_notifier
from tests.support.servers import wait_until

FAILING = ["notifier.baseline", "notifier.source_failing", "notifier.source_recovered"]
HELD = ["notifier.baseline", "notifier.removals_held"]
FOREIGN = ["notifier.baseline", "notifier.snapshot_held"]


def test_a_source_that_cannot_be_read_whole_is_told_once_and_nothing_is_invented(place: Path) -> None:
    at_once(
        place,
        ("status", {"status": 500, "page": 2}, FAILING),
        ("foreign_next", {}, FAILING),
        ("status", {"status": 401}, FAILING),
    )


def test_a_list_that_lacks_what_is_known_is_told_once_and_nothing_is_removed(place: Path) -> None:
    at_once(place, ("empty", {}, HELD), ("vanish", {}, HELD), ("other_account", {}, FOREIGN))


def at_once(place: Path, *cases: tuple[str, dict, list[str]]) -> None:
    """Each case in a directory of its own, side by side: they mostly wait."""
    with ThreadPoolExecutor(len(cases)) as pool:
        places = [place / str(number) for number in range(len(cases))]
        for done in [
            pool.submit(one_fault, *each) for each in zip(places, *zip(*cases, strict=True), strict=True)
        ]:
            done.result()


def one_fault(place: Path, kind: str, options: dict, notices: list[str]) -> None:
    place.mkdir()
    with Stage(connections=24) as stage:
        if kind == "vanish":
            options = {"ids": tuple(stage.world.ids()[::4])}  # a quarter
        receiver = stage.receiver()
        config = write_config(place, stage, webhook("backend", receiver))
        if kind == "other_account":  # one page: no traversal is half of one account and half of another
            config.write_text(config.read_text().replace("page_size: 5", "page_size: 100"))
        with Worker(place, config) as worker:
            worker.until_polled()
            wait_until(receiver.notices, "the baseline is told")
            stage.fault(kind, **options)
            wait_until(lambda: len(receiver.notices()) == 2, f"{notices[1]} is told", seconds=30)
            _polls_on(worker, 3)
            stage.mend()
            wait_until(lambda: len(receiver.notices()) == len(notices), "the end is told", seconds=30)
            _only_a_real_change_is_told(stage, receiver, worker)
            assert worker.stop() == 0
        assert receiver.notices() == notices


def test_a_wrong_list_under_which_a_real_change_happens_still_tells_the_change(
    place: Path, stage: Stage, receiver: Receiver
) -> None:
    config = write_config(place, stage, webhook("backend", receiver))
    with Worker(place, config) as worker:
        worker.until_polled()
        stage.fault("status", status=500, page=3)
        connection, group = stage.trouble()
        assert connection in stage.world.ids()[:10], "not on the page that fails"
        count = len(stage.world.journal)
        wait_until(lambda: len(receiver.told()) >= count, "what was seen counts")
        assert worker.stop() == 0
    assert told_by_connection(receiver.told()) == happened(stage.world.journal)
    assert group in {body["data"]["entity"]["id"] for body in receiver.told()}


def test_a_flushed_store_is_told_once_and_is_a_new_baseline(
    place: Path, stage: Stage, receiver: Receiver
) -> None:
    config = write_config(place, stage, webhook("backend", receiver))
    with Worker(place, config) as worker:
        worker.until_polled()
        wait_until(receiver.notices, "the baseline is told")
        stage.fault("status", status=503)  # what happens now is seen by the new baseline only
        stage.trouble()
        with Redis(unix_socket_path=str(place / "store" / "server.sock")) as redis:
            redis.flushall()
        stage.mend()
        wait_until(lambda: "notifier.state_lost" in receiver.notices(), "the loss is told", seconds=15)
        seen = len(stage.world.journal)
        told = len(receiver.told())  # a poll may have seen the trouble before the flush
        _only_a_real_change_is_told(stage, receiver, worker, since=seen, told=told)
        assert told in {0, seen}
        assert worker.stop() == 0
    assert receiver.notices() == ["notifier.baseline", "notifier.state_lost"]


def test_a_baseline_that_is_interrupted_halfway_stays_a_baseline(place: Path) -> None:
    with Stage(connections=240) as stage:  # more than a chunk: a part of it is committed
        receiver = stage.receiver()
        config = write_config(place, stage, webhook("backend", receiver), source="  lease: 1s\n")
        stage.fault("status", status=404, page=41)
        with Worker(place, config, name="first") as worker:
            wait_until(lambda: _known(place) >= 100, "a part is committed", seconds=20)
            stage.trouble()
            worker.kill()
        status = run_notifier(place, "status", "--config", str(config))
        assert "the first snapshot is being taken" in status.out
        stage.trouble()
        stage.do(lambda: stage.world.remove_connection(stage.world.ids()[3]))
        stage.mend()
        seen = len(stage.world.journal)
        with Worker(place, config, name="second") as worker:
            worker.until_polled()
            wait_until(receiver.notices, "the baseline is told")
            _only_a_real_change_is_told(stage, receiver, worker, since=seen)
            assert worker.stop() == 0
        assert receiver.notices() == ["notifier.baseline"]


def _only_a_real_change_is_told(
    stage: Stage, receiver: Receiver, worker: Worker, since: int = 0, told: int = 0
) -> None:
    stage.trouble()
    happenings = stage.world.journal[since:]
    wait_until(lambda: len(receiver.told()) >= told + len(happenings), "a real change is told")
    _polls_on(worker, 2)
    assert told_by_connection(receiver.told()[told:]) == happened(happenings)


def _polls_on(worker: Worker, times: int) -> None:
    """Wait for so many more polls, or three seconds of one that asks again and again."""
    before, end = len(worker.log("poll.completed")), time.monotonic() + 3
    wait_until(
        lambda: len(worker.log("poll.completed")) >= before + times or time.monotonic() > end,
        "polls go on",
    )


def _known(place: Path) -> int:
    try:
        with Redis(unix_socket_path=str(place / "store" / "server.sock")) as redis:
            return redis.hlen("notifier:{e2e}:state")
    except StoreGone:
        return 0
