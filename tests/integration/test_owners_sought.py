"""Owners who are found only by what Clasp says of employers and carriers, where that is late or fails."""

from __future__ import annotations

import httpx
import pytest

from tests.integration.test_owners import told, trouble
from tests.support.alerts import TO_OWNER, commands, rule
from tests.support.rig import Rig

BY_EXTERNAL_ID = "employer,owner\n48213,acme@example.com\n,desk@example.com\n"
BY_NAME = "carrier,owner\nGuardian,acme@example.com\n,desk@example.com\n"
TABLES = pytest.mark.parametrize("rows", [BY_EXTERNAL_ID, BY_NAME], ids=["external id", "carrier name"])
DESK, OWNER = "desk@example.com", "acme@example.com"


@pytest.fixture
def answers(account):
    """Whether Clasp answers look-ups of names."""

    def answers(*, yes: bool) -> None:
        account.names = (
            {"carriers": "Guardian", "employers": "Acme Corp"}
            if yes
            else dict.fromkeys(("carriers", "employers"), 403)
        )

    return answers


@pytest.fixture
def unanswered(owned, account, table, answers):
    """A replica whose alerts of these connections opened while Clasp answered no look-up."""

    async def unanswered(*connections: int, rows: str = BY_EXTERNAL_ID, rules: str = TO_OWNER) -> Rig:
        table.write_text(rows)
        rig = owned(rules)
        answers(yes=False)
        await rig.poll(times=2)
        await trouble(rig, account, *connections)
        return rig

    return unanswered


@TABLES
@pytest.mark.parametrize("restarts", [False, True])
async def test_who_could_not_be_found_is_told_once_it_is_known_and_until_the_end(
    unanswered, account, answers, rows, restarts
):
    rig = await unanswered(1, rows=rows)
    await rig.poll(times=2)
    assert told(rig) == [(DESK, "opened", "gc_1")]
    if restarts:
        rig.restart()
    answers(yes=True)
    await rig.poll(times=3)
    assert told(rig) == [(DESK, "opened", "gc_1"), (OWNER, "opened", "gc_1")]
    assert rig.sinks["ops"].got[-1]["data"]["mention"] == [OWNER, "here"]
    assert {body["data"]["owner"]["owner"] for body in rig.sinks["ops"].shown.values()} == {OWNER}
    await trouble(rig, account, 1, status="completed")
    assert sorted(told(rig)[2:]) == [(OWNER, "resolved", "gc_1"), (DESK, "resolved", "gc_1")]
    assert len(rig.sinks["backend"].got) == 2  # programs heard of it once


@TABLES
async def test_what_is_known_by_its_end_only_is_told_to_nobody_anew(unanswered, account, answers, rows):
    rig = await unanswered(1, rows=rows)
    await trouble(rig, account, 1, status="completed")
    answers(yes=True)
    await rig.poll(times=3)
    assert told(rig) == [(DESK, "opened", "gc_1"), (DESK, "resolved", "gc_1")]


async def test_a_first_look_beyond_the_budget_reaches_the_owner_in_one_message(owned, account, table):
    table.write_text(BY_EXTERNAL_ID)
    for n in range(6):
        account.set_status(f"conn_{n}", f"gc_{n}", "needs_attention")
    rig = owned()
    rig.restart(request_budget=3)  # one carrier and two employers, then three, then the last one
    await rig.poll(times=6)
    sink = rig.sinks["ops"]
    assert sink.targets == [DESK, OWNER, OWNER]
    assert sink.got[0]["data"]["message"] == "6 group connections already need attention: Guardian 6."
    [group] = [body for body in sink.shown.values() if "entries" in body["data"]]
    assert {entry["data"]["entity"]["id"] for entry in group["data"]["entries"]} == {
        f"gc_{n}" for n in range(6)
    }
    assert {entry["data"]["owner"]["owner"] for entry in group["data"]["entries"]} == {OWNER}
    assert len(rig.sinks["backend"].got) == 6


