"""Clean stops: SIGTERM ends a worker in time, and a restart loses and repeats nothing."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from tests.e2e.configs import webhook, write_config
from tests.e2e.oracle import judge, snapshot
from tests.e2e.stage import Receiver, Stage
from tests.support.process import STOP_WITHIN_S, Worker
from tests.support.servers import wait_until


def test_a_restart_while_things_happen_loses_and_repeats_nothing(
    place: Path, stage: Stage, receiver: Receiver
) -> None:
    config = write_config(place, stage, webhook("backend", receiver))
    before = snapshot(stage.world)
    with Worker(place, config) as worker:
        worker.until_polled()
        stage.trouble()
        assert worker.stop() == 0
    stage.trouble()  # while nobody looks
    for round_ in range(3):
        with Worker(place, config, name=f"restart-{round_}") as worker:
            worker.until_polled()
            stage.trouble()
            count = len(stage.world.journal)
            wait_until(lambda: len(receiver.told()) >= count, "all is told")  # noqa: B023 - used at once
            assert worker.stop() == 0
    verdict = judge(before, stage.world, receiver.taken, receiver.told())
    assert verdict.repeats == 0, verdict
    assert not verdict.invented, verdict
    assert not verdict.unfolded, verdict
    assert receiver.notices() == ["notifier.baseline"]


def test_a_stop_waits_for_a_slow_receiver_and_repeats_nothing(
    place: Path, stage: Stage, receiver: Receiver
) -> None:
    config = write_config(place, stage, webhook("backend", receiver, timeout="15s"))
    before = snapshot(stage.world)
    with Worker(place, config) as worker:
        worker.until_polled()
        wait_until(receiver.notices, "the baseline is told")
        receiver.delay_s = lambda: 5.0
        stage.trouble()
        wait_until(lambda: len(receiver.requests) >= 2, "an attempt is under way")
        began = time.monotonic()
        worker.signal(signal.SIGINT)  # Ctrl-C; the other tests stop with SIGTERM
        assert worker.wait() == 0, worker.err
        assert 3 < time.monotonic() - began < STOP_WITHIN_S
    receiver.delay_s = lambda: 0.0
    with Worker(place, config, name="again") as worker:
        wait_until(lambda: len(receiver.told()) >= len(stage.world.journal), "the rest is told")
        worker.until_polled()
        assert worker.stop() == 0
    verdict = judge(before, stage.world, receiver.taken, receiver.told())
    assert verdict.is_good, verdict
    assert verdict.repeats == 0
    assert len(receiver.requests) == len(receiver.taken)


def test_a_stop_is_in_time_though_a_receiver_never_answers(
    place: Path, stage: Stage, receiver: Receiver
) -> None:
    config = write_config(place, stage, webhook("backend", receiver, timeout="60s"))
    receiver.delay_s = lambda: 30.0
    with Worker(place, config) as worker:
        wait_until(lambda: receiver.requests, "an attempt is under way")
        began = time.monotonic()
        assert worker.stop() == 0
        assert time.monotonic() - began < STOP_WITHIN_S
    receiver.delay_s = lambda: 0.0
    with Worker(place, config, name="again") as worker:
        wait_until(receiver.notices, "the claim was given back, so it is told at once", seconds=8)
        assert worker.stop() == 0
    assert receiver.notices() == ["notifier.baseline"]
