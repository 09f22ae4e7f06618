"""``notifier preview`` and sinks in preview: what they show is what would be sent, and nothing else happens."""

from __future__ import annotations

import asyncio
import io
import json
import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from notifier.cli.common import Failed
from notifier.cli.preview import _FIRST, _show, _told, look
from notifier.core.quiet import Silence
from notifier.models import Delivery, Part, Posted
from notifier.sinks.contract import Attempt
from notifier.sinks.preview import PreviewSink, read_by_people
from notifier.store.names import NameCache
from notifier.store.records import Records
from notifier.store.stores import Stores
from tests.integration.test_alerts_together import employers, trouble
from tests.support.alerts import rule
from tests.unit.test_sink_slack_message import alert_event, group_event

ATTEMPT = Attempt(1, datetime(2026, 11, 23, 22, 0, tzinfo=UTC), version=3)
SILENCE = Silence("sil_1", {"rule": "needs"}, "2026-11-18T00:00:00.000Z", "2099-01-01T00:00:00.000Z", "Sam")
RULES = {
    "summary": rule("for: 10m"),
    "each": rule("include_existing: each"),
    "no": rule("include_existing: no"),
    "own words": rule("title: '{{ employer }} at {{ carrier }}', include_existing: each"),
    "unchanged": rule(what="while: {entity: group_connection, unchanged: 3d}"),
    "two": rule("include_existing: each", name="first", notify="[ops]")
    + rule(name="second", what="while: {entity: group_connection, not_status: completed}")
    + rule(name="third", notify='["ops#dental", hook]'),
    "by name": rule("fallback: [backend]", what='while: {entity: group_connection, carrier_name: "Guard*"}', notify="[ops]"),
    "moments": "  - {name: all, when: {}, notify: [ops, backend]}\n" + rule(),
}  # fmt: skip


def stores(rig) -> Stores:
    return Stores(
        rig.redis,
        rig.store,
        rig.lanes,
        NameCache(rig.redis, rig.keys, rig.store.now_us),
        Records(rig.redis, rig.keys),
    )


async def know_names(rig, account) -> None:
    """As a worker that has looked up every name."""
    known = {f"employer:{item['employer']}": ["Acme Corp", "48213"] for item in account.listed}
    known |= {f"carrier:{group['carrier']}": ["Guardian"] for item in account.listed for group in item["group_connections"]}  # fmt: skip
    await stores(rig).names.put(known, timedelta(days=1))


async def all_that_is_stored(rig) -> dict:
    return {key: await rig.redis.dump(key) for key in await rig.redis.keys("*")}


async def looked_at(rig, account):
    """What is shown of the state as it is, which writes nothing; the sinks have got nothing by then."""
    await rig.poll()
    await know_names(rig, account)
    before = await all_that_is_stored(rig)
    outlook = await look(rig.config, stores(rig))
    assert await all_that_is_stored(rig) == before
    for sink in rig.sinks.values():
        sink.got.clear()
        sink.targets.clear()
    return outlook


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES)
@pytest.mark.parametrize("seed", range(2))
async def test_what_is_shown_is_what_a_first_look_sends_and_nothing_is_written(make, account, rules, seed):
    rig = make(rules)
    employers(account, 14, "carr_{n}")
    rng = random.Random(seed)
    for n in range(14):
        trouble(account, n, status=rng.choice(["needs_attention", "pending", "completed"]))
    outlook = await looked_at(rig, account)
    await rig.poll()
    sent = {sink: [_read(body) for body in memory.got] for sink, memory in rig.sinks.items()}
    shown = defaultdict(list)
    for one in outlook.preview.said:
        shown[one.place.partition("#")[0]].append(_read(one.body))
    assert {sink: sorted(texts) for sink, texts in sent.items() if texts} == {
        sink: sorted(texts) for sink, texts in shown.items()
    }
    alerts = (await rig.store.alerts()).values()
    assert sum(one.open for one in outlook.preview.standings) == sum(
        alert.phase == "open" for alert in alerts
    )
    assert sum(one.waiting for one in outlook.preview.standings) == sum(
        alert.phase == "pending" for alert in alerts
    )


