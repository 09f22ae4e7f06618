"""Serves /healthz, /readyz and /metrics: nothing else, nothing secret, no connection data."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from aiohttp import web

from notifier.errors import ConfigError
from notifier.web.health import Health

_KEEP_ALIVE_S = 15.0
_HEALTH = web.AppKey("health", Health)


@asynccontextmanager
async def serve(health: Health, host: str, port: int) -> AsyncIterator[str]:
    """Serve while the context lasts; gives the address that is listened on (``port`` may be 0)."""
    app = web.Application()
    app[_HEALTH] = health
    app.router.add_get("/healthz", _alive)
    app.router.add_get("/readyz", _ready)
    app.router.add_get("/metrics", _metrics)
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=_KEEP_ALIVE_S, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise ConfigError(
                f"http.listen: cannot listen on {host}:{port} ({error.strerror}); choose another address, "
                "or run with --listen"
            ) from error
        bound = runner.addresses[0]
        yield f"http://{bound[0]}:{bound[1]}"
    finally:
        await runner.cleanup()


async def _alive(_request: web.Request) -> web.Response:
    return web.Response(text="ok\n")


async def _ready(request: web.Request) -> web.Response:
    readiness = request.app[_HEALTH].readiness()
    return web.Response(
        body=msgspec.json.encode(readiness),
        status=503 if readiness.status == "stalled" else 200,
        content_type="application/json",
    )


async def _metrics(request: web.Request) -> web.Response:
    return web.Response(
        body=request.app[_HEALTH].metrics(),
        headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
    )
