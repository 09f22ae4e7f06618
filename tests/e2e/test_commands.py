"""The commands: what they print, and exit codes: 0 done, 1 it failed, 2 the command or configuration is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from notifier import __version__
from tests.e2e.configs import EVERYTHING, webhook, write_config
from tests.e2e.stage import API_KEY, SECRET, Receiver, Stage
from tests.support.process import Ended, Worker, run_installed, run_notifier
from tests.support.servers import wait_until


def run(place: Path, *args: str, **env: str) -> Ended:
    """A command with the configuration of the test, by its variable as in production."""
    ended = run_notifier(place, *args, NOTIFIER_CONFIG=str(place / "notifier.yaml"), **env)
    assert "Traceback" not in ended.err, ended.err
    return ended


def test_check_accepts_a_right_configuration_and_points_at_each_wrong_line(
    place: Path, stage: Stage, receiver: Receiver
) -> None:
    config = write_config(place, stage, webhook("backend", receiver))
    fine = run(place, "check")
    assert (fine.code, "2 rules, 1 sink: fine" in fine.out) == (0, True), fine

    text = config.read_text().replace("poll_interval: 1s", "poll_intervall: 1s")
    config.write_text(text.replace("notify: [backend]", "notify: [backand]", 1))
    wrong = run(place, "check")
    lines = config.read_text().splitlines()
    for part in ("poll_intervall", "[backand]"):
        number = next(number for number, line in enumerate(lines, 1) if part in line)
        assert f"notifier.yaml:{number}" in wrong.err, wrong.err
    assert wrong.code == 2
    assert "poll_interval" in wrong.err
    assert '"backend"' in wrong.err
    assert API_KEY not in wrong.out + wrong.err
    assert SECRET not in wrong.out + wrong.err


def test_check_looks_for_the_certificates_that_are_named(
    place: Path, stage: Stage, receiver: Receiver
) -> None:
    write_config(place, stage, webhook("backend", receiver, tls="{ca: x.pem}"))
    wrong = run(place, "check")
    assert (wrong.code, f"sinks.backend: {place}/x.pem: there is no such file" in wrong.err) == (2, True), (
        wrong
    )
    (place / "x.pem").write_text("")
    assert run(place, "check").code == 0


@pytest.mark.parametrize(
    "args",
    [
        ["check", "--config", "nowhere.yaml"],
        ["frobnicate"],
        ["run", "--listen", "nonsense"],
        ["run", "--log-level", "nonsense"],
        ["send-test", "nobody"],
        ["sinks", "pause", "nobody"],
        ["dead", "replay", "backend"],
        ["sinks", "drop", "backend", "--yes"],
    ],
    ids=" ".join,
)
def test_a_wrong_command_ends_with_2_and_says_why(
    place: Path, stage: Stage, receiver: Receiver, args: list[str]
) -> None:
    write_config(place, stage, webhook("backend", receiver))
    ended = run(place, *args)
    assert ended.code == 2, ended
    assert ended.err


def test_check_online_tries_everything_and_tells_what_does_not_answer(
    place: Path, stage: Stage, receiver: Receiver
) -> None:
    config = write_config(place, stage, webhook("backend", receiver) + "  log: {type: console}\n")
    fine = run(place, "check", "--online")
    assert fine.code == 0, fine
    assert {line.split(":")[0] for line in fine.out.splitlines() if line.startswith("ok")} == {
        "ok     clasp",
        "ok     store",
        "ok     sink backend",
        "ok     sink log",
    }
    assert receiver.requests == []

    text = config.read_text().replace(API_KEY, "canary-wrong-key")
    config.write_text(text.replace(receiver.url, "http://127.0.0.1:9/clasp"))
    failed = run(place, "check", "--online")
    assert failed.code == 1, failed
    said = {line.split(":")[0] for line in failed.out.splitlines()}
    assert {"FAILED clasp", "ok     store", "FAILED sink backend", "ok     sink log"} <= said
    assert "canary-wrong-key" not in failed.out + failed.err


def test_the_installed_script_prints_its_version_and_says_what_is_wrong(place: Path) -> None:
    ended = run_installed(place, "--version")
    assert (ended.code, ended.out) == (0, f"notifier {__version__}\n"), ended
    wrong = run_installed(place, "check", "--config", "nowhere.yaml")
    assert (wrong.code, "there is no such file" in wrong.err) == (2, True), wrong
    assert run_installed(place, "frobnicate").code == 2


def test_schema_prints_the_json_schema_of_the_configuration(place: Path) -> None:
    ended = run(place, "schema")
    assert ended.code == 0
    assert {"name", "source", "store", "sinks", "rules"} <= ended.json()["properties"].keys()


def test_status_and_history_show_what_was_seen_and_told(
    place: Path, stage: Stage, receiver: Receiver
) -> None:
    write_config(place, stage, webhook("backend", receiver))
    before = run(place, "status")
    assert (before.code, "nothing polled yet" in before.out) == (0, True)
    with Worker(place, place / "notifier.yaml") as worker:
        worker.until_polled()
        connection, group = stage.trouble()
        count = len(stage.world.journal)
        wait_until(lambda: len(receiver.told()) == count, "all is told")
        status = run(place, "status", "--json").json()
        assert worker.stop() == 0

    assert status["known"]["connection"] == len(stage.world)
    assert status["complete_at"]
    assert (status["held"], status["sinks"]["backend"]["dead"]) == (None, 0)
    events = run(place, "history", "--json").json()
    assert [event["type"] for event in events][-1] == "notifier.baseline"
    assert [event["data"]["id"] for event in reversed(events)] == [
        body["data"]["id"] for body in receiver.bodies()
    ]
    about = run(place, "history", "--json", "--entity", group).json()
    assert [event["data"]["entity"]["id"] for event in about] == [group]
    assert about[0]["data"]["connection"]["id"] == connection
    assert [event["type"] for event in about] == ["group_connection.status_changed"]
    attempts = run(place, "history", "--deliveries", "--json").json()
    assert {attempt["id"] for attempt in attempts} == {body["data"]["id"] for body in receiver.bodies()}
    assert {attempt["outcome"] for attempt in attempts} == {"delivered"}


def test_an_alert_opens_at_a_receiver_and_is_listed(place: Path, stage: Stage, receiver: Receiver) -> None:
    rules = (
        "  - name: needs\n    while: {entity: group_connection, status: needs_attention}\n"
        "    include_existing: no\n    for: 1s\n    notify: [backend]\n"
        '  - name: own\n    when: {type: "notifier.*"}\n    notify: [backend]\n'
    )
    write_config(place, stage, webhook("backend", receiver), rules)
    with Worker(place, place / "notifier.yaml") as worker:
        worker.until_polled()
        _, group = stage.trouble()
        wait_until(lambda: group in _about(receiver, "alert.opened"), "the alert is told")
        [listed] = [
            one for one in run(place, "alerts", "list", "--json").json() if one["entity"]["id"] == group
        ]
        shown = run(place, "alerts", "list", "--rule", "needs")
        assert worker.stop() == 0
    assert (listed["rule"], listed["phase"], listed["told"]) == ("needs", "open", ["backend"])
    assert listed["entity"]["status"] == "needs_attention"
    assert (shown.code, group in shown.out) == (0, True)
    assert run(place, "alerts", "list", "--rule", "nobody").out.strip() == "no alerts"


def test_an_alert_is_taken_snoozed_and_given_back(place: Path, stage: Stage, receiver: Receiver) -> None:
    rules = (
        "  - name: needs\n    while: {entity: group_connection, status: needs_attention}\n"
        "    include_existing: no\n    notify: [backend]\n"
    )
    write_config(place, stage, webhook("backend", receiver), rules)
    with Worker(place, place / "notifier.yaml") as worker:
        worker.until_polled()
        _, group = stage.trouble()
        wait_until(lambda: group in _about(receiver, "alert.opened"), "the alert is told")
        alerts = run(place, "alerts", "list", "--json").json()
        [id_] = [one["id"] for one in alerts if one["entity"]["id"] == group]
        assert "1 alert taken by Sam" in run(place, "alerts", "ack", id_, "--by", "Sam").out
        wait_until(lambda: group in _about(receiver, "alert.acknowledged"), "who has it is told")
        assert id_ not in run(place, "alerts", "list", "--free").out
        said = run(place, "alerts", "snooze", id_, "--until", "change", "--by", "Alex")
        assert said.out.strip() == "1 alert taken by Alex with the next poll, and snoozed until it changes"
        assert "snoozed until 2" in run(place, "alerts", "snooze", id_, "--for", "7d").out
        assert run(place, "alerts", "ack", id_, "--undo").code == 0
        wait_until(lambda: group in _about(receiver, "alert.released"), "that nobody has it is told")
        assert id_ in run(place, "alerts", "list", "--free").out
        assert worker.stop() == 0
    for wrong, why in (
        (["ack", "alert_none"], "no open alert or message has the id alert_none"),
        (["ack", id_, "--by", " "], "--by: write a name"),
        (["snooze", id_], "say either --until or --for"),
        (["snooze", id_, "--until", "soon"], "write change, tomorrow, 2026-12-01"),
        (["snooze", id_, "--until", "2020-01-01"], "is not within the next 90 days"),
        (["snooze", id_, "--for", "91d"], "is not within the next 90 days"),
    ):
        told = run(place, "alerts", *wrong)
        assert (told.code, why in told.err) == (2, True), told


def test_a_digest_is_shown_as_it_would_be_now_and_not_sent(
    place: Path, stage: Stage, receiver: Receiver
) -> None:
    rules = f"{EVERYTHING}  - {{name: any, while: {{entity: group_connection}}, notify: [backend]}}\n"
    digest = "digests: [{name: monday, at: mon 09:00, timezone: UTC, notify: [backend]}]\n"
    config = write_config(place, stage, webhook("backend", receiver), rules + digest)
    assert "nothing was polled yet" in run(place, "digest", "monday").err
    with Worker(place, config) as worker:
        worker.until_polled()
        wait_until(lambda: run(place, "alerts", "list", "--json").json() != [], "alerts are open")
        open_ = len(run(place, "alerts", "list", "--json").json())
        body = run(place, "digest", "monday", "--json").json()
        said = run(place, "digest", "monday").out.splitlines()
        assert worker.stop() == 0
    assert (body["type"], body["data"]["open"]) == ("alert.digest", open_)
    assert said[0].startswith("monday: ")
    assert any(line.startswith("- ") for line in said)
    assert not any(b"alert.digest" in request.body for request in receiver.requests)
    wrong = run(place, "digest", "tuesday")
    assert (wrong.code, "the configuration has: monday" in wrong.err) == (2, True)


def test_a_silence_is_added_listed_and_ended(place: Path, stage: Stage, receiver: Receiver) -> None:
    write_config(place, stage, webhook("backend", receiver))
    with Worker(place, place / "notifier.yaml") as worker:
        worker.until_polled()
        said = run(place, "silence", "add", "--where", "carrier=carr_1", "--for", "2h", "--by", "Sam")
        assert (said.code, "matches 0 of 0 open alerts now" in said.out, said.err) == (0, True, ""), said
        id_ = said.out.partition(":")[0]
        [listed] = run(place, "silence", "list", "--json").json()
        assert (listed["id"], listed["where"], listed["by"]) == (id_, {"carrier": "carr_1"}, "Sam")
        assert id_ in run(place, "silence", "list").out
        assert run(place, "silence", "expire", id_).code == 0
        assert run(place, "silence", "list").out.strip() == "no silences"
        assert worker.stop() == 0
    for wrong in (
        ["--where", "carrier", "--for", "2h"],
        ["--where", "colour=red", "--for", "2h"],
        ["--where", "carrier=carr_1", "--for", "soon"],
        ["--where", "carrier=carr_1", "--for", "31d"],
        ["--for", "2h"],
    ):
        assert run(place, "silence", "add", *wrong).code == 2
    assert run(place, "silence", "expire", "sil_none").code == 2


def test_what_rules_would_say_is_shown_and_a_sink_in_preview_sends_nothing(
    place: Path, stage: Stage, receiver: Receiver
) -> None:
    stage.trouble()
    rules = (
        "  - name: needs\n    while: {entity: group_connection, status: needs_attention}\n"
        "    severity: warning\n    include_existing: each\n    notify: [backend]\n"
        "  - name: everything\n    when: {}\n    notify: [backend]\n"
    )
    config = write_config(place, stage, webhook("backend", receiver, mode="preview"), rules)
    early = run(place, "preview")
    assert (early.code, "start `notifier run`" in early.err) == (1, True), early
    checked = run(place, "check", "--online")
    assert (checked.code, "sink backend is in preview" in checked.out) == (0, True), checked
    with Worker(place, config) as worker:
        worker.until_polled()
        wait_until(lambda: '"alert.opened"' in worker.out, "the first look is written")
        assert ", in preview: nothing is sent" in run(place, "status").out
        assert run(place, "status", "--json").json()["sinks"]["backend"]["is_preview"]
        attempts = run(place, "history", "--deliveries", "--json").json()
        shown = run(place, "preview", "--json", "--full").json()
        said = run(place, "preview", "--rule", "needs")
        assert worker.stop() == 0
    assert {(one["outcome"], one["reason"]) for one in attempts} == {("delivered", "preview")}
    lines = [json.loads(line) for line in worker.out.splitlines()]
    told = [line["body"]["data"]["entity"]["id"] for line in lines if line["event"] == "alert.opened"]
    assert {line["type"] for line in lines} == {"preview"}
    assert shown["places"]["backend"]["messages"] == len(shown["places"]["backend"]["shown"]) >= len(told) > 0
    assert shown["moments"] == ["everything"]
    assert (said.code, "needs attention" in said.out, "everything" in said.out) == (0, True, False), said
    tried = run(place, "send-test", "backend")
    assert (tried.code, "in preview" in tried.out) == (0, True), tried
    assert run(place, "preview", "--rule", "nedes").code == 2
    assert receiver.requests == []


def _about(receiver: Receiver, type_: str) -> list[str]:
    """The entities of which a receiver was told this."""
    return [body["data"]["entity"]["id"] for body in receiver.bodies() if body["type"] == type_]


def test_dead_letters_are_listed_shown_replayed_and_dropped(
    place: Path, stage: Stage, receiver: Receiver
) -> None:
    write_config(place, stage, webhook("backend", receiver))
    receiver.answer = lambda request: 204 if b'"notifier.' in request.body else 400
    with Worker(place, place / "notifier.yaml") as worker:
        worker.until_polled()
        _, group = stage.trouble()
        count = len(stage.world.journal)
        wait_until(lambda: "notifier.dead_letters" in receiver.notices(), "the dead letters are told")
        wait_until(lambda: worker.readiness()["status"] == "degraded", "readiness names them")
        assert worker.get("/readyz")[0] == 200

        letters = run(place, "dead", "list", "--json").json()
        assert [(letter["reason"], letter["attempts"]) for letter in letters] == [("http_400", 1)] * count
        shown = run(place, "dead", "show", "backend", letters[-1]["id"])
        assert (shown.code, group in shown.out, "http_400" in shown.out) == (0, True, True)

        receiver.answer = lambda _request: 204  # mended
        replayed = run(place, "dead", "replay", "backend", "--all")
        assert (replayed.code, f"{count} of {count}" in replayed.out) == (0, True), replayed
        wait_until(lambda: len(receiver.told()) == count, "they are delivered after all")
        assert run(place, "dead", "list", "--json").json() == []
        told = [body["data"]["id"] for body in receiver.told()]
        assert told == [letter["event"] for letter in letters], "under their old ids, in order"

        receiver.answer = lambda request: 204 if b'"notifier.' in request.body else 400
        stage.trouble()
        fresh = len(stage.world.journal) - count
        wait_until(lambda: len(receiver.requests) - len(receiver.taken) == count + fresh, "refused again")
        wait_until(
            lambda: worker.metric('notifier_dead_letters{sink="backend"}') == fresh, "they lie there again"
        )
        assert run(place, "dead", "drop", "backend", "--all").code == 2, "asks, and nobody is there"
        dropped = run(place, "dead", "drop", "backend", "--reason", "http_400", "--yes")
        assert (dropped.code, f"{fresh} dead letters" in dropped.out) == (0, True), dropped
        assert worker.stop() == 0
    listed = run(place, "dead", "list")
    assert (listed.code, listed.out) == (0, "no dead letters\n")


def test_approve_lets_held_removals_through_and_nothing_else(place: Path) -> None:
    with Stage(connections=24) as stage:
        receiver = stage.receiver()
        write_config(place, stage, webhook("backend", receiver))
        gone = stage.world.ids()[::4]
        with Worker(place, place / "notifier.yaml") as worker:
            worker.until_polled()
            stage.fault("vanish", ids=tuple(gone))
            wait_until(lambda: "notifier.removals_held" in receiver.notices(), "they are held")
            refused = run(place, "approve")
            assert (refused.code, gone[0] in refused.out) == (2, True), refused
            assert receiver.told() == []
            approved = run(place, "approve", "--yes")
            assert (approved.code, "approved" in approved.out) == (0, True), approved
            wait_until(lambda: len(receiver.told()) >= len(gone), "they are told as removed")
            assert worker.stop() == 0
        assert {body["type"] for body in receiver.told()} == {"connection.removed"}
        assert {body["data"]["entity"]["id"] for body in receiver.told()} == set(gone)
        assert len(receiver.told()) == len(gone)


def test_a_paused_sink_keeps_everything_until_it_is_resumed(
    place: Path, stage: Stage, receiver: Receiver
) -> None:
    other = stage.receiver()
    sinks = webhook("backend", receiver) + webhook("other", other)
    config = write_config(place, stage, sinks, EVERYTHING.replace("[backend]", "[backend, other]"))
    with Worker(place, config) as worker:
        worker.until_polled()
        wait_until(lambda: receiver.notices() and other.notices(), "the baseline is told")
        assert run(place, "sinks", "pause", "other", "--why", "maintenance").code == 0
        stage.trouble()
        count = len(stage.world.journal)
        wait_until(lambda: len(receiver.told()) == count, "the other sink goes on")
        rows = {row["sink"]: row for row in run(place, "sinks", "list", "--json").json()}
        assert (rows["other"]["paused"], rows["other"]["lanes waiting"]) == ("by an operator: maintenance", 1)
        assert (rows["backend"]["paused"], rows["backend"]["lanes waiting"]) == (None, 0)
        assert other.told() == []
        assert run(place, "sinks", "resume", "other").code == 0
        wait_until(lambda: len(other.told()) == count, "what waited is told")
        assert run(place, "sinks", "pause", "other").code == 0
        stage.trouble()
        count = len(stage.world.journal)
        wait_until(lambda: len(receiver.told()) == count, "all is told again")
        assert worker.stop() == 0

    write_config(place, stage, webhook("backend", receiver))  # without the other sink
    assert "not in the configuration" in run(place, "status").out
    dropped = run(place, "sinks", "drop", "other", "--yes")
    assert (dropped.code, "other is forgotten" in dropped.out) == (0, True), dropped
    assert run(place, "sinks", "drop", "other", "--yes").code == 1


def test_send_test_tells_what_the_receiver_answered(place: Path, stage: Stage, receiver: Receiver) -> None:
    write_config(place, stage, webhook("backend", receiver))
    taken = run(place, "send-test", "backend")
    assert (taken.code, "HTTP 204" in taken.out) == (0, True), taken
    [request] = receiver.taken
    request.verify(SECRET)
    assert json.loads(request.body)["type"] == "notifier.test"
    receiver.answer = lambda _request: 403
    refused = run(place, "send-test", "backend")
    assert (refused.code, "403" in refused.err) == (1, True), refused
