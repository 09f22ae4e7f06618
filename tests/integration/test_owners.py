"""Owners at work: the real poller and scripts, a table in a file, an account in memory, virtual time."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from notifier.config import Target
from notifier.errors import ConfigError
from notifier.models import Part
from notifier.poller.roster import read_file
from tests.support.account import connection, group
from tests.support.alerts import OWNERS, rule
from tests.support.rig import Rig


def told(rig: Rig, sink: str = "ops") -> list[tuple[str | None, str, str]]:
    """Where what was said of which entity."""
    sink_ = rig.sinks[sink]
    return [
        (target, body["type"].partition(".")[2], body["data"].get("entity", {}).get("id", ""))
        for target, body in zip(sink_.targets, sink_.got, strict=True)
    ]


async def trouble(rig: Rig, account, *numbers: int, status: str = "needs_attention") -> None:
    """Group connections that only an employer, or nobody, has an owner for; each in a poll of its own."""
    for n in numbers:
        account.set_status(f"conn_{n}", f"gc_{n}", status)
        await rig.poll()


@pytest.mark.parametrize(
    ("number", "place"),
    [(1, "sam@example.com"), (2, "#kim"), (3, "U0123456789")],
    ids=["mail", "channel", "id"],
)
async def test_an_alert_is_told_to_the_owner_until_its_end(owned, account, number, place):
    rig = owned()
    await rig.poll(times=2)
    await trouble(rig, account, number)
    await trouble(rig, account, number, status="completed")
    assert told(rig) == [(place, "opened", f"gc_{number}"), (place, "resolved", f"gc_{number}")]


async def test_what_nobody_owns_goes_to_the_fallback(owned, account, table):
    table.write_text("employer,owner\nsomebody,sam@example.com\n")
    rig = owned()
    await rig.poll(times=2)
    await trouble(rig, account, 1)
    assert told(rig) == [("#unowned", "opened", "gc_1")]
    assert "owner" not in rig.sinks["ops"].got[0]["data"]
    assert rig.sinks["ops"].got[0]["data"]["mention"] == ["here"]


async def test_the_owner_of_an_external_id_has_its_employer(owned, account, table):
    table.write_text("employer,owner\n48213,acme@example.com\n")
    rig = owned()
    await rig.poll(times=2)
    await trouble(rig, account, 4)
    assert told(rig) == [("acme@example.com", "opened", "gc_4")]


async def test_only_people_are_told_who_owns_it_and_only_news_mention_anybody(owned, account):
    rig = owned()
    await rig.poll(times=2)
    await trouble(rig, account, 1)
    await trouble(rig, account, 1, status="completed")
    opened, resolved = (body["data"] for body in rig.sinks["ops"].got)
    assert opened["owner"] == resolved["owner"] == {"owner": "sam@example.com", "team": "Benefits"}
    assert opened["mention"] == ["sam@example.com", "here"]
    assert "mention" not in resolved
    [shown] = rig.sinks["ops"].shown.values()
    assert "mention" not in shown["data"]
    for body in rig.sinks["backend"].got:
        assert not {"owner", "mention"} & body["data"].keys()


async def test_several_alerts_in_one_message_mention_each_owner_once(owned, account, table):
    table.write_text("carrier,owner,channel\ncarr_1,sam@example.com,#team\ncarr_A,kim@example.com,#team\n")
    rig = owned(rule(notify="[owner]", more="mention: owner"))
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll()
    account.set_status("conn_1", "gb_1", "needs_attention")
    await rig.poll()
    [[(part, said)]] = rig.sinks["ops"].threads.values()
    assert (part, said["data"]["mention"]) == (Part.NEWS, ["kim@example.com"])
    [shown] = rig.sinks["ops"].shown.values()
    assert shown["data"]["mention"] == ["sam@example.com", "kim@example.com"]
    assert all("mention" not in entry["data"] for entry in shown["data"]["entries"])


async def test_what_a_first_look_finds_is_counted_for_each_owner_and_pings_none(owned, account):
    for n in range(4):
        account.set_status(f"conn_{n}", f"gc_{n}", "needs_attention")
    rig = owned()
    await rig.poll(times=2)
    counted = dict(zip(rig.sinks["ops"].targets, rig.sinks["ops"].got, strict=True))
    assert counted.keys() == {"sam@example.com", "#kim", "U0123456789"}
    assert "2 group connections" in counted["U0123456789"]["data"]["message"]
    assert {tuple(body["data"]["mention"]) for body in counted.values()} == {("here",)}


@pytest.mark.parametrize("restarts", [False, True])
async def test_another_table_moves_no_message_that_is_there(owned, account, table, restarts):
    rig = owned()
    await rig.poll(times=2)
    await trouble(rig, account, 1)
    table.write_text("employer,owner\n,new@example.com\n")
    if restarts:
        rig.restart()
    await trouble(rig, account, 3)
    await trouble(rig, account, 1, status="completed")
    assert told(rig) == [
        ("sam@example.com", "opened", "gc_1"),
        ("new@example.com", "opened", "gc_3"),
        ("sam@example.com", "resolved", "gc_1"),
    ]
    assert rig.sinks["ops"].got[-1]["data"]["owner"]["owner"] == "sam@example.com"
    await trouble(rig, account, 1)
    assert told(rig)[-1] == ("new@example.com", "opened", "gc_1")


async def test_reminders_go_to_the_owner_of_the_opening(owned, account, table):
    rig = owned(rule(notify="[owner]", more="remind: 5m, mention: owner"))
    await rig.poll(times=2)
    await trouble(rig, account, 1)
    table.write_text("employer,owner\n,new@example.com\n")
    await rig.poll(times=5)
    assert told(rig) == [("sam@example.com", "opened", "gc_1"), ("sam@example.com", "reminder", "gc_1")]
    assert rig.sinks["ops"].got[-1]["data"]["mention"] == ["sam@example.com"]


async def test_an_alert_that_stood_behind_another_is_told_to_its_owner_of_the_opening(owned, account, table):
    second = rule(
        name="second", what="while: {entity: group_connection, not_status: pending}", notify="[owner]"
    )
    rig = owned(rule(notify="[owner]") + second)
    await rig.poll(times=2)
    await trouble(rig, account, 1)
    table.write_text("employer,owner\n,new@example.com\n")
    await trouble(rig, account, 1, status="processing")
    assert {target for target, _, _ in told(rig)} == {"sam@example.com"}
    assert sorted(what for _, what, _ in told(rig)) == ["opened", "opened", "resolved"]


@pytest.mark.parametrize("fallback", ["ops", "backend"])
async def test_a_place_that_is_named_twice_is_told_once(owned, account, table, fallback):
    table.write_text("employer,channel\ner_conn_1,ops\n")  # the sink's own channel
    rig = owned(rule(notify="[owner, backend, ops]"), fallback=fallback)
    await rig.poll(times=2)
    await trouble(rig, account, 1, 2)
    both = [(None, "opened", "gc_1"), (None, "opened", "gc_2")]
    assert told(rig) == told(rig, "backend") == both


async def test_events_go_to_the_owner_too_and_to_the_sink_that_is_named_beside(owned, account):
    rig = owned("  - {name: moves, when: {to: review}, notify: [owner, ops, backend], mention: owner}\n")
    await rig.poll(times=2)
    await trouble(rig, account, 1, 3, status="review")
    what = "status_changed"
    assert sorted(told(rig), key=lambda one: (one[2], one[0] or "")) == [
        (None, what, "gc_1"),
        ("sam@example.com", what, "gc_1"),
        (None, what, "gc_3"),
        ("U0123456789", what, "gc_3"),
    ]
    assert told(rig, "backend") == [(None, what, "gc_1"), (None, what, "gc_3")]
    mentions = [body["data"]["mention"] for body in rig.sinks["ops"].got]
    assert sorted(mentions) == [["U0123456789"], ["U0123456789"], ["sam@example.com"], ["sam@example.com"]]


async def test_an_event_is_told_once_in_a_place_that_is_named_twice(owned, account, table):
    table.write_text("employer,channel\ner_conn_1,#ops\n")
    rig = owned("  - {name: moves, when: {to: processing}, notify: [owner, ops]}\n")
    await rig.poll(times=2)
    await trouble(rig, account, 1, status="processing")
    assert told(rig) == [(None, "status_changed", "gc_1")]


async def test_reports_have_no_owner_and_are_told_once(owned):
    rig = owned('  - {name: own, when: {type: "notifier.*"}, notify: [owner]}\n', fallback="ops")
    rig.config = rig.config.model_copy(update={"self_reports": (Target("ops"),)})
    rig.restart()
    await rig.poll()
    assert told(rig) == [(None, "baseline", "")]


async def test_a_message_about_many_mentions_ten(owned, account, table):
    rows = [f"er_conn_{n:02},owner{n}@example.com,#team\n" for n in range(12)]
    table.write_text("employer,owner,channel\n" + "".join(rows))
    rig = owned(rule(notify="[owner]", more="mention: owner"))
    account.listed = [connection(f"conn_{n:02}", group(f"gc_{n:02}")) for n in range(12)]
    await rig.poll(times=2)
    for n in range(12):
        account.set_status(f"conn_{n:02}", f"gc_{n:02}", "needs_attention")
    await rig.poll()
    [body] = rig.sinks["ops"].got
    assert (body["data"]["opened"], len(body["data"]["mention"])) == (12, 10)


def test_what_is_no_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "owners.csv")
    with pytest.raises(ConfigError, match="is not a file"):
        read_file(tmp_path / "owners.csv")


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("employer,owner\ner_1,nobody\n", "owners.csv:2: owner: is neither an e-mail address"),
        (None, "there is no such file"),
        (b"employer,owner\ner_1,\xff\n", "owners.csv:2: is not UTF-8 text"),
        (b"x" * 5_000_001, "is larger than 5 MB"),
    ],
    ids=["row", "gone", "bytes", "large"],
)
async def test_a_table_that_cannot_be_read_leaves_the_last_one_and_is_a_problem(
    owned, account, table, bad, why
):
    rig = owned()
    await rig.poll(times=2)
    if bad is None:
        table.unlink()
    else:
        table.write_bytes(bad if isinstance(bad, bytes) else bad.encode())
    with capture_logs() as logs:
        await trouble(rig, account, 1)
        result = await rig.poll()
    assert told(rig) == [("sam@example.com", "opened", "gc_1")]
    [problem] = result.problems
    assert why in problem
    assert problem.endswith("the table of before stays in use (3 rows)")
    assert [log["event"] for log in logs if log["event"].startswith("owners.")] == ["owners.failed"]  # once
    table.write_text("owner\nnew@example.com\n")
    assert (await rig.poll()).problems == ()
    await trouble(rig, account, 2)
    assert told(rig)[-1] == ("new@example.com", "opened", "gc_2")


async def test_a_file_is_read_again_only_when_it_has_changed(owned, table):
    rig = owned()
    with capture_logs() as logs:
        await rig.poll(times=3)
        table.with_name("new").write_text(OWNERS)
        table.with_name("new").replace(table)
        await rig.poll(times=3)
    assert [log["rows"] for log in logs if log["event"] == "owners.read"] == [3, 3]


async def test_alerts_from_before_there_were_owners_stay_where_they_are(make, owned, account):
    rig = make(rule(notify="[ops]"))
    await rig.poll(times=2)
    await trouble(rig, account, 1)
    rig.config = owned(rule(notify="[ops]")).config
    rig.restart()
    await trouble(rig, account, 1, status="completed")
    assert told(rig) == [(None, "opened", "gc_1"), (None, "resolved", "gc_1")]


async def test_a_table_that_could_not_be_read_once_is_read_as_soon_as_it_can(
    owned, account, table, monkeypatch
):
    rig = owned()
    await rig.poll(times=2)
    table.write_text("owner\nnew@example.com\n")
    really = Path.open

    def refused(path: Path, *args, **more):
        if path == table:
            raise PermissionError(13, "Permission denied")
        return really(path, *args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refused)
        assert (await rig.poll()).problems
    assert not (await rig.poll(times=2)).problems
    await trouble(rig, account, 2)
    assert told(rig)[-1][0] == "new@example.com"


async def test_the_end_of_one_alert_tells_no_other_of_its_connection_anew(owned, account, table):
    rig = owned(fallback="ops#unowned")
    table.write_text("employer,owner\nsomebody,sam@example.com\n")
    await rig.poll(times=2)
    for id_ in ("gc_1", "gb_1"):
        account.set_status("conn_1", id_, "needs_attention")
        await rig.poll()
    rig.config = owned(fallback="ops#triage").config
    rig.restart()
    await rig.poll(times=2)
    before = len(told(rig))
    for id_ in ("gc_1", "gb_1"):
        account.set_status("conn_1", id_, "completed")
        await rig.poll(times=2)
    assert {(place, what) for place, what, _ in told(rig)[before:]} == {("#unowned", "resolved")}
