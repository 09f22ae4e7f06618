"""Places in Slack beside a sink's own channel: `check --online` finds what is wrong, `send-test` reaches them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.doubles.slack import CHANNELS, SAM, TOKEN, Slack, running_slack
from tests.e2e.configs import write_config
from tests.e2e.stage import Stage
from tests.support.process import Ended, run_notifier

RULES = """\
  - name: moves
    when: {carrier_name: Aetna}
    notify: ["ops#leads"]
    fallback: ["ops#C0999999999"]
  - name: needs
    while: {entity: group_connection, status: needs_attention}
    notify: [owner]
    mention: owner
self_reports: ["ops#C0000000002"]
owners: {file: owners.csv}
"""
OWNERS = f"""\
employer,owner,channel
er_1,,C0888888888
er_2,{SAM},
er_3,UNOTEXIST1,
er_4,sam@example.com,
er_5,nobody@example.com,
"""


@pytest.fixture
def slack(stage: Stage) -> Iterator[Slack]:
    running = running_slack()
    slack = stage.do(running.__aenter__)
    slack.tells_scopes = True
    slack.scopes |= {"users:read"}
    yield slack
    stage.do(lambda: running.__aexit__(None, None, None))


@pytest.fixture
def run(place: Path, stage: Stage, slack: Slack) -> Callable[..., Ended]:
    sink = f"  ops: {{type: slack, token: {TOKEN}, channel: C0000000001, api_url: {slack.url}/api}}\n"
    write_config(place, stage, sink, RULES)
    (place / "owners.csv").write_text(OWNERS)

    def run(*args: str) -> Ended:
        ended = run_notifier(place, *args, NOTIFIER_CONFIG=str(place / "notifier.yaml"))
        assert "Traceback" not in ended.err, ended.err
        return ended

    return run


def standing(ended: Ended) -> dict[str, str]:
    """Of each place that was tried: how it stands, and what was said."""
    lines = [line.split(": ", 1) for line in ended.out.splitlines() if "#" in line and ": " in line]
    return {what.split()[1]: f"{what.split()[0]} {said}" for what, said in lines}


def test_check_online_tries_every_place_that_is_named_and_posts_nothing(
    slack: Slack, run: Callable[..., Ended]
) -> None:
    ended = run("check", "--online")
    assert ended.code == 1, ended
    told = standing(ended)
    assert told["ops#leads"].startswith("ok it is in no public channel #leads")
    assert '"ops#leads"' in told["ops#leads"]
    assert told["ops#C0000000002"] == "ok it is a member of C0000000002"
    for missing in ("ops#C0999999999", "ops#C0888888888"):
        assert told[missing].startswith("FAILED Slack answered channel_not_found")
        assert "/invite" in told[missing]
    assert told[f"ops#{SAM}"].startswith("ok ")
    assert "user_not_found" in told["ops#UNOTEXIST1"]
    assert told["ops#sam@example.com"].startswith("ok ")
    assert told["ops#nobody@example.com"].startswith("FAILED Slack answered users_not_found")
    assert "(rule moves)" in ended.out
    assert slack.calls.count("users.conversations") == 3  # refused with private ones, then two pages: once
    assert slack.messages == []

    slack.members = {"C0000000001"}
    told = standing(run("check", "--online"))
    assert (
        told["ops#C0000000002"]
        == "FAILED Slack answered not_in_channel for C0000000002: /invite the app to the channel"
    )


def test_check_online_names_the_scopes_that_owners_need(slack: Slack, run: Callable[..., Ended]) -> None:
    slack.scopes = {"chat:write"}
    ended = run("check", "--online")
    told = standing(ended)
    assert ended.code == 1, ended
    assert "users:read and users:read.email" in told["ops#sam@example.com"]
    assert "ops#nobody@example.com" not in told  # once is enough
    assert "not tried: 1 more place in Slack" in ended.out


def test_a_long_table_is_tried_in_part(place: Path, slack: Slack, run: Callable[..., Ended]) -> None:
    rows = "".join(f"er_{n},p{n}@example.com\n" for n in range(70))
    (place / "owners.csv").write_text(f"employer,owner\n{rows}")
    ended = run("check", "--online")
    assert "not tried: 23 more places in Slack" in ended.out
    assert slack.calls.count("users.lookupByEmail") == 47  # and three channels


def test_a_webhook_and_a_table_of_addresses_are_warned_of(place: Path, stage: Stage) -> None:
    rules = (
        RULES.replace('"ops#leads"', "ops")
        .replace("ops#C0999999999", "ops")
        .replace("ops#C0000000002", "ops")
    )
    write_config(
        place,
        stage,
        "  ops: {type: slack, webhook_url: https://hooks.slack.com/services/x}\n",
        rules.replace("notify: [owner]", "notify: [ops]"),
    )
    (place / "owners.csv").write_text(OWNERS)
    ended = run_notifier(place, "check", "-c", str(place / "notifier.yaml"))
    assert ended.code == 0, ended
    assert "sinks.ops: an incoming webhook cannot find who an e-mail address belongs to" in ended.err


def test_send_test_reaches_other_channels_and_people(slack: Slack, run: Callable[..., Ended]) -> None:
    taken = run("send-test", f"ops#{CHANNELS['C0000000002'][1:]}")
    assert taken.code == 0, taken
    assert run("send-test", "ops#sam@example.com").code == 0
    assert [one["channel"] for one in slack.there.values()] == ["C0000000002", "D0000000001"]
    refused = run("send-test", "ops#nowhere")
    assert (refused.code, "channel_not_found" in refused.err) == (1, True), refused
    nobody = run("send-test", "ops#nobody@example.com")
    assert (nobody.code, "own channel of ops" in nobody.err) == (1, True), nobody
    assert run("send-test", "nobody#there").code == 2