@TABLES
async def test_a_table_of_ids_asks_for_nothing_again(unanswered, account, table, rows):
    by_id = "employer,carrier,owner\ner_conn_1,carr_1,acme@example.com\n,,desk@example.com\n"
    rig = await unanswered(1, rows=by_id)
    assert told(rig) == [(OWNER, "opened", "gc_1")]
    account.requests.clear()
    await rig.poll(times=2)
    assert set(account.requests) == {"/connections"}
    table.write_text(rows)
    await rig.poll(times=2)  # and who was sure stays sure
    assert set(account.requests) == {"/connections"}


async def test_a_mention_follows_in_the_next_reminder_where_the_place_is_the_same(unanswered, answers):
    rig = await unanswered(1, rules=rule(notify="[ops]", more="remind: 10m, mention: owner"))
    answers(yes=True)
    await rig.poll(times=2)
    [shown] = rig.sinks["ops"].shown.values()
    assert shown["data"]["owner"]["owner"] == OWNER
    await rig.poll(times=10)
    opened, reminder = rig.sinks["ops"].got
    assert opened["data"]["mention"] == [DESK]
    assert reminder["data"]["mention"] == [OWNER]


BY_RULE = 'while: {entity: group_connection, status: needs_attention, carrier_name: "Guard*"}'


async def test_an_owner_goes_on_being_sought_while_the_rule_asks_for_a_name_too(owned, account, table):
    table.write_text(BY_EXTERNAL_ID)
    rig = owned(rule("fallback: ['ops#unsure']", what=BY_RULE, notify="[owner]"))
    account.names["employers"] = 403
    await rig.poll(times=2)
    await trouble(rig, account, 1)
    await rig.redis.delete(rig.keys.names)  # a day later, what was known of the carrier has expired
    account.names = {"carriers": 403, "employers": "Acme Corp"}
    await rig.poll(times=3)
    assert told(rig) == [(DESK, "opened", "gc_1")]
    account.names = {"carriers": "Guardian", "employers": "Acme Corp"}
    await rig.poll(times=3)
    assert told(rig) == [(DESK, "opened", "gc_1"), (OWNER, "opened", "gc_1")]


async def test_what_was_told_at_the_fallback_of_its_rule_is_told_to_the_owner_and_nowhere_else(
    unanswered, answers
):
    rules = rule("fallback: ['ops#unsure']", what=BY_RULE, notify="[owner, 'ops#all', backend]")
    rig = await unanswered(1, rules=rules)
    answers(yes=True)
    await rig.poll(times=3)
    assert told(rig) == [("#unsure", "opened", "gc_1"), (OWNER, "opened", "gc_1")]
    assert not rig.sinks["backend"].got


@pytest.mark.parametrize("status", [401, 429])
async def test_while_clasp_refuses_the_list_nothing_else_is_asked(unanswered, account, status):
    rig = await unanswered(1, 2)
    account.answer = lambda _request, _page: httpx.Response(status)
    account.requests.clear()
    await rig.poll(times=5)
    assert set(account.requests) == {"/connections"}


async def test_those_who_are_never_known_keep_nobody_else_waiting(unanswered, account, answers):
    rig = await unanswered(0, 1, 2, 3, 4, 5)
    account.refused = {"er_conn_0", "er_conn_1", "er_conn_2", "er_conn_3"}
    answers(yes=True)
    rig.restart(request_budget=2)
    await rig.poll(times=7)
    found = {told_id for place, _, told_id in told(rig) if place == OWNER}
    assert found == {"gc_4", "gc_5"}


async def test_where_owners_are_taken_out_nobody_is_sought(unanswered, make, account, answers):
    rig = await unanswered(1)
    rig.config = make(rule(notify="[ops, backend]")).config
    rig.restart()
    answers(yes=True)
    await rig.poll(times=3)
    await rig.redis.delete(rig.keys.names)
    account.requests.clear()
    await rig.poll(times=2)
    assert set(account.requests) == {"/connections"}


@pytest.mark.parametrize("what", ["employers", "carriers"])
async def test_what_clasp_says_is_not_there_is_sought_no_more(owned, account, table, what):
    table.write_text(BY_EXTERNAL_ID if what == "employers" else BY_NAME)
    rig = owned()
    del account.names[what]  # 404
    await rig.poll(times=2)
    quiet = await commands(rig)
    await trouble(rig, account, 1)
    await rig.poll()
    assert told(rig) == [(DESK, "opened", "gc_1")]
    assert await commands(rig) == quiet
