"""``notifier replay``: a sink gets what the rules, as they are now, would send it, and nothing else.

And ``notifier dead replay``: it gets what it did not take.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from notifier.cli.dead import Choice, send_again
from notifier.cli.replay import Replay, Wanted
from notifier.errors import PermanentFailure, SinkFault
from tests.integration.test_preview import stores
from tests.support.alerts import rule
from tests.support.clock import FakeClock
from tests.support.configs import config_with
from tests.support.rig import Rig

EVER = datetime(2020, 1, 1, tzinfo=UTC)
ALL = "  - {name: all, when: {}, notify: [backend]}\n"
REPORTS = '  - {name: own, when: {type: "notifier.*"}, notify: [backend]}\n'


@pytest.fixture
def make(make, redis_client, account):
    """A replica with these rules and two sinks for programs, on the account that others have."""

    def make(rules: str) -> Rig:
        sinks = "  backend: {type: console}\n  other: {type: console}\n"
        rig = Rig(redis_client, FakeClock(), account, config_with(rules, sinks, "self_reports: []\n"))
        rig.delivers_at_once = True
        return rig

    return make


def types(rig, sink: str = "backend") -> list[str]:
    return [body["type"] for body in rig.sinks[sink].got]


def replay_of(rig, sink: str = "backend", type_: str | None = None) -> Replay:
    return Replay(rig.config, stores(rig), Wanted(sink, EVER, None, type_))


async def replayed(rig, sink: str = "backend", type_: str | None = None) -> list[str]:
    """The types of what a replay sends."""
    before = len(types(rig, sink))
    sent = await replay_of(rig, sink, type_).send(rig.clock)
    await rig.deliver()
    again = types(rig, sink)[before:]
    assert len(again) == sent
    return again


async def needy(rig, account) -> None:
    """An alert opens and ends."""
    await rig.poll(2)
    for status in ("needs_attention", "completed"):
        account.set_status("conn_1", "gc_1", status)
        await rig.poll(2)


@pytest.mark.parametrize(
    ("more", "told"), [("", ["alert.opened", "alert.resolved"]), ("resolve: false", ["alert.opened"])]
)
async def test_an_alert_is_replayed_as_it_was_told(make, account, more, told):
    rig = make(rule(more, notify="[backend]"))
    await needy(rig, account)
    assert types(rig) == told
    assert await replayed(rig) == told


@pytest.mark.parametrize(
    ("more", "told"),
    [("", ["alert.opened", "alert.resolved"]), ("include_existing: no", [])],
)
async def test_what_a_first_look_found_is_replayed_where_it_was_told(make, account, more, told):
    account.set_status("conn_1", "gc_1", "needs_attention")
    rig = make(rule(more, notify="[backend]"))
    await needy(rig, account)
    assert types(rig) == told
    assert await replayed(rig) == told
    assert await replayed(rig, type_="alert.resolved") == told[1:]


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("{entity: group_connection, status: needs_attention, carrier: carr_1}", True),
        ("{entity: group_connection, status: needs_attention, carrier: carr_none}", False),
        ("{entity: group_connection, status: pending}", False),
        ("{entity: group_connection, not_status: needs_attention}", False),
        ("{entity: milestone}", False),
        ("{entity: group_connection, carrier_name: Unum}", False),
    ],
)
async def test_an_alert_is_replayed_if_its_rule_as_it_is_now_takes_it(make, account, what, told):
    rig = make(rule(notify="[backend]"))
    await needy(rig, account)
    more = "fallback: [backend]" if "name" in what else ""
    rig.config = config_with(rule(more, what=f"while: {what}", notify="[backend]"))
    assert await replayed(rig) == (["alert.opened", "alert.resolved"] if told else [])


async def test_an_alert_about_a_name_that_was_not_known_is_replayed_to_the_fallback(make, account):
    account.names = {"carriers": 500}
    what = 'while: {entity: group_connection, status: needs_attention, carrier_name: "Guard*"}'
    rig = make(rule("fallback: [other]", what=what, notify="[backend]"))
    await rig.poll(2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll(2)
    assert (types(rig), types(rig, "other")) == ([], ["alert.opened"])
    assert (await replayed(rig), await replayed(rig, "other")) == ([], ["alert.opened"])


async def test_the_end_of_an_alert_is_replayed_to_who_heard_of_it_last(make, account):
    what = "while: {entity: group_connection, status: needs_attention, carrier: carr_1}"
    rig = make(rule(what=what, notify="[backend]"))
    await rig.poll(2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll(2)
    account["conn_1"]["group_connections"][0]["carrier"] = "carr_other"
    await rig.poll(2)
    assert types(rig) == ["alert.opened", "alert.resolved"]
    assert await replayed(rig) == ["alert.opened", "alert.resolved"]


async def test_the_end_of_an_alert_whose_beginning_is_not_replayed_goes_to_whom_its_rule_names(make, account):
    rig = make(rule(notify="[backend]"))
    await needy(rig, account)
    await rig.redis.xtrim(rig.keys.history, maxlen=1, approximate=False)
    assert await replayed(rig) == ["alert.resolved"]
    assert await replayed(rig, "other") == []


async def test_a_report_about_a_sink_is_not_replayed_to_that_sink(make, account):
    rig = make(REPORTS.replace("[backend]", "[backend, other]") + ALL)
    await rig.poll(2)
    rig.sinks["backend"].errors = [SinkFault("http_401", "key") for _ in range(30)]
    account.set_status("conn_1", "gc_1", "completed")
    await rig.poll(3)
    rig.sinks["backend"].errors = []
    await rig.poll(6)
    told, other = types(rig), types(rig, "other")
    assert "notifier.sink_recovered" in told
    assert ("notifier.sink_failing" in told, "notifier.sink_failing" in other) == (False, True)
    assert sorted(await replayed(rig)) == sorted(told)
    assert sorted(await replayed(rig, "other")) == sorted(other)


async def test_a_record_that_is_strange_is_left_out_and_the_others_are_replayed(make, account):
    rig = make(ALL)
    await rig.poll(2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll()
    [record, *_] = [one for one in await rig.store.history(newest=9) if one["type"].startswith("group")]
    for strange in ({"entity": None}, {"connection": {"id": "conn_1", "employer": None}}, {"connection": []}):
        odd = {**record, "data": {**record["data"], **strange}}
        await rig.redis.xadd(rig.keys.history, {"event": json.dumps(odd)})
    await rig.deliver()
    assert await replayed(rig) == ["group_connection.status_changed"]


async def test_what_is_committed_while_it_goes_on_comes_behind_what_is_older(make, account, monkeypatch):
    rig = make(ALL)
    await rig.poll(2)
    for status in ("processing", "needs_attention"):
        account.set_status("conn_1", "gc_1", status)
        await rig.poll()
    enqueue, statuses = rig.lanes.enqueue, ["completed"]

    async def beside(*given):
        if statuses:  # between the search and the writing
            account.set_status("conn_1", "gc_1", statuses.pop())
            await rig.poll()
        return await enqueue(*given)

    monkeypatch.setattr(rig.lanes, "enqueue", beside)
    asked = await replay_of(rig).count()
    sent = await replay_of(rig).send(rig.clock)
    await rig.deliver()
    assert (asked, sent) == (2, 3)
    told = [(body["data"]["sequence"], body["data"]["to"]) for body in rig.sinks["backend"].got]
    once = [(1, "processing"), (2, "needs_attention"), (3, "completed")]
    assert told == [*once, *once]


async def test_dead_letters_are_replayed_in_their_order_whatever_that_of_their_ids_is(make, account):
    rig = make(ALL)
    await rig.poll(2)
    for status in ("processing", "completed"):
        rig.sinks["backend"].errors = [PermanentFailure("http_422", "no")]
        account.set_status("conn_1", "gc_1", status)
        await rig.poll()
    one, two = await rig.lanes.dead_letters("backend")
    assert await send_again(stores(rig), "backend", Choice((two.id, one.id, two.id))) == (2, 2)
    await rig.deliver()
    assert [body["data"]["to"] for body in rig.sinks["backend"].got] == ["processing", "completed"]
