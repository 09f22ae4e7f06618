"""A Slack on loopback that refuses what Slack refuses.

``script`` holds answers for the next calls that post: None (as ever), an error's name (``ok: false``, or
plain text from the incoming webhook), or an aiohttp response. ``messages`` are all that were posted, ``there``
what a reader sees.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

TOKEN = "xoxb-double"
CHANNELS = {"C0000000001": "#carrier-ops", "C0000000002": "#dental"}
SAM, GONE = "U0000000001", "U0000000009"
DIRECT = {SAM: "D0000000001"}  # the channels of direct messages
_TEXT_LIMITS = {"header": 150, "section": 3000}
MAX_TEXT = 40_000


def defect(blocks: object) -> str | None:
    """What is wrong with blocks by the documented limits, or None."""
    if not isinstance(blocks, list) or not 1 <= len(blocks) <= 50:
        return "blocks: 1 to 50"
    return next((wrong for block in blocks if (wrong := _defect(block))), None)


def _defect(block: dict) -> str | None:
    match block["type"]:
        case "header":
            ok = block["text"]["type"] == "plain_text" and _fits(block["text"], 150)
        case "section":
            fields = block.get("fields")
            ok = ("text" in block or bool(fields)) and ("text" not in block or _fits(block["text"], 3000))
            ok = (
                ok
                and (fields is None or 1 <= len(fields) <= 10)
                and all(_fits(f, 2000) for f in fields or [])
            )
        case "context":
            ok = 1 <= len(block["elements"]) <= 10 and all(_fits(one, 2000) for one in block["elements"])
        case "divider":
            ok = True
        case _:
            return f"unexpected block {block['type']}"
    return None if ok else f"limits of {block['type']}"


def _fits(text: dict, limit: int) -> bool:
    """Counted as badly as Slack may: UTF-16 units, with its three characters escaped."""
    said = text["text"]
    if text["type"] == "plain_text":
        said = said.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    elif text["type"] != "mrkdwn":
        return False
    return 1 <= len(said.encode("utf-16-le")) // 2 <= limit and bool(said)


@dataclass
class Slack:
    url: str = ""
    script: list[str | web.StreamResponse | None] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    messages: list[dict] = field(default_factory=list)
    there: dict[str, dict] = field(default_factory=dict)  # as they are now, by ts
    scopes: set[str] = field(default_factory=lambda: {"chat:write", "channels:read", "users:read.email"})
    tells_scopes: bool = False  # in a header, as Slack does
    people: dict[str, dict] = field(default_factory=lambda: {"sam@example.com": {"id": SAM}})
    members: set[str] = field(default_factory=lambda: set(CHANNELS))
    others: int = 0  # channels beside these that the app is a member of
    is_busy: bool = False  # too busy to list channels
    archived: set[str] = field(default_factory=set)
    down: str = ""  # what every call comes to: http_503, or an error's name
    stuck: asyncio.Event | None = None  # set it on a double to make every call wait
    stuck_on: str = ""  # or only those of this method

    async def api(self, request: web.Request) -> web.StreamResponse:  # noqa: PLR0911 - a table
        method = request.match_info["method"]
        self.calls.append(method)
        if self.down == "http_503":
            return web.Response(status=503)
        if self.down:
            return web.json_response({"ok": False, "error": self.down})
        if self.stuck is not None and self.stuck_on in {"", method}:
            await self.stuck.wait()
        said = self.script.pop(0) if self.script else None
        if isinstance(said, web.StreamResponse):
            return said
        error = said or self._unauthorized(request)
        if error:
            return web.json_response({"ok": False, "error": error})
        body = await request.json() if request.content_type == "application/json" else dict(request.query)
        match method:
            case "auth.test":
                who = {"user": "notifier", "team": "Payroll Inc", "url": "https://payroll.slack.com/"}
                told = {"X-OAuth-Scopes": ",".join(sorted(self.scopes))} if self.tells_scopes else {}
                return web.json_response({"ok": True, **who}, headers=told)
            case "chat.postMessage":
                return self._post(body)
            case "chat.update":
                return self._update(body)
            case "conversations.history" | "conversations.replies":
                return self._history(body, method)
            case "users.lookupByEmail":
                return self._lookup(body)
            case "users.conversations":
                return self._joined(body)
            case "users.info":
                return self._user(body)
            case "conversations.info":
                return self._info(body)
        return web.json_response({"ok": False, "error": "unknown_method"})

    def _unauthorized(self, request: web.Request) -> str | None:
        header = request.headers.get("Authorization")
        return "not_authed" if header is None else None if header == f"Bearer {TOKEN}" else "invalid_auth"

    def _channel(self, asked: str) -> str | None:
        if asked in {*DIRECT, *DIRECT.values()}:
            return DIRECT.get(asked, asked)
        return next((id_ for id_, name in CHANNELS.items() if asked in {id_, name, name[1:]}), None)

    def _post(self, body: dict) -> web.Response:
        channel = self._channel(body.get("channel", ""))
        wrong = defect(body["blocks"]) if "blocks" in body else None
        error = (
            "channel_not_found"
            if channel is None
            else "not_in_channel"
            if channel not in {*self.members, *DIRECT.values()}
            else "is_archived"
            if channel in self.archived
            else "no_text"
            if not body.get("text")
            else "msg_too_long"
            if len(body["text"]) > MAX_TEXT
            else "invalid_blocks"
            if wrong
            else None
        )
        if error:
            details = {"response_metadata": {"messages": [f"[ERROR] {wrong}"]}} if wrong else {}
            return web.json_response({"ok": False, "error": error, **details})
        if "thread_ts" in body and body["thread_ts"] not in self.there:
            return web.json_response({"ok": False, "error": "thread_not_found"})
        self.messages.append(body)
        ts = f"1700000000.{len(self.messages):06d}"
        self.there[ts] = {**body, "channel": channel}
        return web.json_response(
            {"ok": True, "channel": channel, "ts": ts, "message": {"text": body["text"]}}
        )

    def _update(self, body: dict) -> web.Response:
        there = self.there.get(body.get("ts", ""))
        if there is None or there["channel"] != body["channel"]:
            return web.json_response({"ok": False, "error": "message_not_found"})
        if defect(body["blocks"]) or not body["text"]:
            return web.json_response({"ok": False, "error": "invalid_blocks"})
        there |= {"text": body["text"], "blocks": body["blocks"]}
        return web.json_response({"ok": True, "channel": body["channel"], "ts": body["ts"]})

    def _history(self, body: dict, method: str) -> web.Response:
        if "channels:history" not in self.scopes:
            return web.json_response({"ok": False, "error": "missing_scope", "needed": "channels:history"})
        thread = body.get("ts") if method == "conversations.replies" else None
        found = [
            {"ts": ts, "text": one["text"], "metadata": one.get("metadata")}
            for ts, one in reversed(self.there.items())
            if one["channel"] == body["channel"] and one.get("thread_ts") == thread
        ]
        return web.json_response({"ok": True, "messages": found[: int(body["limit"])]})

    def _lookup(self, body: dict) -> web.Response:
        if "users:read.email" not in self.scopes:
            return web.json_response({"ok": False, "error": "missing_scope", "needed": "users:read.email"})
        found = self.people.get(body["email"])
        answer = {"ok": True, "user": found} if found else {"ok": False, "error": "users_not_found"}
        return web.json_response(answer)

    def _joined(self, body: dict) -> web.Response:
        for type_, scope in (("public_channel", "channels:read"), ("private_channel", "groups:read")):
            if type_ in body["types"].split(",") and scope not in self.scopes:
                return web.json_response({"ok": False, "error": "missing_scope", "needed": scope})
        if self.is_busy:
            return web.json_response({"ok": False, "error": "ratelimited"})
        found = [{"id": id_, "name": name[1:]} for id_, name in CHANNELS.items() if id_ in self.members]
        found += [{"id": f"C1{n:09}", "name": f"other-{n}"} for n in range(self.others)]
        start = int(body.get("cursor", 0))
        more = str(start + 1) if start + 1 < len(found) else ""  # a page of one, so that there are several
        return web.json_response(
            {"ok": True, "channels": found[start : start + 1], "response_metadata": {"next_cursor": more}}
        )

    def _user(self, body: dict) -> web.Response:
        if "users:read" not in self.scopes:
            return web.json_response({"ok": False, "error": "missing_scope", "needed": "users:read"})
        found = next((one for one in self.people.values() if one["id"] == body["user"]), None)
        answer = {"ok": True, "user": found} if found else {"ok": False, "error": "user_not_found"}
        return web.json_response(answer)

    def _info(self, body: dict) -> web.Response:
        if "channels:read" not in self.scopes:
            answer = {
                "ok": False,
                "error": "missing_scope",
                "needed": "channels:read",
                "provided": "chat:write",
            }
            return web.json_response(answer)
        if body["channel"] not in CHANNELS:
            return web.json_response({"ok": False, "error": "channel_not_found"})
        id_ = body["channel"]
        info = {"id": id_, "is_member": id_ in self.members, "is_archived": id_ in self.archived}
        return web.json_response({"ok": True, "channel": info})

    async def hook(self, request: web.Request) -> web.StreamResponse:
        self.calls.append("hook")
        said = self.script.pop(0) if self.script else None
        if isinstance(said, web.StreamResponse):
            return said
        if said:
            return web.Response(status=404 if said.startswith("no_") else 403, text=said)
        if request.match_info["secret"] != "hush":
            return web.Response(status=403, text="invalid_token")
        body = await request.json()
        if defect(body.get("blocks")) or not body.get("text"):
            return web.Response(status=400, text="invalid_blocks")
        self.messages.append(body)
        return web.Response(text="ok")


@asynccontextmanager
async def running_slack():
    slack = Slack()
    app = web.Application()
    app.router.add_route("*", "/api/{method}", slack.api)
    app.router.add_post("/services/{secret}", slack.hook)
    runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    slack.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield slack
    finally:
        if slack.stuck is not None:
            slack.stuck.set()
        await runner.cleanup()
