"""`notifier dead show`: what a dead letter says, whatever it is."""

from __future__ import annotations

import pytest

from notifier.errors import PermanentFailure
from tests.support.alerts import rule
from tests.support.commands import ON_A_SERVER

pytestmark = ON_A_SERVER
REFUSED = PermanentFailure("invalid_blocks", "Slack refused the blocks")


@pytest.fixture
async def refused(make):
    """A Slack message that is a dead letter, and the letter's id."""
    rig = make(rule(notify="[ops]"))
    await rig.poll(2)
    rig.sinks["ops"].errors = [REFUSED]
    rig.account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll()
    [letter] = await rig.lanes.dead_letters("ops")
    return rig, letter


async def test_of_a_message_it_shows_what_the_message_says(refused, shell):
    rig, letter = refused
    said = await shell(rig, "dead", "show", "ops", letter.id)
    assert "reason: invalid_blocks: Slack refused the blocks" in said
    assert '"type": "alert.opened"' in said
    assert '"gc_1"' in said
    whole = await shell.json(rig, "dead", "show", "ops", letter.id)
    assert whole["delivery"]["body"]["data"]["entity"]["id"] == "gc_1"


async def test_of_a_message_that_is_forgotten_it_says_that(refused, shell):
    rig, letter = refused
    await rig.redis.hdel(rig.keys.sink("ops"), f"page:{letter.delivery.message}")
    said = await shell(rig, "dead", "show", "ops", letter.id)
    assert f"the message {letter.delivery.message} is forgotten" in said
    assert (await shell.json(rig, "dead", "show", "ops", letter.id))["delivery"]["body"] == ""


async def test_of_what_is_no_delivery_it_shows_the_text(make, shell):
    rig = make(rule())
    await rig.poll(2)
    await rig.redis.rpush(rig.keys.lane("backend", "conn_1"), b"what another release wrote")
    await rig.redis.zadd(rig.keys.lanes("backend"), {"conn_1": 2})
    await rig.deliver()
    [letter] = await rig.lanes.dead_letters("backend")
    said = await shell(rig, "dead", "show", "backend", letter.id)
    assert "reason: unreadable: " in said
    assert "what another release wrote" in said
