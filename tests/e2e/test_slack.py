"""Alerts in Slack, by real workers: a message is posted once, and whoever comes next goes on with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.doubles.slack import TOKEN, Slack, running_slack
from tests.e2e.configs import write_config
from tests.e2e.stage import Stage
from tests.support.process import Worker
from tests.support.servers import wait_until

RULES = """\
  - name: needs
    while: {entity: group_connection, status: needs_attention}
    include_existing: no
    note: "Look at it."
    notify: [ops]
"""


@pytest.fixture
def slack(stage: Stage) -> Iterator[Slack]:
    running = running_slack()
    yield stage.do(running.__aenter__)
    stage.do(lambda: running.__aexit__(None, None, None))


def test_a_message_lives_on_with_another_worker(place: Path, stage: Stage, slack: Slack) -> None:
    sink = (
        f"  ops: {{type: slack, token: {TOKEN}, channel: C0000000001, api_url: {slack.url}/api, rate: 50}}\n"
    )
    config = write_config(place, stage, sink, RULES + "self_reports: []\n")

    def about(group: str) -> list[dict]:
        return [one for one in slack.there.values() if group in json.dumps(one["blocks"])]

    with Worker(place, config) as worker:
        worker.until_polled()
        connection, group = stage.trouble()
        wait_until(lambda: about(group), "the alert is posted")
        [posted] = about(group)
        assert "needs attention" in posted["text"]
        assert "Look at it." in json.dumps(posted["blocks"])
        wait_until(lambda: worker.log("delivery.attempted"), "it is settled where the message is")
        worker.kill()
    with Worker(place, config) as worker:
        worker.until_polled()
        stage.do(lambda: stage.world.set_group_status(connection, group, "completed"))
        wait_until(lambda: "is completed" in about(group)[0]["text"], "the message is edited")
        wait_until(lambda: any("thread_ts" in one for one in slack.messages), "the end is said in its thread")
        assert worker.stop() == 0
    [there] = about(group)
    assert there is posted
    assert there["text"].startswith("\N{WHITE HEAVY CHECK MARK}")
    [reply] = [one for one in slack.messages if "thread_ts" in one]
    assert "is completed" in reply["text"]
    assert not reply["reply_broadcast"]
