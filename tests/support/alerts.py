"""Rules with `while` for tests, and what sinks got of their alerts."""

from __future__ import annotations

import httpx

from tests.support.rig import Rig

REFUSED = httpx.Response(401, json={"type": "unauthorized"})  # is not tried again, so takes no time
SINKS = """
  backend: {type: console}
  ops: {type: slack, token: xoxb-1, channel: "#ops"}
"""
NEEDS = "while: {entity: group_connection, status: needs_attention}"


def rule(more: str = "", *, name: str = "needs", what: str = NEEDS, notify: str = "[backend, ops]") -> str:
    return f"  - {{name: {name}, {what}, notify: {notify}{', ' if more else ''}{more}}}\n"


def reports() -> str:
    return '  - {name: own, when: {type: "notifier.*"}, notify: [backend]}\n'


async def alerts(rig: Rig, sink: str = "backend") -> list[tuple[str, str]]:
    """What a sink has got of alerts so far: (what, entity or count). Connections do not wait for each other."""
    await rig.deliver()
    said = []
    got = rig.sinks[sink].got
    for body in sorted(
        got, key=lambda one: (one["timestamp"], one["data"].get("connection", {}).get("id", ""))
    ):
        kind, _, what = body["type"].partition(".")
        if kind == "alert":
            said.append((what, body["data"].get("entity", {}).get("id") or body["data"]["message"]))
    return said