def _read(body: dict) -> str:
    return json.dumps(read_by_people(body))


async def test_it_counts_by_place_and_rule_and_shows_the_first(make, account, capsys):
    rig = make(RULES["two"] + RULES["moments"].splitlines()[0] + "\n")
    employers(account, 12, "carr_{n}")
    trouble(account, *range(5))
    await rig.poll()
    await know_names(rig, account)
    outlook = await look(rig.config, stores(rig))
    names = {one.name for one in rig.config.rules}
    told = _told(rig.config, outlook, names, most=_FIRST)
    assert told["places"]["ops"] | {"shown": []} == {
        "messages": 6,
        "alerts": 12,
        "kept": 0,
        "rules": {"first": {"messages": 5, "alerts": 5}, "second": {"messages": 1, "alerts": 7}},
        "shown": [],
    }
    assert len(told["places"]["ops"]["shown"]) == 3
    assert told["places"]["ops#dental"]["rules"] == {"third": {"messages": 1, "alerts": 5}}
    assert told["places"]["backend"]["messages"] == 12
    assert told["moments"] == ["all"]
    assert told["notes"] == []
    full = _told(rig.config, outlook, {"first"}, most=None)
    assert [*full["places"]] == ["ops"]
    assert len(full["places"]["ops"]["shown"]) == 5
    _show(told)
    text = capsys.readouterr().out
    for line in (
        "ops: 6 messages about 12 alerts\n  first: 5 messages about 5 alerts\n",
        "ops#dental: 1 message about 5 alerts\n",
        "speak of what happens, so nothing is shown of: all\n",
        "--- ops#dental, 1 of 1 (third)\nWhat this rule found when it began\n5 group connections already need",
        "--- ops, 1 of 6 (first)\nAcme Corp · Guardian needs attention\n",
    ):
        assert line in text, text


async def test_what_is_not_told_now_is_counted(make, account, capsys):
    no = rule("include_existing: no", name="no", notify="[hook]")
    still = rule(
        name="still", what="while: {entity: group_connection, unchanged: 3d}", notify='["ops#still"]'
    )
    rig = make(rule("include_existing: each", notify="[ops]") + no + still)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll()
    await rig.store.write_inbox("silence", msgspec.to_builtins(SILENCE))
    await rig.poll()
    outlook = await look(rig.config, stores(rig))
    told = _told(rig.config, outlook, {one.name for one in rig.config.rules}, most=None)
    assert {one["rule"]: (one["open"], one["waiting"], one["untold"]) for one in told["rules"]} == {
        "needs": (1, 0, 0),
        "no": (1, 0, 1),
        "still": (0, 12, 0),
    }
    _show(told)
    said = capsys.readouterr().out
    assert "no: 1 alert would be told to nobody" in said
    assert "still: 12 alerts would wait for their time" in said
    assert "ops#still: nothing" in said
    assert "ops: nothing\n  kept until people may be disturbed: 1 alert" in said


async def test_without_a_state_it_says_what_to_do(make):
    rig = make(rule())
    await rig.store.sync_time()
    with pytest.raises(Failed, match="start `notifier run`"):
        await look(rig.config, stores(rig))


async def test_a_state_that_cannot_be_read_is_an_error_and_one_that_moves_is_read_again(
    make, account, monkeypatch
):
    rig = make(rule())
    employers(account, 6)
    await rig.poll()
    meta, read = await rig.store.meta(), rig.store.meta
    stale = [msgspec.structs.replace(meta, words=[])]  # as before a commit that brought new ones

    async def first_stale():
        return stale.pop() if stale else await read()

    monkeypatch.setattr(rig.store, "meta", first_stale)
    assert (await look(rig.config, stores(rig))).connections == 6
    stale += [msgspec.structs.replace(meta, words=[])] * 9
    with pytest.raises(Failed, match="cannot be read"):
        await look(rig.config, stores(rig))


