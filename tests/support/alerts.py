"""Rules with `while` for tests, and what sinks got of their alerts."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.support.rig import Rig

REFUSED = httpx.Response(401, json={"type": "unauthorized"})  # is not tried again, so takes no time
SINKS = """
  backend: {type: console}
  ops: {type: slack, token: xoxb-1, channel: "#ops"}
  hook: {type: slack, webhook_url: https://hooks.slack.com/services/hush}
"""
NEEDS = "while: {entity: group_connection, status: needs_attention}"


def rule(more: str = "", *, name: str = "needs", what: str = NEEDS, notify: str = "[backend, ops]") -> str:
    return f"  - {{name: {name}, {what}, notify: {notify}{', ' if more else ''}{more}}}\n"


def reports() -> str:
    return '  - {name: own, when: {type: "notifier.*"}, notify: [backend]}\n'


async def alerts(rig: Rig, sink: str = "backend") -> list[tuple[str, str]]:
    """What a sink has got of alerts so far: (what, entity or count). Connections do not wait for each other.

    What several alerts share a message for is given one by one.
    """
    await rig.deliver()
    said = []
    for body in sorted(rig.sinks[sink].got, key=_when):
        for one in body["data"].get("entries", [body]):
            kind, _, what = one["type"].partition(".")
            if kind == "alert":
                said.append((what, one["data"].get("entity", {}).get("id") or one["data"]["message"]))
    return said


def _when(body: dict[str, Any]) -> tuple[str, str]:
    return body["timestamp"], body["data"].get("connection", {}).get("id", "")


async def commands(rig: Rig) -> int:
    """How many commands one more poll sends."""
    sent = 0
    execute = rig.redis.connection_pool.connection_class.send_packed_command

    async def counted(self, command, check_health=True):
        nonlocal sent
        sent += 1
        return await execute(self, command, check_health)

    patch = pytest.MonkeyPatch()
    patch.setattr(rig.redis.connection_pool.connection_class, "send_packed_command", counted)
    try:
        await rig.poll()
    finally:
        patch.undo()
    return sent


TO_OWNER = rule(notify="[backend, owner]", more="mention: [owner, here]")
OWNERS = """\
employer,carrier,owner,team,channel
er_conn_1,,sam@example.com,Benefits,
er_conn_2,,kim@example.com,,#kim
,guardian,U0123456789,Guardian desk,
"""
