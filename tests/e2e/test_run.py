"""``notifier run`` from the source to the sinks: what happens is what is told, and nothing secret is."""

from __future__ import annotations

import json
import re
from pathlib import Path

from standardwebhooks import Webhook

from notifier.sandbox import lifecycle
from tests.e2e.configs import EVERYTHING, webhook, write_config
from tests.e2e.oracle import (
    differences,
    fold,
    happened,
    judge,
    snapshot,
    step_of,
    told_by_connection,
)
from tests.e2e.stage import API_KEY, SECRET, Receiver, Stage
from tests.support.process import Worker
from tests.support.servers import wait_until

NEEDS_ATTENTION = """\
  - name: group-needs-attention
    when: {entity: group_connection, to: needs_attention}
    severity: warning
    notify: [attention]
"""


def test_tells_within_seconds_that_a_group_connection_needs_attention(place: Path, stage: Stage) -> None:
    attention, backend = stage.receiver(), stage.receiver()
    sinks = webhook("attention", attention) + webhook("backend", backend)
    config = write_config(place, stage, sinks, NEEDS_ATTENTION + EVERYTHING)
    with Worker(place, config) as worker:
        worker.until_polled()
        connection, group = stage.trouble()
        wait_until(attention.told, "the webhook arrives within seconds", seconds=8)
        assert worker.stop() == 0

    [request] = attention.taken
    verified = Webhook(SECRET).verify(request.body, request.headers)
    assert verified == json.loads(request.body)
    data = verified["data"]
    assert verified["type"] == "group_connection.status_changed"
    assert (data["id"], data["rule"]) == (request.headers["webhook-id"], "group-needs-attention")
    assert (data["severity"], data["source"], data["to"]) == ("warning", "e2e", "needs_attention")
    assert (data["entity"]["id"], data["connection"]["id"]) == (group, connection)
    employer = stage.world.employer(stage.world.connection(connection)["employer"])
    assert data["connection"]["employer"]["name"] in {employer["trade_name"], employer["legal_name"]}
    assert data["connection"]["employer"]["external_id"] == employer["external_id"]
    assert data["carrier"]["name"]
    assert backend.notices() == ["notifier.baseline"]


def test_tells_exactly_what_happened_in_its_order(place: Path, stage: Stage, receiver: Receiver) -> None:
    config = write_config(place, stage, webhook("backend", receiver))
    before = snapshot(stage.world)
    with Worker(place, config) as worker:
        worker.until_polled()
        stage.do(lambda: stage.world.add_connection(groups=3))
        _until_told(stage, receiver)
        for _ in range(4):  # one change of each connection between two polls, so that none is hidden
            stage.do(lambda: [_move(stage, id_) for id_ in stage.world.ids()])
            _until_told(stage, receiver)
        stage.do(lambda: stage.world.remove_connection(stage.world.ids()[0]))
        stage.do(lambda: stage.world.add_group(stage.world.ids()[0]))
        _until_told(stage, receiver)
        assert worker.stop() == 0

    verdict = judge(before, stage.world, receiver.taken, receiver.told())
    assert verdict.is_good, verdict
    assert verdict.repeats == 0
    assert verdict.transitions > 50
    types = {body["type"].partition(".")[2] for body in receiver.told()}
    assert types >= {"added", "status_changed", "removed"}
    assert receiver.notices() == ["notifier.baseline"]
    for request in receiver.taken:
        Webhook(SECRET).verify(request.body, request.headers)


def test_tells_several_changes_between_two_polls_as_their_sum(
    place: Path, stage: Stage, receiver: Receiver
) -> None:
    config = write_config(place, stage, webhook("backend", receiver))
    before = snapshot(stage.world)
    with Worker(place, config) as worker:
        worker.until_polled()
        for _ in range(5):
            stage.do(lambda: [stage.world.step() for _ in range(25)])
            wait_until(lambda: _folds(before, stage, receiver), "what was told leads to what is there")
        assert worker.stop() == 0
    assert _folds(before, stage, receiver)
    known = {step for steps in happened(stage.world.journal).values() for step in steps}
    entities = {(kind, id_) for kind, id_, _, _ in known}
    assert {step_of(body)[:2] for body in receiver.told()} <= entities


def test_writes_events_to_a_pipe_and_a_log_of_json_without_secrets(
    place: Path, stage: Stage, receiver: Receiver
) -> None:
    backend = webhook("backend", receiver, headers="{x-canary: canary-header-42}")
    backend = backend.replace("/clasp", "/canary-path?token=canary-token")
    rules = EVERYTHING.replace("[backend]", "[log, backend]")
    config = write_config(place, stage, "  log: {type: console}\n" + backend, rules)
    eins = set(re.findall(r'"broker_federal_ein":"([^"]+)"', _world_text(stage)))
    assert len(eins) > 10
    answers = iter([500, 400])
    receiver.answer = lambda _request: next(answers, 204)
    with Worker(place, config, "--log-level", "debug") as worker:
        worker.until_polled()
        stage.fault("status", status=401, times=1)
        stage.fault("truncate", times=1)
        wait_until(lambda: len(worker.log("poll.completed")) > 3, "polls after the faults")
        stage.trouble()
        stage.do(lambda: stage.world.add_connection(groups=4))
        wait_until(lambda: len(worker.out.splitlines()) >= 10, "all is told", seconds=15)
        assert worker.stop() == 0
        out, err = worker.out, worker.err

    events = [json.loads(line) for line in out.splitlines()]
    assert {"notifier.baseline", "connection.added"} <= {event["type"] for event in events}
    lines = [json.loads(line) for line in err.splitlines()]
    assert {"worker.started", "poll.completed", "delivery.attempted"} <= {line["event"] for line in lines}
    eins |= set(re.findall(r'"broker_federal_ein":"([^"]+)"', _world_text(stage)))
    stored = "".join(path.read_text(errors="replace") for path in (place / "store").rglob("*.aof"))
    assert "needs_attention" in stored
    sent = "".join(request.body.decode() for request in receiver.requests)
    secrets = {API_KEY, SECRET, SECRET.removeprefix("whsec_"), "canary-"}
    for name, text in {"stdout": out, "stderr": err, "the store": stored, "the webhook": sent}.items():
        found = [secret for secret in secrets | eins if secret in text]
        assert not found, f"{name} holds {found}"


def _move(stage: Stage, id_: str) -> None:
    world = stage.world
    options = lifecycle.moves(world.connection(id_))
    if options:
        move = world.rng.choice(options)
        world.change(id_, lambda item: lifecycle.apply(item, move, stage.clock.now(), world.new_id))


def _until_told(stage: Stage, receiver: Receiver) -> None:
    count = len(stage.world.journal)
    wait_until(lambda: len(receiver.told()) >= count, f"{count} transitions are told")


def _folds(before, stage: Stage, receiver: Receiver) -> bool:
    told = told_by_connection(receiver.told())
    return not differences(fold(before, told), stage.do(lambda: snapshot(stage.world)))


def _world_text(stage: Stage) -> str:
    return "".join(stage.world.text(id_).decode() for id_ in stage.world.ids())
