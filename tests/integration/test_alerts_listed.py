"""`notifier alerts`: who was told of what, and which are meant."""

from __future__ import annotations

import pytest

from notifier.errors import TemporaryFailure
from tests.support.alerts import rule
from tests.support.commands import ON_A_SERVER
from tests.support.configs import config_with
from tests.support.rig import Rig

pytestmark = ON_A_SERVER


@pytest.fixture
async def two(make):
    """Two open alerts, told in messages of their own."""
    rig = make(rule(notify="[ops]"))
    await rig.poll(2)
    for n in (1, 2):
        rig.account.set_status(f"conn_{n}", f"gc_{n}", "needs_attention")
    await rig.poll()
    return rig


async def test_the_beginning_of_an_id_will_do(two, shell):
    rows = await shell.json(two, "alerts", "list")
    first, second = (row["id"] for row in rows)
    assert "1 alert taken by Sam" in await shell(two, "alerts", "ack", first[:12] + "...", "--by", "Sam")
    await two.poll()
    assert [row["id"] for row in await shell.json(two, "alerts", "list", "--free")] == [second]


@pytest.mark.parametrize(
    ("start", "why"),
    [
        ("alert_", "no open alert or message has the id alert_"),
        ("...", "no open alert or message has the id ..."),
        ("alert_zzzz", "no open alert or message has the id alert_zzzz"),
    ],
)
async def test_what_begins_no_id_takes_nothing(two, shell, start, why):
    assert why in await shell(two, "alerts", "ack", start, code=2)
    assert await two.store.inbox() == []


async def test_a_beginning_of_several_ids_says_which(two, shell, monkeypatch):
    monkeypatch.setattr("notifier.cli.alerts._SHORTEST", 0)
    rows = await shell.json(two, "alerts", "list")
    said = await shell(two, "alerts", "ack", "alert_", code=2)
    assert "is the beginning of 2 ids" in said
    assert all(row["id"] in said for row in rows)


async def test_who_was_not_told_yet_is_not_listed_as_told(make, shell):
    rig = make(rule(notify="[backend, ops, hook]"))
    await rig.poll(2)
    rig.sinks["ops"].errors = [TemporaryFailure("http_503", "busy")]
    rig.account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll()
    [row] = await shell.json(rig, "alerts", "list")
    assert (sorted(row["told"]), row["untold"]) == (["backend", "hook"], {"ops": "not yet"})
    assert "ops (not yet)" in await shell(rig, "alerts", "list")
    await rig.poll()
    [row] = await shell.json(rig, "alerts", "list")
    assert (sorted(row["told"]), row["untold"]) == (["backend", "hook", "ops"], {})


async def test_what_quiet_hours_keep_back_is_listed_so(make, shell):
    plain = make(rule())
    sinks = "  ops: {type: slack, token: xoxb-1, channel: C1, active: {calendar: night}}\n"
    extra = "calendars: {night: {timezone: UTC, hours: '22:00-23:00'}}\nself_reports: []\n"
    rig = Rig(plain.redis, plain.clock, plain.account, config_with(rule(notify="[ops]"), sinks, extra))
    await rig.poll(2)
    rig.account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll()
    [row] = await shell.json(rig, "alerts", "list")
    assert (row["told"], row["untold"]) == ([], {"ops": "kept back"})