async def test_what_was_removed_does_not_count(make, account):
    rig = make(rule())
    await rig.poll()
    account.drop("conn_5")
    await rig.poll(times=3)
    assert (await look(rig.config, stores(rig))).connections == 5


async def test_a_state_of_another_account_is_named(make, account):
    rig = make(rule())
    await rig.poll()
    source = rig.config.source.model_copy(update={"base_url": "https://other.test"})
    outlook = await look(rig.config.model_copy(update={"source": source}), stores(rig))
    assert "another address" in outlook.notes[0]


async def test_names_that_no_worker_has_looked_up_are_not_asked_for(make, account):
    rig = make(rule())
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll()
    asked = len(account.requests)
    outlook = await look(rig.config, stores(rig))
    assert outlook.notes == ("3 names not known yet: ids stand here, and rules on names may differ",)
    assert len(account.requests) == asked
    said = [one.body for one in outlook.preview.said if one.place == "backend"]
    assert [body["data"]["carrier"] for body in said] == [{"id": "carr_1", "name": None}]


# --- sinks in preview ---


def preview_sink(stream, *, is_for_people: bool = True) -> PreviewSink:
    return PreviewSink("ops", is_for_people=is_for_people, deadline=timedelta(seconds=5), stream=stream)


def delivery(part: Part | None = Part.ROOT, **more) -> Delivery:
    body = json.dumps(alert_event("opened") | more)
    return Delivery("msg_1.1", "alert.opened", "r", body, "#dental", "msg_1" if part else None, part)


async def test_people_see_what_they_would_read_on_one_line():
    stream = io.StringIO()
    receipt = await preview_sink(stream).send(delivery(), ATTEMPT)
    [line] = stream.getvalue().splitlines()
    assert json.loads(line) == {
        "type": "preview",
        "sink": "ops",
        "channel": "#dental",
        "id": "msg_1.1",
        "event": "alert.opened",
        "rule": "r",
        "message": "msg_1",
        "part": "root",
        "is_edit": False,
        "title": "Acme Corp · Guardian needs attention",
        "text": "Processing → Needs Attention",
    }
    assert (receipt.reason, receipt.posted) == ("preview", Posted("", "", 3))


async def test_what_was_posted_before_the_preview_stays_where_it_is():
    stream = io.StringIO()
    there = Posted("C1", "17.1", 2)
    receipt = await preview_sink(stream).send(delivery(), msgspec.structs.replace(ATTEMPT, posted=there))
    assert receipt.posted == Posted("C1", "17.1", 3)
    assert json.loads(stream.getvalue())["is_edit"]
    assert (await preview_sink(stream).send(delivery(Part.NEWS), ATTEMPT)).posted is None


async def test_programs_see_the_body():
    stream = io.StringIO()
    body = group_event()
    sent = Delivery("evt_1", body["type"], "r", json.dumps(body))
    await preview_sink(stream, is_for_people=False).send(sent, ATTEMPT)
    assert json.loads(stream.getvalue())["body"] == body


async def test_many_at_once_are_written_one_by_one():
    stream = io.StringIO()
    sink = preview_sink(stream)
    await asyncio.gather(*(sink.send(delivery(), ATTEMPT) for _ in range(16)))
    assert len([json.loads(line) for line in stream.getvalue().splitlines()]) == 16


async def test_the_ledger_says_that_it_was_a_preview(make, account):
    rig = make(rule(notify="[ops]"))
    stream = io.StringIO()
    rig.sinks["ops"] = preview_sink(stream)
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll()
    account.set_status("conn_1", "gc_1", "completed")
    await rig.poll()
    attempts = await rig.lanes.attempts(newest=10)
    assert {(one["sink"], one["outcome"], one["reason"]) for one in attempts} == {
        ("ops", "delivered", "preview")
    }
    shown = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [(one["part"], one["is_edit"]) for one in shown] == [
        ("root", False),
        ("root", True),
        ("reply", False),
    ]
    assert (await rig.lanes.health("ops")).failures == 0
