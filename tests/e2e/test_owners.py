"""Owners by the commands: a bad table is told row by row, and what nobody owns is listed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.e2e.configs import webhook, write_config
from tests.e2e.stage import Receiver, Stage
from tests.support.process import Ended, Worker, run_notifier

SLACK = '  ops: {type: slack, token: xoxb-1, channel: "#ops", api_url: "http://127.0.0.1:9/"}\n'
RULES = """\
  - name: everything-to-our-backend
    when: {}
    notify: [backend]
  - name: needs
    while: {entity: group_connection, status: needs_attention}
    notify: [owner]
owners: {OWNERS}
"""


@pytest.fixture
def config(place: Path, stage: Stage, receiver: Receiver) -> Path:
    rules = RULES.replace("OWNERS", "file: owners.csv")
    return write_config(place, stage, webhook("backend", receiver) + SLACK, rules)


def run(place: Path, *args: str) -> Ended:
    ended = run_notifier(place, *args, NOTIFIER_CONFIG=str(place / "notifier.yaml"))
    assert "Traceback" not in ended.err, ended.err
    return ended


@pytest.mark.parametrize("command", [["check"], ["run"], ["owners", "list"]], ids=" ".join)
def test_a_bad_table_is_told_row_by_row_and_ends_with_2(
    place: Path, config: Path, command: list[str]
) -> None:
    bad = "".join(f"er_{n},nobody\n" for n in range(30))
    (config.parent / "owners.csv").write_text(f"employer,owner\n{bad}")
    ended = run(place, *command)
    assert ended.code == 2, ended
    told = ended.err.splitlines()
    assert len(told) == 21
    assert told[0].endswith(
        "owners.csv:2: owner: is neither an e-mail address nor the id of a Slack member (U0123456789)"
    )
    assert told[-1].endswith("owners.csv: and 10 more problems")


def test_check_counts_the_rows(place: Path, config: Path) -> None:
    assert run(place, "check").code == 2  # there is no table
    (config.parent / "owners.csv").write_text("employer,owner\ner_1,sam@example.com\n")
    ended = run(place, "check")
    assert (ended.code, "owners.csv: 1 row: fine" in ended.out) == (0, True), ended


def test_check_online_fetches_the_table(place: Path, stage: Stage, receiver: Receiver) -> None:
    rules = RULES.replace("OWNERS", f'url: "{receiver.url}"')
    write_config(place, stage, webhook("backend", receiver) + SLACK, rules)
    assert run(place, "check").code == 0
    ended = run(place, "check", "--online")
    assert (ended.code, "FAILED owners:" in ended.out) == (1, True), ended


def test_what_nobody_owns_is_listed(place: Path, stage: Stage, config: Path) -> None:
    employers = sorted({connection["employer"] for connection in stage.world.connections()})
    (config.parent / "owners.csv").write_text(
        f"employer,owner,team\n{employers[0]},sam@example.com,Benefits\n"
    )
    with Worker(place, config) as worker:
        worker.until_polled()
        everything = json.loads(run(place, "owners", "list", "--json").out)
        listed = run(place, "owners", "list", "--unowned", "--json")
        assert listed.err == ""  # the table goes by ids
        unowned = json.loads(listed.out)
        (config.parent / "owners.csv").write_text("employer,owner\n48213,sam@example.com\n")
        by_external_id = run(place, "owners", "list", "--unowned")
        assert worker.stop() == 0
    assert f"{len(employers)} employers and carriers not looked up yet" in by_external_id.err
    owned = [row for row in everything if row not in unowned]
    assert {row["employer"] for row in owned} <= {employers[0]}
    assert all((row["owner"], row["team"]) == ("sam@example.com", "Benefits") for row in owned)
    assert unowned
    assert employers[0] not in {row["employer"] for row in unowned}
    assert all(row["owner"] is None and row["group_connections"] >= 1 for row in unowned)
