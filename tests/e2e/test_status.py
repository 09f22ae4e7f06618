"""What the commands say where something waits in vain: nobody polls, a place fails, a silence covers nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doubles.slack import TOKEN, running_slack
from tests.e2e.configs import webhook, write_config
from tests.e2e.stage import Receiver, Stage
from tests.support.process import Ended, Worker, run_notifier
from tests.support.servers import wait_until

NEEDS = """\
  - name: needs
    while: {entity: group_connection, status: needs_attention}
    include_existing: no
    notify: [backend]
"""


def run(place: Path, *args: str) -> Ended:
    ended = run_notifier(place, *args, NOTIFIER_CONFIG=str(place / "notifier.yaml"))
    assert "Traceback" not in ended.err, ended.err
    return ended


@pytest.fixture
def worker(place: Path, stage: Stage, receiver: Receiver) -> Iterator[Worker]:
    """One that has polled."""
    with Worker(place, write_config(place, stage, webhook("backend", receiver), NEEDS)) as worker:
        worker.until_polled()
        yield worker


def test_status_and_whoever_waits_for_a_poll_hear_that_nobody_polls(place: Path, worker: Worker) -> None:
    status = run(place, "status")
    assert (status.code, "STALLED" in status.out) == (0, False), status
    assert run(place, "status", "--json").json()["stalled"] is None
    assert worker.stop() == 0
    wait_until(lambda: "STALLED" in run(place, "status").out, "three intervals have passed")
    said = run(place, "status").out
    assert "s old, and 3 intervals are 3 s: is `notifier run` running" in said
    assert "3 intervals" in run(place, "status", "--json").json()["stalled"]
    added = run(place, "silence", "add", "--where", "rule=needs", "--for", "2h")
    assert (added.code, "no poll may come: the last complete snapshot" in added.err) == (0, True), added
    expired = run(place, "silence", "expire", added.out.partition(":")[0])
    assert (expired.code, "no poll may come" in expired.err) == (0, True), expired


def test_a_silence_says_what_it_covers_and_is_refused_where_that_is_nothing(
    place: Path, stage: Stage, worker: Worker
) -> None:
    connection, group = stage.trouble()
    wait_until(lambda: run(place, "alerts", "list", "--json").json(), "the alert is open")
    [listed] = run(place, "alerts", "list", "--json").json()
    item = next(one for one in stage.world.connections() if one["id"] == connection)
    carrier = next(one["carrier"] for one in item["group_connections"] if one["id"] == group)
    name = stage.world.carrier(carrier)["trade_name"]
    assert listed["entity"]["id"] == group

    def add(where: str) -> Ended:
        return run(place, "silence", "add", "--where", where, "--for", "2h")

    assert "matches 1 of 1 open alert now" in add(f"carrier={carrier}").out
    assert "matches 0 of 1 open alert now" in add("carrier=carr_nope").out
    for where, why in {
        f"carrier={name.upper()}": f"goes by ids (carr_...); it is {carrier}",
        "carrier=Nobody Inc": "goes by ids (carr_...)",
        f"employer={stage.world.employer(item['employer'])['trade_name']}": f"it is {item['employer']}",
        "rule=need": 'there is no such rule; did you mean "needs"?',
    }.items():
        refused = add(where)
        assert (refused.code, why in refused.err) == (2, True), refused
    assert worker.stop() == 0


def test_status_names_a_channel_that_fails_while_others_take_messages(place: Path, stage: Stage) -> None:
    running = running_slack()
    slack = stage.do(running.__aenter__)
    slack.members = {"C0000000001"}
    sink = (
        f"  ops: {{type: slack, token: {TOKEN}, channel: C0000000001, api_url: {slack.url}/api, rate: 50, "
        "retry: [1h]}\n"
    )
    rules = (
        '  - {name: groups, when: {entity: group_connection}, notify: ["ops#C0000000002"]}\n'
        "  - {name: connections, when: {entity: connection}, notify: [ops]}\n"
    )
    with Worker(place, write_config(place, stage, sink, rules)) as worker:
        worker.until_polled()
        item = next(stage.world.connections())
        group = item["group_connections"][0]
        stage.do(lambda: stage.world.set_group_status(item["id"], group["id"], "review", follow=False))
        wait_until(lambda: "not_in_channel" in run(place, "status").out, "it has failed")
        stage.do(lambda: stage.world.set_status(item["id"], "review"))
        wait_until(lambda: "ok elsewhere" in run(place, "status").out, "something else is taken")
        [ops] = [line for line in run(place, "status").out.splitlines() if line.startswith("ops")]
        found = run(place, "status", "--json").json()["sinks"]["ops"]
        slack.members.add("C0000000002")
        assert worker.stop() == 0
    assert "ok elsewhere; 1 lane waits to be tried again" in ops
    assert "C0000000002: not_in_channel; see `notifier history --deliveries`" in ops
    assert found["retrying"] == {"lanes": 1, "target": "C0000000002", "reason": "not_in_channel"}
    stage.do(lambda: running.__aexit__(None, None, None))


def test_status_tells_of_a_table_of_owners_that_cannot_be_read(place: Path, stage: Stage) -> None:
    sink = '  ops: {type: slack, token: xoxb-1, channel: "#ops", api_url: "http://127.0.0.1:9/"}\n'
    owners = "owners: {file: owners.csv}\n"
    write_config(place, stage, sink, NEEDS.replace("[backend]", "[owner]") + owners)
    (place / "owners.csv").write_text("employer,owner\ner_1,sam@example.com\n")
    assert "OWNERS" not in run(place, "status").out
    (place / "owners.csv").write_text("employer,owner\ner_1,nobody\ner_2,nobody\n")
    status = run(place, "status")
    assert (status.code, "OWNERS: " in status.out) == (0, True), status
    assert "owners.csv:2: owner: is neither an e-mail address" in status.out
    assert "and 1 more problem;" in status.out
    assert "owners.csv:2" in run(place, "status", "--json").json()["owners_problem"]
