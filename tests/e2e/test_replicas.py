"""Two workers on one embedded store: one server, one that polls, both may deliver."""

from __future__ import annotations

from pathlib import Path

from tests.e2e.configs import webhook, write_config
from tests.e2e.oracle import judge, snapshot
from tests.e2e.stage import Receiver, Stage
from tests.support.process import Worker, processes_of
from tests.support.servers import wait_until


def test_two_workers_share_one_server_and_one_takes_over_from_the_other(
    place: Path, stage: Stage, receiver: Receiver
) -> None:
    sink = webhook("backend", receiver, concurrency=2, timeout="2s")
    config = write_config(place, stage, sink, source="  lease: 2s\n")
    before = snapshot(stage.world)
    with Worker(place, config, name="one") as one, Worker(place, config, name="two") as two:
        wait_until(lambda: _roles(one, two) == ["polling", "standby"], "one polls, one stands by", 30)
        wait_until(lambda: one.get("/readyz")[0] == two.get("/readyz")[0] == 200, "both are ready")
        assert len(_servers(place)) == 1
        [server] = _servers(place)
        assert int((place / "store" / "server.pid").read_text()) == server

        receiver.delay_s = lambda: 0.2
        stage.do(lambda: [stage.world.add_milestone(id_, "payroll_connected") for id_ in stage.world.ids()])
        _until_told(stage, receiver)
        assert receiver.most_at_once == 2, "both together send no more at once than the sink allows"

        receiver.delay_s = lambda: 0.0
        polling, other = (one, two) if one.readiness()["role"] == "polling" else (two, one)
        polling.kill()
        stage.trouble()
        wait_until(lambda: other.readiness()["role"] == "polling", "the other takes over", seconds=10)
        _until_told(stage, receiver)
        assert _servers(place) == [server]
        assert other.stop() == 0
    wait_until(lambda: not processes_of(place), "the last clean stop ended the server", seconds=5)
    assert not (place / "store" / "server.pid").exists()
    assert not (place / "store" / "server.sock").exists()
    verdict = judge(before, stage.world, receiver.taken, receiver.told())
    assert verdict.is_good, verdict
    assert receiver.notices() == ["notifier.baseline"]


def test_the_server_of_killed_workers_is_adopted_and_ended_by_the_next_one(
    place: Path, stage: Stage, receiver: Receiver
) -> None:
    config = write_config(place, stage, webhook("backend", receiver), source="  lease: 1s\n")
    with Worker(place, config, name="one") as one, Worker(place, config, name="two") as two:
        one.address, two.address  # noqa: B018 - both have started
        wait_until(receiver.notices, "the baseline is told", seconds=30)
        one.kill()
        two.kill()
    [server] = _servers(place)
    with Worker(place, config, name="next") as worker:
        worker.until_polled()
        assert _servers(place) == [server]
        assert worker.stop() == 0
    wait_until(lambda: not _servers(place), "the server ended", seconds=5)
    assert receiver.notices() == ["notifier.baseline"]


def _roles(*workers: Worker) -> list[str]:
    return sorted(str(worker.readiness()["role"]) for worker in workers)


def _servers(place: Path) -> list[int]:
    return [pid for pid, command in processes_of(place).items() if "server.sock" in command]


def _until_told(stage: Stage, receiver: Receiver) -> None:
    count = len(stage.world.journal)
    wait_until(lambda: len(receiver.told()) >= count, f"{count} transitions are told")
