"""/healthz, /readyz and /metrics: what monitoring sees is how it is."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.configs import webhook, write_config
from tests.e2e.oracle import happened, told_by_connection
from tests.e2e.stage import Receiver, Stage
from tests.support.process import Worker
from tests.support.servers import binaries, is_listening, wait_until


class RedisServer:
    """A server with an append-only file that can be killed and started again."""

    def __init__(self, place: Path) -> None:
        self._place = place / "redis"
        self._place.mkdir()
        self.socket = self._place / "s"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        flags = {"port": "0", "unixsocket": str(self.socket), "dir": str(self._place), "appendonly": "yes"}
        self._process = subprocess.Popen(
            [next(iter(binaries().values())), *(part for k, v in flags.items() for part in (f"--{k}", v))],
            stdout=subprocess.DEVNULL,
        )
        wait_until(lambda: is_listening(self.socket), "the server listens")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)


@pytest.fixture
def server(place: Path) -> Iterator[RedisServer]:
    running = RedisServer(place)
    running.start()
    yield running
    running.kill()


def test_is_ready_only_while_the_whole_list_is_seen(place: Path, stage: Stage, receiver: Receiver) -> None:
    config = write_config(place, stage, webhook("backend", receiver))
    stage.fault("status", status=404, page=2)
    with Worker(place, config) as worker:
        wait_until(lambda: worker.log("poll.completed"), "a poll that sees a part", seconds=30)
        status, body = worker.get("/readyz")
        assert (status, "no complete snapshot yet" in body) == (503, True)
        assert worker.get("/healthz") == (200, "ok\n")

        stage.mend()
        wait_until(lambda: worker.get("/readyz")[0] == 200, "ready after the first complete snapshot")
        assert worker.readiness()["status"] == "ready"
        assert worker.readiness()["role"] == "polling"

        stage.fault("status", status=404)
        wait_until(lambda: worker.get("/readyz")[0] == 503, "not ready after three intervals", seconds=10)
        assert worker.readiness()["complete_age_s"] > 3
        assert worker.get("/healthz")[0] == 200

        stage.mend()
        wait_until(lambda: worker.get("/readyz")[0] == 200, "ready again")
        assert worker.get("/nothing")[0] == 404
        assert worker.stop() == 0


def test_the_metrics_count_what_happened(place: Path, stage: Stage, receiver: Receiver) -> None:
    config = write_config(place, stage, webhook("backend", receiver))
    with Worker(place, config) as worker:
        worker.until_polled()
        stage.trouble()
        count = len(stage.world.journal)
        wait_until(lambda: worker.metric("notifier_events_total") == count, "the events are counted")
        wait_until(
            lambda: worker.metric('notifier_attempts_total{outcome="delivered"') == count + 1,
            "the attempts are counted, with the baseline's",
        )
        assert worker.metric('notifier_known{kind="connection"}') == len(stage.world)
        assert worker.metric("notifier_leader") == 1
        assert worker.metric('notifier_dead_letters{sink="backend"}') == 0
        assert worker.metric("notifier_complete_age_seconds") < 3
        assert worker.metric('notifier_polls_total{outcome="complete"}') >= 2
        assert stage.world.ids()[0] not in worker.get("/metrics")[1]
        assert worker.stop() == 0


def test_a_dead_redis_makes_it_unready_and_its_return_ready_without_a_restart(
    place: Path, stage: Stage, receiver: Receiver, server: RedisServer
) -> None:
    config = write_config(place, stage, webhook("backend", receiver), store=f"unix://{server.socket}")
    with Worker(place, config) as worker:
        worker.until_polled()
        wait_until(lambda: worker.get("/readyz")[0] == 200 and receiver.notices(), "ready")
        server.kill()
        wait_until(lambda: worker.get("/readyz")[0] == 503, "not ready without its store", seconds=10)
        assert "the store" in worker.readiness()["problems"][0]
        assert worker.get("/healthz")[0] == 200
        stage.trouble()
        server.start()
        wait_until(lambda: worker.get("/readyz")[0] == 200, "ready again", seconds=15)
        count = len(stage.world.journal)
        wait_until(lambda: len(receiver.told()) == count, "what happened meanwhile is told")
        assert worker.stop() == 0
    assert told_by_connection(receiver.told()) == happened(stage.world.journal)
    assert receiver.notices() == ["notifier.baseline"]


def test_waits_for_a_redis_that_is_not_there_yet(
    place: Path, stage: Stage, receiver: Receiver, server: RedisServer
) -> None:
    server.kill()
    config = write_config(place, stage, webhook("backend", receiver), store=f"unix://{server.socket}")
    with Worker(place, config) as worker:
        wait_until(lambda: worker.log("store.unavailable"), "it says what it waits for", seconds=30)
        assert worker.get("/readyz")[0] == 503
        server.start()
        wait_until(lambda: worker.get("/readyz")[0] == 200, "ready", seconds=15)
        assert worker.stop() == 0
