"""``notifier preview`` where owners are told: it names the places that a first look would write to."""

from __future__ import annotations

import pytest

from tests.integration.test_alerts_together import employers, trouble
from tests.integration.test_preview import RULES, looked_at

TABLE = """\
employer,carrier,owner,team,channel
er_0,,sam@example.com,Benefits,
er_1,,kim@example.com,,#kim
48213,carr_3,U0123456789,Ext desk,
,guardian,U0123456780,Guardian desk,
"""


@pytest.mark.parametrize("fallback", ["ops", "ops#unowned"])
@pytest.mark.parametrize("kind", ["summary", "each"])
async def test_what_is_shown_is_what_owners_would_be_sent(make, account, tmp_path, kind, fallback):
    table = tmp_path / "owners.csv"
    table.write_text(TABLE)
    rules = RULES[kind].replace("notify: [backend, ops]", "notify: [backend, owner, ops]")
    assert "owner" in rules
    rig = make(rules, f'owners: {{file: "{table}", sink: ops, fallback: "{fallback}"}}\n')
    employers(account, 8, "carr_{n}")
    for n in range(8):
        trouble(account, n)
    outlook = await looked_at(rig, account)
    await rig.poll()
    await rig.deliver()
    sent = sorted(
        (name, (target or "").removeprefix("#"), body["type"])
        for name, sink in rig.sinks.items()
        for target, body in zip(sink.targets, sink.got, strict=True)
        if name == "ops"
    )
    shown = sorted(
        (place, channel, one.body["type"])
        for one in outlook.preview.said
        for place, _, channel in [one.place.partition("#")]
        if place == "ops"
    )
    assert sent == shown
    assert len({place for _, place, _ in sent}) > 2, "several owners are told"
