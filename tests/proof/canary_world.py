"""Where the canaries live: a source, a Slack, receivers and a monitor that repeat all that they are sent.

One server on loopback is all of them. It answers as its ``moods`` say, keeps what it was sent, and, where it
refuses, quotes the whole request back: in its words, its headers and its body.
"""

from __future__ import annotations

import asyncio
import base64
import json
import random
import threading
from pathlib import Path
from typing import Self

from aiohttp import web

CONNECTIONS = 4


class Secrets:
    """Values that must not come out, by name; of a seed, so that they can be told apart and found again."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)

        def word(size: int = 20) -> str:
            return rng.randbytes(size // 2).hex()

        raw = f"signing-{word()}"
        self.values = {
            "api key": f"sk_canary+{word()}=",
            "signing secret": "whsec_" + base64.b64encode(raw.encode()).decode(),
            "signing secret, decoded": raw,
            "old signing secret": f"raw secret/{word()}",
            "Slack token": f"xoxb-{word(10)}-{word()}",
            "Slack webhook": f"T{word(8)}/B{word(8)}/{word()}",
            "header": f"Basic {base64.b64encode(f'user:{word()}'.encode()).decode()}",
            "url token": f"hook-{word()}",
            "heartbeat token": f"ping-{word()}",
            "store password": f"store@{word()}/%",
            "wrong store password": f"wrong-{word()}",
            "url password": f"basic-{word()}",
            "employer EIN": f"{rng.randrange(10, 99)}-{rng.randrange(10**6, 10**7)}",
            "phone": f"+1555{rng.randrange(10**6, 10**7)}",
            "email": f"owner-{word()}@acme.example",
            "address": f"{rng.randrange(1000, 9999)} {word()} Street",
        }
        self._eins = rng.sample(range(10**6, 10**7), 2)

    def ein(self, version: int = 0) -> str:
        """The EIN of the broker, which changes now and then."""
        return f"{31 + version}-{self._eins[version]}"

    def __getitem__(self, name: str) -> str:
        return self.values[name]


class World:
    """The server, in a thread. ``sent`` holds what came, by whom it came to: headers less the right ones, body."""

    def __init__(self, secrets: Secrets) -> None:
        self.secrets = secrets
        self.moods: dict[str, str] = {}
        self.sent: dict[str, list[str]] = {}
        self.port = 0
        self._looks = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="canaries", daemon=True)
        self._runner: web.AppRunner

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(30)
        return self

    def __exit__(self, *_exception: object) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application()
        app.router.add_get("/connections", self._list)
        app.router.add_get("/connections/{id}", self._refused("source"))
        app.router.add_get("/{kind:employers|carriers}/{id}", self._name)
        app.router.add_post("/api/{method}", self._slack)
        app.router.add_post("/services/{secret:.*}", self._hook)
        app.router.add_get("/ping/{token}", self._ping)
        app.router.add_post("/{sink:backend|ein}/{token}", self._receiver)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    # --- what it says ---

    async def _quote(self, request: web.Request) -> str:
        headers = "\n".join(f"{name}: {value}" for name, value in request.headers.items())
        return f"{request.method} {request.path_qs}\n{headers}\n\n{await request.text()}"

    async def _refusal(self, request: web.Request, mood: str) -> web.Response:
        """``400 json``, ``500 text``, ``401 header``, ``403 html``, or ``reset``."""
        if mood == "reset" and request.transport is not None:
            request.transport.abort()
            return web.Response()
        status, _, how = mood.partition(" ")
        quoted = await self._quote(request)
        if how == "json":
            key = request.headers.get("Authorization", "")
            errors = [
                {"field": key, "message": f"{key} is not valid"},
                {"field_path": quoted, "message": key},
            ]
            body = {"type": key, "message": f"refused: {key}", "detail": quoted, "input_errors": errors}
            return web.json_response(body, status=int(status))
        if how == "header":
            # Not to httpx: httpcore writes all headers of an answer at DEBUG, which no setting of ours asks for.
            said = (
                "-"
                if request.path.startswith(("/conn", "/ping"))
                else request.headers.get("Authorization", "-")
            )
            headers = {
                "X-You-Said": said,
                "Retry-After": "0",
                "Location": f"http://127.0.0.1:1{request.path_qs}",
            }
            headers = headers if not request.path.startswith("/ping") else {}
            return web.Response(status=int(status), headers=headers)
        html = "text/html" if how == "html" else "text/plain"
        return web.Response(status=int(status), text=(quoted + "\n") * 20, content_type=html)

    def _refused(self, who: str):
        async def handle(request: web.Request) -> web.Response:
            return await self._refusal(request, self.moods.get(who) or "404 json")

        return handle

    async def _list(self, request: web.Request) -> web.Response:
        if mood := self.moods.get("source"):
            return await self._refusal(request, mood)
        self._looks += 1
        return web.json_response({"next": None, "previous": None, "results": self.listed(self._looks)})

    def listed(self, look: int) -> list[dict[str, object]]:
        """The list, which changes with each look; the broker's EIN with every second."""
        items = []
        for number in range(CONNECTIONS):
            id_ = f"conn_{number}"
            group = {
                "id": f"gc_{number}",
                "carrier": "carr_A",
                "status": ("processing", "needs_attention")[look % 2],
                "broker_federal_ein": self.secrets.ein(look // 2 % 2),
                "group_id": "00123",
                "connection": id_,
                "initiated_at": None,
                "completed_at": None,
            }
            items.append(
                {
                    "id": id_,
                    "broker_url": None,
                    "employer": f"er_{number}",
                    "group_connections": [group],
                    "events": [],
                    "status": "processing",
                }
            )
        return items

    async def _name(self, request: web.Request) -> web.Response:
        if mood := self.moods.get("names"):
            return await self._refusal(request, mood)
        found = {"id": request.match_info["id"], "legal_name": "Acme", "trade_name": None, "external_id": "7"}
        private = {
            "federal_ein": self.secrets["employer EIN"],
            "phone_number": self.secrets["phone"],
            "email": self.secrets["email"],
            "address": {"line1": self.secrets["address"]},
        }
        return web.json_response(found | private)

    async def _slack(self, request: web.Request) -> web.Response:
        await self._keep("slack", request, but={"authorization"})
        mood = self.moods.get("slack")
        if mood and mood.startswith("200 "):
            quoted = await self._quote(request)
            metadata = {"messages": [f"[ERROR] {quoted}"]}
            answer = {"ok": False, "error": mood[4:], "needed": None, "response_metadata": metadata}
            return web.json_response(answer)
        if mood:
            return await self._refusal(request, mood)
        who = request.headers.get("Authorization", "")
        return web.json_response({"ok": True, "channel": "C1", "ts": "1.2", "user": who, "team": who})

    async def _hook(self, request: web.Request) -> web.Response:
        await self._keep("slack", request)
        if mood := self.moods.get("slack"):
            return await self._refusal(request, mood.replace("200", "400"))
        return web.Response(text="ok")

    async def _ping(self, request: web.Request) -> web.Response:
        await self._keep("monitor", request)
        if mood := self.moods.get("monitor"):
            return await self._refusal(request, mood)
        return web.Response()

    async def _receiver(self, request: web.Request) -> web.Response:
        sink = request.match_info["sink"]
        await self._keep(sink, request, but={"x-canary"})
        if mood := self.moods.get(sink):
            return await self._refusal(request, mood)
        return web.Response(status=204)

    async def _keep(self, who: str, request: web.Request, but: set[str] = frozenset()) -> None:  # type: ignore[assignment]
        headers = {name: value for name, value in request.headers.items() if name.lower() not in but}
        self.sent.setdefault(who, []).append(json.dumps(headers) + "\n" + await request.text())


def configuration(
    world: World, store: str, *, source: str = "http", sinks: str = "http", ein: bool = False, extra: str = ""
) -> str:
    """A configuration that names every secret, by variables, files, or as they are."""
    secrets, port = world.secrets, world.port
    asks = f"""  ein: {{type: webhook, url: "http://127.0.0.1:{port}/ein/${{HOOK}}", allow_private_addresses: true,
    secrets: ["${{SIGNING}}"], exclude: []}}
"""
    rules = """  - {{name: r{0}, when: {{}}, notify: {1}}}
  - {{name: n{0}, when: {{type: "notifier.*"}}, notify: {1}}}
"""
    names = ["backend", "slack", "hook", "log", *(["ein"] if ein else [])]
    return f"""name: canaries
source: {{base_url: "{source}://127.0.0.1:{port}", api_key: "${{KEY}}", timeout: 2s}}
store: '{store}'
heartbeat_url: "http://127.0.0.1:{port}/ping/${{PING}}"
http: {{listen: "127.0.0.1:0"}}
sinks:
  backend:
    type: webhook
    url: "{sinks}://127.0.0.1:{port}/backend/${{HOOK}}?token=${{HOOK}}"
    allow_private_addresses: true
    secrets: ["${{SIGNING}}", "{secrets["old signing secret"]}"]
    headers: {{X-Canary: "{secrets["header"]}"}}
  slack: {{type: slack, token: "${{SLACK}}", channel: "#c", api_url: "{sinks}://127.0.0.1:{port}/api/", rate: null}}
  hook: {{type: slack, webhook_url: "{sinks}://127.0.0.1:{port}/services/{secrets["Slack webhook"]}", rate: null}}
  log: {{type: console}}
{asks if ein else ""}rules:
{"".join(rules.format(number, name) for number, name in enumerate(names))}{extra}"""


def environment(world: World, place: Path) -> dict[str, str]:
    """The variables that :func:`configuration` uses: two as they are, the others in files."""
    secrets = world.secrets
    files = {"KEY": "api key", "SIGNING": "signing secret", "PING": "heartbeat token"}
    for variable, name in files.items():
        (place / variable).write_text(secrets[name] + "\n")
    return {"SLACK": secrets["Slack token"], "HOOK": secrets["url token"]} | {
        f"{variable}_FILE": str(place / variable) for variable in files
    }
