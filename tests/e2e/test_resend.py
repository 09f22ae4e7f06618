"""What happened, asked for afterwards: explained, replayed to a new sink, and how things stand sent anew."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

from tests.doubles.slack import TOKEN, running_slack
from tests.e2e.configs import webhook, write_config
from tests.e2e.stage import Receiver, Stage
from tests.support.process import Ended, Worker, run_notifier
from tests.support.servers import wait_until

RULES = """\
  - {name: dental, when: {carrier: carr_none, to: completed}, notify: [backend]}
  - {name: everything, when: {}, notify: [backend]}
  - name: needs
    while: {entity: group_connection, status: needs_attention}
    include_existing: no
    notify: [ops]
self_reports: []
"""


def run(place: Path, *args: str) -> Ended:
    ended = run_notifier(place, *args, NOTIFIER_CONFIG=str(place / "notifier.yaml"))
    assert "Traceback" not in ended.err, ended.err
    return ended


def test_what_happened_is_explained_sent_to_a_new_sink_and_the_state_sent_anew(
    place: Path, stage: Stage, receiver: Receiver
) -> None:
    slack = running_slack()
    double = stage.do(slack.__aenter__)
    newcomer = stage.receiver()
    ops = (
        f"  ops: {{type: slack, token: {TOKEN}, channel: C0000000001, api_url: {double.url}/api, rate: 50}}\n"
    )
    sinks = webhook("backend", receiver) + ops
    config = write_config(place, stage, sinks, RULES)
    with Worker(place, config) as worker:
        worker.until_polled()
        _, group = stage.trouble()
        wait_until(lambda: double.messages, "people are told")
        wait_until(lambda: len(receiver.told()) == len(stage.world.journal), "programs are told")
        wait_until(lambda: len(worker.log("delivery.attempted")) > len(receiver.told()), "it is settled")
        assert worker.stop() == 0

    [event] = [one for one in receiver.told() if one["data"]["entity"]["id"] == group]
    told = run(place, "explain", event["data"]["id"], "--json").json()
    rules = {rule["rule"]: rule for rule in told["rules"]}
    assert (rules["dental"]["matches"], sorted(rules["dental"]["unmet"])) == (False, ["carrier", "to"])
    assert (rules["everything"]["matches"], rules["needs"]["matches"]) == (True, True)
    states = {sink["sink"]: sink for sink in told["sinks"]}
    assert (states["backend"]["state"], states["ops"]["state"]) == ("told", "told")
    [posted] = states["ops"]["attempts"]
    [ts] = double.there
    link = f"https://payroll.slack.com/archives/C0000000001/p{ts.replace('.', '')}"
    assert posted["permalink"] == link
    text = run(place, "explain", event["data"]["id"]).out
    assert "dental (when): does not match: " in text
    assert link in text
    assert run(place, "explain", "evt_none").code == 1

    rows = list(csv.DictReader(io.StringIO(run(place, "history", "--deliveries", "--csv").out)))
    assert {(row["sink"], row["outcome"]) for row in rows} == {("backend", "delivered"), ("ops", "delivered")}
    assert [row["permalink"] for row in rows if row["sink"] == "ops"] == [link]
    events = list(csv.DictReader(io.StringIO(run(place, "history", "--csv").out)))
    assert {row["event"] for row in events} >= {one["data"]["id"] for one in receiver.told()}

    write_config(place, stage, sinks + webhook("new", newcomer), RULES.replace("[backend]", "[backend, new]"))
    assert "no attempt on record" in run(place, "explain", event["data"]["id"]).out
    wrong = run(place, "replay", "ops", "--since", "1h", "--yes")
    assert (wrong.code, "webhook, console, command, pagerduty" in wrong.err) == (2, True)
    assert run(place, "replay", "new", "--yes").code == 2, "from when on?"
    asked = run(place, "replay", "new", "--since", "1h")
    assert (asked.code, "say --yes" in asked.err) == (2, True)
    again = run(place, "replay", "new", "--since", "1h", "--yes")
    assert again.code == 0, again
    assert "waits, with" in run(place, "explain", event["data"]["id"]).out
    resynced = run(place, "resync", "new", "--yes")
    assert resynced.code == 0, resynced
    connections = stage.do(lambda: list(stage.world.connections()))
    with Worker(place, config) as worker:
        worker.until_polled()
        entities = sum(1 + len(one["group_connections"]) + len(one["events"]) for one in connections)
        wait_until(lambda: len(newcomer.told()) == len(receiver.told()) + entities, "all of it arrives")
        assert worker.stop() == 0
    replayed = [one for one in newcomer.told() if not one["type"].endswith(".current")]
    assert [one["data"]["id"] for one in replayed] == [one["data"]["id"] for one in receiver.told()]
    current = {
        one["data"]["entity"]["id"]: one for one in newcomer.told() if one["type"].endswith(".current")
    }
    assert len(current) == entities
    for connection in connections:
        for group_connection in connection["group_connections"]:
            body = current[group_connection["id"]]
            assert body["type"] == "group_connection.current"
            assert body["data"]["entity"]["status"] == body["data"]["to"] == body["data"]["from"]
            assert body["data"]["to"] == group_connection["status"]
            assert body["data"]["connection"]["id"] == connection["id"]
    assert "broker_federal_ein" not in json.dumps(newcomer.bodies())
    stage.do(lambda: slack.__aexit__(None, None, None))
