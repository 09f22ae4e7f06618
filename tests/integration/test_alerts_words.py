"""A rule's own words in messages that live on."""

from __future__ import annotations

import pytest

from notifier.sinks.wording import tell
from tests.support.alerts import rule

TITLE = "title: '{{ employer }} {{ status }} {{ end }} {{ event }} {{ group_id }}'"


@pytest.fixture
def rig(make):
    return make(rule(f"{TITLE}, message: 'For {{{{ lasted }}}}.'", notify="[ops, backend]"))


async def test_an_edit_says_what_is_so_by_then(rig, account):
    await rig.poll(times=2)
    account.set_status("conn_1", "gc_1", "needs_attention")
    await rig.poll()
    [body] = rig.sinks["ops"].shown.values()
    assert tell(body).title == "Acme Corp Needs Attention opened 00123"
    assert tell(body).change == "For less than a minute."
    account["conn_1"]["group_connections"][0]["group_id"] = "7"
    await rig.poll(times=3)
    [body] = rig.sinks["ops"].shown.values()
    assert tell(body).title == "Acme Corp Needs Attention opened 7"
    account.set_status("conn_1", "gc_1", "completed")
    await rig.poll()
    [body] = rig.sinks["ops"].shown.values()
    assert tell(body).title == "Acme Corp Completed completed resolved 7"
    assert tell(body).change == "After 4 min"
    assert not any("headline" in body["data"] for body in rig.sinks["backend"].got)


async def test_a_changed_title_begins_no_new_look_and_is_used_from_the_next_change_on(rig, make, account):
    await rig.poll(times=2)
    for id_ in ("gc_1", "gb_1"):
        account.set_status("conn_1", id_, "needs_attention")
    await rig.poll()
    rig.config = make(rule("title: '{{ entity }} waits'", notify="[ops, backend]")).config
    rig.restart()
    await rig.poll(times=2)
    assert len(rig.sinks["ops"].got) == 1
    account["conn_1"]["group_connections"][0]["group_id"] = "7"
    await rig.poll()
    [body] = rig.sinks["ops"].shown.values()
    assert [line.partition(" (")[0] for line, _ in tell(body).lines] == ["gb_1 waits", "gc_1 waits"]
